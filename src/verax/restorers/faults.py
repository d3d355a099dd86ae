"""The faults of a photo, diagnosed once and used by every later step.

The tone and rain networks detect haze, darkness and rain; noise, JPEG blocks and missing colour are
measured directly. A classifier (judge.onnx) detects snow, drops, blur and water from these results
and the photo, and can reject haze. A large photo is judged by a thumbnail and a few parts."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import cv2
import numpy as np

from verax.errors import choose
from verax.image import Image, Plane, check_image
from verax.image.pixels import ramp
from verax.restorers import runtime
from verax.restorers.classical import DOUBTED, nowhere_black, with_dark_channel
from verax.restorers.measures import Measures, anisotropy, extremes, measure, texture

# what hides the scene most comes first
KINDS = (
    "lowlight", "rain", "snow", "raindrop", "underwater", "haze", "motion_blur", "noise",
    "defocus_blur", "jpeg", "grey",
)  # fmt: skip
TASKS = {
    "haze": "dehaze", "lowlight": "lowlight", "rain": "derain", "snow": "desnow",
    "raindrop": "raindrop", "noise": "denoise", "defocus_blur": "defocus_deblur",
    "motion_blur": "motion_deblur", "jpeg": "jpeg", "underwater": "underwater",
    "grey": "old_photo",
}  # fmt: skip
MENDS = {task: kind for kind, task in TASKS.items() if "deblur" not in task and kind != "grey"}
SURE = 0.5  # least certainty at which a fault is named
Ramp = tuple[float, float]
# A pair of values is a ramp: certainty 0 at the first, 1 at the second; at most one in a hundred
# undegraded photos gets a fault (docs/log.md). "Veil" is haze, fog or smoke.
HAZY = (0.65, 0.75)  # severity at which haze is certain without other signs
FAINTEST = 0.25  # least severity at which a thin veil is looked for
# A thin veil, by logistic regression on: the severity; how far network and dark channel prior
# disagree (log); the chroma of the darkest places, which a veil makes grey; what dehazing would
# clip; the median. Fitted on two crops of 520 photos, some with simulated haze (docs/log.md).
VEIL = (-4.636, 1.628, -1.906, -7.814, -8.950, 2.145)
THIN, SNOWY = (0.65, 1.05), (1.15, 1.55)  # log-odds of that regression; the same under snow
NEARBY = 15  # window of the local minimum, px of the thumbnail
DEEP, SHOWN = (2.7, 3.2), (0.020, 0.035)  # local contrast: 90th percentile over 10th; 90th
LIFTED = (0.06, 0.10)  # darkest percentile, which a veil lifts
PLAIN = (0.002, 0.004)  # local contrast; a veil over a smooth picture hides nothing
# log-odds of the classifier (benchmarks/fit_judge.py)
ODDS = {
    "haze": (0.25, 1.25), "snow": (-1.4, -0.2), "raindrop": (0.0, 0.9), "motion_blur": (-0.9, 0.3),
    "defocus_blur": (-1.5, -0.5), "underwater": (1.1, 1.7),
}  # fmt: skip
WEIGHT, USUAL = 4.0, 0.7  # of the severity of haze above the usual one, added to its log-odds
NOT_WATER = (-3.3, -2.6)  # log-odds of a cast that is not water's
SOME = 0.2  # least severity of a fault that the classifier is certain of
CLOSE, NARROW = 112, 32  # px: side of the parts it sees, least side of the thumbnail
NEAR = (runtime.CENTRE, (0.15, 0.2), (0.15, 0.8), (0.85, 0.2), (0.85, 0.8))  # where they are
# darkness; percentiles are of the largest channel
DARK = (0.52, 0.66)  # severity; most dim photos are meant to be dim
LIT = (0.74, 0.85)  # 99th percentile of a photo exposed for its lights
DARKEST = (0.67, 0.73)  # severity at which such a photo is dark nevertheless
ALONE = (5.0, 9.0)  # 99th over 95th percentile: 16 for a moon in a black sky, at most 4 in rooms
BRIGHTEST = (0.27, 0.24)  # 99th percentile of a photo without any light
DIM, LIGHTS = (0.075, 0.055), (0.58, 0.48)  # median luma, 95th percentile: nearly all is dark
HARDLY = (0.03, 0.10)  # severity without which the subject is dark, not the photo
AGREED, DIMMER, DULLER = (0.28, 0.40), (0.13, 0.10), (0.85, 0.74)  # severity, median, 95th: all dim
NIGHT = (0.015, 0.025)  # median luma below which lights in the dark mean night
LIGHTLESS = (0.445, 0.40)  # 95th percentile of a photo with neither light nor a bright median
# a dark photo whose black was lifted on purpose, as films are graded: 1st percentile; the same over
# the median luma, and over the 0.1th percentile; 95th over 1st, as a flat scene has no black
FADED, DIMMED, FLAT, BOLD = (0.025, 0.035), (0.34, 0.44), (1.25, 1.15), (4.0, 5.5)
BLACK = 0.003  # median luma below which the scene is black
DRY = -4.0  # rain: log-odds below which the rain network is not run: 49 in 50 photos without rain
SUSPECT = 0.12  # severity at the centre from which other places are checked
PLACES = ((0.1, 0.1), (0.9, 0.9), (0.1, 0.9), (0.9, 0.1))  # rain is everywhere, texture is local
WET = (0.20, 0.28)  # least severity of all places
BRIGHTENS = (0.97, 0.985)  # share of the layer to remove that is brighter than the rest
ALIGNED = (7.6, 9.0)  # anisotropy of that layer: fur and fleece up to 8.3, streaks from 8.6
WHITE = (0.995, 0.98)  # median luma: streaks are invisible on white
NOISY = (1.5, 4.0)  # noise, levels of 255
GRAINY = (0.15, 0.30)  # noise at half size, levels of 255, in photos with JPEG blocks
BLURRED = (0.8, 8.0)  # px of blur at severities 0 and 1
STEPS, ON_GRID = (0.45, 0.75), (2.5, 3.5)  # JPEG steps: levels, and standard deviations
# water
RED = (0.75, 0.70)  # red over the larger of green and blue
GREEN, YELLOW = (-14.0, -17.0), (24.0, 20.0)  # cast: a*, b*; leaves are yellower than water
WATERY, SURELY = (0.12, 0.16), (0.40, 0.48)  # severity: with a cast unlike that of leaves; with any
BLUE = (0.50, 0.40)  # red, for water without a green cast
CRUSHED = (1.8, 1.4)  # JPEG steps, levels, at which compression has removed the noise
GREY = 0.01  # largest colour of a black-and-white photo


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its `kind`, such as "haze", how severe and how certain it is, both in [0, 1]."""

    kind: str
    severity: float
    certainty: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults of a photo.

    Attributes:
        entries: one Fault for each kind, present or not; first the kinds that hide the scene most.
        measures: measurements of noise, blur, JPEG blocks and colour.
        transform: (6, h, w) the tone network's colour transform, for `runtime.apply_transform`.
        named: the kind that the user named, "" if none."""

    entries: tuple[Fault, ...]
    measures: Measures
    transform: runtime.Floats = field(repr=False, compare=False)
    named: str = ""

    def __getitem__(self, kind: str) -> Fault:
        return choose({fault.kind: fault for fault in self.entries}, kind, kind="fault")

    def __iter__(self) -> Iterator[Fault]:
        """The faults with a certainty of at least 0.5, first those that hide the scene most."""
        return (fault for fault in self.entries if fault.certainty >= SURE)

    def believing(self, task: str) -> "Faults":
        """The same faults, but with certainty 1 for the one that the user's `task` removes."""
        kind = MENDS.get(task, "")
        entries = tuple(replace(f, certainty=1.0) if f.kind == kind else f for f in self.entries)
        return replace(self, entries=entries, named=kind)

    def words(self) -> str:
        """One line for people, such as "haze 0.40 (certainty 0.90)", or "no fault"."""
        named = [f"{f.kind} {f.severity:.2f} (certainty {f.certainty:.2f})" for f in self]
        return ", ".join(named) or "no fault"

    def record(self) -> dict[str, Any]:
        """A JSON object: severity and certainty of each kind, and the measurements."""
        kinds = {
            f.kind: {"severity": round(f.severity, 3), "certainty": round(f.certainty, 3)}
            for f in self.entries
        }
        return {"kinds": kinds, "measures": self.measures.record()}


