"""Where a prior helps: gain over doing nothing, by registration confidence and by drift.

Also what each model changed (medians of the deviation vector) and the loss ladder, both only
where the run measured them (--deviation).
"""

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from verax.report.results import Results, label_of, values_of

GROUPS = 4
FEWEST = 8  # items for which groups are worth showing
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
    """Items whose quantity lies in [low, high]: how many, and their mean gain."""

    low: float
    high: float
    n: int
    gain: float


@dataclass(frozen=True, slots=True)
class Split:
    """The gain of one line in groups of equal size, from the lowest to the highest quantity."""

    by: str
    metric: str
    label: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one line changed on one task: medians, None where nobody could tell.

    `foreign` counts outputs that show another scene, of which nothing can be measured.
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
    """The loss ladder of one task and prior source: (step, mean PSNR in dB over n items)."""

    task: str
    source: str
    n: int
    steps: tuple[tuple[str, float], ...]


def splits(results: Results, *, metric: str = "psnr") -> list[Split]:
    """Gain over the do-nothing row by registration confidence, and by drift."""
    values = values_of(results, metric)
    nothing = {
        (o.dataset, o.item, o.degradation): values[o.key]
        for o in results.outputs
        if o.method == "identity" and o.key in values
    }
    points: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for o in results.outputs:
        base = nothing.get((o.dataset, o.item, o.degradation))
        if base is None or o.key not in values:
            continue
        gain, label = values[o.key] - base, label_of(o.method, o.prior)
        found = json.loads(o.registration) if o.registration else {}
        if "confidence" in found:
            points["registration confidence", label].append((found["confidence"], gain))
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
    """Medians of the deviation vector per task, model and line."""
    rows: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for o in results.outputs:
        if o.key in results.deviations:
            model = o.generator if o.prior == "files" or o.prior.startswith("provider:") else ""
            rows[model or f"none ({o.prior})", o.task, label_of(o.method, o.prior)].append(o.key)
    found = []
    for (generator, task, label), keys in sorted(rows.items()):
        several = [results.deviations[key] for key in keys]
        medians = []
        for name in COLUMNS:
            told = [one[name] for one in several if one.get(name) is not None]
            medians.append(float(np.median(told)) if told else None)
        changed = sum(one["scene_state"] != "same" for one in several)
        foreign = sum(one["placed"] in ("not", "undecided") for one in several)
        found.append(Changes(generator, task, label, len(keys), tuple(medians), changed, foreign))
    return found


def ladders(results: Results) -> list[Rungs]:
    """The mean loss ladder per task and prior source: real and simulated ones are apart."""
    found: dict[tuple[str, str], list[list[tuple[str, float]]]] = defaultdict(list)
    for o in results.outputs:
        steps = results.deviations.get(o.key, {}).get("ladder")
        if steps:
            source = f"{o.prior}, {o.generator}" if o.generator else o.prior
            found[o.task, source].append([(name, psnr) for name, psnr, _ in steps])
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
        for (task, source), items in sorted(found.items())
    ]


@dataclass(frozen=True, slots=True)
class ByDataset:
    """Means of one metric by line and dataset of one task: (mean, pictures) or None."""

    task: str
    metric: str
    datasets: tuple[str, ...]
    lines: tuple[tuple[str, tuple[tuple[float, int] | None, ...]], ...]


def by_dataset(results: Results, *, metric: str = "psnr") -> list[ByDataset]:
    """What a task's mean is made of, for tasks with several datasets."""
    values = values_of(results, metric)
    found: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for o in results.outputs:
        if o.key in values:
            task = f"{o.task}, {o.degradation}" if o.degradation else o.task
            found[task][label_of(o.method, o.prior)][o.dataset].append(values[o.key])
    tables = []
    for task, lines in sorted(found.items()):
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
