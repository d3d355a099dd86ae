"""What a JPEG photo proves: the quantisation cells that its luma lies in.

Of every 8 x 8 block a JPEG file keeps each DCT coefficient to within half a quantisation step. A
restoration that leaves a cell contradicts the photo; put back to the nearest point of it, it does
not, and is never farther from the truth (projection onto convex sets: Zakhor, "Iterative procedures
for reduction of blocking effects in transform image coding", 1992). The steps are read off the
pixels, so that a screenshot of a JPEG counts, too (Fan, de Queiroz, "Identification of bitmap
compression history", 2003), among the tables of the Independent JPEG Group's scale of quality.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from verax.fusion.octaves import luma
from verax.image import Image, Plane

STANDARD = np.array(  # luma, quality 50: ITU-T T.81, table K.1
    [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
     [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
     [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
     [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]]
)  # fmt: skip
QUALITIES = range(5, 93)  # above, a step is lost in the rounding of the pixels
SAMPLE = 3000  # blocks that are looked at
LARGE = 3  # steps less than this say nothing
OFF = 0.45  # deviation of a coefficient of pixels that were rounded to 8 bits
BY_CHANCE = 0.25  # steps that coefficients are off a table's multiples if they have none,
NEAR = 0.3  # and the share of that from which a table is refused
FEW = 100  # coefficients of two steps or more, without which nothing is known
ROUNDS = 2

Steps = NDArray[np.float32]  # (8, 8)


def steps_of(photo: Image) -> Steps | None:
    """The quantisation steps (8, 8), in levels of 255, of a photo (H, W, 3) that was a JPEG with
    blocks from its top left corner; None where it was none, or changed since."""
    blocks = _blocks(luma(photo) * np.float32(255) - 128)
    step = max(1, len(blocks) // SAMPLE)
    coefficients = fft.dctn(blocks[::step], axes=(1, 2), norm="ortho")
    best, least = None, NEAR
    for quality in QUALITIES:
        steps = table(quality)
        whole = np.round(coefficients / steps)
        counted = (np.abs(whole) > 1) & (steps >= LARGE)
        counted[:, 0, 0] = False  # the mean of a block tells little, and not of a plain picture
        if counted.sum() < FEW:
            continue
        off = np.abs(coefficients - whole * steps)[counted].mean()
        by_chance = BY_CHANCE * np.broadcast_to(steps, whole.shape)[counted].mean()
        if off < least * by_chance:
            best, least = steps, float(off / by_chance)
    return best


def table(quality: int) -> Steps:
    """The steps of a quality from 1 to 100 (Independent JPEG Group)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.asarray(np.clip((STANDARD * scale + 50) // 100, 1, 255), np.float32)


def within_cells(pixels: Image, photo: Image, steps: Steps, share: Plane | float = 1.0) -> Image:
    """The nearest picture (H, W, 3) to `pixels` whose luma the photo's cells hold; colour as it is.

    `share`: (H, W) in [0, 1], how far each pixel is held to it.
    """
    low, high = _cells(luma(photo), steps)
    result = pixels
    for _ in range(ROUNDS):
        grey = luma(result)
        blocks = fft.dctn(_blocks(grey * np.float32(255) - 128), axes=(1, 2), norm="ortho")
        held = fft.idctn(np.clip(blocks, low, high), axes=(1, 2), norm="ortho")
        moved = (_plane(held, grey.shape) + 128) / np.float32(255) - grey
        result = np.clip(result + (share * moved)[..., None], 0, 1)
    return np.asarray(result, np.float32)


def _cells(grey: Plane, steps: Steps) -> tuple[Plane, Plane]:
    """Least and largest coefficients (n, 8, 8); half a level more for the rounding of pixels."""
    blocks = fft.dctn(_blocks(grey * np.float32(255) - 128), axes=(1, 2), norm="ortho")
    middle, half = np.round(blocks / steps) * steps, steps / 2 + np.float32(OFF)
    return middle - half, middle + half


def _blocks(plane: Plane) -> Plane:
    """(n, 8, 8) of (H, W), its last row and column repeated to whole blocks."""
    bottom, right = -plane.shape[0] % 8, -plane.shape[1] % 8
    full = np.pad(plane, ((0, bottom), (0, right)), mode="edge")
    rows, columns = full.shape[0] // 8, full.shape[1] // 8
    return full.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)


def _plane(blocks: Plane, shape: tuple[int, ...]) -> Plane:
    rows, columns = -(-shape[0] // 8), -(-shape[1] // 8)
    full = blocks.reshape(rows, columns, 8, 8).swapaxes(1, 2).reshape(8 * rows, 8 * columns)
    return full[: shape[0], : shape[1]]
