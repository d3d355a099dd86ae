"""Noise of the photo, and its removal where a tone gain would bring it into view."""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane

KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
BLOCK = 8
BINS = 12
VISIBLE = 0.012  # noise below this deviation in the result is left alone
RADII = (1, 3)  # guided-filter passes


def noise_curve(image: Image, *, tiles: int = 64, tile: int = 64) -> NDArray[np.float32]:
    """(BINS,) noise deviation at luma k / (BINS - 1).

    The difference-of-Laplacians mask of Immerkaer, "Fast noise variance estimation" (1996), in
    blocks; per luma bin the lower quartile of the blocks, so that texture does not count. Large
    pictures are looked at in evenly spread tiles.
    """
    deviations, means = [], []
    for part in sample_tiles(image, tiles, tile):
        grey = part.mean(2)
        high = np.abs(cv2.filter2D(part, -1, KERNEL)).mean(2)[1:-1, 1:-1] * np.sqrt(np.pi / 2)
        size = (max(1, grey.shape[1] // BLOCK), max(1, grey.shape[0] // BLOCK))
        deviations.append(cv2.resize(high, size, interpolation=cv2.INTER_AREA).ravel())
        means.append(cv2.resize(grey, size, interpolation=cv2.INTER_AREA).ravel())
    sigma, mean = np.concatenate(deviations), np.concatenate(means)
    levels = np.arange(BINS) / (BINS - 1)
    found = [
        np.quantile(sigma[near], 0.25)
        if (near := np.abs(mean - v) < 1 / (BINS - 1)).sum() >= 8
        else np.nan
        for v in levels
    ]
    known = np.isfinite(found)
    if not known.any():
        return np.full(BINS, np.quantile(sigma, 0.25), np.float32)
    curve = np.interp(levels, levels[known], np.asarray(found)[known])
    return np.asarray(curve, np.float32)


def sample_tiles(image: Image, tiles: int, tile: int) -> list[Image]:
    """The picture itself when small, else evenly spread square tiles of it."""
    height, width = image.shape[:2]
    if height * width <= tiles * tile * tile or min(height, width) < 3 * tile:
        return [image]
    side = int(np.sqrt(tiles))
    ys = np.linspace(0, height - tile, side).astype(int)
    xs = np.linspace(0, width - tile, side).astype(int)
    return [image[y : y + tile, x : x + tile] for y in ys for x in xs]


def noise_plane(grey: Plane, curve: NDArray[np.float32]) -> Plane:
    """Noise deviation at every pixel of a luma plane."""
    table = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, curve.size), curve)
    return np.take(table.astype(np.float32), (np.clip(grey, 0, 1) * 255).astype(np.int32))


def denoise(image: Image, sigma: Plane) -> Image:
    """Edge-preserving smoothing against noise of the given deviation, per pixel.

    Self-guided filter (He, Sun, Tang, "Guided image filtering", 2013) with the noise variance as
    its regulariser: a window whose variance is all noise is averaged, an edge far above it stays.
    """
    result = image
    for radius in RADII:
        result = guided(result, 1.5 * sigma**2, radius)
    return result


def guided(image: Image, variance: Plane, radius: int) -> Image:
    """One self-guided pass with joint statistics of the three channels."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(x, size, borderType=cv2.BORDER_REFLECT), np.float32)

    centre = mean(image)
    spread = np.maximum(mean(image * image) - centre * centre, 0).max(2)
    slope = spread / (spread + variance + 1e-9)
    slope = slope[..., None]
    return mean(slope)[..., None] * image + mean((1 - slope) * centre)
