"""The pictures of a report, as compact rows for the page's script.

Names, reasons and picture sources stand once in lists, rows point into them, so that a report over
100,000 outputs stays a file that a browser opens.
"""

import base64
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verax import image as images
from verax.bench.record import OUTCOMES, OutputRow
from verax.report.results import Results, label_of

WEB = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".avif": "avif"}
NOTHING = -1


@dataclass(frozen=True, slots=True)
class Pictures:
    """How the page refers to picture files: inside it, or by a path relative to it."""

    folder: Path  # of the page
    embed: bool

    def source(self, path: Path) -> str:
        """An address for an img element; "" for a file that browsers cannot show as it is."""
        kind = WEB.get(path.suffix.lower())
        if not path.is_file() or (kind is None and not self.embed):
            return ""
        if not self.embed:
            return os.path.relpath(path, self.folder).replace(os.sep, "/")
        data = path.read_bytes()
        if kind is None:
            kind, data = "png", images.encode(images.decode(data, name=path.name).pixels)
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


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
    output_path: Callable[[str], Path]
    pictures: Pictures
    metrics: list[str]
    labels: Index = field(default_factory=Index)
    reasons: Index = field(default_factory=Index)
    sources: Index = field(default_factory=Index)
    seen: dict[str, int] = field(default_factory=dict)

    def picture(self, name: str, path: Path) -> int:
        """Place of a picture's source; `name` stands for its content."""
        if name not in self.seen:
            self.seen[name] = self.sources.of(self.pictures.source(path)) if name else NOTHING
        return self.seen[name]

    def output(self, row: OutputRow) -> int | str:
        if row.sha256 and not self.pictures.embed:
            return row.key
        return self.picture(row.sha256, self.output_path(row.key))

    def row(self, row: OutputRow) -> list[Any]:
        label = label_of(row.method, row.prior) + (f" #{row.repeat + 1}" if row.repeat else "")
        told = {s.metric: s.value for s in self.results.scores.get(row.key, ())}
        scores = [None if (v := told.get(m)) is None else round(v, 4) for m in self.metrics]
        places = [self.labels.of(label), OUTCOMES.index(row.outcome), self.reasons.of(row.reason)]
        return [*places, self.output(row), scores]


def gallery(
    results: Results, output_path: Callable[[str], Path], pictures: Pictures
) -> dict[str, Any]:
    """Every picture with its outputs and scores.

    An entry is [task, name, photo, reference, rows]; a row is [label, outcome, reason, source,
    scores], each a place in the list of that name. Linked outputs are named by their key alone.
    """
    metrics = sorted({s.metric for several in results.scores.values() for s in several})
    rows, tasks = Rows(results, output_path, pictures, metrics), Index()
    groups: dict[tuple[str, ...], list[OutputRow]] = defaultdict(list)
    for row in results.outputs:
        groups[row.task, row.dataset, row.item, row.degradation].append(row)
    entries = []
    for (task, _, item, degradation), several in groups.items():
        first = several[0]
        photo = NOTHING if degradation else rows.picture(first.photo, Path(first.photo))
        reference = rows.picture(first.reference, Path(first.reference))
        name = f"{item}, {degradation}" if degradation else item
        entries.append([tasks.of(task), name, photo, reference, [rows.row(r) for r in several]])
    start = os.path.relpath(output_path("x").parent, pictures.folder).replace(os.sep, "/")
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
