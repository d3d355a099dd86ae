"""The light of the result: decided at a working size, carried out at full size."""

from dataclasses import dataclass

import numpy as np

from verax.fusion import exposure, grid, noise, tone, verify
from verax.fusion.dial import Dial
from verax.fusion.join import by_stripes
from verax.fusion.octaves import ramp
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane
from verax.image.pixels import luma
from verax.metrics.scene import scene_state

MARGIN = 32  # rows around a stripe that the tone's filters look at; a multiple of noise.COARSE
UNPROVED = 0.25  # a prior pixel whose place is not proved still says something about tone
LEAST = 0.02  # mean weight of the prior below which nothing is fitted
ALIKE = (0.60, 0.85)  # cosine of two changes of light that go the same way
NEAR = (0.3, 0.6)  # and their sizes, one over the other


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
    proved = grid.shrink(registration.confidence, size)
    weight = np.asarray(valid * (UNPROVED + (1 - UNPROVED) * proved), np.float32)
    if weight.mean() < LEAST:
        return None
    sigma = noise.noise_table(base)
    quiet = noise.denoise(grid.shrink(base, size), scale * float(np.median(sigma)))
    prior = grid.shrink(warped.pixels, size)
    brighter = exposure.fit_exposure(quiet, prior, weight)
    state = scene_state(quiet, prior, valid > 0.5 * valid.max())
    change = "" if state == "same" else state
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
    slope = exposure.slope(field.curve, noise.LEVELS) * field.balance[0].max()
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
    grey = luma(base)
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

    by_stripes(stripe, base.shape, MARGIN)
    return pixels


def toned_rows(recipe: Recipe, base: Image, rows: tuple[int, int]) -> Image:
    """A stripe of the base with the tone field applied, its noise kept out of view."""
    gain = tone.gain_at(recipe.field, base.shape, rows)
    if recipe.noise_level > 0:
        need, _ = noise_need(base, gain, recipe.sigma, recipe.slope)
        base = base + need[..., None] * (noise.denoise(base, recipe.noise_level) - base)
    exposed = recipe.field.expose(base)
    return np.clip(tone.apply(recipe.field, exposed, gain=gain, rows=rows), 0, 1)
