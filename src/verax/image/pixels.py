"""Small operations on pixels, each in one place for all rooms."""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def resize(array: Array, size: tuple[int, int]) -> Array:
    """(H, W) or (H, W, C) at (width, height): area average where it shrinks, cubic where it grows.

    Cubic values may overshoot the range. The array itself is returned at its own size.
    """
    if (array.shape[1], array.shape[0]) == size:
        return array
    shrinks = size[0] <= array.shape[1] and size[1] <= array.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(array, size, interpolation=method), np.float32)
    return resized.reshape(size[1], size[0], *array.shape[2:])


def blur(array: Array, sigma: float) -> Array:
    """Gaussian blur of `sigma` px, mirrored at the border."""
    blurred = cv2.GaussianBlur(array, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)
