"""Structure of a restoration against its photo: which strong edges the photo does not show.

An edge counts as supported when the photo has, within TOLERANCE px, a gradient of like
orientation (either sign) that stands out of the photo's own noise. Amplitudes are not compared:
an edge in a dark or hazy photo is faint, but it is there.
"""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion import noise, tone
from verax.image import Image, Plane

Kind = TypeVar("Kind", np.float32, np.bool_)

SCALE = 1.0  # Gaussian under the derivative, px
STRONG = 0.05  # share of pixels that are strong edges
FAINT = 0.01  # gradient (per px, sRGB) below which nothing is called a strong edge
OUTSTANDING = 3.0  # photo gradient over its noise
TOLERANCE = 2  # px
ORIENTATION = 0.7  # cosine between the normals


def gradient(image: Image) -> NDArray[np.float32]:
    """(H, W, 2) luma gradient per px of a picture smoothed by SCALE."""
    y = tone.blur(tone.luma(image), SCALE)
    parts = [cv2.Sobel(y, cv2.CV_32F, *d, ksize=3, scale=1 / 8) for d in ((1, 0), (0, 1))]
    return np.dstack(parts)


def strong_edges(image: Image) -> NDArray[np.bool_]:
    """(H, W) the strongest gradients of a picture."""
    size = np.linalg.norm(gradient(image), axis=2)
    return np.asarray(size >= max(FAINT, float(np.quantile(size, 1 - STRONG))))


def support(restoration: Image, photo: Image) -> NDArray[np.bool_]:
    """(H, W) where the photo shows an edge of the restoration's orientation nearby."""
    normal = gradient(restoration)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-9
    faint = gradient(photo)
    size = np.linalg.norm(faint, axis=2)
    shown = size >= OUTSTANDING * gradient_noise(photo)
    found = np.zeros(shown.shape, bool)
    reach = range(-TOLERANCE, TOLERANCE + 1)
    for dy, dx in ((dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= TOLERANCE**2):
        there = shift(faint, dy, dx)
        along = np.abs((there * normal).sum(2))
        found |= shift(shown, dy, dx) & (along >= ORIENTATION * shift(size, dy, dx))
    return found


def shift(plane: NDArray[Kind], dy: int, dx: int) -> NDArray[Kind]:
    """The plane moved by whole pixels, borders repeated."""
    ys = np.clip(np.arange(plane.shape[0]) + dy, 0, plane.shape[0] - 1)
    xs = np.clip(np.arange(plane.shape[1]) + dx, 0, plane.shape[1] - 1)
    return plane[ys[:, None], xs]


def gradient_noise(photo: Image) -> Plane:
    """(H, W) deviation that the photo's noise gives its gradient, at least a third of a level."""
    sigma = noise.noise_plane(tone.luma(photo), noise.noise_curve(photo))
    return np.asarray(np.maximum(0.13 * sigma, 0.33 / 255 / OUTSTANDING), np.float32)


def unsupported_edges(restoration: Image, photo: Image) -> float:
    """Share of the restoration's strong edges that the photo does not support."""
    strong = strong_edges(restoration)
    if not strong.any():
        return 0.0
    return float((strong & ~support(restoration, photo)).sum() / strong.sum())
