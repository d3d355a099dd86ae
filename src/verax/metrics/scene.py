"""Metrics of the scene: underwater quality (UIQM, UCIQE), haze, change of time of day or of light.

A picture is (H, W, 3) float32 sRGB in [0, 1].
Sources: Panetta, Gao, Agaian, IEEE JOE 41, 541 (2016); Yang, Sowmya, IEEE TIP 24, 6062 (2015);
haze after the idea of Choi, You, Bovik, IEEE TIP 24, 3888 (2015), with features and weights of
our own.
"""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image
from verax.image.contract import LUMA_709
from verax.image.pixels import (
    LUMA,
    luma,
    resize,
    resize_picture,
    to_linear,
    to_srgb,
    wide_blur,
)

Map = NDArray[np.float32]

BLOCK = 8
UIQM_WEIGHTS = (0.0282, 0.2953, 3.5753)
UCIQE_WEIGHTS = (0.4680, 0.2745, 0.2576)
TRIM = 0.1  # share of pixels left out at each end of an opponent channel
PLIP_RANGE = 1026.0  # Panetta's range of the logarithmic grey-level arithmetic

SceneState = Literal[
    "same",
    "night made day",
    "day made night",
    "light of another colour",
    "bright and dark places exchanged",
]

STATE_SIDE = 256  # px of the long side at which states are compared
DARKEST = 0.002  # least linear light for which a ratio of 8-bit levels is meaningful
NIGHT_EV = 3.0  # stops by which no restoration darkens a picture
STATE_EV = 1.5  # change in stops from which a changed order of brightness is night or day
CAST = 0.27  # largest distance from grey that a restoration may add
ORDER = 0.45  # rank correlation of coarse brightness below which its order has changed
AGREEMENT = 0.5  # mean correlation of structure above which removed haze explains that
BROAD, FINE, NEARBY = 0.03, 0.008, 0.05  # sigmas of Gaussian windows, shares of the long side
FLAT = 0.01  # deviation of coarse luma below which brightness has no order
FAINT = 0.02  # deviation of luma below which there is no structure to compare


def uiqm(image: Image) -> float:
    """UIQM: underwater quality from colour, sharpness and contrast; higher is better."""
    levels = image * np.float32(255)
    terms = (_uicm(levels), _uism(levels), _uiconm(levels))
    return float(sum(w * t for w, t in zip(UIQM_WEIGHTS, terms, strict=True)))


def _uicm(levels: Map) -> float:
    red, green, blue = cv2.split(levels)
    means, variances = [], []
    for opponent in (red - green, 0.5 * (red + green) - blue):
        ordered = np.sort(opponent, axis=None).astype(np.float64)
        cut = int(TRIM * ordered.size)
        mean = float(ordered[cut : ordered.size - cut].mean())
        means.append(mean)
        variances.append(float(((ordered - mean) ** 2).mean()))
    return float(-0.0268 * np.hypot(means[0], means[1]) + 0.1586 * np.sqrt(sum(variances)))


def _uism(levels: Map) -> float:
    weights = (0.299, 0.587, 0.114)
    return sum(w * _eme(_edges(p)) for w, p in zip(weights, cv2.split(levels), strict=True))


def _edges(plane: Map) -> Map:
    dx = cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=1 / 8)
    dy = cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(cv2.magnitude(dx, dy) * plane / 255, np.float32)


def _eme(plane: Map) -> float:
    """Enhancement measure (EME) of levels (H, W) in 0..255: the mean of 2 ln(max / min) over blocks
    of about 8x8 px. Levels below 1 count as 1."""
    low, high = _extremes(np.maximum(plane, 1))
    return float(2 * np.log(high / low).mean())


