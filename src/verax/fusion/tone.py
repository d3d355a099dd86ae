"""Tone: the change of the base's light and colour towards the prior's.

The result is a * E + c. E is the exposed base; a and c are fields that vary smoothly over the
picture, c also over luma (a bilateral grid). There are three steps, none of which can import
structure:

1. An exposure E of the base: one gain in linear light with a soft shoulder. A camera could have
   done it, so it is applied in full.
2. A coarse correction over (x, y, luma of E), in windows of a quarter of the picture.
3. A fine correction: gains of luma and chroma from the ratios of local standard deviations, and
   colour offsets from local weighted means. Moments are matched (Reinhard et al., "Color transfer
   between images", 2001, here locally) rather than fitted by least squares, which would lose
   contrast where alignment is not exact. Where there is little evidence, or the two structures
   disagree, the fine correction is replaced by the coarse one.

Each correction is applied as far as it certainly mends damage and does not bring in style, then
farther until enough of the difference between base and prior is removed."""

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from verax.fusion import planes
from verax.fusion.matching import expose, exposure_curve, fit_balance
from verax.fusion.planes import Float, Rows, blur
from verax.image import Image, Plane
from verax.image.pixels import LUMA, luma

WORK = 256  # px: long side at which the field is fitted
# sigmas of Gaussian windows, shares of the long side
COARSE = 0.25  # of the coarse offsets
FINE = (0.08, 0.025)  # of the fine offsets
LOW = 0.018  # of low frequencies, in which the distance to the prior is measured
GAIN = 0.05  # of the windows in which standard deviations are compared
PRECISE = 0.008  # finer structure does not count: registration is not exact enough for it
FLOOR = 0.02  # least deviation that is evidence for a gain
GAINS = (0.5, 3.0)  # least and largest gain
STYLE = 0.10  # change of tone (rms) that is typical of a generator's style
CONTRAST = 1.5  # gain of local contrast that is typical of it
PLAIN = 0.05  # reduction of the reach for a correction that no structure supports
TINY = 0.008  # distance (rms) to the prior that is left; from twice this, the reach is full
OUTLIER = 0.05  # residual (rms) at which a place gets half its weight in the second fit
NEUTRAL = np.array([[1, 1, 1], [0, 0, 0]], np.float32)  # a balance that changes nothing
LARGE = 3_000_000  # pixels above which colour offsets are computed at half resolution
HINT = 0.25  # share of the prior's coarse chroma that is taken if the scene's state has changed


@dataclass(frozen=True, slots=True)
class ToneField:
    """A change of the base's light: an exposure, then local corrections on a grid with a cell for
    every 4 px of the small pictures (at most 256 px a side) to which it was fitted.

    Attributes:
        curve: (16385,) the exposure: its results for evenly spaced sRGB values from 0 to 1.
        balance: (2, 3) gain (first row) and offset of each channel after the exposure.
        gain: (rows, columns, 2) local gain of luma, then of chroma.
        offset: (levels of luma, rows, columns, 3) local offset of red, green and blue."""

    curve: Float
    balance: Float
    gain: Float
    offset: Float

    def expose(self, image: Image) -> Image:
        """The picture after the exposure and the balance of channels, not clipped."""
        gain, offset = self.balance
        matrix = np.column_stack([np.diag(gain), offset])
        return np.asarray(cv2.transform(expose(image, self.curve), matrix), np.float32)


def energy(difference: Image) -> Plane:
    """(H, W) mean square over the channels of a difference of two pictures, (H, W, 3)."""
    third = np.full((1, 3), 1 / 3, np.float32)
    return np.asarray(cv2.transform(difference * difference, third), np.float32)


def fit(
    base: Image, prior: Image, weight: Plane, exposure: float, *, reach: float, local: bool = True
) -> ToneField:
    """Fit the change of light from a small base to its registered prior, both of the same size.

    Args:
        base: (h, w, 3), noise removed.
        prior: (h, w, 3) registered onto it.
        weight: (h, w) in [0, 1], weight of each pixel of the prior.
        exposure: gain in linear light.
        reach: least share, in [0, 1], of their low-frequency difference that the change removes.
        local: if False, corrections are fitted only in windows of a quarter of the picture."""
    curve = exposure_curve(exposure)
    exposed = expose(base, curve)
    balance = fit_balance(exposed, prior, weight)
    exposed = exposed * balance[0] + balance[1]
    steps = [fit_coarse(exposed, prior, weight)]
    if local:
        steps.append(fit_fine(exposed, prior, weight, steps[0]))
        steps.append(fit_plain(exposed, prior, weight, steps[1]))
    amounts = shares(base, exposed, prior, weight, steps, reach)
    gain, offset = np.ones_like(steps[0].gain), np.zeros_like(steps[0].offset)
    before_gain, before_offset = gain, offset
    for step, share in zip(steps, amounts, strict=True):
        small = planes.shrink(share, planes.cells(weight))[..., None]
        gain = gain + small * (step.gain - before_gain)
        offset = offset + small * (step.offset - before_offset)
        before_gain, before_offset = step.gain, step.offset
    return ToneField(curve, balance, gain, offset)


