"""Fuses photo, base and registered prior: uses the prior wherever it explains the photo."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verax.errors import SizeMismatchError
from verax.fusion import dial as dials
from verax.fusion import evidence, front, matching
from verax.fusion.dial import CLASSES, Dial
from verax.fusion.evidence import Octave
from verax.fusion.exact import steps_of, within_cells, without_blur
from verax.fusion.explanation import Explanation, explain, light_faults, under_water_alone
from verax.fusion.join import Pictures, join, measure, removed_energy
from verax.fusion.light import Recipe, relight, solve, trust_map
from verax.fusion.matching import FINE, Contrasts
from verax.fusion.planes import resize
from verax.geometry.register import Registration, WarpedPrior
from verax.image import Image, Plane
from verax.image.pixels import reduce_to
from verax.restorers.faults import Faults

SURE = 0.5  # least certainty of a fault that has an effect
NOISY = 0.15  # severity of noise from which what the base removed is a measure of the noise
BLURRED = 0.5  # least certainty of a blur whose kernel is estimated
RAISED = 0.15  # largest part by which a fine octave's contrast is raised to the prior's
LITTLE = 0.1  # share taken from the prior below which a note says that little was taken

ROUGH = "the prior could not be placed exactly: only its light is used, no detail"
CHANGED = (
    "the prior shows another state of the scene (%s): "
    "the photo keeps its light, and no detail is added; lower --fidelity to use more of the prior"
)
WITHOUT = (  # the base removes haze without the prior, too
    "the prior shows another state of the scene (%s): the photo is restored without the prior; "
    "lower --fidelity to use some of it"
)
REDRAWN = "most of the prior was redrawn and does not show the photo's structure"
LESS = (
    "hardly anything was taken from the prior: %s. Lower --fidelity to take more of it, or state "
    "with --task what the generator was told to do"
)

# the statistics of each octave; the contrasts of photo and prior
_Statistics = tuple[list[Octave], list[Contrasts]]


@dataclass(frozen=True, slots=True)
class Fusion:
    """The restoration on the photo's grid.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        trust: (H, W, 4) float16, four shares of each pixel, which sum to 1: the photo; the photo's
            structure with the prior's contrast; the prior's light; detail made by the generator.
        scene_state_change: the prior shows another state of the scene, such as night for day.
        notes: what a user should know, in words.
        explanation: the photo's faults that justify what was taken; None if nothing was taken."""

    pixels: Image
    trust: NDArray[np.float16]
    scene_state_change: bool
    notes: tuple[str, ...]
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A photo (H, W, 3) and its prior `warped` to the photo's grid, with the other arguments of
    `fuse`. `lit`: the photo with only its light restored. `small`: the photo holds less detail than
    its size could. `spared`: returns (H, W), 1 in faces, else 0; None: no faces. `copies`: reduced
    to a long side of at most 160 px: base, prior, and 1 where the prior covers the photo."""

    photo: Image
    base: Image
    warped: WarpedPrior
    registration: Registration
    lit: Image | None
    faults: Faults | None
    task: str
    small: bool
    spared: Callable[[], Plane] | None
    copies: tuple[Image, Image, Plane]


def fuse(
    photo: Image,
    base: Image,
    warped: WarpedPrior | None,
    registration: Registration | None,
    *,
    lit: Image | None = None,
    faults: Faults | None = None,
    fidelity: float = dials.DEFAULT,
    task: str = "",
    small: bool = False,
    spared: Callable[[], Plane] | None = None,
) -> Fusion:
    """Restore a photo with its prior; without a prior that can be used, the result is the base.

    Args:
        photo: (H, W, 3).
        base: (H, W, 3), the photo restored without the prior; its structure counts as the photo's.
        warped: the prior on the photo's grid, or None.
        registration: how the prior was placed; "roughly": only light is used; if "undecided" or
            "not", nothing.
        lit: (h, w, 3) of any size, a copy of the photo with only its light restored, or None.
        faults: the faults of the photo, or None if they are not known.
        fidelity: in [0, 1]; 1 takes light, and structure that the photo confirms; 0 is all the
            registered prior.
        task: what the generator was told to do, a key of the prompt catalog; "" if unknown.
        small: the photo is known to hold less detail than its size could.
        spared: returns (H, W), 1 in faces, where only what the photo confirms is taken, else 0. It
            is called late, because faces are searched for in parallel."""
    if photo.shape != base.shape:
        raise SizeMismatchError(
            f"expected a base of the photo's shape, {photo.shape}, got {base.shape}: "
            "pass the base restored from this photo, or resize the base"
        )
    if warped is None or registration is None or not registration.usable:
        return alone(base)
    if evidence.is_the_photo(photo, warped):
        return alone(base, "the prior is the photo itself: nothing is taken from it")
    own, other, visible = (
        reduce_to(picture, matching.WORK) for picture in (base, warped.pixels, warped.valid)
    )
    pair = _Pair(
        photo=photo, base=base, warped=warped, registration=registration,
        lit=lit, faults=faults, task=task, small=small, spared=spared, copies=(own, other, visible),
    )  # fmt: skip
    fused = _fuse_at(fidelity, pair)
    if fidelity in (0, dials.DEFAULT) or fused.explanation is None:
        return fused
    default, beyond = _fuse_at(dials.DEFAULT, pair).pixels, dials.at(fidelity).beyond
    return replace(fused, pixels=matching.on_the_dial(fused.pixels, photo, default, warped, beyond))


def _fuse_at(fidelity: float, pair: _Pair) -> Fusion:
    """What `fuse` returns for a usable prior at one fidelity in [0, 1]. Only the last step is
    missing, which makes contrast rise or fall steadily as the fidelity is lowered."""
    dial, reasons = _dial(fidelity, pair)
    base, faults = pair.base, pair.faults
    with ThreadPoolExecutor(1) as beside:
        statistics = beside.submit(_statistics, pair)
        recipe = solve(pair.photo, base, pair.warped, pair.registration, pair.lit, dial)
    if recipe is None:
        return alone(base, "the prior shows too little of the photo: nothing is taken from it")
    if recipe.change and fidelity >= dials.DEFAULT and faults and faults["haze"].certainty > SURE:
        return replace(alone(base, WITHOUT % recipe.change), scene_state_change=True)
    explanation = explain(
        reasons, faults, statistics.result()[0],
        task=pair.task, small=pair.small, changed=bool(recipe.change), contrast=dial.contrast,
    )  # fmt: skip
    return _fuse_pair(pair, recipe, explanation, statistics.result(), dial)


def _dial(fidelity: float, pair: _Pair) -> tuple[Dial, dict[str, float]]:
    """The thresholds by which it is decided, for this fidelity and this pair, what is taken from
    the prior; and the faults of the photo's light, name -> certainty in [0, 1]."""
    dial = dials.at(fidelity)
    own, other, visible = pair.copies
    reasons = light_faults(own, other, visible, pair.faults, alone=1 - dial.plausible)
    return dials.without_style(dial) if under_water_alone(reasons, pair.faults) else dial, reasons


