"""Noise: white, raw-like, and what a camera's own denoising leaves behind.

"awgn" is the standard test noise, up to sigma 50 of 255. "raw" is Poisson-Gaussian in linear
light, so shadows are noisier after the sRGB curve, with colour blotches from demosaicking.
"leftover" is weak, signal dependent, grainy in brightness and blotchy in colour: measured on
flat parts of real camera JPEGs, neighbours correlate by 0.6-0.8, pixels 4 apart by 0.1-0.3,
channels by 0.5-0.9, deviation 1-4 of 255.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.jpeg import compress
from verax.degrade.light import luma, to_linear, to_srgb
from verax.image import Image, Plane

MAX_SIGMA = 50.0  # of 255, at severity 1
LEFTOVER_SIGMA = 7.5


def noise(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the deviation; the kind is drawn from rng."""
    kind = rng.choice(["awgn", "raw", "leftover"], p=[0.5, 0.2, 0.3])
    if kind == "awgn":
        return add_gaussian(image, severity * MAX_SIGMA, rng)
    if kind == "raw":
        return _raw(image, severity, rng)
    return _leftover(image, severity, rng)


def add_gaussian(image: Image, sigma: float, rng: Generator) -> Image:
    """White Gaussian noise of deviation `sigma` (of 255) in sRGB, clipped to [0, 1]."""
    noisy = image + np.float32(sigma / 255.0) * rng.standard_normal(image.shape, np.float32)
    return np.clip(noisy, 0.0, 1.0)


def add_shot_and_read(
    linear: NDArray[np.float32], *, shot: float, read: float, rng: Generator
) -> NDArray[np.float32]:
    """Linear light with noise of variance shot * light + read**2, not clipped."""
    deviation = np.sqrt(np.maximum(linear, 0) * np.float32(shot) + np.float32(read * read))
    return np.asarray(linear + deviation * rng.standard_normal(linear.shape, np.float32))


def white_balance_gains(rng: Generator) -> NDArray[np.float32]:
    """What a camera multiplies red and blue by, and their noise with them: (3,)."""
    return np.array([rng.uniform(1.3, 2.4), 1.0, rng.uniform(1.1, 2.0)], np.float32)


def _raw(image: Image, severity: float, rng: Generator) -> Image:
    shot = severity**2 * 10 ** rng.uniform(-2.3, -1.5)
    read = severity * 10 ** rng.uniform(-2.2, -1.5)
    gains = white_balance_gains(rng)
    sensor = to_linear(image) / gains
    noisy = add_shot_and_read(sensor, shot=shot, read=read, rng=rng) * gains
    if rng.random() < 0.5:
        clean = to_linear(image)
        noisy = clean + _blotch(noisy - clean, rng)
    return to_srgb(noisy)


def _leftover(image: Image, severity: float, rng: Generator) -> Image:
    size = image.shape[:2]
    grey = _blurred(rng.standard_normal((*size, 1), np.float32), rng.uniform(0.4, 0.8))
    colour = _blurred(rng.standard_normal((*size, 3), np.float32), rng.uniform(0.8, 4.0))
    shared = rng.uniform(0.4, 0.85)  # share of the noise that is brightness, not colour
    grain = np.float32(np.sqrt(shared)) * grey + np.float32(np.sqrt(1 - shared)) * colour
    grain *= np.array([rng.uniform(1.0, 1.2), 1.0, rng.uniform(1.0, 1.3)], np.float32)
    level = luma(image)
    slope = rng.uniform(-0.5, 0.3)  # in-camera curves make shadows or mid-tones the noisiest
    strength = 1.0 + slope * (2 * level - 1) - 0.6 * np.maximum(level - 0.75, 0) * 4
    sigma = severity * LEFTOVER_SIGMA * rng.uniform(0.5, 1.0) / 255.0
    noisy = np.clip(image + np.float32(sigma) * strength[..., None] * grain, 0.0, 1.0)
    if rng.random() < 0.5:
        return compress(noisy, int(98 - severity * rng.uniform(0.0, 12.0)))
    return np.asarray(noisy, np.float32)


def _blurred(grain: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Smoothed noise of deviation 1, (H, W, C)."""
    soft = cv2.GaussianBlur(grain, (0, 0), sigma_px).reshape(grain.shape)
    return np.asarray(soft / max(float(soft.std()), 1e-6))


def _blotch(grain: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """The noise smoothed at two scales, its deviation kept."""
    fine = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.45, 0.9))
    coarse = cv2.GaussianBlur(grain, (0, 0), rng.uniform(1.5, 3.5))
    mixed = fine + np.float32(rng.uniform(0.0, 1.5)) * coarse
    return np.asarray(mixed * np.float32(grain.std() / max(float(mixed.std()), 1e-9)))
