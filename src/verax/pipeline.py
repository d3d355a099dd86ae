"""restore(): the one place that joins the rooms."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verax import image as images
from verax import restorers
from verax.errors import choose
from verax.fusion.fuse import MODES, Fusion, fuse
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import Image, Photo
from verax.restorers.faults import Faults, diagnose

PriorUse = Literal["used", "refused", "none"]

EMBEDDED = "network"
DEFAULT_RESTORER = "auto"  # the embedded network, except under a prior of which tone alone is taken
DEFAULT_FUSION = "auto"  # by network over a network's base; over any other the prior's tone alone


@dataclass(frozen=True, slots=True)
class Restoration:
    """A restoration with everything that led to it.

    Attributes:
        pixels: (H, W, 3) float32 on the photo's grid.
        photo: what came in.
        base: the photo restored without the prior.
        warped: the registered prior, None without one.
        registration: None without a prior.
        trust: (H, W, 3) shares from photo, prior's tone, prior's texture.
        prior: "used", "refused" (the base is returned) or "none".
        faults: what the photo suffers from.
    """

    pixels: Image
    photo: Photo
    base: Image
    warped: Warped | None
    registration: Registration | None
    trust: NDArray[np.float32]
    prior: PriorUse
    faults: Faults
    scene_state_change: bool
    notes: tuple[str, ...]
    seconds: float


def restore(
    photo: Photo | Image | Path | str,
    prior: Photo | Image | Path | str | None = None,
    *,
    restorer: str = DEFAULT_RESTORER,
    fidelity: float = 1.0,
    fusion: str = DEFAULT_FUSION,
) -> Restoration:
    """Restore a photo, with a prior where one is given.

    `photo` and `prior` are paths, photos or arrays that follow the image contract. `restorer` makes
    the base: a name of `verax.restorers`, a weights file, or "auto" (see `base_restorer`). `fusion`
    is "network", "tone" or "auto" (see `fusion_mode`).
    """
    start = time.perf_counter()
    mode = fusion_mode(fusion, restorer)
    original = as_photo(photo, name="photo")
    registration, warped = None, None
    if prior is not None:
        picture = as_photo(prior, name="prior").pixels
        registration = register(original.pixels, picture)
        warped = apply(registration, picture, size=(original.width, original.height))
    refused = registration is not None and registration.outcome == "foreign"
    use: PriorUse = "none" if registration is None else "refused" if refused else "used"
    suffers = diagnose(original.pixels)
    base = restorers.restore(original.pixels, base_restorer(restorer, use, mode), faults=suffers)
    fused: Fusion = fuse(original.pixels, base, warped, registration, fidelity=fidelity, mode=mode)
    return Restoration(
        fused.pixels,
        original,
        base,
        warped,
        registration,
        fused.trust,
        use,
        suffers,
        fused.scene_state_change,
        fused.notes,
        time.perf_counter() - start,
    )


def fusion_mode(name: str, restorer: str) -> str:
    """The way of fusing behind a name. "auto" is by network, which weighs the base's light against
    the prior's, over a base that a network made; the photo itself or a classical base has no
    light worth weighing and gets the prior's tone."""
    learnt = restorer in (DEFAULT_RESTORER, EMBEDDED) or restorer.endswith(restorers.WEIGHTS)
    meant = {mode: mode for mode in MODES} | {DEFAULT_FUSION: "network" if learnt else "tone"}
    return choose(meant, name, kind="fusion")


def base_restorer(name: str, use: PriorUse, fusion: str) -> str:
    """The restorer behind a name. "auto" is the embedded network, on whose base the fusion network
    learnt; the tone of a prior alone moves the photo itself."""
    if name != DEFAULT_RESTORER:
        return name
    return "none" if use == "used" and fusion == "tone" else EMBEDDED


def as_photo(picture: Photo | Image | Path | str, *, name: str) -> Photo:
    """A photo from a path, a photo or an array, large enough to work with."""
    if isinstance(picture, (Path, str)):
        picture = images.read(picture)
    photo = picture if isinstance(picture, Photo) else images.from_array(picture, name=name)
    images.check_size(photo.pixels, name=photo.name or name)
    return photo


def record(restoration: Restoration) -> dict[str, Any]:
    """A restoration as JSON: what was used, how far it is trusted, how long it took."""
    shares = [float(share) for share in restoration.trust.reshape(-1, 3).mean(0, dtype=np.float64)]
    total = sum(shares)
    found = restoration.registration
    return {
        "width": restoration.photo.width,
        "height": restoration.photo.height,
        "prior": restoration.prior,
        "registration": None if found is None else registration_record(found),
        "trust": dict(
            zip(("photo", "tone", "texture"), (share / total for share in shares), strict=True)
        ),
        "faults": restoration.faults.record(),
        "scene_state_change": restoration.scene_state_change,
        "notes": list(restoration.notes),
        "seconds": round(restoration.seconds, 3),
    }


def registration_record(found: Registration) -> dict[str, Any]:
    """A registration as JSON; the matrix maps prior pixels to photo pixels."""
    return {
        "accepted": found.accepted,
        "outcome": found.outcome,
        "reason": found.reason,
        "matrix": [[float(value) for value in row] for row in found.matrix],
        "p_value": float(found.p_value),
        "coverage": float(found.coverage),
        "confidence": float(found.confidence.mean()),
        "canvas": found.canvas,
    }
