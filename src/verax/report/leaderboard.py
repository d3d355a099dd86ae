"""Leaderboards of a stored run: a table per task, degradation, pictures, metric and protocol.

Numbers of different protocols never share a table, nor do means over different pictures: methods
that were run on part of the pictures (real priors exist for some, simulated ones for the others)
get a table of that part, in which every other method is averaged over the same part. Every outcome
is counted beside the mean. If the unchanged photo (method identity) was run, each table has it.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verax import statistics
from verax.bench import OUTCOMES, OutputRow
from verax.metrics import METRICS
from verax.report.results import (
    NOTHING,
    Name,
    Picture,
    Results,
    Values,
    compare_lines,
    grouped,
    holm_adjusted,
    label_of,
    mean_per_picture,
    scene_of,
    shared_pictures,
)
from verax.statistics import Comparison, Interval

NAN = float("nan")
MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: a method with one kind of prior.

    Attributes:
        interval: mean over the scored pictures with its 95 % interval; None without scores.
        outcomes: how many items ended in each outcome, in the order of OUTCOMES.
        seconds, cost_usd: mean time of an item, and cost of all items.
        spread: typical standard deviation over repeats of one picture; NaN without repeats.
        gain: this row minus the unchanged photo, on the pictures both have; None for that row.
        p_gain: p value of `gain`, Holm-adjusted over the table.
        against_best: the best row minus this one, on the pictures both have; None for the best.
        p_adjusted: p value of `against_best`, Holm-adjusted over the table; NaN for the best.
        rank_shares: share of bootstrap resamples in which this row is first, second, ...; () if
            the rows have no picture in common.
        place: 1 for the best mean, 2 for the second, ...
    """

    method: str
    prior: str
    interval: Interval | None
    outcomes: tuple[int, ...]
    seconds: float
    cost_usd: float
    spread: float
    gain: Comparison | None
    p_gain: float
    against_best: Comparison | None
    p_adjusted: float
    rank_shares: tuple[float, ...]
    place: int

    @property
    def label(self) -> str:
        return label_of(self.method, self.prior)

    @property
    def items(self) -> int:
        return sum(self.outcomes)

    @property
    def rank_share(self) -> float:
        """Share of resamples in which this row is the best; NaN without a common picture."""
        return self.rank_shares[0] if self.rank_shares else NAN

    def count(self, outcome: str) -> int:
        return self.outcomes[OUTCOMES.index(outcome)]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows for one task, degradation, set of pictures, metric and protocol, best first.

    `subset` says in words which pictures these are; "" for all of the task. `unscored` are the
    most frequent reasons why outputs have no value, as (reason, number of outputs).
    """

    task: str
    degradation: str
    subset: str
    pictures: int
    metric: str
    unit: str
    protocol: str
    higher_is_better: bool
    lines: tuple[Line, ...]
    unscored: tuple[tuple[str, int], ...] = ()

    @property
    def title(self) -> str:
        title = f"{self.task}, {self.degradation}" if self.degradation else self.task
        return f"{title}, {self.subset}" if self.subset else title

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The outcomes that occurred in any row."""
        return tuple(
            o for i, o in enumerate(OUTCOMES) if any(line.outcomes[i] for line in self.lines)
        )

    @property
    def paid(self) -> bool:
        return any(line.cost_usd for line in self.lines)

    @property
    def repeated(self) -> bool:
        return any(line.spread == line.spread for line in self.lines)

    @property
    def scenes(self) -> int:
        """The largest number of scenes on which a row was scored."""
        return max((line.interval.scenes for line in self.lines if line.interval), default=0)


def leaderboards(results: Results, *, seed: int = 0) -> list[Table]:
    """The tables of a run, one per task, degradation, set of pictures, metric and protocol."""
    return [
        replace(
            _table(part, subset, metric, protocol, values, seed),
            unscored=_unscored(results, part, metric),
        )
        for subset, part, metric, protocol, values in grouped(results)
    ]


def _unscored(
    results: Results, outputs: Sequence[OutputRow], metric: str
) -> tuple[tuple[str, int], ...]:
    """(reason, number of outputs) for outputs without a value of this metric, by frequency."""
    scores = (s for o in outputs for s in results.scores.get(o.key, ()) if s.metric == metric)
    return tuple(Counter(s.reason for s in scores if s.value is None).most_common(MOST_REASONS))


