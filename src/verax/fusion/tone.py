"""Tone: the prior's light and colour as an affine field on a bilateral grid, R = a E + c.

Two steps, both unable to import structure. First an exposure: one gain in linear light with a
soft shoulder, E = exposure(D); it is what a camera could have done, so it is taken in full. Then
a local correction, fitted E -> registered prior on a grid over (x, y, luma of E): a gain from the
ratio of local deviations and a colour offset from local weighted means. Deviations and means, not
least squares: under residual misalignment a least-squares slope is diluted (contrast is lost),
matched moments are not. Each level of the field is shrunk to the coarser one where weighted
evidence is thin.

The grid follows Chen, Paris, Durand, "Real-time edge-aware image processing with the bilateral
grid" (SIGGRAPH 2007); moment matching follows Reinhard et al., "Color transfer between images"
(2001), done locally.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane

WORK = 384  # long side at which the field is fitted, px
LEVELS = 9  # luma levels of the grid
CELL = 4  # working px per grid cell
SIGMAS = (0.25, 0.08, 0.025)  # windows of the offset field, coarse to fine, share of the long side
GAIN_SIGMA = 0.05  # window of the deviations
PRE_BLUR = 0.008  # deviations are compared above this scale: below it registration is not exact
GAIN_FLOOR = 0.02  # deviations below this are no evidence for a gain
GAIN_RANGE = (0.5, 3.0)
EVIDENCE = 0.02  # weight at which a window counts half
TASTE = 0.10  # how far a generator's tone is off without a reason (rms); see docs/log.md
REACH = 0.6  # share of the low-frequency distance to the prior that is always covered
HINT = 0.5  # share of the prior's coarse chroma taken when the scene's state has changed
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CURVE_STEPS = 1 << 14

Grid = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ToneField:
    """What turns the base into the restoration.

    Attributes:
        exposure: gain in linear light.
        curve: (CURVE_STEPS + 1,) float32, the exposure as a curve on sRGB values.
        gain: (gh, gw, 2) float32, gain of luma and of chroma.
        offset: (LEVELS, gh, gw, 3) float32, colour offset (RGB).
    """

    exposure: float
    curve: NDArray[np.float32]
    gain: Grid
    offset: Grid


def to_linear(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB-encoded to linear light (IEC 61966-2-1)."""
    y = np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0) + 0.055) / 1.055) ** 2.4)
    return y.astype(np.float32)


