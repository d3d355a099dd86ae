"""Estimate the global geometry of the whole frame from blocks that cover only part of the frame.

A homography fitted to the blocks alone describes only the part of the frame in which blocks were
found; smooth local motion there would be taken for perspective and rotation. The displacements are
therefore first extrapolated over the frame by universal kriging (a homography plus a smooth random
field), and the final homography is fitted to the extrapolated displacements. Uncertainty where no
block was found widens the interval. Blocks that contradict the others get low weights.

Method: Cressie, Statistics for Spatial Data (1993), chapter 3; variances by restricted maximum
likelihood; Matern covariance with smoothness 5/2.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verax.deviation.blocks import Blocks
from verax.deviation.framing import HUBER, Global, at_rest
from verax.geometry import Matrix, Size, compose, invert, map_points, motion

Floats = NDArray[np.float64]

ACROSS, DOWN = 24, 18  # number of grid points of the frame at which the field is evaluated
BORDER_PX = 8  # content closer to the frame's border does not count as visible
LENGTHS = (0.2, 0.4, 0.8)  # candidate correlation lengths, in half long sides
RATIOS = 10.0 ** np.arange(-3.5, 1.6, 0.5)  # candidate ratios of noise variance to field variance
UNEXPECTED = 3.0  # an outlier is this many standard deviations from the other blocks' prediction
ROUNDS = 3  # of reweighting outliers
LEAST_SAY = 1e-4  # least weight of a block
FREEDOMS = 8  # parameters of a homography
DRAWS = 200  # samples of the homography's uncertainty
STILL = 1e-6  # px: below this residual the homography explains every block


@dataclass(frozen=True, slots=True)
class _Field:
    """A kriging model of displacements: a homography (the trend) plus a smooth random field.

    Places are (x, y) from the frame's centre, in units of half its long side. Displacements are in
    px. The random field has two parts, for x and for y, which are independent and equally smooth.

    Attributes:
        places: (N, 2) places of the N blocks to which the model was fitted.
        inverse: (N, N) inverse of the covariance matrix of the blocks' displacements along one
            axis, with measurement noise.
        spread: (8, 8) covariance matrix of the error of `trend`.
        trend: (8,) parameters of the homography: shift along x and y, then likewise scale, shear
            and perspective.
        pull: (2, N) coefficients for x and for y. The random field predicted at a place is the sum
            of them, each times the field's covariance between that place and the block.
        length: correlation length of the random field, in the unit of the places.
        variance: variance of the random field along one axis, px squared.
    """

    places: Floats
    inverse: Floats
    spread: Floats
    trend: Floats
    pull: Floats
    length: float
    variance: float


def over_the_frame(
    blocks: Blocks, geometry: Global, size: Size, rng: np.random.Generator
) -> Global:
    """Fit a homography to the whole frame, starting from one that was fitted to the blocks alone.

    `geometry` is returned unchanged if it explains the displacements of all blocks, or if hardly
    any of the photo is visible in the generated picture. Otherwise the `residual` of the result is
    computed from the smooth displacements that the kriging model predicts at the blocks, not from
    the measured ones, which are noisy and may be outliers.

    Args:
        blocks: the photo's blocks that were found in the generated picture.
        geometry: the homography that was fitted to the blocks.
        size: (width, height) of the photo.
        rng: draws random homographies, which show how uncertain the result is.
    """
    if np.abs(geometry.residual).max() < STILL:
        return geometry
    half, centre = max(size) / 2, (np.array(size) - 1) / 2
    there = map_points(geometry.matrix, blocks.points)
    field = _fit((there - centre) / half, geometry.residual, blocks.weight)
    places = (map_points(geometry.matrix, _grid(size)) - centre) / half
    moved = _predict(field, places)
    ends = places * half + centre + moved
    overlap = ((ends > BORDER_PX) & (ends < np.array(size) - 1 - BORDER_PX)).all(axis=1)
    if overlap.sum() < ACROSS:
        return geometry
    places, moved = places[overlap], moved[overlap]
    project = _projection(places, moved)
    amounts = project @ moved.T.ravel()
    scatter = rng.multivariate_normal(amounts, _covariance(field, places, project), DRAWS)
    change = _matrix(amounts, size)
    matrix = at_rest(compose(change, geometry.matrix), size)
    unseen = np.array([compose(_matrix(draw, size), geometry.matrix) for draw in scatter])
    resampled = [np.array([compose(change, m) for m in samples]) for samples in geometry.samples]
    return replace(
        geometry,
        matrix=matrix,
        motion=motion(matrix, size, size),
        samples=(*resampled, unseen),
        residual=there + _predict(field, field.places) - map_points(matrix, blocks.points),
    )


def _grid(size: Size) -> Floats:
    x, y = (
        np.linspace(BORDER_PX, side - 1 - BORDER_PX, count)
        for side, count in zip(size, (ACROSS, DOWN), strict=True)
    )
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _basis(places: Floats) -> Floats:
    """(2 N, 8) matrix that turns the parameters of a homography into displacements of N places.

    `places` (N, 2) are (x, y) from the frame's centre, in units of half its long side. The product
    with the eight parameters is the displacements along x of all places, then those along y. The
    parameters are shift along x and y, then likewise scale, shear and perspective. This linear form
    holds for homographies close to the identity.
    """
    x, y = places.T
    one, none = np.ones_like(x), np.zeros_like(x)
    return np.concatenate(
        [
            np.stack([one, none, x, none, y, none, x * x, x * y], 1),
            np.stack([none, one, none, y, none, x, x * y, y * y], 1),
        ]
    )


def _matrix(amounts: Floats, size: Size) -> Matrix:
    """(3, 3) matrix of the homography, in px of the frame, from its eight parameters `amounts`.

    They are shift along x and y, then likewise scale, shear and perspective. Each is the
    displacement in px that it causes at half a long side from the frame's centre. `size` is the
    frame's (width, height).
    """
    half = max(size) / 2
    x, y = (np.array(size) - 1) / 2
    unit = np.array([[1 / half, 0, -x / half], [0, 1 / half, -y / half], [0, 0, 1]])
    p = amounts / half
    moved = np.array([[1 + p[2], p[4], p[0]], [p[5], 1 + p[3], p[1]], [-p[6], -p[7], 1]])
    return compose(invert(unit), moved, unit)


def _correlation(one: Floats, other: Floats, length: float) -> Floats:
    """(N, M) Matern 5/2 correlation between two sets of places (N, 2) and (M, 2).

    `length` is the correlation length, in the unit of the places.
    """
    apart = np.linalg.norm(one[:, None] - other[None], axis=2) * np.sqrt(5) / length
    return np.asarray((1 + apart + apart * apart / 3) * np.exp(-apart), np.float64)


def _fit(places: Floats, moved: Floats, weight: Floats) -> _Field:
    """Fit the kriging model to displacements `moved` (N, 2), in px, of N blocks at `places` (N, 2).

    Places are (x, y) from the frame's centre, in units of half its long side. `weight` (N,) is the
    confidence in each block, 0 to 1. It is lowered for blocks that contradict the others.
    """
    basis, value = _basis(places), moved.T.ravel()
    say = np.maximum(weight, LEAST_SAY)
    for _ in range(ROUNDS):
        length, ratio, variance = _likeliest(places, basis, value, say)
        covariance = _correlation(places, places, length) + np.diag(ratio / say)
        inverse = _inverse(variance * covariance)
        steady = _both(inverse, basis)
        spread = _inverse(basis.T @ steady)
        trend = np.asarray(spread @ (steady.T @ value), np.float64)
        pull = _both(inverse, value - basis @ trend).reshape(2, -1)
        # distance of each block from the prediction of all others, in standard deviations
        surprise = np.linalg.norm(pull, axis=0) / np.sqrt(np.diag(inverse))
        say = np.maximum(say * np.minimum(1, (UNEXPECTED / surprise) ** 2), LEAST_SAY)
    return _Field(places, inverse, spread, trend, pull, length, variance)


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _both(matrix: Floats, values: Floats) -> Floats:
    """Multiply (N, N) `matrix` by the first N rows of `values` (for x), then by the last N (for y).

    Returns both products, one below the other: an array of the shape of `values`.
    """
    count = len(matrix)
    return np.concatenate([matrix @ values[:count], matrix @ values[count:]])


def _likeliest(
    places: Floats, basis: Floats, value: Floats, say: Floats
) -> tuple[float, float, float]:
    """Find the most likely covariance of the displacements, by restricted maximum likelihood.

    Returns the correlation length of the random field, the variance of the noise of a block of
    weight 1 divided by that of the field, and the variance of the field in px squared. 3 lengths
    and 11 ratios of variances are tried.

    Args:
        places: (N, 2) places of the blocks from the frame's centre, in units of half its long side.
        basis: (2 N, 8) matrix that turns the parameters of a homography into displacements.
        value: (2 N,) displacements of the blocks in px: all along x, then all along y.
        say: (N,) weight of each block, by which its noise variance is divided.
    """
    count, best, top = len(places), (LENGTHS[0], float(RATIOS[-1]), 1.0), -np.inf
    columns = np.concatenate(
        [basis[:count], basis[count:], value[:count, None], value[count:, None]], 1
    )
    for length in LENGTHS:
        correlation = _correlation(places, places, length)
        for ratio in RATIOS:
            root = np.linalg.cholesky(correlation + np.diag(ratio / say))
            white = np.linalg.solve(root, columns)
            x, y = white[:, :FREEDOMS], white[:, FREEDOMS : 2 * FREEDOMS]
            normal = x.T @ x + y.T @ y
            side = x.T @ white[:, -2] + y.T @ white[:, -1]
            rest = float((white[:, -2:] ** 2).sum() - side @ np.linalg.solve(normal, side))
            free = 2 * count - FREEDOMS
            variance = max(rest / free, STILL**2)
            likelihood = -free / 2 * np.log(variance) - 2 * np.log(np.diag(root)).sum()
            likelihood -= np.linalg.slogdet(normal)[1] / 2
            if likelihood > top:
                top, best = float(likelihood), (length, float(ratio), variance)
    return best


def _predict(field: _Field, places: Floats) -> Floats:
    """(G, 2) displacements (dx, dy) in px that the kriging model `field` predicts at `places` (G,
    2), which are relative to the frame's centre, in units of half its long side."""
    near = field.variance * _correlation(places, field.places, field.length)
    trend = (_basis(places) @ field.trend).reshape(2, -1)
    return np.asarray(trend.T + near @ field.pull.T, np.float64)


