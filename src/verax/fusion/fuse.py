"""Photo, base and registered prior to restoration."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import SizeMismatchError, UnknownNameError
from verax.fusion import exposure, gates, grid, network, noise, tone, verify
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane

STRIPE = 256  # rows sliced at a time: bounds memory on large photos
MARGIN = 32  # rows around a stripe that its filters look at; both are multiples of noise.COARSE
SAME = 0.01  # mean difference from the photo below which a prior is the photo again
MODES = ("tone", "network")
COARSE = "the prior could not be placed precisely: only a coarse tone is taken from it"
STREAKS = (
    "the photo has fine structure, such as rain, snow or noise, that the prior does not show: "
    "tone cannot remove it, a restorer may"
)
CHANGED = (
    "the prior shows another state of the scene (%s): "
    "light stays the photo's, colour is only hinted at"
)


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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the working size decided for the full size.

    Attributes:
        field: exposure and local tone.
        sigma: noise deviation over luma.
        slope: slope of the exposure over luma.
        noise_level: deviation of the noise that has to go, 0 for none.
        scene_state_change: the prior shows another state of the scene.
        notes: what a user should know.
    """

    field: tone.ToneField
    sigma: noise.Table
    slope: noise.Table
    noise_level: float
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
    """Take from the registered prior what can be trusted; without one, the base.

    Args:
        photo: (H, W, 3).
        base: (H, W, 3), the photo restored without the prior.
        warped: the prior on the photo's grid.
        registration: how it got there; placed "roughly" gives a coarse tone only, "not" nothing.
        fidelity: 1 takes only what is proved, 0 is the registered prior itself.
        mode: "tone" moves the base to the prior's tone; "network" lets the fusion network mend
            what that left, and take what it trusts of the prior's own low and high band.
    """
    if mode not in MODES:
        raise UnknownNameError(f"unknown fusion mode {mode!r} Known: {', '.join(MODES)}")
    if photo.shape != base.shape:
        raise SizeMismatchError(f"photo is {photo.shape[:2]}, base is {base.shape[:2]}")
    if warped is None or registration is None or not registration.usable:
        return alone(base)
    if repeats(photo, warped):
        return alone(base, "the prior is the photo itself: nothing is taken from it")
    recipe = solve(photo, base, warped, registration)
    if recipe is None:
        return alone(base, "the prior shows too little of the photo: nothing is taken from it")
    if mode == "network" and not recipe.scene_state_change:
        pixels, trust = carry_out_and_join(recipe, photo, base, warped, registration, fidelity)
    else:
        pixels, trust = carry_out(recipe, base, warped, fidelity)
    return Fusion(pixels, trust, recipe.scene_state_change, recipe.notes)


def repeats(photo: Image, warped: Warped) -> bool:
    """Whether the prior is the photo again: then it says nothing about tone or texture."""
    seen = warped.valid[::2, ::2] > 0.5
    if not seen.any():
        return False
    return float(np.abs(warped.pixels[::2, ::2] - photo[::2, ::2])[seen].mean()) < SAME


def alone(base: Image, *notes: str) -> Fusion:
    """The base, all of it from the photo."""
    trust = np.zeros_like(base)
    trust[..., 0] = 1.0
    return Fusion(base, trust, False, notes)


