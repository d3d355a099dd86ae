"""A generator by itself, as others report it: score, seconds by size, success by task, best of K.

The score out of ten is 10 - drift / 10, so 10 is a picture that changed nothing it should not have.
An answer succeeds when it came in the size asked for, shows the photo's scene, and is not worse
than doing nothing where that can be told.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import comb

import numpy as np

from verax.bench.record import OutputRow
from verax.metrics import METRICS
from verax.report.results import Results, values_of

METHOD = "raw-prior"


@dataclass(frozen=True, slots=True)
class Quality:
    """One model (and prior source) on one task.

    Attributes:
        score: mean score out of ten; None where no deviation was measured.
        success: share of all items, refused and failed ones included.
        best_of: expected best value of the metric among K repeats, for K = 1, 2, ...
        seconds: (width x height of the photo, mean seconds of the service, how many calls) from
            small to large; () where nobody knows, as for pictures that were there before.
    """

    task: str
    source: str
    items: int
    score: float | None
    success: float
    metric: str
    best_of: tuple[float, ...]
    seconds: tuple[tuple[str, float, int], ...]


def qualities(results: Results, *, metric: str = "psnr") -> list[Quality]:
    """Every model and task of the raw prior in a run."""
    values = values_of(results, metric)
    nothing = {
        _picture(o): values[o.key]
        for o in results.outputs
        if o.method == "identity" and o.key in values
    }
    groups: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for o in results.outputs:
        if o.method == METHOD:
            groups[o.task, o.generator or o.prior].append(o)
    higher = METRICS[metric].direction == "higher"
    sign = 1.0 if higher else -1.0
    gains = {
        o.key: sign * (values[o.key] - nothing[_picture(o)])
        for o in results.outputs
        if o.key in values and _picture(o) in nothing
    }
    found = []
    for (task, source), rows in sorted(groups.items()):
        told = [results.deviations[r.key] for r in rows if r.key in results.deviations]
        repeats: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for r in rows:
            if r.key in values:
                repeats[*_picture(r), r.prompt].append(values[r.key])
        found.append(
            Quality(
                task,
                source,
                len(rows),
                10 - float(np.mean([one["drift"] for one in told])) / 10 if told else None,
                sum(_succeeded(r, results, gains) for r in rows) / len(rows),
                metric,
                best_of(list(repeats.values()), higher_is_better=higher),
                _seconds(rows),
            )
        )
    return found


def _picture(row: OutputRow) -> tuple[str, ...]:
    return row.dataset, row.item, row.degradation


def _succeeded(row: OutputRow, results: Results, gains: dict[str, float]) -> bool:
    foreign = results.deviations.get(row.key, {}).get("placed") in ("not", "undecided")
    return row.outcome == "restored" and not foreign and gains.get(row.key, 0.0) >= 0


def _seconds(rows: list[OutputRow]) -> tuple[tuple[str, float, int], ...]:
    """Mean seconds of the service by size of the photo, small ones first."""
    by_size: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in rows:
        if row.prior_seconds is not None:
            by_size[row.width, row.height].append(row.prior_seconds)
    sizes = sorted(by_size.items(), key=lambda one: one[0][0] * one[0][1])
    return tuple((f"{w}x{h}", float(np.mean(told)), len(told)) for (w, h), told in sizes)


def best_of(groups: list[list[float]], *, higher_is_better: bool = True) -> tuple[float, ...]:
    """Expected best of K drawn without replacement, mean over groups, K = 1 ... fewest repeats.

    Of n sorted values the i-th (from 0) is the best of K with probability
    C(i, K - 1) / C(n, K).
    """
    if not groups:
        return ()
    ordered = [sorted(group, reverse=not higher_is_better) for group in groups]
    return tuple(
        float(
            np.mean(
                [
                    sum(comb(i, k - 1) * value for i, value in enumerate(group))
                    / comb(len(group), k)
                    for group in ordered
                ]
            )
        )
        for k in range(1, min(map(len, ordered)) + 1)
    )
