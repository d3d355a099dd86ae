"""JPEG: block artefacts of quality 95 down to 6, once or twice, on or off the pixel grid."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.image import Image, Plane, from_uint8, to_uint8

BEST, WORST = 95, 6


def jpeg(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity sets the quality; chroma subsampling and a second pass are drawn from rng."""
    quality = round(BEST + (WORST - BEST) * severity**0.75)
    full_chroma = bool(rng.random() < 0.25)
    shift = rng.integers(0, 8, 2) if rng.random() < 0.3 else np.zeros(2, np.int64)
    out = compress(image, quality, full_chroma=full_chroma, shift=(int(shift[0]), int(shift[1])))
    if rng.random() < 0.2:
        out = compress(out, min(BEST, quality + int(rng.integers(5, 40))), shift=(3, 5))
    return out


def compress(
    image: Image, quality: int, *, full_chroma: bool = False, shift: tuple[int, int] = (0, 0)
) -> Image:
    """The picture after baseline JPEG; `shift` moves the 8 px grid up and left by (y, x)."""
    height, width = image.shape[:2]
    top, left = shift
    levels = cv2.copyMakeBorder(to_uint8(image), top, 0, left, 0, cv2.BORDER_REFLECT)
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        if full_chroma
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", levels[..., ::-1], options)
    back: NDArray[np.uint8] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return from_uint8(back[top : top + height, left : left + width])
