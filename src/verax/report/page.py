"""One HTML file that shows a run: leaderboards, plots, every picture in the compare viewer.

It opens without a network. Names, reasons and addresses of pictures are stored once in lists, and
rows refer to them by index, so that a browser can open a report over 100,000 outputs. The way to
include pictures is "inside" (embedded unchanged), "previews" (embedded as small WebP), "linked" (to
the files of the run and the dataset) or "beside" (copied to a folder, so that all can be moved).
"""

import base64
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import cv2

from verax import image as images
from verax.bench import OUTCOMES, OutputRow, Record, total_cost
from verax.bench.engines import default_workers
from verax.errors import InputError
from verax.image.places import has_place
from verax.metrics import METRICS
from verax.report import breakdown, script_json, template, viewer_script, viewer_style
from verax.report.export import number, protocol_words, with_sign
from verax.report.figures import best_of_figure, ladder_figure, views
from verax.report.leaderboard import Line, Table, leaderboards
from verax.report.results import Results, label_of, read
from verax.store import write_whole, writing

Way = Literal["inside", "previews", "beside", "linked"]
WAYS: tuple[Way, ...] = get_args(Way)
BESIDE = "pictures"  # folder of copies beside a page

INSIDE_BYTES = 20_000_000  # up to this sum of all files, pictures are embedded unchanged
PREVIEW_PIXELS = 400_000_000  # up to this sum, as previews: a page of 30 to 60 MB
PREVIEW_SIDE, PREVIEW_QUALITY = 1600, 82
WEB = ("png", "jpeg", "webp", "avif")  # formats that browsers show
NOTHING = -1  # index of an empty value
LEVEL = 0.05  # significance level of a gain
MOST_FAILURES = 200  # shown by name; the export has all
MOST_OVERLAYS = 1200  # outputs with arrows and boxes, about 12 KB each


def write_page(record: Record, target: Path, *, way: Way | None = None) -> Path:
    """Write the HTML report of a run to the file `target`, which is returned. `way` says how the
    pictures are included: "inside" (embedded), "previews" (embedded, but small), "beside" (copied
    to a folder) or "linked"; None chooses it by their size."""
    results = read(record)
    paths = files_of(results, record.folder)
    pictures = PageImages(target.resolve().parent, way or choose_way(paths))
    pictures.prepare(paths)
    page = template(
        "page.html.j2", number=number, signed=with_sign, protocol=protocol_words, verdict=verdict
    )
    html = page.render(**_content(record, results, pictures))
    with writing(target):
        write_whole(target, html.encode())
    return target


def verdict(line: Line, table: Table) -> str:
    """ "good" if `line` beats the unchanged photo, "bad" if it is worse (p_gain < 0.05), or ""."""
    if line.gain is None or not line.p_gain < LEVEL:
        return ""
    return "good" if (line.gain.difference.mean > 0) == table.higher_is_better else "bad"


def _content(record: Record, results: Results, pictures: "PageImages") -> dict[str, Any]:
    rows = results.outputs
    several = breakdown.qualities(results)
    failures = [row for row in rows if row.outcome in ("failed", "refused")]
    curves = best_of_figure(several)
    return {
        "title": record.folder.resolve().name,
        "plan": record.about("plan"),
        "environments": record.environments(),
        "totals": {o: sum(row.outcome == o for row in rows) for o in OUTCOMES},
        "picture_count": len({(row.dataset, row.item) for row in rows}),
        "views": views(leaderboards(results)),
        "by_dataset": breakdown.by_dataset(results),
        "ladders": [ladder_figure(one) for one in breakdown.ladders(results)],
        "splits": breakdown.splits(results),
        "changes": breakdown.changes(results),
        "change_columns": list(breakdown.COLUMNS.values()),
        "qualities": several,
        "curves": [curves] if curves else [],
        "failures": failures[:MOST_FAILURES],
        "failure_count": len(failures),
        "cost": total_cost(rows),
        "way": pictures.way,
        "gallery": script_json(gallery(results, record.folder, pictures)),
        "viewer_style": viewer_style(),
        "viewer_script": viewer_script(),
    }


def choose_way(paths: Iterable[Path]) -> Way:
    """The way to include these pictures: "inside" (unchanged), "previews" or "linked", the first
    that keeps the page small enough for a browser."""
    paths = [path for path in paths if path.is_file()]
    if sum(path.stat().st_size for path in paths) <= INSIDE_BYTES:
        return "inside"
    pixels = 0
    for path in paths:
        pixels += _pixels(path)
        if pixels > PREVIEW_PIXELS:
            return "linked"
    return "previews"


def _pixels(path: Path) -> int:
    try:
        header = images.header_of(path)
        return header.width * header.height
    except InputError:
        return 0


