"""Planes and bilateral grids: smooth fields at a working size, looked up at full size.

A grid is (LEVELS, gh, gw, channels) over luma, y and x: a field that may differ between the two
sides of an edge but cannot draw one of its own. After Chen, Paris, Durand, "Real-time edge-aware
image processing with the bilateral grid" (2007).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Plane

LEVELS = 9  # of luma
CELL = 4  # working px per cell
EVIDENCE = 0.02  # weight at which a window counts half

Float = NDArray[np.float32]
Rows = tuple[int, int]  # first row of a stripe and the height of its whole picture


def shrink(x: Float, size: tuple[int, int]) -> Float:
    """Area-averaged down to (width, height)."""
    return np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_AREA), np.float32)


def cells(plane: Plane) -> tuple[int, int]:
    """(gw, gh) of the grid over a plane."""
    return -(-plane.shape[1] // CELL), -(-plane.shape[0] // CELL)


def blur(x: Float, sigma: float) -> Float:
    """Gaussian blur with reflected borders; wide ones on a coarser grid, where they cost little."""
    step = int(sigma / 3)
    if step < 2 or min(x.shape[:2]) < 4 * step:
        y = cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT)
        return np.asarray(y, np.float32)
    coarse = shrink(x, (-(-x.shape[1] // step), -(-x.shape[0] // step)))
    y = cv2.GaussianBlur(coarse, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    y = cv2.resize(y, x.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(y, np.float32)


def means(guide: Plane, values: Float, weight: Plane, sigma: float) -> Float:
    """(LEVELS, gh, gw, channels) weighted means in Gaussian windows of sigma working px.

    Where weight is thin they shrink to 0.
    """
    position = guide * (LEVELS - 1)
    sums = []
    for level in range(LEVELS):
        near = weight * np.maximum(0, 1 - np.abs(position - level))
        cell = shrink(cv2.merge([near, near[..., None] * values]), cells(guide))
        sums.append(blur(cell, sigma / CELL))
    stack = np.pad(np.stack(sums), ((1, 1), (0, 0), (0, 0), (0, 0)), mode="edge")
    stack = 0.25 * stack[:-2] + 0.5 * stack[1:-1] + 0.25 * stack[2:]
    return np.asarray(stack[..., 1:] / (stack[..., :1] + EVIDENCE), np.float32)


def look_up(grid: Float, guide: Plane, rows: Rows | None = None) -> Float:
    """(H, W, channels): the grid at every pixel of a guide in [0, 1], trilinear."""
    levels, gh, gw, _ = grid.shape
    x, y = places((gw, gh), guide.shape, rows)
    position = np.clip(guide, 0, 1) * (levels - 1)
    lower = np.minimum(position.astype(np.int32), levels - 2)
    map_x = np.repeat(x[None], guide.shape[0], axis=0)
    map_y = lower.astype(np.float32) * gh + y[:, None]
    atlas = grid.reshape(levels * gh, gw, grid.shape[3])
    low, high = (
        cv2.remap(atlas, map_x, map_y + step, cv2.INTER_LINEAR).reshape(*guide.shape, -1)
        for step in (0, gh)
    )
    return np.asarray(low + (position - lower)[..., None] * (high - low), np.float32)


def look_up_plane(plane: Float, shape: tuple[int, ...], rows: Rows | None = None) -> Float:
    """A coarse plane at every pixel of a picture, or of a stripe of it, bilinear."""
    x, y = places((plane.shape[1], plane.shape[0]), shape, rows)
    map_x, map_y = np.meshgrid(x, y)
    return np.asarray(cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR), np.float32)


def places(size: tuple[int, int], shape: tuple[int, ...], rows: Rows | None) -> tuple[Float, Float]:
    """Where the columns and rows of a picture (or a stripe) lie on a coarse (gw, gh) plane."""
    first, height = rows or (0, shape[0])
    x = (np.arange(shape[1], dtype=np.float32) + 0.5) * (size[0] / shape[1]) - 0.5
    y = (np.arange(first, first + shape[0], dtype=np.float32) + 0.5) * (size[1] / height) - 0.5
    return np.clip(x, 0, size[0] - 1), np.clip(y, 0, size[1] - 1)
