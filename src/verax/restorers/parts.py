"""The base in its two parts, which fusion weighs one by one: structure, and light."""

import cv2
import numpy as np

from verax.image import Image
from verax.restorers import network
from verax.restorers.faults import SURE, Faults
from verax.restorers.runtime import embedded, repair, toned

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
    sure = max(faults[task].sure for task in network.TONE_TASKS)
    if sure == 0 or faults["rain"].sure >= SURE:
        return None
    scale = min(1.0, SIDE / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.float32)
    return toned(small, network.light(photo, faults))