def to_srgb(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light to sRGB-encoded (IEC 61966-2-1)."""
    y = np.where(x <= 0.0031308, x * 12.92, 1.055 * np.maximum(x, 0) ** (1 / 2.4) - 0.055)
    return y.astype(np.float32)


def luma(image: Image) -> Plane:
    """(H, W) luma of an sRGB picture (BT.601 weights)."""
    return np.asarray(cv2.transform(image, LUMA[None]), np.float32)


def brighten(values: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
    """sRGB values after a gain in linear light; above 0.8 they roll off instead of clipping."""
    y = gain * to_linear(values)
    if gain > 1:
        knee = 0.8
        y = np.where(y < knee, y, 1 - (1 - knee) * np.exp(-(y - knee) / (1 - knee)))
    return to_srgb(np.asarray(y, np.float32))


def exposure_curve(gain: float) -> NDArray[np.float32]:
    """`brighten` as a table over [0, 1]."""
    return brighten(np.linspace(0, 1, CURVE_STEPS + 1, dtype=np.float32), gain)


def expose(image: Image, curve: NDArray[np.float32]) -> Image:
    """The picture with an exposure curve applied."""
    return np.take(curve, (image * CURVE_STEPS + 0.5).astype(np.int32))


def blur(x: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur with reflected borders; wide ones on a coarser grid, where they cost little."""
    step = int(sigma / 3)
    if step < 2 or min(x.shape[:2]) < 4 * step:
        y = cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT)
        return np.asarray(y, np.float32)
    coarse = shrink(x, (-(-x.shape[1] // step), -(-x.shape[0] // step)))
    y = cv2.GaussianBlur(coarse, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    y = cv2.resize(y, x.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(y, np.float32)


def fit_exposure(base: Image, prior: Image, weight: Plane) -> float:
    """The linear-light gain that brings the base's brightness nearest to the prior's.

    Compared are the luma quantiles of both pictures, which misalignment leaves alone.
    """
    seen = weight > 0.05
    quantiles = np.linspace(0.02, 0.98, 49)
    have = np.quantile(luma(base)[seen], quantiles).astype(np.float32)
    want = np.quantile(luma(prior)[seen], quantiles).astype(np.float32)
    gains = np.exp2(np.linspace(-2, 6, 161))
    costs = [np.abs(brighten(have, g) - want).mean() for g in gains]
    return float(gains[int(np.argmin(costs))])


def fit(
    base: Image, prior: Image, weight: Plane, exposure: float, *, local: bool = True
) -> ToneField:
    """The tone field of a small base and its registered prior, all on one working grid.

    Args:
        base: (h, w, 3), noise removed.
        prior: (h, w, 3) registered onto it.
        weight: (h, w) in [0, 1], how much each pixel of the prior counts.
        exposure: from `fit_exposure`.
        local: False fits only the coarsest level.
    """
    curve = exposure_curve(exposure)
    exposed = expose(base, curve)
    field = ToneField(exposure, curve, *fit_grid(exposed, prior, weight, local=local))
    share = local_share(base, exposed, apply(field, exposed), prior, weight)
    return damp(field, share)


def fit_hint(base: Image, prior: Image, weight: Plane) -> ToneField:
    """A field for a prior that shows another state of the scene: a share of its chroma, no light.

    Exposure and luma stay the base's; the colour offset is a coarse one, made luma-free.
    """
    gain, offset = fit_grid(base, prior, weight, local=False)
    offset = offset - offset @ LUMA[:, None]
    return ToneField(1.0, exposure_curve(1.0), np.ones_like(gain), np.float32(HINT) * offset)


def fit_grid(exposed: Image, prior: Image, weight: Plane, *, local: bool) -> tuple[Grid, Grid]:
    """Gain (gh, gw, 2) and offset (LEVELS, gh, gw, 3), exposed base to prior."""
    size = max(exposed.shape[:2])
    agreement = structure_agreement(exposed, prior, weight, size)
    gain = np.ones((*weight.shape, 2), np.float32)
    if local:
        gain = 1 + agreement[..., None] * (fit_gain(exposed, prior, weight, size) - 1)
    mean = blur(exposed, GAIN_SIGMA * size)
    steady = mean - stretch(mean, gain)
    residual = prior - stretch(exposed, gain) - steady
    small = tuple(-(-n // CELL) for n in weight.shape[::-1])
    offset = np.zeros((LEVELS, *small[::-1], 3), np.float32)
    trusts = (weight, weight * agreement, weight * agreement**2)
    for sigma, trust in zip(SIGMAS, trusts, strict=True):
        if local or sigma == SIGMAS[0]:
            step = grid_means(luma(exposed), residual, trust, sigma * size / CELL, small)
            offset += step
            residual = residual - slice_grid(step, luma(exposed))
    offset += shrink(steady, small)
    return shrink(gain, small), offset


def shrink(x: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Area-averaged down to (width, height)."""
    return np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_AREA), np.float32)


def stretch(image: Image, gain: Grid) -> Image:
    """Luma and chroma multiplied by their gains."""
    y = luma(image)
    return gain[..., 1:] * image + ((gain[..., 0] - gain[..., 1]) * y)[..., None]


def structure_agreement(exposed: Image, prior: Image, weight: Plane, size: int) -> Plane:
    """(h, w) in [0, 1]: local correlation of the band-passed lumas; flat on flat agrees."""
    bands = []
    for picture in (exposed, prior):
        y = luma(picture)
        bands.append(blur(y, PRE_BLUR * size) - blur(y, GAIN_SIGMA * size))
    one, two = bands
    window = 1.5 * GAIN_SIGMA * size
    floor = GAIN_FLOOR**2
    products = blur(np.dstack([one * two, one * one, two * two]), window) + floor
    rho = products[..., 0] / np.sqrt(products[..., 1] * products[..., 2])
    return np.clip(rho, 0, 1)


def fit_gain(exposed: Image, prior: Image, weight: Plane, size: int) -> Grid:
    """(h, w, 2) ratios of local luma and chroma deviations, prior to exposed base."""
    deviations = []
    for picture in (exposed, prior):
        smooth = blur(picture, PRE_BLUR * size)
        y = luma(smooth)
        detail = np.dstack([y, smooth[..., 0] - y, smooth[..., 2] - y])
        square = (detail - blur(detail, GAIN_SIGMA * size)) ** 2
        square = np.dstack([square[..., 0], square[..., 1] + square[..., 2]])
        deviations.append(blur(weight[..., None] * square, GAIN_SIGMA * size))
    floor = GAIN_FLOOR**2 * (0.1 + 0.9 * blur(weight, GAIN_SIGMA * size))[..., None]
    ratio = np.sqrt((deviations[1] + floor) / (deviations[0] + floor))
    return np.asarray(np.clip(ratio, *GAIN_RANGE), np.float32)


def grid_means(
    guide: Plane, values: NDArray[np.float32], weight: Plane, sigma: float, size: tuple[int, int]
) -> Grid:
    """Weighted means of values in windows of the grid, shrunk to 0 where weight is thin."""
    levels = np.arange(LEVELS, dtype=np.float32)
    position = guide * (LEVELS - 1)
    sums = []
    for level in levels:
        near = weight * np.maximum(0, 1 - np.abs(position - level))
        cell = cv2.resize(
            np.dstack([near, near[..., None] * values]), size, interpolation=cv2.INTER_AREA
        )
        sums.append(blur(cell, sigma))
    stack = np.stack(sums)
    padded = np.pad(stack, ((1, 1), (0, 0), (0, 0), (0, 0)), mode="edge")
    stack = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return np.asarray(stack[..., 1:] / (stack[..., :1] + EVIDENCE), np.float32)


def slice_grid(grid: Grid, guide: Plane, *, rows: tuple[int, int] | None = None) -> Grid:
    """Trilinear look-up of the grid at every pixel of a guide in [0, 1].

    `rows` = (first row, height of the whole picture) when the guide is a stripe of a picture.
    """
    levels, gh, gw, _ = grid.shape
    first, total = rows or (0, guide.shape[0])
    y = np.arange(first, first + guide.shape[0], dtype=np.float32)
    x = np.arange(guide.shape[1], dtype=np.float32)
    x = np.clip((x + 0.5) * (gw / guide.shape[1]) - 0.5, 0, gw - 1)
    y = np.clip((y + 0.5) * (gh / total) - 0.5, 0, gh - 1)
    position = np.clip(guide, 0, 1) * (levels - 1)
    lower = np.minimum(position.astype(np.int32), levels - 2)
    upper_share = position - lower
    atlas = grid.reshape(levels * gh, gw, grid.shape[3])
    map_x = np.broadcast_to(x, guide.shape).astype(np.float32)
    map_y = (lower * gh + y[:, None]).astype(np.float32)
    low = cv2.remap(atlas, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    high = cv2.remap(atlas, map_x, map_y + gh, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(low + upper_share[..., None] * (high - low), np.float32)


def apply(
    field: ToneField,
    exposed: Image,
    *,
    gain: Grid | None = None,
    rows: tuple[int, int] | None = None,
) -> Image:
    """The local correction of an exposed base, not clipped.

    `rows` = (first row, height of the whole picture) for a stripe; `gain` from `gain_at`.
    """
    if gain is None:
        gain = gain_at(field, exposed.shape[:2], rows)
    return stretch(exposed, gain) + slice_grid(field.offset, luma(exposed), rows=rows)


def restored(field: ToneField, base: Image) -> Image:
    """Exposure and local correction of a whole base, clipped."""
    return np.clip(apply(field, expose(base, field.curve)), 0, 1)


def gain_at(field: ToneField, shape: tuple[int, ...], rows: tuple[int, int] | None = None) -> Grid:
    """(H, W, 2): the field's gains at the pixels of a picture or a stripe of it."""
    first, total = rows or (0, shape[0])
    return slice_plane(field.gain, (shape[0], shape[1]), first, total)


def slope(curve: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """(steps,) derivative of an exposure curve at evenly spaced values."""
    values = curve[np.linspace(0, CURVE_STEPS, steps).astype(int)]
    return np.asarray(np.gradient(values) * (steps - 1), np.float32)


def slice_plane(plane: Grid, shape: tuple[int, int], first: int, total: int) -> Grid:
    """Bilinear look-up of a coarse plane at rows first.. of a picture `total` rows high."""
    gh, gw = plane.shape[:2]
    x = (np.arange(shape[1], dtype=np.float32) + 0.5) * (gw / shape[1]) - 0.5
    y = (np.arange(first, first + shape[0], dtype=np.float32) + 0.5) * (gh / total) - 0.5
    map_x, map_y = np.meshgrid(x, y)
    found = cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def damp(field: ToneField, share: Plane) -> ToneField:
    """The field with only a share of its local correction, per place."""
    small = shrink(share, field.gain.shape[1::-1])[..., None]
    return replace(field, gain=1 + small * (field.gain - 1), offset=small * field.offset)


def local_share(base: Image, exposed: Image, full: Image, prior: Image, weight: Plane) -> Plane:
    """How much of the local correction is taken, per place.

    A correction no larger than a generator's taste says little about the photo; a large one does:
    share = d^2 / (d^2 + TASTE^2), d the local rms of the correction. It never falls so far that
    the low-frequency distance to the prior stays above 1 - REACH of the base's.
    """
    sigma = SIGMAS[1] * max(weight.shape)
    change = blur(((full - exposed) ** 2).mean(2), sigma)
    share = change / (change + TASTE**2)
    low = SIGMAS[2] * max(weight.shape)
    before, missing = blur(exposed - prior, low), blur(full - exposed, low)

    def distance(difference: Image) -> float:
        return float(np.sqrt((weight[..., None] * difference**2).mean()))

    goal = (1 - REACH) * distance(blur(base - prior, low))
    for floor in np.linspace(0, 1, 21, dtype=np.float32):
        taken = np.maximum(share, floor)
        if distance(before + taken[..., None] * missing) <= goal:
            break
    return np.asarray(taken, np.float32)
