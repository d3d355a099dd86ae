"""Matches the light of one picture to another's without importing structure.

There are four matches: exposure (one gain in linear light with a soft shoulder), balance (a gain
and an offset for each channel), relighting (smooth fields that change the prior's light into the
photo's), and contrast (one gain for each fine octave, a pyramid level)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion.evidence import sample_tiles
from verax.fusion.planes import Float, blur, halve, luma, resize
from verax.geometry.register import WarpedPrior
from verax.image import Image, Plane
from verax.image.pixels import by_stripes, largest, reduce_to, to_linear, to_srgb

KNEE = 0.6  # linear light above which brightening rolls off, so that highlights keep detail
CURVE_STEPS = 1 << 14
BALANCE = (0.5, 2.5)  # least and largest gain of a channel
MATCHED = (0.3, 0.7)  # correlation of two channels: contrast is not matched; is matched in full
CLIPPED = 0.03  # share of a channel's values at either end that may be clipped
TYPICAL = 0.02  # least residual that counts as typical


def brighten(values: Float, gain: float | NDArray[np.float64]) -> Float:
    """sRGB values, from 0 to 1, after a gain in linear light. With a gain above 1, what exceeds 0.6
    in linear light rolls off towards 1 instead of clipping."""
    y = gain * to_linear(values)
    over = np.maximum(y - KNEE, 0) / (1 - KNEE)
    rolled = np.where(y < KNEE, y, KNEE + (1 - KNEE) * over / (1 + over))
    return to_srgb(np.asarray(np.where(np.greater(gain, 1), rolled, y), np.float32))


def exposure_curve(gain: float) -> Float:
    """An exposure as a table: sRGB values after a gain in linear light, highlights rolled off, for
    16385 evenly spaced values from 0 to 1."""
    return brighten(np.linspace(0, 1, CURVE_STEPS + 1, dtype=np.float32), gain)


def expose(image: Image, curve: Float) -> Image:
    """The picture, in [0, 1], after an exposure. `curve` (16385,): its results for evenly spaced
    values from 0 to 1."""
    steps = cv2.multiply(image, (CURVE_STEPS,) * 4, dtype=cv2.CV_16U)
    return np.asarray(np.take(curve, steps), np.float32)


def slope(curve: Float, steps: int) -> Float:
    """The derivative, (steps,), of an exposure curve at evenly spaced values from 0 to 1. `curve`
    (16385,): its results for evenly spaced values from 0 to 1."""
    values = curve[np.linspace(0, CURVE_STEPS, steps).astype(int)]
    return np.asarray(np.gradient(values) * (steps - 1), np.float32)


def fit_exposure(base: Image, prior: Image, weight: Plane) -> float:
    """The gain in linear light, 1/4 to 64, that brings the base's brightness closest to the
    prior's. It compares quantiles of luma, which need no alignment. `weight` (h, w): of each pixel;
    a pixel of at most half the largest weight does not count."""
    visible = weight > 0.5 * weight.max()
    quantiles = np.linspace(0.02, 0.98, 49)
    base_levels = np.quantile(luma(base)[visible], quantiles).astype(np.float32)
    prior_levels = np.quantile(luma(prior)[visible], quantiles).astype(np.float32)
    gains = np.exp2(np.linspace(-2, 6, 161))
    costs = np.abs(brighten(base_levels, gains[:, None]) - prior_levels).mean(1)
    return float(gains[int(np.argmin(costs))])


def fit_balance(exposed: Image, prior: Image, weight: Plane) -> Float:
    """The gain (first row) and offset of each channel, (2, 3), that bring `exposed`, the base after
    an exposure, closest to the prior. Means and standard deviations are matched three times; each
    time, pixels that still differ much get less weight. `weight` (h, w): of each pixel at first."""
    trusted, balance = weight, np.stack([np.ones(3, np.float32), np.zeros(3, np.float32)])
    for _ in range(3):
        share = (trusted / max(float(trusted.sum()), 1e-6))[..., None]
        mine, its = ((share * x).sum((0, 1)) for x in (exposed, prior))
        one, two = exposed - mine, prior - its
        power, target, shared = ((share * x).sum((0, 1)) for x in (one * one, two * two, one * two))
        alike = np.clip(shared / np.sqrt(power * target + 1e-12), 0, 1)
        sure = np.clip((alike - MATCHED[0]) / (MATCHED[1] - MATCHED[0]), 0, 1)
        gain = 1 + sure * (np.clip(np.sqrt((target + 1e-5) / (power + 1e-5)), *BALANCE) - 1)
        balance = np.stack([gain, its - gain * mine])
        off = largest(np.abs(np.asarray(exposed * balance[0] + balance[1] - prior, np.float32)))
        typical = max(float(np.median(off[weight > 0.5 * weight.max()])), TYPICAL)
        trusted = np.asarray(weight / (1 + (off / (2 * typical)) ** 4), np.float32)
    return np.asarray(balance, np.float32)


def even_light(picture: Image, prior: Image, weight: Plane) -> Image:
    """The picture (h, w, 3) with the gain and offset of each channel that bring its light close to
    the prior's; then rescaled so that hardly any value is clipped. `weight`: of each pixel."""
    gain, offset = fit_balance(picture, prior, weight)
    moved = picture * gain + offset
    low, high = np.quantile(moved[weight > 0.5 * weight.max()], (CLIPPED, 1 - CLIPPED), axis=0)
    low, high = min(0.0, float(low.min())), max(1.0, float(high.max()))
    return np.asarray((moved - low) / (high - low), np.float32)


