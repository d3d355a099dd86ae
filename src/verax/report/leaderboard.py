"""Leaderboards from a stored run: a table per task, degradation, pictures, metric and protocol.

Numbers of different protocol never share a table, nor do means over different pictures: lines
that were tried on part of the pictures (real outputs exist for some, simulated ones for the others)
get a table of that part, in which every other line is averaged over the same part. Every outcome is
counted beside the mean, and the do-nothing row (identity) is in each table when it was run.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verax import statistics
from verax.bench.record import OUTCOMES, OutputRow
from verax.metrics import METRICS
from verax.report.parts import NOTHING, Name, Picture, parts
from verax.report.results import Results, label_of
from verax.statistics import Comparison, Interval

NAN = float("nan")
MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One method with one prior source in one table.

    Attributes:
        interval: mean over the scored pictures; None when none could be scored.
        outcomes: how many items ended in each outcome, in the order of OUTCOMES.
        spread: typical standard deviation over repeats of one picture; NaN without repeats.
        gain: this line minus doing nothing on the pictures both have; None for that row itself.
        p_gain: of the gain, Holm-adjusted over the table.
        against_best: the best line minus this one on the pictures both have; None for the best.
        p_adjusted: of that, Holm-adjusted over the table; NaN for the best.
        rank_shares: share of resamples in which this line is first, second, ...; () where the
            lines share no picture.
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
        """Share of resamples in which this line leads; NaN where that cannot be told."""
        return self.rank_shares[0] if self.rank_shares else NAN

    def count(self, outcome: str) -> int:
        return self.outcomes[OUTCOMES.index(outcome)]


@dataclass(frozen=True, slots=True)
class Table:
    """The lines of one task, degradation, set of pictures, metric and protocol, best first.

    `subset` tells in words which pictures these are; "" for all of the task. `unscored` counts why
    outputs have no number: (reason, how many).
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
        """The outcomes that occurred in any line."""
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
        """The most scenes that a line was scored on."""
        return max((line.interval.scenes for line in self.lines if line.interval), default=0)


Group = tuple[str, list[OutputRow], str, str, dict[str, float]]


def leaderboards(results: Results, *, seed: int = 0) -> list[Table]:
    """Every table of a run."""
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
    """Why outputs have no number of this metric, the most frequent reasons first."""
    told = (s for o in outputs for s in results.scores.get(o.key, ()) if s.metric == metric)
    return tuple(Counter(s.reason for s in told if s.value is None).most_common(MOST_REASONS))


def grouped(results: Results) -> Iterator[Group]:
    """What may stand in one table: (subset, outputs, metric, protocol, value by key)."""
    groups: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for output in results.outputs:
        groups[output.task, output.degradation].append(output)
    for _, outputs in sorted(groups.items()):
        for subset, part in parts(outputs):
            found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
            for output in part:
                for s in results.scores.get(output.key, ()):
                    if s.value is not None:
                        found[s.metric, s.protocol][s.key] = s.value
            for (metric, protocol), values in sorted(found.items(), key=_in_order):
                yield subset, part, metric, protocol, values


def _in_order(found: tuple[tuple[str, str], dict[str, float]]) -> tuple[int, str]:
    """Metrics in the order of their registry: fidelity to the reference comes first."""
    (metric, protocol), _ = found
    return list(METRICS).index(metric), protocol


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
    scenes = {(o.dataset, o.item): f"{o.dataset}/{o.scene or o.item}" for o in outputs}
    lines = _lines(order, per_item, scenes, higher=higher, seed=seed)
    unscored = [name for name in rows if not per_item[name]]
    told = [
        Line(method=name[0], prior=name[1], **said, **_counted(rows[name], values))
        for name, said in [*lines, *((name, _silent(len(order) + 1)) for name in unscored)]
    ]
    first, unit = outputs[0], METRICS[metric].unit
    pictures = len(scenes)
    return Table(
        first.task, first.degradation, subset, pictures, metric, unit, protocol, higher, tuple(told)
    )


Values = dict[Picture, float]


