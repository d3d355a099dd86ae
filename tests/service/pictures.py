"""Pictures the test service hands out: the input as a generator redraws it, or inventions."""

import hashlib
import io

import numpy as np
from PIL import Image

SAVE = {"png": {"compress_level": 1}, "jpeg": {"quality": 92}, "webp": {"quality": 90}}


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
    levels = np.asarray(moved, np.float32) / 255.0
    toned = levels**0.93 * np.float32([1.0, 0.985, 0.95]) + 0.01
    return Image.fromarray(np.uint8(np.clip(toned, 0, 1) * 255 + 0.5))


def invent(prompt: str, width: int, height: int, index: int = 0) -> Image.Image:
    """Soft coloured shapes, another picture for every prompt and index."""
    seed = hashlib.sha256(f"{prompt}/{index}".encode()).digest()
    coarse = np.random.default_rng(list(seed)).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **SAVE[form])
    return buffer.getvalue()
