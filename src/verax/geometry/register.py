"""Prior onto photo: global transform, local field, confidence, accepted or refused and why.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0). The matrix maps prior
pixels to photo pixels. Photo pixel p is looked up in the prior at inverse(matrix) @ (p + field[p]).
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane, check_image

Outcome = Literal["registered", "coarse", "foreign"]


@dataclass(frozen=True, slots=True)
class Registration:
    """Where the prior lies on the photo.

    Attributes:
        outcome: "registered"; "coarse": same scene, but only a coarse tone may be taken;
            "foreign": nothing may be taken.
        reason: the outcome in words.
        matrix: (3, 3) float64, prior px to photo px.
        field: (H, W, 2) float32 local displacement in photo px (dx, dy), or None for zero.
        confidence: (H, W) float32 in [0, 1] on the photo's grid.
        p_value: how likely a foreign picture scores as well.
        coverage: share of the photo that the prior shows, 0..1.
        canvas: how the prior's canvas came about: "stretch", "crop", "letterbox", "outpaint".
    """

    outcome: Outcome
    reason: str
    matrix: NDArray[np.float64]
    field: NDArray[np.float32] | None
    confidence: Plane
    p_value: float
    coverage: float
    canvas: str

    @property
    def accepted(self) -> bool:
        return self.outcome == "registered"


@dataclass(frozen=True, slots=True)
class Warped:
    """The prior on the photo's grid: pixels (H, W, 3) and the share seen, (H, W) in [0, 1]."""

    pixels: Image
    valid: Plane


def register(photo: Image, prior: Image) -> Registration:
    """Find where the prior lies on the photo. A refusal is a result, not an error."""
    check_image(photo, name="photo")
    check_image(prior, name="prior")
    height, width = photo.shape[:2]
    sx, sy = width / prior.shape[1], height / prior.shape[0]
    matrix = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]], np.float64)
    return Registration(
        "registered",
        "",
        matrix,
        None,
        np.ones((height, width), np.float32),
        0.0,
        1.0,
        "stretch",
    )


def apply(registration: Registration, prior: Image, *, size: tuple[int, int]) -> Warped:
    """The prior warped onto a photo grid of (width, height)."""
    inverse = np.linalg.inv(registration.matrix)
    pixels = cv2.warpPerspective(prior, np.linalg.inv(inverse), size, flags=cv2.INTER_LINEAR)
    valid = cv2.warpPerspective(np.ones(prior.shape[:2], np.float32), registration.matrix, size)
    return Warped(np.clip(pixels, 0, 1).astype(np.float32), valid)
