"""Shows the progress and the results of benchmark runs.

The commands are `verax bench score`, `report`, `compare` and `export`, and `verax release`.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.errors import quantity

if TYPE_CHECKING:
    from verax.bench import Record
    from verax.bench.runner import Progress, RunSummary
    from verax.report.page import Way

Run = typer.Argument(..., metavar="RUN", help="Folder of a run, as -o named it.")
LINE_S = 30.0  # seconds between two lines of progress in a log
STAGES = ("outputs", "scores", "deviations")


@contextmanager
def progress_bar() -> Iterator["Callable[[Progress], None]"]:
    """Yields a function that shows the progress of a run: finished, failed, cost, time left.

    On a terminal it moves a bar; elsewhere, as in a log, it prints a line every 30 seconds.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield log_lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("failed {task.fields[failed]}  ${task.fields[cost]:.2f}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        rows = {
            name: bar.add_task(name, total=None, failed=0, cost=0.0, visible=False)
            for name in STAGES
        }

        def tell(now: "Progress") -> None:
            bar.update(
                rows[now.stage],
                visible=True,
                completed=now.finished,
                total=now.total,
                failed=now.failed,
                cost=now.cost_usd,
            )

        yield tell


def log_lines(
    clock: Callable[[], float] = time.monotonic, every_s: float = LINE_S
) -> "Callable[[Progress], None]":
    """A function that prints the progress of a run as lines of text.

    Each stage (outputs, scores, deviations) gets at most one line in `every_s` seconds. `clock`
    returns the time in seconds.
    """
    starts: dict[str, tuple[float, int]] = {}
    last = {name: clock() for name in STAGES}

    def tell(now: "Progress") -> None:
        start, before = starts.setdefault(now.stage, (clock(), now.finished))
        if clock() - last[now.stage] < every_s:
            return
        last[now.stage] = clock()
        done = now.finished - before
        left = (clock() - start) / done * (now.total - now.finished) if done else 0.0
        print(
            f"{now.stage} {now.finished} of {now.total}, failed {now.failed}, "
            f"${now.cost_usd:.2f}, about {left / 60:.0f} minutes left",
            file=sys.stderr,
            flush=True,
        )

    return tell


def show(summary: "RunSummary", folder: Path, *, as_json: bool) -> None:
    """Print leaderboards, counts of outcomes, and cost of the run in `folder`; or all as JSON."""
    tables = leaderboards_of(folder)
    if as_json:
        print(json.dumps({"run": str(folder), **asdict(summary), "tables": tables}))
        return
    for table in tables:
        print_table(table)
    counts = ", ".join(f"{n} {name}" for name, n in summary.outcomes.items() if n)
    print(f"{summary.items} items: {counts}; cost ${summary.cost_usd:.2f}")
    for reason, n in summary.reasons.items():
        print(f"  {n} times: {reason}")
    if summary.aside:
        print(f"{summary.aside} outputs from other inputs or versions of methods are not counted")
    print(f"{summary.new_outputs} outputs and {summary.new_scores} scores are new; run: {folder}")
    print(f"next: verax bench report {folder} -o report.html")


def leaderboards_of(folder: Path) -> list[dict[str, Any]]:
    """The leaderboards of a run as JSON; each is for one task, set of pictures and metric.

    "lines" has an entry for each method, best first: the "mean" score, "low" and "high" of its
    confidence interval (None if they cannot be computed), and the mean "seconds" of an output.
    """
    from verax.report.leaderboard import leaderboards
    from verax.report.results import read

    with open_record(folder) as record:
        tables = leaderboards(read(record))
    return [
        {
            "title": table.title,
            "metric": table.metric,
            "unit": table.unit,
            "pictures": table.pictures,
            "lines": [
                {
                    "line": line.label,
                    "mean": _number(line.interval.mean if line.interval else None),
                    "low": _number(line.interval.low if line.interval else None),
                    "high": _number(line.interval.high if line.interval else None),
                    "seconds": line.seconds,
                }
                for line in table.lines
            ],
        }
        for table in tables
    ]