def _table(
    outputs: Sequence[OutputRow],
    subset: str,
    metric: str,
    protocol: str,
    values: dict[str, float],
    seed: int,
) -> Table:
    higher = METRICS[metric].direction == "higher"
    rows: dict[Name, list[OutputRow]] = defaultdict(list)
    for output in outputs:
        rows[output.method, output.prior].append(output)
    per_item = {name: mean_per_picture(several, values) for name, several in rows.items()}
    sign = -1 if higher else 1
    order = sorted(
        (name for name in rows if per_item[name]),
        key=lambda name: sign * float(np.mean(list(per_item[name].values()))),
    )
    scenes = {(o.dataset, o.item): scene_of(o) for o in outputs}
    figures = _figures(order, per_item, scenes, higher=higher, seed=seed)
    figures += [(name, _without_score(len(order) + 1)) for name in rows if not per_item[name]]
    lines = [
        Line(method=name[0], prior=name[1], **figure, **_counted(rows[name], values))
        for name, figure in figures
    ]
    first, unit = outputs[0], METRICS[metric].unit
    head = first.task, first.degradation, subset, len(scenes), metric, unit, protocol
    return Table(*head, higher, tuple(lines))


def _figures(
    order: list[Name],
    per_item: dict[Name, Values],
    scenes: dict[Picture, str],
    *,
    higher: bool,
    seed: int,
) -> list[tuple[Name, dict[str, Any]]]:
    """The statistics of the methods in `order`, each as (method, fields of its `Line`).

    Every interval uses the same seed, so that methods with equal values get equal intervals.
    """
    shares = _rank_shares([per_item[name] for name in order], scenes, higher, seed)
    best = per_item[order[0]] if order else {}
    nothing = per_item.get(NOTHING, {})
    gains, against = list[Comparison | None](), list[Comparison | None]()
    for place, name in enumerate(order):
        line, rng = per_item[name], np.random.default_rng(seed)
        gains.append(None if name == NOTHING else compare_lines(line, nothing, scenes, rng))
        rng = np.random.default_rng(seed)
        against.append(None if place == 0 else compare_lines(best, line, scenes, rng))
    p_gain, p_best = holm_adjusted(gains), holm_adjusted(against)
    return [
        (
            name,
            {
                "interval": statistics.mean_interval(
                    list(per_item[name].values()),
                    rng=np.random.default_rng(seed),
                    scenes=[scenes[p] for p in per_item[name]],
                ),
                "gain": gains[i],
                "p_gain": p_gain[i],
                "against_best": against[i],
                "p_adjusted": p_best[i],
                "rank_shares": shares[i],
                "place": i + 1,
            },
        )
        for i, name in enumerate(order)
    ]


def _without_score(place: int) -> dict[str, Any]:
    """The statistical fields of a `Line` that has no scores; it comes last, at `place`."""
    return {
        "interval": None,
        "gain": None,
        "p_gain": NAN,
        "against_best": None,
        "p_adjusted": NAN,
        "rank_shares": (),
        "place": place,
    }


def _rank_shares(
    tables: list[Values], scenes: dict[Picture, str], higher: bool, seed: int
) -> list[tuple[float, ...]]:
    """For each method, the shares of bootstrap resamples in which it has rank 1, 2, ...

    `tables` has the values of each method. Only pictures that all methods have count; without any,
    every entry is ().
    """
    items = shared_pictures(tables)
    if not items:
        return [()] * len(tables)
    values = np.array([[table[item] for table in tables] for item in items])
    names = [scenes[item] for item in items]
    rng = np.random.default_rng(seed)
    shares = statistics.rank_shares(values, rng=rng, scenes=names, higher_is_better=higher)
    return [tuple(float(share) for share in row) for row in shares]


def _counted(outputs: list[OutputRow], values: dict[str, float]) -> dict[str, Any]:
    """The fields of a `Line` that count all its items, scored or not."""
    counts = Counter(output.outcome for output in outputs)
    return {
        "outcomes": tuple(counts[outcome] for outcome in OUTCOMES),
        "seconds": float(np.mean([output.seconds for output in outputs])),
        "cost_usd": sum(output.cost_usd for output in outputs),
        "spread": _spread(outputs, values),
    }


def _spread(outputs: list[OutputRow], values: dict[str, float]) -> float:
    """Standard deviation over the repeats of a picture (RMS over pictures); NaN without repeats."""
    repeats: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for output in outputs:
        if output.key in values:
            repeats[output.dataset, output.item, output.prompt].append(values[output.key])
    return statistics.repeat_spread(repeats.values())
