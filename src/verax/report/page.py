"""One HTML file that shows a run: leaderboards, plots, every picture in the compare viewer.

It opens without a network. Pictures are inside the file while they are few; beyond EMBED_BYTES the
page links the files of the run folder, and says so.
"""

import base64
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from verax.bench.record import OUTCOMES, OutputRow, Record
from verax.report import viewer
from verax.report.figures import figures
from verax.report.leaderboard import Table, leaderboards

EMBED_BYTES = 12_000_000
SUFFIX_TYPES = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".avif": "avif"}


@dataclass(frozen=True, slots=True)
class Pictures:
    """How the page refers to picture files: inside it, or by a path relative to it."""

    folder: Path  # of the page
    embed: bool

    def source(self, path: Path) -> str:
        if not self.embed:
            return os.path.relpath(path, self.folder).replace(os.sep, "/")
        kind = SUFFIX_TYPES.get(path.suffix.lower(), "png")
        return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def write_page(record: Record, target: Path, *, embed_bytes: int = EMBED_BYTES) -> Path:
    """Write the report of a run; the same record gives the same page."""
    rows = list(record.outputs())
    pictures = Pictures(target.resolve().parent, _bytes_of(record, rows) <= embed_bytes)
    html = _environment().get_template("page.html.j2").render(**_content(record, rows, pictures))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    draft.write_text(html, encoding="utf-8")
    draft.replace(target)
    return target


def _environment() -> jinja2.Environment:
    here = str(files("verax.report") / "templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    environment.filters["protocol"] = protocol_words
    return environment


def _content(record: Record, rows: list[OutputRow], pictures: Pictures) -> dict[str, Any]:
    tables = leaderboards(record)
    return {
        "title": record.folder.resolve().name,
        "plan": record.about("plan"),
        "environment": record.about("environment") or {},
        "outcomes": OUTCOMES,
        "totals": _totals(rows),
        "tables": tables,
        "figures": figures(tables),
        "failures": [row for row in rows if row.outcome in ("failed", "refused")][:200],
        "cost": sum(row.cost_usd for row in rows),
        "embedded": pictures.embed,
        "gallery": script_json(gallery(record, rows, pictures)),
        "viewer_style": viewer.style(),
        "viewer_script": viewer.script(),
    }


def script_json(value: Any) -> str:  # noqa: ANN401  # anything JSON can hold
    """JSON that may stand inside a script element: no tag can be closed from within."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _totals(rows: list[OutputRow]) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    for row in rows:
        counts[row.outcome] += 1
    return counts


def _bytes_of(record: Record, rows: list[OutputRow]) -> int:
    paths = {record.output_path(row.key) for row in rows if row.sha256}
    paths |= {Path(p) for row in rows for p in (row.photo, row.reference) if p}
    return sum(path.stat().st_size for path in paths if path.is_file())


def gallery(record: Record, rows: list[OutputRow], pictures: Pictures) -> dict[str, Any]:
    """Every picture with its outputs and scores, as compact rows for the page's script."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for score in record.scores():
        if score.value is not None:
            values[score.key][score.metric] = round(score.value, 4)
    groups: dict[tuple[str, ...], list[OutputRow]] = defaultdict(list)
    for row in rows:
        groups[row.task, row.dataset, row.item, row.degradation].append(row)
    entries = []
    for (task, _, item, degradation), several in groups.items():
        name = f"{item}, {degradation}" if degradation else item
        panels = list(_panels(record, several, values, pictures))
        entries.append({"task": task, "name": name, "panels": panels})
    return {"entries": entries}


def _panels(
    record: Record,
    rows: list[OutputRow],
    values: dict[str, dict[str, float]],
    pictures: Pictures,
) -> Iterator[dict[str, Any]]:
    first = rows[0]
    for name, path in (("photo", first.photo), ("reference", first.reference)):
        degraded_here = name == "photo" and first.degradation
        if path and not degraded_here and Path(path).is_file():
            yield {"name": name, "src": pictures.source(Path(path))}
    for row in rows:
        label = row.method if row.prior == "none" else f"{row.method} ({row.prior})"
        if row.repeat:
            label += f" #{row.repeat + 1}"
        panel: dict[str, Any] = {"name": label, "outcome": row.outcome}
        if row.sha256:
            panel["src"] = pictures.source(record.output_path(row.key))
            panel["scores"] = values.get(row.key, {})
        if row.reason:
            panel["reason"] = row.reason
        yield panel


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a missing one is a dash, never a zero."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}f}"


def protocol_words(text: str) -> str:
    """A stored protocol as words."""
    return ", ".join(str(part) for part in json.loads(text) if part not in ("", None))


__all__ = ["Table", "gallery", "number", "protocol_words", "script_json", "write_page"]
