"""The base by the embedded networks: rain out, light and colour, then detail; whole, or in the two
parts that fusion weighs one by one: structure, and light.

What is done follows from the photo's faults: nothing is treated that is not there.
"""

from functools import partial

import cv2
import numpy as np

from verax.image import Image
from verax.image.pixels import largest
from verax.restorers import DOUBTED, PRIOR_SHARE, measures, with_dark_channel
from verax.restorers.faults import HAZY, SURE, SURELY, Faults, diagnose, green_cast
from verax.restorers.measures import ramp
from verax.restorers.runtime import (
    Floats,
    Network,
    embedded,
    look,
    repair,
    thumbnail,
    toned,
)

DARK = {
    "dark": 0.6,
    "dusk": 0.4,
}  # experts for dark photos, whose errors of exposure differ, and their words
TONE_TASKS = ("haze", "lowlight", "underwater")  # what is seen in the whole photo

GREYNESS = 0.6  # how far a photo under water is taken to a grey mean
SHARES = (1.0, 0.7, 0.5, 0.35)  # of a transform, tried in turn
BRIGHT = (0.35, 0.75)  # value nearby up to which a dark photo is lifted in full, and not at all
TRIED = (1.0, 0.5)  # shares of a transform, until the result is sound
SHOWN = (1.0, 2.0)  # levels of noise under a transform from which it is taken out
TAKEN = 0.75  # of such noise: the rest keeps the texture that would go with it
UNEVEN = 5.0  # of what was taken away: noise of cameras 1 to 2, a facade 9
NOISIER = 3.0  # levels of noise that a result may have more than the photo
LIKE = 0.65  # least correlation of its fine structure with the photo's
BURNT = 0.08  # of the photo, most in which lifting it may bring a colour to its end
CLIPPED = 0.04  # of the photo, most that a transform may turn black or white
EXPOSED = 0.48  # mean value of half of the training photos without degradation
OWN = 0.5  # share, in logarithms, of the experts' own idea of a dark photo's mean value
GAINS = (0.6, 2.5)  # least and most by which their exposure is changed
LAMP, LAMPS = (
    0.5,
    (0.0045, 0.008),
)  # value of a light, and share of the photo; dark rooms have 0.004
SPECKS = (0.0005, 0.002)  # the same where all is black: without any light it was taken too dark
BLACK, BLACKISH, ALL_BLACK = 0.04, (0.25, 0.55), (0.75, 0.85)  # the same of black
LEFT = 0.45  # share of its darkness that a night keeps
HEAVY = 32.0  # levels of noise of which one pass leaves some
WET = 0.6  # severity from which a photo with rain is also toned


def restore(photo: Image, faults: Faults | None = None) -> Image:
    """The base (H, W, 3): the photo restored by the embedded networks, without a prior.

    `faults` is what `diagnose` says of the photo, or what somebody knows better.
    """
    suffers = faults or diagnose(photo)
    if suffers["rain"].sure < SURE:
        return treated(photo, light(photo, suffers), suffers)
    dry = repair(photo, lambda rows, columns: photo[rows, columns], embedded("rain"))
    now = diagnose(dry)  # another picture: a veil may have hidden behind the streaks
    transform = light(dry, now)
    if max(now[task].severity for task in TONE_TASKS) < WET:
        transform = np.zeros_like(transform)  # what rain leaves behind passes for a veil
    return repair(dry, partial(toned, dry, transform), embedded("detail"))


def treated(photo: Image, transform: Floats, faults: Faults) -> Image:
    """The photo under its transform and repaired; less of the transform, or none, where the result
    does not bear looking at."""
    for share in TRIED if np.any(transform) else ():
        base = repaired(photo, scaled(transform, share), faults)
        if sound(photo, base):
            return base
    base = repaired(photo, np.zeros_like(transform), faults)
    return photo if faults["jpeg"].sure < SURE and textured(photo, base) else base


def textured(photo: Image, base: Image) -> bool:
    """Whether what went is a texture: it lies in places, noise lies everywhere."""
    if base is photo:
        return False
    parts = measures.parts_of(photo), measures.parts_of(base)
    return measures.unevenness(*parts) > UNEVEN


def sound(photo: Image, base: Image) -> bool:
    """Whether a base keeps the photo's structure and brings no noise."""
    before, after = measures.parts_of(photo), measures.parts_of(base)
    if measures.noise(after) - measures.noise(before) > NOISIER:
        return False
    return measures.likeness(before, after) > LIKE


def by_network(photo: Image, net: Network) -> Image:
    """The base by one network of Verax, whatever the photo suffers from."""
    if net.kind == "tone":
        return toned(photo, look(thumbnail(photo, net.multiple), net)[0])
    return repair(photo, lambda rows, columns: photo[rows, columns], net)


def repaired(photo: Image, transform: Floats, faults: Faults) -> Image:
    """The photo under its transform, and its noise taken out as far as it is sure: what the tone
    lifts shows noise that nobody saw before. The photo itself where there is neither."""
    share = max(faults[kind].sure for kind in ("noise", "jpeg"))
    share, bright = share if share >= SURE else 0.0, photo
    if np.any(transform):
        bright = toned(photo, transform)
        share = max(share, TAKEN * ramp(measures.noise(measures.parts_of(bright)), *SHOWN))
    if share == 0:
        return bright
    clean = repair(
        photo, lambda rows, columns: bright[rows, columns], embedded("detail"), share=share
    )
    if faults.measures.sigma < HEAVY:
        return clean
    return repair(clean, lambda rows, columns: clean[rows, columns], embedded("detail"))


