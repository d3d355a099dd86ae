"""One HTML file that shows a run: leaderboards, plots, every picture in the compare viewer.

It opens without a network. Pictures are inside the file while they are few; beyond EMBED_BYTES the
page links the files of the run folder, and says so.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from verax.bench.record import OUTCOMES, Record, spent
from verax.report import breakdown, viewer
from verax.report.figures import figures, ladder_figure
from verax.report.gallery import Pictures, gallery
from verax.report.generator import qualities
from verax.report.leaderboard import leaderboards
from verax.report.results import Results, read
from verax.report.tables import number, protocol_words
from verax.store import write_whole, writing

EMBED_BYTES = 20_000_000
MOST_FAILURES = 200  # shown by name; the export has all


def write_page(record: Record, target: Path, *, embed_bytes: int = EMBED_BYTES) -> Path:
    """Write the report of a run; the same record gives the same page."""
    results = read(record)
    embed = _bytes_of(record, results) <= embed_bytes
    pictures = Pictures(target.resolve().parent, embed)
    html = _environment().get_template("page.html.j2").render(**_content(record, results, pictures))
    with writing(target):
        write_whole(target, html.encode())
    return target


def _environment() -> jinja2.Environment:
    here = str(files("verax.report") / "templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    environment.filters["protocol"] = protocol_words
    return environment


def _content(record: Record, results: Results, pictures: Pictures) -> dict[str, Any]:
    tables = leaderboards(results)
    rows = results.outputs
    ladders = breakdown.ladders(results)
    failures = [row for row in rows if row.outcome in ("failed", "refused")]
    return {
        "title": record.folder.resolve().name,
        "plan": record.about("plan"),
        "environment": record.about("environment") or {},
        "totals": {o: sum(row.outcome == o for row in rows) for o in OUTCOMES},
        "tables": tables,
        "figures": figures(tables) + [ladder_figure(one) for one in ladders],
        "splits": breakdown.splits(results),
        "changes": breakdown.changes(results),
        "change_columns": list(breakdown.COLUMNS.values()),
        "qualities": qualities(results),
        "failures": failures[:MOST_FAILURES],
        "failure_count": len(failures),
        "cost": spent(rows),
        "embedded": pictures.embed,
        "gallery": script_json(gallery(results, record.output_path, pictures)),
        "viewer_style": viewer.style(),
        "viewer_script": viewer.script(),
    }


def script_json(value: Any) -> str:  # noqa: ANN401  # anything JSON can hold
    """JSON that may stand inside a script element: no tag can be closed from within."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _bytes_of(record: Record, results: Results) -> int:
    """Bytes of all pictures that the page would hold."""
    rows = results.outputs
    paths = {row.sha256: record.output_path(row.key) for row in rows if row.sha256}
    paths |= {p: Path(p) for row in rows for p in (row.photo, row.reference) if p}
    return sum(path.stat().st_size for path in paths.values() if path.is_file())
