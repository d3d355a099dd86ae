"""One matrix for the whole picture: Gauss-Newton on orientation channels, coarse to fine.

The photo weighs in where it already agrees with the prior: regions that stay incoherent (invented
objects, streaks, noise) lose their say. A step counts only if the score rises.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry.features import Channels, coherence, correlation, log_luminance, orientation
from verax.geometry.transforms import (
    Matrix,
    Size,
    compose,
    corners,
    invert,
    map_points,
    scaled,
    stretch,
)
from verax.image import Image, Plane


@dataclass(frozen=True, slots=True)
class Level:
    """One size of the coarse-to-fine fit.

    Attributes:
        long_side: of the photo, px.
        freedoms: 6 for an affine, 8 for a projective motion.
        window: sigma in px of the neighbourhood that edge strength is made relative to.
        smooth: sigma in px of the blur of the channels.
        rounds: most Gauss-Newton steps.
        judged: the placement at this level counts as evidence for the verdict.
    """

    long_side: int
    freedoms: int
    window: float
    smooth: float
    rounds: int
    judged: bool = False


LEVELS = (
    Level(96, 6, 6, 2.0, 12),
    Level(192, 8, 6, 2.0, 10, judged=True),
    Level(384, 8, 8, 2.0, 8, judged=True),
)
SMALL_STEP = 0.02  # px: the fit has converged
LARGEST_MOVE = 0.2  # of the long side: corners that a fit may move from its start
LARGEST_STEP = 8.0  # px of a level: beyond it the linear model does not hold
DOUBT = 0.02  # weight of incoherent regions, so that a wrong start can still be left
DAMPING = 1e-3


@dataclass(frozen=True, slots=True)
class View:
    """Photo and prior as channels at one level, and the matrices between full and level grids."""

    photo: Channels
    prior: Channels
    to_photo: Matrix  # level photo px to photo px
    to_prior: Matrix  # level prior px to prior px


def view(photo: Image, prior: Image, matrix: Matrix, level: Level) -> View:
    """Both pictures as channels at about the same px per scene length, neither much enlarged."""
    photo_size, prior_size = (photo.shape[1], photo.shape[0]), (prior.shape[1], prior.shape[0])
    wanted = level.long_side / max(photo_size)
    small = scaled(photo_size, min(1.0, wanted))
    ratio = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))  # photo px per prior px
    small_prior = scaled(prior_size, min(1.0, ratio * min(1.0, wanted)))
    one, other = (
        orientation(log_luminance(image, size), window=level.window, smooth=level.smooth)
        for image, size in ((photo, small), (prior, small_prior))
    )
    return View(one, other, stretch(small, photo_size), stretch(small_prior, prior_size))


def warp_channels(channels: Channels, lookup: Matrix, size: Size) -> tuple[Channels, Plane]:
    """Channels seen through `lookup` (target px to channel px), and which share exists."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    ones = np.ones(channels.shape[:2], np.float32)
    return (
        np.asarray(cv2.warpPerspective(channels, lookup, size, flags=flags), np.float32),
        np.asarray(cv2.warpPerspective(ones, lookup, size, flags=flags), np.float32),
    )


def aligned(seen: View, matrix: Matrix) -> tuple[Channels, Plane]:
    """The prior's channels on the level's photo grid, and the share of each pixel they show."""
    lookup = compose(invert(seen.to_prior), invert(matrix), seen.to_photo)
    return warp_channels(seen.prior, lookup, (seen.photo.shape[1], seen.photo.shape[0]))


def bounded(matrix: Matrix, start: Matrix, size: Size) -> bool:
    """Whether the fit stayed a plausible move of where it started: corners near, nothing folded."""
    moved = map_points(compose(matrix, invert(start)), corners(size))
    if np.linalg.norm(moved - corners(size), axis=1).max() > LARGEST_MOVE * max(size):
        return False
    sides = np.roll(moved, -1, axis=0) - moved
    turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1]
    turns = turns - sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
    return bool((turns > 0).all())