WORK = 160  # px: long side at which the light is compared
WIDE = 0.15  # sigma of the windows, share of the long side
GAINS = (0.5, 2.0)  # least and largest gain of contrast
LEAST = 0.01  # least residual that counts as typical
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Relight:
    """Changes the prior's light to the photo's by smooth fields: values are multiplied by `gain`
    (h, w), then `offset` (h, w, 3) is added. The fields are at most 160 px a side and enlarged to
    the picture."""

    gain: Plane
    offset: Float

    def __call__(self, picture: Float) -> Float:
        """The prior, or a smaller copy of it, under the photo's light; not clipped to [0, 1]."""
        gain, offset = (resize(field, picture.shape) for field in (self.gain, self.offset))
        return np.asarray(cv2.add(cv2.multiply(picture, cv2.merge([gain] * 3)), offset), np.float32)


def fit_relight(prior: Image, photo: Image, valid: Plane) -> Relight:
    """Fit smooth fields that match the prior's mean colour and luma contrast to the photo's in wide
    windows. The fit is repeated; places that still differ, such as a shadow that the prior removed,
    get less weight each time. `valid`: (H, W) 1 where the prior covers the photo."""
    other, own, visible = (reduce_to(x, WORK) for x in (prior, photo, valid))
    sigma, weight = WIDE * max(visible.shape), visible + np.float32(1e-4)
    trusted, grey, target = weight, luma(other), luma(own)
    gain, offset = np.ones_like(visible), np.zeros_like(own)
    for _ in range(ROUNDS):
        spread = [
            _mean((x - _mean(x, trusted, sigma)) ** 2, trusted, sigma) + np.float32(1e-4)
            for x in (grey, target)
        ]
        gain = np.clip(np.sqrt(spread[1] / spread[0]), *GAINS)
        offset = _mean(own - gain[..., None] * other, trusted, sigma)
        off = luma(gain[..., None] * other + offset) - target
        residual = cv2.GaussianBlur(np.abs(off), (0, 0), 1)
        inside = residual[visible > 0.5]
        typical = max(float(np.median(inside)) if inside.size else 0.0, LEAST)
        trusted = np.asarray(weight / (1 + (residual / (2 * typical)) ** 4), np.float32)
    return Relight(np.asarray(gain, np.float32), offset)


