"""Photo, base and registered prior to restoration: the prior wherever it explains the photo."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import SizeMismatchError
from verax.fusion import dial as dials
from verax.fusion import evidence, exposure, front, gates, grid, noise, relight, tone, verify
from verax.fusion.dial import Dial
from verax.fusion.evidence import Octave
from verax.fusion.explanation import Explanation, explain
from verax.fusion.join import Pictures, by_stripes, join, measure
from verax.fusion.octaves import Float, ramp, reduced, resized
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane
from verax.restorers.faults import Faults

MARGIN = 32  # rows around a stripe that the tone's filters look at; a multiple of noise.COARSE
SAME = 0.01  # mean difference from the photo below which a prior is the photo again
TRUST = ("photo", "confirmed", "light", "generated")
LOW = 0.03  # Gaussian, share of the width, under which light is compared
LITTLE = 0.1  # share taken below which the result says so
ALIKE = (0.60, 0.85)  # cosine of two changes of light that go the same way
NEAR = (0.3, 0.6)  # and their sizes, one over the other

ROUGH = "the prior could not be placed exactly: only its light is taken, and roughly"
CHANGED = (
    "the prior shows another state of the scene (%s): "
    "light stays the photo's, and nothing is added; lower --fidelity to let more of it in"
)
LESS = (
    "hardly anything was taken from the prior: %s. Lower --fidelity to take more of it, or name "
    "what was asked for with --task"
)


@dataclass(frozen=True, slots=True)
class Fusion:
    """The restoration on the photo's grid.

    Attributes:
        pixels: (H, W, 3) float32.
        trust: (H, W, 4) float16, per pixel the shares of TRUST, which sum to 1: from the photo;
            the photo's structure with the prior's contrast; light of the prior; generated.
        scene_state_change: the prior shows another state of the scene (night made day ...).
        notes: what a user should know, in words.
        explanation: what was believed of the photo; None where nothing was taken.
    """

    pixels: Image
    trust: NDArray[np.float16]
    scene_state_change: bool
    notes: tuple[str, ...]
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the working size decided about light.

    Attributes:
        field: exposure and local tone.
        sigma: noise deviation over luma.
        slope: slope of the exposure over luma.
        noise_level: deviation of the noise that has to go, 0 for none.
        change: how the prior shows another state of the scene, "" where it does not.
    """

    field: tone.ToneField
    sigma: noise.Table
    slope: noise.Table
    noise_level: float
    change: str


def fuse(
    photo: Image,
    base: Image,
    warped: Warped | None,
    registration: Registration | None,
    *,
    lit: Image | None = None,
    faults: Faults | None = None,
    fidelity: float = dials.DEFAULT,
    task: str = "",
) -> Fusion:
    """Take the registered prior wherever it explains the photo; without one, the base.

    Args:
        photo: (H, W, 3).
        base: (H, W, 3), the photo restored without the prior; its structure stands for the photo's.
        warped: the prior on the photo's grid.
        registration: how it got there; "roughly" gives light only, "not" nothing.
        lit: (h, w, 3) of any size, the base's own idea of the light, None where it has none.
        faults: what the photo suffers from.
        fidelity: 1 takes only what the photo confirms, and light; 0 is the registered prior.
        task: what the prior was asked for, a key of the prompt catalog, "" where unknown.
    """
    if photo.shape != base.shape:
        raise SizeMismatchError(f"photo is {photo.shape[:2]}, base is {base.shape[:2]}")
    if warped is None or registration is None or not registration.usable:
        return alone(base)
    if repeats(photo, warped):
        return alone(base, "the prior is the photo itself: nothing is taken from it")
    dial = dials.at(fidelity)
    recipe = solve(photo, base, warped, registration, lit, dial)
    if recipe is None:
        return alone(base, "the prior shows too little of the photo: nothing is taken from it")
    octaves = measure(base, warped.pixels, warped.valid)
    explanation = explain(
        base, warped.pixels, warped.valid, faults, octaves, task=task, changed=bool(recipe.change)
    )
    exactly = registration.placed == "exactly"
    pictures = prepared(base, warped, recipe, explanation, task=task)
    if fidelity == 0:
        return _registered_prior(pictures, recipe, explanation)
    if not exactly:
        return Fusion(
            pictures.toned, _trust(pictures.toned, base, None), bool(recipe.change), (ROUGH,),
            explanation,
        )  # fmt: skip
    joined = join(pictures, octaves, explanation, dial)
    trust = _trust(joined.pixels, base, joined.amplitudes)
    notes = _notes(recipe, explanation, trust, octaves)
    return Fusion(joined.pixels, trust, bool(recipe.change), notes, explanation)


