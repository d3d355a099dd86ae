"""Basic operations on pixels, shared by all packages.

Arrays are float32, (H, W) or (H, W, C); pictures are sRGB-encoded unless said otherwise.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image.contract import LUMA_709

Array = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64)

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
STRIPE = 1 << 16  # pixels of a stripe, small enough for the processor's cache
SAMPLED = 256  # most rows or columns in which repeated pixels are searched
PERIODS = (2.5, 24)  # px: shortest and longest period of repeated pixels
# amplitudes of `_comb` from which pixels may be repeated, and are nearly certainly repeated; photos
# have at most 0.4, JPEG blocks (quality 3) 0.5
COMB, CERTAIN = 0.35, 0.6
MOSAIC = (0.6, 0.9)  # largest `_residual` in these two cases; photos and JPEG blocks: 0.7 to 1.2
SOFT = 0.3  # sigma of the blur after interpolation, in periods
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def luma(image: Array) -> Array:
    """Luma (H, W) of an sRGB picture (H, W, 3), with the weights of BT.601."""
    return np.asarray(cv2.transform(image, LUMA[None]), np.float32)


def luma_709(image: Array) -> Array:
    """Luminance (H, W) of a picture (H, W, 3) in linear light, with the weights of BT.709."""
    return np.asarray(cv2.transform(image, LUMA_709[None]), np.float32)


def largest(values: Array) -> Array:
    """The maximum (H, W) over the channels of `values` (H, W, 3)."""
    one, two, three = cv2.split(values)
    return np.asarray(cv2.max(cv2.max(one, two), three), np.float32)


def peaks(labels: NDArray[np.int32], count: int, values: Array) -> Array:
    """The largest of `values` (H, W) in each region: (count,), or 0 where all are negative.

    `labels` (H, W) gives the region, 0..count - 1, of each pixel. Index 0 of the result belongs to
    label 0, which is often the background.
    """
    tops = np.zeros(count, np.float32)
    np.maximum.at(tops, labels.ravel(), values.ravel())
    return tops


def to_linear(values: NDArray[Number]) -> NDArray[Number]:
    """Convert sRGB-encoded values to linear light (IEC 61966-2-1); both in [0, 1], any shape."""
    curve = ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(values <= 0.04045, values / 12.92, curve), values.dtype)


def to_srgb(linear: NDArray[Number]) -> NDArray[Number]:
    """Convert linear light to sRGB-encoded values (IEC 61966-2-1); both in [0, 1], any shape."""
    curve = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, linear * 12.92, curve), linear.dtype)


def resize(array: Array, size: tuple[int, int]) -> Array:
    """Resize an array (H, W) or (H, W, C) to `size` (width, height).

    Uses area averaging if neither side grows, otherwise cubic interpolation, which may overshoot
    the range of the values. If the size is already right, the array itself is returned.
    """
    if (array.shape[1], array.shape[0]) == size:
        return array
    shrinks = size[0] <= array.shape[1] and size[1] <= array.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(array, size, interpolation=method), np.float32)
    return resized.reshape(size[1], size[0], *array.shape[2:])


def resize_picture(picture: Array, size: tuple[int, int]) -> Array:
    """Resize a picture or plane in [0, 1] to `size` (width, height), and clip it to [0, 1]."""
    resized = resize(picture, size)
    return picture if resized is picture else np.clip(resized, 0.0, 1.0)


def reduce_to(array: Array, side: int) -> Array:
    """Reduce a picture or plane to a long side of at most `side` px by area averaging.

    A smaller one keeps its size."""
    scale = min(1.0, side / max(array.shape[:2]))
    size = (max(3, round(array.shape[1] * scale)), max(3, round(array.shape[0] * scale)))
    return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA), np.float32)


def ramp(value: float, none: float, full: float) -> float:
    """Map `value` linearly so that `none` gives 0 and `full` gives 1; clip the result to [0, 1]."""
    return float(np.clip((value - none) / (full - none), 0.0, 1.0))


def blur(array: Array, sigma: float) -> Array:
    """Gaussian blur of `sigma` px of a picture or plane, with reflection at the border."""
    blurred = cv2.GaussianBlur(array, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)


def wide_blur(array: Array, sigma: float) -> Array:
    """Gaussian blur of a picture or plane, faster than `blur` for a wide `sigma` (px).

    If sigma is at least 8, it is approximated on a reduced copy.
    """
    factor = int(sigma / 4)
    if factor < 2:
        return blur(array, sigma)
    size = tuple(max(4, round(side / factor)) for side in array.shape[1::-1])
    small = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / array.shape[1])
    return np.asarray(cv2.resize(small, array.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def noise_response(array: Array) -> Array:
    """Absolute response (H, W) of a plane (H, W) to a mask of second differences along both axes.

    Smooth structure gives no response. White noise of standard deviation s gives responses of mean
    s * sqrt(2 / pi) and median 0.6745 s (Immerkaer, "Fast noise variance estimation", 1996).
    """
    return np.asarray(np.abs(cv2.filter2D(array, -1, NOISE_MASK)), np.float32)


def noise_level(plane: Array) -> float:
    """Estimate the standard deviation of the noise in a luma plane, in the plane's own unit.

    It is estimated in blocks, from the median response to Immerkaer's noise mask. The result is the
    lower quartile of the blocks, because texture raises the response.
    """
    response = noise_response(plane)[2:-2, 2:-2]
    block = max(8, min(response.shape) // 16)
    rows, columns = (side // block for side in response.shape)
    blocks = response[: rows * block, : columns * block].reshape(rows, block, columns, block)
    medians = np.median(blocks.swapaxes(1, 2).reshape(rows * columns, -1), axis=1)
    return float(np.quantile(medians, 0.25)) * 1.4826


def guided_filter(
    guide: Array, plane: Array, radius: int, epsilon: float, border: int = cv2.BORDER_REFLECT
) -> Array:
    """Smooth a plane (H, W) by a guided filter, which keeps edges that the `guide` (H, W) has.

    Windows are 2 * radius + 1 px wide. Edges are kept where the guide's local variance is well
    above `epsilon`. `border` is OpenCV's border type. Source: He, Sun and Tang, TPAMI 35(6), 2013.
    """

    def mean(x: Array) -> Array:
        side = (2 * radius + 1, 2 * radius + 1)
        return np.asarray(cv2.blur(x, side, borderType=border), np.float32)

    mean_guide, mean_plane = mean(guide), mean(plane)
    covariance = mean(guide * plane) - mean_guide * mean_plane
    variance = mean(guide * guide) - mean_guide * mean_guide
    slope = np.asarray(covariance / (variance + np.float32(epsilon)), np.float32)
    return mean(slope) * guide + mean(mean_plane - slope * mean_guide)


def by_stripes(work: Callable[[slice], None], shape: tuple[int, ...]) -> None:
    """Divide an array of this shape (H, W, ...) into stripes, and call `work` for each of them.

    `work` gets the stripe's rows as a slice. It is called in two threads. Every stripe but the last
    has an even number of rows.
    """
    rows = 2 * max(1, STRIPE // (2 * shape[1]))
    stripes = [slice(top, min(top + rows, shape[0])) for top in range(0, shape[0], rows)]
    if len(stripes) == 1:
        work(stripes[0])
        return
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, stripes))


@dataclass(frozen=True, slots=True)
class Repeats:
    """Where the original pixels lie in a picture that was enlarged by repeating them.

    Attributes:
        period: width and height of an original pixel, in px of the enlarged picture.
        borders: x of the first vertical border between original pixels, and y of the first
            horizontal one, in px from the left and upper edge of the enlarged picture.
    """

    period: float
    borders: tuple[float, float]


def repeats_of(picture: Array) -> Repeats | None:
    """Detect whether a picture (H, W, 3) was enlarged by repeating its pixels.

    Returns where the original pixels lie, or None if the picture was not enlarged so. Such a
    picture changes only at the borders of its original pixels, so its mean gradients along both
    axes have periodic peaks. Periods below 2.5 px or above 24 px are not detected.
    """
    grey = luma(picture)
    along = [grey[:: max(1, len(grey) // SAMPLED)], grey[:, :: max(1, grey.shape[1] // SAMPLED)].T]
    if min(grey.shape) < 2 * PERIODS[1]:
        return None
    length = 16 << max(grey.shape).bit_length()
    combs = [_comb(rows, length) for rows in along]
    both = np.minimum(*(np.abs(comb) for comb in combs))
    frequency = np.arange(len(both)) / length
    both[(frequency < 1 / PERIODS[1]) | (frequency > 1 / PERIODS[0])] = 0
    if both.max() < COMB:
        return None
    near = int(np.argmax(both > 0.9 * both.max()))  # near the fundamental, not its harmonics
    index = near + int(both[near : near + 32].argmax())
    period = 1 / float(frequency[index])
    turns = [float(np.angle(comb[index])) / (2 * np.pi) for comb in combs]
    repeats = Repeats(period, (-turns[0] * period % period + 1, -turns[1] * period % period + 1))
    most = MOSAIC[int(both.max() >= CERTAIN)]
    return repeats if _residual(grey, repeats) < most else None


def _residual(grey: Array, repeats: Repeats) -> float:
    """How well a plane (H, W) is explained by repeated pixels; well below 1 if it consists of them.

    This is the RMS error of enlarging the original pixels by repeating them, divided by the error
    of enlarging them by cubic interpolation. `repeats`: where the original pixels lie.
    """
    small, xs, ys = _former(grey, repeats)
    rough, fine = (
        np.square(grey - _sample(small, xs, ys, how)).mean()
        for how in (cv2.INTER_NEAREST, cv2.INTER_CUBIC)
    )
    return float(np.sqrt(rough / max(fine, 1e-12)))


def _comb(rows: Array, length: int) -> NDArray[np.complex128]:
    """Fourier spectrum (length // 2 + 1,) of the horizontal gradient of the plane `rows` (N, W).

    The gradient's absolute values are averaged over the rows, and padded with zeros to `length`
    values. Perfectly repeated pixels give an amplitude of 1 at their frequency.
    """
    gradient = np.abs(np.diff(rows, axis=1)).mean(0, dtype=np.float64)
    gradient *= np.hanning(len(gradient))
    return np.asarray(np.fft.rfft(gradient, length) / max(float(gradient.sum()), 1e-9))


def interpolate(picture: Array, repeats: Repeats) -> Array:
    """Replace repeated pixels of a picture (H, W, 3) by cubic interpolation, then blur slightly.

    The blur softens the jagged edges that small pictures often have.
    """
    fine = _sample(*_former(picture, repeats), cv2.INTER_CUBIC)
    return np.asarray(np.clip(blur(fine, SOFT * repeats.period), 0, 1), np.float32)


def _former(
    picture: Array, repeats: Repeats
) -> tuple[Array, NDArray[np.float64], NDArray[np.float64]]:
    """The small picture before its pixels were repeated, with a margin of one pixel on each side.

    Also returns the x (W,) of each column and the y (H,) of each row of `picture` (H, W, 3) or
    (H, W), in px of the small picture with its margin: 0 is the centre of the margin's pixels.
    """
    period, inner = repeats.period, max(1, int(0.6 * repeats.period))
    sides = picture.shape[1::-1]
    centres = [
        border + period * (np.arange(-1, side / period + 1) - 0.5) - 0.5
        for border, side in zip(repeats.borders, sides, strict=True)
    ]
    means = np.asarray(cv2.blur(picture, (inner, inner)), np.float32)
    xs, ys = (np.clip(c, 0, side - 1) for c, side in zip(centres, sides, strict=True))
    small = _sample(means, xs, ys, cv2.INTER_LINEAR)
    xs, ys = ((np.arange(side) - c[0]) / period for c, side in zip(centres, sides, strict=True))
    return small, xs, ys


def _sample(picture: Array, xs: NDArray[np.float64], ys: NDArray[np.float64], how: int) -> Array:
    """Sample a picture at all crossings of columns `xs` and rows `ys`, in px of the picture.

    `how`: the OpenCV interpolation. Returns (number of ys, number of xs), with channels if any.
    """
    columns, rows = (np.asarray(v, np.float32) for v in np.meshgrid(xs, ys))
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(picture, columns, rows, how, borderMode=border), np.float32)
