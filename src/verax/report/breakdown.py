"""The breakdown of a run: where priors help, what generators changed, how good their pictures are.

A run with --deviation also gives medians of the deviations, the loss ladder (PSNR of priors after
each of several corrections) and a score, 10 - drift / 10; drift sums up all deviations, 0..100.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from verax.bench import OutputRow
from verax.metrics import METRICS
from verax.report.results import Results, gains_of, label_of, task_of, values_of

GROUPS = 4
FOREIGN = ("not", "undecided")  # values of "placed" for an output that shows another scene
FEWEST = 8  # least number of outputs that are split into groups
COLUMNS = {
    "drift": "drift (0–100)",
    "aspect_change": "aspect change",
    "shift_x_px": "shift x (px)",
    "shift_y_px": "shift y (px)",
    "scale_x": "scale x",
    "rotation_deg": "rotation (°)",
    "local_motion_median_px": "local motion (px)",
    "objects_area": "changed objects (share)",
    "invented_edges": "invented edges (share)",
    "lost_edges": "lost edges (share)",
}


@dataclass(frozen=True, slots=True)
class Group:
    """`n` outputs whose registration confidence or drift lies between `low` and `high`, and their
    mean gain over the unchanged photo, in a metric; a positive gain is better."""

    low: float
    high: float
    n: int
    gain: float


@dataclass(frozen=True, slots=True)
class Split:
    """How much a method gains over the unchanged photo, in groups of outputs.

    Attributes:
        by: "registration confidence" (0..1) or "drift" (the size of all deviations, 0..100).
        metric: the metric in which the gain is measured.
        label: the method with its kind of prior, such as "full (files)".
        groups: about equally large, from the lowest numbers to the highest.
    """

    by: str
    metric: str
    label: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """How the outputs of one method deviate from their photos, on one task.

    Attributes:
        label: the method with its kind of prior, such as "full (files)".
        n: number of outputs.
        medians: of ten measured numbers, such as drift and shift, in the order of the constant
            COLUMNS; None for a number without any value.
        scene_changed: number of outputs with changed time of day or light, such as night made day.
        foreign: number of outputs that show another scene, or for which this is uncertain.
    """

    generator: str
    task: str
    label: str
    n: int
    medians: tuple[float | None, ...]
    scene_changed: int
    foreign: int


@dataclass(frozen=True, slots=True)
class Rungs:
    """The loss ladder: mean PSNR of `n` priors, uncorrected and after each of several corrections
    (size, geometry, colour). `source` is the kind of prior with its generator; `steps` are (name of
    the correction, PSNR in dB), the uncorrected priors first."""

    task: str
    source: str
    n: int
    steps: tuple[tuple[str, float], ...]


def splits(results: Results, *, metric: str = "psnr") -> list[Split]:
    """For each method, its gain over the unchanged photo by registration confidence and by drift.

    Drift is the size of all deviations, 0..100. The outputs of a method form four groups by each of
    the two; methods with fewer than 8 outputs are left out.
    """
    gains = gains_of(results, metric)
    points: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for o in results.outputs:
        if o.key not in gains:
            continue
        gain, label = gains[o.key], label_of(o.method, o.prior)
        registration = json.loads(o.registration) if o.registration else {}
        if "confidence" in registration:
            points["registration confidence", label].append((registration["confidence"], gain))
        if o.key in results.deviations:
            points["drift", label].append((results.deviations[o.key]["drift"], gain))
    return [
        Split(by, metric, label, _groups(pairs))
        for (by, label), pairs in sorted(points.items())
        if len(pairs) >= FEWEST
    ]


def _groups(pairs: list[tuple[float, float]]) -> tuple[Group, ...]:
    parts = np.array_split(np.array(sorted(pairs)), GROUPS)
    return tuple(
        Group(float(p[0, 0]), float(p[-1, 0]), len(p), float(p[:, 1].mean())) for p in parts
    )


def changes(results: Results) -> list[Changes]:
    """How outputs with measured deviations differ from their photos, by generator, task, method."""
    rows: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for o in results.outputs:
        if o.key in results.deviations:
            model = o.generator if o.prior == "files" or o.prior.startswith("provider:") else ""
            rows[model or f"none ({o.prior})", o.task, label_of(o.method, o.prior)].append(o.key)
    return [
        _changes(*name, [results.deviations[k] for k in keys])
        for name, keys in sorted(rows.items())
    ]


def _changes(generator: str, task: str, label: str, entries: list[dict[str, Any]]) -> Changes:
    columns = ([e[name] for e in entries if e.get(name) is not None] for name in COLUMNS)
    medians = tuple(float(np.median(values)) if values else None for values in columns)
    changed = sum(entry["scene_state"] != "same" for entry in entries)
    foreign = sum(entry["placed"] in FOREIGN for entry in entries)
    return Changes(generator, task, label, len(entries), medians, changed, foreign)


def ladders(results: Results) -> list[Rungs]:
    """Loss ladders (mean PSNR of priors after each correction) by task, prior and generator."""
    ladders: dict[tuple[str, str], list[list[tuple[str, float]]]] = defaultdict(list)
    for o in results.outputs:
        steps = results.deviations.get(o.key, {}).get("ladder")
        if steps:
            source = f"{o.prior}, {o.generator}" if o.generator else o.prior
            ladders[o.task, source].append([(name, psnr) for name, psnr, _ in steps])
    return [
        Rungs(
            task,
            source,
            len(items),
            tuple(
                (name, float(np.mean([item[i][1] for item in items])))
                for i, (name, _) in enumerate(items[0])
            ),
        )
        for (task, source), items in sorted(ladders.items())
    ]


@dataclass(frozen=True, slots=True)
class ByDataset:
    """Means of one metric on one task: a row per method, a column per dataset.

    `lines` are (method, cells); a cell is (mean, number of outputs), or None without a score.
    """

    task: str
    metric: str
    datasets: tuple[str, ...]
    lines: tuple[tuple[str, tuple[tuple[float, int] | None, ...]], ...]


def by_dataset(results: Results, *, metric: str = "psnr") -> list[ByDataset]:
    """For each task with several datasets, a table with the mean on each dataset."""
    values = values_of(results, metric)
    lines_by_task: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for o in results.outputs:
        if o.key in values:
            lines_by_task[task_of(o)][label_of(o.method, o.prior)][o.dataset].append(values[o.key])
    tables = []
    for task, lines in sorted(lines_by_task.items()):
        datasets = tuple(sorted({name for several in lines.values() for name in several}))
        if len(datasets) > 1:
            means = (
                (label, tuple(_mean(several.get(name, [])) for name in datasets))
                for label, several in lines.items()
            )
            tables.append(ByDataset(task, metric, datasets, tuple(means)))
    return tables


def _mean(values: list[float]) -> tuple[float, int] | None:
    return (float(np.mean(values)), len(values)) if values else None


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the pictures of one generator are by themselves, on one task.

    Attributes:
        source: the generator, or the kind of prior if the generator is unknown.
        score: 10 - (mean drift) / 10; drift is the size of all deviations, 0..100. None if unknown.
        success: share of the items whose picture has the right size, shows the photo's scene and
            is no worse than the unchanged photo by `metric`.
        best_of: expected best value of `metric` among K pictures of one photo, for K = 1, 2, ...
        seconds: (size of the photo as "WxH", mean seconds of the service, number of calls), small
            sizes first; () where unknown, as for pictures from files.
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
    """One entry per generator and task, from outputs of raw-prior (the prior, only resized)."""
    values, gains = values_of(results, metric), gains_of(results, metric)
    groups: dict[tuple[str, str], list[OutputRow]] = defaultdict(list)
    for o in results.outputs:
        if o.method == "raw-prior":
            groups[o.task, o.generator or o.prior].append(o)
    higher = METRICS[metric].direction == "higher"
    qualities = []
    for (task, source), rows in sorted(groups.items()):
        drifts = [results.deviations[r.key]["drift"] for r in rows if r.key in results.deviations]
        repeats: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for r in rows:
            if r.key in values:
                repeats[r.dataset, r.item, r.degradation, r.prompt].append(values[r.key])
        qualities.append(
            Quality(
                task,
                source,
                len(rows),
                10 - float(np.mean(drifts)) / 10 if drifts else None,
                sum(_is_success(r, results, gains) for r in rows) / len(rows),
                metric,
                best_of(list(repeats.values()), higher_is_better=higher),
                _seconds(rows),
            )
        )
    return qualities


def _is_success(row: OutputRow, results: Results, gains: dict[str, float]) -> bool:
    """Whether a picture has the right size, shows the photo's scene and is no worse than the photo.

    `gains` has by key of the output how much better it is; without an entry it counts as equal.
    """
    foreign = results.deviations.get(row.key, {}).get("placed") in FOREIGN
    return row.outcome == "restored" and not foreign and gains.get(row.key, 0.0) >= 0


def _seconds(rows: list[OutputRow]) -> tuple[tuple[str, float, int], ...]:
    """(photo size "WxH", mean seconds of the service, number of calls), smallest size first."""
    by_size: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in rows:
        if row.prior_seconds is not None:
            by_size[row.width, row.height].append(row.prior_seconds)
    sizes = sorted(by_size.items(), key=lambda one: one[0][0] * one[0][1])
    return tuple((f"{w}x{h}", float(np.mean(times)), len(times)) for (w, h), times in sizes)


def best_of(groups: list[list[float]], *, higher_is_better: bool = True) -> tuple[float, ...]:
    """Expected best value of K pictures for one photo, for K = 1, 2, ... up to the smallest group.

    A group has the n values of all pictures for one photo, of which K are drawn without
    replacement; the result is the mean over groups, () without any. Of values sorted from worst to
    best, the i-th (from 0) is the best of K with probability C(i, K - 1) / C(n, K).
    """
    if not groups:
        return ()
    ordered = [sorted(group, reverse=not higher_is_better) for group in groups]

    def best(group: list[float], k: int) -> float:
        return sum(comb(i, k - 1) * value for i, value in enumerate(group)) / comb(len(group), k)

    most = min(map(len, ordered))
    return tuple(float(np.mean([best(g, k) for g in ordered])) for k in range(1, most + 1))
