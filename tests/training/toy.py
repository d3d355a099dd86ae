"""Small pictures and recipes for the tests of this folder."""

from dataclasses import replace

import cv2
import numpy as np

from verax import image as images
from verax.restorers.runtime import Shape
from verax.training import TrainingRecipe

TINY = Shape(unshuffle=2, widths=(8, 16), blocks=1, middle=1)
TINY_TONE = Shape(unshuffle=4, widths=(8, 16), blocks=1, middle=1)


def scene(seed, size=(72, 96)):
    """Smooth colour with a few hard edges."""
    rng = np.random.default_rng(seed)
    small = rng.random((6, 8, 3), np.float32)
    picture = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    picture[10:30, 20:60] = rng.random(3)
    return np.clip(picture, 0, 1).astype(np.float32)


def folder(path, count=3, size=(72, 96)):
    """A folder of photos without a manifest."""
    path.mkdir()
    for seed in range(count):
        images.write(path / f"{seed}.png", scene(seed, size))
    return path


def recipe(data, **changes):
    """A run of seconds."""
    base = TrainingRecipe(
        data=(str(data),),
        mix={"noise": 1.0, "clean": 0.2},
        shape=TINY,
        steps=2,
        crop=32,
        batch=2,
        warmup=1,
        validation=0,
    )
    return replace(base, **changes)