def repeats(photo: Image, warped: Warped) -> bool:
    """Whether the prior is the photo again: then it says nothing about light or structure."""
    seen = warped.valid[::2, ::2] > 0.5
    if not seen.any():
        return False
    return float(np.abs(warped.pixels[::2, ::2] - photo[::2, ::2])[seen].mean()) < SAME


def alone(base: Image, *notes: str) -> Fusion:
    """The base, all of it from the photo."""
    trust = np.zeros((*base.shape[:2], len(TRUST)), np.float16)
    trust[..., 0] = 1
    return Fusion(base, trust, False, notes)


def solve(
    photo: Image,
    base: Image,
    warped: Warped,
    registration: Registration,
    lit: Image | None,
    dial: Dial,
) -> Recipe | None:
    """Everything about light that is decided at the working size; None without enough evidence."""
    scale = min(1.0, tone.WORK / max(base.shape[:2]))
    size = (max(1, round(base.shape[1] * scale)), max(1, round(base.shape[0] * scale)))
    valid = grid.shrink(warped.valid, size)
    weight = gates.evidence(valid, grid.shrink(registration.confidence, size))
    if weight.mean() < gates.LEAST:
        return None
    sigma = noise.noise_table(base)
    quiet = noise.denoise(grid.shrink(base, size), scale * float(np.median(sigma)))
    prior = grid.shrink(warped.pixels, size)
    brighter = exposure.fit_exposure(quiet, prior, weight)
    exposed = exposure.expose(quiet, exposure.exposure_curve(brighter))
    change = gates.scene_state_change(quiet, exposed, prior, valid)
    if change:
        field = tone.fit_hint(quiet, prior, weight)
    else:
        if lit is not None:
            own = _agreeing(quiet, prior, grid.shrink(lit, size), valid) * dial.own
            prior = np.asarray(prior + own * (grid.shrink(lit, size) - prior), np.float32)
            brighter = exposure.fit_exposure(quiet, prior, weight)
        field = tone.fit(quiet, prior, weight, brighter, local=registration.placed == "exactly")
        field = tone.damp(
            field, 1 - verify.doubt(tone.restored(field, quiet), grid.shrink(photo, size))
        )
    slope = exposure.slope(field.curve, noise.LEVELS)
    return Recipe(field, sigma, slope, noise_level(quiet, field, sigma, slope), change)


def _agreeing(photo: Image, prior: Image, lit: Image, valid: Plane) -> float:
    """How far base and prior change the light alike, in [0, 1]: the errors of two guesses that
    agree differ, and their mean is the better guess."""
    side = (32, 32)
    weight = grid.shrink(valid, side)[..., None]
    one, two = ((grid.shrink(x, side) - grid.shrink(photo, side)) * weight for x in (lit, prior))
    sizes = [float(np.sqrt((x**2).sum())) + 1e-6 for x in (one, two)]
    ratio = min(sizes) / max(sizes)
    return ramp(float((one * two).sum()) / (sizes[0] * sizes[1]), *ALIKE) * ramp(ratio, *NEAR)


def prepared(
    base: Image, warped: Warped, recipe: Recipe, explanation: Explanation, *, task: str = ""
) -> Pictures:
    """The pictures that are joined, under the light that the explanation allows."""
    toned = base
    share = explanation.light if not recipe.change else 1.0  # a hint of colour, no light
    if share > 0:
        toned = toned_by(recipe, base, share)
    light = relight.fit(warped.pixels, base, warped.valid)
    mask = np.zeros((1, 1), np.float32)
    if explanation.front > 0:
        side = front.WORK
        own, given, seen = (reduced(x, side) for x in (toned, warped.pixels, warped.valid))
        matched = relight.fit(given, own, seen)(given)
        mask = front.removed(own, matched, seen, everything=bool(task))
    return Pictures(
        source=base, toned=toned, prior=warped.pixels, valid=warped.valid, relight=light, front=mask
    )


def noise_level(
    base: Image, field: tone.ToneField, sigma: noise.Table, slope: noise.Table
) -> float:
    """The noise deviation where noise has to go, 0 when it has to go nowhere."""
    need, deviation = noise_need(base, tone.gain_at(field, base.shape), sigma, slope)
    return float((need * deviation).sum() / max(need.sum(), 1e-9))


