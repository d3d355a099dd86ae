"""What a photo suffers from: one look, one record, read by everything that follows.

Haze, darkness, rain, snow and water are what the embedded networks see; noise, blur, blocks and
missing colour are plain measurements. The photo is looked at as a thumbnail, at its centre and in
a few tiles, so that a large photo costs hardly more than a small one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from verax.errors import choose
from verax.image import Image, check_image
from verax.restorers import runtime
from verax.restorers.measures import Measures, measure, ramp

KINDS = (
    "haze", "lowlight", "rain", "snow", "noise", "defocus_blur", "motion_blur", "jpeg",
    "underwater", "grey",
)  # fmt: skip
SURE = 0.5  # how sure a fault must be to be named

# measured value at which a fault is not sure at all, and quite sure
HAZY = (0.17, 0.30)  # severity; a thin veil hardly ever is meant to be there
LIFTED = (0.06, 0.10)  # darkest percentile
THICK = (0.30, 0.45)  # severity from which haze is believed whatever is dark
DARK = (0.40, 0.60)  # severity; a dim photo is mostly meant to be dim
WET, SNOWY = (0.12, 0.22), (0.30, 0.60)  # severities at the centre
NOISY = (2.0, 8.0)  # levels
SOFT = (1.6, 2.8)  # px of blur
BLURRED = (0.8, 8.0)  # px of blur at severities 0 and 1
MOVED = 1.8  # anisotropy
STEPS, ON_GRID = (0.4, 1.0), (2.5, 3.5)  # levels, deviations
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
        found: one Fault per kind of KINDS, in that order.
        measures: the plain measurements behind them: noise in levels of 255, blur in px, ...
        transform: the tone network's colour transform (6, h, w), which the look has cost already.
    """

    found: tuple[Fault, ...]
    measures: Measures
    transform: runtime.Floats = field(repr=False, compare=False)

    def __getitem__(self, kind: str) -> Fault:
        return choose({fault.kind: fault for fault in self.found}, kind, kind="fault")

    def __iter__(self) -> Iterator[Fault]:
        """The faults that are sure, the surest first, of equally sure ones the worst."""
        named = [fault for fault in self.found if fault.sure >= SURE]
        return iter(sorted(named, key=lambda f: (f.sure, f.severity), reverse=True))

    def words(self) -> str:
        """One line for people: "haze 0.4 (sure 0.9), noise 0.1 (sure 0.7)", or "no fault"."""
        named = [f"{f.kind} {f.severity:.2f} (sure {f.sure:.2f})" for f in self]
        return ", ".join(named) or "no fault"

    def record(self) -> dict[str, Any]:
        """As JSON: severity and sure per kind, and the measurements."""
        kinds = {
            f.kind: {"severity": round(f.severity, 3), "sure": round(f.sure, 3)} for f in self.found
        }
        return {"kinds": kinds, "measures": self.measures.record()}


def diagnose(photo: Image) -> Faults:
    """Look at a photo (H, W, 3), once, for everything that may be wrong with it."""
    check_image(photo, name="photo")
    tone = runtime.embedded("tone")
    small = runtime.thumbnail(photo, tone.multiple)
    transform, estimated = runtime.look(small, tone)
    whole = dict(zip(tone.tasks, map(float, estimated), strict=True))
    near = runtime.at_centre(photo, "rain")
    measures = measure(photo)
    severities = {
        "haze": (whole["haze"], _haze(whole["haze"], small)),
        "lowlight": (whole["lowlight"], ramp(whole["lowlight"], *DARK)),
        "rain": (near["rain"], ramp(near["rain"], *WET)),
        "snow": (near["snow"], ramp(near["snow"], *SNOWY)),
        "noise": (min(measures.sigma / 50, 1.0), ramp(measures.sigma, *NOISY)),
        **_blur(measures),
        "jpeg": (ramp(measures.blocking, 0.3, 3.3), _blocks(measures)),
        "underwater": (whole["underwater"], _water(whole["underwater"], measures)),
        "grey": (1.0, 1.0) if measures.colour < GREY else (0.0, 0.0),
    }
    found = tuple(Fault(kind, *map(float, severities[kind])) for kind in KINDS)
    return Faults(found=found, measures=measures, transform=transform)


def _haze(severity: float, small: Image) -> float:
    """How sure a veil is: it lifts the darkest places; where they are dark, no veil is thin."""
    darkest = float(np.percentile(cv2.resize(small, (96, 96)).min(2), 1))
    lifted = max(ramp(darkest, *LIFTED), ramp(severity, *THICK))
    return ramp(severity, *HAZY) * lifted


def _blur(measures: Measures) -> dict[str, tuple[float, float]]:
    """Defocus is round, motion is not: one of them is named."""
    severity = ramp(measures.blur, *BLURRED)
    sure, moved = ramp(measures.blur, *SOFT), measures.anisotropy > MOVED
    return {
        "defocus_blur": (0.0, 0.0) if moved else (severity, sure),
        "motion_blur": (severity, sure) if moved else (0.0, 0.0),
    }


def _blocks(measures: Measures) -> float:
    return ramp(measures.blocking, *STEPS) * ramp(measures.on_grid, *ON_GRID)


def _water(severity: float, measures: Measures) -> float:
    """Water takes red from all that is seen, a blue sky leaves it to the clouds."""
    blue = ramp(measures.red, 0.80, 0.65) * ramp(measures.red_lights, 0.95, 0.75)
    return max(blue, ramp(severity, 0.20, 0.30))
