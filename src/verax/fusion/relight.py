"""The prior under the photo's light: what a prior shows, without its taste in light."""

from dataclasses import dataclass

import cv2
import numpy as np

from verax.fusion.grid import blur
from verax.fusion.octaves import Float, luma, reduced, resized
from verax.image import Image, Plane

WORK = 160  # px: long side at which the light is compared
WIDE = 0.15  # windows, share of the long side
GAINS = (0.5, 2.0)
LEAST = 0.01  # residual below which nothing differs
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Relight:
    """Slow fields at the working size: gain (h, w) of contrast and offset (h, w, 3) of colour."""

    gain: Plane
    offset: Float

    def __call__(self, picture: Float) -> Float:
        """A prior, or a coarser copy of one, under the photo's light; not clipped."""
        gain, offset = (resized(field, picture.shape) for field in (self.gain, self.offset))
        return np.asarray(gain[..., None] * picture + offset, np.float32)


def fit(prior: Image, photo: Image, valid: Plane) -> Relight:
    """Match mean colour and contrast of luma in wide windows.

    What differs, as a shadow that the prior took away, counts less and less: weights are
    1 / (1 + (r / 2m)^4), r the residual and m its median (iteratively reweighted).
    """
    given, own, seen = (reduced(x, WORK) for x in (prior, photo, valid))
    sigma, weight = WIDE * max(seen.shape), seen + np.float32(1e-4)
    trusted, grey, wanted = weight, luma(given), luma(own)
    gain, offset = np.ones_like(seen), np.zeros_like(own)
    for _ in range(ROUNDS):
        spread = [
            _mean((x - _mean(x, trusted, sigma)) ** 2, trusted, sigma) + np.float32(1e-4)
            for x in (grey, wanted)
        ]
        gain = np.clip(np.sqrt(spread[1] / spread[0]), *GAINS)
        offset = _mean(own - gain[..., None] * given, trusted, sigma)
        off = luma(gain[..., None] * given + offset) - wanted
        residual = cv2.GaussianBlur(np.abs(off), (0, 0), 1)
        inside = residual[seen > 0.5]
        typical = max(float(np.median(inside)) if inside.size else 0.0, LEAST)
        trusted = np.asarray(weight / (1 + (residual / (2 * typical)) ** 4), np.float32)
    return Relight(np.asarray(gain, np.float32), offset)


def _mean(values: Float, weight: Plane, sigma: float) -> Float:
    """Weighted means of (h, w) or (h, w, 3) in wide windows."""
    total = blur(weight, sigma) + np.float32(1e-6)
    if values.ndim == 2:
        return np.asarray(blur(weight * values, sigma) / total, np.float32)
    return np.asarray(blur(weight[..., None] * values, sigma) / total[..., None], np.float32)
