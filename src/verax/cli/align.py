"""verax align: tables of photos and their edits, registered and cropped."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verax.errors import InputError

if TYPE_CHECKING:
    from verax.align import Summary, Tell

Tables = Annotated[
    list[Path],
    typer.Argument(
        metavar="PAIRS...", show_default=False,
        help="Folder with photo/ and edited/, CSV, JSONL, Parquet, or WebDataset tars.",
    ),
]  # fmt: skip
Output = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder of the run; an old one is gone on with."),
]
Photo = Annotated[str, typer.Option("--photo", help="Column or folder of the photos.")]
Edited = Annotated[str, typer.Option("--edited", help="Column or folder of the edits.")]
Size = Annotated[
    int, typer.Option(min=0, help="Reduce larger pictures to this long side; 0 keeps them.")
]
MinShare = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of the photo that the crop must hold.")
]
Roughly = Annotated[
    bool, typer.Option("--roughly", help="Write pairs that lie only roughly on each other, too.")
]
Suffix = Annotated[str, typer.Option("--format", help="Of the written pictures: png, jpg, webp.")]
Limit = Annotated[int, typer.Option(min=0, help="At most so many pairs; 0 is all.")]
Engine = Annotated[str, typer.Option(help="processes, threads or ray.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use, with --engine ray.")]
Workers = Annotated[int, typer.Option(min=0, help="Workers; 0 is one per core.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def align(
    tables: Tables,
    output: Output,
    photo: Photo = "",
    edited: Edited = "",
    size: Size = 0,
    min_share: MinShare = 0.25,
    roughly: Roughly = False,
    suffix: Suffix = "png",
    limit: Limit = 0,
    engine: Engine = "processes",
    address: Address = None,
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Register edits onto their photos and crop both: tables in, aligned pairs with reasons out.

    OUTPUT/pairs.csv has a row for every pair: verdict (exactly, roughly, undecided, not, too_small
    or unreadable), reason, figures, files. The same command goes on after any stop.
    """
    from verax.align import AlignOptions, run
    from verax.align.tables import Columns, read
    from verax.bench.engines import default_workers
    from verax.image import format_of

    format_of(f"picture.{suffix}")
    if address and engine != "ray":
        raise InputError(f"--address goes with --engine ray, not with {engine}")
    pairs = read(tables, Columns(photo, edited))
    pairs = pairs[:limit] if limit else pairs
    print(f"{len(pairs)} pairs", file=sys.stderr)
    with progress(len(pairs)) as tell:
        summary = run(
            pairs,
            output,
            AlignOptions(size, min_share, roughly, f".{suffix}"),
            engine=engine,
            workers=workers or default_workers(),
            address=address,
            tell=tell,
        )
    show(summary, as_json=as_json)


def show(summary: "Summary", *, as_json: bool) -> None:
    """The verdicts and where the table is."""
    if as_json:
        tables = [str(path) for path in summary.tables]
        print(json.dumps({"verdicts": summary.verdicts, "new": summary.new, "tables": tables}))
        return
    words = ", ".join(f"{verdict} {count}" for verdict, count in summary.verdicts.items())
    print(f"{words}; {summary.new} new")
    print(f"table: {summary.tables[0]}")


@contextmanager
def progress(total: int) -> "Iterator[Tell]":
    """A bar with the verdicts so far and the time left; silent without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("aligning", total=total)

        def tell(done: int, total: int, verdicts: Counter[str]) -> None:
            bar.update(task, completed=done, description=f"exactly {verdicts['exactly']}")

        yield tell
