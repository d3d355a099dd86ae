"""Structural similarity: SSIM and MS-SSIM.

Pictures are (H, W, C) float32 in [0, 1] of equal shape. The window is Wang's: Gaussian, 11 taps,
standard deviation 1.5, population covariance; channels are averaged.
Sources: Wang et al., IEEE TIP 13, 600 (2004); Wang, Simoncelli, Bovik, Asilomar (2003).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError
from verax.image import Image

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_PX = (WINDOW - 1) * (len(SCALE_WEIGHTS) - 1) ** 2 + 16  # as torchmetrics demands

Map = NDArray[np.float32]


def ssim(restored: Image, reference: Image) -> float:
    """Mean structural similarity over the pixels whose window lies inside the picture."""
    _check_size("ssim", restored, WINDOW)
    sums = [_mean(_valid(_maps(a, b)[0])) for a, b in _planes(restored, reference)]
    return float(np.mean(sums))


def ssim_map(restored: Image, reference: Image) -> Map:
    """Structural similarity per pixel, (H, W), mean of channels; mirrored at the border."""
    maps = [_maps(a, b)[0] for a, b in _planes(restored, reference)]
    return np.asarray(np.mean(maps, axis=0), np.float32)


def ms_ssim(restored: Image, reference: Image) -> float:
    """Multi-scale structural similarity over five octaves.

    Contrast and structure are averaged where the window lies inside; the full index of the
    coarsest octave is averaged over the mirrored picture, as torchmetrics does. Negative
    averages count as zero.
    """
    _check_size("ms_ssim", restored, MS_SSIM_MIN_PX)
    result = 1.0
    for octave, weight in enumerate(SCALE_WEIGHTS):
        last = octave == len(SCALE_WEIGHTS) - 1
        maps = [_maps(a, b) for a, b in _planes(restored, reference)]
        value = np.mean([_mean(full) if last else _mean(_valid(cs)) for full, cs in maps])
        result *= max(float(value), 0.0) ** weight
        restored, reference = _halve(restored), _halve(reference)
    return result


def _planes(restored: Image, reference: Image) -> list[tuple[Map, Map]]:
    # one contiguous channel at a time stays in the cache: faster than three interleaved ones
    return list(zip(cv2.split(restored), cv2.split(reference), strict=True))


def _maps(restored: Map, reference: Map) -> tuple[Map, Map]:
    """SSIM and its contrast-structure factor per pixel, from four blurs instead of five.

    With s = a + b and d = a - b: a² + b² = (s² + d²) / 2 and ab = (s² - d²) / 4, for the means
    as for the second moments.
    """
    s, d = cv2.add(restored, reference), cv2.subtract(restored, reference)
    mean_s, mean_d = _blur(s), _blur(d)
    mean_s2, mean_d2 = cv2.multiply(mean_s, mean_s), cv2.multiply(mean_d, mean_d)
    var_s = cv2.subtract(_blur(cv2.multiply(s, s)), mean_s2)
    var_d = cv2.subtract(_blur(cv2.multiply(d, d)), mean_d2)
    contrast = _similarity(var_s, var_d, C2)
    return cv2.multiply(_similarity(mean_s2, mean_d2, C1), contrast), contrast


def _similarity(s2: Map, d2: Map, constant: float) -> Map:
    """(2ab + constant) / (a² + b² + constant), given s² and d² of s = a + b, d = a - b."""
    above = cv2.addWeighted(s2, 0.5, d2, -0.5, constant)
    below = cv2.addWeighted(s2, 0.5, d2, 0.5, constant)
    ratio: Map = cv2.divide(above, below)
    return ratio


def _blur(plane: Map) -> Map:
    mirror = cv2.BORDER_REFLECT_101
    blurred: Map = cv2.GaussianBlur(plane, (WINDOW, WINDOW), SIGMA, borderType=mirror)
    return blurred


def _valid(plane: Map) -> Map:
    edge = WINDOW // 2
    return plane[edge:-edge, edge:-edge]


def _mean(plane: Map) -> float:
    return float(cv2.mean(plane)[0])


def _halve(image: Image) -> Image:
    height, width = (side - side % 2 for side in image.shape[:2])
    size = (width // 2, height // 2)
    half = cv2.resize(image[:height, :width], size, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.float32).reshape(height // 2, width // 2, image.shape[2])


def _check_size(metric: str, image: Image, minimum: int) -> None:
    if min(image.shape[:2]) < minimum:
        raise InputError(
            f"{metric}: want at least {minimum} px on each side, "
            f"got {image.shape[1]}x{image.shape[0]}; choose another metric"
        )
