"""Two runs side by side: what changed on the items that both have, and what only one has."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np

from verax.bench.record import OutputRow
from verax.metrics import METRICS
from verax.report.results import Results, label_of
from verax.statistics import Comparison, compare, holm

Name = tuple[str | int, ...]
Pair = tuple[float, float, str]  # value in A, value in B, scene


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of one task and metric under equal protocol: run B minus run A.

    Attributes:
        comparison: of B against A; None for a single scene.
        p_adjusted: its p, Holm-adjusted over all lines; NaN without one.
    """

    task: str
    label: str
    metric: str
    protocol: str
    mean_a: float
    mean_b: float
    n: int
    comparison: Comparison | None
    p_adjusted: float = math.nan

    @property
    def better(self) -> bool | None:
        """Whether B is better; None where they are equal."""
        if self.mean_a == self.mean_b:
            return None
        return (self.mean_b > self.mean_a) == (METRICS[self.metric].direction == "higher")


@dataclass(frozen=True, slots=True)
class Compared:
    """The whole comparison.

    Attributes:
        other_protocols: scores that both runs have, but under different protocols: not compared.
        outcome_changes: "restored -> failed": how often.
    """

    differences: tuple[Difference, ...]
    only_a: int
    only_b: int
    other_protocols: int
    outcome_changes: dict[str, int]


def compare_runs(a: Results, b: Results, *, seed: int = 0) -> Compared:
    """Pair the items of two runs by what they are, not by key, so that versions may differ."""
    rows_a, rows_b = _by_name(a), _by_name(b)
    both = [name for name in rows_a if name in rows_b]
    pairs: dict[tuple[str, str, str, str], list[Pair]] = defaultdict(list)
    apart = 0
    for name in both:
        values_a, values_b = _values(a, rows_a[name]), _values(b, rows_b[name])
        row = rows_a[name]
        task = f"{row.task}, {row.degradation}" if row.degradation else row.task
        for metric, protocol in values_a.keys() & values_b.keys():
            value_a, value_b = values_a[metric, protocol], values_b[metric, protocol]
            pair = value_a, value_b, f"{row.dataset}/{row.scene or row.item}"
            pairs[task, label_of(row.method, row.prior), metric, protocol].append(pair)
        apart += len({m for m, _ in values_a} & {m for m, _ in values_b}) - len(
            values_a.keys() & values_b.keys()
        )
    changed = Counter(
        f"{rows_a[name].outcome} -> {rows_b[name].outcome}"
        for name in both
        if rows_a[name].outcome != rows_b[name].outcome
    )
    rng = np.random.default_rng(seed)
    found = _adjusted([_difference(what, values, rng) for what, values in sorted(pairs.items())])
    only_a, only_b = len(rows_a) - len(both), len(rows_b) - len(both)
    return Compared(tuple(found), only_a, only_b, apart, dict(changed))


def _by_name(results: Results) -> dict[Name, OutputRow]:
    return {
        (o.task, o.dataset, o.item, o.degradation, o.method, o.prior, o.prompt, o.repeat): o
        for o in results.outputs
    }


def _values(results: Results, row: OutputRow) -> dict[tuple[str, str], float]:
    several = results.scores.get(row.key, ())
    return {(s.metric, s.protocol): s.value for s in several if s.value is not None}


def _difference(
    what: tuple[str, str, str, str], values: list[Pair], rng: np.random.Generator
) -> Difference:
    first = np.array([value for value, _, _ in values])
    second = np.array([value for _, value, _ in values])
    scenes = [scene for _, _, scene in values]
    several = len(set(scenes)) > 1
    comparison = compare(second, first, rng=rng, scenes=scenes) if several else None
    return Difference(*what, float(first.mean()), float(second.mean()), len(values), comparison)


def _adjusted(found: list[Difference]) -> list[Difference]:
    tested = [i for i, one in enumerate(found) if one.comparison is not None]
    p_values = [one.comparison.p_value for one in found if one.comparison is not None]
    for i, p_value in zip(tested, holm(p_values) if p_values else [], strict=True):
        found[i] = replace(found[i], p_adjusted=p_value)
    return found
