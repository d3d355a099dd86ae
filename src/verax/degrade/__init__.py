"""How photos go bad: a degradation as a value; what, how bad, and the seed of everything else."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

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

MIXTURE_ORDER = ("lowlight", "rain", "snow", "haze")  # of CDD-11 (Guo et al., ECCV 2024)


@dataclass(frozen=True, slots=True)
class Degradation:
    """One way in which a photo goes bad.

    Attributes:
        task: a key of TASKS.
        severity: 0 leaves the picture as it is, 1 is the worst that the task knows.
        seed: decides everything that severity does not: kind, direction, colour, grain.

    Raises UnknownNameError or SettingsError when a value is not of these.
    """

    task: str
    severity: float
    seed: int = 0

    def __post_init__(self) -> None:
        choose(TASKS, self.task, kind="degradation")
        if not 0.0 <= self.severity <= 1.0:
            raise SettingsError(f"severity: want 0..1, got {self.severity}")
        if self.seed < 0:
            raise SettingsError(f"seed: want 0 or more, got {self.seed}")


def apply(image: Image, *degradations: Degradation, depth: Plane | None = None) -> Image:
    """The picture after the degradations, in the order given; a function of its arguments.

    `depth` is measured depth in metres, (H, W); without it a random stand-in is used, which is
    plausible but not physical (see `verax.degrade.fields.pseudo_depth`).
    """
    out = check_image(image)
    if depth is not None and depth.shape != image.shape[:2]:
        raise SizeMismatchError(f"depth: want shape {image.shape[:2]}, got {depth.shape}")
    for degradation in degradations:
        if degradation.severity > 0:
            rng = np.random.default_rng([degradation.seed, zlib.crc32(degradation.task.encode())])
            out = TASKS[degradation.task](out, degradation.severity, rng, depth)
    return np.ascontiguousarray(np.clip(out, 0, 1), np.float32)  # rounding may pass 1


def sample(
    rng: Generator, task: str | None = None, *, severity: tuple[float, float] = (0.05, 1.0)
) -> Degradation:
    """One degradation for training: `task` or any, severity even over the range."""
    name = task or str(rng.choice(list(TASKS)))
    return Degradation(name, float(rng.uniform(*severity)), int(rng.integers(2**31)))


def sample_mixture(
    rng: Generator,
    tasks: Sequence[str] = MIXTURE_ORDER,
    *,
    severity: tuple[float, float] = (0.05, 0.6),
) -> tuple[Degradation, ...]:
    """Two or more of `tasks` at once, in the order in which they befall a photo."""
    count = int(rng.integers(2, min(3, len(tasks)) + 1))
    chosen = sorted(rng.choice(len(tasks), count, replace=False))
    return tuple(sample(rng, tasks[i], severity=severity) for i in chosen)
