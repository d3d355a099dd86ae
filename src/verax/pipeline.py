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
from verax.fusion.trust import CLASSES, of_one
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import Image, Photo, Plane
from verax.prints.colour import with_colour
from verax.prints.enlarge import Larger, larger, larger_size, with_alpha_of
from verax.prints.holes import Filled, drawn, fill_holes, only_inside
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
        filled: the photo's holes, filled from the prior before all else.
        coloured: (H, W) share of a colourless photo's colour that is the prior's, else None.
        larger: the restoration on a finer grid, where one is wanted.
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

    @property
    def result(self) -> Image:
        """What is saved: (H, W, 3) on the photo's grid or a finer one."""
        return self.pixels if self.larger is None else self.larger.pixels

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
        height, width = self.result.shape[:2]
        like = with_alpha_of(like, (width, height))
        images.write(path, self.result, like=like, drop_gps=drop_gps, quality=quality)


def restore(
    photo: "Picture",
    prior: "Picture | None" = None,
    *,
    restorer: str = DEFAULT_RESTORER,
    fidelity: float = DEFAULT_FIDELITY,
    task: str = "",
    accept_prior: bool = False,
    registration: Registration | None = None,
    mask: "Picture | None" = None,
    only: "Picture | None" = None,
    scale: str = "",
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
    registration
        Of this prior on this photo, where `verax.register` has found it already.
    mask
        Of the photo's size, white where the photo holds nothing: filled from the prior.
    only
        Of the photo's size, white where the photo may change; elsewhere it stays bit for bit.
    scale
        "2", "3", "4" or "prior" (as fine as the prior): `larger` has the restoration on a grid
        that much finer. "": only the photo's own.

    Returns
    -------
    Restoration
        `pixels` on the photo's own grid, the trust map, the registration, and `save(path)`.

    Raises
    ------
    InputError
        A picture that cannot be read or used, or an option out of its range.
    """
    start = time.perf_counter()
    original = _opened(photo, "photo")
    check_options(original, fidelity, task, scale, alone=prior is None)
    hand, free = (_mask(given, original, name) for given, name in ((mask, "mask"), (only, "only")))
    picture = None if prior is None else _opened(prior, "prior").pixels
    registration, warped = _placed(original, picture, registration, accept=accept_prior)
    use: PriorUse = "none"
    if registration is not None:
        use = "used" if registration.usable else "unused"
    filled = fill_holes(
        original.pixels, warped if use == "used" else None, hand, search=task == "old_photo"
    )
    suffers = diagnose(filled.pixels).believing(task)
    base, lit = _base(filled.pixels, restorer, suffers, fused=use == "used")
    fused: Fusion = fuse(
        filled.pixels, base, warped, registration,
        lit=lit, faults=suffers, fidelity=fidelity, task=task,
    )  # fmt: skip
    if fused.explanation is None and use == "used":  # nothing was taken: the base, light and all
        base, _ = _base(filled.pixels, restorer, suffers, fused=False)
        fused = replace(fused, pixels=base)
    pixels = fused.pixels if use == "used" else images.keep_grey(fused.pixels, original.pixels)
    trust = np.where(filled.mask[..., None], of_one("generated"), fused.trust)
    restoration = Restoration(
        pixels, original, base, warped, registration, trust, use, suffers, fused.explanation,
        fused.scene_state_change, fused.notes + filled.notes, 0.0, filled,
    )  # fmt: skip
    restoration = _enlarged(_kept(_coloured(restoration), free), picture, scale, fidelity)
    return replace(restoration, seconds=time.perf_counter() - start)


def check_options(photo: Photo, fidelity: float, task: str, scale: str, *, alone: bool) -> None:
    """Raises InputError for options that cannot be followed; `alone`: there is no prior."""
    if not 0.0 <= fidelity <= 1.0:
        raise InputError(f"fidelity: want a number from 0 to 1, got {fidelity}")
    if task:
        choose({name: name for name in catalog.tasks()}, task, kind="task")
    if scale:
        larger_size((photo.width, photo.height), scale)
    if scale == "prior" and alone:
        raise InputError("scale: want a prior for 'prior', got none; choose 2, 3 or 4")


def _placed(
    photo: Photo, prior: Image | None, known: Registration | None, *, accept: bool
) -> tuple[Registration | None, Warped | None]:
    """Where the prior lies on the photo, and the prior there."""
    if prior is None:
        return None, None
    found = known or register(photo.pixels, prior, accept=accept)
    return found, apply(found, prior, size=(photo.width, photo.height))


def _coloured(restoration: Restoration) -> Restoration:
    """The restoration of a photo without colour under its prior's."""
    if restoration.registration is None or restoration.registration.placed != "exactly":
        return restoration
    assert restoration.warped is not None
    found = with_colour(restoration.photo.pixels, restoration.pixels, restoration.warped)
    if found is None:
        return restoration
    return replace(restoration, pixels=found[0], coloured=found[1])


def _kept(restoration: Restoration, free: Plane | None) -> Restoration:
    """The restoration where it may change, elsewhere the photo to the last bit."""
    if free is None:
        return restoration
    pixels = only_inside(restoration.photo.pixels, restoration.pixels, free)
    trust = np.where(free[..., None] > 0, restoration.trust, of_one("photo"))
    return replace(restoration, pixels=pixels, trust=trust)


def _enlarged(
    restoration: Restoration, prior: Image | None, scale: str, fidelity: float
) -> Restoration:
    """The restoration with its larger copy, where a scale is wanted."""
    if not scale:
        return restoration
    found = larger(restoration.pixels, prior, restoration.registration, scale, strict=fidelity == 1)
    return replace(restoration, larger=found, notes=restoration.notes + found.notes)


def _mask(given: "Picture | None", photo: Photo, name: str) -> Plane | None:
    """A mask for a photo, (H, W) in [0, 1]."""
    if given is None:
        return None
    return drawn(images.as_photo(given, name=name), size=(photo.width, photo.height), name=name)


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
        "width": int(restoration.result.shape[1]),
        "height": int(restoration.result.shape[0]),
        "prior": restoration.prior,
        "registration": None if found is None else found.record(),
        "trust": {name: float(share) for name, share in zip(CLASSES, shares, strict=True)},
        "explanation": None if explanation is None else explanation.record(),
        "filled": float(restoration.filled.mask.mean()),
        "damage": None if restoration.filled.damage is None else restoration.filled.damage.record(),
        "coloured": _mean(restoration.coloured),
        "detail_of_the_prior": _mean(
            None if restoration.larger is None else restoration.larger.generated
        ),
        "faults": restoration.faults.record(),
        "scene_state_change": restoration.scene_state_change,
        "notes": list(restoration.notes),
        "seconds": round(restoration.seconds, 3),
    }


def _mean(share: Plane | None) -> float | None:
    return None if share is None else float(share.mean())
