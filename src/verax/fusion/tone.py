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

from dataclasses import dataclass

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
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CURVE_STEPS = 1 << 14

Grid = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ToneField:
    """What turns the base into the restoration.

    Attributes:
        exposure: gain in linear light.
        curve: (CURVE_STEPS + 1,) float32, the exposure as a curve on sRGB values.
        grid: (LEVELS, gh, gw, 4) float32: gain and colour offset (RGB).
    """

    exposure: float
    curve: NDArray[np.float32]
    grid: Grid


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


def exposure_curve(gain: float) -> NDArray[np.float32]:
    """sRGB -> sRGB for a gain in linear light; values above 0.8 roll off instead of clipping."""
    y = gain * to_linear(np.linspace(0, 1, CURVE_STEPS + 1, dtype=np.float32))
    if gain > 1:
        knee = 0.8
        y = np.where(y < knee, y, 1 - (1 - knee) * np.exp(-(y - knee) / (1 - knee)))
    return to_srgb(y.astype(np.float32))


def expose(image: Image, curve: NDArray[np.float32]) -> Image:
    """The picture with an exposure curve applied."""
    return np.take(curve, (image * CURVE_STEPS + 0.5).astype(np.int32))


def blur(x: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur with reflected borders."""
    y = cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT)
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
    costs = [np.abs(expose(have, exposure_curve(g)) - want).mean() for g in gains]
    return float(gains[int(np.argmin(costs))])


def fit(base: Image, prior: Image, weight: Plane, *, local: bool = True) -> ToneField:
    """The tone field of a small base and its registered prior, all on one working grid.

    Args:
        base: (h, w, 3), noise removed.
        prior: (h, w, 3) registered onto it.
        weight: (h, w) in [0, 1], how much each pixel of the prior counts.
        local: False fits only the coarsest level.
    """
    exposure = fit_exposure(base, prior, weight)
    curve = exposure_curve(exposure)
    exposed = expose(base, curve)
    grid = fit_grid(exposed, prior, weight, local=local)
    full = apply_grid(exposed, grid)
    share = local_share(base, exposed, full, prior, weight)
    return ToneField(exposure, curve, damp(grid, share))


def fit_grid(exposed: Image, prior: Image, weight: Plane, *, local: bool) -> Grid:
    """(LEVELS, gh, gw, 4): gain and offset that move the exposed base onto the prior."""
    size = max(exposed.shape[:2])
    gain = fit_gain(exposed, prior, weight, size) if local else np.ones_like(weight)
    mean = blur(exposed, GAIN_SIGMA * size)
    steady = (1 - gain)[..., None] * mean
    residual = prior - gain[..., None] * exposed - steady
    height, width = (-(-n // CELL) for n in weight.shape)
    offset = np.zeros((LEVELS, height, width, 3), np.float32)
    for sigma in SIGMAS if local else SIGMAS[:1]:
        step = grid_means(luma(exposed), residual, weight, sigma * size / CELL, (width, height))
        offset += step
        residual = residual - slice_grid(step, luma(exposed))
    flat = cv2.resize(np.dstack([gain, steady]), (width, height), interpolation=cv2.INTER_AREA)
    grid = np.broadcast_to(flat, (LEVELS, height, width, 4)).copy()
    grid[..., 1:] += offset
    return np.asarray(grid, np.float32)


def fit_gain(exposed: Image, prior: Image, weight: Plane, size: int) -> Plane:
    """Ratio of local luma deviations, prior to exposed base, 1 where both are flat."""
    deviations = []
    for picture in (exposed, prior):
        y = blur(luma(picture), PRE_BLUR * size)
        mean = blur(y, GAIN_SIGMA * size)
        deviations.append(blur(weight * (y - mean) ** 2, GAIN_SIGMA * size))
    floor = GAIN_FLOOR**2 * (0.1 + 0.9 * blur(weight, GAIN_SIGMA * size))
    ratio = np.sqrt((deviations[1] + floor) / (deviations[0] + floor))
    return np.clip(ratio, *GAIN_RANGE).astype(np.float32)


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


def apply_grid(exposed: Image, grid: Grid, *, rows: tuple[int, int] | None = None) -> Image:
    """gain * exposed + offset, not clipped."""
    field = slice_grid(grid, luma(exposed), rows=rows)
    return np.asarray(field[..., :1] * exposed + field[..., 1:], np.float32)


def damp(grid: Grid, share: Plane) -> Grid:
    """The grid with only a share of its correction, per place."""
    small = cv2.resize(share, grid.shape[2:0:-1], interpolation=cv2.INTER_AREA)[..., None]
    identity = np.array([1, 0, 0, 0], np.float32)
    return np.asarray(identity + small * (grid - identity), np.float32)


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

    def distance(picture: Image) -> float:
        return float(np.sqrt((weight[..., None] * blur(picture - prior, low) ** 2).mean()))

    goal = (1 - REACH) * distance(base)
    for floor in np.linspace(0, 1, 21):
        taken = np.maximum(share, floor)
        if distance(exposed + taken[..., None] * (full - exposed)) <= goal:
            break
    return np.asarray(taken, np.float32)
