"""Restores a photo: `restore` calls registration, base, fusion and all steps around them."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from verax import catalog, restorers
from verax import image as images
from verax.errors import InputError, choose
from verax.faces import Face, find_faces
from verax.faces.likeness import check_faces, notes_on, outline
from verax.fusion import dial
from verax.fusion.dial import CLASSES, of_one
from verax.fusion.evidence import is_the_photo
from verax.fusion.fuse import Fusion, fuse
from verax.geometry.register import Registration, WarpedPrior, apply, register
from verax.image import Image, Photo, Plane
from verax.image.pixels import interpolate, repeats_of
from verax.prints.colour import Toning, in_one_tone, toning, trust_in_colour, with_colour
from verax.prints.damage import find_damage
from verax.prints.enlarge import FINER, finer_by, larger, larger_size
from verax.prints.holes import FilledPhoto, Flaws, fill_holes, mask_of, only_inside
from verax.restoration import PriorUse, Request, Restoration
from verax.restorers import network
from verax.restorers.classical import check_exposure, expose
from verax.restorers.faults import Faults, diagnose

if TYPE_CHECKING:
    from verax.image.files import Picture

DEFAULT_RESTORER = "auto"  # the embedded networks
DEFAULT_FIDELITY = dial.DEFAULT
TONED = 0.5  # certainty of wrong light from which a grey print gets the prior's tone
REPEATED = "the photo was enlarged by repeating its pixels: they are interpolated before fusion"
# tasks for which damage of a print is searched: True if there is certainly some
DAMAGED = {"": False, "restore": False, "old_photo": True}


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
    exposure: float = 0.0,
) -> Restoration:
    """Restore a photo, with a prior where one is given and shows the same scene.

    Parameters
    ----------
    photo, prior : path, bytes, PIL picture, array or Photo, at least 16 px on each side
    restorer : method to restore without prior: name in `verax names restorers`, or weights file
    fidelity : at 1, only light and what the photo confirms are taken from the prior; at 0, all
    task : the fault to correct, such as "dehaze"; "": detected
    accept_prior : use the prior even if it cannot be verified that it shows the same scene
    registration : result of `verax.register(photo, prior)`; computed if it is not given
    mask : picture of the photo's size, white where the photo is damaged: filled from the prior
    only : picture of the photo's size, white where the photo may change; the rest stays as it is
    scale : "2", "3", "4" or "prior" (the prior's size): also enlarge the result; "": do not
    exposure : stops by which to brighten the result: -4 (darken) to 4

    Returns
    -------
    Restoration
        `pixels` on the photo's grid, `trust` (trust map), `registration`, and `save(path)`.

    Raises
    ------
    InputError
        A picture that cannot be read or used, or an option out of its range.
    """
    start = time.perf_counter()
    original, picture = _open(photo, prior)
    check_options(original, fidelity, task, scale, exposure=exposure, alone=prior is None)
    request = Request(
        restorer=restorer, fidelity=fidelity, task=task, accept_prior=accept_prior,
        registration=registration, holes=_mask(original, mask, "mask"),
        free=_mask(original, only, "only"), scale=scale, exposure=exposure,
    )  # fmt: skip
    restoration = _restore(original, picture, request)
    return replace(restoration, seconds=time.perf_counter() - start)


def _restore(photo: Photo, prior: Image | None, request: Request) -> Restoration:
    """Restore the photo; what needs only the photo is computed while the prior is registered."""
    image, restorer, task = photo.pixels, request.restorer, request.task
    with ThreadPoolExecutor(1) as beside:
        tone_job = beside.submit(_tone, image, alone=prior is None)
        look = beside.submit(lambda: diagnose(image).believing(task))
        registration, warped = _place(photo, prior, request)
        use = _use(registration)
        base_job = beside.submit(lambda: _base(image, restorer, look.result(), fused=use == "used"))
        search = beside.submit(find_faces if use == "used" else lambda _: (), image)
        faces = partial(_outlines, search, image.shape)
        on_grid, tone = warped if use == "used" else None, tone_job.result()
        damage = _damage(image, on_grid, tone, faces, request)
        filled = fill_holes(image, on_grid, request.holes, damage)
        source = _interpolate(filled, on_grid)
        faults, (base, lit) = look.result(), base_job.result()
        if source.pixels is not image:
            faults = diagnose(source.pixels).believing(task)
            base, lit = _base(source.pixels, restorer, faults, fused=True)
        fused = fuse(
            source.pixels, base, warped, registration, lit=lit, faults=faults, task=task,
            fidelity=request.fidelity,
            small=bool(request.scale) and finer_by(registration) < FINER,
            spared=faces if request.fidelity >= DEFAULT_FIDELITY else None,
        )  # fmt: skip
    alone = fused.explanation is None or (source is not filled and fused.pixels is base)
    if alone and use == "used":  # nothing was taken: the whole base is used
        source = filled  # and repeated pixels stay
        base, _ = _base(filled.pixels, restorer, faults, fused=False)
        fused = replace(fused, pixels=base)
    pixels = fused.pixels if use == "used" else images.keep_grey(fused.pixels, image)
    restoration = Restoration(
        expose(pixels, request.exposure), photo, base, warped, registration,
        _trust(fused, source), use, faults, fused.explanation, fused.scene_state_change,
        fused.notes + source.notes, 0.0, source,
    )  # fmt: skip
    restoration = _inside(_add_colour(restoration, tone), request.free)
    restoration = _with_faces(restoration, search.result())
    return _add_larger(restoration, prior, request)


def _interpolate(filled: FilledPhoto, warped: WarpedPrior | None) -> FilledPhoto:
    """`filled`, interpolated smoothly if its photo was enlarged by repeating pixels; unchanged if
    there is no prior (`warped` is None), or if the prior is the photo itself."""
    repeats = None if warped is None else repeats_of(filled.pixels)
    if repeats is None or warped is None or is_the_photo(filled.pixels, warped):
        return filled
    pixels = interpolate(filled.pixels, repeats)
    return replace(filled, pixels=pixels, notes=(*filled.notes, REPEATED))


def _use(registration: Registration | None) -> PriorUse:
    if registration is None:
        return "none"
    return "used" if registration.usable else "unused"


def _tone(photo: Image, *, alone: bool) -> Toning:
    """Whether a photo is in "colour", "toned" (in one tint, such as sepia) or "grey".
    Without a prior (`alone`) nothing depends on it, and "colour" is returned without a test."""
    return "colour" if alone else toning(photo)


def _outlines(search: Future[tuple[Face, ...]], shape: tuple[int, ...]) -> Plane:
    """(H, W), 1 in faces that `search` finds, else 0; (1, 1) if none. Waits until it is done."""
    return outline(search.result(), shape)


def _damage(
    photo: Image,
    warped: WarpedPrior | None,
    tone: Toning,
    faces: Callable[[], Plane],
    request: Request,
) -> Flaws | None:
    """The damage of a photographed or scanned print; None, without a search, if there is no prior,
    at fidelity 1, or if the task is another fault. `faces` returns a mask (H, W), 1 in faces."""
    known = DAMAGED.get(request.task)
    if warped is None or known is None or request.fidelity == 1:
        return None
    return find_damage(
        photo, warped.pixels, warped.valid, known=known, colour=tone == "colour", faces=faces,
    )  # fmt: skip


def check_options(
    photo: Photo, fidelity: float, task: str, scale: str, *, exposure: float, alone: bool
) -> None:
    """Raises InputError if an option is invalid. `alone`: there is no prior."""
    check_exposure(exposure)
    if not 0.0 <= fidelity <= 1.0:
        raise InputError(f"fidelity: expected a number from 0 to 1, got {fidelity}")
    if task:
        choose({name: name for name in catalog.tasks()}, task, kind="task")
    if scale:
        larger_size((photo.width, photo.height), scale)
    if scale == "prior" and alone:
        raise InputError("scale: expected a prior for 'prior', got none; choose 2, 3 or 4")


def _place(
    photo: Photo, prior: Image | None, request: Request
) -> tuple[Registration | None, WarpedPrior | None]:
    """(registration, prior on the photo's grid, even if not usable); both None without a prior."""
    if prior is None:
        return None, None
    place = request.registration or register(photo.pixels, prior, accept=request.accept_prior)
    return place, apply(place, prior, size=(photo.width, photo.height))


def _trust(fused: Fusion, filled: FilledPhoto) -> NDArray[np.float16]:
    """The trust map (H, W, 4) of the fusion, but all "generated" where holes were filled."""
    if not filled.mask.any():
        return fused.trust
    return np.where(filled.mask[..., None], of_one("generated"), fused.trust)


def _add_colour(restoration: Restoration, tone: Toning) -> Restoration:
    """The restoration with colour or tint of an exactly placed prior, unless `tone` is "colour"."""
    if tone == "colour" or restoration.registration is None:
        return restoration
    if restoration.registration.placed != "exactly":
        return restoration
    assert restoration.warped is not None
    photo, prior = restoration.photo.pixels, restoration.warped
    coloured = with_colour(photo, restoration.pixels, prior)
    if coloured is not None:
        pixels, share = coloured
        trust = trust_in_colour(restoration.trust, share)
        return replace(restoration, pixels=pixels, coloured=share, trust=trust)
    if restoration.explanation is None or restoration.explanation.light < TONED:
        return restoration
    toned = in_one_tone(photo, restoration.pixels, prior.pixels)
    return restoration if toned is None else replace(restoration, pixels=toned)


def _with_faces(restoration: Restoration, faces: tuple[Face, ...]) -> Restoration:
    """The restoration with a check of each of the photo's `faces`: is it still the same?"""
    if not faces or restoration.warped is None:
        return restoration
    checks = check_faces(
        restoration.filled.pixels, faces, restoration.pixels, restoration.warped.pixels,
        np.asarray(restoration.trust[..., CLASSES.index("generated")], np.float32),
        restoration.filled.mask,
    )  # fmt: skip
    return replace(restoration, faces=checks, notes=restoration.notes + notes_on(checks))


def _inside(restoration: Restoration, free: Plane | None) -> Restoration:
    """The restoration times `free` (H, W) plus the photo times 1 - `free`; None: as it is."""
    if free is None:
        return restoration
    pixels = only_inside(restoration.photo.pixels, restoration.pixels, free)
    trust = np.where(free[..., None] > 0, restoration.trust, of_one("photo"))
    return replace(restoration, pixels=pixels, trust=trust)


def _add_larger(restoration: Restoration, prior: Image | None, request: Request) -> Restoration:
    """The restoration; `larger` is its copy, enlarged with detail of `prior`, if scale is set."""
    if not request.scale:
        return restoration
    spared = None
    if request.fidelity >= DEFAULT_FIDELITY:
        spared = outline([check.face for check in restoration.faces], restoration.pixels.shape)
    copy = larger(
        restoration.pixels, prior, restoration.registration, request.scale,
        spared=spared, strict=request.fidelity == 1,
    )  # fmt: skip
    return replace(restoration, larger=copy, notes=restoration.notes + copy.notes)


def _mask(photo: Photo, picture: "Picture | None", name: str) -> Plane | None:
    """A mask `picture` as (H, W), white is 1, black 0; None without one. `name`: for messages."""
    return (
        None if picture is None else mask_of(photo, images.as_photo(picture, name=name), name=name)
    )


def _base(
    photo: Image, restorer: str, faults: Faults, *, fused: bool
) -> tuple[Image, Image | None]:
    """(base, lit): the photo restored without the prior; for fusion, a small copy in better light.

    If a prior is used (`fused`), the embedded networks leave the light of the base as it is, and
    `lit` shows the light that they propose (None: no other). In all other cases, `lit` is None.
    """
    if fused and restorer in (DEFAULT_RESTORER, restorers.EMBEDDED):
        return network.structure(photo, faults), network.lit_copy(photo, faults)
    name = restorers.EMBEDDED if restorer == DEFAULT_RESTORER else restorer
    return restorers.restore(photo, name, faults=faults), None


def _open(photo: "Picture", prior: "Picture | None") -> tuple[Photo, Image | None]:
    """(photo, pixels of the prior or None), read in parallel."""

    def open_one(picture: "Picture", name: str) -> Photo:
        one = images.as_photo(picture, name=name)
        images.check_size(one.pixels, name=one.name or name)
        return one

    if prior is None:
        return open_one(photo, "photo"), None
    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(open_one, prior, "prior")
        return open_one(photo, "photo"), other.result().pixels
