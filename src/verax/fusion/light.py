"""The light of the result: fitted on reduced pictures, applied at full size. Also the trust map.

The change of light is weakened where it would create strong edges that the photo does not support:
within 2 px, the photo has no gradient of similar orientation that is clearly above its noise. The
strength of edges is not compared: in a dark or hazy photo they are faint, but present."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion import evidence, matching, planes, tone
from verax.fusion.dial import CLASSES, Dial
from verax.fusion.explanation import Explanation
from verax.fusion.planes import Float, blur, by_tiles, double, resize
from verax.geometry.register import Registration, WarpedPrior
from verax.image import Image, Plane
from verax.image.pixels import by_stripes, luma, ramp, reduce_to
from verax.metrics.scene import scene_state

# a pair of values is a ramp: no effect at the first, full effect at the second
UNPROVED = 0.25  # weight, for tone, of prior pixels whose place is uncertain
LEAST = 0.02  # mean weight of the prior below which nothing is fitted
ALIKE = (0.60, 0.85)  # cosine between two changes of light
NEAR = (0.3, 0.6)  # ratio of the sizes of two changes of light, the smaller over the larger
ALONE = 0.45  # additional weight of even light where base and prior changed the light differently
LOW = 0.03  # sigma at which light is compared for the trust map, share of the width


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to change the base's light. Pixels are from 0 to 1.

    Attributes:
        field: an exposure, and local gains and offsets.
        sigma: (256,) standard deviation of the base's noise, for evenly spaced lumas from 0 to 1.
        slope: (256,) factor by which the exposure raises small differences, for the same lumas.
        noise_level: standard deviation of the noise to be removed, 0 for none.
        change: how the prior changed the state of the scene, such as "day to night"; "" for
            none."""

    field: tone.ToneField
    sigma: evidence.Table
    slope: evidence.Table
    noise_level: float
    change: str


def solve(
    photo: Image,
    base: Image,
    warped: WarpedPrior,
    registration: Registration,
    lit: Image | None,
    dial: Dial,
) -> Recipe | None:
    """How to change the base's light; None if the prior, `warped` to the photo's grid, covers too
    little of the photo. `registration` says where its place is certain; other places count less.
    `lit`: a copy of the photo with only its light restored, (h, w, 3) of any size, or None. `dial`:
    the fidelity as thresholds, which limit what is taken from the prior."""
    scale = min(1.0, tone.WORK / max(base.shape[:2]))
    size = (max(1, round(base.shape[1] * scale)), max(1, round(base.shape[0] * scale)))
    valid = planes.shrink(warped.valid, size)
    proved = planes.shrink(registration.confidence, size)
    weight = np.asarray(valid * (UNPROVED + (1 - UNPROVED) * proved), np.float32)
    if weight.mean() < LEAST:
        return None
    sigma = evidence.noise_table(base)
    quiet = evidence.denoise(planes.shrink(base, size), scale * float(np.median(sigma)))
    prior = planes.shrink(warped.pixels, size)
    state = scene_state(quiet, prior, valid > 0.5 * valid.max())
    change = "" if state == "same" else state
    if change:
        field = tone.fit_hint(quiet, prior, weight)
    else:
        base_light = None if lit is None else planes.shrink(lit, size)
        target = _target(quiet, prior, base_light, weight, dial)
        field = tone.fit(
            quiet, target, weight, matching.fit_exposure(quiet, target, weight),
            local=registration.placed == "exactly", reach=dial.toned,
        )  # fmt: skip
        field = tone.damp(
            field, 1 - doubt(tone.apply_field(field, quiet), planes.shrink(photo, size))
        )
    slope = matching.slope(field.curve, evidence.LEVELS) * field.balance[0].max()
    need, deviation = noise_need(quiet, tone.gain_at(field, quiet.shape), sigma, slope)
    level = float((need * deviation).sum() / max(need.sum(), 1e-9))
    return Recipe(field, sigma, slope, level, change)


def _target(base: Image, prior: Image, lit: Image | None, weight: Plane, dial: Dial) -> Image:
    """The light intended for the result, as a picture (h, w, 3) of the same small size as all
    parameters: a weighted mean of the prior, of `lit`, and of an even change of light (`lit` or, if
    that is None, the base, with one gain and offset for each channel, fitted to the prior). The
    last two hold less of the generator's style. `lit`: the photo with only its light restored, or
    None. `weight` (h, w): of each pixel of the prior. `dial`: holds the weights `own` and
    `even`."""
    start, alike = lit, 0.0
    if start is None:
        curve = matching.exposure_curve(matching.fit_exposure(base, prior, weight))
        start = matching.expose(base, curve)
    even = matching.even_light(start, prior, weight) if dial.even > 0 else prior
    if lit is not None:
        alike = _agreeing(base, prior, lit, weight)
        prior = np.asarray(prior + dial.own * alike * (lit - prior), np.float32)
    share = min(1.0, dial.even * (1 + ALONE * (1 - alike)))
    return np.asarray(prior + np.float32(share) * (even - prior), np.float32)


