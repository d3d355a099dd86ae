"""Plain measurements of a photo: noise, blur, JPEG blocks, colour.

Whatever needs single pixels is measured in nine tiles of a large photo; constants were set on
photos of the sample collection with seeded damage (docs/log.md).
"""

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane
from verax.image.pixels import noise_response

SMALL_PX = 256  # long side at which light and colour are looked at
TILE, GRID = 256, 3  # px and count a side of the tiles
AWAY, ENOUGH = 0.38, 0.1  # distance from mid grey, and the share of places that must be within it
BLOCK = 8  # px: of JPEG, and of the places where noise is measured
QUIET, UNBIASED = 0.1, 1.13  # quantile of the places, and pure noise over it
GRAINY = 0.8  # levels of fine noise above which smooth places show coarse noise as well
FINE_PX, COARSE_PX = 0.7, 3.0  # scales at which slopes are compared
STEEPEST = 99  # percentile of the slopes
WIDEST_BLUR = 12.0  # px
STEP = 0.04  # a larger step is an edge of the scene, not of a block

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Plain measurements.

    Attributes:
        sigma: standard deviation of the noise, levels of 255, mean over the channels.
        grain: the fine noise of the photo at half its size, levels of 255: what JPEG leaves.
        blocking: step across the 8 px grid of JPEG beyond that elsewhere, levels of 255.
        on_grid: the same in deviations of the other seven places of the grid.
        blur: Gaussian blur of the steepest edges, px; 0.5 to 1 in a sharp photo.
        anisotropy: slope energy along the strongest direction over that across it, 1 = round.
        light: median luma, 0..1.
        lights: 95th and 99th percentile of the largest channel: a coloured light is light.
        colour: difference between the largest and the smallest channel, a share of the largest,
            0..1 over the whole photo.
        red: mean red over the larger of mean green and mean blue.
        cast: mean a* and b* of CIELAB: below 0 greener, or bluer, than grey.
    """

    sigma: float
    grain: float
    blocking: float
    on_grid: float
    blur: float
    anisotropy: float
    light: float
    lights: tuple[float, float]
    colour: float
    red: float
    cast: tuple[float, float]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {name: np.round(value, 3).tolist() for name, value in asdict(self).items()}


def measure(photo: Image) -> Measures:
    """The measurements of a photo (H, W, 3), of any size."""
    parts = parts_of(photo)
    greys = [cv2.cvtColor(part, cv2.COLOR_RGB2GRAY) for part in parts]
    steps = [_steps(grey) for grey in greys]
    blocking, on_grid = np.median(steps, axis=0)
    fine, coarse = (_steepest(greys, px) for px in (FINE_PX, COARSE_PX))
    small = _small(photo)
    colours = small.reshape(-1, 3)
    _, green, yellow, _ = cv2.mean(cv2.cvtColor(small, cv2.COLOR_RGB2LAB))
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    bright, brightest = (float(v) for v in np.percentile(colours.max(1), (95, 99)))
    return Measures(
        sigma=noise(parts),
        grain=_quiet([_fine_noise(_half(part)) for part in parts], QUIET) * UNBIASED,
        blocking=float(blocking),
        on_grid=float(on_grid),
        blur=_blur(fine / max(coarse, 1e-6)),
        anisotropy=float(np.median([anisotropy(_softer(grey)) for grey in greys])),
        light=float(np.median(luma)),
        lights=(bright, brightest),
        colour=float(1 - colours.min(1).sum() / max(float(colours.max(1).sum()), 1e-6)),
        red=_red_share(colours.mean(axis=0)),
        cast=(float(green), float(yellow)),
    )


def likeness(before: list[Image], after: list[Image]) -> float:
    """Correlation, from -1 to 1, of the structure at 1 to 4 px before and after, the mean over all
    places weighed by what was there; 1 where nothing was."""
    agreement = weight = 0.0
    for photo, base in zip(before, after, strict=True):
        own, other = _structure(photo), _structure(base)
        energy, there = (cv2.GaussianBlur(x * x, (0, 0), 6.0) for x in (own, other))
        shared = cv2.GaussianBlur(own * other, (0, 0), 6.0) / np.sqrt(energy * there + 1e-10)
        agreement += float((shared * np.sqrt(energy)).sum())
        weight += float(np.sqrt(energy).sum())
    return agreement / weight if weight > 1e-3 else 1.0


def unevenness(before: list[Image], after: list[Image]) -> float:
    """How unevenly a change of structure is spread: the mean square of its local energy over the
    square of the mean, 1 for noise that lies all over the photo."""
    energies = [
        cv2.GaussianBlur(np.square((photo - base).mean(2)), (0, 0), 5.0).ravel()
        for photo, base in zip(before, after, strict=True)
    ]
    energy = np.concatenate(energies)
    return float(np.mean(energy * energy) / max(float(energy.mean()) ** 2, 1e-20))


def extremes(picture: Image) -> float:
    """The share of a picture that is black or white."""
    luma = picture.mean(2)
    return float(np.mean((luma < 2 / 255) | (luma > 253 / 255)))


def _structure(part: Image) -> Plane:
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    fine, coarse = (cv2.GaussianBlur(grey, (0, 0), px) for px in (1.0, 4.0))
    return np.asarray(fine - coarse, np.float32)


def ramp(value: float, none: float, full: float) -> float:
    """0 up to `none`, 1 from `full`, linear between; falling where `full` is the lower."""
    return float(np.clip((value - none) / (full - none), 0.0, 1.0))


def noise(parts: list[Image]) -> float:
    """Deviation of the noise in levels of 255, mean over the channels.

    The mask of Immerkaer, "Fast noise variance estimation" (1996), in small places, of which the
    quietest tenth counts, so that texture does not. Where it shows noise, the deviation from a
    plane in the smoothest places counts as well: noise that a camera has smoothed is coarse.
    """
    fine = _quiet([_fine_noise(part) for part in parts], QUIET) * UNBIASED
    if fine < GRAINY:
        return fine
    rough = [_roughness(part) for part in parts if min(part.shape[:2]) >= BLOCK]
    return max(fine, _quiet(rough, QUIET / 3)) if rough else fine


def _quiet(places: list[tuple[Values, Values]], quantile: float) -> float:
    """The quantile of deviations over places, in levels of 255; where there are enough of them,
    of places whose mean is away from black and white, which cut noise off."""
    deviation, mean = (np.concatenate(values) for values in zip(*places, strict=True))
    away = np.abs(mean - 0.5) < AWAY
    chosen = deviation[away] if away.mean() > ENOUGH else deviation
    return float(np.quantile(chosen, quantile)) * 255


def _fine_noise(part: Image) -> tuple[Values, Values]:
    """Deviation and mean per place."""
    size = (max(1, part.shape[1] // BLOCK), max(1, part.shape[0] // BLOCK))
    high, mean = (
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(-1, 3).mean(1)
        for picture in (noise_response(part), part)
    )
    return high * np.float32(np.sqrt(np.pi / 2)), mean


def _half(part: Image) -> Image:
    size = (max(1, part.shape[1] // 2), max(1, part.shape[0] // 2))
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.float32)


def _roughness(part: Image) -> tuple[Values, Values]:
    """Deviation from a plane, mean over the channels, and mean per block."""
    height, width = (side // BLOCK * BLOCK for side in part.shape[:2])
    blocks = part[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    flat = blocks.transpose(0, 2, 4, 1, 3).reshape(-1, 3, BLOCK * BLOCK)
    y, x = np.mgrid[:BLOCK, :BLOCK].reshape(2, -1) - (BLOCK - 1) / 2
    plane, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y], 1))
    left = (flat * flat).sum(2) - ((flat @ plane.astype(np.float32)) ** 2).sum(2)
    rough = np.sqrt(np.maximum(left, 0) / (BLOCK * BLOCK - 3)).mean(1)
    return np.asarray(rough, np.float32), flat.mean((1, 2))


def _steps(grey: Plane) -> tuple[float, float]:
    """Step across the 8 px grid, wherever the grid lies, and the same in deviations of the other
    places; the smaller of rows and columns, since a texture may repeat in one of them."""
    return min(_steps_along(grey), _steps_along(grey.T))


def _steps_along(grey: Plane) -> tuple[float, float]:
    if grey.shape[1] < 3 * BLOCK:
        return 0.0, 0.0
    step = np.abs(np.diff(grey, axis=1))
    beyond = np.clip(step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2, -STEP / 2, STEP)
    column = beyond.mean(0, dtype=np.float64) * 255
    places = np.array([column[k::BLOCK].mean() for k in range(BLOCK)])
    grid = int(places.argmax())
    others = np.delete(places, grid)
    above = float(places[grid] - others.mean())
    return above, above / (float(others.std()) + 0.01)


def _blur(steepness: float) -> float:
    """The Gaussian whose edge has slopes of this ratio at the two scales: a step that was blurred
    by b and again by s is as steep as 1 / sqrt(b**2 + s**2)."""
    ratio = steepness * steepness
    if ratio <= 1:
        return WIDEST_BLUR
    square = (COARSE_PX**2 - FINE_PX**2 * ratio) / (ratio - 1)
    return float(np.clip(np.sqrt(max(square, 0.0)), 0.0, WIDEST_BLUR))


def _steepest(greys: list[Plane], sigma_px: float) -> float:
    slopes = [
        np.hypot(*_slopes(cv2.GaussianBlur(grey, (0, 0), sigma_px))).ravel() for grey in greys
    ]
    return float(np.percentile(np.concatenate(slopes), STEEPEST))


def _softer(grey: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.float32)


def anisotropy(plane: Plane) -> float:
    """Ratio of the eigenvalues of the mean structure tensor."""
    dx, dy = _slopes(plane)
    cross = float((dx * dy).mean())
    tensor = np.array([[float((dx * dx).mean()), cross], [cross, float((dy * dy).mean())]])
    weak, strong = np.linalg.eigvalsh(tensor)
    return float(strong / weak) if weak > 1e-12 else 1.0


def _slopes(plane: Plane) -> tuple[Plane, Plane]:
    dx, dy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    return np.asarray(dx, np.float32), np.asarray(dy, np.float32)


def _red_share(colour: NDArray[np.floating[Any]]) -> float:
    return float(colour[0]) / max(float(colour[1]), float(colour[2]), 1e-6)


def _small(photo: Image) -> Image:
    scale = SMALL_PX / max(photo.shape[:2])
    size = (max(1, round(side * scale)) for side in photo.shape[1::-1])
    return np.asarray(cv2.resize(photo, tuple(size), interpolation=cv2.INTER_AREA), np.float32)


def parts_of(photo: Image) -> list[Image]:
    """The photo itself where it is small, else evenly spread tiles of it."""
    height, width = photo.shape[:2]
    if height * width <= (GRID * TILE) ** 2 or min(height, width) < TILE:
        return [photo]
    tops, lefts = (np.linspace(0, side - TILE, GRID).astype(int) for side in (height, width))
    return [photo[top : top + TILE, left : left + TILE] for top in tops for left in lefts]
