"""Under water: each colour fades at its own rate and is replaced by scattered light.

I_c = J_c exp(-w a_c) t_c + B_c (1 - t_c), t_c = exp(-d b_c): the light's way down (w) and the
way to the camera (d), as in Akkaynak and Treibitz, CVPR 2018. Red fades first.
"""

import cv2
import numpy as np
from numpy.random import Generator

from verax.degrade.fields import as_depth
from verax.degrade.light import to_linear, to_srgb
from verax.degrade.noise import add_gaussian
from verax.image import Image, Plane

# attenuation of R, G, B per unit way, and colour of the scattered light (linear)
WATERS = {
    "blue": ((1.6, 0.45, 0.22), (0.004, 0.18, 0.42)),
    "turquoise": ((1.7, 0.28, 0.30), (0.006, 0.32, 0.34)),
    "green": ((1.4, 0.26, 0.65), (0.015, 0.32, 0.16)),
    "murky": ((1.0, 0.50, 0.75), (0.06, 0.24, 0.12)),
}


def underwater(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales both ways through the water; the water is drawn from rng."""
    fade, veil = WATERS[str(rng.choice(list(WATERS)))]
    fade_c = np.array(fade, np.float32) * rng.uniform(0.75, 1.25, 3).astype(np.float32)
    veil_c = np.array(veil, np.float32) * np.float32(rng.uniform(0.3, 1.2))
    down, away = severity * rng.uniform(0.2, 1.6), severity * rng.uniform(0.3, 2.2)
    reach = np.float32(away) * (np.float32(0.15) + np.float32(0.85) * as_depth(image, rng, depth))
    seen = np.exp(-reach[..., None] * fade_c)
    linear = to_linear(image)
    if rng.random() < 0.5:  # forward scattering softens what is far
        linear = cv2.GaussianBlur(linear, (0, 0), max(0.05, severity * rng.uniform(0.3, 1.5)))
    direct = linear * np.exp(-np.float32(down) * fade_c) * seen
    gain = 1 + severity * rng.uniform(0.0, 0.8)  # the camera exposes for the darker scene
    wet = to_srgb(np.float32(gain) * (direct + veil_c * (1 - seen)))
    return add_gaussian(wet, severity * rng.uniform(0.0, 2.0), rng)
