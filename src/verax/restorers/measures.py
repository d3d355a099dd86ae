"""Measurements of a photo: noise, blur, JPEG blocks, colour.

What needs full resolution is measured in nine tiles of a large photo. Constants were set on photos
of the sample collection with simulated damage (docs/log.md)."""

from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane
from verax.image.pixels import LUMA, noise_response

SMALL_PX = 256  # long side at which light and colour are measured
TILE, GRID = 256, 3  # px of a tile, and tiles per side
AWAY, ENOUGH = 0.38, 0.1  # largest distance from mid grey, and least share of blocks within it
BLOCK = 8  # px: of JPEG, and of noise measurements
QUIET, UNBIASED = 0.1, 1.13  # quantile over blocks, and pure noise over that quantile
GRAINY = 0.8  # levels of fine noise from which coarse noise is measured, too
FINE_PX, COARSE_PX = 0.7, 3.0  # scales at which gradients are compared
STEEPEST = 99  # percentile of the gradients
WIDEST_BLUR = 12.0  # px
STEP = 0.04  # a larger step is an edge of the scene, not of a block

SCALES = (0.6, 1.2, 2.4, 4.8, 9.6)  # px: blurs between which the bands of `texture` lie
RARE = 3.0  # standard deviations; flakes, drops and lights are beyond
DIRECTIONS = 8

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The measurements of a photo. "Levels" are pixel values from 0 to 255.

    Attributes:
        sigma: standard deviation of the noise in levels, mean over the channels.
        grain: the same for fine noise at half the photo's size, which JPEG does not remove.
        blocking: mean step of luma at the borders of JPEG's 8 px blocks, less that elsewhere, in
            levels.
        on_grid: the same, divided by the standard deviation of steps at other positions in a block.
        blur: sigma of the Gaussian blur of the steepest edges, px; 0.5 to 1 in a sharp photo.
        anisotropy: gradient energy in the strongest direction over that across it; 1 if all are
            alike.
        light: median luma, in [0, 1].
        shadows: 0.1 % and 1 % quantile of the largest channel of each pixel, in [0, 1].
        lights: 95 % and 99 % quantile of that channel.
        colour: mean difference between the largest and the smallest channel, as a share of the
            largest, in [0, 1].
        red: mean red divided by the larger of mean green and mean blue.
        cast: mean a* and b* of CIELAB (L* to 100); below 0: greener, and bluer, than grey."""

    sigma: float
    grain: float
    blocking: float
    on_grid: float
    blur: float
    anisotropy: float
    light: float
    shadows: tuple[float, float]
    lights: tuple[float, float]
    colour: float
    red: float
    cast: tuple[float, float]

    def record(self) -> dict[str, Any]:
        """The measurements as a JSON object."""
        return {name: np.round(value, 3).tolist() for name, value in asdict(self).items()}

    def facts(self) -> Values:
        """The measurements, brought to similar scales: 13 inputs of the classifier of faults."""
        logs = (
            self.sigma + 0.3, self.grain + 0.3, max(self.blocking + 0.3, 0.1),
            max(self.on_grid + 1.5, 0.1), self.blur + 0.3, self.anisotropy,
        )  # fmt: skip
        casts = (side / 20 for side in self.cast)
        plain = (self.light, *self.lights, self.colour, self.red, *casts)
        return np.asarray([*np.log(logs), *plain], np.float32)


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
    red, *others = map(float, colours.mean(axis=0))
    softer = [cv2.GaussianBlur(grey, (0, 0), 1.0) for grey in greys]
    quantiles = np.percentile(colours.max(1), (0.1, 1, 95, 99))
    black, dark, bright, brightest = map(float, quantiles)
    return Measures(
        sigma=noise(parts),
        grain=_quiet([_fine_noise(_half(part)) for part in parts], QUIET) * UNBIASED,
        blocking=float(blocking),
        on_grid=float(on_grid),
        blur=_blur(fine / max(coarse, 1e-6)),
        anisotropy=float(np.median([anisotropy(plane) for plane in softer])),
        light=float(np.median(luma)),
        shadows=(black, dark),
        lights=(bright, brightest),
        colour=float(1 - colours.min(1).sum() / max(float(colours.max(1).sum()), 1e-6)),
        red=red / max(*others, 1e-6),
        cast=(float(green), float(yellow)),
    )


def extremes(picture: Image) -> float:
    """The share, in [0, 1], of a picture's pixels that are black (mean of the channels below 2/255)
    or white (above 253/255)."""
    luma = picture.mean(2)
    return float(np.mean((luma < 2 / 255) | (luma > 253 / 255)))


def texture(part: Image) -> Values:
    """Statistics (90,) of a part of a photo, (h, w, 3): 6 of its light, 15 of each of five bands of
    fine structure, 4 of how strength falls from band to band, 5 of slopes in eight directions.
    Flakes and drops skew a band; motion blur removes slopes of one direction."""
    luma, high, low = part @ LUMA, part.max(2), part.min(2)
    colour = high - low
    light = [luma.mean(), luma.std(), low.mean(), colour.mean()]
    light += [np.quantile(low, 0.02), np.quantile(high, 0.98)]
    soft, pale = (
        [plane, *(cv2.GaussianBlur(plane, (0, 0), px) for px in SCALES)] for plane in (luma, colour)
    )
    bands = [a - b for a, b in pairwise(soft)]
    colours = [a - b for a, b in pairwise(pale)]
    around = [soft[min(k + 2, len(SCALES))] for k in range(len(SCALES))]
    each = [_band(*planes) for planes in zip(bands, colours, around, strict=True)]
    falls = [a[0] - b[0] for a, b in pairwise(each)]
    return np.asarray([*light, *chain(*each), *falls, *_directions(soft[1], soft[3])], np.float32)


def _band(band: Plane, colour: Plane, around: Plane) -> list[float]:
    """15 statistics of one frequency band of the luma of a part, `band`: strength, skewness, tails,
    spread over the part, direction, and correlation with `colour` (the same band of the largest
    minus the smallest channel) and with `around` (the luma after a wide blur). All are (h, w)."""
    deviation, of_colour = float(band.std()) + 1e-4, float(colour.std()) + 1e-4
    z = band / deviation
    square = z * z
    low, less, middle, more, most = np.quantile(z[::2, ::2], (0.01, 0.05, 0.5, 0.95, 0.99))
    energy = cv2.resize(square, (7, 7), interpolation=cv2.INTER_AREA)
    dx, dy = _slopes(band)
    across, along, both = (float(np.mean(a * b)) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    total = across + along + 1e-10
    steepest = float(np.abs(dx).max() + np.abs(dy).max())
    lifted = float((np.maximum(band, 0) * (around - around.mean())).mean())
    return [
        np.log(deviation),
        float((square * z).mean()), np.log(float((square * square).mean()) + 1e-3),
        (most + low) / (most - low + 1e-3), (more + less - 2 * middle) / (more - less + 1e-3),
        middle, float((z > RARE).mean()) * 20, float((z < -RARE).mean()) * 20,
        float((band * colour).mean()) / (deviation * of_colour), np.log(of_colour),
        np.log(float(energy.std()) / float(energy.mean() + 1e-6) + 0.05),
        np.sqrt((across - along) ** 2 + 4 * both * both) / total, (along - across) / total,
        np.log(steepest / (deviation * 4) + 1e-3),
        lifted / (deviation * (float(around.std()) + 0.02)),
    ]  # fmt: skip


def _directions(fine: Plane, coarse: Plane) -> list[float]:
    """Five statistics, over eight directions, of the log ratio of slopes in `fine` to those in
    `coarse`, lumas after a narrow and a wide blur: the least, the largest, their difference, the
    difference of the two least, the mean."""
    fine_x, fine_y, coarse_x, coarse_y = (*_slopes(fine), *_slopes(coarse))
    ratios = []
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        near, far = cos * fine_x + sin * fine_y, cos * coarse_x + sin * coarse_y
        steep = [np.quantile((x * x)[::2, ::2], 0.97) + 1e-7 for x in (near, far)]
        ratios.append(float(np.log(steep[0] / steep[1])))
    least, second, *_, most = sorted(ratios)
    return [least, most, most - least, second - least, float(np.mean(ratios))]


def noise(parts: list[Image]) -> float:
    """Standard deviation of the noise in tiles of a photo, in levels of 255, mean over the
    channels.

    The mask of Immerkaer, "Fast noise variance estimation" (1996), is applied in blocks; the 10 %
    quantile counts, so that texture does not. If that shows noise, the deviation of the smoothest
    blocks from a fitted plane is measured, too, since cameras smooth noise and make it coarse; the
    larger one is returned."""
    fine = _quiet([_fine_noise(part) for part in parts], QUIET) * UNBIASED
    if fine < GRAINY:
        return fine
    rough = [_roughness(part) for part in parts if min(part.shape[:2]) >= BLOCK]
    return max(fine, _quiet(rough, QUIET / 3)) if rough else fine


def _quiet(places: list[tuple[Values, Values]], quantile: float) -> float:
    """A `quantile` (0 to 1) of the deviations of blocks, in levels of 255. `places`: for each tile,
    deviations and means of its blocks, from 0 to 1. Blocks near black and white, where noise is
    clipped, count only if the photo has hardly any others."""
    deviation, mean = (np.concatenate(values) for values in zip(*places, strict=True))
    away = np.abs(mean - 0.5) < AWAY
    samples = deviation[away] if away.mean() > ENOUGH else deviation
    return float(np.quantile(samples, quantile)) * 255


def _fine_noise(part: Image) -> tuple[Values, Values]:
    """For each block of 8 px the deviation of its fine noise, and its mean value, both (n,)."""
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
    """For each block of 8 px its rms deviation from a fitted plane, and its mean, both (n,)."""
    height, width = (side // BLOCK * BLOCK for side in part.shape[:2])
    blocks = part[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    flat = blocks.transpose(0, 2, 4, 1, 3).reshape(-1, 3, BLOCK * BLOCK)
    y, x = np.mgrid[:BLOCK, :BLOCK].reshape(2, -1) - (BLOCK - 1) / 2
    plane, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y], 1))
    left = (flat * flat).sum(2) - ((flat @ plane.astype(np.float32)) ** 2).sum(2)
    rough = np.sqrt(np.maximum(left, 0) / (BLOCK * BLOCK - 3)).mean(1)
    return np.asarray(rough, np.float32), flat.mean((1, 2))


def _steps(grey: Plane) -> tuple[float, float]:
    """Two numbers: by how much the mean step of luma at borders of JPEG's 8 px blocks exceeds that
    elsewhere, in levels of 255; and the same over the standard deviation of the steps elsewhere. Of
    rows and columns the lower pair counts, since a texture may repeat in one direction."""
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
    """The sigma, in px, of a photo's blur, at most 12. `steepness`: its steepest gradient after a
    blur of 0.7 px divided by that after 3 px. An edge blurred by b, then by s, has a gradient
    proportional to 1 / sqrt(b**2 + s**2)."""
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


def anisotropy(plane: Plane) -> float:
    """How directed a plane's gradients are, from 1, no main direction, upwards: larger over smaller
    eigenvalue of its mean structure tensor."""
    dx, dy = _slopes(plane)
    cross = float((dx * dy).mean())
    tensor = np.array([[float((dx * dx).mean()), cross], [cross, float((dy * dy).mean())]])
    weak, strong = np.linalg.eigvalsh(tensor)
    return float(strong / weak) if weak > 1e-12 else 1.0


def _slopes(plane: Plane) -> tuple[Plane, Plane]:
    dx, dy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    return np.asarray(dx, np.float32), np.asarray(dy, np.float32)


def _small(photo: Image) -> Image:
    scale = SMALL_PX / max(photo.shape[:2])
    size = (max(1, round(side * scale)) for side in photo.shape[1::-1])
    return np.asarray(cv2.resize(photo, tuple(size), interpolation=cv2.INTER_AREA), np.float32)


def parts_of(photo: Image) -> list[Image]:
    """The photo itself if it is small, else nine evenly spread tiles of 256 px a side."""
    height, width = photo.shape[:2]
    if height * width <= (GRID * TILE) ** 2 or min(height, width) < TILE:
        return [photo]
    tops, lefts = (np.linspace(0, side - TILE, GRID).astype(int) for side in (height, width))
    return [photo[top : top + TILE, left : left + TILE] for top in tops for left in lefts]