def _mean(values: Float, weight: Plane, sigma: float) -> Float:
    """Local means of values (h, w) or (h, w, 3), with the weight (h, w) of each pixel, in Gaussian
    windows of `sigma` px."""
    total = blur(weight, sigma) + np.float32(1e-6)
    if values.ndim == 2:
        return np.asarray(blur(weight * values, sigma) / total, np.float32)
    return np.asarray(blur(weight[..., None] * values, sigma) / total[..., None], np.float32)


SIGMAS = (1, 2, 4, 8)  # px, between the fine octaves: 1 to 2, 2 to 4 and 4 to 8 px
FINE = len(SIGMAS) - 1
BAND_GAINS = (0.5, 2.0)  # least and largest gain of a fine octave
UNCHANGED = 0.003  # largest difference of a gain from 1 that is ignored
MARGIN = 32  # px around a part of a picture that the widest blur reads
TILES, TILE = 25, 256  # evenly spread tiles by which a large picture is measured
# the octaves overlap: relative change of each octave's contrast (rows) per change of an octave's
# gain (columns); the median of 43 photos, which hardly differ
OVERLAP = np.array([[0.70, 0.185, 0.05], [0.304, 0.328, 0.24], [0.097, 0.206, 0.36]])

Contrasts = NDArray[np.float64]  # (FINE,) standard deviation of each fine octave of luma


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles (h, w) of a picture's luma, and for each the weights of its pixels in [0, 1]."""

    tiles: list[Plane]
    weights: list[Plane]

    @property
    def contrasts(self) -> Contrasts:
        sums = np.zeros(FINE)
        for tile, weight in zip(self.tiles, self.weights, strict=True):
            for index, band in enumerate(_octaves(tile)):
                area = resize(weight, band.shape) * np.float32(weight.size / band.size)
                sums[index] += float((band * band * area).sum())
        total = sum(float(weight.sum()) for weight in self.weights)
        return np.sqrt(sums / (total + 1e-6)) + 1e-6


def contrasts_of(pictures: Sequence[Image], valid: Plane) -> list[Contrasts]:
    """The contrasts (3,) of each picture (H, W, 3), measured on tiles where the prior is valid:
    standard deviations of luma detail of 1 to 2, of 2 to 4 and of 4 to 8 px."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda picture: sample(picture, valid).contrasts, pictures))


def sample(picture: Image, valid: Plane) -> Tiles:
    """Luma tiles of a picture (H, W, 3); of a small one, all of it. Pixels on the margins of tiles
    and pixels that the prior does not cover (`valid` 0) have the weight 0, others 1."""
    tiles = [luma(np.clip(tile, 0, 1)) for tile in sample_tiles(picture, TILES, TILE)]
    weights = [np.asarray(tile > 0.99, np.float32) for tile in sample_tiles(valid, TILES, TILE)]
    if len(weights) > 1:
        inner = np.zeros((TILE, TILE), np.float32)
        inner[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
        weights = [weight * inner for weight in weights]
    return Tiles(tiles, weights)


def sample_over(below: Image, above: Image, valid: Plane) -> Tiles:
    """Luma tiles of the picture that shows `above` where `valid` is 1, else `below`. Pixels on the
    margins of tiles and where `valid` is 0 have the weight 0."""
    one, two = sample(below, valid), sample(above, valid)
    shares = sample_tiles(valid, TILES, TILE)
    tiles = zip(one.tiles, two.tiles, shares, strict=True)
    laid = [np.asarray(x + share * (y - x), np.float32) for x, y, share in tiles]
    return Tiles(laid, one.weights)


def with_prior_contrast(
    picture: Image, valid: Plane, contrasts: list[Contrasts], sharpened: Contrasts, smoothed: float
) -> Image:
    """The picture with its contrasts, of detail of 1 to 2, 2 to 4 and 4 to 8 px, moved to the
    prior's where `valid` (H, W) is 1. `contrasts`: (3,) of photo and (3,) of prior. In bands in
    which the prior has more contrast than the photo, the picture gets the prior's, but at most
    `sharpened` (3,) times its own. Others only rise, to the prior's, at most `smoothed` times."""
    (before, most), (have,) = contrasts, contrasts_of((picture,), valid)
    raised, lifted = np.minimum(most, have * sharpened), np.clip(most, have, have * smoothed)
    return with_contrasts(picture, valid, have, np.where(most > before, raised, lifted))


