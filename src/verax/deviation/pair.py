"""Photo and registered prior on one working grid, and the statistics that several entries share."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry.register import Warped
from verax.image import Image
from verax.image.pixels import blur, luma, noise_response

Map = NDArray[np.float32]

WORKING_SIDE_PX = 640
FLAT = 1e-9  # variance that is rounding
CLIPPED_LOW, CLIPPED_HIGH = 1.5 / 255, 253.5 / 255


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


def pair(photo: Image, aligned: Warped, scale: float) -> Pair:
    """The pair of a photo and a prior that are both on the working grid."""
    seen = cv2.erode((aligned.valid > 0.99).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    first, second = (np.asarray(np.clip(p, 0, 1), np.float32) for p in (photo, aligned.pixels))
    return Pair(first, second, seen, scale)


def clipped(image: Image) -> NDArray[np.bool_]:
    """Pixels at the ends of the range."""
    brightest = image.max(axis=2)
    return np.asarray((brightest >= CLIPPED_HIGH) | (brightest <= CLIPPED_LOW))


def broad(array: Map, sigma: float) -> Map:
    """Gaussian blur with a wide window, computed on a reduced copy."""
    factor = int(sigma / 4)
    if factor < 2:
        return blur(array, sigma)
    size = tuple(max(4, round(side / factor)) for side in array.shape[1::-1])
    small = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / array.shape[1])
    return np.asarray(cv2.resize(small, array.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def noise_level(plane: Map) -> float:
    """Standard deviation of the noise of a luma plane, from its flattest quarter.

    Second differences in both directions cancel structure (Immerkaer, CVIU 64, 300, 1996); the
    lower quartile over blocks leaves texture out.
    """
    response = noise_response(plane)[2:-2, 2:-2]
    block = max(8, min(response.shape) // 16)
    rows, columns = (side // block for side in response.shape)
    blocks = response[: rows * block, : columns * block].reshape(rows, block, columns, block)
    medians = np.median(blocks.swapaxes(1, 2).reshape(rows * columns, -1), axis=1)
    return float(np.quantile(medians, 0.25)) * 1.4826


def local_correlation(one: Map, other: Map, seen: Map, window: float) -> tuple[Map, Map, Map]:
    """In Gaussian windows: signed correlation, variance of `one`, variance of `other`.

    The correlation is 1 where one of them is flat: there is nothing to disagree about.
    """
    weight = np.maximum(broad(seen, window), 1e-6)
    mean_a, mean_b = broad(one * seen, window) / weight, broad(other * seen, window) / weight
    var_a = np.maximum(broad(one * one * seen, window) / weight - mean_a**2, 0)
    var_b = np.maximum(broad(other * other * seen, window) / weight - mean_b**2, 0)
    both = broad(one * other * seen, window) / weight - mean_a * mean_b
    size = np.sqrt(var_a * var_b)
    agreed = np.where(size > FLAT, both / np.maximum(size, FLAT), 1)
    return np.asarray(np.clip(agreed, -1, 1), np.float32), var_a, var_b