def _projection(places: Floats, moved: Floats) -> Floats:
    """(8, 2 G) matrix that fits a homography to displacements at the `places` (G, 2).

    Its product with the 2 G displacements, all along x first, is the eight parameters of the
    homography. The fit is weighted least squares. The weights come from a robust fit (Huber) to the
    displacements `moved` (G, 2): places far from the homography count less.
    """
    basis, weight = _basis(places), np.ones(len(places))
    for _ in range(10):
        weighted = basis * np.tile(weight, 2)[:, None]
        project = np.linalg.solve(basis.T @ weighted, weighted.T)
        rest = moved - (basis @ (project @ moved.T.ravel())).reshape(2, -1).T
        length = np.linalg.norm(rest, axis=1)
        scale = max(1.4826 * float(np.median(length)), 1e-3)
        weight = np.minimum(1, HUBER * scale / np.maximum(length, 1e-9))
    return np.asarray(project, np.float64)


def _covariance(field: _Field, places: Floats, project: Floats) -> Floats:
    """(8, 8) covariance of the parameters of a homography that is fitted to model predictions.

    The displacements are predicted by the kriging model `field` at `places` (G, 2). The matrix
    `project` (8, 2 G) turns them into the eight parameters. The uncertainties of the random field
    and of the trend add up.
    """
    count = len(places)
    near = field.variance * _correlation(places, field.places, field.length)
    within = field.variance * _correlation(places, places, field.length)
    unseen = within - near @ field.inverse @ near.T
    known = _both(field.inverse, _basis(field.places))
    blocks = len(field.places)
    carried = np.concatenate([near @ known[:blocks], near @ known[blocks:]])
    trend = project @ (_basis(places) - carried)
    x, y = project[:, :count], project[:, count:]
    return np.asarray(x @ unseen @ x.T + y @ unseen @ y.T + trend @ field.spread @ trend.T)
