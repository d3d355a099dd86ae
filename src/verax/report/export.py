"""Everything of a run as files for other programs: CSV, Parquet, LaTeX, Markdown, plots.

results.* has one row per output, scores.* one per number with its protocol, comparisons.csv every
pair of lines of every table, paired by picture.
"""

import csv
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from verax.bench.record import OutputRow, ScoreRow
from verax.errors import missing_extra
from verax.report import tables as tables_of
from verax.report.leaderboard import Table, leaderboards
from verax.report.pairs import Compared, comparisons
from verax.report.results import Results

PLOT_FORMATS = ("png", "svg", "pdf")


def export(results: Results, folder: Path, *, plots: bool = True) -> list[Path]:
    """Write CSV, Parquet, tables.tex, tables.md and plots/; the files written.

    Parquet and plots need the extra `bench`; without it the other files are whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows = wide(results)
    scores = [asdict(s) for several in results.scores.values() for s in several]
    made = []
    for name, head, lines in (
        ("results", columns, rows),
        ("scores", [field.name for field in fields(ScoreRow)], scores),
    ):
        made.append(folder / f"{name}.csv")
        _write_csv(made[-1], head, lines)
        if find_spec("pyarrow") is not None:
            made.append(folder / f"{name}.parquet")
            write_parquet(made[-1], head, lines)
    tables = leaderboards(results)
    made.append(folder / "comparisons.csv")
    compared = [asdict(one) for one in comparisons(results)]
    _write_csv(made[-1], [field.name for field in fields(Compared)], compared)
    for name, form in (("tables.tex", tables_of.latex), ("tables.md", tables_of.markdown)):
        made.append(folder / name)
        made[-1].write_text("\n".join(map(form, tables)), encoding="utf-8")
    plots = plots and find_spec("matplotlib") is not None
    return made + (_plots(tables, folder / "plots") if plots else [])


def _write_csv(path: Path, head: list[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, head)
        writer.writeheader()
        writer.writerows(rows)


def wide(results: Results) -> tuple[list[str], list[dict[str, Any]]]:
    """One row per output, its scores, their protocols and its drift beside it."""
    metrics = sorted({s.metric for several in results.scores.values() for s in several})
    columns = [field.name for field in fields(OutputRow)]
    columns += [name for metric in metrics for name in (metric, f"{metric}_protocol")]
    columns += ["drift"]
    rows = []
    for output in results.outputs:
        row: dict[str, Any] = dict.fromkeys(columns) | asdict(output)
        for score in results.scores.get(output.key, ()):
            row[score.metric] = score.value
            row[f"{score.metric}_protocol"] = score.protocol
        row["drift"] = results.deviations.get(output.key, {}).get("drift")
        rows.append(row)
    return columns, rows


def write_parquet(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """The rows as one Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise missing_extra("Parquet", "bench") from exc
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in columns}), path)


def _plots(tables: list[Table], folder: Path) -> list[Path]:
    """Means with intervals, one plot per table, as PNG, SVG and PDF."""
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise missing_extra("plots", "bench") from exc
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for table in tables:
        lines = [line for line in reversed(table.lines) if line.interval is not None]
        figure = Figure(figsize=(7, 0.9 + 0.38 * len(lines)), layout="constrained")
        axes = figure.subplots()
        for place, line in enumerate(lines):
            interval = line.interval
            assert interval is not None
            axes.plot([interval.low, interval.high], [place, place], color="#8fb9d6", linewidth=5)
            axes.plot([interval.mean], [place], "o", color="#00558c")
        axes.set_yticks(range(len(lines)), [line.label for line in lines])
        axes.set_xlabel(f"{table.metric} {f'({table.unit})' if table.unit else ''}")
        axes.set_title(table.title, loc="left")
        axes.grid(axis="x", color="#dddddd")
        name = "".join(c if c.isalnum() else "_" for c in f"{table.title}_{table.metric}")
        for ending in PLOT_FORMATS:
            made.append(folder / f"{name}.{ending}")
            figure.savefig(made[-1], dpi=150)
    return made
