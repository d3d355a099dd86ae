"""What a photo suffers from: one look, one record, read by everything that follows.

Haze, darkness, rain, snow and water are what the embedded networks see; noise, blur, blocks and
missing colour are plain measurements. The photo is looked at as a thumbnail, at its centre and in
a few tiles, so that a large photo costs hardly more than a small one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import cv2
import numpy as np

from verax.errors import choose
from verax.image import Image, Plane, check_image
from verax.restorers import DOUBTED, runtime, with_dark_channel
from verax.restorers.measures import Measures, anisotropy, extremes, measure, ramp

# what hides a scene most comes first
KINDS = (
    "lowlight", "rain", "snow", "underwater", "haze", "noise", "motion_blur", "defocus_blur",
    "jpeg", "grey",
)  # fmt: skip
MENDS = {
    "dehaze": "haze", "lowlight": "lowlight", "derain": "rain", "desnow": "snow",
    "denoise": "noise", "jpeg": "jpeg", "underwater": "underwater",
}  # fmt: skip
TASKS = {
    "haze": "dehaze", "lowlight": "lowlight", "rain": "derain", "snow": "desnow",
    "noise": "denoise", "defocus_blur": "defocus_deblur", "motion_blur": "motion_deblur",
    "jpeg": "jpeg", "underwater": "underwater", "grey": "old_photo",
}  # fmt: skip
SURE = 0.5  # how sure a fault must be to be named

# Measured value at which a fault is not sure at all, and quite sure. Set so that of photos without
# degradation at most one in a hundred is accused (docs/log.md): what is left alone does no harm.
HAZY = (0.65, 0.75)  # severity from which haze is sure, whatever else
FAINTEST = 0.25  # severity below which no veil is looked for
# A thinner veil is judged by log-odds: of severity, of how far network and dark channel prior
# disagree (log), of the colour of the darkest places, which a veil makes grey, of what dehazing
# would clip, of the median. Fitted on 350 photos, two crops of each, 170 truths of pairs, and as
# many under simulated haze; kept apart by halves (docs/log.md).
VEIL = (-4.636, 1.628, -1.906, -7.814, -8.950, 2.145)
THIN = (1.15, 1.55)  # these log-odds
NEARBY = 15  # px of the thumbnail in which the darkest place is looked for
VEIL_ODDS = (0.6, 1.8)  # learnt log-odds of haze, without which no other sign of it counts
DEEP, SHOWN = (2.7, 3.2), (0.020, 0.035)  # contrast: its 90th percentile over its 10th, and itself
LIFTED = (0.06, 0.10)  # darkest percentile: a veil lifts it
PLAIN = (0.002, 0.004)  # local contrast: a smooth picture shows nothing that a veil hides
DARK = (0.52, 0.66)  # severity; a dim photo is mostly meant to be dim
LIT = (0.74, 0.85)  # 99th percentile of a photo that was exposed for its lights
DARKEST = (0.67, 0.73)  # severity from which such a photo is dark all the same
ALONE = (5.0, 9.0)  # 99th over 95th percentile: a moon in a black sky 16, dark rooms 4 at most
BRIGHTEST = (0.27, 0.24)  # 99th percentile of the largest channel: no light anywhere
DIM, LIGHTS = (0.075, 0.055), (0.58, 0.48)  # median luma and 95th percentile: nearly all is dark
HARDLY = (0.03, 0.10)  # severity without which a photo is dark by its subject
AGREED, DIMMER, DULLER = (0.28, 0.40), (0.13, 0.10), (0.85, 0.74)  # the three together
NIGHT = (0.015, 0.025)  # median below which lights in the dark are a night
LIGHTLESS = (0.445, 0.40)  # 95th percentile that stands for median and lights at once
BLACK = 0.003  # median below which the scene is black, not dark
SUSPECT = 0.15  # severity of rain at the centre from which it is looked for elsewhere
PLACES = ((0.1, 0.1), (0.9, 0.9), (0.1, 0.9), (0.9, 0.1))  # rain falls everywhere, texture is local
WET = (0.26, 0.33)  # least severity at the centre and there
BRIGHTENS = (0.985, 0.995)  # share of what the network would take away that is light
ALIGNED = (7.6, 9.0)  # anisotropy of that: fur and fleece 8.3 at most, streaks 8.6 and more
WHITE = (0.995, 0.98)  # median of luma: no light can fall before white
SNOWY = (0.30, 0.50)  # severity
NOISY = (1.5, 4.0)  # levels
GRAINY = (0.15, 0.30)  # levels at half size where there are blocks, too
SOFT = (1.6, 2.8)  # px of blur
BLURRED = (0.8, 8.0)  # px of blur at severities 0 and 1
MOVED = 1.8  # anisotropy
STEPS, ON_GRID = (0.45, 0.75), (2.5, 3.5)  # levels, deviations
RED = (0.75, 0.70)  # share
GREEN, YELLOW = (-14.0, -17.0), (24.0, 20.0)  # cast; leaves are yellower than water
WATERY, SURELY = (0.12, 0.16), (0.40, 0.48)  # severity: with a cast that leaves have not; with any
BLUE = (0.50, 0.40)  # red that is missing without a green cast
WET_ODDS = (1.0, 3.0)  # learnt log-odds of water: of 150 photos kept aside one has 1.5
CRUSHED = (1.8, 1.4)  # levels of blocking from which no grain is left
GREY = 0.01  # colour below which a photo is black and white


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a photo is bad: how bad and how sure that is, both in [0, 1]."""

    kind: str
    severity: float
    sure: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a photo suffers from.

    Attributes:
        entries: one Fault per kind of KINDS, in that order.
        measures: the plain measurements behind them: noise in levels of 255, blur in px, ...
        transform: the tone network's colour transform (6, h, w), which the look has cost already.
        named: the kind that somebody named, who knows better; "" where nobody did.
    """

    entries: tuple[Fault, ...]
    measures: Measures
    transform: runtime.Floats = field(repr=False, compare=False)
    named: str = ""

    def __getitem__(self, kind: str) -> Fault:
        return choose({fault.kind: fault for fault in self.entries}, kind, kind="fault")

    def __iter__(self) -> Iterator[Fault]:
        """The faults that are sure, in the order of KINDS."""
        return (fault for fault in self.entries if fault.sure >= SURE)

    def believing(self, task: str) -> "Faults":
        """The same with the fault that a task mends quite sure: somebody knows better."""
        kind = MENDS.get(task, "")
        entries = tuple(replace(f, sure=1.0) if f.kind == kind else f for f in self.entries)
        return replace(self, entries=entries, named=kind)

    def words(self) -> str:
        """One line for people: "haze 0.4 (sure 0.9), noise 0.1 (sure 0.7)", or "no fault"."""
        named = [f"{f.kind} {f.severity:.2f} (sure {f.sure:.2f})" for f in self]
        return ", ".join(named) or "no fault"

    def record(self) -> dict[str, Any]:
        """As JSON: severity and sure per kind, and the measurements."""
        kinds = {
            f.kind: {"severity": round(f.severity, 3), "sure": round(f.sure, 3)}
            for f in self.entries
        }
        return {"kinds": kinds, "measures": self.measures.record()}


def diagnose(photo: Image) -> Faults:
    """Look at a photo (H, W, 3), once, for everything that may be wrong with it."""
    check_image(photo, name="photo")
    tone = runtime.embedded("tone")
    small = runtime.thumbnail(photo, tone.multiple)
    transform, estimated, odds = runtime.look(small, tone)
    severity = dict(zip(tone.tasks, map(float, estimated), strict=True))
    measures, veil = measure(photo), ramp(odds.get("haze", inf), *VEIL_ODDS)
    noisy, blocks = _noise(measures), _blocks(measures)
    severities = {
        "haze": (severity["haze"], _haze(small, transform, severity["haze"]) * veil),
        "lowlight": _dark(severity["lowlight"], measures),
        "rain": _rain(photo, measures.light),
        "snow": (severity["snow"], ramp(severity["snow"], *SNOWY)),
        "noise": (min(measures.sigma / 50, 1.0), noisy),
        **_blur(measures, 1 - max(noisy, blocks)),
        "jpeg": (ramp(measures.blocking, 0.3, 3.3), blocks),
        "underwater": _water(severity["underwater"], odds.get("underwater", -inf), measures),
        "grey": (1.0, 1.0) if measures.colour < GREY else (0.0, 0.0),
    }
    entries = tuple(Fault(kind, *map(float, severities[kind])) for kind in KINDS)
    return Faults(entries=entries, measures=measures, transform=transform)


def estimate(photo: Image, faults: Faults | None = None) -> str:
    """The task of the prompt catalog that fits the photo best, by its first fault; "restore", whose
    prompt names no single fault, where none stands out. A guess, and named as one."""
    suffers = faults or diagnose(photo)
    return next((TASKS[fault.kind] for fault in suffers), "restore")


def _haze(small: Image, transform: runtime.Floats, severity: float) -> float:
    """How sure a veil is: it lifts the darkest places, and lies over something."""
    if severity < FAINTEST:
        return 0.0
    darkest = float(np.percentile(cv2.resize(small, (96, 96)).min(2), 1))
    light = small.mean(2)
    local = np.abs(light - cv2.GaussianBlur(light, (0, 0), 4.0))
    there = ramp(darkest, *LIFTED) * ramp(float(np.percentile(local, 90)), *PLAIN)
    return there * max(ramp(severity, *HAZY), _thin(small, transform, severity))


def _thin(small: Image, transform: runtime.Floats, severity: float) -> float:
    """How sure a thin veil is: it lies over a scene with depth, so that contrast varies."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 2.0)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 6.0))
    low, high = (float(v) for v in np.percentile(contrast, (10, 90)))
    own = runtime.toned(small, transform)
    clear = runtime.toned(small, with_dark_channel(transform, small, DOUBTED))
    apart = own - clear
    darkest = cv2.erode(small, np.ones((NEARBY, NEARBY), np.uint8))
    signs = (
        1.0,
        float(np.log((severity + 1e-3) / (1 - severity + 1e-3))),
        float(np.log(np.sqrt(np.mean(apart * apart)) + 3e-3)),
        float(np.mean(darkest.max(2) - darkest.min(2))),
        extremes(clear),
        float(np.median(small.mean(2))),
    )
    odds = sum(weight * sign for weight, sign in zip(VEIL, signs, strict=True))
    return ramp(odds, *THIN) * ramp(high, *SHOWN) * ramp(high / max(low, 1e-3), *DEEP)


