"""Octaves: a picture as bands of detail, each twice as coarse as the one before.

A Gaussian pyramid and its differences (Burt, Adelson, "The Laplacian pyramid as a compact image
code", 1983). Octave 0 holds detail of 1 to 2 px. Energies and correlations are taken in Gaussian
windows on a grid half as fine as the octave: they are smooth, and cost a quarter there.
"""

import math

import cv2
import numpy as np

from verax.fusion.grid import Float as Float  # the same planes, one name
from verax.fusion.grid import shrink
from verax.image import Plane, pixels

COARSEST = 0.04  # share of the long side at which detail ends and light begins
WINDOW = 1.25  # Gaussian of the windows, in half-grid px: 2.5 px of the octave


def count(shape: tuple[int, ...]) -> int:
    """How many octaves a picture (H, W, ...) has above its light."""
    fit = int(math.log2(max(1.0, min(shape[:2]) / 4)))
    return max(1, min(int(math.log2(max(shape[:2]) * COARSEST)) + 1, fit))


def gaussians(picture: Float, octaves: int) -> list[Float]:
    """The picture and `octaves` copies of it, each half as large."""
    copies = [picture]
    for _ in range(octaves):
        copies.append(np.asarray(cv2.pyrDown(copies[-1]), np.float32))
    return copies


def enlarge(coarse: Float, shape: tuple[int, ...]) -> Float:
    """A copy one octave coarser, at the size (H, W) of the finer one."""
    fine = cv2.pyrUp(coarse, dstsize=(shape[1], shape[0]))
    return np.asarray(fine, np.float32)


def luma(picture: Float) -> Plane:
    """(H, W) luma (BT.601) of (H, W, 3); a plane is its own."""
    return picture if picture.ndim == 2 else pixels.luma(picture)


def halved(plane: Plane) -> Plane:
    """A plane on the half grid, area-averaged."""
    size = (-(-plane.shape[1] // 2), -(-plane.shape[0] // 2))
    return shrink(plane, size)


def windowed(plane: Plane, sigma: float = WINDOW) -> Plane:
    """Means in Gaussian windows of a plane that is on the half grid."""
    return np.asarray(
        cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32
    )


def resized(plane: Float, shape: tuple[int, ...]) -> Float:
    """A smooth plane at another size (H, W, ...), bilinear."""
    if plane.shape[:2] == tuple(shape[:2]):
        return plane
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def reduced(picture: Float, side: int) -> Float:
    """The picture with its long side at most `side`, area-averaged."""
    scale = min(1.0, side / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return shrink(picture, size)


def rise(x: Float, none: float, full: float) -> Float:
    """0 up to `none`, 1 from `full`, smooth between (Hermite); falls where full < none."""
    t = np.clip((x - none) / np.float32(full - none), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def ramp(x: float, none: float, full: float) -> float:
    """0 up to `none`, 1 from `full`, linear between; falls where full < none."""
    return float(np.clip((x - none) / (full - none), 0.0, 1.0))
