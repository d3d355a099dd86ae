"""The pictures of a report, as compact rows for the page's script.

Names, reasons and picture sources stand once in lists, rows point into them, so that a report over
100,000 outputs stays a file that a browser opens.
"""

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verax.bench.record import OUTCOMES, OutputRow
from verax.metrics import METRICS
from verax.report.embedding import Pictures
from verax.report.results import Results, label_of

NOTHING = -1
MOST_OVERLAYS = 1200  # pictures with arrows and boxes, about 12 KB each; the export has all numbers


@dataclass(slots=True)
class Index:
    """Values, each once; `of` gives the place of a value."""

    values: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def of(self, value: str) -> int:
        if not value:
            return NOTHING
        if value not in self.places:
            self.places[value] = len(self.values)
            self.values.append(value)
        return self.places[value]


@dataclass(slots=True)
class Rows:
    """Turns output rows into rows of places; every picture file is read once at most."""

    results: Results
    folder: Path  # of the run
    pictures: Pictures
    metrics: list[str]
    labels: Index = field(default_factory=Index)
    reasons: Index = field(default_factory=Index)
    sources: Index = field(default_factory=Index)
    seen: dict[str, int] = field(default_factory=dict)
    drawn: int = 0

    def picture(self, name: str, path: Path) -> int:
        """Place of a picture's source; `name` stands for its content."""
        if name not in self.seen:
            self.seen[name] = self.sources.of(self.pictures.source(path)) if name else NOTHING
        return self.seen[name]

    def output(self, row: OutputRow) -> int | str:
        if row.sha256 and self.pictures.way == "linked":
            return row.key
        return self.picture(row.sha256, output_path(self.folder, row))

    def row(self, row: OutputRow) -> list[Any]:
        label = label_of(row.method, row.prior) + (f" #{row.repeat + 1}" if row.repeat else "")
        told = {s.metric: s.value for s in self.results.scores.get(row.key, ())}
        scores = [None if (v := told.get(m)) is None else round(v, 4) for m in self.metrics]
        places = [self.labels.of(label), OUTCOMES.index(row.outcome), self.reasons.of(row.reason)]
        shown = [*places, self.output(row), scores]
        overlay = self.overlay(row)
        return [*shown, overlay] if overlay else shown

    def overlay(self, row: OutputRow) -> list[Any]:
        """[motion, objects, width, height]: (x, y, dx, dy), and (kind, left, top, right,
        bottom), as shares of the photo's width and height; [] where nothing was measured."""
        told = self.results.deviations.get(row.key, {})
        if "motion" not in told or self.drawn >= MOST_OVERLAYS:
            return []
        self.drawn += 1
        sides = (row.width, row.height, row.width, row.height)
        boxes = [
            [o["kind"], *(round(v / side, 4) for v, side in zip(o["box_px"], sides, strict=True))]
            for o in told["objects"]
        ]
        return [told["motion"], boxes, row.width, row.height]


def output_path(folder: Path, row: OutputRow) -> Path:
    return folder / "outputs" / f"{row.key}.png"


def files_of(results: Results, folder: Path) -> list[Path]:
    """Every picture file that a page over these results shows, each once."""
    paths: dict[str, Path] = {}
    for row in results.outputs:
        if row.sha256 and row.sha256 not in paths:
            paths[row.sha256] = output_path(folder, row)
        for name in (row.photo, row.reference):
            if name and name not in paths:
                paths[name] = folder / name
    return list(paths.values())


def gallery(results: Results, folder: Path, pictures: Pictures) -> dict[str, Any]:
    """Every picture with its outputs and scores.

    An entry is [task, name, photo, reference, rows]; a row is [label, outcome, reason, source,
    scores, overlay], each a place in the list of that name; the overlay may be missing. Linked
    outputs are named by their key alone.
    """
    known = {s.metric for several in results.scores.values() for s in several}
    metrics = [name for name in METRICS if name in known]
    rows, tasks = Rows(results, folder, pictures, metrics), Index()
    groups: dict[tuple[str, ...], list[OutputRow]] = defaultdict(list)
    for row in results.outputs:
        groups[row.task, row.dataset, row.item, row.degradation].append(row)
    entries = []
    for (task, _, item, degradation), several in groups.items():
        first = several[0]
        photo = rows.picture(first.photo, folder / first.photo)
        reference = rows.picture(first.reference, folder / first.reference)
        name = f"{item}, {degradation}" if degradation else item
        entries.append([tasks.of(task), name, photo, reference, [rows.row(r) for r in several]])
    start = os.path.relpath(folder / "outputs", pictures.folder).replace(os.sep, "/")
    return {
        "outputs": start + "/",
        "metrics": metrics,
        "outcomes": list(OUTCOMES),
        "tasks": tasks.values,
        "labels": rows.labels.values,
        "reasons": rows.reasons.values,
        "sources": rows.sources.values,
        "entries": entries,
    }


def script_json(value: Any) -> str:  # noqa: ANN401  # anything JSON can hold
    """JSON that may stand inside a script element: no tag can be closed from within."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
