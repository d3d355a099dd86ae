"""restore(): the one place that joins the rooms."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from verax import catalog, restorers
from verax import image as images
from verax.errors import InputError, choose
from verax.fusion import dial
from verax.fusion.explanation import Explanation
from verax.fusion.fuse import Fusion, fuse
from verax.fusion.trust import CLASSES
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import Image, Photo
from verax.provenance.statement import marked
from verax.restorers import network
from verax.restorers.faults import Faults, diagnose

if TYPE_CHECKING:
    from verax.image.accept import Picture

PriorUse = Literal["used", "unused", "none"]

EMBEDDED = "network"
DEFAULT_RESTORER = "auto"  # the embedded networks
DEFAULT_FIDELITY = dial.DEFAULT


@dataclass(frozen=True, slots=True, repr=False)
class Restoration:
    """A restoration with everything that led to it.

    Attributes:
        pixels: (H, W, 3) float32 on the photo's grid.
        photo: what came in.
        base: the photo restored without the prior.
        warped: the registered prior, None without one.
        registration: None without a prior.
        trust: (H, W, 4) shares: photo, confirmed, light, generated (`verax.fusion.trust.CLASSES`).
        prior: "used", "unused" (the base is returned) or "none".
        faults: what the photo suffers from.
        explanation: what photo and prior together say of it; None where nothing was taken.
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

    def __repr__(self) -> str:
        size = f"{self.photo.width}x{self.photo.height}"
        name = self.photo.name or "a photo"
        return f"<Restoration of {name}, {size}, prior {self.prior}, {self.seconds:.1f} s>"

    def _repr_png_(self) -> bytes:
        """Photo and restoration side by side, as notebooks show them."""
        from verax.image.preview import preview_png

        return preview_png(self.photo.pixels, self.pixels)

    def record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return record(self)

    def save(
        self, path: str | Path, *, drop_gps: bool = False, quality: int = images.QUALITY
    ) -> None:
        """Save the restoration as the photo came, with a word in its XMP on how it was made.

        Raises OutputError when the file cannot be written. `verax.making.make` also signs.
        """
        like = marked(self.photo, prior=self.prior == "used")
        images.write(path, self.pixels, like=like, drop_gps=drop_gps, quality=quality)


def restore(
    photo: "Picture",
    prior: "Picture | None" = None,
    *,
    restorer: str = DEFAULT_RESTORER,
    fidelity: float = DEFAULT_FIDELITY,
    task: str = "",
    accept_prior: bool = False,
) -> Restoration:
    """Restore a photo, with a prior where one is given.

    Parameters
    ----------
    photo, prior : path, bytes, PIL picture, array or Photo
        At least 16 px on each side, of any two sizes. A prior is what an image generator made of
        the photo; one that shows another scene is left out, which is a result and not an error.
    restorer
        What makes the base: a name of `verax names restorers`, a weights file, or "auto".
    fidelity
        1: only what the photo confirms, and light. 0: the registered prior itself.
    task
        What is to be mended, such as "dehaze" or "derain", or what the prior was asked for; "":
        read off the photo and the pair.
    accept_prior
        The prior is known to show the photo's scene: it is used where nobody could tell.

    Returns
    -------
    Restoration
        `pixels` on the photo's own grid, the trust map, the registration, and `save(path)`.

    Raises
    ------
    InputError
        A picture that cannot be read or used, or an option out of its range.
    """
    if not 0.0 <= fidelity <= 1.0:
        raise InputError(f"fidelity: want a number from 0 to 1, got {fidelity}")
    if task:
        choose({name: name for name in catalog.tasks()}, task, kind="task")
    start = time.perf_counter()
    original = _opened(photo, "photo")
    registration, warped = None, None
    if prior is not None:
        picture = _opened(prior, "prior").pixels
        registration = register(original.pixels, picture, accept=accept_prior)
        warped = apply(registration, picture, size=(original.width, original.height))
    use: PriorUse = "none"
    if registration is not None:
        use = "used" if registration.usable else "unused"
    suffers = diagnose(original.pixels).believing(task)
    base, lit = _base(original.pixels, restorer, suffers, fused=use == "used")
    fused: Fusion = fuse(
        original.pixels, base, warped, registration,
        lit=lit, faults=suffers, fidelity=fidelity, task=task,
    )  # fmt: skip
    if fused.explanation is None and use == "used":  # nothing was taken: the base, light and all
        base, _ = _base(original.pixels, restorer, suffers, fused=False)
        fused = replace(fused, pixels=base)
    pixels = fused.pixels if use == "used" else images.keep_grey(fused.pixels, original.pixels)
    return Restoration(
        pixels,
        original,
        base,
        warped,
        registration,
        fused.trust,
        use,
        suffers,
        fused.explanation,
        fused.scene_state_change,
        fused.notes,
        time.perf_counter() - start,
    )


def _base(
    photo: Image, restorer: str, faults: Faults, *, fused: bool
) -> tuple[Image, Image | None]:
    """The base, and its idea of the light where a prior is fused: the embedded networks then mend
    structure only, for of light two opinions are weighed."""
    if fused and restorer in (DEFAULT_RESTORER, EMBEDDED):
        return network.structure(photo, faults), network.lit(photo, faults)
    name = EMBEDDED if restorer == DEFAULT_RESTORER else restorer
    return restorers.restore(photo, name, faults=faults), None


def _opened(picture: "Picture", name: str) -> Photo:
    photo = images.as_photo(picture, name=name)
    images.check_size(photo.pixels, name=photo.name or name)
    return photo


def record(restoration: Restoration) -> dict[str, Any]:
    """A restoration as JSON: what was used, how far it is trusted, how long it took."""
    shares = restoration.trust.reshape(-1, len(CLASSES)).mean(0, dtype=np.float64)
    explanation = restoration.explanation
    found = restoration.registration
    return {
        "width": restoration.photo.width,
        "height": restoration.photo.height,
        "prior": restoration.prior,
        "registration": None if found is None else found.record(),
        "trust": {name: float(share) for name, share in zip(CLASSES, shares, strict=True)},
        "explanation": None if explanation is None else explanation.record(),
        "faults": restoration.faults.record(),
        "scene_state_change": restoration.scene_state_change,
        "notes": list(restoration.notes),
        "seconds": round(restoration.seconds, 3),
    }
