"""Pictures as notebooks show them: small, side by side, as PNG."""

import cv2
import numpy as np

from verax.image.contract import Image
from verax.image.encode import encode

PREVIEW_PX = 480  # long side of each picture


def preview_png(*pictures: Image) -> bytes:
    """Pictures of one size side by side, each at most PREVIEW_PX on its long side."""
    height, width = pictures[0].shape[:2]
    scale = min(1.0, PREVIEW_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [np.clip(cv2.resize(p, size, interpolation=cv2.INTER_AREA), 0, 1) for p in pictures]
    return encode(np.ascontiguousarray(np.hstack(small), np.float32), format="png")
