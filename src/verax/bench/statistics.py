"""Statistics of paired benchmark scores: intervals, paired tests, correction, rank stability.

One value per picture; the same pictures under every method. Values that are missing (NaN) are the
caller's to count: every function here wants finite numbers and says so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError

CONFIDENCE = 0.95
DRAWS = 4000
LARGE = 1000  # pictures from which on resampled means are taken as normal (central limit)
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval; low and high are NaN for a single value."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Method A against method B on the same pictures.

    Attributes:
        difference: mean of A - B with its bootstrap interval.
        p_value: two-sided; the larger of a sign-flip test of the mean and Wilcoxon's signed-rank
            test, so that neither a single outlier nor a trifle on every picture is enough.
        wins: share of pictures on which A is higher; ties count half.
    """

    difference: Interval
    p_value: float
    wins: float


def finite(values: Sequence[float] | Values, *, name: str = "values") -> Values:
    """The values as an array of float64, none missing."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise InputError(
            f"{name}: want a list of finite numbers, got {array.shape} with NaN or inf"
        )
    return array


def mean_interval(
    values: Sequence[float] | Values, *, rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval:
    """Mean with the percentile bootstrap interval (Efron, 1979)."""
    data = finite(values)
    if data.size == 1:
        return Interval(float(data[0]), float("nan"), float("nan"), 1)
    means = resampled_means(data[:, None], rng=rng)[:, 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))


def resampled_means(
    table: Values, *, rng: np.random.Generator, draws: int = DRAWS
) -> NDArray[np.float64]:
    """Means (draws, methods) of a (pictures, methods) table under resampling of the pictures.

    From LARGE pictures on they are drawn from the normal distribution that they converge to.
    """
    if len(table) >= LARGE:
        spread = np.atleast_2d(np.cov(table, rowvar=False, ddof=0)) / len(table)
        return rng.multivariate_normal(table.mean(0), spread, size=draws, method="eigh")
    counts = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=draws)
    return np.asarray(counts @ table / len(table))


def compare(
    a: Sequence[float] | Values, b: Sequence[float] | Values, *, rng: np.random.Generator
) -> Comparison:
    """Method A against method B, one value each per picture, in the same order."""
    first, second = finite(a, name="a"), finite(b, name="b")
    if first.size != second.size:
        raise InputError(f"want paired values, got {first.size} and {second.size}; pair by item")
    differences = first - second
    wins = float(np.mean(differences > 0) + 0.5 * np.mean(differences == 0))
    p_value = max(sign_flip_p(differences, rng=rng), wilcoxon_p(differences))
    return Comparison(mean_interval(differences, rng=rng), p_value, wins)


def sign_flip_p(differences: Values, *, rng: np.random.Generator, draws: int = DRAWS) -> float:
    """Two-sided p of the mean under random signs (Fisher's randomisation test), never zero."""
    if not np.any(differences):
        return 1.0
    if differences.size >= LARGE:  # the sum under random signs is normal with this spread
        z = abs(differences.sum()) / math.sqrt(float(np.sum(differences**2)))
        return max(math.erfc(z / math.sqrt(2)), 1 / (draws + 1))
    signs = rng.integers(0, 2, size=(draws, differences.size)) * 2.0 - 1.0
    null = np.abs(signs @ differences)
    reached = np.count_nonzero(null >= abs(differences.sum()) * (1 - 1e-12))
    return float((reached + 1) / (draws + 1))


def wilcoxon_p(differences: Values) -> float:
    """Two-sided p of Wilcoxon's signed-rank test."""
    from scipy.stats import wilcoxon

    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences, zero_method="pratt", method="approx").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for many comparisons (Holm, 1979), in the order given."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return [float(value) for value in adjusted]


def rank_shares(
    table: Values, *, rng: np.random.Generator, higher_is_better: bool = True
) -> NDArray[np.float64]:
    """How stable a leaderboard is: share of resamples in which method i has rank j (0 is best).

    `table` is (pictures, methods); the answer is (methods, methods), rows sum to 1.
    """
    means = resampled_means(np.asarray(table, np.float64), rng=rng)
    order = np.argsort(-means if higher_is_better else means, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1, kind="stable")
    methods = means.shape[1]
    return np.stack([np.bincount(ranks[:, i], minlength=methods) for i in range(methods)]) / len(
        means
    )


def repeat_spread(groups: Iterable[Sequence[float] | Values]) -> float:
    """Typical spread over repeats: root mean square of each picture's standard deviation.

    `groups` holds the repeats of each picture; pictures with one value say nothing. NaN where none
    has two.
    """
    variances = [np.var(finite(group), ddof=1) for group in groups if len(group) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else float("nan")
