"""Orientation channels: features that do not depend on light, colour and texture.

Per pixel, the direction of the log-luminance gradient, unsigned (the polarity of an edge may flip
between night and day), weighted by its strength relative to the neighbourhood. A direction t is
stored as cos 2t, sin 2t, cos 4t, sin 4t: the first terms of its Fourier series, which correlate as
well as eight soft bins in half the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry import Matrix, Size, compose, invert, scaled, shift, stretch, warp
from verax.image import Plane
from verax.image.pixels import blur, resize

Channels = NDArray[np.float32]  # (H, W, C), zero mean; C = 4 for directions

BLACK = 0.03  # added before the logarithm: below it, 8-bit photos have more noise than structure
FLOOR = 0.25  # share of the mean strength added before normalising, so flat regions stay flat
MARGIN = 16  # px of a level by which the prior's view is wider than the photo
EDGE = 3  # px at the prior's border where channels are affected by padding


def log_luminance(plane: Plane, size: Size) -> Plane:
    """Log of a luminance plane at another size, (h, w)."""
    return np.asarray(np.log(np.clip(resize(plane, size), 0, 1) + BLACK), np.float32)


def orientation(plane: Plane, *, window: float = 6.0, smooth: float = 1.0) -> Channels:
    """Orientation channels of a log-luminance plane.

    Args:
        window: sigma in px of the neighbourhood by which strength is normalised.
        smooth: sigma in px of the final blur; wider gives a wider basin of attraction.
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
    """`coherence` from the products of the maps: one times other, and each with itself."""
    size = products[0].shape[1], products[0].shape[0]
    coarser = max(1.0, window / 3)  # wide windows are computed on a coarser grid
    small = resize(cv2.merge(list(products)), scaled(size, 1 / coarser, least=1))
    cross, first, second = np.moveaxis(blur(small, window / coarser), -1, 0)
    thin = 1e-4 * first.mean() * second.mean() + 1e-9
    local = np.asarray(cross / np.sqrt(first * second + thin), np.float32)
    return np.asarray(cv2.resize(local, size, interpolation=cv2.INTER_LINEAR), np.float32)


def correlation(one: Channels, other: Channels, valid: Plane) -> float:
    """Correlation of two channel maps, weighted by `valid`, in [-1, 1]."""
    weight = valid[..., None]
    weighted = one * weight
    norm = float((weighted * one).sum()) * float((other * weight * other).sum())
    return float((weighted * other).sum()) / float(np.sqrt(norm + 1e-9))


@dataclass(frozen=True, slots=True)
class Level:
    """One size of the coarse-to-fine fit.

    Attributes:
        long_side: of the photo, px.
        freedoms: parameters of the motions tried in turn: 4 shift and scales, 6 affine, 8
            projective.
        window: sigma in px of the neighbourhood by which edge strength is normalised.
        smooth: sigma in px of the blur of the channels.
        rounds: most Gauss-Newton steps.
        small_step: px: a smaller step means that the fit has converged.
        sampling: px between the samples that are compared; the blur removes finer structure.
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
    """Photo and prior as channels on the photo's grid at one level.

    Attributes:
        photo: channels (h, w, 4).
        prior: channels of the prior warped by `matrix`, so that directions agree; MARGIN px wider
            than the photo on every side, zero outside the prior.
        valid: share of each pixel that the prior covers, of the same size.
        matrix: prior px to photo px, as assumed for this view.
        to_photo: level px to photo px.
    """

    photo: Channels
    prior: Channels
    valid: Plane
    matrix: Matrix
    to_photo: Matrix

    def in_place(self) -> tuple[Channels, Plane]:
        """Prior and valid on the photo's grid, without the margin."""
        inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
        return self.prior[inner], self.valid[inner]


@dataclass(frozen=True, slots=True)
class Views:
    """Photo and prior for comparison at any level; the photo's channels are computed once."""

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
        """The prior resized to the photo, prior px to photo px."""
        return stretch(self.prior_size, self.size)

    def at(self, level: Level, matrix: Matrix) -> View:
        """Both pictures as channels on the photo's grid at one level."""
        size = self.size
        small = scaled(size, min(1.0, level.long_side / max(size)))
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
