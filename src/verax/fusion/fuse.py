"""Photo, base and registered prior to restoration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verax.geometry.register import Registration, Warped
from verax.image import Image


@dataclass(frozen=True, slots=True)
class Fusion:
    """The restoration on the photo's grid.

    Attributes:
        pixels: (H, W, 3) float32.
        trust: (H, W, 3) float32, per pixel the share from the photo, tone from the prior,
            texture from the prior; the three sum to 1.
        scene_state_change: the prior shows another state of the scene (night made day ...).
        notes: what a user should know, in words.
    """

    pixels: Image
    trust: NDArray[np.float32]
    scene_state_change: bool
    notes: tuple[str, ...]


def fuse(
    photo: Image,
    base: Image,
    warped: Warped | None,
    registration: Registration | None,
    *,
    fidelity: float = 1.0,
    mode: str = "tone",
) -> Fusion:
    """Take from the registered prior what can be trusted; without one, the base."""
    trust = np.zeros_like(photo)
    trust[..., 0] = 1.0
    return Fusion(base, trust, False, ())