def _agreeing(base: Image, prior: Image, lit: Image, valid: Plane) -> float:
    """How similarly `lit`, the photo with only its light restored, and the prior change the light
    of the base, in [0, 1]: by direction and by size. Where these two independent estimates agree,
    their mean is better than either. `valid` (h, w): the weight of each pixel of the prior."""
    side = (32, 32)
    weight = planes.shrink(valid, side)[..., None]
    one, two = ((planes.shrink(x, side) - planes.shrink(base, side)) * weight for x in (lit, prior))
    sizes = [float(np.sqrt((x**2).sum())) + 1e-6 for x in (one, two)]
    ratio = min(sizes) / max(sizes)
    return ramp(float((one * two).sum()) / (sizes[0] * sizes[1]), *ALIKE) * ramp(ratio, *NEAR)


def noise_need(
    base: Image, gain: planes.Float, sigma: evidence.Table, slope: evidence.Table
) -> tuple[Plane, Plane]:
    """Two planes (H, W): the share of each pixel's noise, in [0, 1], that must be removed so that
    the new light does not make it visible, and the noise's standard deviation.

    `gain` (H, W, 2): the factors on luma, then on chroma. `sigma` and `slope`, both (256,) for
    evenly spaced lumas from 0 to 1: the standard deviation of the base's noise, and the slope of
    the exposure curve."""
    grey = luma(base)
    deviation = evidence.look_up(sigma, grey)
    raised = evidence.look_up(slope, grey) * np.maximum(gain[..., 0], gain[..., 1])
    return evidence.excess(deviation, raised), deviation


def relight(source: Image, recipe: Recipe, explanation: Explanation) -> Image:
    """The source (H, W, 3), a base, after the change of light `recipe`. How much of the change is
    applied follows from `explanation`, the faults of the photo that justify it."""
    share = explanation.light if not recipe.change else 1.0  # that recipe holds colour only
    return apply_recipe(recipe, source, share) if share > 0 else source