def solve(photo: Image, base: Image, warped: Warped, registration: Registration) -> Recipe | None:
    """Everything that is decided at the working size; None without enough evidence."""
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
    local = registration.placed == "exactly"
    if change:
        field = tone.fit_hint(quiet, prior, weight)
    else:
        field = tone.fit(quiet, prior, weight, brighter, local=local)
        field = tone.damp(
            field, 1 - verify.doubt(tone.restored(field, quiet), grid.shrink(photo, size))
        )
    notes = (
        "" if local else COARSE,
        change and CHANGED % change,
        STREAKS if gates.streaks_left(exposed, prior, valid) and not change else "",
    )
    slope = exposure.slope(field.curve, noise.LEVELS)
    return Recipe(
        field,
        sigma,
        slope,
        noise_level(quiet, field, sigma, slope),
        bool(change),
        tuple(filter(None, notes)),
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


def carry_out(
    recipe: Recipe, base: Image, warped: Warped, fidelity: float
) -> tuple[Image, NDArray[np.float32]]:
    """Restoration and trust map by tone alone."""
    return mixed(base, toned(recipe, base), warped, fidelity, None)


def toned(recipe: Recipe, base: Image) -> Image:
    """The base under the prior's tone."""
    pixels, height = np.empty_like(base), base.shape[0]

    def stripe(rows: slice) -> None:
        top, bottom = max(0, rows.start - MARGIN), min(height, rows.stop + MARGIN)
        part = restore_rows(recipe, base[top:bottom], (top, height))
        pixels[rows] = part[rows.start - top : rows.stop - top]

    by_stripes(stripe, height)
    return pixels


def mixed(
    base: Image, pixels: Image, warped: Warped, fidelity: float, texture: Plane | None
) -> tuple[Image, NDArray[np.float32]]:
    """Fidelity dial over `pixels`, which it overwrites, and trust map; `texture` is the share of
    the prior's texture that the pixels hold already."""
    trust = np.empty_like(base)

    def stripe(rows: slice) -> None:
        part, shares = mix(
            base[rows], pixels[rows], warped.pixels[rows], warped.valid[rows], fidelity
        )
        if texture is not None:
            taken = fidelity * texture[rows, :, None] * shares[..., :2]
            shares[..., :2] -= taken
            shares[..., 2] += taken.sum(2)
        pixels[rows], trust[rows] = part, shares

    by_stripes(stripe, base.shape[0])
    return pixels, trust


def by_stripes(work: Callable[[slice], None], height: int) -> None:
    """Work through the rows of a picture, stripe by stripe, two at a time."""
    stripes = [slice(top, min(top + STRIPE, height)) for top in range(0, height, STRIPE)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, stripes))


def carry_out_and_join(
    recipe: Recipe,
    photo: Image,
    base: Image,
    warped: Warped,
    registration: Registration,
    fidelity: float,
) -> tuple[Image, NDArray[np.float32]]:
    """Restoration and trust map with the fusion network after the tone."""
    pixels, texture = network.join(photo, base, toned(recipe, base), warped, registration)
    return mixed(base, pixels, warped, fidelity, texture)


def restore_rows(recipe: Recipe, base: Image, rows: tuple[int, int]) -> Image:
    """A stripe of the base with the tone field applied, its noise kept out of view."""
    gain = tone.gain_at(recipe.field, base.shape, rows)
    if recipe.noise_level > 0:
        need, _ = noise_need(base, gain, recipe.sigma, recipe.slope)
        base = base + need[..., None] * (noise.denoise(base, recipe.noise_level) - base)
    exposed = exposure.expose(base, recipe.field.curve)
    return np.clip(tone.apply(recipe.field, exposed, gain=gain, rows=rows), 0, 1)


def mix(
    base: Image, toned: Image, prior: Image, valid: Plane, fidelity: float
) -> tuple[Image, NDArray[np.float32]]:
    """Fidelity dial and trust map of one stripe.

    Texture is the share of the prior's own pixels. Of the rest, tone is the part of the brighter
    of base and result that the correction made up, photo what remains.
    """
    total = np.ones((1, 3), np.float32)
    made_up = cv2.transform(cv2.absdiff(toned, base), total)
    tone_share = made_up / np.maximum(cv2.transform(cv2.max(toned, base), total), 1e-6)
    texture = (1 - fidelity) * valid
    tone_share = fidelity * tone_share
    trust = cv2.merge([1 - texture - tone_share, tone_share, texture])
    if fidelity == 1:
        return toned, trust
    outside = (1 - fidelity) * (1 - valid)
    pixels = fidelity * toned + texture[..., None] * prior + outside[..., None] * base
    return np.clip(pixels, 0, 1), trust
