"""Haze: the scattering model, from even and grey to patchy and coloured.

I = J t + A (1 - t), t = exp(-beta d) (Koschmieder; ranges as in RESIDE: A 0.7-1, beta 0.6-1.8 on
relative depth). Real smoke is not homogeneous, not grey, and dims the scene behind it: half of
the draws have a cloudy optical depth, a coloured airlight, a darker scene and sensor noise.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import as_depth, fractal_noise, rescale
from verax.degrade.noise import add_gaussian
from verax.image import Image, Plane

BETA = (0.6, 2.6)
AIRLIGHT = (0.7, 1.0)


def haze(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the optical depth; kind, airlight and clouds are drawn from rng."""
    kind = rng.choice(["even", "outdoor", "patchy"], p=[0.45, 0.2, 0.35])
    relative = as_depth(image, rng, depth)
    beta = np.float32(severity * rng.uniform(*BETA))
    near = rng.uniform(0.1, 0.35) if kind == "even" else rng.uniform(0.0, 0.15)
    optical = beta * (np.float32(near) + np.float32(1 - near) * relative)
    airlight = rng.uniform(*AIRLIGHT) * np.ones(3, np.float32)
    if kind == "patchy":
        return _patchy(image, severity, rng, optical)
    airlight += rng.normal(0.0, 0.01, 3).astype(np.float32)
    return scatter(image, np.exp(-optical), np.clip(airlight, 0.0, 1.0))


def scatter(image: Image, transmission: Plane, airlight: NDArray[np.float32]) -> Image:
    """J t + A (1 - t) with t (H, W) and A (3,), all in [0, 1]."""
    t = transmission[..., None]
    return np.clip(image * t + airlight * (1 - t), 0.0, 1.0).astype(np.float32)


def _patchy(image: Image, severity: float, rng: Generator, optical: Plane) -> Image:
    size = image.shape[:2]
    clouds = rescale(fractal_noise(size, rng, cells=rng.uniform(1.0, 4.0)))
    density = np.float32(rng.uniform(1.0, 2.0)) * clouds ** np.float32(rng.uniform(0.7, 2.0))
    optical = optical * (np.float32(0.45) + density)
    base, tint = rng.uniform(0.55, 0.92), rng.uniform(-1.0, 1.0)
    # real smoke is yellowish indoors under lamps and bluish outdoors in shade
    colour = base * (1.0 + tint * np.array([0.14, 0.02, -0.16])) + rng.normal(0, 0.015, 3)
    airlight = np.clip(colour, 0.3, 1.0).astype(np.float32)
    scene = image ** np.float32(1.0 + severity * rng.uniform(0.0, 0.35))
    hazy = scatter(scene, np.exp(-optical), airlight)
    return add_gaussian(hazy, severity * rng.uniform(0.0, 3.0), rng)