def _extremes(plane: Map) -> tuple[Map, Map]:
    rows, columns = (max(1, side // BLOCK) for side in plane.shape)
    blocks = plane[: rows * BLOCK, : columns * BLOCK]
    blocks = blocks.reshape(rows, blocks.shape[0] // rows, columns, blocks.shape[1] // columns)
    return blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))


def _uiconm(levels: Map) -> float:
    """The contrast term of UIQM for levels (H, W, 3) in 0..255: the mean of -r ln r over blocks of
    about 8x8 px, where r is a block's Michelson contrast in PLIP arithmetic."""
    low, high = _extremes(levels.mean(axis=2))
    above = PLIP_RANGE * (high - low) / (PLIP_RANGE - low)
    below = high + low - high * low / PLIP_RANGE
    ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    ratio = ratio[ratio > 0].astype(np.float64)
    return float(-(ratio * np.log(ratio)).mean()) if ratio.size else 0.0


def uciqe(image: Image) -> float:
    """UCIQE: underwater quality from chroma, contrast and saturation; higher is better.

    It is a weighted sum of the standard deviation of chroma C, the contrast of lightness L and the
    mean saturation C / sqrt(C^2 + L^2), in CIELAB divided by 100.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab) / np.float32(100)
    lightness, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    low, high = np.quantile(lightness, (0.01, 0.99))
    length = np.hypot(chroma, lightness)
    saturation = np.divide(chroma, length, out=np.zeros_like(chroma), where=length > 0)
    terms = (chroma.std(), high - low, saturation.mean())
    return float(sum(w * float(t) for w, t in zip(UCIQE_WEIGHTS, terms, strict=True)))


HAZE_SIDE_PX = 256
HAZE_FEATURES = (
    "dark channel",
    "darkest",
    "contrast",
    "relative contrast",
    "saturation",
    "chroma",
    "fine",
)
# Logistic least squares on 59 photos (Budgie CC0, CLIC2025 Unsplash licence) with 8 simulated
# hazes each; held-out photos: mean error 0.13, r 0.80. benchmarks/fit_haze.py prints all of it.
HAZE_OFFSET = -1.070
HAZE_WEIGHTS = (-0.130, -1.059, 0.037, -1.930, -4.712, 0.052, 0.749)


def haze_density(image: Image) -> float:
    """Estimated mean of 1 - t over the picture, in [0, 1], where t is the transmission in the haze
    model I = J t + A (1 - t); lower is clearer."""
    logit = HAZE_OFFSET + float(np.dot(HAZE_WEIGHTS, haze_features(image)))
    return float(1 / (1 + np.exp(-logit)))


def haze_features(image: Image) -> NDArray[np.float64]:
    """(7,) statistics of a picture that tell how hazy it is, at a short side of at most 256 px.

    They are the mean dark channel, the 2 % quantile of the darkest channel, the log of contrast and
    of contrast relative to brightness, mean saturation and chroma, and the log of fine detail.
    """
    small = _shrink(image)
    low, high = small.min(axis=2), small.max(axis=2)
    dark = cv2.erode(low, np.ones((9, 9), np.uint8))
    grey = small.mean(axis=2)
    mean = cv2.blur(grey, (9, 9))
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (9, 9)) - mean * mean, 0))
    saturation = (high - low) / np.maximum(high, 1e-3)
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    values = (
        dark.mean(),
        np.quantile(low, 0.02),
        np.log(deviation.mean() + 1e-3),
        np.log((deviation / np.maximum(mean, 0.02)).mean() + 1e-3),
        saturation.mean(),
        (high - low).mean(),
        np.log(fine.mean() + 1e-4),
    )
    return np.array(values, np.float64)


def _shrink(image: Image) -> Image:
    scale = HAZE_SIDE_PX / min(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def scene_state(before: Image, after: Image, overlap: NDArray[np.bool_]) -> SceneState:
    """Whether the time of day or the light changed between two registered pictures, and how.

    Returns "same", "night made day", "day made night", "light of another colour" or "bright and
    dark places exchanged". It is "same" if restoration can explain the change, or if `overlap` is
    empty. A restoration may brighten a picture, but hardly darkens it. It may remove a colour cast,
    but adds none. It keeps bright places brighter than dark ones, unless it removes haze, and then
    fine structure stays the same.

    Args:
        before, after: (H, W, 3) on the same pixel grid.
        overlap: (H, W) bool, pixels that both pictures cover.
    """
    before, after, overlap = _small(before, after, overlap)
    if not overlap.any():
        return "same"
    stops = _stops(before, after, overlap)
    if stops < -NIGHT_EV:
        return "day made night"
    gain = np.float32(2.0**stops)
    exposed = to_srgb(np.minimum(gain * to_linear(before), 1))
    if cast(after[overlap]) - cast(exposed[overlap]) > CAST:
        return "light of another colour"
    if _order(before, after, overlap) > ORDER or _agreement(exposed, after, overlap) > AGREEMENT:
        return "same"
    if abs(stops) < STATE_EV:
        return "bright and dark places exchanged"
    return "night made day" if stops > 0 else "day made night"


def _small(
    before: Image, after: Image, overlap: NDArray[np.bool_]
) -> tuple[Image, Image, NDArray[np.bool_]]:
    height, width = overlap.shape
    scale = min(1.0, STATE_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    inside = resize(overlap.astype(np.float32), size) > 0.99
    return resize_picture(before, size), resize_picture(after, size), inside


def _stops(before: Image, after: Image, overlap: NDArray[np.bool_]) -> float:
    """Median change of luminance in `overlap`, in stops (factors of two); above 0 if brighter."""
    first, second = (np.maximum(to_linear(p) @ LUMA_709, DARKEST)[overlap] for p in (before, after))
    return float(np.median(np.log2(second / first)))


def cast(pixels: Map) -> float:
    """Colour cast of pixels (n, 3) in sRGB, 0..1: distance of their mean colour from grey.

    It is the length of (red - luma, blue - luma).
    """
    red, green, blue = pixels.mean(0)
    grey = LUMA @ np.array([red, green, blue])
    return float(np.hypot(red - grey, blue - grey))


def _order(before: Image, after: Image, overlap: NDArray[np.bool_]) -> float:
    """Rank correlation, -1..1, of both pictures' strongly blurred luma in `overlap` (H, W).

    1 if one of them is flat, so that brightness has no order.
    """
    sigma = BROAD * max(overlap.shape)
    planes = [wide_blur(luma(picture), sigma)[overlap] for picture in (before, after)]
    if min(float(plane.std()) for plane in planes) < FLAT:
        return 1.0
    first, second = (np.argsort(np.argsort(plane, kind="stable")) for plane in planes)
    return float(np.corrcoef(first, second)[0, 1])


def _agreement(exposed: Image, after: Image, overlap: NDArray[np.bool_]) -> float:
    """Mean local correlation of the luma's fine structure in `overlap` (H, W), 0..1.

    `exposed` is the picture before the change, made as bright as `after`. Places that are flat in
    both count as 1.
    """
    side = max(overlap.shape)
    one, two = (
        wide_blur(y, FINE * side) - wide_blur(y, NEARBY * side) for y in map(luma, (exposed, after))
    )
    both, first, second = (
        wide_blur(product, 1.5 * NEARBY * side) + FAINT**2
        for product in (one * two, one * one, two * two)
    )
    return float(np.clip(both / np.sqrt(first * second), 0, 1)[overlap].mean())
