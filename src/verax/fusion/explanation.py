"""The explanation: which faults of the photo account for the prior's changes.

What is wrong with a photo is hard to tell from the photo alone. It is easier beside its prior: what
did the generator brighten, colour, sharpen or remove? A change that no fault of the photo explains
is the generator's style, and is not used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion import evidence
from verax.fusion.planes import Float, luma
from verax.image import Image, Plane
from verax.image.pixels import ramp, reduce_to
from verax.restorers.faults import Faults

WORK = 160  # px: long side at which light is compared
# a pair of values is a ramp: no effect at the first, full effect at the second
NAMED = 0.5  # from which a fault is named
DOUBTED = 0.3  # below which a fault of the light changes nothing
VEILED = (1.36, 1.56)  # haze: contrast of the prior over the photo's
VIVID = (1.8, 2.6)  # haze: saturation of the prior over the photo's
FAR = (0.08, 0.15)  # haze: difference of photo and prior (rms) at which VIVID counts
DARK = (0.40, 0.25)  # darkness: median luma of the photo
BRIGHTENED = (1.35, 1.75)  # darkness: median luma of the prior over the photo's
COLOURLESS = (0.03, 0.012)  # missing colour: spread of the photo's colours
COLOURED = (0.03, 0.06)  # missing colour: spread of the prior's colours
CAST_NAME = "a colour cast"
CAST = (0.03, 0.07)  # cast: by how much farther from grey the photo's mean is than the prior's
SHIFTED = (0.05, 0.10)  # cast: distance between the mean tints
WHITER = (0.03, 0.06)  # cast: as CAST, of the brightest pixels
SUPPORT = {  # least severity, seen in the photo alone, of a fault that counts at fidelity 1
    "haze": (0.28, 0.42), "lowlight": (0.20, 0.40), "underwater": (0.05, 0.15),
}  # fmt: skip
SPOILING = {"haze": (0.55, 0.80), "lowlight": (0.40, 0.60), "underwater": (0.20, 0.40)}  # severity
SHARPENED = (1.02, 1.12)  # gain of contrast in an octave over the gain in the coarsest ones
LAYERED = (0.05, 0.10)  # share of the photo under layers
BLOCKED, COLOUR_ERROR = (0.05, 0.15), 3 / 255  # JPEG: levels across its grid; error of its colours
BURIED = 0.85  # severity of rain that hides most of the scene
RAINY = (0.50, 0.65)  # severity of rain whose streaks were mistaken for noise
# share of the photo's structure that the prior confirms, from which it is trusted to have
FAITHFUL = (0.45, 0.60)  # left out only what was in front of the scene,
KEEPING = (0.30, 0.50)  # added only what belongs to the scene,
AGREEING = (0.25, 0.35)  # the right contrast where both agree: less agrees by chance

# tasks of the prompt catalog that say what was wrong
LIGHT_TASKS = ("dehaze", "lowlight", "underwater", "colorize")
SHARP_TASKS = ("motion_deblur", "defocus_deblur", "super_resolution", "denoise", "jpeg")
FRONT_TASKS = ("derain", "desnow", "raindrop", "flare", "shadow", "reflection", "old_photo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The faults of a photo that justify the changes in its prior. Numbers are in [0, 1].

    Attributes:
        light: certainty of the worst fault of light: haze, darkness, a cast, missing colour.
        colour: how certain it is that the photo lacks colour.
        sharpness: how far each octave (pyramid level), the finest first, may get the prior's
            contrast.
        blur: the part of `sharpness` that a blur explains, not the light.
        front: how certain it is that the prior removed only what stood in front of the scene.
        buried: whether rain hides most of the scene, so that the prior's light is taken, too.
        compression: standard deviation of the error that JPEG left in the photo's colours.
        faithful: how far detail that only the prior shows may be believed.
        reasons: names of the faults of the light, such as "haze".
        task: the user's task, which overrules what was measured; "" if none was given."""

    light: float
    colour: float
    sharpness: tuple[float, ...]
    blur: tuple[float, ...]
    front: float
    buried: bool
    compression: float
    faithful: float
    reasons: tuple[str, ...]
    task: str = ""

    @property
    def empty(self) -> bool:
        """Whether the generator redrew the scene: no fault accounts for the prior's changes, and
        its structure is not the photo's."""
        return max(self.light, *self.sharpness, self.front, self.faithful) == 0

    def under_layers(self, share: float) -> "Explanation":
        """This explanation, with more `sharpness`, since things in front of the scene, such as
        rain, lower the contrast. `share`: how much of the photo they cover, in [0, 1]. Up to 0.05
        nothing changes; then the least sharpness rises, to 1 at 0.10."""
        faded = ramp(share, *LAYERED)
        return replace(self, sharpness=tuple(max(x, faded) for x in self.sharpness))

    def record(self) -> dict[str, Any]:
        """A JSON object: the faults in words ("believed"), the numbers in [0, 1], the task."""
        return {
            "believed": self.words(),
            "light": round(self.light, 3),
            "colour": round(self.colour, 3),
            "sharpness": [round(share, 3) for share in self.sharpness],
            "front": round(self.front, 3),
            "task": self.task,
        }

    def words(self) -> str:
        """The faults in words, separated by commas; "nothing" if there is none."""
        parts = list(self.reasons)
        if max(self.sharpness) > 0.5 and self.light < 0.5 and not self.buried:
            parts.append("blur")
        if self.buried:
            parts.append("heavy rain")
        return ", ".join(parts) or "nothing"


