"""Depth from a hazy photo and its clear twin: what the veil between them says.

I = J t + A (1 - t), t = exp(-beta d) (Koschmieder). With both pictures at hand, t follows from a
local least-squares fit and A from the residual it leaves; -log t is depth up to a factor. So a few
real pairs become scenes on which haze of any thickness can be simulated.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane

WINDOW = 9  # px of the local fit
AIRLIGHTS = np.arange(0.6, 1.005, 0.02)  # grey, as in the standard sets
COARSE = 3  # every third pixel is enough to find the airlight
EXACT = 0.03  # rms residual above which the pair does not follow the model


@dataclass(frozen=True, slots=True)
class Veil:
    """Transmission (H, W) in (0, 1], grey airlight, and the rms residual of the model."""

    transmission: Plane
    airlight: float
    residual: float

    @property
    def depth(self) -> Plane:
        """Optical depth (H, W), 0 and more: depth up to a factor."""
        return np.asarray(-np.log(self.transmission), np.float32)


def lift(photo: Image, reference: Image) -> Veil:
    """The veil that lies over `reference` in `photo`, both (H, W, 3) on one grid."""
    small = photo[::COARSE, ::COARSE], reference[::COARSE, ::COARSE]
    airlight = min(AIRLIGHTS, key=lambda a: _fit(*small, float(a)).residual)
    return _fit(photo, reference, float(airlight))


def _fit(photo: Image, reference: Image, airlight: float) -> Veil:
    veiled, clear = photo - airlight, reference - airlight
    both, alone = _local(veiled * clear), _local(clear * clear)
    transmission = np.clip((both + 1e-4) / (alone + 1e-4), 0.02, 1.0).astype(np.float32)
    left = veiled - transmission[..., None] * clear
    return Veil(transmission, airlight, float(np.sqrt(np.mean(left * left))))


def _local(products: NDArray[np.float32]) -> Plane:
    """Mean over channels and a window."""
    return np.asarray(cv2.blur(products.mean(2), (WINDOW, WINDOW)), np.float32)
