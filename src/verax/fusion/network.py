"""Fusion by network: what of the registered prior is worth taking, on the base under its tone.

The tone fit of `verax.fusion.tone` has moved the base to the prior's tone. The fusion network sees
photo, base, toned base and prior with their confidences, and what the photo suffers from. It
decides how much of the prior's light is worth having (the base's may be the better one: rain leaves
light as it was), mends detail that the fit left, and opens a gate for the prior's low and high band
where photo and prior agree.
"""

from collections.abc import Callable

import cv2
import numpy as np

from verax.fusion import grid
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane
from verax.restorers import network

LIGHT = 0.02  # Gaussian, share of the long side, under which light is compared
LIGHT_SIDE = 512  # px: long side at which it is compared
FEATHER = 16  # px, what is smoother being the low band
UNLIKE = 0.1  # difference of light at which the photometric confidence has fallen to 1/e


def join(
    photo: Image, base: Image, toned: Image, warped: Warped, registration: Registration
) -> tuple[Image, Plane]:
    """The restoration (H, W, 3) and the share of the prior's texture in it (H, W)."""
    return network.join(photo.shape[:2], inputs(photo, base, toned, warped, registration))


def inputs(
    photo: Image, base: Image, toned: Image, warped: Warped, registration: Registration
) -> Callable[[slice, slice], Image]:
    """Gives rows and columns of the fusion network's input (H, W, 19): photo, base, toned base,
    prior, geometric confidence, photometric confidence, validity, and the photo's faults
    (`verax.restorers.network.FAULTS`), each the same everywhere."""
    light, faults = photometric_confidence(toned, warped), network.faults(photo)
    valid = feathered(warped.valid)

    def part(rows: slice, columns: slice) -> Image:
        at = rows, columns
        trust = np.stack([registration.confidence[at], light[at], valid[at]], 2)
        suffers = np.full((*trust.shape[:2], len(faults)), faults, np.float32)
        pictures = [photo[at], base[at], toned[at], warped.pixels[at]]
        return np.concatenate([*pictures, trust, suffers], 2)

    return part


def feathered(valid: Plane) -> Plane:
    """Validity that fades in over FEATHER px within the prior's frame, for no seam to show where
    it ends, and no band to hold what lies beyond."""
    if valid.min() == valid.max():
        return valid
    reach = 2 * FEATHER + 1
    inner = cv2.erode(valid, np.ones((reach, reach), np.uint8))
    return np.asarray(
        cv2.blur(inner, (FEATHER, FEATHER), borderType=cv2.BORDER_REPLICATE), np.float32
    )


def photometric_confidence(toned: Image, warped: Warped) -> Plane:
    """(H, W) in [0, 1]: how well the light of the toned base and of the prior agree."""
    scale = min(1.0, LIGHT_SIDE / max(toned.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in toned.shape[:2])
    mine, its = (grid.shrink(p, (width, height)) for p in (toned, warped.pixels))
    off = np.abs(grid.blur(mine - its, LIGHT * max(width, height))).mean(2)
    alike = np.exp(-off / np.float32(UNLIKE))
    full = cv2.resize(alike, toned.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(full * warped.valid, np.float32)
