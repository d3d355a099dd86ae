"""Undoes a blur, and keeps a result within the rounding of a JPEG photo.

If the photo is a blurred copy of the prior, least squares give the kernel. The sharp photo is then
X = (conj(K) Y + m P) / (|K|^2 + m), a Wiener filter whose mean is the prior; K, Y and P are the
spectra of kernel, photo and prior, m is a number. X, blurred again, is the photo: only what the
blur destroyed comes from the prior. If no single kernel explains the photo, it is left as it is.

A JPEG file stores each DCT coefficient of 8 x 8 px rounded to a multiple of a quantisation step. A
restoration that is more than half a step away contradicts the photo. To move it into that interval
never increases its error (projection onto convex sets: Zakhor, "Iterative procedures for reduction
of blocking effects in transform image coding", 1992). The steps are estimated from the pixels (Fan,
de Queiroz, "Identification of bitmap compression history", 2003), so a screenshot of a JPEG will
do. Only tables of the Independent JPEG Group's quality scale are tried."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.fusion.matching import Relight
from verax.fusion.planes import Float, luma, resize, rise
from verax.image import Image, Plane
from verax.image.pixels import reduce_to

WORK, MOST = 640, 1600  # px: long sides at which a blur is estimated, and removed
KERNEL = 0.048  # side of the kernel, share of the long side
TAPER = 0.025  # share of the long side over which borders are faded out
NOISE = 0.02  # share of its mean that is added to the prior's power spectrum before division
TAIL = 0.04  # share of the kernel's peak below which values are noise
WIDE = 4.0  # sigma in working px: no blur changes what is coarser
# largest unexplained energy: as a share of the photo's, and of that without the blur
EXPLAINED, LESS = 0.35, 0.6
LEAST, PER_RESIDUAL = 0.03, 0.3  # least m, and m over the unexplained share
NEAR = 8.0  # sigma in working px of the windows in which the blur is checked again
LOCAL = (0.4, 0.9)  # unexplained share at which a place starts to be, and is, left as it is


@dataclass(frozen=True, slots=True)
class Blur:
    """The prior convolved with the `kernel` (k, k), of sum 1, is the photo, but for the share
    `unexplained`, in [0, 1], of the energy (mean square) of the photo's detail."""

    kernel: Plane
    unexplained: float

    @property
    def weight(self) -> float:
        """The weight m of the prior in the Wiener filter that removes the blur: the power of the
        photo's noise divided by that of the prior's error."""
        return max(LEAST, PER_RESIDUAL * self.unexplained)

    def destroyed_share(self, octaves: int, finer: float = 1.0) -> tuple[float, ...]:
        """The share, in [0, 1], of each octave (pyramid level), the finest first, that this blur
        destroys; 0 where it cannot be told. `octaves`: their number. `finer`: the photo's size over
        that of the copy on which the blur was estimated."""
        side = 256
        response = np.abs(np.fft.fft2(_centre(self.kernel, (side, side)))) ** 2
        frequency = np.abs(np.fft.fftfreq(side))
        radius = np.hypot(frequency[:, None], frequency[None])
        share = self.weight / (response + self.weight)
        edges = [0.5 * finer / 2**index for index in range(octaves + 1)]
        return tuple(
            float(share[(radius <= high) & (radius > low)].mean()) if 2 / side < low < 0.5 else 0.0
            for high, low in pairwise(edges)
        )


def find_blur(photo: Plane, prior: Plane, valid: Plane) -> Blur | None:
    """The blur that turns the prior into the photo, or None if no blur explains at least 65 % of
    the photo's detail. Both are lumas (H, W) under the same light. `valid` (H, W) is 1 where the
    prior covers the photo."""
    long = max(photo.shape)
    visible = cv2.erode(valid, np.ones((9, 9), np.uint8)) > 0.99
    weight = _taper(photo.shape, max(2, round(TAPER * long))) * visible
    kernel = _kernel(photo, prior, weight, 2 * round(KERNEL * long / 2) + 1)
    wide = WIDE * long / WORK
    blurred = cv2.filter2D(prior, -1, kernel[::-1, ::-1])
    before, after = (_energy(photo - x, weight, wide) for x in (prior, blurred))
    whole = _energy(photo, weight, wide) + 1e-9
    if after > EXPLAINED * whole or after > LESS * before:
        return None
    return Blur(kernel, after / whole)