def refine(seen: View, matrix: Matrix, level: Level) -> tuple[Matrix, float]:
    """A better matrix (prior px to photo px) at one level, and its score.

    The score is the correlation over the overlap times the square root of the overlap's share, so
    that it cannot rise by losing overlap.
    """
    size = (seen.photo.shape[1], seen.photo.shape[0])
    lookup = compose(invert(seen.to_prior), invert(matrix), seen.to_photo)
    basis = _Basis.of(size, level.freedoms)
    best, best_score, step = lookup, -np.inf, np.inf
    for _ in range(level.rounds + 1):
        warped, valid = warp_channels(seen.prior, lookup, size)
        score = correlation(seen.photo, warped, valid) * float(np.sqrt(valid.mean()))
        if score > best_score:
            best, best_score = lookup, score
        if step < SMALL_STEP:
            break
        change, step = _step(seen.photo, warped, valid, basis)
        lookup = compose(lookup, change)
    return compose(seen.to_photo, invert(best), invert(seen.to_prior)), best_score


@dataclass(frozen=True, slots=True)
class _Basis:
    """How each parameter moves each pixel, in coordinates -1..1 of the longer side."""

    x: NDArray[np.float32]  # (H * W, freedoms)
    y: NDArray[np.float32]
    unit: Matrix  # px to normalised coordinates

    @classmethod
    def of(cls, size: Size, freedoms: int) -> "_Basis":
        scale = 2 / max(size)
        unit = np.array(
            [
                [scale, 0, -(size[0] - 1) / 2 * scale],
                [0, scale, -(size[1] - 1) / 2 * scale],
                [0, 0, 1],
            ]
        )
        y, x = np.mgrid[: size[1], : size[0]].astype(np.float32).reshape(2, -1)
        x, y = x * scale + unit[0, 2], y * scale + unit[1, 2]
        one, zero = np.ones_like(x), np.zeros_like(x)
        moves_x = [one, zero, x, y, zero, zero, x * x, x * y][:freedoms]
        moves_y = [zero, one, zero, zero, x, y, x * y, y * y][:freedoms]
        return cls(
            np.stack(moves_x, -1).astype(np.float32), np.stack(moves_y, -1).astype(np.float32), unit
        )


def _step(photo: Channels, warped: Channels, valid: Plane, basis: _Basis) -> tuple[Matrix, float]:
    """One weighted Gauss-Newton step: the change of lookup, and the largest move in px."""
    weight = valid * np.clip(coherence(photo, warped, valid, max(valid.shape) / 16), DOUBT, 1) ** 2
    gx, gy = (
        (
            cv2.Sobel(photo, cv2.CV_32F, *axes, scale=1 / 16)
            + cv2.Sobel(warped, cv2.CV_32F, *axes, scale=1 / 16)
        )
        for axes in ((1, 0), (0, 1))
    )  # the mean of both gradients converges to second order
    difference = photo - warped
    xx, xy, yy, dx, dy, both, one, other = (
        (weight * np.einsum("hwc,hwc->hw", a, b)).ravel()
        for a, b in (
            (gx, gx),
            (gx, gy),
            (gy, gy),
            (gx, difference),
            (gy, difference),
            (photo, warped),
            (photo, photo),
            (warped, warped),
        )
    )
    bx, by = basis.x, basis.y
    normal = bx.T @ (xx[:, None] * bx + xy[:, None] * by) + by.T @ (
        xy[:, None] * bx + yy[:, None] * by
    )
    normal = normal.astype(np.float64)
    normal += DAMPING * np.diag(np.diag(normal)) + 1e-12 * np.eye(len(normal))
    # what does not correlate only shortens the step; give it its length back
    agreement = float(both.sum() / np.sqrt(one.sum() * other.sum() + 1e-12))
    p = np.linalg.solve(normal, bx.T @ dx + by.T @ dy) / np.clip(agreement, 0.25, 1)
    size = float(np.abs(p).sum())
    p *= min(1.0, LARGEST_STEP / max(size, 1e-9)) * basis.unit[0, 0]
    p = np.concatenate([p, np.zeros(8 - len(p))])
    change = np.array([[1 + p[2], p[3], p[0]], [p[4], 1 + p[5], p[1]], [-p[6], -p[7], 1]])
    return compose(invert(basis.unit), change, basis.unit), size
