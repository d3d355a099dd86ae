"""Orientation channels: image features that hardly depend on light and colour.

They describe for each pixel the direction t of the log-luminance gradient, weighted by the strength
of the gradient relative to the neighbourhood. Opposite directions count as equal, because an edge
may change its polarity between night and day. The four channels are cos 2t, sin 2t, cos 4t and
sin 4t, the first terms of a Fourier series over directions. They correlate as well as a histogram
of eight directions, in half the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry import Matrix, Size, compose, invert, scale_size, shift, stretch, warp
from verax.image import Plane
from verax.image.pixels import blur, resize

Channels = NDArray[np.float32]  # (H, W, C), zero mean; C = 4 for directions

BLACK = 0.03  # luminance added before the logarithm; below, 8-bit photos have more noise than edges
FLOOR = 0.25  # fraction of the mean strength added before normalising, so that flat areas stay flat
MARGIN = 16  # px by which `View.prior` is larger than the photo on each side
EDGE = 3  # px: window of the erosion that removes channels affected by the prior's border


def log_luminance(plane: Plane, size: Size) -> Plane:
    """The natural logarithm of a luminance plane in [0, 1], resized to `size` (width, height).

    0.03 is added before the logarithm.
    """
    return np.asarray(np.log(np.clip(resize(plane, size), 0, 1) + BLACK), np.float32)


def orientation(plane: Plane, *, window: float = 6.0, smooth: float = 1.0) -> Channels:
    """The four orientation channels (H, W, 4) of a log-luminance plane (H, W), each of zero mean.

    They are cos 2t, sin 2t, cos 4t and sin 4t of the gradient's direction t, times its strength.

    Args:
        window: sigma in px of the neighbourhood to which gradient strength is relative.
        smooth: sigma in px of the final blur; the more blur, the larger the displacements that a
            fit to the channels can find.
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
    """The scalar product, (H, W), of the channels of two maps (H, W, C) at each pixel."""
    return np.asarray((one * other) @ np.ones(one.shape[2], np.float32))


def coherence(one: Channels, other: Channels, valid: Plane, window: float) -> Plane:
    """Local correlation (H, W), in [-1, 1], of two channel maps (H, W, C).

    `valid` (H, W) is the weight of each pixel, `window` the sigma in px of the Gaussian window
    around each pixel.
    """
    pairs = ((one, other), (one, one), (other, other))
    return coherence_of([dot(a, b) * valid for a, b in pairs], window)


def coherence_of(products: Sequence[Plane], window: float) -> Plane:
    """Local correlation (H, W), in [-1, 1], of two channel maps, from their scalar products.

    `products` are (H, W): the first map with the second, the first with itself, the second with
    itself. `window` is the sigma in px of the Gaussian window around each pixel.
    """
    size = products[0].shape[1], products[0].shape[0]
    coarser = max(1.0, window / 3)  # for wide windows a coarser grid is precise enough
    small = resize(cv2.merge(list(products)), scale_size(size, 1 / coarser, least=1))
    cross, first, second = np.moveaxis(blur(small, window / coarser), -1, 0)
    thin = 1e-4 * first.mean() * second.mean() + 1e-9
    local = np.asarray(cross / np.sqrt(first * second + thin), np.float32)
    return np.asarray(cv2.resize(local, size, interpolation=cv2.INTER_LINEAR), np.float32)


def correlation(one: Channels, other: Channels, valid: Plane) -> float:
    """Correlation in [-1, 1] of two channel maps (H, W, C) over the whole picture, each pixel
    weighted by `valid` (H, W)."""
    weight = valid[..., None]
    weighted = one * weight
    norm = float((weighted * one).sum()) * float((other * weight * other).sum())
    return float((weighted * other).sum()) / float(np.sqrt(norm + 1e-9))


@dataclass(frozen=True, slots=True)
class Level:
    """The settings of one resolution in the coarse-to-fine fit.

    Attributes:
        long_side: px to which the photo's long side is reduced.
        freedoms: numbers of parameters of the transforms to fit, in order: 4 (shift and two
            scales), 6 (affine) or 8 (projective).
        window: sigma in px of the neighbourhood to which gradient strength is relative.
        smooth: sigma in px by which the orientation channels are blurred.
        rounds: maximum number of Gauss-Newton steps.
        small_step: px; the fit stops after a step that is smaller than this.
        sampling: px between the pixels that are compared; the channels are blurred, so that every
            second pixel is enough.
    """

    long_side: int
    freedoms: tuple[int, ...]
    window: float
    smooth: float
    rounds: int
    small_step: float = 0.05
    sampling: int = 2


@dataclass(frozen=True, slots=True)
class View:
    """Orientation channels of the photo and of the warped prior at one reduced resolution.

    Attributes:
        photo: channels (h, w, 4) of the reduced photo.
        prior: channels of the prior after warping by `matrix`; on the grid of `photo` plus a margin
            of 16 px on each side, zero outside the prior.
        valid: fraction of each pixel of `prior` that the prior covers, on the same enlarged grid.
        matrix: the matrix of the warp, from prior px to photo px, both before this reduction.
        to_photo: the matrix from px of the reduced photo to px of the photo before this reduction.
    """

    photo: Channels
    prior: Channels
    valid: Plane
    matrix: Matrix
    to_photo: Matrix

    def in_place(self) -> tuple[Channels, Plane]:
        """The view's `prior` and `valid` without the margin, so that they are as large as
        `photo`."""
        inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
        return self.prior[inner], self.valid[inner]


@dataclass(frozen=True, slots=True)
class Views:
    """Luminance planes of photo and prior, from which views at reduced resolutions are made.

    `photo` and `prior` are (H, W) in [0, 1]; their sizes may differ. `channels` caches the
    orientation channels of the photo for each resolution.
    """

    photo: Plane
    prior: Plane
    channels: dict[Level, Channels] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        """(width, height) of the photo."""
        return self.photo.shape[1], self.photo.shape[0]

    @property
    def prior_size(self) -> Size:
        return self.prior.shape[1], self.prior.shape[0]

    @property
    def plain(self) -> Matrix:
        """The matrix from prior px to photo px of a plain resize of the prior to the photo."""
        return stretch(self.prior_size, self.size)

    def at(self, level: Level, matrix: Matrix) -> View:
        """Reduce the photo to the resolution `level`, and warp the prior onto it by `matrix`.

        `matrix` maps prior px to photo px, both at the size of the planes `photo` and `prior`.
        Returns the orientation channels of both.
        """
        size = self.size
        small = scale_size(size, min(1.0, level.long_side / max(size)))
        if level not in self.channels:
            self.channels[level] = _channels(self.photo, small, level)
        to_photo = stretch(small, size)
        wide = small[0] + 2 * MARGIN, small[1] + 2 * MARGIN
        onto = compose(shift(MARGIN, MARGIN), invert(to_photo), matrix)
        warped, valid = warp(self.prior, onto, None, wide)
        share = cv2.erode(valid, np.ones((EDGE, EDGE), np.uint8))
        other = _channels(warped, wide, level)
        other *= share[..., None]
        return View(self.channels[level], other, share, matrix, to_photo)


def _channels(image: Plane, size: Size, level: Level) -> Channels:
    return orientation(log_luminance(image, size), window=level.window, smooth=level.smooth)