@dataclass(slots=True)
class PageImages:
    """Makes the addresses (`src`) of pictures for a page in `folder`, which includes them as `way`
    says, such as "linked". `ready` has the addresses of previews by path of the picture file."""

    folder: Path
    way: Way
    ready: dict[Path, str] = field(default_factory=dict)

    def prepare(self, paths: Iterable[Path]) -> None:
        """Make the previews of these pictures in parallel, if the page shows previews."""
        if self.way == "previews":
            several = list(dict.fromkeys(paths))
            with ThreadPoolExecutor(default_workers()) as pool:
                self.ready |= zip(several, pool.map(self.source, several), strict=True)

    def source(self, path: Path) -> str:
        """The `src` of a picture in HTML; "" if the file is missing or not for browsers."""
        if path in self.ready:
            return self.ready[path]
        suffix = images.SUFFIXES.get(path.suffix.lower())
        kind = suffix if suffix in WEB else None
        if not path.is_file() or (kind is None and self.way == "linked"):
            return ""
        if self.way == "linked":
            return os.path.relpath(path, self.folder).replace(os.sep, "/")
        try:
            if self.way == "previews":
                kind, data = "webp", _preview(path)
            else:
                data = b"" if kind is None else path.read_bytes()
                if kind is None or has_place(data):  # with a GPS position; a page may be shared
                    kind, data = "png", images.encode(images.read(path).pixels, format="png")
        except InputError:  # the run counts a broken photo as failed
            return ""
        if self.way == "beside":
            return self._copy(data, kind)
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

    def _copy(self, data: bytes, kind: str) -> str:
        """Write a picture (`data`, format `kind`) beside the page; returns its relative address."""
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.{kind}"
        write_whole(self.folder / BESIDE / name, data)
        return f"{BESIDE}/{name}"


def _preview(path: Path) -> bytes:
    pixels = images.to_uint8(images.read(path).pixels)
    scale = PREVIEW_SIDE / max(pixels.shape)
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ending = [cv2.IMWRITE_WEBP_QUALITY, PREVIEW_QUALITY]
    return cv2.imencode(".webp", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), ending)[1].tobytes()


@dataclass(slots=True)
class Index:
    """Distinct texts. `of` returns the index of a text, which it appends if new; "" gives -1."""

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
    """Turns outputs into rows of the page's gallery, with indices into lists of distinct values.

    `folder` is that of the run. The lists are `labels` (of methods), `reasons` (of outcomes) and
    `sources` (addresses of pictures). `places` has the index in `sources` of each picture so far,
    so that its file is read only once; `overlays` counts the overlays (arrows and boxes) so far.
    """

    results: Results
    folder: Path
    pictures: PageImages
    metrics: list[str]
    labels: Index = field(default_factory=Index)
    reasons: Index = field(default_factory=Index)
    sources: Index = field(default_factory=Index)
    places: dict[str, int] = field(default_factory=dict)
    overlays: int = 0

    def picture(self, name: str, path: Path) -> int:
        """Index of a picture's address in `sources`; `name` is the same for equal pictures."""
        if name not in self.places:
            self.places[name] = self.sources.of(self.pictures.source(path)) if name else NOTHING
        return self.places[name]

    def output(self, row: OutputRow) -> int | str:
        if row.sha256 and self.pictures.way == "linked":
            return row.key
        return self.picture(row.sha256, output_path(self.folder, row))

    def row(self, row: OutputRow) -> list[Any]:
        label = label_of(row.method, row.prior) + (f" #{row.repeat + 1}" if row.repeat else "")
        values = {s.metric: s.value for s in self.results.scores.get(row.key, ())}
        scores = [None if (v := values.get(m)) is None else round(v, 4) for m in self.metrics]
        places = [self.labels.of(label), OUTCOMES.index(row.outcome), self.reasons.of(row.reason)]
        overlay = self.overlay(row)
        return [*places, self.output(row), scores, *([overlay] if overlay else [])]

    def overlay(self, row: OutputRow) -> list[Any]:
        """[motion, changed objects, width, height] of an output; [] if not measured.

        Motion is a list of (x, y, dx, dy), a place and its displacement; objects is a list of
        (kind, left, top, right, bottom); all as shares of the photo's width and height, which
        stand last, in px. Only the first 1200 outputs get an overlay, the others get [].
        """
        entry = self.results.deviations.get(row.key, {})
        if "motion" not in entry or self.overlays >= MOST_OVERLAYS:
            return []
        self.overlays += 1
        sides = (row.width, row.height, row.width, row.height)
        boxes = [
            [o["kind"], *(round(v / side, 4) for v, side in zip(o["box_px"], sides, strict=True))]
            for o in entry["objects"]
        ]
        return [entry["motion"], boxes, row.width, row.height]


def output_path(folder: Path, row: OutputRow) -> Path:
    return folder / "outputs" / f"{row.key}.png"


def files_of(results: Results, folder: Path) -> list[Path]:
    """The paths of all picture files that the page of these results shows, each once."""
    paths: dict[str, Path] = {}
    for row in results.outputs:
        if row.sha256 and row.sha256 not in paths:
            paths[row.sha256] = output_path(folder, row)
        for name in (row.photo, row.reference):
            if name and name not in paths:
                paths[name] = folder / name
    return list(paths.values())


def gallery(results: Results, folder: Path, pictures: PageImages) -> dict[str, Any]:
    """Every picture with its outputs and scores, as JSON for the page's script.

    "entries" has [task, name, photo, reference, rows] per picture, where rows has [label, outcome,
    reason, picture, scores, overlay] per output. Tasks, photos, labels and so on are indices into
    the lists "tasks", "sources", "labels" ...; -1 is none. Scores are in the order of "metrics".
    The overlay (what moved or changed) may be missing. A linked output's picture is its key.
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
    start = ""
    if pictures.way == "linked":
        start = os.path.relpath(folder / "outputs", pictures.folder).replace(os.sep, "/") + "/"
    return {
        "outputs": start,
        "metrics": metrics,
        "outcomes": list(OUTCOMES),
        "tasks": tasks.values,
        "labels": rows.labels.values,
        "reasons": rows.reasons.values,
        "sources": rows.sources.values,
        "entries": entries,
    }