def fit_hint(base: Image, prior: Image, weight: Plane) -> ToneField:
    """The change of light for a prior that shows another state of the scene, such as night: a
    quarter of the difference in chroma, in windows of a quarter of the picture. Luma does not
    change. `weight` (h, w): of each pixel of the prior."""
    offset = fit_coarse(base, prior, weight).offset
    offset = offset - (offset @ LUMA)[..., None]
    gain = np.ones((*offset.shape[1:3], 2), np.float32)
    return ToneField(exposure_curve(1.0), NEUTRAL, gain, np.float32(HINT) * offset)


def fit_coarse(exposed: Image, prior: Image, weight: Plane) -> ToneField:
    """The coarse correction: colour offsets from the exposed base to the prior, in windows of a
    quarter of the picture; gains are 1, without exposure. `weight` (h, w): of each pixel of the
    prior."""
    sigma = COARSE * max(weight.shape)
    offset = planes.means(luma(exposed), prior - exposed, weight, sigma)
    gain = np.ones((*offset.shape[1:3], 2), np.float32)
    return ToneField(exposure_curve(1.0), NEUTRAL, gain, offset)


def fit_fine(exposed: Image, prior: Image, weight: Plane, coarse: ToneField) -> ToneField:
    """The fine correction: gains and offsets in small windows; where the structures of base and
    prior disagree, those of the `coarse` one. The fit is done twice: places with a large residual
    get less weight the second time. `weight` (h, w): of each pixel of the prior."""
    agreement = structure_agreement(exposed, prior, max(weight.shape))
    once = fit_windows(exposed, prior, weight, coarse, agreement)
    missed = blur(energy(apply(once, exposed) - prior), 2.0)
    return fit_windows(exposed, prior, weight / (1 + missed / OUTLIER**2), coarse, agreement)


def fit_windows(
    exposed: Image, prior: Image, weight: Plane, coarse: ToneField, agreement: Plane
) -> ToneField:
    """One fit of gains and offsets in small windows, from exposed base to prior. The lower the
    `agreement` of their structure, (h, w) in [0, 1], the closer they stay to the `coarse`
    correction."""
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
    """The correction `fine` plus the low-frequency difference from the prior that it left, even
    where structures disagree. `weight` (h, w): of each pixel of the prior."""
    sigma = LOW * max(weight.shape)
    left = blur(weight[..., None] * (prior - apply(fine, exposed)), sigma)
    left = left / (blur(weight, sigma) + planes.EVIDENCE)[..., None]
    return replace(fine, offset=fine.offset + planes.shrink(left, planes.cells(weight)))


def stretch(image: Image, grey: Plane, gain: Float) -> Image:
    """The picture with its luma, `grey`, times `gain[..., 0]`, its chroma times `gain[..., 1]`;
    `gain` is (H, W, 2)."""
    own = cv2.extractChannel(gain, 1)
    more = cv2.multiply(cv2.extractChannel(gain, 0) - own, grey)
    moved = cv2.multiply(image, cv2.merge([own] * 3))
    return np.asarray(cv2.add(moved, cv2.merge([more] * 3), moved), np.float32)


def structure_agreement(exposed: Image, prior: Image, size: int) -> Plane:
    """Local correlation of the fine structure of exposed base and prior, (h, w) in [0, 1]; 1 where
    both are flat. `size`: their long side in px, which sets the size of the windows."""
    one, two = (
        blur(y, PRECISE * size) - blur(y, GAIN * size) for y in (luma(exposed), luma(prior))
    )
    products = np.dstack([one * two, one * one, two * two])
    products = blur(products, 1.5 * GAIN * size) + FLOOR**2
    rho = products[..., 0] / np.sqrt(products[..., 1] * products[..., 2])
    return np.asarray(np.clip(rho, 0, 1), np.float32)


