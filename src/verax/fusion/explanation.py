"""What the pair says about the photo: which explanations are allowed for what the prior changed.

A photo alone tells poorly what is wrong with it. Together with a prior it tells well: what did the
generator brighten, colour, sharpen, take away? A change that no fault of the photo explains is the
generator's taste, and stays out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion import evidence
from verax.fusion.planes import Float, luma, ramp, reduced
from verax.image import Image, Plane
from verax.restorers.faults import Faults

WORK = 160  # px: long side at which light is compared
VEILED = (1.36, 1.56)  # contrast of the prior over the photo's: a veil was taken away
VIVID = (1.8, 2.6)  # its saturation over the photo's, where light moved as far as FAR says
FAR = (0.08, 0.15)
DARK = (0.40, 0.25)  # median luma of a photo that is dark, and surely
BRIGHTENED = (1.35, 1.75)  # median of the prior over it
COLOURLESS = (0.03, 0.012)  # spread of colour of a photo without, and surely
COLOURED = (0.03, 0.06)  # the prior's
CAST_NAME = "a colour cast"
CAST = (0.03, 0.07)  # how much farther from grey the photo's mean is than the prior's
SHIFTED = (0.05, 0.10)  # how far the mean colour moved
WHITER = (
    0.03,
    0.06,
)  # how much farther from grey the photo's brightest places are than the prior's
SUPPORT = {  # severities that a photo shows by itself, from which fidelity 1 believes a reason
    "haze": (0.28, 0.42), "lowlight": (0.20, 0.40), "underwater": (0.05, 0.15),
}  # fmt: skip
SHARPENED = (1.02, 1.12)  # contrast of an octave over that of coarse ones
BURIED = 0.75  # severity of rain from which the photo hardly shows its scene
RAINY = (0.50, 0.65)  # severity of rain whose streaks are taken for noise, partly and fully
FAITHFUL = (0.45, 0.60)  # share of the photo's structure that a prior confirms before its
# omissions mean anything: a prior that redraws the scene omits by accident
KEEPING = (0.30, 0.50)  # the same, before what it shows where the photo is silent means anything

# tasks of the prompt catalog that say what was wrong
LIGHT_TASKS = ("dehaze", "lowlight", "underwater", "colorize")
SHARP_TASKS = ("motion_deblur", "defocus_deblur", "super_resolution", "denoise", "jpeg")
FRONT_TASKS = ("derain", "desnow", "raindrop", "flare", "shadow", "reflection", "old_photo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is allowed to explain the prior's changes, each in [0, 1].

    Attributes:
        light: how far the photo's light is wrong; `reasons` says why, by name.
        colour: how far colour is missing.
        sharpness: per octave, the finest first: how far its contrast is wrong.
        blur: the same, as far as a blur explains it and not the light.
        front: how far something may have been in front of the scene.
        buried: most of the scene is hidden: the prior says what is behind, its light included.
        faithful: how far the prior keeps to the photo where both can be compared.
        task: the task that overruled, "" where the pair decided.
    """

    light: float
    colour: float
    sharpness: tuple[float, ...]
    blur: tuple[float, ...]
    front: float
    buried: bool
    faithful: float
    reasons: tuple[str, ...]
    task: str = ""

    @property
    def even(self) -> bool:
        """Is the light wrong everywhere alike? Then the prior's local light is taste."""
        return self.reasons == (CAST_NAME,)

    def record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "believed": self.words(),
            "light": round(self.light, 3),
            "colour": round(self.colour, 3),
            "sharpness": [round(share, 3) for share in self.sharpness],
            "front": round(self.front, 3),
            "task": self.task,
        }

    def words(self) -> str:
        """What is believed of the photo, for people."""
        parts = list(self.reasons)
        if max(self.sharpness) > 0.5 and self.light < 0.5 and not self.buried:
            parts.append("blur")
        if self.buried:
            parts.append("heavy rain")
        return ", ".join(parts) or "nothing"


def explain(
    photo: Image,
    prior: Image,
    valid: Plane,
    faults: Faults | None,
    octaves: Sequence[evidence.Octave],
    *,
    task: str = "",
    small: bool = False,
    changed: bool = False,
    alone: float = 0.0,
) -> Explanation:
    """The explanations that photo, registered prior (H, W, 3) and the photo's faults allow.

    `small`: the photo is known to hold less detail than its grid could.
    `changed`: the prior shows another state of the scene, which explains nothing of the photo.
    `alone`: how far the photo has to show by itself what is wrong with its light, in [0, 1].
    """
    reasons = _light(photo, prior, valid, faults)
    if faults:
        reasons = _supported(reasons, _severities(faults), alone)
    if changed:
        reasons = {}
    light = max(reasons.values(), default=0.0)
    if task in LIGHT_TASKS:
        light = 1.0
    elif task in SHARP_TASKS:
        light = 0.0
    named = tuple(name for name, share in reasons.items() if share >= 0.5)
    lit = max(reasons.get("darkness", 0.0), ramp(reasons.get("haze", 0.0), 0.6, 0.9))
    share = evidence.faithful(octaves)
    front = ramp(share, *FAITHFUL) * _not_spoilt(faults) * (1 - lit)
    if changed:
        front = 0.0
    if task not in ("", "restore"):
        front = float(task in FRONT_TASKS)
    blur = _blur(octaves, changed=changed, target=small or task in SHARP_TASKS)
    return Explanation(
        light=light,
        colour=reasons.get("missing colour", 0.0),
        sharpness=tuple(max(each, 0.0 if changed else light) for each in blur),
        blur=blur,
        front=front,
        buried=front > 0 and _buried(faults),
        faithful=ramp(share, *KEEPING),
        reasons=named if light >= 0.5 else (),
        task=task,
    )


