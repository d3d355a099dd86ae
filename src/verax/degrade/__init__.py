"""Simulate degradations of photos, and damage of paper prints.

A `Degradation` states a task, such as "haze", a severity, and a random seed for all else. `damage`
draws holes, scratches and dust on a picture, and also returns a mask of each of the three.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import fractal_noise
from verax.degrade.optics import defocus_blur, motion_blur, raindrop, underwater
from verax.degrade.sensor import jpeg, lowlight, noise
from verax.degrade.weather import haze, rain, snow
from verax.errors import SettingsError, SizeMismatchError, choose
from verax.image import Image, Plane, check_image

# (image, severity in (0, 1], rng, depth in metres or None) -> degraded image
Task = Callable[[Image, float, Generator, Plane | None], Image]

TASKS: dict[str, Task] = {
    "haze": haze,
    "rain": rain,
    "snow": snow,
    "lowlight": lowlight,
    "noise": noise,
    "jpeg": jpeg,
    "motion_blur": motion_blur,
    "defocus_blur": defocus_blur,
    "underwater": underwater,
    "raindrop": raindrop,
}


@dataclass(frozen=True, slots=True)
class Degradation:
    """One degradation of a photo.

    Attributes:
        task: "haze", "rain", "snow", "lowlight", "noise", "jpeg", "motion_blur", "defocus_blur",
            "underwater" or "raindrop".
        severity: from 0 (no change) to 1 (the strongest degradation of the task).
        seed: random seed, 0 or more, for all that severity does not set, such as colour and grain.

    Raises UnknownNameError for an unknown task, SettingsError for a wrong severity or seed.
    """

    task: str
    severity: float
    seed: int = 0

    def __post_init__(self) -> None:
        choose(TASKS, self.task, kind="degradation")
        if not 0.0 <= self.severity <= 1.0:
            raise SettingsError(f"severity: expected a number from 0 to 1, got {self.severity}")
        if self.seed < 0:
            raise SettingsError(f"seed: expected a whole number of at least 0, got {self.seed}")


def apply(image: Image, *degradations: Degradation, depth: Plane | None = None) -> Image:
    """Apply degradations to a picture, one after the other; equal arguments give equal results.

    `depth` (H, W) is the measured depth of the scene in metres, on the picture's grid; pixels that
    are 0, NaN or infinite count as far. It is used by haze, rain, snow, defocus and underwater. If
    it is None, these use a plausible random depth.
    """
    out = check_image(image)
    if depth is not None and depth.shape != image.shape[:2]:
        raise SizeMismatchError(
            f"depth: expected the picture's shape {image.shape[:2]}, got {depth.shape}; resize it"
        )
    for degradation in degradations:
        if degradation.severity > 0:
            rng = np.random.default_rng([degradation.seed, zlib.crc32(degradation.task.encode())])
            out = TASKS[degradation.task](out, degradation.severity, rng, depth)
    return np.ascontiguousarray(np.clip(out, 0, 1), np.float32)  # rounding may pass 1


def sample(
    rng: Generator, task: str | None = None, *, severity: tuple[float, float] = (0.05, 1.0)
) -> Degradation:
    """A degradation for training, with a random seed and severity.

    The severity is uniformly distributed between the two values of `severity`. If `task` is None,
    the task is random, too, and all tasks are equally probable.
    """
    name = task or str(rng.choice(list(TASKS)))
    return Degradation(name, float(rng.uniform(*severity)), int(rng.integers(2**31)))


Mask = NDArray[np.bool_]

BRIGHT, DARK = (0.86, 0.98), (0.02, 0.12)  # sRGB ranges of bare paper and of a dark background


@dataclass(frozen=True, slots=True)
class Damage:
    """A picture of a damaged print, and masks of its damage.

    Attributes:
        pixels: the damaged picture (H, W, 3) in [0, 1].
        holes, scratches, dust: (H, W) masks, True where the picture has this kind of damage.
    """

    pixels: Image
    holes: Mask
    scratches: Mask
    dust: Mask

    @property
    def mask(self) -> Mask:
        return self.holes | self.scratches | self.dust


def damage(
    image: Image, rng: Generator, *, holes: int = 3, scratches: int = 4, specks: int = 20
) -> Damage:
    """Draw random damage of paper prints on a copy of a picture.

    `holes`, `scratches` and `specks` (of dust) are the numbers to draw. Returns the copy, with a
    mask of each kind of damage.
    """
    size = image.shape[:2]
    cover = [
        merge([hole(size, rng) for _ in range(holes)], size),
        merge([scratch(size, rng) for _ in range(scratches)], size),
        merge([speck(size, rng) for _ in range(specks)], size),
    ]
    pixels = image
    for layer in cover:
        tone = rng.uniform(*(BRIGHT if rng.random() < 0.7 else DARK))
        tint = 1 - rng.uniform(0, 0.1) * np.array([0.0, 0.3, 1.0])
        grain = 0.01 * rng.standard_normal(size, np.float32)[..., None]
        colour = np.asarray(tone * tint + grain, np.float32)
        pixels = pixels + layer[..., None] * (colour - pixels)
    masks = [layer > 0.1 for layer in cover]
    return Damage(np.asarray(np.clip(pixels, 0, 1), np.float32), *masks)


def merge(parts: list[Plane], size: tuple[int, int]) -> Plane:
    """The pixelwise maximum of the planes `parts`, all of shape `size` (height, width).

    A plane of zeros if there are none.
    """
    return np.asarray(np.max([np.zeros(size, np.float32), *parts], axis=0), np.float32)


def hole(size: tuple[int, int], rng: Generator) -> Plane:
    """A plane of `size` (height, width) with the opacity, 0 to 1, of a ragged hole.

    The hole's place is random; its diameter is about 5 to 12 % of the plane's short side.
    """
    height, width = size
    radius = min(size) * rng.uniform(0.025, 0.06)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    flat = rng.uniform(0.6, 1.6)
    distance = np.hypot((columns - x) * flat, (rows - y) / flat)
    ragged = 1 + 0.3 * fractal_noise(size, rng, cells=12, octaves=3)
    patch = (distance < radius * ragged).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(patch, (0, 0), 0.6), np.float32)


def scratch(size: tuple[int, int], rng: Generator) -> Plane:
    """A plane of `size` (height, width) with the opacity, 0 to 1, of a thin random scratch.

    The scratch bends slightly and has gaps.
    """
    height, width = size
    long = rng.uniform(0.25, 0.8) * min(size)
    count = max(8, int(long / 4))
    turn = rng.uniform(0, np.pi) + np.cumsum(rng.normal(0, 0.04, count))
    steps = long / count * np.stack([np.cos(turn), np.sin(turn)], 1)
    points = np.cumsum(steps, axis=0)
    points += rng.uniform(0.15, 0.85, 2) * [width, height] - points.mean(0)
    line = np.zeros(size, np.uint8)
    thickness = int(rng.integers(1, max(2, round(min(size) / 200)) + 1))
    for start, end in pairwise(np.rint(16 * points).astype(int).tolist()):
        if rng.random() > 0.04:
            cv2.line(line, start, end, 255, thickness, cv2.LINE_AA, 4)
    return np.asarray(line / np.float32(255), np.float32)


def speck(size: tuple[int, int], rng: Generator) -> Plane:
    """A plane of `size` (height, width) with the opacity, 0 to 1, of a random grain of dust."""
    spot = np.zeros(size, np.uint8)
    at = (int(rng.integers(size[1])), int(rng.integers(size[0])))
    axes = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    cv2.ellipse(spot, at, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    return np.asarray(spot / np.float32(255), np.float32)
