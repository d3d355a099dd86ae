"""Leaderboards from a stored run: one table per task, degradation, metric and protocol.

Numbers of different protocol never share a table. Every outcome is counted beside the mean, and
the do-nothing row (identity) is always shown when it was run.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from verax.bench import statistics
from verax.bench.record import OUTCOMES, OutputRow, Record, ScoreRow
from verax.bench.statistics import Comparison, Interval
from verax.metrics import METRICS

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """One method with one prior source in one table.

    Attributes:
        interval: mean over the scored pictures; None when none could be scored.
        outcomes: how many items ended in each outcome, in the order of OUTCOMES.
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
    against_best: Comparison | None
    p_adjusted: float
    rank_share: float
    place: int

    @property
    def label(self) -> str:
        return self.method if self.prior == "none" else f"{self.method} ({self.prior})"

    @property
    def items(self) -> int:
        return sum(self.outcomes)


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


def leaderboards(record: Record, *, seed: int = 0) -> list[Table]:
    """Every table of a run."""
    scores: dict[str, list[ScoreRow]] = defaultdict(list)
    for row in record.scores():
        scores[row.key].append(row)
    groups: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for output in record.outputs():
        groups[output.task, output.degradation].append(output)
    tables = []
    for (task, degradation), outputs in sorted(groups.items()):
        measured = {
            (s.metric, s.protocol) for o in outputs for s in scores[o.key] if s.value is not None
        }
        for metric, protocol in sorted(measured):
            values = {
                s.key: s.value
                for o in outputs
                for s in scores[o.key]
                if (s.metric, s.protocol) == (metric, protocol) and s.value is not None
            }
            tables.append(_table(task, degradation, metric, protocol, outputs, values, seed))
    return tables


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
    tested = [c.p_value for c in against if c is not None]
    adjusted = iter(statistics.holm(tested) if tested else [])
    lines = [
        _line(name, rows[name], per_item[name], against[i], adjusted, firsts[i], i + 1, rng)
        for i, name in enumerate(order)
    ]
    lines += [
        _line(name, rows[name], {}, None, iter(()), 0.0, len(order) + 1, rng)
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


def _line(
    name: tuple[str, str],
    outputs: list[OutputRow],
    values: dict[str, float],
    against: Comparison | None,
    adjusted: "Iterable[float]",
    first: float,
    place: int,
    rng: np.random.Generator,
) -> Line:
    counts = Counter(output.outcome for output in outputs)
    p_adjusted = next(iter(adjusted), float("nan")) if against is not None else float("nan")
    return Line(
        method=name[0],
        prior=name[1],
        interval=statistics.mean_interval(list(values.values()), rng=rng) if values else None,
        outcomes=tuple(counts[outcome] for outcome in OUTCOMES),
        seconds=float(np.mean([output.seconds for output in outputs])),
        cost_usd=sum(output.cost_usd for output in outputs),
        against_best=against,
        p_adjusted=p_adjusted,
        rank_share=first,
        place=place,
    )
