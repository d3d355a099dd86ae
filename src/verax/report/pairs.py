"""Every pair of lines of every leaderboard, paired by picture, adjusted for their number."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from verax import statistics
from verax.bench.record import OutputRow
from verax.report.leaderboard import Values, grouped, mean_per_picture
from verax.report.parts import Picture
from verax.report.results import Results, label_of


@dataclass(frozen=True, slots=True)
class Compared:
    """Line A minus line B: mean, interval over scenes, p alone and Holm-adjusted over the table."""

    task: str
    degradation: str
    subset: str
    metric: str
    protocol: str
    line_a: str
    line_b: str
    difference: float
    low: float
    high: float
    pictures: int
    scenes: int
    wins: float
    p_value: float
    p_adjusted: float


def comparisons(results: Results, *, seed: int = 0) -> list[Compared]:
    """Every pair of lines that share pictures of two scenes or more."""
    found = []
    for subset, outputs, metric, protocol, values in grouped(results):
        rows: dict[str, list[OutputRow]] = defaultdict(list)
        for o in outputs:
            rows[label_of(o.method, o.prior)].append(o)
        lines = {label: mean_per_picture(several, values) for label, several in rows.items()}
        scenes = {(o.dataset, o.item): f"{o.dataset}/{o.scene or o.item}" for o in outputs}
        first = outputs[0]
        head = (first.task, first.degradation, subset, metric, protocol)
        found += _pairs(head, lines, scenes, np.random.default_rng(seed))
    return found


def _pairs(
    head: tuple[str, str, str, str, str],
    lines: dict[str, Values],
    scenes: dict[Picture, str],
    rng: np.random.Generator,
) -> list[Compared]:
    told = []
    for a, b in combinations(sorted(lines), 2):
        items = sorted(set(lines[a]) & set(lines[b]))
        names = [scenes[item] for item in items]
        if len(set(names)) > 1:
            ours, theirs = ([lines[label][item] for item in items] for label in (a, b))
            told.append((a, b, statistics.compare(ours, theirs, rng=rng, scenes=names)))
    adjusted = statistics.holm([c.p_value for _, _, c in told]) if told else []
    return [
        Compared(
            *head,
            a,
            b,
            c.difference.mean,
            c.difference.low,
            c.difference.high,
            c.difference.n,
            c.difference.scenes,
            c.wins,
            c.p_value,
            p_adjusted,
        )
        for (a, b, c), p_adjusted in zip(told, adjusted, strict=True)
    ]
