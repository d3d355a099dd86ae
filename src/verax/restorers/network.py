"""The base by the embedded networks: rain out, light and colour, then detail.

What is done follows from the photo's faults: nothing is treated that is not there.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from verax.image import Image, Plane
from verax.restorers.classical import dark_channel_veil
from verax.restorers.faults import Faults, diagnose
from verax.restorers.runtime import (
    Floats,
    embedded,
    look,
    planes,
    repair,
    thumbnail,
    toned,
)
from verax.restorers.tiles import kept, padded, tiles

DARK = ("dark", "dusk")  # experts for dark photos: their errors of exposure differ
TONE_TASKS = ("haze", "lowlight", "underwater")  # what is seen in the whole photo
RAIN = 0.15  # severity at the centre from which rain is taken out
WET = 0.6  # severity from which a photo with rain is also toned
FAULTS = ("haze", "lowlight", "underwater", "rain")  # what the fusion network is told of a photo
PRIOR_SHARE = 0.4  # of the dark channel prior in what is done about haze


def restore(photo: Image, faults: Faults | None = None) -> Image:
    """The base (H, W, 3): the photo restored by the embedded networks, without a prior.

    `faults` is what `diagnose` says of the photo, or what somebody knows better.
    """
    suffers = faults or diagnose(photo)
    dry = derained(photo, suffers)
    if dry is not photo:  # another picture: a veil may have hidden behind the streaks
        suffers = diagnose(dry)
    transform = light(dry, suffers)
    if dry is not photo and max(suffers[task].severity for task in TONE_TASKS) < WET:
        transform = np.zeros_like(transform)  # what rain leaves behind passes for a veil
    return repair(dry, partial(toned, dry, transform), embedded("detail"))


def light(photo: Image, faults: Faults) -> Floats:
    """The photo's colour transform (6, h, w): for a dark photo the mean of the experts', else the
    tone network's, as strongly as the faults are sure."""
    transform = faults.transform
    worst = max(TONE_TASKS, key=lambda task: faults[task].severity)
    if worst == "lowlight":
        looks = [look(thumbnail(photo, net.multiple), net)[0] for net in map(embedded, DARK)]
        transform = np.mean(looks, 0)
    elif worst == "haze":
        transform = with_dark_channel(transform, thumbnail(photo, embedded("tone").multiple))
    return scaled(transform, max(faults[task].sure for task in TONE_TASKS))


def with_dark_channel(transform: Floats, small: Image) -> Floats:
    """The tone network's transform, averaged with the one of the dark channel prior.

    On a thin veil the network, which fears for clear photos, takes too little away, the prior too
    much: their errors have opposite signs.
    """
    airlight, transmission = dark_channel_veil(small)
    gain = 1 / cv2.resize(transmission, transform.shape[:0:-1], interpolation=cv2.INTER_AREA)
    mixed = np.empty_like(transform)
    mixed[:3] = np.log((1 - PRIOR_SHARE) * np.exp(transform[:3]) + PRIOR_SHARE * gain)
    veil = airlight[:, None, None] * (1 - gain)
    mixed[3:] = (1 - PRIOR_SHARE) * transform[3:] + PRIOR_SHARE * veil
    return mixed


def scaled(transform: Floats, strength: float) -> Floats:
    """A share of what a transform does to a photo, 0 being nothing."""
    part = np.float32(strength) * transform
    part[:3] = np.log1p(np.float32(strength) * np.expm1(transform[:3]))
    return part


def derained(photo: Image, faults: Faults) -> Image:
    """The photo without its streaks of rain, where it rains; else the photo itself."""
    if faults["rain"].severity <= RAIN:
        return photo
    return repair(photo, lambda rows, columns: photo[rows, columns], embedded("rain"))


def faults(photo: Image) -> tuple[float, ...]:
    """How badly the photo suffers from each of FAULTS, in [0, 1]."""
    found = diagnose(photo)
    return tuple(found[kind].severity for kind in FAULTS)


def join(size: tuple[int, ...], planes_of: Callable[[slice, slice], Image]) -> tuple[Image, Plane]:
    """Restoration (H, W, 3) and share of the prior's texture (H, W) by the fusion network, of whose
    input (H, W, 19) `planes_of` gives rows and columns."""
    fusion, (height, width) = embedded("fusion"), size
    pixels, texture = (
        np.empty((height, width, 3), np.float32),
        np.empty((height, width), np.float32),
    )
    for outer, inner in tiles(height, width):
        restored, taken = fusion(padded(planes(planes_of(*outer)), fusion.multiple))
        cut = kept(outer, inner)
        pixels[inner] = np.clip(np.moveaxis(restored[0], 0, 2)[cut], 0.0, 1.0)
        texture[inner] = taken[0, 2][cut]
    return pixels, texture