def explain(
    reasons: dict[str, float],
    faults: Faults | None,
    octaves: Sequence[evidence.Octave],
    *,
    task: str = "",
    small: bool = False,
    changed: bool = False,
    contrast: float = 1.0,
) -> Explanation:
    """Explain the prior's changes by faults of the photo. `reasons`: the faults of its light, name
    -> certainty in [0, 1]. `faults`: those found without the prior, None if not known. `octaves`:
    the statistics of each octave (pyramid level), the finest first. `task`: a task of the prompt
    catalog that overrules the rest, "" for none. `small`: the photo is known to hold less detail
    than its size could. `changed`: the prior shows another state of the scene, such as night, which
    no fault explains. `contrast`: how far, in [0, 1], a fault of the light justifies more contrast
    of detail."""
    if changed:
        reasons = {}
    light = max(reasons.values(), default=0.0)
    if light < DOUBTED or task in SHARP_TASKS:
        light = 0.0
    if task in LIGHT_TASKS:
        light = 1.0
    named = tuple(name for name, share in reasons.items() if share >= NAMED)
    lit = max(reasons.get("darkness", 0.0), ramp(reasons.get("haze", 0.0), 0.6, 0.9))
    share = evidence.faithful(octaves)
    front = 0.0 if changed else ramp(share, *FAITHFUL) * _not_spoilt(faults) * (1 - lit)
    if task not in ("", "restore"):
        front = float(task in FRONT_TASKS and not (changed and task == "old_photo"))
    blur = _blur(octaves, changed=changed, target=small or task in SHARP_TASKS)
    if task == "" and not small:
        blur = tuple(each * ramp(share, *AGREEING) for each in blur)
    return Explanation(
        light=light,
        colour=reasons.get("missing colour", 0.0),
        sharpness=tuple(max(each, 0.0 if changed else light * contrast) for each in blur),
        blur=blur,
        front=front,
        buried=front > 0 and _is_buried(faults),
        compression=COLOUR_ERROR * ramp(faults.measures.blocking, *BLOCKED) if faults else 0.0,
        faithful=ramp(share, *KEEPING),
        reasons=named if light >= NAMED else (),
        task=task,
    )


def light_faults(
    photo: Image, prior: Image, valid: Plane, faults: Faults | None, alone: float = 0.0
) -> dict[str, float]:
    """The faults of the photo's light ("haze", "darkness", "a colour cast", "missing colour"), name
    -> certainty in [0, 1], from the photo and its registered prior (`valid`: 1 where it covers the
    photo). `faults`: those found without the prior, or None. `alone`, in [0, 1]: by how much the
    certainty of a fault is lowered if the photo alone does not show it; without `faults`, it is not
    lowered."""
    reasons = _light(photo, prior, valid, faults)
    return _lower_unsupported(reasons, faults, alone) if faults else reasons


def under_water_alone(reasons: dict[str, float], faults: Faults | None) -> bool:
    """Whether the colour of water is the only fault of the light. `reasons`: faults of the light,
    name -> certainty. `faults`: those found without the prior; None: False. Water colours all
    places alike, so the prior's local changes are style; other casts are uneven."""
    named = [name for name, share in reasons.items() if share >= NAMED]
    return named == [CAST_NAME] and bool(faults and faults["underwater"].certainty > NAMED)


def _light(photo: Image, prior: Image, valid: Plane, faults: Faults | None) -> dict[str, float]:
    """The faults of the photo's light, name -> certainty in [0, 1], from photo and registered
    prior; {} if the prior covers nothing (`valid` 0). `faults`: those found without the prior, None
    if not known."""
    own, other, visible = (reduce_to(x, WORK) for x in (photo, prior, valid))
    inside = visible > 0.9
    if not inside.any():
        return {}
    grey, target = luma(own), luma(other)
    contrast = float(np.log(_contrast(target, inside) / _contrast(grey, inside)))
    before, after = (float(np.median(x[inside])) + 0.01 for x in (grey, target))
    brighter = float(np.log(after / before))
    tints = [(x[inside] - y[inside][:, None]).mean(0) for x, y in ((own, grey), (other, target))]
    brightest = [np.quantile(x[inside], 0.98, axis=0) for x in (own, other)]
    whites = [float(np.abs(white - white.mean()).max()) for white in brightest]
    farther = float(np.abs(tints[0]).max() - np.abs(tints[1]).max())
    plain, coloured = (_colour(x[inside]) for x in (own, other))
    return {
        "haze": max(
            ramp(contrast, *np.log(VEILED)),
            _vivid(own[inside], other[inside]),
            _certainty_alone(faults, "haze", (0.35, 0.60)) * ramp(contrast, 0.0, 0.14),
        ),
        "darkness": max(
            ramp(brighter, *np.log(BRIGHTENED)) * ramp(before, *DARK),
            _certainty_alone(faults, "lowlight", (0.3, 0.5)) * ramp(brighter, 0.0, 0.2),
        ),
        CAST_NAME: max(
            ramp(float(np.abs(tints[0] - tints[1]).max()), *SHIFTED)
            * max(ramp(farther, *CAST), ramp(whites[0] - whites[1], *WHITER)),
            _certainty_alone(faults, "underwater", (0.15, 0.30)),
        ),
        "missing colour": ramp(plain, *COLOURLESS)
        * ramp(coloured / (plain + 0.01), 2.0, 4.0)
        * ramp(coloured, *COLOURED),
    }


