"""Planes at several sizes: bilateral grids of smooth fields, and octaves of detail.

A bilateral grid, an array (levels of luma, rows, columns, channels), is a smooth field that can
differ on the two sides of an edge of its guide picture but cannot create an edge. After Chen,
Paris, Durand, "Real-time edge-aware image processing with the bilateral grid" (2007).

Octaves are the levels of a Laplacian pyramid (Burt, Adelson, "The Laplacian pyramid as a compact
image code", 1983), each twice as coarse as the one before. Octave 0 holds detail of 1 to 2 px.
Energies and correlations are computed in Gaussian windows on a grid of half the octave's
resolution, the "half grid": they are smooth, so this loses nothing and takes a quarter of the
time."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Plane, pixels

LEVELS = 9  # of luma
CELL = 4  # working px per cell
EVIDENCE = 0.02  # total weight of a window at which its mean is reduced to half

Float = NDArray[np.float32]
Rows = tuple[int, int]  # first row of a stripe and the height of its whole picture
Part = tuple[slice, slice]  # rows and columns of a tile

TILE = 768  # px: side of a tile, small enough for the processor's cache
MARGIN = 32  # px around a tile that its windows read; both are multiples of 4


def shrink(x: Float, size: tuple[int, int]) -> Float:
    """The picture or plane x reduced to `size`, (width, height), by area averaging."""
    return np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_AREA), np.float32)


def cells(plane: Plane) -> tuple[int, int]:
    """The size (columns, rows) of the bilateral grid of a plane: one cell for 4 x 4 px."""
    return -(-plane.shape[1] // CELL), -(-plane.shape[0] // CELL)


def blur(x: Float, sigma: float) -> Float:
    """Gaussian blur, with reflected borders, of a picture or plane x; `sigma` in px. A wide blur is
    computed on a reduced copy."""
    step = int(sigma / 3)
    if step < 2 or min(x.shape[:2]) < 4 * step:
        y = cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT)
        return np.asarray(y, np.float32)
    coarse = shrink(x, (-(-x.shape[1] // step), -(-x.shape[0] // step)))
    y = cv2.GaussianBlur(coarse, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    y = cv2.resize(y, x.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(y, np.float32)


def means(guide: Plane, values: Float, weight: Plane, sigma: float) -> Float:
    """Local means of `values` (h, w, channels) over pixels of similar luma, as a bilateral grid, an
    array (levels of luma, rows, columns, channels) with a cell for every 4 px.

    `guide` (h, w): the luma of each pixel, in [0, 1]. `weight` (h, w): the weight of each pixel;
    where there is little of it, the means tend to 0. `sigma`: of the Gaussian windows, px of the
    guide."""
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
    """The values of a bilateral grid (levels of luma, rows, columns, channels) at every pixel, (H,
    W, channels), by trilinear interpolation over x, y and luma.

    `guide` (H, W): luma in [0, 1] of a picture. If it is a stripe of one, `rows` holds the stripe's
    first row and the height of the whole picture; None: it is the whole picture."""
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
    """The values of a coarse plane (rows, columns, ...) at every pixel of a picture of this `shape`
    (H, W, ...), by bilinear interpolation. If that is a stripe of a picture, `rows` holds the
    stripe's first row and the height of the whole picture; None: it is the whole picture."""
    x, y = places((plane.shape[1], plane.shape[0]), shape, rows)
    map_x, map_y = np.meshgrid(x, y)
    return np.asarray(cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR), np.float32)


def places(size: tuple[int, int], shape: tuple[int, ...], rows: Rows | None) -> tuple[Float, Float]:
    """The x of each column, (W,), and the y of each row, (H,), of a picture of this `shape` (H, W,
    ...), as positions on a coarse plane of `size` (width, height) that covers it, in px of that
    plane, from 0 at the centre of its first pixel to `size` - 1. If the picture is a stripe, `rows`
    holds the stripe's first row and the height of the whole picture; else None."""
    first, height = rows or (0, shape[0])
    x = (np.arange(shape[1], dtype=np.float32) + 0.5) * (size[0] / shape[1]) - 0.5
    y = (np.arange(first, first + shape[0], dtype=np.float32) + 0.5) * (size[1] / height) - 0.5
    return np.clip(x, 0, size[0] - 1), np.clip(y, 0, size[1] - 1)


COARSEST = 0.04  # share of the long side: what is coarser is light, not detail
WINDOW = 1.25  # sigma of the windows in half-grid px: 2.5 px of the octave


def count(shape: tuple[int, ...]) -> int:
    """The number of octaves (pyramid levels) that hold the detail of a picture (H, W, ...). What is
    coarser, from about 4 % of the long side on, counts as light, not as detail."""
    fit = int(math.log2(max(1.0, min(shape[:2]) / 4)))
    return max(1, min(int(math.log2(max(shape[:2]) * COARSEST)) + 1, fit))


def gaussians(picture: Float, octaves: int) -> list[Float]:
    """A Gaussian pyramid: a list of the picture and `octaves` copies, each half the size of the
    last."""
    copies = [picture]
    for _ in range(octaves):
        copies.append(np.asarray(cv2.pyrDown(copies[-1]), np.float32))
    return copies