def _dark(severity: float, measures: Measures) -> tuple[float, float]:
    """Dark is what the network calls so, what has no light anywhere, what is dark nearly
    everywhere, and what is dim in all three ways, though not black; not what was exposed for its
    lights, nor a few things on black."""
    bright, brightest = measures.lights
    if measures.light > BLACK:
        plain = ramp(measures.light, *DIM) * ramp(bright, *LIGHTS) * ramp(severity, *HARDLY)
        dim = ramp(measures.light, *DIMMER) * ramp(bright, *DULLER) * ramp(measures.light, *NIGHT)
        agreed = ramp(severity, *AGREED) * max(dim, ramp(bright, *LIGHTLESS))
    else:
        plain = agreed = 0.0
    plain = max(plain, ramp(brightest, *BRIGHTEST) * (brightest > BLACK))
    lit = ramp(brightest, *LIT)
    unlit = max(ramp(severity, *DARK), plain, agreed) * (1 - lit)
    alone = ramp(brightest / max(bright, 0.01), *ALONE)
    return max(severity, 0.8 * plain), max(unlit, ramp(severity, *DARKEST)) * (1 - alone)


def _rain(photo: Image, light: float) -> tuple[float, float]:
    """Rain is in the centre and, where that is suspicious, near the corners too; it falls in
    streaks before what is not white."""
    centre, change = runtime.look_at(photo, "rain")
    severity = centre["rain"]
    if severity < SUSPECT:
        return severity, 0.0
    corners = (runtime.look_at(photo, "rain", place)[0]["rain"] for place in PLACES)
    severity = min(severity, *corners)
    return severity, ramp(severity, *WET) * ramp(light, *WHITE) * _streaks(-change.mean(2))


