"""The prior under the photo's light: what a prior shows, without its taste in light and contrast."""

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
    for _ in range(ROUNDS):
        total = blur(trusted, sigma) + 1e-6

        def mean(values: Float) -> Float:
            wide = trusted if values.ndim == 2 else trusted[..., None]
            over = total if values.ndim == 2 else total[..., None]
            return np.asarray(blur(wide * values, sigma) / over, np.float32)  # noqa: B023

        spread = [mean((x - mean(x)) ** 2) + 1e-4 for x in (grey, wanted)]
        gain = np.clip(np.sqrt(spread[1] / spread[0]), *GAINS)
        offset = mean(own - gain[..., None] * given)
        residual = cv2.GaussianBlur(
            np.abs(luma(gain[..., None] * given + offset) - wanted), (0, 0), 1
        )
        inside = residual[seen > 0.5]
        typical = max(float(np.median(inside)) if inside.size else 0.0, LEAST)
        trusted = np.asarray(weight / (1 + (residual / (2 * typical)) ** 4), np.float32)
    return Relight(np.asarray(gain, np.float32), offset)
