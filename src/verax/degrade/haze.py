"""Haze: the scattering model, from even and grey to patchy and coloured.

I = J t + A (1 - t), t = exp(-beta d) (Koschmieder). "even" haze covers the standard synthetic
sets (RESIDE: A 0.7-1, beta 0.6-1.8), where the optical depth measured on pairs has medians of
0.25-0.9 and the nearest parts already have half of it. "patchy" haze is that of real smoke:
medians of 1-2.3, clouds, an airlight of 0.5-0.9 in the colour of the scene's light, a dimmed
scene, a glow where it is thick, and sensor noise.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import as_depth, fractal_noise, rescale
from verax.degrade.noise import add_gaussian
from verax.image import Image, Plane

BETA_EVEN = (0.5, 2.0)  # optical depth of the farthest at severity 1
BETA_PATCHY = (1.0, 3.6)


def haze(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the optical depth; kind, airlight and clouds are drawn from rng."""
    patchy = rng.random() < 0.4
    relative = as_depth(image, rng, depth)
    near = np.float32(0.7 * rng.random() ** 1.6)  # indoors it may begin at the camera
    optical = near + (1 - near) * relative
    if patchy:
        return _patchy(image, severity, rng, optical)
    transmission = np.exp(-np.float32(severity * rng.uniform(*BETA_EVEN)) * optical)
    tint = rng.normal(0.0, 0.02 if rng.random() < 0.3 else 0.0, 3)
    airlight = np.clip(rng.uniform(0.7, 1.0) + tint, 0.0, 1.0)
    return scatter(image, transmission, airlight.astype(np.float32))


def scatter(image: Image, transmission: Plane, airlight: NDArray[np.float32]) -> Image:
    """J t + A (1 - t) with t (H, W) and A (3,), all in [0, 1]."""
    t = transmission[..., None]
    return np.clip(image * t + airlight * (1 - t), 0.0, 1.0).astype(np.float32)


def _patchy(image: Image, severity: float, rng: Generator, optical: Plane) -> Image:
    clouds = rescale(fractal_noise(image.shape[:2], rng, cells=rng.uniform(1.0, 4.0)))
    thick = np.float32(rng.uniform(0.2, 1.0))  # 0 would be even
    optical = optical * (1 - thick + 2 * thick * clouds)
    beta = np.float32(severity * rng.uniform(*BETA_PATCHY))
    transmission = np.exp(-beta * optical)
    dim, glow, grain = rng.uniform(0.0, 0.35), rng.uniform(0.0, 3.0), rng.uniform(0.0, 3.0)
    scene = cv2.pow(image, 1.0 + severity * dim)
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(scene, (0, 0), max(0.1, severity * glow))
        scene = soft + transmission[..., None] * (scene - soft)
    hazy = scatter(scene, transmission, _light_of(image, rng))
    return add_gaussian(hazy, severity * grain, rng)


def _light_of(image: Image, rng: Generator) -> NDArray[np.float32]:
    """Airlight in about the colour of the scene, yellowish or bluish, (3,)."""
    mean = image.mean(axis=(0, 1)) + 0.05
    cast = (mean / mean.mean()) ** rng.uniform(0.0, 0.6)
    tint = np.exp(rng.normal(0.0, 0.5) * np.array([0.12, 0.0, -0.16]) + rng.normal(0, 0.02, 3))
    airlight = rng.uniform(0.5, 0.92) * cast * tint
    return np.asarray(np.clip(airlight, 0.1, 1.0), np.float32)
