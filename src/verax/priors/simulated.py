"""Simulate priors: change a clean photo in the way in which image generators change photos.

No generator is involved. Simulated priors are made from the clean photo, which a generator does not
see, so results obtained with them are an upper bound. The ranges of the changes follow measurements
of real generated pictures. Some are shifted, scaled and bent as much as those of GPT-Image (shifts
of 1-7 %, scale 0.86-1.14 per axis, objects moved by 0.4-2.5 %), others by well below 1 %, like
those of Nano Banana Pro.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from verax import degrade
from verax import image as images
from verax.geometry.canvas import centre_matrix
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
    """How random deviations of a prior are distributed. A range is (lowest, highest).

    Attributes:
        sizes: (width, height) that the generator offers; the one with proportions closest to the
            photo's is used. Empty: the photo's size rounded to multiples of 16; None: the photo's.
        canvases: ways of bringing the photo to this size ("stretch", "crop", "outpaint",
            "letterbox"), each with its probability.
        mild: probability that shift, scale, rotation, perspective, local displacement and texture
            are drawn from fixed, smaller ranges (geometry: below 1 %) instead of those here. What
            is 0 here (for scale: 1) stays so.
        shift: standard deviation and largest value of the shift, as shares of width and height.
        scale: range of the scale of each axis.
        rotation_deg: largest rotation in either direction, in degrees.
        perspective: largest displacement of the corners, as a share of width and height.
        local: range of the median local displacement, as a share of the width.
        objects: range of the number of changed objects.
        object_area, object_distance: ranges of an object's area, as a share of the photo's area,
            and of its shift, as a share of the photo's width.
        texture: range of the share of fine detail that is replaced by invented detail.
        texture_px: range of the sigma of the Gaussian blur that separates fine detail, in photo px.
        sharpening: range of the strength of an unsharp mask.
        tone: range of a factor on the following changes of light and colour, except night.
        exposure_ev, warmth_ev: standard deviations of the exposure and of red against blue, stops.
        contrast, saturation: ranges of the tone curve's slope and of the factor on colours.
        colour: standard deviation of random entries added to an identity colour matrix.
        uneven_ev: largest standard deviation of differences in brightness over the photo, stops.
        night: probability of a change from day to night.
        residual: largest mean weight of the degraded photo in the prior; 0 in half of the priors.
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

    The changes are drawn at random from `settings`. `degraded` is the degraded version of the
    photo, of the same size, which may be blended in with a small weight; None: it is not.
    """
    rng = np.random.default_rng([seed, 0])
    height, width = clean.shape[:2]
    deviations = draw(rng, (width, height), settings)
    return inject(clean, deviations, seed=seed, degraded=degraded)


def draw(
    rng: Generator, photo: tuple[int, int], settings: SimulatorSettings = SimulatorSettings()
) -> Deviations:
    """Draw random deviations for the prior of a photo from the distribution in `settings`.

    `photo` is the photo's (width, height).
    """
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
    """Simulate a prior that shows another scene than the photo does.

    The prior is `other`, a clean photo of another scene, slightly changed and in its own size.
    `size` is the photo's (width, height). The result's matrix only scales the prior to this size.
    """
    changed = simulate(other, seed=seed, settings=replace(ON_GRID, objects=(0, 0)))
    height, width = changed.prior.shape[:2]
    matrix = centre_matrix(size, (width, height), "stretch")
    return replace(changed, matrix=matrix, field=None, objects=(), kind="foreign")


@dataclass(frozen=True, slots=True)
class Shares:
    """Probabilities of unhelpful priors in training: the prior shows another scene (`foreign`), is
    missing (`none`), or is the degraded photo itself (`photo`)."""

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
    """The prior of a training sample, or None for a sample without a prior.

    With the probabilities in `shares`, the prior shows another scene (made from the clean photo
    `other`), is missing, or is the degraded photo, `degraded`. Otherwise it is simulated from the
    photo `clean`, with changes drawn from `settings`. The same `seed` gives the same prior.
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
    """The settings with small ranges of shift, scale, rotation, perspective, local displacement
    and texture; what is switched off in `settings` (0, for scale 1) stays so."""
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
    """A random value, log-uniformly distributed between the two ends; 0 if the upper end is 0."""
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
    """A clean picture (400, 600, 3), a dark, noisy copy as the photo, and a simulated prior."""

    clean: Image
    photo: Image
    prior: Image


def example() -> Example:
    """An example photo and prior, from scikit-image's coffee.png (CC0, Rachel Michetti)."""
    from skimage import data

    clean = images.from_uint8(data.coffee())
    photo = degrade.apply(clean, degrade.Degradation("lowlight", EXAMPLE_SEVERITY, EXAMPLE_SEED))
    return Example(clean, photo, simulate(clean, seed=EXAMPLE_SEED).prior)