def _fuse_pair(
    pair: _Pair, recipe: Recipe, explanation: Explanation, statistics: _Statistics, dial: Dial
) -> Fusion:
    """The restoration of the photo with what may be taken from the prior, given the photo's faults
    in `explanation`. `recipe`: how to change the light. `statistics`: as `_statistics` returns
    them. `dial`: the fidelity as thresholds, which limit what is taken."""
    (octaves, contrasts), base = statistics, pair.base
    pictures = _prepare(pair, recipe, explanation)
    covered = float(pictures.front.mean()) * explanation.front * dial.front
    explanation = explanation.under_layers(covered)
    if dial.beyond == 1:
        return _registered_prior(pictures, recipe, explanation)
    anew = explanation.empty and dial.beyond == 0
    if anew and not recipe.change:
        return replace(alone(base, LESS % REDRAWN), explanation=explanation)
    if anew or pair.registration.placed != "exactly":
        note = CHANGED % recipe.change if anew else ROUGH
        trust = trust_map(pictures.toned, base, None)
        return Fusion(pictures.toned, trust, bool(recipe.change), (note,), explanation)
    if max(explanation.blur) > BLURRED:
        pictures, octaves = _deblur(pictures, octaves, recipe, explanation, dial)
    joined = join(pictures, octaves, explanation, dial)
    pixels = _in_contrast(joined.pixels, pictures.valid, contrasts, explanation, dial)
    if explanation.task == "jpeg" or (pair.faults and pair.faults["jpeg"].certainty > SURE):
        pixels = _in_cells(pixels, pair.photo, pictures, explanation)
    del pictures  # the toned picture is not held beside the trust map
    trust = trust_map(pixels, base, joined.amplitudes)
    notes = _notes(recipe, explanation, trust, octaves)
    return Fusion(pixels, trust, bool(recipe.change), notes, explanation)


def _statistics(pair: _Pair) -> _Statistics:
    """Two lists: statistics of base and prior in each octave (pyramid level), the finest first;
    contrasts (standard deviations of detail of 1 to 2, 2 to 4 and 4 to 8 px) of photo and prior. If
    the photo is certainly noisy, correlated noise is taken to be at most what the base removed."""
    photo, base, warped, faults = pair.photo, pair.base, pair.warped, pair.faults
    cleaned = bool(faults and faults["noise"].certainty > SURE and faults["noise"].severity > NOISY)
    most = removed_energy(photo, base) if cleaned else ()
    octaves = measure(base, warped.pixels, warped.valid, most)
    return octaves, matching.contrasts_of((photo, warped.pixels), warped.valid)