def light(photo: Image, faults: Faults) -> Floats:
    """The photo's colour transform (6, h, w): for a dark photo the mean of the experts', else the
    tone network's, as strongly as the fault is sure, less where that costs shadows or lights."""
    worst = max(TONE_TASKS, key=lambda task: (faults[task].sure, faults[task].severity))
    sure = faults[worst].sure
    if sure < SURE:
        return np.zeros_like(faults.transform)
    transform, small = faults.transform, thumbnail(photo, embedded("tone").multiple)
    if worst == "lowlight":
        looks = [word * look(small, embedded(name))[0] for name, word in DARK.items()]
        transform = exposed(np.sum(looks, 0), small)
        sure *= 1 - LEFT * night(small)
    elif worst == "haze":
        doubted = faults.named == worst and faults[worst].severity < HAZY[0]
        transform = with_dark_channel(transform, small, DOUBTED if doubted else PRIOR_SHARE)
    else:
        transform = with_grey_world(transform, small)
        if faults.named != worst:  # blue water without a green cast is only made worse
            depth = ramp(faults[worst].severity, *SURELY)
            sure = min(sure, max(green_cast(faults.measures), depth))
    return careful(transform, small, sure)


def night(small: Image) -> float:
    """How sure a dark photo shows a night: it was exposed for lights before black, not in a dim
    room, or all of it is black but for a few."""
    value = largest(small)
    lamps, black = float(np.mean(value > LAMP)), float(np.mean(value < BLACK))
    street = ramp(lamps, *LAMPS) * ramp(black, *BLACKISH)
    return max(street, ramp(lamps, *SPECKS) * ramp(black, *ALL_BLACK))


def exposed(transform: Floats, small: Image) -> Floats:
    """A transform whose result comes near to the mean value that photos have: how bright a dark
    scene was, nobody can see in it. What is bright already is hardly lifted."""
    lit = toned(small, transform)
    mean = max(float(lit.mean()), 0.02)
    wish = float(np.clip((EXPOSED / mean) ** (1 - OWN), *GAINS))
    power = np.full(transform.shape[1:], np.log(wish), np.float32)
    if wish > 1:
        power *= room(lit, transform.shape[:0:-1])
        for _ in range(3):  # what was left out is made up for elsewhere
            left = wish * mean / float(toned(small, lifted(transform, power)).mean())
            power *= np.float32(np.clip(1 + np.log(left) / np.log(wish), 0.7, 1.5))
    for share in SHARES:
        brighter = lifted(transform, np.float32(share) * power)
        if burnt(toned(small, brighter)) - burnt(lit) < BURNT:
            return brighter
    return transform


def room(picture: Image, size: tuple[int, ...]) -> Floats:
    """How far each node of a transform of (width, height) may be lifted: 1 in the dark, 0 where
    the picture is bright."""
    near = cv2.GaussianBlur(
        cv2.resize(largest(picture), size, interpolation=cv2.INTER_AREA), (0, 0), 4
    )
    return np.asarray(np.clip((BRIGHT[1] - near) / (BRIGHT[1] - BRIGHT[0]), 0, 1), np.float32)


def lifted(transform: Floats, power: Floats) -> Floats:
    """A transform followed by a gain of exp(power)."""
    gain = np.exp(power)
    return np.concatenate([transform[:3] + power, transform[3:] * gain])


def careful(transform: Floats, small: Image, sure: float) -> Floats:
    """The largest of a few shares of a transform under which the photo does not lose its shadows
    or lights."""
    for share in SHARES:
        part = scaled(transform, share * sure)
        if measures.extremes(toned(small, part)) - measures.extremes(small) < CLIPPED:
            return part
    return np.zeros_like(transform)


def burnt(picture: Image) -> float:
    """The share of a picture in which a colour has reached its end."""
    return float(np.mean(largest(picture) > 253 / 255))


def with_grey_world(transform: Floats, small: Image) -> Floats:
    """The tone network's transform, averaged with the one of a grey world (Buchsbaum, "A spatial
    processor model for object colour perception", 1980), which gives red back."""
    mean = np.maximum(small.mean((0, 1)), 0.02)
    gain = np.minimum((mean.mean() / mean) ** GREYNESS, 2.5).astype(np.float32)[:, None, None]
    mixed = 0.5 * transform
    mixed[:3] = np.log(0.5 * np.exp(transform[:3]) + 0.5 * gain)
    return mixed


def scaled(transform: Floats, strength: float) -> Floats:
    """A share of what a transform does to a photo, 0 being nothing."""
    part = np.float32(strength) * transform
    part[:3] = np.log1p(np.float32(strength) * np.expm1(transform[:3]))
    return part


SIDE = 256  # px: long side at which light is given
SPOILT = ("noise", "jpeg", "rain", "snow")  # faults of structure that the networks mend


def structure(photo: Image, faults: Faults) -> Image:
    """The photo (H, W, 3) without streaks, noise and blocks where it has them, its light untouched;
    the photo itself where it has none."""
    if max(faults[kind].sure for kind in SPOILT) < SURE:
        return photo
    mended = photo
    if faults["rain"].sure >= SURE:
        mended = repair(photo, lambda rows, columns: photo[rows, columns], embedded("rain"))
    return repair(mended, lambda rows, columns: mended[rows, columns], embedded("detail"))


def lit(photo: Image, faults: Faults) -> Image | None:
    """A small copy (h, w, 3) of the photo under the light that the networks would give it; None
    where they would leave it, or rain hides it."""
    sure = max(faults[task].sure for task in TONE_TASKS)
    if sure < SURE or faults["rain"].sure >= SURE:
        return None
    scale = min(1.0, SIDE / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.float32)
    transform = light(photo, faults)
    return toned(small, transform) if np.any(transform) else None
