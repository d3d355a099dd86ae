"""Low light: a photo as a camera writes it with far too little exposure.

Inverse sRGB, exposure down by up to 7.5 stops, a steeper tone curve, uneven light, white balance
drift, Poisson-Gaussian noise stronger in red and blue, then 8-bit sRGB. On real pairs the dark
value follows c * v**p of the bright one in sRGB, c 0.1-0.35 and p 1.4-2.6; the noise is white in
space, nearly independent between channels, of 1-2 levels in red, 1 in green.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import smooth_noise
from verax.degrade.jpeg import compress
from verax.degrade.light import luma, to_linear, to_srgb
from verax.degrade.noise import add_shot_and_read, white_balance_gains
from verax.image import Image, Plane, from_uint8, to_uint8

STOPS = (4.0, 7.5)  # exposure lost at severity 1
CURVE = (1.0, 2.3)  # exponent at severity 1


def lowlight(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the stops lost and the curve; light, colour and noise come from rng."""
    stops, curve, uneven = rng.uniform(*STOPS), rng.uniform(*CURVE), rng.uniform(0.0, 0.5)
    field = smooth_noise(image.shape[:2], rng, cells=rng.uniform(1.0, 3.0))
    light = np.exp2(np.float32(uneven * severity) * field - np.float32(stops * severity))
    drift = np.exp2(severity * rng.normal(0.0, 0.15, 3)).astype(np.float32)
    curved = _steepen(to_linear(image), (curve - 1) * severity, by_channel=rng.uniform(0.0, 1.0))
    grey = luma(curved)[..., None]  # dark photos of a scene are often paler than bright ones
    curved = grey + np.float32(1 - severity * max(0.0, rng.uniform(-0.3, 0.5))) * (curved - grey)
    gains = white_balance_gains(rng)
    shot, read = severity * 10 ** rng.uniform(-4.7, -3.6), severity * 10 ** rng.uniform(-4.0, -3.2)
    sensor = curved * light[..., None] * drift / gains
    noisy = add_shot_and_read(sensor, shot=shot, read=read, rng=rng) * gains
    offset = severity * rng.uniform(-0.0006, 0.001)  # black level set a little off
    written = from_uint8(to_uint8(to_srgb(noisy + np.float32(offset))))
    if rng.random() < 0.15:
        return compress(written, int(rng.integers(85, 98)))
    return written


def _steepen(
    linear: NDArray[np.float32], extra: float, *, by_channel: float
) -> NDArray[np.float32]:
    """linear ** (1 + extra); the less by channel, the better the colours stay as they are."""
    own = cv2.pow(linear, 1 + extra * by_channel)
    shared = cv2.pow(np.maximum(luma(linear), 1e-6), extra * (1 - by_channel))
    return np.asarray(own * shared[..., None], np.float32)
