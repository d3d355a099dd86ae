"""A larger result: the photo's evidence on a finer grid, and of a prior only what lies above it.

With D the reduction to the photo's grid and U its pseudo-inverse, x = U y + p - U D p has the
photo's own content, D x = y, and the prior's where D shows nothing (range-null space
decomposition: Wang, Yu and Zhang, "Zero-shot image restoration using denoising diffusion
null-space model", ICLR 2023). D is the antialiased cubic reduction of Keys (1981).
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from verax.errors import InputError
from verax.image import Image, Plane

FACTORS = ("2", "3", "4", "prior")
MOST = 4.0  # times the photo's sides
MAX_PIXELS = 64_000_000  # of a larger result; more than this does not fit a common machine
ROUNDS = 60  # of bringing clipped values back to the photo, at most
PUSH = 1.9  # over-relaxation of them
NEAR = 0.3 / 255  # what may be missing of the photo
WINDOW = 2.5  # px of the photo, in which the two structures are compared
DOUBT, TRUST = 0.35, 0.75  # local correlation from which detail is taken, and taken in full
CONTRAST = (0.5, 1.6)  # bounds of the gain that brings detail to the photo's contrast
TINY = 1.5 / 255  # deviation below which a place shows no structure to compare

Size = tuple[int, int]  # width, height
Matrix = NDArray[np.float64]


def larger_size(photo: Size, scale: str, finer: float | None = None) -> Size:
    """(width, height) of the result of `scale`: "2", "3", "4" or "prior".

    `finer` is how many px the prior has per px of the photo. Raises InputError for another scale,
    for "prior" without a prior that is finer, and for a result too large to be made.
    """
    if scale not in FACTORS:
        raise InputError(f"scale: want one of {', '.join(FACTORS)}, got {scale!r}")
    if scale != "prior":
        factor = float(scale)
    elif finer is None:
        raise InputError("scale: want a prior that lies on the photo for 'prior', got none")
    else:
        factor = min(max(finer, 1.0), MOST)
    size = round(photo[0] * factor), round(photo[1] * factor)
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"scale: want a result of at most {MAX_PIXELS / 1e6:.0f} megapixels, got "
            f"{size[0]}x{size[1]}; choose a smaller scale or a part of the photo"
        )
    return size


def enlarge(
    photo: Image, size: Size, detail: Image | None = None, seen: Plane | None = None
) -> Image:
    """The photo at `size`; reduced again it is the photo, within rounding and clipping.

    Args:
        photo: (h, w, 3).
        detail: (H, W, 3) the prior at `size`, lying on the photo. Without one the result is a
            plain resampling.
        seen: (H, W) share of each pixel that the prior shows.
    """
    larger = raised(photo, size)
    if detail is not None:
        small = reduced(detail, (photo.shape[1], photo.shape[0]))
        share, gain = agreement(photo, small)
        weight = resized(share * gain, size)
        if seen is not None:
            weight *= seen
        larger += weight[..., None] * (detail - raised(small, size))
    for _ in range(ROUNDS):
        np.clip(larger, 0, 1, out=larger)
        missing = photo - reduced(larger, (photo.shape[1], photo.shape[0]))
        if float(np.abs(missing).max()) < NEAR:
            break
        larger += PUSH * raised(missing, size)
    return np.clip(larger, 0, 1, out=larger)


def agreement(photo: Image, prior: Image) -> tuple[Plane, Plane]:
    """Per pixel how far the prior shows the photo's structure, and its contrast's gain."""
    y, p = (plane - cv2.GaussianBlur(plane, (0, 0), WINDOW) for plane in map(grey, (photo, prior)))
    vy, vp, c = (cv2.GaussianBlur(v, (0, 0), WINDOW) for v in (y * y, p * p, y * p))
    correlation = c / np.sqrt((vy + TINY**2) * (vp + TINY**2))
    share = np.clip((correlation - DOUBT) / (TRUST - DOUBT), 0, 1)
    gain = np.clip(np.sqrt((vy + TINY**2) / (vp + TINY**2)), *CONTRAST)
    return np.asarray(share, np.float32), np.asarray(gain, np.float32)


def grey(image: Image) -> Plane:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def resized(plane: Plane, size: Size) -> Plane:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def reduced(image: Image, size: Size) -> Image:
    """D: the picture at a smaller (width, height)."""
    rows = reduction(size[1], image.shape[0])
    columns = reduction(size[0], image.shape[1])
    return both_ways(image, rows, columns)


def raised(image: Image, size: Size) -> Image:
    """U: the smallest picture of a larger (width, height) that D reduces to this one."""
    rows, columns = reduction(image.shape[0], size[1]), reduction(image.shape[1], size[0])
    height, width = image.shape[:2]
    whole = splu(sparse.csc_matrix((rows @ rows.T).astype(np.float64)))
    across = splu(sparse.csc_matrix((columns @ columns.T).astype(np.float64)))
    values = whole.solve(image.reshape(height, -1).astype(np.float64))
    values = values.reshape(height, width, 3).transpose(1, 0, 2).reshape(width, -1)
    solved = across.solve(np.ascontiguousarray(values)).reshape(width, height, 3)
    small = np.ascontiguousarray(solved.transpose(1, 0, 2), np.float32)
    return both_ways(small, rows.T.tocsr(), columns.T.tocsr())


def both_ways(image: Image, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> Image:
    """A matrix over the rows and one over the columns."""
    tall = (rows @ image.reshape(image.shape[0], -1)).reshape(-1, image.shape[1], 3)
    turned = np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(image.shape[1], -1)
    wide = (columns @ turned).reshape(-1, tall.shape[0], 3)
    return np.ascontiguousarray(wide.transpose(1, 0, 2), np.float32)


@lru_cache(maxsize=8)
def reduction(small: int, large: int) -> sparse.csr_matrix:
    """(small, large): Keys' cubic kernel widened by the factor, mirrored at the ends."""
    factor = large / small
    reach = int(np.ceil(2 * factor)) + 1
    centres = (np.arange(small) + 0.5) * factor - 0.5
    columns = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    weights = cubic((columns - centres[:, None]) / factor)
    weights /= weights.sum(1, keepdims=True)
    period = 2 * large
    mirrored = np.mod(columns, period)
    mirrored = np.where(mirrored >= large, period - 1 - mirrored, mirrored)
    rows = np.repeat(np.arange(small), columns.shape[1])
    entries = (weights.ravel().astype(np.float32), (rows, mirrored.ravel()))
    return sparse.coo_matrix(entries, shape=(small, large)).tocsr()


def cubic(x: Matrix) -> Matrix:
    """Keys' kernel with a = -0.5."""
    near, far = np.abs(x) <= 1, (np.abs(x) > 1) & (np.abs(x) < 2)
    t = np.abs(x)
    inner = 1.5 * t**3 - 2.5 * t**2 + 1
    outer = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.asarray(np.where(near, inner, np.where(far, outer, 0.0)), np.float64)


def on_finer_grid(
    matrix: Matrix, field: NDArray[np.float32] | None, photo: Size, size: Size
) -> tuple[Matrix, NDArray[np.float32] | None]:
    """A registration's matrix and field for the photo's grid made finer."""
    across, down = size[0] / photo[0], size[1] / photo[1]
    finer = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])
    if field is None:
        return finer @ matrix, None
    wide = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
    return finer @ matrix, np.asarray(wide * np.array([across, down], np.float32), np.float32)
