"""Fusion by network: what of the registered prior is worth taking, on the base under its tone.

The tone fit of `verax.fusion.tone` has moved the base to the prior's tone. The fusion network sees
photo, base, toned base and prior with their confidences, and what the photo suffers from. It
decides how much of the prior's light is worth having (the base's may be the better one: rain leaves
light as it was), mends what the fit left, and opens a gate for the prior's low and high band where
photo and prior agree.
"""

import cv2
import numpy as np

from verax.fusion import grid
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane
from verax.restorers import network

LIGHT = 0.02  # Gaussian, share of the long side, under which light is compared
LIGHT_SIDE = 512  # px: long side at which it is compared
UNLIKE = 0.1  # difference of light at which the photometric confidence has fallen to 1/e


def join(
    photo: Image, base: Image, toned: Image, warped: Warped, registration: Registration
) -> tuple[Image, Plane]:
    """The restoration (H, W, 3) and the share of the prior's texture in it (H, W)."""
    light, faults = photometric_confidence(toned, warped), network.faults(photo)

    def part(rows: slice, columns: slice) -> Image:
        return planes(photo, base, toned, warped, registration, light, faults, (rows, columns))

    return network.join(photo.shape[:2], part)


def planes(
    photo: Image,
    base: Image,
    toned: Image,
    warped: Warped,
    registration: Registration,
    light: Plane,
    faults: tuple[float, ...],
    part: tuple[slice, slice] = (slice(None), slice(None)),
) -> Image:
    """(h, w, 19) input of the fusion network for a part of the photo: photo, base, toned base,
    prior, geometric confidence, photometric confidence (`light`), validity, and the photo's faults
    (`verax.restorers.network.FAULTS`), each the same everywhere."""
    trust = np.stack([registration.confidence[part], light[part], warped.valid[part]], 2)
    suffers = np.full((*trust.shape[:2], len(faults)), faults, np.float32)
    pictures = [photo[part], base[part], toned[part], warped.pixels[part]]
    return np.concatenate([*pictures, trust, suffers], 2)


def photometric_confidence(toned: Image, warped: Warped) -> Plane:
    """(H, W) in [0, 1]: how well the light of the toned base and of the prior agree."""
    scale = min(1.0, LIGHT_SIDE / max(toned.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in toned.shape[:2])
    mine, its = (grid.shrink(p, (width, height)) for p in (toned, warped.pixels))
    off = np.abs(grid.blur(mine - its, LIGHT * max(width, height))).mean(2)
    alike = np.exp(-off / np.float32(UNLIKE))
    full = cv2.resize(alike, toned.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(full * warped.valid, np.float32)