def _light(photo: Image, prior: Image, valid: Plane, faults: Faults | None) -> dict[str, float]:
    """What is wrong with the photo's light, by name."""
    own, given, visible = (reduced(x, WORK) for x in (photo, prior, valid))
    inside = visible > 0.9
    if not inside.any():
        return {}
    grey, target = luma(own), luma(given)
    contrast = float(np.log(_contrast(target, inside) / _contrast(grey, inside)))
    before, after = (float(np.median(x[inside])) + 0.01 for x in (grey, target))
    brighter = float(np.log(after / before))
    tints = [(x[inside] - y[inside][:, None]).mean(0) for x, y in ((own, grey), (given, target))]
    whites = [float(np.abs(w - w.mean()).max()) for w in (_white(x[inside]) for x in (own, given))]
    farther = float(np.abs(tints[0]).max() - np.abs(tints[1]).max())
    plain, coloured = (_colour(x[inside]) for x in (own, given))
    seen_by_itself = _severities(faults)
    return {
        "haze": max(
            ramp(contrast, *np.log(VEILED)),
            _vivid(own[inside], given[inside]),
            ramp(seen_by_itself["haze"], 0.35, 0.60) * ramp(contrast, 0.0, 0.14),
        ),
        "darkness": max(
            ramp(brighter, *np.log(BRIGHTENED)) * ramp(before, *DARK),
            ramp(seen_by_itself["lowlight"], 0.3, 0.5) * ramp(brighter, 0.0, 0.2),
        ),
        CAST_NAME: max(
            ramp(float(np.abs(tints[0] - tints[1]).max()), *SHIFTED)
            * max(ramp(farther, *CAST), ramp(whites[0] - whites[1], *WHITER)),
            ramp(seen_by_itself["underwater"], 0.15, 0.30),
        ),
        "missing colour": ramp(plain, *COLOURLESS)
        * ramp(coloured / (plain + 0.01), 2.0, 4.0)
        * ramp(coloured, *COLOURED),
    }


def _supported(
    reasons: dict[str, float], severities: dict[str, float], alone: float
) -> dict[str, float]:
    """The reasons, less what the photo does not show by itself."""
    shown = {kind: ramp(severities[kind], *limits) for kind, limits in SUPPORT.items()}
    support = {
        "haze": max(shown.values()),  # dark and coloured photos lack contrast, too
        "darkness": shown["lowlight"],
        CAST_NAME: shown["underwater"],
        "missing colour": 1.0,  # a photo without colour shows that
    }
    return {name: share * (1 - alone * (1 - support[name])) for name, share in reasons.items()}


def _white(pixels: Float) -> Float:
    """(3,) the brightest values of pixels (n, 3)."""
    return np.asarray(np.quantile(pixels, 0.98, axis=0), np.float32)


def _vivid(own: Float, given: Float) -> float:
    """How far a veil took the colours of pixels (n, 3): the prior's are far stronger."""
    before, after = (float(np.ptp(x, axis=1).mean()) + 0.03 for x in (own, given))
    moved = float(np.sqrt(((own - given) ** 2).mean()))
    some = ramp(before - 0.03, 0.02, 0.04)  # a photo without colour has none to lose
    return some * ramp(float(np.log(after / before)), *np.log(VIVID)) * ramp(moved, *FAR)


def _severities(faults: Faults | None) -> dict[str, float]:
    kinds = ("haze", "lowlight", "underwater")
    return {kind: faults[kind].severity if faults else 0.0 for kind in kinds}


def _not_spoilt(faults: Faults | None) -> float:
    """A photo whose fault is plain to see had nothing in front of it."""
    severities = _severities(faults)
    spoilt = 0.0
    if faults:
        streaks = faults["rain"].sure * ramp(faults["rain"].severity, *RAINY)
        spoilt = max(faults["noise"].sure * (1 - streaks), faults["jpeg"].sure)
    return 1 - max(
        spoilt,
        ramp(severities["haze"], 0.55, 0.80),
        ramp(severities["lowlight"], 0.40, 0.60),
        ramp(severities["underwater"], 0.20, 0.40),
    )


def _buried(faults: Faults | None) -> bool:
    """Whether rain hides most of the scene."""
    return bool(faults and faults["rain"].sure > 0.5 and faults["rain"].severity >= BURIED)


def _contrast(plane: Plane, inside: NDArray[np.bool_]) -> float:
    """Deviation of a small plane between 2 and 6 px."""
    fine, coarse = (cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in (2.0, 6.0))
    return float(np.sqrt(((fine - coarse)[inside] ** 2).mean())) + 1e-4


def _colour(pixels: Float) -> float:
    """How far apart the colours of pixels (n, 3) are; 0 for grey, sepia or any one tint."""
    chroma = pixels - pixels.mean(1, keepdims=True)
    return float(np.quantile(np.abs(chroma - chroma.mean(0)).max(1), 0.95))


def _blur(octaves: Sequence[evidence.Octave], *, changed: bool, target: bool) -> tuple[float, ...]:
    """Per octave, how far its contrast gained on that of the two coarsest: that is more than taste
    or light. A blur takes no less from finer octaves."""
    shares = [1.0 if target and not changed else 0.0] * len(octaves)
    if changed or target:
        return tuple(shares)
    coarse = float(np.mean([octave.gain for octave in octaves[-2:]]))
    share = 0.0
    for index in range(len(octaves) - 3, -1, -1):
        gained = np.log(octaves[index].gain / max(coarse, 1e-3) + 1e-9)
        share = max(share, ramp(float(gained), *np.log(SHARPENED)))
        shares[index] = share
    return tuple(shares)
