"""Simulate priors: change a clean photo in the way in which image generators change photos.

No generator is involved. Simulated priors are made from the clean photo, which a generator does not
see, so results obtained with them are an upper bound. The ranges follow measurements of real
generated pictures: drift like that of GPT-Image (shifts of 1-7 %, scale 0.86-1.14 per axis, objects
moved by 0.4-2.5 %), or mild drift well below 1 % like that of Nano Banana Pro.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from verax import degrade
from verax import image as images
from verax.geometry.canvas import centred
from verax.image import Image
from verax.priors.changes import KINDS, InjectedChange, ObjectEdit, Tone
from verax.priors.inject import Canvas, Deviations, SimulatedPrior, inject

__all__ = [
    "FREE_SIZES",
    "MILD",
    "ON_GRID",
    "Deviations",
    "InjectedChange",
    "ObjectEdit",
    "Shares",
    "SimulatedPrior",
    "SimulatorSettings",
    "Tone",
    "draw",
    "foreign",
    "inject",
    "mix",
    "simulate",
]

Range = tuple[float, float]

FIXED_SIZES = ((1024, 1024), (1536, 1024), (1024, 1536))
FREE_SIZES: tuple[tuple[int, int], ...] = ()  # the photo's own size, rounded to multiples of 16


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """The distribution from which `draw` samples deviations. A range is (lowest, highest).

    Attributes:
        sizes: (width, height) that the generator offers; the one with proportions closest to the
            photo's is used. Empty: the photo's size rounded to multiples of 16; None: the photo's.
        canvases: ways of bringing the photo to that size (see `Deviations`), with probabilities.
        mild: probability that geometry and texture follow `MILD`; what is switched off here
            (zero, or a scale of one) stays off.
        shift: standard deviation and largest value of the shift, shares of the sides.
        scale: range of the scale of each axis.
        rotation_deg, perspective: largest value, in either direction.
        local: range of the median local displacement, share of the width.
        objects: range of the number of changed objects.
        object_area, object_distance: ranges of their area and shift, see `ObjectEdit`.
        texture, texture_px, sharpening: ranges, see `Deviations`.
        tone: range of a common strength of the following changes of light and colour.
        contrast, saturation: ranges, see `Tone`.
        exposure_ev, warmth_ev: standard deviations; colour, uneven_ev: largest values, see `Tone`.
        night: probability of a change from day to night.
        residual: largest share of the degradation that remains in the prior.
        jpeg: probability of compression, at a quality of 80 to 97.
    """

    sizes: tuple[tuple[int, int], ...] | None = FIXED_SIZES
    canvases: tuple[tuple[Canvas, float], ...] = (
        ("stretch", 0.45),
        ("crop", 0.25),
        ("outpaint", 0.25),
        ("letterbox", 0.05),
    )
    mild: float = 0.8
    shift: tuple[float, float] = (0.03, 0.08)
    scale: Range = (0.86, 1.14)
    rotation_deg: float = 2.0
    perspective: float = 0.03
    local: Range = (0.004, 0.025)
    objects: tuple[int, int] = (0, 3)
    object_area: Range = (0.003, 0.04)
    object_distance: Range = (0.01, 0.06)
    texture: Range = (0.6, 1.0)
    texture_px: Range = (1.2, 4.5)
    sharpening: Range = (0.0, 1.0)
    tone: Range = (0.35, 1.0)
    exposure_ev: float = 0.65
    contrast: Range = (0.85, 1.4)
    saturation: Range = (0.9, 1.4)
    warmth_ev: float = 0.25
    colour: float = 0.06
    uneven_ev: float = 0.5
    night: float = 0.03
    residual: float = 0.3
    jpeg: float = 0.5


MILD = SimulatorSettings(
    mild=0.0,
    canvases=(("stretch", 1.0),),
    shift=(0.002, 0.008),
    scale=(0.995, 1.005),
    rotation_deg=0.15,
    perspective=0.002,
    local=(0.0003, 0.002),
    texture=(0.2, 1.0),
    texture_px=(0.6, 3.0),
)

# for training on crops: the prior on the photo's grid, with typical errors of registration
ON_GRID = replace(MILD, sizes=None, shift=(0.002, 0.006), local=(0.0005, 0.004))


def simulate(
    clean: Image,
    *,
    seed: int,
    settings: SimulatorSettings = SimulatorSettings(),
    degraded: Image | None = None,
) -> SimulatedPrior:
    """Simulate a prior of a clean photo (H, W, 3). The same arguments give the same result.

    `degraded` is the degraded photo, of the same size; traces of its degradation may remain in the
    prior.
    """
    rng = np.random.default_rng([seed, 0])
    height, width = clean.shape[:2]
    deviations = draw(rng, (width, height), settings)
    return inject(clean, deviations, seed=seed, degraded=degraded)


def draw(
    rng: Generator, photo: tuple[int, int], settings: SimulatorSettings = SimulatorSettings()
) -> Deviations:
    """Sample random deviations for a photo of size `photo` (width, height) from the settings."""
    kind = _mildly(settings) if rng.random() < settings.mild else settings
    shifts = np.clip(rng.normal(0, kind.shift[0], 2), -kind.shift[1], kind.shift[1])
    middle, half = (np.sum(kind.scale) / 2, np.ptp(kind.scale) / 2)
    scales = middle + half * np.clip(rng.normal(0, 0.45, 2), -1, 1)
    size = _size(photo, settings)
    names, shares = zip(*kind.canvases, strict=True)
    perspective = rng.uniform(-kind.perspective, kind.perspective, 2) / 2
    return Deviations(
        size=size,
        canvas=str(rng.choice(names, p=shares)),  # type: ignore[arg-type]
        shift_x=float(shifts[0]),
        shift_y=float(shifts[1]),
        scale_x=float(scales[0]),
        scale_y=float(scales[1]),
        rotation_deg=float(rng.uniform(-1, 1) * kind.rotation_deg),
        perspective_x=float(perspective[0]),
        perspective_y=float(perspective[1]),
        local=_log_uniform(rng, kind.local),
        local_cells=float(rng.uniform(1.5, 4.5)),
        objects=_objects(rng, settings),
        texture=float(rng.uniform(*kind.texture)),
        texture_px=float(rng.uniform(*kind.texture_px)),
        sharpening=float(rng.uniform(*settings.sharpening)),
        tone=_tone(rng, settings),
        residual=float(rng.uniform(0, settings.residual) * (rng.random() < 0.5)),
        jpeg_quality=int(rng.integers(80, 98)) if rng.random() < settings.jpeg else None,
    )


def foreign(other: Image, *, seed: int, size: tuple[int, int]) -> SimulatedPrior:
    """A prior that shows another scene than the photo, whose (width, height) is `size`.

    `other` is a clean photo of that scene. The result's matrix has no meaning.
    """
    changed = simulate(other, seed=seed, settings=replace(ON_GRID, objects=(0, 0)))
    height, width = changed.prior.shape[:2]
    matrix = centred(size, (width, height), "stretch")
    return replace(changed, matrix=matrix, field=None, objects=(), kind="foreign")


@dataclass(frozen=True, slots=True)
class Shares:
    """Probabilities that the prior of a training sample shows another scene (`foreign`), is missing
    (`none`), or is the degraded photo itself (`photo`)."""

    foreign: float = 0.10
    none: float = 0.10
    photo: float = 0.05


def mix(
    clean: Image,
    degraded: Image,
    other: Image,
    *,
    seed: int,
    settings: SimulatorSettings = ON_GRID,
    shares: Shares = Shares(),
) -> SimulatedPrior | None:
    """The prior of a training sample; None for a sample without a prior.

    It is simulated from the photo `clean`, or, with the probabilities in `shares`, simulated from
    another clean photo (`other`), or the degraded photo itself. `seed` decides.
    """
    height, width = clean.shape[:2]
    pick = float(np.random.default_rng([seed, 1]).random())
    if pick < shares.none:
        return None
    if pick < shares.none + shares.foreign:
        return foreign(other, seed=seed, size=(width, height))
    if pick < shares.none + shares.foreign + shares.photo:
        return SimulatedPrior(degraded, np.eye(3), None, (), "photo", Deviations())
    return simulate(clean, seed=seed, settings=settings, degraded=degraded)


def _mildly(settings: SimulatorSettings) -> SimulatorSettings:
    """The settings with geometry and texture of `MILD`; what is switched off stays off."""
    off = SimulatorSettings(
        shift=(0, 0), scale=(1, 1), rotation_deg=0, perspective=0, local=(0, 0), texture=(0, 0)
    )
    names = ("shift", "scale", "rotation_deg", "perspective", "local", "texture")
    on = {n: getattr(MILD, n) for n in names if getattr(settings, n) != getattr(off, n)}
    canvases = MILD.canvases if len(settings.canvases) > 1 else settings.canvases
    return replace(settings, canvases=canvases, texture_px=MILD.texture_px, **on)


def _size(photo: tuple[int, int], settings: SimulatorSettings) -> tuple[int, int] | None:
    if settings.sizes is None:
        return None
    if not settings.sizes:
        width, height = (max(16, round(side / 16) * 16) for side in photo)
        return width, height
    shape = np.log(photo[0] / photo[1])
    return min(settings.sizes, key=lambda size: abs(float(np.log(size[0] / size[1]) - shape)))


def _objects(rng: Generator, settings: SimulatorSettings) -> tuple[ObjectEdit, ...]:
    low, high = settings.objects
    return tuple(
        ObjectEdit(
            KINDS[int(rng.integers(len(KINDS)))],
            area=_log_uniform(rng, settings.object_area),
            distance=float(rng.uniform(*settings.object_distance)),
        )
        for _ in range(int(rng.integers(low, high + 1)))
    )


def _log_uniform(rng: Generator, ends: Range) -> float:
    """A random sample, log-uniform between the two ends; 0 if the upper end is 0."""
    return float(np.exp(rng.uniform(*np.log(ends)))) if ends[1] > 0 else 0.0


def _tone(rng: Generator, settings: SimulatorSettings) -> Tone:
    strength = rng.uniform(*settings.tone)  # some generators keep the light, others do not
    return Tone(
        exposure_ev=float(strength * np.clip(rng.normal(0, settings.exposure_ev), -1.2, 1.2)),
        contrast=float(1 + strength * (rng.uniform(*settings.contrast) - 1)),
        saturation=float(1 + strength * (rng.uniform(*settings.saturation) - 1)),
        warmth_ev=float(strength * rng.normal(0, settings.warmth_ev)),
        colour=float(strength * settings.colour),
        uneven_ev=float(strength * rng.uniform(0, settings.uneven_ev)),
        night=float(rng.uniform(0.4, 1.0)) if rng.random() < settings.night else 0.0,
    )


EXAMPLE_SEED = 10  # a prior that zooms in by 14 %, as generators do
EXAMPLE_SEVERITY = 0.7


@dataclass(frozen=True, slots=True)
class Example:
    """A clean picture (400, 600, 3), a darkened copy as the photo, and a simulated prior."""

    clean: Image
    photo: Image
    prior: Image


def example() -> Example:
    """Make the example of scikit-image's coffee.png (CC0, Rachel Michetti, Pikolo Espresso Bar)."""
    from skimage import data

    clean = images.from_uint8(data.coffee())
    photo = degrade.apply(clean, degrade.Degradation("lowlight", EXAMPLE_SEVERITY, EXAMPLE_SEED))
    return Example(clean, photo, simulate(clean, seed=EXAMPLE_SEED).prior)