def _streaks(layer: Plane) -> float:
    """How sure what would be taken away (H, W) is rain: it adds light only, and along lines."""
    positive = float(layer.sum()) / max(float(np.abs(layer).sum()), 1e-6)
    return ramp(positive, *BRIGHTENS) * ramp(anisotropy(layer), *ALIGNED)


def _noise(measures: Measures) -> float:
    """Noise is seen in fine detail, or, where JPEG has taken that, at half size."""
    left = ramp(measures.blocking, *STEPS) * ramp(measures.blocking, *CRUSHED)
    left *= ramp(measures.grain, *GRAINY)
    return max(ramp(measures.sigma, *NOISY), left)


def _blocks(measures: Measures) -> float:
    return ramp(measures.blocking, *STEPS) * ramp(measures.on_grid, *ON_GRID)


def _blur(measures: Measures, clear: float) -> dict[str, tuple[float, float]]:
    """Defocus is round, motion is not: one of them is named, where nothing else blurs."""
    severity = ramp(measures.blur, *BLURRED)
    sure, moved = clear * ramp(measures.blur, *SOFT), measures.anisotropy > MOVED
    return {
        "defocus_blur": (0.0, 0.0) if moved else (severity, sure),
        "motion_blur": (severity, sure) if moved else (0.0, 0.0),
    }


def green_cast(measures: Measures) -> float:
    """How sure a photo has the green cast of water, which the networks take away."""
    return ramp(measures.cast[0], *GREEN)


def _water(severity: float, odds: float, measures: Measures) -> tuple[float, float]:
    """Water takes red and leaves green; a blue sky is no greener than grey, leaves are yellow.
    What scenes are found in it is learnt (benchmarks/fit_judge.py)."""
    cast = green_cast(measures) * ramp(measures.red, *RED)
    watery = max(ramp(measures.cast[1], *YELLOW) * ramp(severity, *WATERY), ramp(severity, *SURELY))
    plain = max(cast * watery, ramp(severity, *SURELY) * ramp(measures.red, *BLUE))
    learnt = ramp(odds, *WET_ODDS)
    return max(severity, learnt * WATERY[1]), max(plain, learnt)