def apply_recipe(recipe: Recipe, base: Image, share: float = 1.0) -> Image:
    """The base after the change of light `recipe`; only `share`, in [0, 1], of it is applied."""
    pixels, height = np.empty_like(base), base.shape[0]

    def denoise_part(part: planes.Part, _: object) -> Image:
        wider = planes.around(part, base.shape)
        return evidence.denoise(base[wider], recipe.noise_level)[planes.within(part, wider)]

    if recipe.noise_level > 0:
        by_tiles(denoise_part, base.shape, pixels)
    halves = tone.halves(base.shape)
    offsets = None if halves is None else np.empty((*halves, 3), np.float32)

    def expose(rows: slice) -> None:
        quiet = base[rows]
        if recipe.noise_level > 0:
            quiet = _quiet(recipe, quiet, pixels[rows], (rows.start, height))
        pixels[rows] = recipe.field.expose(quiet)
        if offsets is not None:
            low = slice(rows.start // 2, -(-rows.stop // 2))
            offsets[low] = tone.offset_at_half(recipe.field, pixels[rows], (rows.start, height))

    def correct(rows: slice) -> None:
        toned = tone.apply(recipe.field, pixels[rows], rows=(rows.start, height), offsets=offsets)
        np.clip(toned, 0, 1, out=toned)
        pixels[rows] = (
            toned if share == 1 else base[rows] + np.float32(share) * (toned - base[rows])
        )

    by_stripes(expose, base.shape)
    by_stripes(correct, base.shape)
    return pixels


def _quiet(recipe: Recipe, base: Image, quiet: Image, rows: planes.Rows) -> Image:
    """The stripe `base` without the noise that its new light would make visible. `quiet`: the same
    stripe without any noise. `rows`: first row of the stripe, height of the whole base."""
    gain = tone.gain_at(recipe.field, base.shape, rows)
    need, _ = noise_need(base, gain, recipe.sigma, recipe.slope)
    part = cv2.subtract(quiet, base)
    cv2.multiply(part, cv2.merge([need] * 3), part)
    return np.asarray(cv2.add(part, base, part), np.float32)


Kind = TypeVar("Kind", np.float32, np.bool_)

SCALE = 1.0  # sigma of the derivative, px
STRONG = 0.05  # share of pixels that count as strong edges
FAINT = 0.01  # least gradient of a strong edge, sRGB per px
OUTSTANDING = 3.0  # least ratio of the photo's gradient to its noise
TOLERANCE = 2  # px
SPREAD = 0.015  # sigma around an unsupported edge, share of the long side
DENSITY = 0.1  # share of unsupported edge pixels nearby at which no local correction is kept
ORIENTATION = 0.7  # least cosine between the normals of two edges


def gradient(image: Image) -> tuple[Plane, Plane, Plane]:
    """The gradient of a picture's luma (0 to 1) after a Gaussian blur of 1 px, per px: three planes
    (H, W), the part along x, the part along y, and the length."""
    y = planes.blur(luma(image), SCALE)
    dx, dy = (
        np.asarray(cv2.Sobel(y, cv2.CV_32F, *d, ksize=3, scale=1 / 8), np.float32)
        for d in ((1, 0), (0, 1))
    )
    return dx, dy, np.hypot(dx, dy)


def strong_edges(image: Image) -> NDArray[np.bool_]:
    """(H, W) True at the strongest 5 % of the gradients of luma (0 to 1), without those below 0.01
    per px."""
    length = gradient(image)[2]
    return np.asarray(length >= max(FAINT, float(np.quantile(length, 1 - STRONG))))


def support(restoration: Image, photo: Image) -> NDArray[np.bool_]:
    """(H, W) True where the photo has, within 2 px, an edge of about the same orientation as the
    restoration's, and clearly above the photo's noise."""
    nx, ny, length = gradient(restoration)
    dx, dy, faint = gradient(photo)
    shown = faint >= OUTSTANDING * gradient_noise(photo)
    dx, dy = dx * shown, dy * shown
    supported = np.zeros(shown.shape, bool)
    reach = range(-TOLERANCE, TOLERANCE + 1)
    for y, x in ((y, x) for y in reach for x in reach if y * y + x * x <= TOLERANCE**2):
        along = np.abs(nx * shift(dx, y, x) + ny * shift(dy, y, x))
        supported |= shift(shown, y, x) & (along >= ORIENTATION * length * shift(faint, y, x))
    return supported


def shift(plane: NDArray[Kind], dy: int, dx: int) -> NDArray[Kind]:
    """The plane shifted up by `dy` and left by `dx` px: the value at (y, x) is that of the plane at
    (y + dy, x + dx). Outside, the plane's border pixels are repeated."""
    ys = np.clip(np.arange(plane.shape[0]) + dy, 0, plane.shape[0] - 1)
    xs = np.clip(np.arange(plane.shape[1]) + dx, 0, plane.shape[1] - 1)
    return plane[ys[:, None], xs]


def gradient_noise(photo: Image) -> Plane:
    """(H, W) standard deviation, per px, that the photo's noise gives to the gradient of its
    luma."""
    sigma = evidence.look_up(evidence.noise_table(photo), luma(photo))
    return np.asarray(np.maximum(0.13 * sigma, 0.33 / 255 / OUTSTANDING), np.float32)


def unsupported_edges(restoration: Image, photo: Image) -> float:
    """The share, in [0, 1], of the restoration's strong edges (the strongest 5 % of gradients of
    luma) that the photo does not show; 0 if there are none."""
    strong = strong_edges(restoration)
    if not strong.any():
        return 0.0
    return float((strong & ~support(restoration, photo)).sum() / strong.sum())


def doubt(restoration: Image, photo: Image) -> Plane:
    """How far to weaken the change of light around strong edges of the restoration that the photo
    does not have, (H, W): 0 not at all, 1 fully."""
    invented = strong_edges(restoration) & ~support(restoration, photo)
    spread = planes.blur(invented.astype(np.float32), SPREAD * max(invented.shape))
    return np.asarray(np.clip(spread / DENSITY, 0, 1), np.float32)


def trust_map(pixels: Image, base: Image, amplitudes: Float | None) -> NDArray[np.float16]:
    """The trust map (H, W, 4): for each pixel the shares of the photo, of its structure with the
    prior's contrast, of the prior's light, and of detail made by the generator. Their sum is 1.

    The share of light: how far low frequencies of the result, `pixels`, differ from the base's. The
    others follow the strength of the structure from the photo, from the photo with the prior's
    contrast, and from the prior: `amplitudes` (h, w, 3) at half size, None if no structure is the
    prior's."""
    own, new = (reduce_to(x, 512) for x in (base, pixels))
    sigma = LOW * own.shape[1]
    total = np.ones((1, 3), np.float32)
    moved = blur(cv2.transform(np.abs(blur(new - own, sigma / 2)), total), sigma / 2)
    brighter = blur(cv2.transform(np.maximum(own, new), total), sigma / 2)
    light = np.clip(moved / np.maximum(brighter, 0.02), 0, 1)
    if amplitudes is None:
        amplitudes = np.zeros((1, 1, 3), np.float32)
    plain = np.array([0.002, 0, 0], np.float32)  # where there is no structure: the photo's
    shares = amplitudes + plain
    shares /= cv2.transform(shares, total)[..., None]
    rest = 1 - resize(np.asarray(light, np.float32), shares.shape)
    generated = shares[..., 2]
    classes = cv2.merge(
        [shares[..., 0] * rest, shares[..., 1] * rest, (1 - generated) * (1 - rest), generated]
    )
    full = np.empty((*base.shape[:2], len(CLASSES)), np.float16)

    def stripe(rows: slice) -> None:
        full[rows] = double(classes, full[rows].shape, (rows.start, full.shape[0]))

    if classes.size == len(CLASSES):
        full[:] = classes
    else:
        by_stripes(stripe, full.shape)
    return full
