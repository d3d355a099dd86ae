"""Fit of one matrix for the whole picture by Gauss-Newton steps on orientation channels.

Pixels are weighted by how well photo and prior already agree there, so that invented objects,
streaks and noise do not disturb the fit.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry import Matrix, Size, compose, corners, invert, map_points, shift
from verax.geometry.features import MARGIN, Channels, Level, View, coherence_of, dot
from verax.image import Plane

COARSE = Level(96, (4, 6), 6, 2.0, 10, sampling=1)
MIDDLE = Level(192, (4, 6, 8), 6, 2.0, 8)
FINE = Level(384, (4, 6, 8), 8, 2.0, 6)
LAST = Level(480, (8,), 8, 1.5, 6, 0.01)  # only for pairs whose fine structure agrees
WORTH = 0.04  # least gain of a transform with more parameters, as a fraction of 1 - score
SLACK = 0.002  # a step may lower the score by this much, because the overlap varies
LARGEST_MOVE = 0.2  # largest move of a corner from the start, as a fraction of the long side
LARGEST_STEP = 8.0  # px of a level; longer steps are shortened, the linear model does not hold
DOUBT = 0.02  # least weight of a pixel, so that a wrong start can be corrected
DAMPING = 1e-3  # of Levenberg-Marquardt, relative to the diagonal of the normal matrix


def is_plausible(matrix: Matrix, start: Matrix, size: Size) -> bool:
    """Whether a fitted matrix is plausible.

    It must not move a corner of the photo by more than 20 % of the long side from where `start`
    puts it, nor fold the picture. Both matrices map prior px to photo px; `size` is (width, height)
    of the photo.
    """
    moved = map_points(compose(matrix, invert(start)), corners(size))
    if np.linalg.norm(moved - corners(size), axis=1).max() > LARGEST_MOVE * max(size):
        return False
    sides = np.roll(moved, -1, axis=0) - moved
    turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1]
    turns = turns - sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
    return bool((turns > 0).all())


def refine(view: View, level: Level) -> tuple[Matrix, float]:
    """Refine the matrix of a view with the settings `level`.

    Returns the new matrix (prior px to photo px) and its score: the correlation in the overlap
    times the square root of the overlapping fraction, so that a smaller overlap does not raise the
    score. To avoid fitting noise, a transform with more parameters is used only if it reduces
    (1 - score) by at least 4 %.
    """
    samples = _SampledView.of(view, level.sampling)
    best, best_score = np.eye(3), -np.inf
    for freedoms in level.freedoms:
        lookup, score = _climb(samples, best, freedoms, level)
        if best_score < 0 or score > best_score + WORTH * (1 - best_score):
            best, best_score = lookup, score
    there = compose(view.to_photo, invert(best), invert(view.to_photo))
    return compose(there, view.matrix), best_score


def _climb(
    samples: "_SampledView", lookup: Matrix, freedoms: int, level: Level
) -> tuple[Matrix, float]:
    """Take Gauss-Newton steps from the matrix `lookup`; returns the best matrix and its score.

    Matrices map px of the reduced photo to px of the warped prior, counted from the first pixel
    inside its margin. `freedoms` is the number of parameters that are fitted: 4, 6 or 8.
    """
    best, best_score, step = lookup, -np.inf, np.inf
    for _ in range(level.rounds + 1):
        warped, valid = samples.prior_at(lookup), samples.at(lookup, samples.valid)
        products = _Products.of(samples, warped, valid)
        score = products.correlation() * float(np.sqrt(valid.mean()))
        if score > best_score - SLACK:  # the score does not show small gains
            best, best_score = lookup, max(score, best_score)
        if step < level.small_step:
            break
        change, step = _step(samples, warped, samples.slopes_at(lookup), products, freedoms)
        lookup = compose(lookup, change)
    return best, best_score


@dataclass(frozen=True, slots=True)
class _SampledView:
    """A view at every n-th pixel of the reduced photo, with gradients for Gauss-Newton steps.

    Attributes:
        photo: channels (h, w, 4) at the samples.
        slopes: half the gradient of `photo`, along x and along y.
        energy: (h, w) scalar product of the photo's channels with themselves.
        prior: channels of the prior at every pixel, with the view's margin of 16 px.
        prior_slopes: half the gradient of `prior`, along x and along y.
        valid: fraction of each pixel of `prior` that the prior covers.
        apart: px between samples.
        moments: computes weighted sums over the samples.
    """

    photo: Channels
    slopes: tuple[Channels, Channels]
    energy: Plane
    prior: Channels
    prior_slopes: tuple[Channels, Channels]
    valid: Plane
    apart: int
    moments: "_Moments"

    @classmethod
    def of(cls, view: View, apart: int) -> "_SampledView":
        size, some = (view.photo.shape[1], view.photo.shape[0]), np.s_[::apart, ::apart]
        photo, across, down = (
            np.ascontiguousarray(plane[some]) for plane in (view.photo, *_slope(view.photo))
        )
        return cls(
            photo,
            (across, down),
            dot(photo, photo),
            view.prior,
            _slope(view.prior),
            view.valid,
            apart,
            _Moments.of(size, apart),
        )

    def at(self, lookup: Matrix, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sample `array`, which is as large as `prior` (margin included), at each sample's place.

        `lookup` (3, 3) maps px of the reduced photo to places in `array`, counted from the first
        pixel inside the margin, not from the corner of the margin.
        """
        size = self.photo.shape[1], self.photo.shape[0]
        place = shift(MARGIN, MARGIN) @ lookup @ np.diag([self.apart, self.apart, 1.0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpPerspective(array, place, size, flags=flags), np.float32)

    def prior_at(self, lookup: Matrix) -> Channels:
        return self.at(lookup, self.prior)

    def slopes_at(self, lookup: Matrix) -> tuple[Channels, Channels]:
        """Half the prior's gradient at the place of each sample, along x and y of the prior's grid.

        `lookup` (3, 3) maps px of the reduced photo to px of the warped prior, as in `at`.
        """
        across, down = (self.at(lookup, slope) for slope in self.prior_slopes)
        return across, down


@dataclass(frozen=True, slots=True)
class _Products:
    """Scalar products of channels at each sample (h, w), weighted by the coverage `valid`.

    `both` is photo with prior, `one` photo with photo, `other` prior with prior.
    """

    both: Plane
    one: Plane
    other: Plane
    valid: Plane

    @classmethod
    def of(cls, samples: _SampledView, warped: Channels, valid: Plane) -> "_Products":
        both, other = dot(samples.photo, warped) * valid, dot(warped, warped) * valid
        return cls(both, samples.energy * valid, other, valid)

    def correlation(self) -> float:
        """Correlation of photo and prior over all samples, in [-1, 1]."""
        norm = float(self.one.sum()) * float(self.other.sum())
        return float(self.both.sum()) / float(np.sqrt(norm + 1e-9))

    def weight(self) -> Plane:
        """The weight in [0, 1] of each sample: `valid` times the squared local correlation."""
        window = max(self.valid.shape) / 16
        agreed = coherence_of((self.both, self.one, self.other), window)
        return np.asarray(self.valid * np.clip(agreed, DOUBT, 1) ** 2, np.float32)


# Each of the eight parameters (2 of shift, 2 of scale, 2 of shear, 2 of perspective) moves a pixel
# along x and along y by x^i y^j, with x and y in -1..1 along the longer side. These are their
# (i, j); None: no move along this axis.
ALONG_X = ((0, 0), None, (1, 0), None, (0, 1), None, (2, 0), (1, 1))
ALONG_Y = (None, (0, 0), None, (0, 1), None, (1, 0), (1, 1), (0, 2))
HIGHEST = 4  # highest power of x or y in a product of two such terms


@dataclass(frozen=True, slots=True)
class _Moments:
    """Computes sums over samples of a plane times x^i y^j, for the normal equations of a fit.

    Attributes:
        x, y: (W, 5) and (H, 5) powers 0 to 4 of each column's x, and of each row's y.
        unit: matrix from px to the coordinates x and y, which are -1 to 1 along the longer side.
    """

    x: NDArray[np.float32]  # (W, HIGHEST + 1)
    y: NDArray[np.float32]  # (H, HIGHEST + 1)
    unit: Matrix

    @classmethod
    def of(cls, size: Size, apart: int) -> "_Moments":
        scale = 2 / max(size)
        left, top = (-(side - 1) / 2 * scale for side in size)
        unit = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]])
        x, y = (
            (np.arange(0, side, apart) * scale + start)[:, None] ** np.arange(HIGHEST + 1)
            for side, start in zip(size, (left, top), strict=True)
        )
        return cls(x.astype(np.float32), y.astype(np.float32), unit)

    def __call__(self, plane: Plane) -> NDArray[np.float64]:
        """(5, 5) array whose element [j, i] is the sum of plane * x^i * y^j over all samples."""
        return np.asarray(self.y.T @ (plane @ self.x), np.float64)

    def normal(self, xx: Plane, xy: Plane, yy: Plane) -> NDArray[np.float64]:
        """The normal matrix (8, 8) of the fit, from weighted products of gradients, each (h, w).

        `xx`, `xy` and `yy` are the products of the gradients along x and x, x and y, y and y.
        """
        along = (ALONG_X, ALONG_Y)
        matrix = np.zeros((8, 8))
        for plane, pairs in ((xx, ((0, 0),)), (xy, ((0, 1), (1, 0))), (yy, ((1, 1),))):
            sums = self(plane)
            for one, other in pairs:
                matrix += _scatter(sums, along[one], along[other])
        return matrix

    def right(self, dx: Plane, dy: Plane) -> NDArray[np.float64]:
        """The right-hand side (8,) of the normal equations.

        `dx`, `dy` (h, w): weighted residual (photo - prior) times gradient, along x and along y.
        """
        sums = self(dx), self(dy)
        return np.array(
            [
                sum(m[k[1], k[0]] for m, k in zip(sums, powers, strict=True) if k is not None)
                for powers in zip(ALONG_X, ALONG_Y, strict=True)
            ]
        )