def _number(value: float | None) -> float | None:
    """The value itself; None for None, and for NaN and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None


def print_table(table: dict[str, Any]) -> None:
    """Print a leaderboard, given as JSON: for each method, mean score and confidence interval."""
    unit = f" {table['unit']}" if table["unit"] else ""
    print(f"{table['title']}, {table['metric']}{unit}, {quantity(table['pictures'], 'picture')}")
    width = max(len(line["line"]) for line in table["lines"])
    for line in table["lines"]:
        mean = "–" if line["mean"] is None else f"{line['mean']:.3f}"
        between = "" if line["low"] is None else f"  {line['low']:.3f} to {line['high']:.3f}"
        print(f"  {line['line']:{width}}{mean:>10}{between}")


def score(
    folder: Path = Run,
    metric: list[str] = typer.Option(..., help="Metrics to add; see verax metrics."),
    deviation: bool = typer.Option(
        False, "--deviation", help="Also measure what each output changed in its photo."
    ),
    workers: int = typer.Option(0, help="Number of workers; 0: one per core."),
) -> None:
    """Compute further metrics for the stored outputs of a run.

    The outputs are not made again, and no service is called.
    """
    from verax.bench.engines import default_workers
    from verax.bench.runner import rescore

    with progress_bar() as tell:
        count = rescore(
            folder, metric, workers=workers or default_workers(), deviation=deviation, tell=tell
        )
    print(f"{count} outputs have new scores")


def report(
    folder: Path = Run,
    output: Path = typer.Option(
        Path("report.html"),
        "-o",
        "--output",
        help="The HTML file, or a folder for it and its pictures.",
    ),
    pictures: str = typer.Option(
        "auto",
        help="Pictures of the page: inside, previews (inside, reduced), beside (copied), "
        "linked (from the run), or auto (chosen by their size).",
    ),
) -> None:
    """Write one HTML page that shows the results of a run; it needs no network.

    If the output is a folder (-o shared/), the page is its index.html, and the pictures are copied
    there, so that the folder can be passed on.
    """
    from verax.errors import choose
    from verax.report.page import WAYS, write_page

    ways: dict[str, Way | None] = {"auto": None}
    ways |= {name: name for name in WAYS}
    way = choose(ways, pictures, kind="value of --pictures")
    if output.is_dir() or not output.suffix:
        output, way = output / "index.html", way or "beside"
    with open_record(folder) as record:
        write_page(record, output, way=way)
    print(f"{output}  {output.stat().st_size / 1e6:.1f} MB")


def export(
    folder: Path = Run,
    output: Path = typer.Argument(..., metavar="DIR", help="Folder to write into."),
    plots: bool = typer.Option(True, help="Also write plots as PNG, SVG and PDF."),
) -> None:
    """Write the results of a run as CSV, Parquet, LaTeX, Markdown and plots."""
    from verax.report.export import export as write
    from verax.report.results import read

    with open_record(folder) as record:
        files = write(read(record), output, plots=plots)
    print(f"{quantity(len(files), 'file')} in {output}")


def compare(
    first: Path = typer.Argument(..., metavar="RUN_A", help="Folder of a run."),
    second: Path = typer.Argument(..., metavar="RUN_B", help="Folder of another run."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Compare the scores of two runs on the same pictures, with paired statistical tests."""
    from verax.report.results import compare_runs, read

    with open_record(first) as a, open_record(second) as b:
        comparison = compare_runs(read(a), read(b))
    if as_json:
        print(json.dumps(asdict(comparison)))
        return
    print(
        f"{'task':16}{'method':28}{'metric':14}{'A':>9}{'B':>9}{'B - A':>9}{'p':>8}{'pictures':>10}"
    )
    for d in comparison.differences:
        p_value = f"{d.p_adjusted:8.3f}" if d.comparison else f"{'–':>8}"
        means = f"{d.mean_a:9.3f}{d.mean_b:9.3f}{d.mean_b - d.mean_a:+9.3f}"
        print(f"{d.task:16}{d.label:28}{d.metric:14}{means}{p_value}{d.n:10}")
    for change, n in comparison.outcome_changes.items():
        print(f"{n} items: {change}")
    print(f"only in A: {comparison.only_a} items; only in B: {comparison.only_b}")
    if comparison.other_protocols:
        print(f"not compared, since their protocols differ: {comparison.other_protocols} scores")
    print("p: of the difference B - A, paired over scenes, Holm-adjusted over all rows")


@contextmanager
def open_record(folder: Path) -> "Iterator[Record]":
    """Yields the stored record of the run in a folder, and closes it at the end."""
    from verax.bench import open_run

    record = open_run(folder)
    try:
        yield record
    finally:
        record.close()


def release(
    folder: Path = Run,
    output: Path = typer.Argument(..., metavar="DIR", help="An empty folder to write into."),
    licence: str = typer.Option(
        "", help="Licence of your own photos, where none is stated, such as 'CC BY 4.0'."
    ),
) -> None:
    """Write a run as a dataset to publish: pictures, index, WebDataset shards, dataset card.

    Pictures whose licence does not allow publication are left out and listed. So are pictures made
    from photos without a stated licence, unless --licence states it.
    """
    from verax.report.release import release as write

    with open_record(folder) as record:
        release = write(record, output, licence=licence)
    published = quantity(len(release.published), "picture")
    without = quantity(len(release.without_output), "item")
    print(
        f"{published} published, {len(release.withheld)} withheld for their licence, "
        f"{without} without a picture; the dataset card is {output}/README.md"
    )
    for why in sorted({row["licence"] or "none stated, see --licence" for row in release.withheld}):
        print(f"withheld, licence: {why}")
