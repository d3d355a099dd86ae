"""verax bench report, compare, export: what a finished run says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from verax.bench.record import Record
    from verax.report.gallery import Way

Run = typer.Argument(..., metavar="RUN", help="A run folder.")


def report(
    folder: Path = Run,
    output: Path = typer.Option(Path("report.html"), "-o", "--output", help="The page."),
    pictures: str = typer.Option(
        "auto", help="inside, previews (WebP, inside) or linked; auto keeps the page small."
    ),
) -> None:
    """Write one HTML page that shows a run; it opens without a network."""
    from verax.errors import choose
    from verax.report.page import write_page

    ways: dict[str, Way | None] = {"auto": None}
    ways |= {"inside": "inside", "previews": "previews", "linked": "linked"}
    way = choose(ways, pictures, kind="way of keeping pictures")
    with opened(folder) as record:
        write_page(record, output, way=way)
    print(f"{output}  {output.stat().st_size / 1e6:.1f} MB")


def export(
    folder: Path = Run,
    output: Path = typer.Argument(..., metavar="DIR", help="Folder to write into."),
    plots: bool = typer.Option(True, help="Also plots as PNG, SVG and PDF."),
) -> None:
    """Write a run as CSV, Parquet, LaTeX, Markdown and plots."""
    from verax.report.export import export as write
    from verax.report.results import read

    with opened(folder) as record:
        made = write(read(record), output, plots=plots)
    print(f"{len(made)} files in {output}")


def compare(
    first: Path = typer.Argument(..., metavar="RUN_A", help="A run folder."),
    second: Path = typer.Argument(..., metavar="RUN_B", help="Another run folder."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Compare two runs item by item, with paired tests."""
    from verax.report.results import compare_runs, read

    with opened(first) as a, opened(second) as b:
        found = compare_runs(read(a), read(b))
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(
        f"{'task':16}{'line':28}{'metric':14}{'A':>9}{'B':>9}{'B - A':>9}{'p':>8}{'pictures':>10}"
    )
    for d in found.differences:
        p_value = f"{d.p_adjusted:8.3f}" if d.comparison else f"{'–':>8}"
        means = f"{d.mean_a:9.3f}{d.mean_b:9.3f}{d.mean_b - d.mean_a:+9.3f}"
        print(f"{d.task:16}{d.label:28}{d.metric:14}{means}{p_value}{d.n:10}")
    for change, n in found.outcome_changes.items():
        print(f"{n} items: {change}")
    print(f"only in A: {found.only_a} items; only in B: {found.only_b}")
    if found.other_protocols:
        print(f"not compared, since their protocols differ: {found.other_protocols} scores")
    print("p: paired over scenes, Holm-adjusted over all lines")


@contextmanager
def opened(folder: Path) -> "Iterator[Record]":
    """The record of a run folder."""
    from verax.bench.record import open_run

    record = open_run(folder)
    try:
        yield record
    finally:
        record.close()
