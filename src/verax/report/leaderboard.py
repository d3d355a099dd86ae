"""Leaderboards of a stored run: a table per task, degradation, set of pictures, metric, protocol.

A table never mixes values of different protocols, or means over different pictures. If a method
was run on only a part of the pictures (say, those that have a generated picture), there is also a
table about this part, in which all methods are averaged over the part. Each row has its mean and
counts its outcomes. If the method identity (the unchanged photo) was run, each table has it.
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
    adjust_by_holm,
    compare_lines,
    group,
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
        outcomes: number of outputs that are restored, refused, failed, of wrong size, made without
            the prior since it could not be registered, and not made since the method needs a prior
            and there is none, in this order.
        seconds, cost_usd: mean time of an output, and cost of all outputs.
        spread: typical standard deviation over repeats of one picture; NaN without repeats.
        gain: this row minus the unchanged photo, on the pictures both have, in the metric's unit,
            whichever direction is better; None for the unchanged photo itself, and if the pictures
            show fewer than two scenes.
        p_gain: p value of `gain`, Holm-adjusted over the table; NaN if `gain` is None.
        against_best: the best row minus this one, on the pictures both have; None for the best row,
            and if the pictures show fewer than two scenes.
        p_adjusted: p value of `against_best`, Holm-adjusted over the table; NaN if that is None.
        rank_shares: shares of bootstrap resamples in which this row is first, second, ...; () if
            the rows have no picture in common.
        place: 1 for the best mean, 2 for the second, ...; rows without scores come last.
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
        """Share of bootstrap resamples in which this row is the best; NaN if the rows have no
        picture in common."""
        return self.rank_shares[0] if self.rank_shares else NAN

    def count(self, outcome: str) -> int:
        return self.outcomes[OUTCOMES.index(outcome)]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows for one task, degradation, set of pictures, metric and protocol, best first.

    `subset` says in words which pictures of the task these are, "" for all; `pictures` is their
    number. `unscored` has the three most frequent reasons why outputs have no value, as (reason,
    number of outputs).
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
        """The outcomes, such as "failed", that occurred in any row."""
        return tuple(
            o for i, o in enumerate(OUTCOMES) if any(line.outcomes[i] for line in self.lines)
        )

    @property
    def paid(self) -> bool:
        return any(line.cost_usd for line in self.lines)

    @property
    def has_repeats(self) -> bool:
        return any(line.spread == line.spread for line in self.lines)

    @property
    def scenes(self) -> int:
        """The largest number of scenes on which any row was scored."""
        return max((line.interval.scenes for line in self.lines if line.interval), default=0)


def leaderboards(results: Results, *, seed: int = 0) -> list[Table]:
    """The tables of a run, one per task, degradation, set of pictures, metric and protocol.

    `seed` is that of the bootstrap.
    """
    return [
        replace(
            _table(part, subset, metric, protocol, values, seed),
            unscored=_unscored_reasons(results, part, metric),
        )
        for subset, part, metric, protocol, values in group(results)
    ]


def _unscored_reasons(
    results: Results, outputs: Sequence[OutputRow], metric: str
) -> tuple[tuple[str, int], ...]:
    """The three most frequent reasons why outputs have no value of this metric, as (reason, number
    of outputs)."""
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
        Line(method=name[0], prior=name[1], **figure, **_count_fields(rows[name], values))
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
    """The statistics of the methods in `order`, which is best first.

    A method is named by (method, prior). Returns for each (its name, a dict of the statistical
    fields of its row of the table). `per_item` has each method's values by picture, `scenes` the
    scene of each picture. `higher` says whether higher values are better. Every interval uses the
    same `seed` of the bootstrap, so that methods with equal values get equal intervals.
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
    p_gain, p_best = adjust_by_holm(gains), adjust_by_holm(against)
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
    """Values for the statistical fields of a `Line` (row of a table) that has no scores. `place` is
    its place in the table, after all rows with scores."""
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

    `tables` has for each method its values by picture, `scenes` the scene of each picture. `higher`
    says whether higher values are better, `seed` is that of the bootstrap. Only pictures on which
    all methods have a value are used; without any such picture, every entry is ().
    """
    items = shared_pictures(tables)
    if not items:
        return [()] * len(tables)
    values = np.array([[table[item] for table in tables] for item in items])
    names = [scenes[item] for item in items]
    rng = np.random.default_rng(seed)
    shares = statistics.rank_shares(values, rng=rng, scenes=names, higher_is_better=higher)
    return [tuple(float(share) for share in row) for row in shares]


def _count_fields(outputs: list[OutputRow], values: dict[str, float]) -> dict[str, Any]:
    """Values for the fields of a `Line` (row of a table) about all its outputs: counts of outcomes,
    time, cost and spread. `values` has the value of the metric by key of the output."""
    counts = Counter(output.outcome for output in outputs)
    return {
        "outcomes": tuple(counts[outcome] for outcome in OUTCOMES),
        "seconds": float(np.mean([output.seconds for output in outputs])),
        "cost_usd": sum(output.cost_usd for output in outputs),
        "spread": _deviation_of_repeats(outputs, values),
    }


def _deviation_of_repeats(outputs: list[OutputRow], values: dict[str, float]) -> float:
    """Root mean square, over pictures, of the standard deviation over repeats of a picture; NaN
    without repeats. `values` has the value of the metric by key of the output."""
    repeats: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for output in outputs:
        if output.key in values:
            repeats[output.dataset, output.item, output.prompt].append(values[output.key])
    return statistics.repeat_spread(repeats.values())
