"""Two runs side by side: what changed on the items that both have, and what only one has."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from verax.bench.record import OutputRow
from verax.bench.statistics import Comparison, compare
from verax.metrics import METRICS
from verax.report.results import Results, label_of

Name = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of one task and metric under equal protocol: run B minus run A."""

    task: str
    label: str
    metric: str
    protocol: str
    mean_a: float
    mean_b: float
    n: int
    comparison: Comparison | None  # of B against A; None for a single pair

    @property
    def better(self) -> bool | None:
        """Whether B is better; None where they are equal."""
        if self.mean_a == self.mean_b:
            return None
        return (self.mean_b > self.mean_a) == (METRICS[self.metric].direction == "higher")


@dataclass(frozen=True, slots=True)
class Compared:
    """The whole comparison."""

    differences: tuple[Difference, ...]
    only_a: int
    only_b: int
    outcome_changes: dict[str, int]  # "restored -> failed": how often


def compare_runs(a: Results, b: Results, *, seed: int = 0) -> Compared:
    """Pair the items of two runs by what they are, not by key, so that versions may differ."""
    rows_a, rows_b = _by_name(a), _by_name(b)
    both = [name for name in rows_a if name in rows_b]
    pairs: dict[tuple[str, str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for name in both:
        values_a, values_b = _values(a, rows_a[name]), _values(b, rows_b[name])
        row = rows_a[name]
        for what in values_a.keys() & values_b.keys():
            pair = values_a[what], values_b[what]
            pairs[row.task, label_of(row.method, row.prior), *what].append(pair)
    changed = Counter(
        f"{rows_a[name].outcome} -> {rows_b[name].outcome}"
        for name in both
        if rows_a[name].outcome != rows_b[name].outcome
    )
    rng = np.random.default_rng(seed)
    found = tuple(_difference(what, values, rng) for what, values in sorted(pairs.items()))
    only_a, only_b = len(rows_a) - len(both), len(rows_b) - len(both)
    return Compared(found, only_a, only_b, dict(changed))


def _by_name(results: Results) -> dict[Name, OutputRow]:
    return {
        (o.task, o.dataset, o.item, o.degradation, o.method, o.prior, o.prompt, o.repeat): o
        for o in results.outputs
    }


def _values(results: Results, row: OutputRow) -> dict[tuple[str, str], float]:
    several = results.scores.get(row.key, ())
    return {(s.metric, s.protocol): s.value for s in several if s.value is not None}


def _difference(
    what: tuple[str, str, str, str], values: list[tuple[float, float]], rng: np.random.Generator
) -> Difference:
    first, second = np.array(values).T
    comparison = compare(second, first, rng=rng) if len(values) > 1 else None
    return Difference(*what, float(first.mean()), float(second.mean()), len(values), comparison)
