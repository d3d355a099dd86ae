"""Metrics against a reference (ground truth): PSNR, CIEDE2000, SSIM, MS-SSIM, GMSD, edges.

Pictures are (H, W, C) float32 in [0, 1] of equal shape; GMSD and edges compare the luma.
SSIM's window is Wang's: Gaussian, 11 taps, standard deviation 1.5, population covariance; channels
are averaged. Sources: Wang et al., IEEE TIP 13, 600 (2004); Wang, Simoncelli, Bovik, Asilomar
(2003).
"""

import cv2
import numpy as np
import skimage  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.errors import InputError
from verax.image import Image
from verax.image.pixels import luma

Map = NDArray[np.float32]

PSNR_CAP_DB = 100.0  # for equal pictures: a mean square error below 1e-10 counts as none
WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_PX = (WINDOW - 1) * (len(SCALE_WEIGHTS) - 1) ** 2 + 16  # as torchmetrics demands
GMSD_CONSTANT = 170.0 / 255.0**2
EDGE_SIGMA_PX = 1.4
EDGE_LOW, EDGE_HIGH = 0.01, 0.03  # luma change per pixel after smoothing
EDGE_TOLERANCE_PX = 2


def psnr(restored: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB over all channels; 100 for equal pictures, never more."""
    error = float(cv2.norm(restored, reference, cv2.NORM_L2SQR)) / restored.size
    return PSNR_CAP_DB if error <= 0 else min(PSNR_CAP_DB, -10.0 * float(np.log10(error)))


def ciede2000(restored: Image, reference: Image) -> float:
    """Mean CIEDE2000 colour difference of two sRGB pictures under D65; 0 for equal pictures.

    Source: Sharma, Wu, Dalal, Color Research and Application 30, 21 (2005); scikit-image.
    """
    one, two = (skimage.color.rgb2lab(image) for image in (restored, reference))
    return float(np.mean(skimage.color.deltaE_ciede2000(one, two)))


def ssim(restored: Image, reference: Image) -> float:
    """Structural similarity, 1 for equal pictures; mean over all windows inside the picture."""
    check_size("ssim", restored, WINDOW)
    sums = [_mean(_valid(_maps(a, b)[0])) for a, b in _planes(restored, reference)]
    return float(np.mean(sums))


def ssim_map(restored: Image, reference: Image) -> Map:
    """(H, W) structural similarity per pixel, averaged over channels, with a mirrored border."""
    maps = [_maps(a, b)[0] for a, b in _planes(restored, reference)]
    return np.asarray(np.mean(maps, axis=0), np.float32)


def ms_ssim(restored: Image, reference: Image) -> float:
    """Multi-scale structural similarity over five octaves; 1 for equal pictures.

    As in torchmetrics, the four finer octaves count contrast and structure, averaged over the
    windows inside the picture. The coarsest octave counts the full SSIM, averaged over all pixels,
    with a mirrored border. A negative average counts as zero.
    """
    check_size("ms_ssim", restored, MS_SSIM_MIN_PX)
    result = 1.0
    for octave, weight in enumerate(SCALE_WEIGHTS):
        last = octave == len(SCALE_WEIGHTS) - 1
        maps = [_maps(a, b) for a, b in _planes(restored, reference)]
        value = np.mean([_mean(full) if last else _mean(_valid(cs)) for full, cs in maps])
        result *= max(float(value), 0.0) ** weight
        restored, reference = _halve(restored), _halve(reference)
    return result


def _planes(restored: Image, reference: Image) -> list[tuple[Map, Map]]:
    # one channel at a time fits into the cache: faster than three interleaved ones
    return list(zip(cv2.split(restored), cv2.split(reference), strict=True))


def _maps(restored: Map, reference: Map) -> tuple[Map, Map]:
    """For one channel (H, W), the SSIM and its factor for contrast and structure, each (H, W).

    For channels a and b they are computed from s = a + b and d = a - b, which takes four blurs
    instead of five, since a² + b² = (s² + d²) / 2 and ab = (s² - d²) / 4.
    """
    s, d = cv2.add(restored, reference), cv2.subtract(restored, reference)
    mean_s, mean_d = _blur(s), _blur(d)
    mean_s2, mean_d2 = cv2.multiply(mean_s, mean_s), cv2.multiply(mean_d, mean_d)
    var_s = cv2.subtract(_blur(cv2.multiply(s, s)), mean_s2)
    var_d = cv2.subtract(_blur(cv2.multiply(d, d)), mean_d2)
    contrast = _similarity(var_s, var_d, C2)
    return cv2.multiply(_similarity(mean_s2, mean_d2, C1), contrast), contrast


def _similarity(s2: Map, d2: Map, constant: float) -> Map:
    """(2ab + constant) / (a² + b² + constant) per pixel, with `s2` = (a + b)², `d2` = (a - b)².

    If `s2` and `d2` are the local variances of a + b and a - b, then 2ab stands for twice the
    covariance, a² and b² for the variances.
    """
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


def check_size(metric: str, image: Image, minimum: int) -> None:
    """Raise InputError, naming the `metric`, if a side of the picture is below `minimum` px."""
    if min(image.shape[:2]) < minimum:
        raise InputError(
            f"{metric}: expected at least {minimum} px on each side, "
            f"got {image.shape[1]}x{image.shape[0]}; choose another metric"
        )


def gmsd(restored: Image, reference: Image) -> float:
    """Gradient magnitude similarity deviation of the luma; 0 for equal pictures, lower is better.

    Source: Xue et al., IEEE TIP 23, 684 (2014).
    """
    a, b = _prewitt(_halved_luma(restored)), _prewitt(_halved_luma(reference))
    similar = (2 * a * b + GMSD_CONSTANT) / (a * a + b * b + GMSD_CONSTANT)
    return float(np.std(similar, dtype=np.float64))


def _halved_luma(image: Image) -> Map:
    plane = luma(image)
    height, width = plane.shape
    # an odd side is completed with zeros before averaging 2x2, as in piq
    plane = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=0)
    size = (plane.shape[1] // 2, plane.shape[0] // 2)
    half: Map = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return half


def _prewitt(plane: Map) -> Map:
    slope, level = np.array([-1, 0, 1], np.float32), np.ones(3, np.float32) / 3
    border = cv2.BORDER_CONSTANT
    dx = cv2.sepFilter2D(plane, cv2.CV_32F, slope, level, borderType=border)
    dy = cv2.sepFilter2D(plane, cv2.CV_32F, level, slope, borderType=border)
    magnitude: Map = cv2.magnitude(dx, dy)
    return magnitude


def edge_precision(restored: Image, reference: Image) -> float:
    """Share of the restoration's edge pixels with an edge of the reference within 2 px; 1 if the
    restoration has none."""
    return _share_near(_edges(restored), _edges(reference))


def edge_recall(restored: Image, reference: Image) -> float:
    """Share of the reference's edge pixels with an edge of the restoration within 2 px; 1 if the
    reference has none."""
    return _share_near(_edges(reference), _edges(restored))


def _edges(image: Image) -> NDArray[np.uint8]:
    smooth = cv2.GaussianBlur(luma(image), (0, 0), EDGE_SIGMA_PX)
    dx = cv2.sepFilter2D(smooth, cv2.CV_32F, np.array([-0.5, 0, 0.5]), np.ones(1))
    dy = cv2.sepFilter2D(smooth, cv2.CV_32F, np.ones(1), np.array([-0.5, 0, 0.5]))
    unit = 32000.0  # Canny takes 16-bit gradients
    across, down = (np.rint(np.clip(d * unit, -unit, unit)).astype(np.int16) for d in (dx, dy))
    return np.asarray(
        cv2.Canny(across, down, EDGE_LOW * unit, EDGE_HIGH * unit, L2gradient=True), np.uint8
    )


def _share_near(edges: NDArray[np.uint8], others: NDArray[np.uint8]) -> float:
    """Share of the edge pixels of `edges` with an edge pixel of `others` within 2 px; 1 if `edges`
    has none. Both are (H, W), 255 for an edge pixel, else 0."""
    if not edges.any():
        return 1.0
    distance = cv2.distanceTransform(255 - others, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(np.mean(distance[edges > 0] <= EDGE_TOLERANCE_PX))
