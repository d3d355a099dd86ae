"""The data of a report: the rows of a run, read once, and which of them may be compared.

Values of different protocols are never compared, nor are means over different pictures. Tests are
paired by picture and their p values adjusted for the number of tests (Holm). Bootstrap intervals
resample whole scenes.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verax.bench import OutputRow, Record, ScoreRow
from verax.metrics import METRICS
from verax.statistics import Comparison, compare, holm

Name = tuple[str, str]  # method, prior
Picture = tuple[str, str]  # dataset, item
Values = dict[Picture, float]
Group = tuple[str, list[OutputRow], str, str, dict[str, float]]
WORDS = {"files": "generated pictures", "simulated": "simulated priors"}
NOTHING = ("identity", "none")  # the method that returns the photo unchanged


@dataclass(frozen=True, slots=True)
class Results:
    """The data of a run: all outputs, and for each output's key its scores and its deviation.

    A deviation is a dict of measured numbers by name, such as "drift".
    """

    outputs: list[OutputRow]
    scores: dict[str, list[ScoreRow]]
    deviations: dict[str, dict[str, Any]]


def read(record: Record) -> Results:
    """Read everything that a report needs from an open run folder."""
    scores: dict[str, list[ScoreRow]] = defaultdict(list)
    for row in record.scores():
        scores[row.key].append(row)
    entries = ((key, json.loads(text)) for key, text in record.deviations())
    deviations = {key: entry for key, entry in entries if "failed" not in entry}
    return Results(list(record.outputs()), dict(scores), deviations)


def label_of(method: str, prior: str) -> str:
    """The name in tables of a method with a kind of prior, such as "full (files)"; without
    a prior ("none"), the method alone."""
    return method if prior == "none" else f"{method} ({prior})"


def task_of(row: OutputRow) -> str:
    """The output's task, or "task, degradation" if the degradation is simulated."""
    return f"{row.task}, {row.degradation}" if row.degradation else row.task


def scene_of(row: OutputRow) -> str:
    """The scene of an output, as "dataset/scene", or "dataset/picture" if no scene is known."""
    return f"{row.dataset}/{row.scene or row.item}"


def values_of(results: Results, metric: str) -> dict[str, float]:
    """The values of a metric by key of the output; outputs without a value are left out."""
    return {
        s.key: s.value
        for several in results.scores.values()
        for s in several
        if s.metric == metric and s.value is not None
    }


def gains_of(results: Results, metric: str) -> dict[str, float]:
    """By key of the output: by how much its metric is better than that of the unchanged photo.

    Negative if it is worse. The unchanged photo is that of the same picture and degradation. An
    output is left out if it or the unchanged photo has no value.
    """
    values = values_of(results, metric)
    nothing = {
        (o.dataset, o.item, o.degradation): values[o.key]
        for o in results.outputs
        if o.method == NOTHING[0] and o.key in values
    }
    sign = 1.0 if METRICS[metric].direction == "higher" else -1.0
    names = ((o.key, (o.dataset, o.item, o.degradation)) for o in results.outputs)
    return {
        key: sign * (values[key] - nothing[name])
        for key, name in names
        if key in values and name in nothing
    }


def parts(outputs: Sequence[OutputRow]) -> list[tuple[str, list[OutputRow]]]:
    """Split the outputs of a task so that each part compares methods on the same pictures.

    Returns one part, (name, outputs), for every set of pictures on which a method was run. It has
    the outputs of all methods that were run on all of these pictures. Names are in words, such as
    "generated pictures". The part with all pictures comes first and is named ""; there is none if
    only the unchanged photo was run on all pictures.
    """
    tried: dict[Name, set[Picture]] = defaultdict(set)
    for o in outputs:
        tried[o.method, o.prior].add((o.dataset, o.item))
    whole = set().union(*tried.values())
    owners: dict[frozenset[Picture], list[Name]] = defaultdict(list)
    for name, pictures in tried.items():
        owners[frozenset(pictures)].append(name)
    tables = []
    for part, names in sorted(owners.items(), key=lambda one: (-len(one[0]), one[1])):
        if names == [NOTHING] and len(owners) > 1:
            continue
        lines = {name for name, pictures in tried.items() if pictures >= part}
        rows = [o for o in outputs if (o.method, o.prior) in lines and (o.dataset, o.item) in part]
        sources = sorted({prior for _, prior in names if prior != "none"})
        words = " and ".join(WORDS.get(source, source) for source in sources) or "no prior"
        tables.append(("" if part == whole else words, rows))
    return tables


def group(results: Results) -> Iterator[Group]:
    """The contents of each table: (subset, outputs, metric, protocol, value by key of the output).

    The subset says in words which pictures of the task the table is about, "" for all.
    """
    groups: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for output in results.outputs:
        groups[output.task, output.degradation].append(output)
    for _, outputs in sorted(groups.items()):
        for subset, part in parts(outputs):
            values: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
            for output in part:
                for s in results.scores.get(output.key, ()):
                    if s.value is not None:
                        values[s.metric, s.protocol][s.key] = s.value
            for (metric, protocol), by_key in sorted(values.items(), key=_in_order):
                yield subset, part, metric, protocol, by_key


def _in_order(entry: tuple[tuple[str, str], dict[str, float]]) -> tuple[int, str]:
    """Sort key for ((metric, protocol), values): the metric's index in METRICS, the protocol."""
    (metric, protocol), _ = entry
    return list(METRICS).index(metric), protocol