def alone(base: Image, *notes: str) -> Fusion:
    """The base as a fusion without a prior: all of the trust map is "photo". `notes`: for users."""
    trust = np.zeros((*base.shape[:2], len(CLASSES)), np.float16)
    trust[..., 0] = 1
    return Fusion(base, trust, False, notes)


def _prepare(pair: _Pair, recipe: Recipe, explanation: Explanation) -> Pictures:
    """The pictures to join: the base as it is, and with its light changed as far as the photo's
    faults justify; the prior; masks of faces and of what the prior removed from the view."""
    base, warped, nowhere = pair.base, pair.warped, np.zeros((1, 1), np.float32)
    own, other, visible = pair.copies
    lit = relight(base, recipe, explanation)
    return Pictures(
        source=base, toned=lit, prior=warped.pixels, valid=warped.valid,
        relight=matching.fit_relight(other, own, visible),
        front=nowhere if explanation.front == 0 else front.mask(lit, warped, explanation),
        spared=nowhere if pair.spared is None else pair.spared(), supplied=nowhere, destroyed=(),
    )  # fmt: skip


def _deblur(
    pictures: Pictures, octaves: list[Octave], recipe: Recipe, explanation: Explanation, dial: Dial
) -> tuple[Pictures, list[Octave]]:
    """The pictures to join, with the base deblurred, and its new statistics of each octave (pyramid
    level), the finest first; both unchanged if no single blur turns the prior into the photo. In
    faces, and at fidelity 1, no detail is taken from the prior."""
    mean = np.float32(dial.plausible) * (1 - pictures.spared)
    sharp = without_blur(
        pictures.source, pictures.prior, pictures.valid, pictures.relight,
        octaves=len(octaves), mean=mean,
    )  # fmt: skip
    if sharp is None:
        return pictures, octaves
    pictures = replace(
        pictures, source=sharp.pixels, toned=relight(sharp.pixels, recipe, explanation),
        supplied=sharp.supplied, destroyed=sharp.destroyed,
    )  # fmt: skip
    most = [octave.most for octave in octaves]
    return pictures, measure(pictures.source, pictures.prior, pictures.valid, most)


def _registered_prior(pictures: Pictures, recipe: Recipe, explanation: Explanation) -> Fusion:
    """The restoration at fidelity 0: the prior where it covers the photo, elsewhere the base after
    the change of light `recipe`. `pictures` holds both."""
    valid = pictures.valid[..., None]
    trust = trust_map(pictures.toned, pictures.source, None) * (1 - valid.astype(np.float16))
    trust[..., 3] += pictures.valid.astype(np.float16)
    pixels = np.clip(pictures.toned + valid * (pictures.prior - pictures.toned), 0, 1)
    return Fusion(np.asarray(pixels, np.float32), trust, bool(recipe.change), (), explanation)


def _in_contrast(
    pixels: Image, valid: Plane, contrasts: list[Contrasts], explanation: Explanation, dial: Dial
) -> Image:
    """The picture with the contrast of detail of 1 to 8 px raised to the prior's, by 15 % at most,
    where a fault of the light (not a blur) lowered it, or something in front of the scene was
    removed. `contrasts`: of photo and prior, (3,) for detail of 1 to 2, 2 to 4 and 4 to 8 px."""
    reduction = [*np.subtract(explanation.sharpness, explanation.blur).clip(0), 0, 0][:FINE]
    sharpened = 1 + RAISED * dial.plausible * np.array(reduction)
    smoothed = 1 + RAISED * dial.front * explanation.front
    return matching.with_prior_contrast(pixels, valid, contrasts, sharpened, smoothed)


def _in_cells(pixels: Image, photo: Image, pictures: Pictures, explanation: Explanation) -> Image:
    """The restoration `pixels`, its luma moved to within the rounding of the photo's JPEG file, but
    not where `pictures.front` says that the prior removed something; unchanged if the photo also
    has wrong light or a blur, or was no JPEG."""
    other = explanation.light > 0 or max(explanation.blur) > BLURRED
    steps = None if other else steps_of(photo)
    if steps is None:
        return pixels
    return within_cells(pixels, photo, steps, 1 - resize(pictures.front, photo.shape))


def _notes(
    recipe: Recipe, explanation: Explanation, trust: NDArray[np.float16], octaves: Sequence[Octave]
) -> tuple[str, ...]:
    if recipe.change:
        return (CHANGED % recipe.change,)
    taken = 1 - float(trust[..., 0].mean(dtype=np.float64))
    if taken >= LITTLE:
        return ()
    if evidence.faithful(octaves) < 0.4:
        why = REDRAWN
    elif explanation.light == 0 and max(explanation.sharpness) == 0:
        why = "the photo shows no fault that the prior's changes would mend"
    else:
        why = "it differs little from the photo"
    return (LESS % why,)