def fit_gain(exposed: Image, prior: Image, weight: Plane, size: int) -> Float:
    """The prior's local standard deviation divided by the exposed base's: (h, w, 2), of luma, then
    of chroma. `weight` (h, w): of each pixel. `size`: long side in px, which sets the size of the
    windows."""
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
    base: Image, exposed: Image, prior: Image, weight: Plane, steps: list[ToneField], reach: float
) -> list[Plane]:
    """How far the correction of each step is applied at each place: for each a plane (h, w) in [0,
    1].

    `steps`: the coarse correction, the fine one, and the fine one plus the difference that it left.
    The planes of the first two start as the certainty that damage is mended, the third as 0. Each
    is then raised in this order until the share `reach` of the low-frequency difference between
    base and prior is removed (the third: `reach` - 0.05). A difference below 0.008 (rms) stays."""
    size = max(weight.shape)
    low = LOW * size
    results = [exposed, *(apply(step, exposed) for step in steps)]
    most = min(1, len(steps) - 1)
    cause = reason(results[most + 1] - exposed, gain_at(steps[most], exposed.shape))
    amounts = [cause, cause, np.zeros_like(cause)][: len(steps)]
    moves = [blur(b - a, low) for a, b in pairwise(results)]
    start = blur(exposed - prior, low)

    def distance(difference: Image) -> float:
        return float(np.sqrt((weight * energy(difference)).mean() / weight.mean()))

    def remaining() -> float:
        return distance(start + sum(s[..., None] * m for s, m in zip(amounts, moves, strict=True)))

    before = distance(blur(base - prior, low))
    worth = float(np.clip((before - TINY) / TINY, 0, 1))
    for k, share in enumerate((reach, reach, reach - PLAIN)[: len(steps)]):
        for least in np.linspace(0, 1, 11, dtype=np.float32):
            if remaining() <= (1 - share * worth) * before:
                break
            amounts[k] = np.maximum(amounts[k], least)
    return amounts


def reason(correction: Image, gain: Float) -> Plane:
    """The certainty, (h, w) in [0, 1], that a correction mends damage and is not the generator's
    style. Style changes tone a little everywhere. Damage changes it strongly, or reduces contrast,
    as haze does. The certainty rises with the local rms of the change of pixels, `correction` (h,
    w, 3), to 0.5 at 0.1, and with the gain of luma, `gain[..., 0]`, to 0.5 at 1.5. One of both is
    enough."""
    sigma = FINE[0] * max(gain.shape)
    far = blur(energy(correction), sigma) / STYLE**2
    flat = (blur(np.log(np.maximum(gain[..., 0], 1)), sigma) / np.log(CONTRAST)) ** 2
    return np.asarray(1 - 1 / ((1 + far) * (1 + flat)), np.float32)


def apply(
    field: ToneField, exposed: Image, *, rows: Rows | None = None, offsets: Float | None = None
) -> Image:
    """The exposed base with the local corrections applied, not clipped. If `exposed` is a stripe of
    a picture, `rows` holds its first row and the height of the picture; None: it is all of it.
    `offsets`: the colour offsets of the whole picture, (h, w, 3) at half its size; if None,
    computed at full size."""
    grey = luma(exposed)
    moved = stretch(exposed, grey, gain_at(field, exposed.shape, rows))
    if offsets is None:
        offset = planes.look_up(field.offset, grey, rows)
    else:
        offset = planes.double(offsets, exposed.shape, rows or (0, exposed.shape[0]))
    return np.asarray(cv2.add(moved, offset, moved), np.float32)


def halves(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The size (h, w) at which the colour offsets of a large picture are computed: half its own.
    None for a picture of fewer than three million px, where they are computed at full size."""
    large = shape[0] * shape[1] >= LARGE
    return (-(-shape[0] // 2), -(-shape[1] // 2)) if large else None


def offset_at_half(field: ToneField, exposed: Image, rows: Rows) -> Float:
    """The colour offsets for a stripe of a picture, (h, w, 3) at half its resolution. `rows`: the
    first row of the stripe, an even number, and the height of the picture."""
    guide = planes.halve(luma(exposed))
    return planes.look_up(field.offset, guide, (rows[0] // 2, -(-rows[1] // 2)))


def gain_at(field: ToneField, shape: tuple[int, ...], rows: Rows | None = None) -> Float:
    """The local gains of luma, then of chroma, (H, W, 2), for a picture of this shape. If it is a
    stripe, `rows` holds its first row and the height of the picture; else None."""
    return planes.look_up_plane(field.gain, shape, rows)


def apply_field(field: ToneField, base: Image) -> Image:
    """The base after the whole change of light, exposure included, clipped to [0, 1]."""
    return np.clip(apply(field, field.expose(base)), 0, 1)


def damp(field: ToneField, share: Plane) -> ToneField:
    """The same exposure, with the local corrections multiplied by `share`, (h, w) in [0, 1], on the
    grid of the small pictures to which they were fitted."""
    small = planes.shrink(share, planes.cells(share))[..., None]
    return replace(field, gain=1 + small * (field.gain - 1), offset=small * field.offset)