def _lower_unsupported(reasons: dict[str, float], faults: Faults, alone: float) -> dict[str, float]:
    """The certainties `reasons` of faults of the light, name -> [0, 1]. The less clearly `faults`,
    those of the photo alone, show one, the lower it is: at least 1 - `alone` of it stays."""
    shown = {kind: _certainty_alone(faults, kind, limits) for kind, limits in SUPPORT.items()}
    support = {
        "haze": max(shown.values()),  # dark photos and those with a cast lack contrast, too
        "darkness": shown["lowlight"],
        CAST_NAME: shown["underwater"],
        "missing colour": 1.0,  # always visible in the photo alone
    }
    return {name: share * (1 - alone * (1 - support[name])) for name, share in reasons.items()}


def _vivid(own: Float, other: Float) -> float:
    """The certainty, in [0, 1], that haze made the photo's colours paler, from the same pixels of
    the photo, `own` (n, 3), and of its prior, `other`."""
    before, after = (float(np.ptp(x, axis=1).mean()) + 0.03 for x in (own, other))
    moved = float(np.sqrt(((own - other) ** 2).mean()))
    some = ramp(before - 0.03, 0.02, 0.04)  # a photo without colour has none to lose
    return some * ramp(float(np.log(after / before)), *np.log(VIVID)) * ramp(moved, *FAR)


def _certainty_alone(faults: Faults | None, kind: str, limits: tuple[float, float]) -> float:
    """How clearly the photo alone shows the fault `kind`, in [0, 1]; 0 if `faults` is None. It is
    the certainty of the fault or, if that is more, a number that rises from 0 to 1 as the severity
    goes from one of the `limits` to the other. A fault may be slight but certain, such as thin
    haze."""
    if faults is None:
        return 0.0
    return max(faults[kind].certainty, ramp(faults[kind].severity, *limits))


def _not_spoilt(faults: Faults | None) -> float:
    """1 minus the certainty that the photo has noise, JPEG blocks or badly wrong light, whichever
    is most certain; 1 if `faults` is None. These also make photo and prior differ, so that a
    difference need not be something in front of the scene."""
    if faults is None:
        return 1.0
    streaks = faults["rain"].certainty * ramp(faults["rain"].severity, *RAINY)
    spoilt = [faults["noise"].certainty * (1 - streaks), faults["jpeg"].certainty]
    return 1 - max(*spoilt, *(ramp(faults[k].severity, *SPOILING[k]) for k in SPOILING))


def _is_buried(faults: Faults | None) -> bool:
    """Whether heavy rain hides most of the scene; False if `faults` is None."""
    return bool(faults and faults["rain"].certainty > 0.5 and faults["rain"].severity >= BURIED)


def _contrast(plane: Plane, inside: NDArray[np.bool_]) -> float:
    """Standard deviation of a plane's detail (the difference of Gaussian blurs of 2 and 6 px) over
    the pixels where `inside` is True."""
    fine, coarse = (cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in (2.0, 6.0))
    return float(np.sqrt(((fine - coarse)[inside] ** 2).mean())) + 1e-4


def _colour(pixels: Float) -> float:
    """How varied the colours of pixels (n, 3) in [0, 1] are: the 95 % quantile of the distance of
    their chroma from the mean chroma; 0 for grey, sepia or any single tint."""
    chroma = pixels - pixels.mean(1, keepdims=True)
    return float(np.quantile(np.abs(chroma - chroma.mean(0)).max(1), 0.95))


def _blur(octaves: Sequence[evidence.Octave], *, changed: bool, target: bool) -> tuple[float, ...]:
    """For each octave (pyramid level), the finest first, the certainty, in [0, 1], that a blur
    lowered the photo's contrast. It grows with the prior's contrast divided by the photo's,
    compared with the same ratio in the two coarsest octaves, which get 0. A finer octave never gets
    less than a coarser one. `changed`: the prior shows another state of the scene; all are 0. Else,
    if `target` (the task was to remove a blur), all are 1."""
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
