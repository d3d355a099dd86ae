"""Low light: a photo as a camera writes it with far too little exposure.

Inverse sRGB, exposure down by up to 7 stops, a steeper tone curve, uneven light, white balance
drift, Poisson-Gaussian noise, then 8-bit sRGB. On real pairs the dark value follows c * v**p of
the bright one in sRGB with c 0.1-0.35 and p 1.4-2.6, the noise is 1-2 levels, white in space.
"""

import numpy as np
from numpy.random import Generator

from verax.degrade.fields import smooth_noise
from verax.degrade.jpeg import compress
from verax.degrade.light import to_linear, to_srgb
from verax.degrade.noise import add_shot_and_read
from verax.image import Image, Plane, from_uint8, to_uint8

STOPS = (4.0, 7.5)  # exposure lost at severity 1
CURVE = (1.0, 2.3)  # exponent at severity 1


def lowlight(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the stops lost and the curve; light, colour and noise come from rng."""
    stops, curve = rng.uniform(*STOPS), rng.uniform(*CURVE)
    uneven = rng.uniform(0.0, 0.5)
    field = smooth_noise(image.shape[:2], rng, cells=rng.uniform(1.0, 3.0))
    light = np.exp2(np.float32(uneven * severity) * field - np.float32(stops * severity))
    drift = np.exp2(severity * rng.normal(0.0, 0.15, 3)).astype(np.float32)
    dark = to_linear(image) ** np.float32(1 + (curve - 1) * severity) * light[..., None] * drift
    read = severity * 10 ** rng.uniform(-4.0, -3.1)
    noisy = add_shot_and_read(
        dark, shot=severity * 10 ** rng.uniform(-4.8, -3.6), read=read, rng=rng
    )
    offset = severity * rng.uniform(-0.0006, 0.001)  # black level set a little off
    written = from_uint8(to_uint8(to_srgb(noisy + np.float32(offset))))
    if rng.random() < 0.25:
        return compress(written, int(rng.integers(75, 98)))
    return written