def diagnose(photo: Image) -> Faults:
    """Diagnose a photo (H, W, 3) for every kind of fault."""
    check_image(photo, name="photo")
    tone, measures = runtime.embedded_network("tone"), measure(photo)
    small = runtime.thumbnail(photo, tone.multiple)
    transform, estimated, features = runtime.look(small, tone)
    severity = dict(zip(tone.tasks, map(float, estimated), strict=True))
    odds: dict[str, float] = {}
    if features.size:
        judge, answers = runtime.embedded_network("judge"), np.concatenate([features, estimated])
        outputs = judge(**clues(photo, small, answers, measures))[0][0]
        odds = dict(zip(judge.tasks, map(float, outputs), strict=True))
    votes = {kind: ramp(odds.get(kind, -inf), *limits) for kind, limits in ODDS.items()}
    vote = ramp(odds.get("haze", inf) + WEIGHT * (severity["haze"] - USUAL), *ODDS["haze"])
    grey = float(measures.colour < GREY)
    blocky = ramp(measures.blocking, *STEPS)
    room = (1 - grey) * (1 - blocky) * nowhere_black(photo, small, severity["haze"])
    # noise shows in fine detail or, where JPEG removed that, at half size
    coarse = blocky * ramp(measures.blocking, *CRUSHED) * ramp(measures.grain, *GRAINY)
    limits = SNOWY if votes["snow"] else THIN
    veil = (1 - grey) * _haze(small, transform, severity["haze"], limits)  # its signs are colours
    severity["motion_blur"] = severity["defocus_blur"] = ramp(measures.blur, *BLURRED)
    severities = {
        **{kind: (max(severity[kind], SOME * sure), sure) for kind, sure in votes.items()},
        "haze": (severity["haze"], max(room, min(veil, max(vote, votes["snow"])))),
        "lowlight": _dark(severity["lowlight"], measures),
        "rain": _rain(photo, measures.light) if odds.get("rain", inf) > DRY else (0.0, 0.0),
        "noise": (min(measures.sigma / 50, 1.0), max(ramp(measures.sigma, *NOISY), coarse)),
        "jpeg": (ramp(measures.blocking, 0.3, 3.3), blocky * ramp(measures.on_grid, *ON_GRID)),
        "underwater": _water(severity["underwater"], odds.get("underwater", -inf), measures),
        "grey": (grey, grey),
    }
    entries = tuple(Fault(kind, *map(float, severities[kind])) for kind in KINDS)
    return Faults(entries=entries, measures=measures, transform=transform)