@dataclass(frozen=True, slots=True)
class DeblurredPhoto:
    """A deblurred photo: `pixels` (H, W, 3), and how much of it is the prior's. `supplied` (h, w)
    in [0, 1], at most 1600 px a side: how much of what the blur had destroyed was taken from the
    prior. `destroyed`: the share, in [0, 1], of each octave (pyramid level), the finest first, that
    the blur had destroyed."""

    pixels: Image
    supplied: Plane
    destroyed: tuple[float, ...]


def deblur(
    photo: Image, prior: Image, valid: Plane, blur: Blur, mean: Plane
) -> tuple[Image, Plane]:
    """The deblurred photo (H, W, 3), and how far each pixel was deblurred, (H, W): 1 where the
    blurred prior matches the photo, 0 where they differ. `prior` (H, W, 3) is under the photo's
    light. `valid` (H, W) is 1 where it covers the photo. Detail that the blur destroyed comes from
    the prior with the weight `mean`, (h, w) of any size in [0, 1]; with 0, it stays destroyed."""
    pad = blur.kernel.shape[0]
    share_of_prior = (valid * resize(mean, valid.shape))[..., None]
    middle = share_of_prior * (prior - photo) + photo
    border = cv2.BORDER_REFLECT
    wide = [cv2.copyMakeBorder(x, pad, pad, pad, pad, border) for x in (photo, middle)]
    shape = tuple(scipy.fft.next_fast_len(side, real=True) for side in wide[0].shape[:2])
    response = scipy.fft.rfft2(_centre(blur.kernel, shape))
    power = np.abs(response) ** 2 + np.float32(blur.weight)
    planes = []
    for own, other in zip(*(cv2.split(x) for x in wide), strict=True):
        spectra = [scipy.fft.rfft2(_fill(x, shape), workers=2) for x in (own, other)]
        both = (np.conj(response) * spectra[0] + np.float32(blur.weight) * spectra[1]) / power
        plane = scipy.fft.irfft2(both, shape, workers=2)
        planes.append(plane[pad : pad + photo.shape[0], pad : pad + photo.shape[1]])
    sharp = np.asarray(cv2.merge(planes), np.float32)
    share = _explained_share(luma(photo), luma(prior), blur) * valid
    return np.asarray(np.clip(photo + share[..., None] * (sharp - photo), 0, 1), np.float32), share


def without_blur(
    photo: Image, prior: Image, valid: Plane, relight: Relight, *, octaves: int, mean: Plane
) -> DeblurredPhoto | None:
    """The photo (H, W, 3) without the blur that turns the prior into it, or None if there is no
    such blur. `prior` and `valid` (1 where the prior covers the photo) are on the photo's grid.
    `relight` changes the light of a prior of any size to the photo's. `octaves`: number of octaves
    for which the result says what the blur had destroyed. `mean`, (h, w) of any size in [0, 1]:
    weight with which destroyed detail is taken from the prior. In a photo of more than 1600 px a
    side the finest detail does not change."""

    def at(side: int) -> tuple[Image, Image, Plane]:
        own, other, visible = (reduce_to(x, side) for x in (photo, prior, valid))
        return own, relight(other), visible

    own, other, visible = at(WORK)
    if find_blur(luma(own), luma(other), visible) is None:
        return None
    own, other, visible = at(MOST)
    blur = find_blur(luma(own), luma(other), visible)
    if blur is None:
        return None
    sharp, share = deblur(own, other, visible, blur, mean)
    if own.shape != photo.shape:
        sharp = np.asarray(np.clip(photo + resize(sharp - own, photo.shape), 0, 1), np.float32)
    finer = max(photo.shape) / max(own.shape)
    supplied = share * resize(mean, share.shape)
    return DeblurredPhoto(sharp, supplied, blur.destroyed_share(octaves, finer))


