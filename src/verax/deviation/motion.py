"""Global geometry: one homography through the blocks.

What it does not explain is local motion. Its scatter comes from a bootstrap over cells of
neighbouring blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verax.deviation.blocks import REST_PX, Blocks
from verax.geometry import Matrix, Motion, Size, corners, invert, map_points, motion

Floats = NDArray[np.float64]

MIN_BLOCKS = 12
MIN_SPREAD = 0.1  # of each side, deviation of the blocks' places
BOOTSTRAPS = 200
HUBER = 1.345


@dataclass(frozen=True, slots=True)
class Global:
    """One homography through the blocks.

    Attributes:
        matrix: (3, 3) photo px to where that content is in the generated picture, photo px.
        motion: it in words, at the photo's centre.
        drawn: sets of matrices (B, 3, 3) like it, each set scattered by one cause of error.
        left_over: (N, 2) displacement of each block beyond it, photo px.
        corner_spread_px: how far the worst corner of the photo wanders between bootstrap fits,
            one standard deviation.
    """

    matrix: Matrix
    motion: Motion
    drawn: tuple[Floats, ...]
    left_over: Floats
    corner_spread_px: float


def baseline(photo: Size, prior: Size, canvas: str) -> Matrix:
    """Prior px to photo px for a prior that did nothing but change the canvas, centred."""
    sx, sy = photo[0] / prior[0], photo[1] / prior[1]
    if canvas == "crop":
        sx = sy = min(sx, sy)
    elif canvas != "stretch":
        sx = sy = max(sx, sy)
    tx = (photo[0] - 1) / 2 - sx * (prior[0] - 1) / 2
    ty = (photo[1] - 1) / 2 - sy * (prior[1] - 1) / 2
    return np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1]], np.float64)


def fit_global(blocks: Blocks, size: Size, rng: np.random.Generator) -> Global | str:
    """The homography through the blocks, or why none can be told."""
    if len(blocks.points) < MIN_BLOCKS:
        return f"only {len(blocks.points)} of {blocks.asked} blocks were found again"
    if (np.std(blocks.points, axis=0) / np.array(size)).min() < MIN_SPREAD:
        return "the blocks that were found again lie too close together"
    unit, normals, sides = _equations(blocks, size)
    weight = blocks.weight.copy()
    for _ in range(10):
        matrix = _solve(normals, sides, weight[None])[0]
        rest = left_over(blocks, _denormalise(matrix, unit))
        length = np.linalg.norm(rest, axis=1)
        scale = max(1.4826 * float(np.median(length)), 1e-3)
        weight = blocks.weight * np.minimum(1, HUBER * scale / np.maximum(length, 1e-9))
    full = at_rest(_denormalise(matrix, unit), size)
    drawn = [_denormalise(m, unit) for m in _bootstrap(blocks, normals, sides, weight, rng)]
    there = np.array([map_points(m, corners(size)) for m in drawn])
    spread = float(np.linalg.norm(there.std(axis=0), axis=1).max())
    words = motion(full, size, size)
    return Global(full, words, (np.array(drawn),), left_over(blocks, full), spread)


def at_rest(matrix: Matrix, size: Size) -> Matrix:
    """The matrix, or the identity where no corner moves further than can be told."""
    apart = np.linalg.norm(map_points(matrix, corners(size)) - corners(size), axis=1).max()
    return np.eye(3) if apart < REST_PX else matrix


def _equations(blocks: Blocks, size: Size) -> tuple[Matrix, Floats, Floats]:
    """Unit scaling, and per block the normal matrix (N, 8, 8) and right side (N, 8).

    Linear in the homography's entries once multiplied out; with perspective terms of some
    per cent the change of weight that this means is negligible.
    """
    half = max(size) / 2
    unit = np.array(
        [
            [1 / half, 0, -(size[0] - 1) / 2 / half],
            [0, 1 / half, -(size[1] - 1) / 2 / half],
            [0, 0, 1],
        ]
    )
    x, y = map_points(unit, blocks.points).T
    u, v = map_points(unit, blocks.points + blocks.moved).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    row_x = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1)
    row_y = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1)
    normals = row_x[:, :, None] * row_x[:, None] + row_y[:, :, None] * row_y[:, None]
    return unit, normals, row_x * u[:, None] + row_y * v[:, None]


def _solve(normals: Floats, sides: Floats, weights: Floats) -> Floats:
    """Homographies (B, 3, 3) in unit coordinates for weights (B, N)."""
    left = np.einsum("bn,nij->bij", weights, normals) + 1e-9 * np.eye(8)
    right = weights @ sides
    entries = np.linalg.solve(left, right[..., None])[..., 0]
    return np.concatenate([entries, np.ones((len(weights), 1))], 1).reshape(-1, 3, 3)


def left_over(blocks: Blocks, matrix: Matrix) -> Floats:
    """Displacement of each block beyond the matrix, photo px."""
    there = map_points(matrix, blocks.points)
    return np.asarray(blocks.points + blocks.moved - there, np.float64)


def _denormalise(matrix: Matrix, unit: Matrix) -> Matrix:
    full = invert(unit) @ matrix @ unit
    return np.asarray(full / full[2, 2], np.float64)


def _bootstrap(
    blocks: Blocks, normals: Floats, sides: Floats, weight: Floats, rng: np.random.Generator
) -> Floats:
    """Fits to cells drawn with replacement, (BOOTSTRAPS, 3, 3)."""
    names, member = np.unique(blocks.cell, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=BOOTSTRAPS)
    return _solve(normals, sides, drawn[:, member] * weight)