def mean_per_picture(outputs: Iterable[OutputRow], values: dict[str, float]) -> Values:
    """For each picture, the mean of `values` (by key of the output) over repeats and prompts."""
    several: dict[Picture, list[float]] = defaultdict(list)
    for output in outputs:
        if output.key in values:
            several[output.dataset, output.item].append(values[output.key])
    return {item: float(np.mean(numbers)) for item, numbers in several.items()}


def shared_pictures(tables: Sequence[Values]) -> list[Picture]:
    """The pictures that have a value in each of `tables` (one per method, with its values by
    picture), sorted by dataset and name."""
    return sorted(set.intersection(*(set(t) for t in tables))) if tables else []


def compare_lines(
    first: Values, second: Values, scenes: dict[Picture, str], rng: np.random.Generator
) -> Comparison | None:
    """Compare two methods, `first` minus `second`, on the pictures for which both have a value.

    Both are the values of a method by picture. `scenes` has the scene of each picture; `rng`
    resamples scenes. Returns None if the compared pictures show fewer than two scenes.
    """
    pictures = shared_pictures([first, second])
    names = [scenes[picture] for picture in pictures]
    if len(set(names)) < 2:
        return None
    ours, theirs = ([line[picture] for picture in pictures] for line in (first, second))
    return compare(ours, theirs, rng=rng, scenes=names)


def adjust_by_holm(comparisons: Sequence[Comparison | None]) -> list[float]:
    """The p value of each comparison, Holm-adjusted over all; NaN where there is no comparison."""
    p_values = [c.p_value for c in comparisons if c is not None]
    adjusted = iter(holm(p_values) if p_values else [])
    return [math.nan if c is None else next(adjusted) for c in comparisons]


@dataclass(frozen=True, slots=True)
class Difference:
    """One method in runs A and B, compared by one metric on one task, under the same protocol.

    Attributes:
        label: the method with its kind of prior, such as "full (files)".
        mean_a, mean_b: means of the metric over the `n` outputs that both runs have.
        comparison: B minus A; None if the pictures show a single scene.
        p_adjusted: p value of the comparison, Holm-adjusted over all differences of the two runs;
            NaN without a comparison.
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
        """Whether the mean of B is better than that of A; None if the means are equal."""
        if self.mean_a == self.mean_b:
            return None
        return (self.mean_b > self.mean_a) == (METRICS[self.metric].direction == "higher")


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The differences between two runs, A and B.

    Attributes:
        differences: one per method, task, metric and protocol, on the outputs that both runs have.
        only_a, only_b: number of outputs that only A, or only B, has.
        other_protocols: number of scores that were not compared, since their protocols differ.
        outcome_changes: number of outputs by change of outcome, such as "restored -> failed".
    """

    differences: tuple[Difference, ...]
    only_a: int
    only_b: int
    other_protocols: int
    outcome_changes: dict[str, int]


def compare_runs(a: Results, b: Results, *, seed: int = 0) -> RunComparison:
    """Compare two runs on the outputs that both have; their versions of Verax may differ.

    Outputs are paired by picture, degradation, method, prior, prompt and repeat, not by key. `seed`
    is that of the bootstrap.
    """
    rows_a, rows_b = _by_name(a), _by_name(b)
    both = [(rows_a[name], rows_b[name]) for name in rows_a if name in rows_b]
    pairs: dict[tuple[str, str, str, str], list[tuple[float, float, str]]] = defaultdict(list)
    apart = 0
    for row, other in both:
        values_a, values_b = _values(a, row), _values(b, other)
        common, label = values_a.keys() & values_b.keys(), label_of(row.method, row.prior)
        for metric, protocol in common:
            pair = values_a[metric, protocol], values_b[metric, protocol], scene_of(row)
            pairs[task_of(row), label, metric, protocol].append(pair)
        apart += len({m for m, _ in values_a} & {m for m, _ in values_b}) - len(common)
    changed = Counter(
        f"{row.outcome} -> {other.outcome}" for row, other in both if row.outcome != other.outcome
    )
    rng = np.random.default_rng(seed)
    differences = [_difference(what, values, rng) for what, values in sorted(pairs.items())]
    adjusted = adjust_by_holm([one.comparison for one in differences])
    return RunComparison(
        tuple(replace(d, p_adjusted=p) for d, p in zip(differences, adjusted, strict=True)),
        len(rows_a) - len(both),
        len(rows_b) - len(both),
        apart,
        dict(changed),
    )


def _by_name(results: Results) -> dict[tuple[str | int, ...], OutputRow]:
    return {
        (o.task, o.dataset, o.item, o.degradation, o.method, o.prior, o.prompt, o.repeat): o
        for o in results.outputs
    }


def _values(results: Results, row: OutputRow) -> dict[tuple[str, str], float]:
    several = results.scores.get(row.key, ())
    return {(s.metric, s.protocol): s.value for s in several if s.value is not None}


def _difference(
    what: tuple[str, str, str, str],
    values: list[tuple[float, float, str]],
    rng: np.random.Generator,
) -> Difference:
    first, second = (np.array([pair[side] for pair in values]) for side in (0, 1))
    scenes = [scene for _, _, scene in values]
    several = len(set(scenes)) > 1
    comparison = compare(second, first, rng=rng, scenes=scenes) if several else None
    return Difference(*what, float(first.mean()), float(second.mean()), len(values), comparison)
