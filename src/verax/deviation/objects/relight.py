"""The photo's colours as the prior would show them, so that light and colour do not count."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from verax.deviation.pair import Map

SMOOTH = 0.12  # sigma of the smooth tone correction, share of the long side
ROUNDS = 5
LEVELS = 9  # of lightness in the tone correction


def in_the_light_of(photo: Map, prior: Map, seen: NDArray[np.bool_]) -> Map:
    """The photo's Lab colours as the prior would show them, (h, w, 3).

    One polynomial for the picture, then corrections that vary with place and lightness, in rounds
    that leave out what does not fit.
    """
    lightness = photo[..., :1] / 50 - 1
    chroma = photo[..., 1:] / 50
    terms = np.concatenate(
        [
            *(lightness**power for power in range(4)),
            *(chroma, chroma**2, lightness * chroma, chroma[..., :1] * chroma[..., 1:]),
        ],
        axis=2,
    )
    weight = seen.astype(np.float32)
    ridge = 1e-5 * weight.sum() * np.eye(terms.shape[2])
    expected = photo
    for _ in range(ROUNDS):
        x, y = terms[seen].astype(np.float64), prior[seen].astype(np.float64)
        weighted = x * weight[seen][:, None]
        expected = np.asarray(
            terms @ np.linalg.solve(weighted.T @ x + ridge, weighted.T @ y), np.float32
        )
        expected = expected + _by_place_and_lightness(prior - expected, photo[..., 0], weight)
        apart = np.linalg.norm(prior - expected, axis=2)
        scale = max(1.4826 * float(np.median(apart[seen])), 1.0)
        weight = seen * np.clip(1 - (apart / (4 * scale)) ** 2, 0, 1).astype(np.float32) ** 2
    return expected


def as_shown(lab: Map) -> Map:
    """The colours as a picture can hold them, clipped at the ends of its range."""
    colours = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2Lab), np.float32)


def _by_place_and_lightness(rest: Map, lightness: Map, weight: Map) -> Map:
    """Weighted mean of `rest` over pixels nearby that are about as light: a bilateral grid."""
    height, width = weight.shape
    cell = max(1, round(SMOOTH * max(height, width) / 4))
    size = (-(-width // cell), -(-height // cell))
    level = np.clip(lightness / 100 * (LEVELS - 1), 0, LEVELS - 1)
    sums = np.zeros((size[1], size[0], LEVELS, 4), np.float32)
    weighted = np.dstack([rest * weight[..., None], weight])
    shares = [np.maximum(1 - np.abs(level - k), 0).astype(np.float32) for k in range(LEVELS)]
    for k, share in enumerate(shares):
        sums[:, :, k] = cv2.resize(weighted * share[..., None], size, interpolation=cv2.INTER_AREA)
    for axis, sigma in enumerate((4.0, 4.0, 0.7)):
        sums = gaussian_filter1d(sums, sigma, axis=axis, mode="nearest")
    means = sums[..., :3] / (sums[..., 3:] + 1e-3)
    result = np.zeros_like(rest)
    for k, share in enumerate(shares):
        field = cv2.resize(np.ascontiguousarray(means[:, :, k]), (width, height))
        result += share[..., None] * field
    return result
