"""Fusion by network: what of the registered prior is worth taking, on the base under its tone.

The tone fit of `verax.fusion.tone` has moved the base to the prior's tone; the fusion network sees
photo, base and prior with their confidences, mends what the fit left, and opens a gate for
the prior's low and high band where both agree.
"""

import numpy as np

from verax.fusion import grid
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane
from verax.restorers import network

LIGHT = 0.02  # Gaussian, share of the long side, under which light is compared
UNLIKE = 0.1  # difference of light at which the photometric confidence has fallen to 1/e


def join(
    photo: Image, toned: Image, warped: Warped, registration: Registration
) -> tuple[Image, Plane]:
    """The restoration (H, W, 3) and the share of the prior's texture in it (H, W)."""
    return network.join(planes(photo, toned, warped, registration))


def planes(photo: Image, toned: Image, warped: Warped, registration: Registration) -> Image:
    """(H, W, 12) input of the fusion network: photo, toned base, prior, geometric and photometric
    confidence, validity."""
    light = photometric_confidence(toned, warped)
    trust = np.stack([registration.confidence, light, warped.valid], 2)
    return np.concatenate([photo, toned, warped.pixels, trust], 2)


def photometric_confidence(toned: Image, warped: Warped) -> Plane:
    """(H, W) in [0, 1]: how well the light of the toned base and of the prior agree."""
    sigma = LIGHT * max(toned.shape[:2])
    off = np.abs(grid.blur(toned - warped.pixels, sigma)).mean(2)
    return np.asarray(np.exp(-off / np.float32(UNLIKE)) * warped.valid, np.float32)
