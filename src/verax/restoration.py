"""The records of a restoration: its request, and the result with everything that led to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verax import image as images
from verax.faces.likeness import FaceCheck
from verax.fusion.dial import CLASSES
from verax.fusion.explanation import Explanation
from verax.geometry.register import Registration, Warped
from verax.image import Image, Photo, Plane
from verax.image.contract import preview_png
from verax.prints.enlarge import Larger, with_alpha_of
from verax.prints.holes import Filled
from verax.provenance.statement import mark_xmp
from verax.restorers.faults import Faults

PriorUse = Literal["used", "unused", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `verax.pipeline.restore`, checked, its masks read.

    Attributes:
        holes: (H, W) in [0, 1], 1 where the photo is destroyed; None without a mask.
        free: (H, W), above 0 where the photo may change; None: it may change everywhere.
    """

    restorer: str
    fidelity: float
    task: str
    accept_prior: bool
    registration: Registration | None
    holes: Plane | None
    free: Plane | None
    scale: str
    exposure: float


@dataclass(frozen=True, slots=True, repr=False)
class Restoration:
    """A restoration with everything that led to it.

    Attributes:
        pixels: (H, W, 3) float32 on the photo's grid.
        photo: the input.
        base: the photo restored without the prior.
        warped: the registered prior, None without one.
        registration: None without a prior.
        trust: (H, W, 4) shares: photo, confirmed, light, generated (`verax.fusion.dial.CLASSES`).
        prior: "used", "unused" (the base is returned) or "none".
        faults: the faults of the photo.
        explanation: faults that justify changes of the prior; None if nothing was taken from it.
        scene_state_change: whether the prior changed the state of the scene, such as day to night;
            its light is then not used.
        notes: what else a person should know, in sentences.
        seconds: the time that it took.
        filled: the photo after its holes were filled from the prior.
        coloured: (H, W) share of the colour that is the prior's; None if the photo has colour.
        larger: the restoration on a finer grid; None if no scale was given.
        faces: for each of the photo's faces, whether it is still the same; () without a prior.
    """

    pixels: Image
    photo: Photo
    base: Image
    warped: Warped | None
    registration: Registration | None
    trust: NDArray[np.float16]
    prior: PriorUse
    faults: Faults
    explanation: Explanation | None
    scene_state_change: bool
    notes: tuple[str, ...]
    seconds: float
    filled: Filled
    coloured: Plane | None = None
    larger: Larger | None = None
    faces: tuple[FaceCheck, ...] = ()

    @property
    def result(self) -> Image:
        """The pixels that are saved: (H, W, 3) on the photo's grid or, with a scale, on a finer
        one."""
        return self.pixels if self.larger is None else self.larger.pixels

    def __repr__(self) -> str:
        size = f"{self.photo.width}x{self.photo.height}"
        name = self.photo.name or "a photo"
        return f"<Restoration of {name}, {size}, prior {self.prior}, {self.seconds:.1f} s>"

    def _repr_png_(self) -> bytes:
        """Photo and restoration side by side, as notebooks show them."""
        return preview_png(self.photo.pixels, self.pixels)

    def record(self) -> dict[str, Any]:
        """The restoration as a JSON object, without its pictures."""
        shares = self.trust.reshape(-1, len(CLASSES)).mean(0, dtype=np.float64)
        explanation, registration, damage = self.explanation, self.registration, self.filled.damage
        coloured = self.coloured
        return {
            "width": int(self.result.shape[1]),
            "height": int(self.result.shape[0]),
            "prior": self.prior,
            "unchanged": bool(np.array_equal(self.pixels, self.photo.pixels)),
            "registration": None if registration is None else registration.record(),
            "trust": {name: float(share) for name, share in zip(CLASSES, shares, strict=True)},
            "explanation": None if explanation is None else explanation.record(),
            "filled": float(self.filled.mask.mean()),
            "damage": None if damage is None else damage.record(),
            "coloured": None if coloured is None else float(coloured.mean()),
            "larger": None if self.larger is None else self.larger.record(),
            "faces": [check.record() for check in self.faces],
            "faults": self.faults.record(),
            "scene_state_change": self.scene_state_change,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }

    def save(
        self, path: str | Path, *, drop_gps: bool = False, quality: int = images.QUALITY
    ) -> None:
        """Save the restoration with the photo's depth and metadata, and its provenance in XMP.

        Raises OutputError if the file cannot be written. `verax.making.make` also signs.
        """
        like = mark_xmp(self.photo, prior=self.prior == "used")
        height, width = self.result.shape[:2]
        like = with_alpha_of(like, (width, height))
        images.write(path, self.result, like=like, drop_gps=drop_gps, quality=quality)
