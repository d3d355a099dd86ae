"""Orientation channels: what stays of a picture when light, colour and texture change.

Per pixel the direction of the log-luminance gradient, unsigned (an edge keeps its place when its
polarity flips between night and day), weighted by its strength relative to the neighbourhood.
A direction t is held as cos 2t, sin 2t, cos 4t, sin 4t: the first terms of its Fourier series,
which correlate as well as eight soft bins at half the cost.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from verax.geometry.transforms import Size, scaled
from verax.image import Image, Plane

Channels = NDArray[np.float32]  # (H, W, C), zero mean; C = 4 for directions

BLACK = 0.03  # added before the logarithm: below it, 8-bit photos hold more noise than structure
FLOOR = 0.25  # of the mean strength; keeps flat regions flat when strength is made relative
MIRRORED = np.array([1, -1, 1, -1], np.float32)  # what a mirror does to the channels
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def luminance(image: Image) -> Plane:
    """(H, W) in [0, 1], all that registration looks at."""
    return np.asarray(image @ LUMINANCE, np.float32)


def log_luminance(plane: Plane, size: Size) -> Plane:
    """Log of a luminance plane at another size, (h, w)."""
    return np.asarray(np.log(np.clip(resize(plane, size), 0, 1) + BLACK), np.float32)


def resize(array: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Area average where the array shrinks, cubic where it grows."""
    if (array.shape[1], array.shape[0]) == size:
        return array
    shrinks = size[0] <= array.shape[1] and size[1] <= array.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(array, size, interpolation=method), np.float32)


def blur(array: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur, mirrored at the border."""
    blurred = cv2.GaussianBlur(array, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)


def orientation(plane: Plane, *, window: float = 6.0, smooth: float = 1.0) -> Channels:
    """Orientation channels of a log-luminance plane.

    Args:
        window: sigma in px of the neighbourhood that strength is made relative to.
        smooth: sigma in px of the blur after; wider gives a wider basin of attraction.
    """
    plane = blur(plane, 1.0)
    gx = cv2.Scharr(plane, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(plane, cv2.CV_32F, 0, 1, scale=1 / 32)
    energy = gx * gx + gy * gy
    around = blur(energy, window)
    relative = 1 / np.sqrt(around + FLOOR**2 * around.mean() + 1e-8)
    strength = np.sqrt(energy)
    per_length = relative / (strength + 1e-9)
    cos2, sin2 = (gx * gx - gy * gy) * per_length, 2 * gx * gy * per_length
    length = strength * relative + 1e-9
    cos4, sin4 = (cos2 * cos2 - sin2 * sin2) / length, 2 * cos2 * sin2 / length
    channels = blur(cv2.merge([cos2, sin2, cos4, sin4]), smooth)
    channels -= np.asarray(cv2.mean(channels), np.float32)
    return channels


def dot(one: Channels, other: Channels) -> Plane:
    """Sum of products over the four channels, (H, W)."""
    return np.asarray((one * other) @ np.ones(one.shape[2], np.float32))


def coherence(one: Channels, other: Channels, valid: Plane, window: float) -> Plane:
    """Local correlation of two channel maps in Gaussian windows of sigma `window`, -1..1."""
    pairs = ((one, other), (one, one), (other, other))
    return coherence_of([dot(a, b) * valid for a, b in pairs], window)


def coherence_of(products: Sequence[Plane], window: float) -> Plane:
    """The same from the products: one times other, and each with itself."""
    size = products[0].shape[1], products[0].shape[0]
    coarser = max(1.0, window / 3)  # a wide window needs no fine grid
    small = resize(cv2.merge(list(products)), scaled(size, 1 / coarser, least=1))
    cross, first, second = np.moveaxis(blur(small, window / coarser), -1, 0)
    thin = 1e-4 * first.mean() * second.mean() + 1e-9
    local = np.asarray(cross / np.sqrt(first * second + thin), np.float32)
    return np.asarray(cv2.resize(local, size, interpolation=cv2.INTER_LINEAR), np.float32)


def correlation(one: Channels, other: Channels, valid: Plane) -> float:
    """Correlation of two channel maps over the valid share, -1..1."""
    weight = valid[..., None]
    weighted = one * weight
    norm = float((weighted * one).sum()) * float((other * weight * other).sum())
    return float((weighted * other).sum()) / float(np.sqrt(norm + 1e-9))


def control_views(channels: Channels) -> NDArray[np.float32]:
    """Channels as they are, of the picture mirrored, flipped and both: (4, C, H, W).

    One channel is a plane of levels, four are directions, which a mirror turns.
    """
    turns = MIRRORED if channels.shape[2] == len(MIRRORED) else np.ones(1, np.float32)
    views = np.stack(
        [channels, channels[:, ::-1] * turns, channels[::-1] * turns, channels[::-1, ::-1]]
    )
    return np.moveaxis(views, -1, 1)


def spectra(planes: NDArray[np.float32], room: tuple[int, int]) -> NDArray[np.complex64]:
    """Fourier transforms of planes (..., H, W) in `room`, of unit energy per picture (C, H, W)."""
    energy = np.sqrt((planes * planes).sum((-3, -2, -1), keepdims=True)) + 1e-9
    return np.asarray(scipy.fft.rfft2(planes / energy, room), np.complex64)


def correlate(
    views: NDArray[np.complex64], other: Channels, room: tuple[int, int]
) -> NDArray[np.float32]:
    """Correlation of each view (V, C, ...) with `other` at all cyclic shifts: (V, *room).

    Element [v, y, x] is the score with the first pixel of `other` at (x, y) of the view.
    """
    conjugate = spectra(np.moveaxis(other, -1, 0), room).conj()
    return np.asarray(scipy.fft.irfft2((views * conjugate).sum(1), room), np.float32)
