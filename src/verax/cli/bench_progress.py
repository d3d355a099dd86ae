"""What a benchmark run shows while it goes on, and when it is done."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verax.bench.runner import Progress, RunSummary

LINE_S = 30.0  # between two lines in a log
STAGES = ("outputs", "scores", "deviations")


@contextmanager
def progress_bar() -> Iterator["Callable[[Progress], None]"]:
    """Done, failed, cost and time left: a bar on a terminal, a line now and then in a log."""
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
    """A teller that prints a line per stage and `every_s`, with the time left at this pace."""
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
    """What the run holds now, with its tables."""
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
        print(f"{summary.aside} outputs of other inputs or versions are set aside, not counted")
    print(f"{summary.new_outputs} outputs and {summary.new_scores} scores are new; run: {folder}")
    print(f"next: verax bench report {folder} -o report.html")


def leaderboards_of(folder: Path) -> list[dict[str, Any]]:
    """Every table of a run as JSON can hold it: one line per method and prior, best first."""
    from verax.cli.bench_results import opened
    from verax.report.leaderboard import leaderboards
    from verax.report.results import read

    with opened(folder) as record:
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
                    "mean": line.interval.mean if line.interval else None,
                    "low": line.interval.low if line.interval else None,
                    "high": line.interval.high if line.interval else None,
                    "seconds": line.seconds,
                }
                for line in table.lines
            ],
        }
        for table in tables
    ]


def print_table(table: dict[str, Any]) -> None:
    """One table for the console."""
    unit = f" {table['unit']}" if table["unit"] else ""
    print(f"{table['title']}, {table['metric']}{unit}, {table['pictures']} pictures")
    width = max(len(line["line"]) for line in table["lines"])
    for line in table["lines"]:
        mean = "–" if line["mean"] is None else f"{line['mean']:.3f}"
        between = "" if line["mean"] is None else f"  {line['low']:.3f} to {line['high']:.3f}"
        print(f"  {line['line']:{width}}{mean:>10}{between}")
