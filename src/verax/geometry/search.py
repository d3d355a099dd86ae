"""Where is the prior? An exhaustive search over scales and shifts at a small size.

For each pair of per-axis scales one FFT correlation of orientation channels gives the score of
every shift at once. The photo mirrored and flipped goes through the same search: what those
controls score is what a picture of another scene scores by chance.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from verax.geometry.features import control_views, correlate, orientation, resize, spectra
from verax.geometry.transforms import Matrix, Size, compose, shift, stretch
from verax.image import Plane

LONG_SIDE = 96  # px of the photo during the search
STEPS = 1.0 + np.linspace(-0.24, 0.24, 9)  # per-axis scales around a hypothesis
REACH = 0.16  # how far the centres may be apart, share of the photo's side
SAME_ASPECT = 0.03  # log ratio of aspects below which nothing but a resize is considered
FAR_ASPECT = 1.4  # and above which a crop would show too little to find


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """How the prior's canvas came about, read from the two sizes.

    Attributes:
        scale: (x, y), photo px per prior px.
        reach: (x, y), how far the centres may be apart, as shares of the photo's sides.
    """

    scale: tuple[float, float]
    reach: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """The best placement of a search.

    Attributes:
        score: correlation there, 1 for identical pictures.
        matrix: prior px to photo px.
        controls: best scores of the photo mirrored, flipped, and both, over the same placements.
        spread: root mean square of the controls' scores over all placements.
    """

    score: float
    matrix: Matrix
    controls: tuple[float, float, float]
    spread: float


def hypotheses(photo: Size, prior: Size) -> list[Hypothesis]:
    """The ways in which a prior of that size can have come from a photo of this size."""
    x, y = photo[0] / prior[0], photo[1] / prior[1]
    found = [Hypothesis((x, y), (REACH, REACH))]
    if SAME_ASPECT < abs(np.log(x / y)) < FAR_ASPECT:
        for scale in (min(x, y), max(x, y)):  # cut to the new shape, or extended to it
            slack = (abs(1 - scale / x) / 2 + REACH, abs(1 - scale / y) / 2 + REACH)
            found.append(Hypothesis((scale, scale), slack))
    return found


def search(photo: Plane, prior: Plane, hypothesis: Hypothesis, sizes: tuple[Size, Size]) -> Found:
    """The best placement of the prior on the photo under one hypothesis.

    Args:
        photo, prior: log-luminance; the photo's long side is LONG_SIDE, the prior is no smaller.
        sizes: (width, height) of the photo and of the prior that the hypothesis and the resulting
            matrix speak of.
    """
    height, width = photo.shape
    plain = (
        hypothesis.scale[0] * sizes[1][0] * width / sizes[0][0],
        hypothesis.scale[1] * sizes[1][1] * height / sizes[0][1],
    )  # size of the prior on the small photo before any further scale
    reach = (hypothesis.reach[0] * width, hypothesis.reach[1] * height)
    room = _room((width, height), plain, reach)
    views = spectra(control_views(orientation(photo)), room)
    best, score = ((width, height), shift(0, 0)), -np.inf
    tops, squares = np.full(4, -np.inf), []
    for x, y in product(STEPS, STEPS):
        size = max(8, round(plain[0] * x)), max(8, round(plain[1] * y))
        rows, columns = (
            _shifts(inner, outer, far)
            for inner, outer, far in zip(size[::-1], photo.shape, reach[::-1], strict=True)
        )
        scores = correlate(views, orientation(resize(prior, size)), room)[:, rows][:, :, columns]
        peaks = scores.reshape(4, -1).max(1)
        tops = np.maximum(tops, peaks)
        squares.append(float(np.mean(scores[1:] ** 2)))
        if peaks[0] > score:
            score = float(peaks[0])
            row, column = np.unravel_index(scores[0].argmax(), scores[0].shape)
            best = size, shift(float(columns[column]), float(rows[row]))
    matrix = compose(stretch((width, height), sizes[0]), best[1], stretch(sizes[1], best[0]))
    controls = (float(tops[1]), float(tops[2]), float(tops[3]))
    return Found(score, matrix, controls, float(np.sqrt(np.mean(squares))))


def _room(photo: Size, prior: tuple[float, float], reach: tuple[float, float]) -> tuple[int, int]:
    """(rows, columns) that keep every wanted shift clear of the wrap-around."""
    rows, columns = (
        scipy.fft.next_fast_len(int(max(photo[i], prior[i] * STEPS[-1]) + reach[i]) + 2, real=True)
        for i in (1, 0)
    )
    return rows, columns


def _shifts(prior: int, photo: int, reach: float) -> NDArray[np.intp]:
    """Positions of the prior's first pixel at which the centres are at most `reach` apart."""
    centre = (photo - prior) / 2
    return np.arange(np.ceil(centre - reach), np.floor(centre + reach) + 1).astype(np.intp)
