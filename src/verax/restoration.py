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
from verax.geometry.register import Registration, WarpedPrior
from verax.image import Image, Photo, Plane
from verax.image.contract import preview_png
from verax.prints.enlarge import Larger, with_alpha_of
from verax.prints.holes import FilledPhoto
from verax.provenance.statement import mark_xmp
from verax.restorers.faults import Faults

PriorUse = Literal["used", "unused", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of `verax.restore`, checked, with its pictures `mask` and `only` as planes.

    Attributes:
        registration: of the prior, None if it must still be computed.
        holes: from `mask`: (H, W) in [0, 1], 1 where the photo is damaged; None: nowhere.
        free: from `only`: (H, W) in [0, 1], 1 where the photo may change; None: everywhere.
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
        pixels: the restoration, (H, W, 3) float32 on the photo's grid.
        photo: the photo as it was opened.
        base: the photo, with its holes filled, restored without other use of the prior.
        warped: the prior on the photo's grid, even if it was not used; None if none was given.
        registration: of the prior on the photo; None if no prior was given.
        trust: trust map (H, W, 4), for each pixel four shares, which sum to 1: the photo; the
            photo's structure with the prior's contrast; the prior's light; generated.
        prior: "used"; "unused": not placed, so that `pixels` is the base; "none": not given.
        faults: what is wrong with the photo, with certainty and severity of each fault.
        explanation: the faults that account for changes in the prior; None if no fault does, or
            no prior was used. If it is None, `pixels` has nothing of a prior except filled holes
            and added colour (see `filled`, `coloured`).
        scene_state_change: whether the prior changed the state of the scene, such as day to night;
            its light is then not used.
        notes: sentences on what else the user should know.
        seconds: how long the restoration took.
        filled: the photo with its damaged places (holes) filled from the prior, if there are any.
        coloured: (H, W) in [0, 1], how much of the colour is the prior's; None if none was added.
        larger: the enlarged restoration; None if no scale was given.
        faces: for each face found in the photo, whether it is still the same; () without a prior.
    """

    pixels: Image
    photo: Photo
    base: Image
    warped: WarpedPrior | None
    registration: Registration | None
    trust: NDArray[np.float16]
    prior: PriorUse
    faults: Faults
    explanation: Explanation | None
    scene_state_change: bool
    notes: tuple[str, ...]
    seconds: float
    filled: FilledPhoto
    coloured: Plane | None = None
    larger: Larger | None = None
    faces: tuple[FaceCheck, ...] = ()

    @property
    def result(self) -> Image:
        """The picture that `save` writes, (H, W, 3): the enlarged one if there is one, else
        `pixels`."""
        return self.pixels if self.larger is None else self.larger.pixels

    def __repr__(self) -> str:
        size = f"{self.photo.width}x{self.photo.height}"
        name = self.photo.name or "a photo"
        return f"<Restoration of {name}, {size}, prior {self.prior}, {self.seconds:.1f} s>"

    def _repr_png_(self) -> bytes:
        """Photo and restoration side by side as PNG, which notebooks show."""
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
        """Save the restoration with the photo's bit depth and metadata, and its provenance in XMP.

        The file is not signed; `verax.making.make` signs. `drop_gps` leaves out where the photo was
        taken. Raises OutputError if the file cannot be written.
        """
        like = mark_xmp(self.photo, prior=self.prior == "used")
        height, width = self.result.shape[:2]
        like = with_alpha_of(like, (width, height))
        images.write(path, self.result, like=like, drop_gps=drop_gps, quality=quality)