def _lines(
    order: list[Name],
    per_item: dict[Name, Values],
    scenes: dict[Picture, str],
    *,
    higher: bool,
    seed: int,
) -> list[tuple[Name, dict[str, Any]]]:
    """What the statistics say of the lines that have scores, best first.

    Every figure draws from the seed anew, so that equal lines get equal intervals.
    """
    shares = _rank_shares([per_item[name] for name in order], scenes, higher, seed)
    best = per_item[order[0]] if order else {}
    nothing = per_item.get(NOTHING, {})
    gains = [
        None if name == NOTHING else _compare(per_item[name], nothing, scenes, seed)
        for name in order
    ]
    against = [
        None if i == 0 else _compare(best, per_item[name], scenes, seed)
        for i, name in enumerate(order)
    ]
    p_gain, p_best = _adjusted(gains), _adjusted(against)
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


def _silent(place: int) -> dict[str, Any]:
    """A line without any score."""
    return {
        "interval": None,
        "gain": None,
        "p_gain": NAN,
        "against_best": None,
        "p_adjusted": NAN,
        "rank_shares": (),
        "place": place,
    }


def mean_per_picture(outputs: Iterable[OutputRow], values: dict[str, float]) -> Values:
    """One value per picture: the mean over repeats and prompts."""
    found: dict[Picture, list[float]] = defaultdict(list)
    for output in outputs:
        if output.key in values:
            found[output.dataset, output.item].append(values[output.key])
    return {item: float(np.mean(several)) for item, several in found.items()}


def _shared(tables: Sequence[Values]) -> list[Picture]:
    """Pictures that every one of the tables has."""
    return sorted(set.intersection(*(set(t) for t in tables))) if tables else []


def _rank_shares(
    tables: list[Values], scenes: dict[Picture, str], higher: bool, seed: int
) -> list[tuple[float, ...]]:
    """Shares of every rank by line, over the pictures that all lines share."""
    items = _shared(tables)
    if not items:
        return [()] * len(tables)
    values = np.array([[table[item] for table in tables] for item in items])
    names = [scenes[item] for item in items]
    rng = np.random.default_rng(seed)
    shares = statistics.rank_shares(values, rng=rng, scenes=names, higher_is_better=higher)
    return [tuple(float(share) for share in row) for row in shares]


def _compare(
    first: Values, second: Values, scenes: dict[Picture, str], seed: int
) -> Comparison | None:
    """First minus second on the pictures both have; None for fewer than two scenes."""
    items = _shared([first, second])
    names = [scenes[item] for item in items]
    if len(set(names)) < 2:
        return None
    return statistics.compare(
        [first[i] for i in items],
        [second[i] for i in items],
        rng=np.random.default_rng(seed),
        scenes=names,
    )


def _adjusted(found: list[Comparison | None]) -> list[float]:
    """Holm-adjusted p values in the order of the lines; NaN where nothing was compared."""
    tested = [i for i, comparison in enumerate(found) if comparison is not None]
    adjusted = [NAN] * len(found)
    p_values = [c.p_value for c in found if c is not None]
    for i, p_value in zip(tested, statistics.holm(p_values) if p_values else [], strict=True):
        adjusted[i] = p_value
    return adjusted


def _counted(outputs: list[OutputRow], values: dict[str, float]) -> dict[str, Any]:
    """What a line says about all its items, scored or not."""
    counts = Counter(output.outcome for output in outputs)
    return {
        "outcomes": tuple(counts[outcome] for outcome in OUTCOMES),
        "seconds": float(np.mean([output.seconds for output in outputs])),
        "cost_usd": sum(output.cost_usd for output in outputs),
        "spread": _spread(outputs, values),
    }


def _spread(outputs: list[OutputRow], values: dict[str, float]) -> float:
    """Root mean square of the standard deviation over the repeats of each picture; else NaN."""
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for output in outputs:
        if output.key in values:
            found[output.dataset, output.item, output.prompt].append(values[output.key])
    return statistics.repeat_spread(found.values())
