"""Noise of the photo, and its removal where a tone gain would bring it into view."""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane
from verax.image.pixels import noise_response

BLOCK = 8  # px, side of the blocks whose deviation is taken
QUIET, UNBIASED = 0.1, 1.08  # quantile of the blocks, and over it the mean of pure noise
LEVELS = 256  # entries of a table over luma
BINS = 12  # of luma
FEW = 8  # blocks without which a bin says nothing
VISIBLE = 0.012  # a deviation below this (3 of 255 levels) is not seen
RANGE, REACH = 5.0, 2.0  # bilateral filter: range in noise deviations, Gaussian in px
COARSE = 4  # chroma is also smoothed on a grid this much coarser: its noise shows as blotches
COARSE_RANGE, COARSE_REACH = 2.0, 2.5
NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)

Table = NDArray[np.float32]


def noise_table(image: Image, *, tiles: int = 64, tile: int = 64) -> Table:
    """(LEVELS,) noise deviation per channel at every luma.

    The difference-of-Laplacians mask of Immerkaer, "Fast noise variance estimation" (1996), in
    blocks; per luma bin the quietest tenth of the blocks, so that texture does not count. Large
    pictures are looked at in evenly spread tiles. In a photo of 8 bits it is at least one level:
    what a lift shows of compression and rounding is no less than that.
    """
    deviations, means = [], []
    parts = sample_tiles(image, tiles, tile)
    for part in parts:
        grey = part.mean(2)
        high = noise_response(part).mean(2) * np.sqrt(np.pi / 2)
        size = (max(1, grey.shape[1] // BLOCK), max(1, grey.shape[0] // BLOCK))
        deviations.append(cv2.resize(high, size, interpolation=cv2.INTER_AREA).ravel())
        means.append(cv2.resize(grey, size, interpolation=cv2.INTER_AREA).ravel())
    sigma, mean = np.concatenate(deviations), np.concatenate(means)
    centres = np.linspace(0, 1, BINS)
    members = [np.abs(mean - v) < centres[1] for v in centres]
    known = [k for k, near in enumerate(members) if near.sum() >= FEW]
    values = [np.quantile(sigma[members[k]], QUIET) * UNBIASED for k in known]
    if not known:  # too small a picture to tell the bins apart
        known, values = [0], [np.quantile(sigma, QUIET) * UNBIASED]
    table = np.interp(np.linspace(0, 1, LEVELS), centres[known], values)
    least = 1 / 255 if all(has_8_bits(part) for part in parts) else 0.0
    return np.asarray(np.maximum(table, least), np.float32)


def has_8_bits(image: Image) -> bool:
    """Are all values multiples of 1/255?"""
    levels = image * 255
    return bool(np.abs(levels - np.rint(levels)).max() < 1e-3)


def sample_tiles(image: Image, tiles: int, tile: int) -> list[Image]:
    """The picture itself when small, else evenly spread square tiles of it."""
    height, width = image.shape[:2]
    if height * width <= tiles * tile * tile or min(height, width) < 3 * tile:
        return [image]
    side = int(np.sqrt(tiles))
    ys = np.linspace(0, height - tile, side).astype(int)
    xs = np.linspace(0, width - tile, side).astype(int)
    return [image[y : y + tile, x : x + tile] for y in ys for x in xs]


def look_up(table: Table, grey: Plane) -> Plane:
    """The table's value at every pixel of a luma plane."""
    return np.asarray(np.take(table, (grey * (LEVELS - 1) + 0.5).astype(np.uint8)), np.float32)


def excess(sigma: Plane, gain: Plane) -> Plane:
    """Share of the noise that has to go so that a gain does not bring it into view.

    What remains is as strong as in the photo, or invisible: 1 - max(1 / gain, VISIBLE / (gain
    sigma)), at least 0.
    """
    kept = np.maximum(sigma, VISIBLE) / np.maximum(gain * sigma, 1e-9)
    return np.asarray(np.maximum(1 - kept, 0), np.float32)


def denoise(image: Image, sigma: float) -> Image:
    """Edge-preserving smoothing against noise of deviation sigma per channel.

    Single outliers are held to their neighbours, then a bilateral filter (Tomasi, Manduchi, 1998)
    whose range follows the noise, then the same on the chroma of a coarse grid.
    """
    low = cv2.erode(image, NEIGHBOURS, borderType=cv2.BORDER_REFLECT)
    high = cv2.dilate(image, NEIGHBOURS, borderType=cv2.BORDER_REFLECT)
    calm = cv2.bilateralFilter(np.clip(image, low, high), -1, RANGE * sigma, REACH)
    return np.asarray(np.clip(calm + chroma_blotches(calm, sigma), 0, 1), np.float32)


def chroma_blotches(image: Image, sigma: float) -> Image:
    """What to add to a picture to smooth its coarse chroma, luma untouched."""
    height, width = image.shape[:2]
    bottom, right = -height % COARSE, -width % COARSE
    padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (padded.shape[1] // COARSE, padded.shape[0] // COARSE)
    coarse = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    change = cv2.bilateralFilter(coarse, -1, COARSE_RANGE * sigma, COARSE_REACH) - coarse
    change -= cv2.cvtColor(change, cv2.COLOR_RGB2GRAY)[..., None]
    fine = cv2.resize(change, padded.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine[:height, :width], np.float32)
