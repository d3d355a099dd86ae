"""Leaderboards from a stored run: one table per task, degradation, metric and protocol.

Numbers of different protocol never share a table. Every outcome is counted beside the mean, and
the do-nothing row (identity) is always shown when it was run.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from verax.bench import statistics
from verax.bench.record import OUTCOMES, OutputRow
from verax.bench.statistics import Comparison, Interval
from verax.metrics import METRICS
from verax.report.results import Results, label_of

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Line:
    """One method with one prior source in one table.

    Attributes:
        interval: mean over the scored pictures; None when none could be scored.
        outcomes: how many items ended in each outcome, in the order of OUTCOMES.
        spread: typical standard deviation over repeats of one picture; NaN without repeats.
        against_best: the best line minus this one on the pictures both have; None for the best.
        p_adjusted: Holm-adjusted over the table; NaN for the best.
        rank_share: share of resamples in which this line is first.
        place: 1 for the best mean, 2 for the second, ...
    """

    method: str
    prior: str
    interval: Interval | None
    outcomes: tuple[int, ...]
    seconds: float
    cost_usd: float
    spread: float
    against_best: Comparison | None
    p_adjusted: float
    rank_share: float
    place: int

    @property
    def label(self) -> str:
        return label_of(self.method, self.prior)

    @property
    def items(self) -> int:
        return sum(self.outcomes)

    def count(self, outcome: str) -> int:
        return self.outcomes[OUTCOMES.index(outcome)]


@dataclass(frozen=True, slots=True)
class Table:
    """The lines of one task, degradation, metric and protocol, best first."""

    task: str
    degradation: str
    metric: str
    unit: str
    protocol: str
    higher_is_better: bool
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        return f"{self.task}, {self.degradation}" if self.degradation else self.task

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


def leaderboards(results: Results, *, seed: int = 0) -> list[Table]:
    """Every table of a run."""
    scores = results.scores
    groups: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for output in results.outputs:
        groups[output.task, output.degradation].append(output)
    tables = []
    for (task, degradation), outputs in sorted(groups.items()):
        found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for output in outputs:
            for s in scores.get(output.key, ()):
                if s.value is not None:
                    found[s.metric, s.protocol][s.key] = s.value
        tables += [
            _table(task, degradation, metric, protocol, outputs, values, seed)
            for (metric, protocol), values in sorted(found.items(), key=_in_order)
        ]
    return tables


def _in_order(found: tuple[tuple[str, str], dict[str, float]]) -> tuple[int, str]:
    """Metrics in the order of their registry: fidelity to the reference comes first."""
    (metric, protocol), _ = found
    return list(METRICS).index(metric), protocol


def _table(
    task: str,
    degradation: str,
    metric: str,
    protocol: str,
    outputs: list[OutputRow],
    values: dict[str, float],
    seed: int,
) -> Table:
    higher = METRICS[metric].direction == "higher"
    rows: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for output in outputs:
        rows[output.method, output.prior].append(output)
    per_item = {name: _per_item(outputs, values) for name, outputs in rows.items()}
    scored = [name for name in rows if per_item[name]]
    sign = 1 if higher else -1
    order = sorted(scored, key=lambda n: -sign * float(np.mean(list(per_item[n].values()))))
    rng = np.random.default_rng(seed)
    firsts = _first_shares([per_item[name] for name in order], higher, rng)
    against = [
        None if i == 0 else _compare(per_item[order[0]], per_item[name], rng)
        for i, name in enumerate(order)
    ]
    adjusted = _adjusted(against)
    lines = [
        Line(
            method=name[0],
            prior=name[1],
            interval=statistics.mean_interval(list(per_item[name].values()), rng=rng),
            against_best=against[i],
            p_adjusted=adjusted[i],
            rank_share=firsts[i],
            place=i + 1,
            **_counted(rows[name], values),
        )
        for i, name in enumerate(order)
    ]
    lines += [
        Line(
            name[0],
            name[1],
            None,
            against_best=None,
            p_adjusted=NAN,
            rank_share=0.0,
            place=len(order) + 1,
            **_counted(rows[name], values),
        )
        for name in rows
        if name not in scored
    ]
    unit = METRICS[metric].unit
    return Table(task, degradation, metric, unit, protocol, higher, tuple(lines))


def _per_item(outputs: Iterable[OutputRow], values: dict[str, float]) -> dict[str, float]:
    """One value per picture: the mean over repeats and prompts."""
    found: dict[str, list[float]] = defaultdict(list)
    for output in outputs:
        if output.key in values:
            found[f"{output.dataset}/{output.item}"].append(values[output.key])
    return {item: float(np.mean(several)) for item, several in found.items()}


def _shared(tables: list[dict[str, float]]) -> list[str]:
    """Pictures that every one of the tables has."""
    return sorted(set.intersection(*(set(t) for t in tables))) if tables else []


def _first_shares(
    tables: list[dict[str, float]], higher: bool, rng: np.random.Generator
) -> list[float]:
    """Share of resamples in which each line is first, over the pictures that all lines share."""
    items = _shared(tables)
    if not items:
        return [float("nan")] * len(tables)
    values = np.array([[table[item] for table in tables] for item in items])
    shares = statistics.rank_shares(values, rng=rng, higher_is_better=higher)
    return [float(share) for share in shares[:, 0]]


def _compare(
    best: dict[str, float], other: dict[str, float], rng: np.random.Generator
) -> Comparison | None:
    items = _shared([best, other])
    if len(items) < 2:
        return None
    return statistics.compare([best[i] for i in items], [other[i] for i in items], rng=rng)


def _adjusted(against: list[Comparison | None]) -> list[float]:
    """Holm-adjusted p values in the order of the lines; NaN where nothing was compared."""
    tested = [i for i, comparison in enumerate(against) if comparison is not None]
    found = [NAN] * len(against)
    p_values = [c.p_value for c in against if c is not None]
    for i, p_value in zip(tested, statistics.holm(p_values) if p_values else [], strict=True):
        found[i] = p_value
    return found


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