def _kernel(photo: Plane, prior: Plane, weight: Plane, side: int) -> Plane:
    """The kernel (side, side) that turns the prior's luma (H, W) into the photo's: least squares on
    the gradients, made positive, connected and of sum 1. `weight`, (H, W) in [0, 1]: of each
    pixel."""
    shared, power = np.zeros((), np.complex64), np.zeros((), np.float32)
    for step in ([[-1.0, 1.0]], [[-1.0], [1.0]]):
        gradient = np.array(step, np.float32)
        own, other = (np.fft.rfft2(cv2.filter2D(x, -1, gradient) * weight) for x in (photo, prior))
        shared = np.asarray(shared + np.conj(other) * own)
        power = np.asarray(power + np.abs(other) ** 2)
    ratio = shared / (power + NOISE * power.mean() + 1e-9)
    whole = np.fft.fftshift(np.fft.irfft2(ratio, photo.shape))
    y, x = (length // 2 for length in whole.shape)
    half = min(side // 2, y, x)
    kernel = np.asarray(whole[y - half : y + half + 1, x - half : x + half + 1], np.float32)
    kernel = np.maximum(kernel - TAIL * kernel.max(), 0)
    number, labels = cv2.connectedComponents((kernel > 0).astype(np.uint8))
    sums = np.bincount(labels.ravel(), kernel.ravel(), number)
    kernel = kernel * (labels == int(sums[1:].argmax()) + 1) if number > 2 else kernel
    total = float(kernel.sum())
    if total <= 0:
        kernel[half, half] = total = 1.0
    return np.asarray(kernel / total, np.float32)


def _energy(plane: Plane, weight: Plane, wide: float) -> float:
    fine = plane - cv2.GaussianBlur(plane, (0, 0), wide)
    return float((fine * fine * weight).sum())


def _explained_share(photo: Plane, prior: Plane, blur: Blur) -> Plane:
    """How well the blurred prior matches the photo around each pixel, (H, W): 1 in full, 0 not at
    all. `photo` and `prior` (H, W) are lumas."""
    scale = max(photo.shape) / WORK
    off = photo - cv2.filter2D(prior, -1, blur.kernel[::-1, ::-1])
    mine, left = (
        cv2.GaussianBlur((x - cv2.GaussianBlur(x, (0, 0), WIDE * scale)) ** 2, (0, 0), NEAR * scale)
        for x in (photo, off)
    )
    return 1 - rise(np.asarray(left / (mine + np.float32(2e-5)), np.float32), *LOCAL)


def _taper(shape: tuple[int, ...], width: int) -> Plane:
    planes = []
    for side in shape[:2]:
        distance = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
        planes.append(rise(distance, 0, width))
    return np.asarray(np.outer(*planes), np.float32)


def _centre(kernel: Plane, shape: tuple[int, ...]) -> Float:
    """A kernel padded with zeros to the larger `shape`, its centre moved to the origin (0, 0)."""
    whole = _fill(kernel, shape)
    return np.roll(whole, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))


def _fill(plane: Plane, shape: tuple[int, ...]) -> Plane:
    whole = np.zeros(shape, np.float32)
    whole[: plane.shape[0], : plane.shape[1]] = plane
    return whole


STANDARD = np.array(  # luma, quality 50: ITU-T T.81, table K.1
    [[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
     [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
     [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
     [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]]
)  # fmt: skip
QUALITIES = range(5, 93)  # above that, steps are hidden by the rounding of pixels
SAMPLE = 3000  # most blocks used
LARGE = 3  # least step used
OFF = 0.45  # deviation of a coefficient due to the rounding of pixels to 8 bits
BY_CHANCE = 0.25  # mean distance, in steps, of unquantised coefficients from a table's multiples
LIKELY = 0.3  # share of that at which a table is rejected
FEW = 100  # least number of coefficients of two steps or more
ROUNDS = 2

Steps = NDArray[np.float32]  # (8, 8)


def steps_of(photo: Image) -> Steps | None:
    """The quantisation steps (8, 8), for pixels from 0 to 255, of a photo (H, W, 3) that was a
    JPEG. None if it was no JPEG, or was changed since. Its blocks must start at the top left
    corner."""
    blocks = _blocks(luma(photo) * np.float32(255) - 128)
    step = max(1, len(blocks) // SAMPLE)
    coefficients = scipy.fft.dctn(blocks[::step], axes=(1, 2), norm="ortho")
    best, least = None, LIKELY
    for quality in QUALITIES:
        steps = table(quality)
        whole = np.round(coefficients / steps)
        counted = (np.abs(whole) > 1) & (steps >= LARGE)
        counted[:, 0, 0] = False  # the mean of a block is no good evidence of quantisation
        if counted.sum() < FEW:
            continue
        off = np.abs(coefficients - whole * steps)[counted].mean()
        by_chance = BY_CHANCE * np.broadcast_to(steps, whole.shape)[counted].mean()
        if off < least * by_chance:
            best, least = steps, float(off / by_chance)
    return best


def table(quality: int) -> Steps:
    """The quantisation steps (8, 8) for luma of a JPEG quality from 1 to 100 (Independent JPEG
    Group)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.asarray(np.clip((STANDARD * scale + 50) // 100, 1, 255), np.float32)


def within_cells(pixels: Image, photo: Image, steps: Steps, share: Plane | float = 1.0) -> Image:
    """The picture `pixels` (H, W, 3), its luma changed as little as possible to agree with `photo`,
    a former JPEG file: no DCT coefficient of a block of 8 x 8 px differs from the photo's by more
    than half a quantisation step. Colour does not change. `steps` (8, 8): by `steps_of`. `share`,
    (H, W) in [0, 1]: how far a pixel is moved, 1 in full."""
    low, high = _cells(luma(photo), steps)
    result = pixels
    for _ in range(ROUNDS):
        grey = luma(result)
        blocks = scipy.fft.dctn(_blocks(grey * np.float32(255) - 128), axes=(1, 2), norm="ortho")
        inside = scipy.fft.idctn(np.clip(blocks, low, high), axes=(1, 2), norm="ortho")
        moved = (_plane(inside, grey.shape) + 128) / np.float32(255) - grey
        result = np.clip(result + (share * moved)[..., None], 0, 1)
    return np.asarray(result, np.float32)


def _cells(grey: Plane, steps: Steps) -> tuple[Plane, Plane]:
    """The least and the largest values, each (n, 8, 8), that the DCT coefficients of n blocks can
    have had before a JPEG file rounded them to `steps`. `grey` (H, W): its luma in [0, 1]."""
    blocks = scipy.fft.dctn(_blocks(grey * np.float32(255) - 128), axes=(1, 2), norm="ortho")
    middle, half = np.round(blocks / steps) * steps, steps / 2 + np.float32(OFF)
    return middle - half, middle + half


def _blocks(plane: Plane) -> Plane:
    """A plane (H, W) cut into blocks (n, 8, 8); its last row and column are repeated to fill
    them."""
    bottom, right = -plane.shape[0] % 8, -plane.shape[1] % 8
    full = np.pad(plane, ((0, bottom), (0, right)), mode="edge")
    rows, columns = full.shape[0] // 8, full.shape[1] // 8
    return full.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)


def _plane(blocks: Plane, shape: tuple[int, ...]) -> Plane:
    rows, columns = -(-shape[0] // 8), -(-shape[1] // 8)
    full = blocks.reshape(rows, columns, 8, 8).swapaxes(1, 2).reshape(8 * rows, 8 * columns)
    return full[: shape[0], : shape[1]]
