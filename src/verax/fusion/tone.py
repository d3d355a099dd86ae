"""Tone: the prior's light and colour as an affine field on a bilateral grid, R = a E + c.

Three steps, none able to import structure. First an exposure: one gain in linear light with a
soft shoulder, E = exposure(base); it is what a camera could have done, so it is taken in full.
Then a coarse correction over (x, y, luma of E), in windows of a quarter of the picture, and a fine
one: gains of luma and chroma from the ratio of local deviations, and colour offsets from local
weighted means. Deviations and means, not least squares: under residual misalignment a
least-squares slope is diluted and contrast is lost, matched moments keep it (moment matching:
Reinhard et al., "Color transfer between images", 2001, here done locally). Where weighted
evidence is thin or the structure of the two disagrees, the fine correction shrinks to the coarse.

How much of the corrections is taken: no more than the photo gives reason for, at least what
brings the low frequencies near the prior's (see `shares`).
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from verax.fusion import planes
from verax.fusion.matching import expose, exposure_curve, fit_balance
from verax.fusion.planes import Float, Rows, blur
from verax.image import Image, Plane
from verax.image.pixels import LUMA, luma

WORK = 256  # long side at which the field is fitted, px
COARSE = 0.25  # windows of the offsets, share of the long side
FINE = (0.08, 0.025)
LOW = 0.018  # below this scale the distance to the prior is not measured
GAIN = 0.05  # window of the deviations
PRECISE = 0.008  # deviations are compared above this scale: below it registration is not exact
FLOOR = 0.02  # deviations below this are no evidence for a gain
GAINS = (0.5, 3.0)
TASTE = 0.10  # how far a generator's tone is off without a reason (rms)
CONTRAST = 1.5  # gain of local contrast that taste reaches
REACH = 0.62  # share of the low-frequency distance to the prior that is covered all the same
LEAST = 0.57  # the same, where no structure supports the correction
TINY = 0.008  # a distance (rms) below this is nothing to cover, twice this is
OUTLIER = 0.05  # residual (rms) at which a place counts half in the second fit
NEUTRAL = np.array([[1, 1, 1], [0, 0, 0]], np.float32)  # a balance that changes nothing
LARGE = 3_000_000  # pixels from which offsets of colour are as good from every second one
HINT = 0.25  # share of the prior's coarse chroma taken when the scene's state has changed


@dataclass(frozen=True, slots=True)
class ToneField:
    """What turns the base into the restoration.

    Attributes:
        curve: (CURVE_STEPS + 1,) float32, the exposure as a curve on sRGB values.
        balance: (2, 3) float32, gain and offset of each channel after it.
        gain: (gh, gw, 2) float32, gain of luma and of chroma.
        offset: (LEVELS, gh, gw, 3) float32, colour offset (RGB).
    """

    curve: Float
    balance: Float
    gain: Float
    offset: Float

    def expose(self, image: Image) -> Image:
        """A picture with exposure and balance applied, not clipped."""
        gain, offset = self.balance
        matrix = np.column_stack([np.diag(gain), offset])
        return np.asarray(cv2.transform(expose(image, self.curve), matrix), np.float32)


def energy(difference: Image) -> Plane:
    """(H, W) mean square over the channels."""
    third = np.full((1, 3), 1 / 3, np.float32)
    return np.asarray(cv2.transform(difference * difference, third), np.float32)


def fit(
    base: Image, prior: Image, weight: Plane, exposure: float, *, local: bool = True
) -> ToneField:
    """The tone field of a small base and its registered prior, all on one working grid.

    Args:
        base: (h, w, 3), noise removed.
        prior: (h, w, 3) registered onto it.
        weight: (h, w) in [0, 1], how much each pixel of the prior counts.
        exposure: from `fit_exposure`.
        local: False fits only the coarse correction.
    """
    curve = exposure_curve(exposure)
    exposed = expose(base, curve)
    balance = fit_balance(exposed, prior, weight)
    exposed = exposed * balance[0] + balance[1]
    steps = [fit_coarse(exposed, prior, weight)]
    if local:
        steps.append(fit_fine(exposed, prior, weight, steps[0]))
        steps.append(fit_plain(exposed, prior, weight, steps[1]))
    taken = shares(base, exposed, prior, weight, steps)
    gain, offset = np.ones_like(steps[0].gain), np.zeros_like(steps[0].offset)
    before_gain, before_offset = gain, offset
    for step, share in zip(steps, taken, strict=True):
        small = planes.shrink(share, planes.cells(weight))[..., None]
        gain = gain + small * (step.gain - before_gain)
        offset = offset + small * (step.offset - before_offset)
        before_gain, before_offset = step.gain, step.offset
    return ToneField(curve, balance, gain, offset)


def fit_hint(base: Image, prior: Image, weight: Plane) -> ToneField:
    """A field for a prior that shows another state of the scene: a share of its chroma, no light.

    Exposure and luma stay the base's; the coarse colour offset is made luma-free.
    """
    offset = fit_coarse(base, prior, weight).offset
    offset = offset - (offset @ LUMA)[..., None]
    gain = np.ones((*offset.shape[1:3], 2), np.float32)
    return ToneField(exposure_curve(1.0), NEUTRAL, gain, np.float32(HINT) * offset)


def fit_coarse(exposed: Image, prior: Image, weight: Plane) -> ToneField:
    """Colour offsets in wide windows."""
    sigma = COARSE * max(weight.shape)
    offset = planes.means(luma(exposed), prior - exposed, weight, sigma)
    gain = np.ones((*offset.shape[1:3], 2), np.float32)
    return ToneField(exposure_curve(1.0), NEUTRAL, gain, offset)


def fit_fine(exposed: Image, prior: Image, weight: Plane, coarse: ToneField) -> ToneField:
    """Gains and offsets in small windows, the coarse correction where structure disagrees.

    Fitted twice: what the first fit could not explain counts less in the second.
    """
    agreement = structure_agreement(exposed, prior, max(weight.shape))
    once = fit_windows(exposed, prior, weight, coarse, agreement)
    missed = blur(energy(apply(once, exposed) - prior), 2.0)
    return fit_windows(exposed, prior, weight / (1 + missed / OUTLIER**2), coarse, agreement)


def fit_windows(
    exposed: Image, prior: Image, weight: Plane, coarse: ToneField, agreement: Plane
) -> ToneField:
    """One weighted fit of gains and offsets in small windows."""
    size, guide = max(weight.shape), luma(exposed)
    gain = 1 + agreement[..., None] * (fit_gain(exposed, prior, weight, size) - 1)
    mean = blur(exposed, GAIN * size)
    steady = mean - stretch(mean, luma(mean), gain)
    offset = coarse.offset
    residual = prior - stretch(exposed, guide, gain) - steady - planes.look_up(offset, guide)
    for k, sigma in enumerate(FINE):
        step = planes.means(guide, residual, weight * agreement ** (k + 1), sigma * size)
        offset = offset + step
        residual = residual - planes.look_up(step, guide)
    cells = planes.cells(weight)
    offset = offset + planes.shrink(steady, cells)
    return replace(coarse, gain=planes.shrink(gain, cells), offset=offset)


def fit_plain(exposed: Image, prior: Image, weight: Plane, fine: ToneField) -> ToneField:
    """The fine correction and what low frequencies it left, whatever the structure says."""
    sigma = LOW * max(weight.shape)
    left = blur(weight[..., None] * (prior - apply(fine, exposed)), sigma)
    left = left / (blur(weight, sigma) + planes.EVIDENCE)[..., None]
    return replace(fine, offset=fine.offset + planes.shrink(left, planes.cells(weight)))


def stretch(image: Image, grey: Plane, gain: Float) -> Image:
    """Luma, given as `grey`, and chroma multiplied by their gains (..., 2)."""
    own = cv2.extractChannel(gain, 1)
    more = cv2.multiply(cv2.extractChannel(gain, 0) - own, grey)
    moved = cv2.multiply(image, cv2.merge([own] * 3))
    return np.asarray(cv2.add(moved, cv2.merge([more] * 3), moved), np.float32)


def structure_agreement(exposed: Image, prior: Image, size: int) -> Plane:
    """(h, w) in [0, 1]: local correlation of the band-passed lumas; flat on flat agrees."""
    one, two = (
        blur(y, PRECISE * size) - blur(y, GAIN * size) for y in (luma(exposed), luma(prior))
    )
    products = np.dstack([one * two, one * one, two * two])
    products = blur(products, 1.5 * GAIN * size) + FLOOR**2
    rho = products[..., 0] / np.sqrt(products[..., 1] * products[..., 2])
    return np.asarray(np.clip(rho, 0, 1), np.float32)


def fit_gain(exposed: Image, prior: Image, weight: Plane, size: int) -> Float:
    """(h, w, 2) ratios of local luma and chroma deviations, prior to exposed base."""
    deviations = []
    for picture in (exposed, prior):
        smooth = blur(picture, PRECISE * size)
        y = luma(smooth)
        detail = np.dstack([y, smooth[..., 0] - y, smooth[..., 2] - y])
        square = (detail - blur(detail, GAIN * size)) ** 2
        square = np.dstack([square[..., 0], square[..., 1] + square[..., 2]])
        deviations.append(blur(weight[..., None] * square, GAIN * size))
    floor = FLOOR**2 * (0.1 + 0.9 * blur(weight, GAIN * size))[..., None]
    ratio = np.sqrt((deviations[1] + floor) / (deviations[0] + floor))
    return np.asarray(np.clip(ratio, *GAINS), np.float32)


def shares(
    base: Image, exposed: Image, prior: Image, weight: Plane, steps: list[ToneField]
) -> list[Plane]:
    """How much of each step's correction beyond the one before it is taken, per place.

    First what the photo gives reason for (`reason`). The shares are then raised, the coarse one
    first, until the low-frequency distance to the prior is at most 1 - REACH of the base's; the
    plain one, which no structure supports, only up to 1 - LEAST. A distance that is tiny to begin
    with is left as it is.
    """
    size = max(weight.shape)
    low = LOW * size
    results = [exposed, *(apply(step, exposed) for step in steps)]
    most = min(1, len(steps) - 1)
    cause = reason(results[most + 1] - exposed, gain_at(steps[most], exposed.shape))
    taken = [cause, cause, np.zeros_like(cause)][: len(steps)]
    moves = [blur(b - a, low) for a, b in pairwise(results)]
    start = blur(exposed - prior, low)

    def distance(difference: Image) -> float:
        return float(np.sqrt((weight * energy(difference)).mean() / weight.mean()))

    def left() -> float:
        return distance(start + sum(s[..., None] * m for s, m in zip(taken, moves, strict=True)))

    before = distance(blur(base - prior, low))
    worth = float(np.clip((before - TINY) / TINY, 0, 1))
    for k, reach in enumerate((REACH, REACH, LEAST)[: len(steps)]):
        for least in np.linspace(0, 1, 11, dtype=np.float32):
            if left() <= (1 - reach * worth) * before:
                break
            taken[k] = np.maximum(taken[k], least)
    return taken


def reason(correction: Image, gain: Float) -> Plane:
    """Per place, how far a correction is more than a generator's taste, 0..1.

    Taste moves tone a little everywhere; damage moves it far (share d^2 / (d^2 + TASTE^2), d the
    local rms of the correction) or takes contrast away, as haze does (the same with the logarithm
    of the luma gain and of CONTRAST).
    """
    sigma = FINE[0] * max(gain.shape)
    far = blur(energy(correction), sigma) / TASTE**2
    flat = (blur(np.log(np.maximum(gain[..., 0], 1)), sigma) / np.log(CONTRAST)) ** 2
    return np.asarray(1 - 1 / ((1 + far) * (1 + flat)), np.float32)


def apply(
    field: ToneField,
    exposed: Image,
    *,
    rows: Rows | None = None,
    offsets: Float | None = None,
) -> Image:
    """The corrections of an exposed base, not clipped.

    `rows` for a stripe of a picture; `offsets` from `offset_at_half` where the whole is large.
    """
    grey = luma(exposed)
    moved = stretch(exposed, grey, gain_at(field, exposed.shape, rows))
    if offsets is None:
        offset = planes.look_up(field.offset, grey, rows)
    else:
        offset = planes.doubled(offsets, exposed.shape, rows or (0, exposed.shape[0]))
    return np.asarray(cv2.add(moved, offset, moved), np.float32)


def halves(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(h, w) of the grid on which a large picture's offsets are looked up; None for others."""
    large = shape[0] * shape[1] >= LARGE
    return (-(-shape[0] // 2), -(-shape[1] // 2)) if large else None


def offset_at_half(field: ToneField, exposed: Image, rows: Rows) -> Float:
    """(h, w, 3): the field's offsets at half the pixels of a side, of a stripe with an even top."""
    guide = planes.halved(luma(exposed))
    return planes.look_up(field.offset, guide, (rows[0] // 2, -(-rows[1] // 2)))


def gain_at(field: ToneField, shape: tuple[int, ...], rows: Rows | None = None) -> Float:
    """(H, W, 2): the field's gains at the pixels of a picture or a stripe of it."""
    return planes.look_up_plane(field.gain, shape, rows)


def restored(field: ToneField, base: Image) -> Image:
    """Exposure and corrections of a whole base, clipped."""
    return np.clip(apply(field, field.expose(base)), 0, 1)


def damp(field: ToneField, share: Plane) -> ToneField:
    """The field with only a share of its corrections, per place."""
    small = planes.shrink(share, planes.cells(share))[..., None]
    return replace(field, gain=1 + small * (field.gain - 1), offset=small * field.offset)
