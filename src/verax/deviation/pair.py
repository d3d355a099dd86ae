"""Photo and registered prior on one working grid, and the statistics that several entries share."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry.features import blur, resize
from verax.geometry.register import Warped
from verax.image import Image
from verax.metrics.gradient import luma

Map = NDArray[np.float32]

WORKING_SIDE_PX = 640
NOISE_KERNEL = (
    np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
)  # unit gain for noise


@dataclass(frozen=True, slots=True)
class Pair:
    """Photo and registered prior, long side at most WORKING_SIDE_PX.

    Attributes:
        photo, prior: (h, w, 3).
        seen: (h, w) bool, pixels that the prior shows.
        scale: working px per photo px.
    """

    photo: Image
    prior: Image
    seen: NDArray[np.bool_]
    scale: float

    @property
    def luma(self) -> tuple[Map, Map]:
        return luma(self.photo), luma(self.prior)


def working_size(photo: Image) -> tuple[int, int]:
    """(width, height) of the working grid."""
    height, width = photo.shape[:2]
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    return max(16, round(width * scale)), max(16, round(height * scale))


def pair(photo: Image, warped: Warped, leftover: Map | None = None) -> Pair:
    """The pair on the working grid; `leftover` (h, w, 2) moves the prior by what registration
    left over, in working px."""
    size = working_size(photo)
    small, prior = resize(photo, size), resize(warped.pixels, size)
    valid = resize(warped.valid, size)
    if leftover is not None and leftover.any():
        y, x = (g.astype(np.float32) for g in np.mgrid[: size[1], : size[0]])
        places = x + leftover[..., 0], y + leftover[..., 1]
        prior = cv2.remap(prior, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        valid = cv2.remap(valid, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    seen = cv2.erode((valid > 0.99).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    first, second = (np.asarray(np.clip(p, 0, 1), np.float32) for p in (small, prior))
    return Pair(first, second, seen, size[0] / photo.shape[1])


def noise_level(plane: Map) -> float:
    """Standard deviation of the noise of a luma plane, from its flattest quarter.

    Second differences in both directions cancel structure (Immerkaer, CVIU 64, 300, 1996); the
    lower quartile over blocks leaves texture out.
    """
    response = np.abs(cv2.filter2D(plane, cv2.CV_32F, NOISE_KERNEL))[2:-2, 2:-2]
    block = max(8, min(response.shape) // 16)
    rows, columns = (side // block for side in response.shape)
    blocks = response[: rows * block, : columns * block].reshape(rows, block, columns, block)
    medians = np.median(blocks.swapaxes(1, 2).reshape(rows * columns, -1), axis=1)
    return float(np.quantile(medians, 0.25)) * 1.4826


def local_correlation(one: Map, other: Map, seen: Map, window: float) -> tuple[Map, Map, Map]:
    """In Gaussian windows: signed correlation, variance of `one`, variance of `other`."""
    weight = np.maximum(blur(seen, window), 1e-6)
    mean_a, mean_b = blur(one * seen, window) / weight, blur(other * seen, window) / weight
    var_a = np.maximum(blur(one * one * seen, window) / weight - mean_a**2, 0)
    var_b = np.maximum(blur(other * other * seen, window) / weight - mean_b**2, 0)
    both = blur(one * other * seen, window) / weight - mean_a * mean_b
    agreed = both / np.maximum(np.sqrt(var_a * var_b), 1e-10)
    return np.clip(agreed, -1, 1), var_a, var_b
