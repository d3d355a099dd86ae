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

    Coordinates are in half long sides, from the frame's centre; displacements are in px.

    Attributes:
        places: (N, 2) coordinates of the blocks.
        inverse: (N, N) inverse covariance of the blocks' displacements, the same for x and y.
        spread: (8, 8) covariance of the trend's coefficients.
        trend: (8,) coefficients of the homography: shift, scale, shear and perspective, two of
            each.
        pull: (2, N) weight of each block in predictions of the field, for x and for y.
        length, variance: correlation length and variance of the random field.
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
    """Refit a homography that was fitted to the blocks alone, to the whole frame.

    `size` is the photo's (width, height); `rng` draws samples of the homography's uncertainty. The
    residual of each block in the result is computed from the displacement that the model predicts
    for the block: without measurement noise, and for outliers close to that of the other blocks.
    `geometry` is returned unchanged if its residuals are zero or if hardly any of the photo is
    visible.
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
    """(2 N, 8) displacement of each place per unit of each coefficient of a homography.

    The first N rows are for x, the last N for y. The eight coefficients are shift, scale, shear and
    perspective, two of each; the homography is linearised about the identity.
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
    """(3, 3) homography in px of a frame of `size` (width, height) from its eight coefficients.

    They are shift, scale, shear and perspective, two of each: displacements in px at a distance of
    half a long side from the frame's centre.
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
    """Fit the kriging model to displacements `moved` (N, 2) px at `places` (N, 2).

    Blocks that contradict the others get lower weights than `weight` (N,) gives them.
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
    """Apply the (N, N) matrix to the first N rows of `values` (x), and to the last N rows (y)."""
    count = len(matrix)
    return np.concatenate([matrix @ values[:count], matrix @ values[count:]])


def _likeliest(
    places: Floats, basis: Floats, value: Floats, say: Floats
) -> tuple[float, float, float]:
    """The most likely correlation length, ratio of noise to field variance, and field variance.

    They are found by restricted maximum likelihood among 3 lengths and 11 ratios.

    Args:
        places: (N, 2) coordinates of the blocks.
        basis: (2 N, 8) displacement of each block per unit of each coefficient of the homography.
        value: (2 N,) displacements of the blocks, all x first.
        say: (N,) weight of each block.
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
    """(G, 2) px: displacements that the model predicts at `places` (G, 2)."""
    near = field.variance * _correlation(places, field.places, field.length)
    trend = (_basis(places) @ field.trend).reshape(2, -1)
    return np.asarray(trend.T + near @ field.pull.T, np.float64)


def _projection(places: Floats, moved: Floats) -> Floats:
    """(8, 2 G) matrix that turns displacements at `places` into coefficients of a homography.

    It does a robust fit to the displacements `moved` (G, 2): places whose displacement is far from
    the homography get lower weights (Huber).
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
    """(8, 8) covariance of the homography's coefficients that are fitted to predictions.

    `project` (8, 2 G) turns the model's predictions at `places` (G, 2) into the coefficients. Their
    covariance is the sum of the uncertainty of the random field and that of the trend.
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