def clues(
    photo: Image, small: Image, answers: runtime.Floats, measures: Measures
) -> dict[str, runtime.Floats]:
    """The inputs of the classifier of faults, name -> array. "facts" (1, n): statistics of the
    texture of five parts of the photo and of `small`, its thumbnail; `answers` (m,), which are the
    tone network's features and severities; and `measures`. "parts" (5, 3, h, w): the five parts.
    "whole" (1, 3, h, w): the thumbnail at half its size."""
    size = [max(side // 2, NARROW) for side in small.shape[1::-1]]
    far = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    parts = [runtime.part_at(photo, CLOSE, place) for place in NEAR]
    close = np.stack([texture(part) for part in parts])
    textures = (close.mean(0), close.max(0), close.min(0), texture(far))
    return {
        "facts": np.concatenate([*textures, answers, measures.facts()])[None],
        "parts": np.concatenate([runtime.pad(runtime.planes(one), CLOSE) for one in parts]),
        "whole": runtime.planes(far)[None],
    }


def estimate(photo: Image, faults: Faults | None = None) -> str:
    """The task (prompt catalog) for the certain fault that hides the scene most, or "restore" if
    there is none. `faults`: what `diagnose` found; None: it is called."""
    suffers = faults or diagnose(photo)
    return next((TASKS[fault.kind] for fault in suffers), "restore")


def _haze(small: Image, transform: runtime.Floats, severity: float, limits: Ramp) -> float:
    """The certainty, in [0, 1], of haze, which lifts the darkest places of the thumbnail `small`
    and hides structure. `transform` (colours, (6, h, w)), `severity` (of haze): from the tone
    network. `limits`: log-odds of thin haze, by a regression, where it is 0 and 1."""
    if severity < FAINTEST:
        return 0.0
    darkest = float(np.percentile(cv2.resize(small, (96, 96)).min(2), 1))
    light = small.mean(2)
    local = np.abs(light - cv2.GaussianBlur(light, (0, 0), 4.0))
    there = ramp(darkest, *LIFTED) * ramp(float(np.percentile(local, 90)), *PLAIN)
    return there * max(ramp(severity, *HAZY), _thin(small, transform, severity, limits))


def _thin(small: Image, transform: runtime.Floats, severity: float, limits: Ramp) -> float:
    """The certainty, in [0, 1], of thin haze: 0 and 1 at the log-odds `limits` of a regression.
    Contrast must vary, as with depth. `transform`, `severity` (of haze): from the tone network."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 2.0)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 6.0))
    low, high = (float(v) for v in np.percentile(contrast, (10, 90)))
    clear = runtime.apply_transform(small, with_dark_channel(transform, small, DOUBTED))
    apart = runtime.apply_transform(small, transform) - clear
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
    return ramp(odds, *limits) * ramp(high, *SHOWN) * ramp(high / max(low, 1e-3), *DEEP)


def _dark(severity: float, measures: Measures) -> tuple[float, float]:
    """Severity and certainty of darkness, in [0, 1]. `severity`: the estimate of the tone network.
    Signs: a high estimate; no light anywhere; dark nearly everywhere; or a little of all three. But
    a photo exposed for its lights, a few bright things on black, or a photo whose black was lifted
    on purpose is not dark."""
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
    meant = max(ramp(brightest / max(bright, 0.01), *ALONE), _faded_certainty(measures))
    return max(severity, 0.8 * plain), max(unlit, ramp(severity, *DARKEST)) * (1 - meant)


def _faded_certainty(measures: Measures) -> float:
    """The certainty, in [0, 1], that the black of a photo was lifted to grey on purpose."""
    black, dark = (max(shadow, 1e-3) for shadow in measures.shadows)
    lifted = ramp(dark, *FADED) * ramp(dark / max(measures.light, 1e-3), *DIMMED)
    return lifted * ramp(dark / black, *FLAT) * ramp(measures.lights[0] / dark, *BOLD)


def _rain(photo: Image, light: float) -> tuple[float, float]:
    """Severity and certainty of rain, in [0, 1]. It must show as streaks at the centre and near all
    four corners. On white they cannot be seen; `light` is the photo's median luma, in [0, 1]."""
    centre, change = runtime.look_at(photo, "rain")
    severity = centre["rain"]
    if severity < SUSPECT:
        return severity, 0.0
    corners = (runtime.look_at(photo, "rain", place)[0]["rain"] for place in PLACES)
    severity = min(severity, *corners)
    return severity, ramp(severity, *WET) * ramp(light, *WHITE) * _streaks(-change.mean(2))


def _streaks(layer: Plane) -> float:
    """The certainty, in [0, 1], that light to remove, (H, W), is rain: positive, along lines."""
    positive = float(layer.sum()) / max(float(np.abs(layer).sum()), 1e-6)
    return ramp(positive, *BRIGHTENS) * ramp(anisotropy(layer), *ALIGNED)


def green_cast(measures: Measures) -> float:
    """The certainty, in [0, 1], of the green cast of water, which the networks remove."""
    return ramp(measures.cast[0], *GREEN)


def _water(severity: float, odds: float, measures: Measures) -> tuple[float, float]:
    """Severity and certainty of the cast of water, in [0, 1]: under water, red is missing but green
    is not, while a blue sky lacks both; and colours are less yellow than leaves. `severity`: the
    tone network's. `odds`: log-odds by the classifier, minus infinity if it was not run."""
    cast = green_cast(measures) * ramp(measures.red, *RED)
    watery = max(ramp(measures.cast[1], *YELLOW) * ramp(severity, *WATERY), ramp(severity, *SURELY))
    plain = max(cast * watery, ramp(severity, *SURELY) * ramp(measures.red, *BLUE))
    learnt = ramp(odds, *ODDS["underwater"]) * ramp(measures.cast[1], *YELLOW)
    plain *= ramp(odds, *NOT_WATER) if odds > -inf else 1.0
    return max(severity, learnt * WATERY[1]), max(plain, learnt)