def noise_need(
    base: Image, gain: grid.Float, sigma: noise.Table, slope: noise.Table
) -> tuple[Plane, Plane]:
    """Per pixel the share of the noise that has to go, and its deviation."""
    grey = exposure.luma(base)
    deviation = noise.look_up(sigma, grey)
    return noise.excess(
        deviation, noise.look_up(slope, grey) * np.maximum(gain[..., 0], gain[..., 1])
    ), deviation


def toned_by(recipe: Recipe, base: Image, share: float = 1.0) -> Image:
    """The base under the prior's light, or a share of the way there."""
    pixels, height = np.empty_like(base), base.shape[0]

    def stripe(rows: slice) -> None:
        top, bottom = max(0, rows.start - MARGIN), min(height, rows.stop + MARGIN)
        part = toned_rows(recipe, base[top:bottom], (top, height))
        kept = part[rows.start - top : rows.stop - top]
        pixels[rows] = kept if share == 1 else base[rows] + np.float32(share) * (kept - base[rows])

    by_stripes(stripe, height)
    return pixels


def toned_rows(recipe: Recipe, base: Image, rows: tuple[int, int]) -> Image:
    """A stripe of the base with the tone field applied, its noise kept out of view."""
    gain = tone.gain_at(recipe.field, base.shape, rows)
    if recipe.noise_level > 0:
        need, _ = noise_need(base, gain, recipe.sigma, recipe.slope)
        base = base + need[..., None] * (noise.denoise(base, recipe.noise_level) - base)
    exposed = exposure.expose(base, recipe.field.curve)
    return np.clip(tone.apply(recipe.field, exposed, gain=gain, rows=rows), 0, 1)


def _registered_prior(pictures: Pictures, recipe: Recipe, explanation: Explanation) -> Fusion:
    """Fidelity 0: the prior where it is valid, the toned base elsewhere."""
    valid = pictures.valid[..., None]
    trust = _trust(pictures.toned, pictures.source, None) * (1 - valid.astype(np.float16))
    trust[..., 3] += pictures.valid.astype(np.float16)
    pixels = pictures.toned + valid * (pictures.prior - pictures.toned)
    return Fusion(
        np.asarray(np.clip(pixels, 0, 1), np.float32), trust, bool(recipe.change), (), explanation
    )


def _trust(pixels: Image, base: Image, amplitudes: Float | None) -> NDArray[np.float16]:
    """Shares (H, W, 4): light by how far low frequencies moved, relative to the brighter of base
    and result; the rest by the amplitudes of structure."""
    own, new = (reduced(x, 512) for x in (base, pixels))
    sigma = LOW * own.shape[1]
    moved = grid.blur(np.abs(grid.blur(new - own, sigma / 2)).sum(2), sigma / 2)
    brighter = grid.blur(np.maximum(own, new).sum(2), sigma / 2)
    light = np.clip(moved / np.maximum(brighter, 0.02), 0, 1)
    if amplitudes is None:
        amplitudes = np.zeros((1, 1, 3), np.float32)
    plain = np.array([0.002, 0, 0], np.float32)  # places without structure are the photo's
    shares = amplitudes + plain
    shares /= shares.sum(2, keepdims=True)
    rest = 1 - resized(np.asarray(light, np.float32), shares.shape)
    generated = shares[..., 2]
    whole = [
        shares[..., 0] * rest,
        shares[..., 1] * rest,
        (1 - generated) * (1 - rest),
        generated,
    ]
    size = (base.shape[1], base.shape[0])
    full = np.empty((*base.shape[:2], len(TRUST)), np.float16)
    for index in range(len(TRUST)):
        full[..., index] = cv2.resize(
            np.asarray(whole[index], np.float32),
            size,
            interpolation=cv2.INTER_LINEAR,
        )
    return full


def _notes(
    recipe: Recipe, explanation: Explanation, trust: NDArray[np.float16], octaves: Sequence[Octave]
) -> tuple[str, ...]:
    if recipe.change:
        return (CHANGED % recipe.change,)
    taken = 1 - float(trust[..., 0].mean(dtype=np.float64))
    if taken >= LITTLE:
        return ()
    if evidence.faithful(octaves) < 0.4:
        why = "its structure is not the photo's, most of it was drawn anew"
    elif explanation.light == 0 and max(explanation.sharpness) == 0:
        why = "the photo shows no fault that the prior's changes would mend"
    else:
        why = "it differs little from the photo"
    return (LESS % why,)