Powers = tuple[tuple[int, int] | None, ...]


def _scatter(sums: NDArray[np.float64], one: Powers, other: Powers) -> NDArray[np.float64]:
    """(8, 8) part of the normal matrix, with an element of `sums` for each row and column.

    Args:
        sums: element [j, i] is the sum of a plane times x^i y^j over all samples.
        one: powers (i, j) of each row: its parameter moves a pixel by x^i y^j. None: by nothing.
        other: the same for each column. Powers of row and column are added; None gives 0.
    """
    return np.array(
        [
            [0.0 if a is None or b is None else sums[a[1] + b[1], a[0] + b[0]] for b in other]
            for a in one
        ]
    )


def _slope(channels: Channels) -> tuple[Channels, Channels]:
    """Half the gradient of the channels, along x and along y.

    Photo and prior each give half: with the mean of both gradients, the fit converges faster.
    """
    across, down = (
        cv2.Sobel(channels, cv2.CV_32F, *axes, scale=1 / 16) for axes in ((1, 0), (0, 1))
    )
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def _step(
    samples: _SampledView,
    warped: Channels,
    slopes: tuple[Channels, Channels],
    products: _Products,
    freedoms: int,
) -> tuple[Matrix, float]:
    """Compute one weighted Gauss-Newton step of `freedoms` parameters.

    `warped`, `slopes` are the prior's channels and half their gradient at the samples, `products`
    the scalar products of channels. Returns the step as a matrix (new lookup = lookup @ step), and
    its size in px: the sum of its parameters' absolute values, before it was limited to 8 px.
    """
    weight, moments = products.weight(), samples.moments
    gx, gy = (one + other for one, other in zip(samples.slopes, slopes, strict=True))
    difference = samples.photo - warped
    pairs = ((gx, gx), (gx, gy), (gy, gy), (gx, difference), (gy, difference))
    xx, xy, yy, dx, dy = (weight * dot(a, b) for a, b in pairs)
    normal = moments.normal(xx, xy, yy)[:freedoms, :freedoms]
    normal += DAMPING * np.diag(np.diag(normal)) + 1e-12 * np.eye(freedoms)
    # structure that photo and prior do not share shortens the step, so it is lengthened
    trust = weight / np.maximum(products.valid, 1e-6)
    both, one, other = ((trust * p).sum() for p in (products.both, products.one, products.other))
    agreement = float(both / np.sqrt(one * other + 1e-12))
    p = np.linalg.solve(normal, moments.right(dx, dy)[:freedoms]) / np.clip(agreement, 0.25, 1)
    size = float(np.abs(p).sum())
    p *= min(1.0, LARGEST_STEP / max(size, 1e-9)) * moments.unit[0, 0]
    p = np.concatenate([p, np.zeros(8 - len(p))])
    change = np.array([[1 + p[2], p[4], p[0]], [p[5], 1 + p[3], p[1]], [-p[6], -p[7], 1]])
    return compose(invert(moments.unit), change, moments.unit), size
