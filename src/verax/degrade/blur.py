"""Blur: camera shake along random trajectories, and defocus with a lens-shaped disc.

Both act on linear light, where highlights smear as they do in a camera.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import as_depth, enlargement, rescale, smooth_noise
from verax.degrade.light import to_linear, to_srgb
from verax.image import Image, Plane

Kernel = NDArray[np.float32]

LONGEST_PX = 28.0  # trajectory extent at severity 1, on pictures up to REFERENCE_PX
WIDEST_PX = 7.5  # disc radius at severity 1
REFERENCE_PX = 700
_STEPS = 96


def motion_blur(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the trajectory; a third of the draws vary over the picture (camera roll)."""
    extent = severity * LONGEST_PX * rng.uniform(0.5, 1.0) * enlargement(image, REFERENCE_PX)
    path = trajectory(rng)
    linear = to_linear(image)
    blurred = _filter(linear, rasterise(path * extent))
    if rng.random() < 0.35:
        turn, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.0)
        other = _filter(linear, rasterise(path @ _rotation(turn) * extent * scale))
        share = rescale(smooth_noise(image.shape[:2], rng, cells=1.5))[..., None]
        blurred = blurred + share * (other - blurred)
    return to_srgb(blurred)


def defocus_blur(
    image: Image, severity: float, rng: Generator, depth: Plane | None = None
) -> Image:
    """Severity scales the disc; half of the draws keep one depth sharp."""
    radius = severity * WIDEST_PX * rng.uniform(0.4, 1.0) * enlargement(image, REFERENCE_PX)
    soft, blades = rng.uniform(0.3, 1.0), int(rng.choice([0, 0, 5, 6, 7, 8]))
    gaussian = rng.random() < 0.25
    linear = to_linear(image)

    def blur(r: float) -> NDArray[np.float32]:
        if gaussian:
            return np.asarray(cv2.GaussianBlur(linear, (0, 0), max(0.6 * r, 0.05)))
        return _filter(linear, disc(r, softness_px=soft, blades=blades))

    if rng.random() < 0.5:
        return to_srgb(blur(radius))
    relative = as_depth(image, rng, depth)
    distance = np.abs(relative - np.float32(rng.uniform(0.0, 1.0)))
    share = np.clip(distance * 2, 0.0, 1.0)[..., None]  # 0 in focus, 1 fully blurred
    half, full = blur(radius / 2), blur(radius)
    low = linear + np.minimum(share * 2, 1) * (half - linear)
    return to_srgb(low + np.maximum(share * 2 - 1, 0) * (full - low))


def trajectory(rng: Generator) -> NDArray[np.float64]:
    """A random path (N, 2), longest extent 1, centred: inertia, tremor and rare jerks.

    After Boracchi and Foi, IEEE TIP 21(8), 2012.
    """
    inertia, tremor = rng.uniform(0.6, 0.98), 10 ** rng.uniform(-1.6, -0.3)
    jerk = rng.random(_STEPS) < 0.02
    kicks = rng.normal(size=_STEPS) + 1j * rng.normal(size=_STEPS)
    velocity, position = np.exp(2j * np.pi * rng.random()), 0j
    points = np.empty(_STEPS, np.complex128)
    for i in range(_STEPS):
        push = kicks[i] * (2.0 if jerk[i] else tremor)
        velocity = velocity + push - (1 - inertia) * 0.1 * position
        velocity /= max(abs(velocity), 1e-9)
        position += velocity
        points[i] = position
    path = np.stack([points.real, points.imag], 1)
    path -= path.mean(0)
    return path / max(float(np.ptp(path, axis=0).max()), 1e-9)


def rasterise(path_px: NDArray[np.float64]) -> Kernel:
    """A kernel (odd, odd) that sums to 1: the time spent at each pixel along the path (x, y)."""
    reach = int(np.ceil(np.abs(path_px).max())) + 1
    side = 2 * reach + 1
    base = np.floor(path_px).astype(int)
    fx, fy = (path_px - base).T
    kernel = np.zeros((side, side))
    for dx, dy, weight in (
        (0, 0, (1 - fx) * (1 - fy)),
        (1, 0, fx * (1 - fy)),
        (0, 1, (1 - fx) * fy),
        (1, 1, fx * fy),
    ):
        np.add.at(kernel, (base[:, 1] + dy + reach, base[:, 0] + dx + reach), weight)
    return np.asarray(kernel / kernel.sum(), np.float32)


def disc(radius_px: float, *, softness_px: float = 0.5, blades: int = 0) -> Kernel:
    """A disc (or polygon with `blades` sides) with a soft rim, sums to 1."""
    reach = int(np.ceil(radius_px + softness_px)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    distance = np.hypot(x, y)
    if blades:
        sector = 2 * np.pi / blades
        angle = np.mod(np.arctan2(y, x), sector) - sector / 2
        distance = distance * np.cos(angle) / np.cos(sector / 2) ** 0.5
    kernel = np.clip((radius_px - distance) / softness_px + 0.5, 0.0, 1.0)
    kernel[reach, reach] = max(kernel[reach, reach], 1e-3)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _rotation(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _filter(linear: NDArray[np.float32], kernel: Kernel) -> NDArray[np.float32]:
    return np.asarray(cv2.filter2D(linear, -1, kernel, borderType=cv2.BORDER_REFLECT))