def on_the_dial(
    picture: Image, photo: Image, default: Image, prior: WarpedPrior, beyond: float
) -> Image:
    """The fusion `picture`, its contrasts (of detail of 1 to 2, 2 to 4 and 4 to 8 px) only rising
    or only falling as the fidelity is lowered. `default`: the fusion at the default fidelity. Above
    it, a band that is stronger in the prior than in `photo` gets at most its contrast in `default`.
    Below it, contrasts lie between those of `default` (`beyond` 0) and the prior's (`beyond` 1)."""
    before, have, first = contrasts_of((photo, picture, default), prior.valid)
    last = sample_over(default, prior.pixels, prior.valid).contrasts
    above = np.where(last > before, np.minimum(have, first), have)
    target = first ** (1 - beyond) * last**beyond if beyond > 0 else above
    return with_contrasts(picture, prior.valid, have, target)


def with_contrasts(picture: Image, valid: Plane, have: Contrasts, target: Contrasts) -> Image:
    """The picture with the contrasts of its detail of 1 to 2, 2 to 4 and 4 to 8 px changed from
    `have` (3,) to `target` (3,), where `valid` (H, W), the prior's area, is 1."""
    changed = with_gains(picture, _gains(have, target), valid)
    if changed is picture:
        return picture
    (now,) = contrasts_of((changed,), valid)
    return with_gains(changed, _gains(now, target), valid)


def _gains(have: Contrasts, target: Contrasts) -> Contrasts:
    gains = 1 + np.linalg.solve(OVERLAP, target / have - 1)
    return np.asarray(np.clip(gains, *BAND_GAINS), np.float64)


def with_gains(picture: Image, gains: Contrasts, where: Plane) -> Image:
    """The picture (H, W, 3) with its luma detail of 1 to 2, 2 to 4 and 4 to 8 px multiplied by
    three `gains`, clipped to [0, 1]. Finer detail gets the first gain. The change is weighted by
    `where`, (H, W) in [0, 1]."""
    if np.abs(gains - 1).max() < UNCHANGED:
        return picture
    result = np.empty_like(picture)

    def stripe(rows: slice) -> None:
        top = max(0, rows.start - MARGIN)
        inner = slice(rows.start - top, rows.stop - top)
        change = np.zeros((rows.stop - rows.start, picture.shape[1]), np.float32)
        for gain, band in zip(gains, _bands(luma(picture[top : rows.stop + MARGIN])), strict=True):
            change += np.float32(gain - 1) * band[inner]
        change *= where[rows]
        result[rows] = np.clip(picture[rows] + change[..., None], 0, 1)

    by_stripes(stripe, picture.shape)
    return result


def _bands(grey: Plane) -> list[Plane]:
    """A plane's detail of up to 2, of 2 to 4 and of 4 to 8 px, each at full size."""
    middle = _gaussian(grey, SIGMAS[1])
    return [grey - middle, *(resize(band, grey.shape) for band in _coarse(middle))]


def _octaves(grey: Plane) -> list[Plane]:
    """A plane's detail of 1 to 2 px at full size; that of 2 to 4 and of 4 to 8 px at half size."""
    fine, middle = (_gaussian(grey, sigma) for sigma in SIGMAS[:2])
    return [fine - middle, *_coarse(middle)]


def _coarse(middle: Plane) -> list[Plane]:
    """Detail of 2 to 4 and of 4 to 8 px at half size. `middle`: the plane after a blur of 2 px."""
    low = halve(middle)
    # a blur of 2 px and one of sqrt(s^2 - 4) px make one of s px
    copies = [low, *(_gaussian(low, (sigma**2 - 4) ** 0.5 / 2) for sigma in SIGMAS[2:])]
    return [one - two for one, two in pairwise(copies)]


def _gaussian(x: Float, sigma: float) -> Float:
    y = cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(y, np.float32)
