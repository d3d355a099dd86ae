"""Pictures the test service hands out: the input as a generator redraws it, or inventions."""

import hashlib
import io

import numpy as np
from PIL import Image

LEVELS = np.linspace(0.0, 1.0, 256)
WARMER = [  # one table of 256 levels for each of R, G and B
    round(255 * min(1.0, gain * level**0.93 + 0.01))
    for gain in (1.0, 0.985, 0.95)
    for level in LEVELS
]
SAVE: dict[str, dict[str, int]] = {
    "png": {"compress_level": 1, "compress_type": 2},
    "jpeg": {"quality": 92},
    "webp": {"quality": 90},
}


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) after the EXIF turn."""
    with Image.open(io.BytesIO(data)) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return image.size[::-1] if turned else image.size


def redraw(data: bytes, width: int, height: int, index: int = 0) -> Image.Image:
    """The picture in another size, moved by a few tenths of a percent and a little warmer."""
    with Image.open(io.BytesIO(data)) as image:
        source = image.convert("RGB")
    w, h = source.size
    box = (0.004 * w, 0.003 * h, w * (0.998 - 0.001 * index), 0.995 * h)
    moved = source.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return moved.point(WARMER)


def invent(prompt: str, width: int, height: int, index: int = 0) -> Image.Image:
    """Soft coloured shapes, another picture for every prompt and index."""
    seed = hashlib.sha256(f"{prompt}/{index}".encode()).digest()
    coarse = np.random.default_rng(list(seed)).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **SAVE[form])
    return buffer.getvalue()
