"""Statistics of paired results: bootstrap intervals, paired tests, ranks, spread over repeats.

All functions are pure: the random generator is an argument. Pictures of one scene are not
independent (ten haze levels of one view, frames of one video). Therefore `scenes` names the scene
of each picture, and whole scenes are resampled; without it every picture is a scene of its own.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError

CONFIDENCE = 0.95
DRAWS = 4000
LARGE = 1000  # scenes from which resampled means are drawn from a normal distribution
Values = NDArray[np.float64]
Scenes = Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` values, and its bootstrap confidence interval from `low` to `high`.

    `scenes` is the number of scenes that the values come from; for one scene, `low` and `high` are
    NaN.
    """

    mean: float
    low: float
    high: float
    n: int
    scenes: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Method A against method B on the same pictures.

    Attributes:
        difference: mean of A - B, with its bootstrap confidence interval.
        p_value: two-sided; the larger of a sign-flip test of the mean and Wilcoxon's signed-rank
            test, so that neither a single outlier nor a tiny difference everywhere suffices.
        wins: share of pictures on which A is higher; ties count half.
    """

    difference: Interval
    p_value: float
    wins: float


def finite(values: Sequence[float] | Values, *, name: str = "values") -> Values:
    """The values as an array (n,) of float64. Raises InputError, which calls them `name`, if there
    are none, or one is NaN or infinite."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise InputError(
            f"{name}: expected a list of finite numbers, got an array of shape {array.shape} with "
            f"{np.count_nonzero(~np.isfinite(array))} NaN or infinite values; give at least one "
            "number, and leave these values out"
        )
    return array


def by_scene(table: Values, scenes: Scenes) -> tuple[Values, Values]:
    """(sums, counts): for each scene the sum of its pictures' values, (scenes, methods), and the
    number of its pictures, (scenes,). `table`: the values, (pictures, methods); `scenes`: the scene
    of each picture, None if each is a scene of its own."""
    if scenes is None or len(set(scenes)) == len(table):
        return table, np.ones(len(table))
    names, place = np.unique(np.asarray(scenes), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, place, table)
    return sums, np.bincount(place).astype(np.float64)


def mean_interval(
    values: Sequence[float] | Values,
    *,
    rng: np.random.Generator,
    scenes: Scenes = None,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The mean, with its percentile bootstrap interval (Efron, 1979).

    `scenes` has the scene of each value, and whole scenes are resampled; None: each value is a
    scene of its own. `confidence` is a share, such as 0.95.
    """
    data = finite(values)
    count = len(set(scenes)) if scenes is not None else data.size
    if count == 1:
        return Interval(float(data.mean()), float("nan"), float("nan"), int(data.size), 1)
    means = resampled_means(data[:, None], rng=rng, scenes=scenes)[:, 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high), int(data.size), count)


def resampled_means(
    table: Values, *, rng: np.random.Generator, scenes: Scenes = None, draws: int = DRAWS
) -> NDArray[np.float64]:
    """Bootstrap means (draws, methods) of a table of scores (pictures, methods).

    `scenes` has the scene of each picture, and whole scenes are resampled; None: each picture is a
    scene of its own. `draws` is the number of resamples. For 1000 scenes or more, the means are
    drawn from the normal distribution that they converge to, which is faster.
    """
    sums, counts = by_scene(table, scenes)
    if len(sums) >= LARGE:
        mean = sums.sum(0) / counts.sum()
        off = sums - counts[:, None] * mean  # linearised: the number of pictures varies, too
        spread = off.T @ off / counts.sum() ** 2
        return rng.multivariate_normal(mean, spread, size=draws, method="eigh")
    weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)
    return np.asarray((weights @ sums) / (weights @ counts)[:, None])


def compare(
    a: Sequence[float] | Values,
    b: Sequence[float] | Values,
    *,
    rng: np.random.Generator,
    scenes: Scenes = None,
) -> Comparison:
    """The comparison of two methods: `a` and `b` have a value for each picture, in the same order.

    `scenes` has the scene of each picture; None: each picture is a scene of its own.
    """
    first, second = finite(a, name="a"), finite(b, name="b")
    if first.size != second.size:
        raise InputError(
            f"expected two methods with values for the same pictures, got {first.size} and "
            f"{second.size} values; leave out pictures that one of them lacks"
        )
    differences = first - second
    wins = float(np.mean(differences > 0) + 0.5 * np.mean(differences == 0))
    sums, counts = by_scene(differences[:, None], scenes)
    p_value = max(
        sign_flip_p(sums[:, 0], rng=rng),
        wilcoxon_p(sums[:, 0] / counts),
    )
    return Comparison(mean_interval(differences, rng=rng, scenes=scenes), p_value, wins)


def sign_flip_p(differences: Values, *, rng: np.random.Generator, draws: int = DRAWS) -> float:
    """The two-sided p value of Fisher's randomisation test, never 0.

    `differences` has A - B of two methods for each scene. The p value is the share of `draws`
    random choices of signs with which their sum is at least as far from 0 as with the actual signs.
    """
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
    """The two-sided p value of Wilcoxon's signed-rank test, by the normal approximation.

    `differences` has A - B of two methods for each scene. Zeros are treated as by Pratt (1959). The
    value equals that of scipy.stats, a slow import.
    """
    sizes, places, ties = np.unique(np.abs(differences), return_inverse=True, return_counts=True)
    if sizes[-1] == 0:
        return 1.0
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]
    zeros = int(ties[0]) if sizes[0] == 0 else 0
    n, tied = differences.size, ties[1:] if zeros else ties
    expected = (n * (n + 1) - zeros * (zeros + 1)) / 4
    spread = n * (n + 1) * (2 * n + 1) - zeros * (zeros + 1) * (2 * zeros + 1)
    variance = (spread - float((tied.astype(float) ** 3 - tied).sum()) / 2) / 24
    z = (float(ranks[differences > 0].sum()) - expected) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, in the same order, after Holm's correction for multiple tests (1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return [float(value) for value in adjusted]


def rank_shares(
    table: Values,
    *,
    rng: np.random.Generator,
    scenes: Scenes = None,
    higher_is_better: bool = True,
) -> NDArray[np.float64]:
    """How certain the ranks in a leaderboard are, by resampling of scenes.

    Returns (methods, methods): entry [i, j] is the share of resamples in which method i has rank j,
    0 for the best. Equal methods share the better rank. `table`: scores (pictures, methods).
    `scenes` has the scene of each picture; None: each picture is a scene of its own.
    """
    means = resampled_means(np.asarray(table, np.float64), rng=rng, scenes=scenes)
    worth = np.round(means if higher_is_better else -means, 9)  # sums of equal values may differ
    ranks = np.stack([(worth > own[:, None]).sum(1) for own in worth.T], axis=1)
    methods = means.shape[1]
    return np.stack([np.bincount(ranks[:, i], minlength=methods) for i in range(methods)]) / len(
        means
    )


def repeat_spread(groups: Iterable[Sequence[float] | Values]) -> float:
    """The typical spread over repeats: the root mean square of the pictures' standard deviations.

    `groups`: for each picture its values from all repeats. Pictures with a single value do not
    count; if all have only one, the result is NaN.
    """
    variances = [np.var(finite(group), ddof=1) for group in groups if len(group) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else float("nan")
