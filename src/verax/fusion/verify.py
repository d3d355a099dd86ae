"""Structure of a restoration against its photo: which strong edges the photo does not show.

An edge counts as supported when the photo has, within TOLERANCE px, a gradient of like
orientation (either sign) that stands out of the photo's own noise. Amplitudes are not compared:
an edge in a dark or hazy photo is faint, but it is there.
"""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion import grid, noise
from verax.image import Image, Plane
from verax.image.pixels import luma

Kind = TypeVar("Kind", np.float32, np.bool_)

SCALE = 1.0  # Gaussian under the derivative, px
STRONG = 0.05  # share of pixels that are strong edges
FAINT = 0.01  # gradient (per px, sRGB) below which nothing is called a strong edge
OUTSTANDING = 3.0  # photo gradient over its noise
TOLERANCE = 2  # px
SPREAD = 0.015  # how far doubt reaches, share of the long side
DENSITY = 0.1  # share of unsupported edge pixels nearby at which nothing local is kept
ORIENTATION = 0.7  # cosine between the normals


def gradient(image: Image) -> tuple[Plane, Plane, Plane]:
    """Luma gradient per px of a picture smoothed by SCALE: along x, along y, and its length."""
    y = grid.blur(luma(image), SCALE)
    dx, dy = (
        np.asarray(cv2.Sobel(y, cv2.CV_32F, *d, ksize=3, scale=1 / 8), np.float32)
        for d in ((1, 0), (0, 1))
    )
    return dx, dy, np.hypot(dx, dy)


def strong_edges(image: Image) -> NDArray[np.bool_]:
    """(H, W) the strongest gradients of a picture."""
    length = gradient(image)[2]
    return np.asarray(length >= max(FAINT, float(np.quantile(length, 1 - STRONG))))


def support(restoration: Image, photo: Image) -> NDArray[np.bool_]:
    """(H, W) where the photo shows an edge of the restoration's orientation nearby."""
    nx, ny, length = gradient(restoration)
    dx, dy, faint = gradient(photo)
    shown = faint >= OUTSTANDING * gradient_noise(photo)
    dx, dy = dx * shown, dy * shown
    found = np.zeros(shown.shape, bool)
    reach = range(-TOLERANCE, TOLERANCE + 1)
    for y, x in ((y, x) for y in reach for x in reach if y * y + x * x <= TOLERANCE**2):
        along = np.abs(nx * shift(dx, y, x) + ny * shift(dy, y, x))
        found |= shift(shown, y, x) & (along >= ORIENTATION * length * shift(faint, y, x))
    return found


def shift(plane: NDArray[Kind], dy: int, dx: int) -> NDArray[Kind]:
    """The plane moved by whole pixels, borders repeated."""
    ys = np.clip(np.arange(plane.shape[0]) + dy, 0, plane.shape[0] - 1)
    xs = np.clip(np.arange(plane.shape[1]) + dx, 0, plane.shape[1] - 1)
    return plane[ys[:, None], xs]


def gradient_noise(photo: Image) -> Plane:
    """(H, W) deviation that the photo's noise gives its gradient, at least a third of a level."""
    sigma = noise.look_up(noise.noise_table(photo), luma(photo))
    return np.asarray(np.maximum(0.13 * sigma, 0.33 / 255 / OUTSTANDING), np.float32)


def unsupported_edges(restoration: Image, photo: Image) -> float:
    """Share of the restoration's strong edges that the photo does not support."""
    strong = strong_edges(restoration)
    if not strong.any():
        return 0.0
    return float((strong & ~support(restoration, photo)).sum() / strong.sum())


def doubt(restoration: Image, photo: Image) -> Plane:
    """(H, W) in [0, 1]: how far to step back around edges that the photo does not support."""
    invented = strong_edges(restoration) & ~support(restoration, photo)
    spread = grid.blur(invented.astype(np.float32), SPREAD * max(invented.shape))
    return np.asarray(np.clip(spread / DENSITY, 0, 1), np.float32)
