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
    shift,
    stretch,
)
from verax.geometry.warp import warp
from verax.image import Image, Plane


@dataclass(frozen=True, slots=True)
class Level:
    """One size of the coarse-to-fine fit.

    Attributes:
        long_side: of the photo, px.
        freedoms: of the motions tried in turn: 4 for shift and scales, 6 affine, 8 projective.
        window: sigma in px of the neighbourhood that edge strength is made relative to.
        smooth: sigma in px of the blur of the channels.
        rounds: most Gauss-Newton steps.
    """

    long_side: int
    freedoms: tuple[int, ...]
    window: float
    smooth: float
    rounds: int


COARSE = Level(96, (4, 6), 6, 2.0, 10)
MIDDLE = Level(192, (4, 6, 8), 6, 2.0, 8)
FINE = Level(384, (4, 6, 8), 8, 2.0, 6)
LAST = Level(480, (8,), 8, 1.5, 6)  # for pairs whose fine structure agrees
MARGIN = 16  # px of a level that the prior is seen beyond the photo
EDGE = 3  # px: channels this near to the prior's border are not its own
WORTH = 0.04  # see refine
SLACK = 0.002  # by which the score may fall: overlap varies as much on its own
SMALL_STEP = 0.01  # px: the fit has converged
LARGEST_MOVE = 0.2  # of the long side: corners that a fit may move from its start
LARGEST_STEP = 8.0  # px of a level: beyond it the linear model does not hold
DOUBT = 0.02  # weight of incoherent regions, so that a wrong start can still be left
DAMPING = 1e-3


@dataclass(frozen=True, slots=True)
class View:
    """Photo and prior as channels on the photo's grid at one level.

    Attributes:
        photo: channels (h, w, 4).
        prior: channels as seen through `matrix`, so that both describe the same directions; zero
            where it shows nothing, MARGIN px wider than the photo on every side.
        valid: share of each pixel that the prior shows, as wide.
        matrix: prior px to photo px, as assumed for this view.
        to_photo: level px to photo px.
    """

    photo: Channels
    prior: Channels
    valid: Plane
    matrix: Matrix
    to_photo: Matrix

    def through(self, lookup: Matrix) -> tuple[Channels, Plane]:
        """Prior and valid share on the photo's grid, looked up at `lookup` (level px)."""
        size = self.photo.shape[1], self.photo.shape[0]
        place, flags = shift(MARGIN, MARGIN) @ lookup, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return (
            np.asarray(cv2.warpPerspective(self.prior, place, size, flags=flags), np.float32),
            np.asarray(cv2.warpPerspective(self.valid, place, size, flags=flags), np.float32),
        )

    def in_place(self) -> tuple[Channels, Plane]:
        """Prior and valid share on the photo's grid, where `matrix` puts them."""
        inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
        return self.prior[inner], self.valid[inner]


def view(photo: Image, prior: Image, matrix: Matrix, level: Level) -> View:
    """Both pictures as channels on the photo's grid at one level."""
    size = photo.shape[1], photo.shape[0]
    small = scaled(size, min(1.0, level.long_side / max(size)))
    to_photo = stretch(small, size)
    wide = small[0] + 2 * MARGIN, small[1] + 2 * MARGIN
    onto = compose(shift(MARGIN, MARGIN), invert(to_photo), matrix)
    seen, valid = warp(prior, onto, None, wide)
    one, other = (
        orientation(log_luminance(image, grid), window=level.window, smooth=level.smooth)
        for image, grid in ((photo, small), (seen, wide))
    )
    shown = cv2.erode(valid, np.ones((EDGE, EDGE), np.uint8))
    return View(one, other * shown[..., None], shown, matrix, to_photo)


def bounded(matrix: Matrix, start: Matrix, size: Size) -> bool:
    """Whether the fit stayed a plausible move of where it started: corners near, nothing folded."""
    moved = map_points(compose(matrix, invert(start)), corners(size))
    if np.linalg.norm(moved - corners(size), axis=1).max() > LARGEST_MOVE * max(size):
        return False
    sides = np.roll(moved, -1, axis=0) - moved
    turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1]
    turns = turns - sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
    return bool((turns > 0).all())


def refine(seen: View, level: Level) -> tuple[Matrix, float]:
    """A better matrix (prior px to photo px) than the view's, and its score.

    The score is the correlation over the overlap times the square root of the overlap's share, so
    that it cannot rise by losing overlap. A motion of more freedoms is taken only if it explains a
    share WORTH of what the simpler one left open: weak pairs would fit their noise with it.
    """
    basis = _Basis.of((seen.photo.shape[1], seen.photo.shape[0]))
    best, best_score = np.eye(3), -np.inf
    for freedoms in level.freedoms:
        lookup, score = _climb(seen, best, basis, freedoms, level.rounds)
        if best_score < 0 or score > best_score + WORTH * (1 - best_score):
            best, best_score = lookup, score
    there = compose(seen.to_photo, invert(best), invert(seen.to_photo))
    return compose(there, seen.matrix), best_score


def _climb(
    seen: View, lookup: Matrix, basis: "_Basis", freedoms: int, rounds: int
) -> tuple[Matrix, float]:
    """The last step of Gauss-Newton that did not lower the score, and the best score."""
    best, best_score, step = lookup, -np.inf, np.inf
    for _ in range(rounds + 1):
        warped, valid = seen.through(lookup)
        score = correlation(seen.photo, warped, valid) * float(np.sqrt(valid.mean()))
        if score > best_score - SLACK:  # a finished step is nearer than its score can tell
            best, best_score = lookup, max(score, best_score)
        if step < SMALL_STEP:
            break
        change, step = _step(seen.photo, warped, valid, basis, freedoms)
        lookup = compose(lookup, change)
    return best, best_score


@dataclass(frozen=True, slots=True)
class _Basis:
    """How each parameter moves each pixel, in coordinates -1..1 of the longer side."""

    x: NDArray[np.float32]  # (H * W, 8): shift, scales, shears, perspective
    y: NDArray[np.float32]
    unit: Matrix  # px to normalised coordinates

    @classmethod
    def of(cls, size: Size) -> "_Basis":
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
        moves_x = [one, zero, x, zero, y, zero, x * x, x * y]
        moves_y = [zero, one, zero, y, zero, x, x * y, y * y]
        return cls(
            np.stack(moves_x, -1).astype(np.float32), np.stack(moves_y, -1).astype(np.float32), unit
        )


def _step(
    photo: Channels, warped: Channels, valid: Plane, basis: _Basis, freedoms: int
) -> tuple[Matrix, float]:
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
    bx, by = basis.x[:, :freedoms], basis.y[:, :freedoms]
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
    change = np.array([[1 + p[2], p[4], p[0]], [p[5], 1 + p[3], p[1]], [-p[6], -p[7], 1]])
    return compose(invert(basis.unit), change, basis.unit), size
