"""Small pictures and requests for tests of asking."""

import io
from datetime import date

import numpy as np
from PIL import Image

from verax.providers.requests import EditRequest, ImageFile

TODAY = date(2026, 11, 20)
KEY = "sk-proj-abcdefghij0123456789"


def png(width=96, height=72, mode="RGB", seed=3):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (8, 8, len(mode)), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).resize((width, height)).save(buffer, "png")
    return buffer.getvalue()


def mask(width=96, height=72):
    levels = np.full((height, width, 4), 255, np.uint8)
    levels[: height // 2, :, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "png")
    return ImageFile(buffer.getvalue(), "mask.png")


def edit(**fields):
    given = {"model": "gpt-image-2.6-sunburst", "prompt": "remove the haze", "size": "1024x768"}
    given |= {"quality": "low", "images": (ImageFile(png(), "photo.png"),)}
    return EditRequest(**(given | fields))
