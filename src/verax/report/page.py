"""One HTML file that shows a run: leaderboards, plots, every picture in the compare viewer.

It opens without a network; see `gallery` for how it holds its pictures.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from verax.bench import OUTCOMES, Record, spent
from verax.report import Figure, breakdown, viewer_script, viewer_style
from verax.report.export import number, protocol_words, signed
from verax.report.figures import best_of_figure, ladder_figure, same_pictures, table_figures
from verax.report.gallery import PageImages, Way, choose_way, files_of, gallery, script_json
from verax.report.leaderboard import Line, Table, leaderboards
from verax.report.results import Results, read
from verax.store import write_whole, writing

LEVEL = 0.05  # of p, below which a gain is called shown
MOST_FAILURES = 200  # shown by name; the export has all


@dataclass(frozen=True, slots=True)
class PageView:
    """One task and set of pictures: the table of its main metric, the others, its plots."""

    anchor: str
    title: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]

    @property
    def main(self) -> Table:
        return self.tables[0]

    @property
    def nothing(self) -> Line | None:
        """The do-nothing row of the main table."""
        return next((one for one in self.main.lines if one.label == "identity"), None)

    def other(self, table: Table, line: Line) -> Line | None:
        """The same line in another table."""
        name = line.method, line.prior
        return next((one for one in table.lines if (one.method, one.prior) == name), None)


def write_page(record: Record, target: Path, *, way: Way | None = None) -> Path:
    """Write the report of a run; the same record gives the same page."""
    results = read(record)
    paths = files_of(results, record.folder)
    pictures = PageImages(target.resolve().parent, way or choose_way(paths))
    pictures.prepare(paths)
    html = _environment().get_template("page.html.j2").render(**_content(record, results, pictures))
    with writing(target):
        write_whole(target, html.encode())
    return target


def _environment() -> jinja2.Environment:
    here = str(files("verax.report") / "templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"number": number, "signed": signed, "protocol": protocol_words, "verdict": verdict}
    environment.filters |= filters
    return environment


def verdict(line: Line, table: Table) -> str:
    """ "good" or "bad" where the gain over doing nothing is shown to be so, else ""."""
    if line.gain is None or not line.p_gain < LEVEL:
        return ""
    return "good" if (line.gain.difference.mean > 0) == table.higher_is_better else "bad"


def views(tables: list[Table]) -> list[PageView]:
    """Tables of the same pictures together."""
    return [
        PageView(f"view-{place}", several[0].title, tuple(several), tuple(table_figures(several)))
        for place, several in enumerate(same_pictures(tables))
    ]


def _content(record: Record, results: Results, pictures: PageImages) -> dict[str, Any]:
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
        "cost": spent(rows),
        "way": pictures.way,
        "gallery": script_json(gallery(results, record.folder, pictures)),
        "viewer_style": viewer_style(),
        "viewer_script": viewer_script(),
    }