def enlarge(coarse: Float, shape: tuple[int, ...], room: Float | None = None) -> Float:
    """A level of a Gaussian pyramid, `coarse`, enlarged to the `shape` (H, W, ...) of the next
    finer one; written into the buffer `room` if given."""
    fine = cv2.pyrUp(coarse, room, dstsize=(shape[1], shape[0]))
    return np.asarray(fine, np.float32)


def luma(picture: Float) -> Plane:
    """(H, W) luma (BT.601) of (H, W, 3); a plane is returned as it is."""
    return picture if picture.ndim == 2 else pixels.luma(picture)


def halve(plane: Plane) -> Plane:
    """A plane (H, W) at half its size, rounded up, by area averaging."""
    size = (-(-plane.shape[1] // 2), -(-plane.shape[0] // 2))
    return shrink(plane, size)


def every_second(band: Float) -> Float:
    """Every second pixel of every second row of a picture or plane."""
    height, width = band.shape[:2]
    if height % 2 or width % 2:
        return np.ascontiguousarray(band[::2, ::2])
    size = (width // 2, height // 2)
    return np.asarray(cv2.resize(band, size, interpolation=cv2.INTER_NEAREST), np.float32)


def double(halves: Float, shape: tuple[int, ...], rows: Rows) -> Float:
    """A stripe of a picture, (H, W, ...), enlarged from planes of half the size of the whole
    picture, `halves` (h, w, ...). `shape`: of the stripe. `rows`: its first row, and the height of
    the whole picture. Interpolation reads rows outside the stripe, so that stripes join without a
    seam."""
    first, last = rows[0] // 2, -(-(rows[0] + shape[0]) // 2)
    top, bottom = max(0, first - 1), min(halves.shape[0], last + 1)
    size = (shape[1], 2 * (bottom - top))
    wide = cv2.resize(halves[top:bottom], size, interpolation=cv2.INTER_LINEAR)
    start = rows[0] - 2 * top
    return np.asarray(wide[start : start + shape[0]], np.float32)


def window_mean(plane: Plane, sigma: float = WINDOW) -> Plane:
    """Local means of a plane in Gaussian windows of `sigma` px of that plane."""
    return np.asarray(
        cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32
    )


def resize(plane: Float, shape: tuple[int, ...]) -> Float:
    """A smooth plane at the size of `shape` (H, W, ...), by bilinear interpolation."""
    if plane.shape[:2] == tuple(shape[:2]):
        return plane
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def rise(x: Float, none: float, full: float) -> Float:
    """Smooth step: 0 up to `none`, 1 from `full`, a Hermite curve between them. If `full` is less
    than `none`, it falls."""
    t = np.clip((x - none) / np.float32(full - none), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def by_tiles(
    work: Callable[[Part, list[Float]], Float],
    shape: tuple[int, ...],
    into: Float,
    *,
    rooms: int = 0,
) -> None:
    """Compute a picture (H, W, ...) tile by tile, two at a time.

    Args:
        work: returns a tile, without a margin. It gets the tile's (rows, columns), slices counted
            in the whole picture, and a list of `rooms` buffers.
        shape: of the picture.
        into: where the results are written. It may be the picture that `work` reads, up to 32 px
            around its tile: a row of tiles is written only after the next one was computed.
        rooms: number of flat buffers that `work` gets, each as large as a tile with its margins.
            They are reused: to allocate new ones would take as long as the work."""
    rows, columns = (
        [slice(x, min(x + TILE, side)) for x in range(0, side, TILE)] for side in shape[:2]
    )
    size = math.prod(min(side, TILE + 2 * MARGIN) for side in shape[:2]) * math.prod(shape[2:])
    free: SimpleQueue[list[Float]] = SimpleQueue()
    for _ in range(2):
        free.put([np.empty(size, np.float32) for _ in range(rooms)])

    def tile(part: Part) -> Float:
        room = free.get()
        try:
            return work(part, room)
        finally:
            free.put(room)

    def write(parts: list[Part], results: list[Float]) -> None:
        for part, result in zip(parts, results, strict=True):
            into[part] = result

    before: tuple[list[Part], list[Float]] = ([], [])
    with ThreadPoolExecutor(2) as pool:
        for row in rows:
            parts = [(row, column) for column in columns]
            results = list(pool.map(tile, parts))
            write(*before)
            before = parts, results
    write(*before)


def around(part: Part, shape: tuple[int, ...]) -> Part:
    """The (rows, columns), counted in the whole picture, of the tile `part` together with a margin
    of 32 px on each side, cut off at the borders of a picture of this `shape` (H, W, ...)."""
    rows, columns = (
        slice(max(0, x.start - MARGIN), min(side, x.stop + MARGIN))
        for x, side in zip(part, shape[:2], strict=True)
    )
    return rows, columns


def within(part: Part, wider: Part) -> Part:
    """The (rows, columns) of a tile, `part`, counted from the top left corner of `wider`, the
    larger tile that holds it. Both tiles are given as slices counted in the whole picture."""
    rows, columns = (
        slice(x.start - y.start, x.stop - y.start) for x, y in zip(part, wider, strict=True)
    )
    return rows, columns
