"""The commands `verax register`, `align` and `straighten`, which warp pictures to another grid.

`register` warps a prior to its photo. `align` does so for many pairs of a photo and an edited
picture, and crops both. `straighten` turns a photo of a paper print into the flat print.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verax.errors import InputError, quantity

if TYPE_CHECKING:
    from verax.align import Summary, Tell

Tables = Annotated[
    list[Path],
    typer.Argument(
        metavar="PAIRS...", show_default=False,
        help="Folder with photo/ and edited/, table (CSV, JSONL, Parquet), or WebDataset tars.",
    ),
]  # fmt: skip
Output = Annotated[
    Path,
    typer.Option(
        "-o", "--output", help="Folder for the results; a stopped run in it is continued."
    ),
]
Photo = Annotated[
    str, typer.Option(help="Column or subfolder of the photos; default: a usual name.")
]
Edited = Annotated[
    str, typer.Option(help="Column or subfolder of the edited pictures; default: a usual name.")
]
Size = Annotated[
    int,
    typer.Option(min=0, help="First reduce pictures to at most this many px per side; 0: never."),
]
MinShare = Annotated[
    float,
    typer.Option(min=0, max=1, help="Skip pairs with a smaller common area; share of the photo."),
]
Roughly = Annotated[
    bool, typer.Option("--roughly", help="Also write pairs that could be registered only roughly.")
]
Suffix = Annotated[
    str, typer.Option("--format", help="Format of the written pictures: png, jpg, webp.")
]
Limit = Annotated[int, typer.Option(min=0, help="Align at most this many pairs; 0: all.")]
Engine = Annotated[str, typer.Option(help="How to run in parallel: processes, threads or ray.")]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster, for --engine ray.")]
Workers = Annotated[int, typer.Option(min=0, help="Number of workers; 0: one per core.")]
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
    """Register edited pictures to their photos, and crop both to the area that both show.

    OUTPUT/pairs.csv has a row for every pair. Its verdict is "exactly" or "roughly" (registered),
    "not" (another scene), "undecided", "too_small" (the common area) or "unreadable". A command
    that was stopped continues if it is started again.
    """
    from verax.align import AlignOptions, run
    from verax.align.tables import Columns, read
    from verax.bench.engines import default_workers
    from verax.image import format_of

    format_of(f"picture.{suffix}")
    if address and engine != "ray":
        raise InputError(
            f"--address is only for --engine ray, got --engine {engine}; leave out --address"
        )
    pairs = read(tables, Columns(photo, edited))
    pairs = pairs[:limit] if limit else pairs
    print(quantity(len(pairs), "pair"), file=sys.stderr)
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
    """Print how many pairs have each verdict, how many are new, and the path of the table."""
    if as_json:
        tables = [str(path) for path in summary.tables]
        print(json.dumps({"verdicts": summary.verdicts, "new": summary.new, "tables": tables}))
        return
    words = ", ".join(f"{verdict} {count}" for verdict, count in summary.verdicts.items())
    print(f"{words}; {quantity(summary.new, 'pair')} new")
    print(f"table: {summary.tables[0]}")


@contextmanager
def progress(total: int) -> "Iterator[Tell]":
    """Show a progress bar for `total` pairs, with the number of those registered exactly.

    Yields the function that updates the bar, called with (pairs done, all pairs, count of pairs by
    verdict). Nothing is shown if stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("aligning", total=total)

        def tell(done: int, total: int, verdicts: Counter[str]) -> None:
            bar.update(
                task, completed=done, description=f"registered exactly: {verdicts['exactly']}"
            )

        yield tell


def register(
    photo: Path = typer.Argument(..., help="The photo."),
    prior: Path = typer.Argument(..., help="The picture that a generator made of it."),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Also write the prior, warped to the photo's grid."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find the transform from a prior to its photo, and whether both show the same scene."""
    from verax import image as images
    from verax.geometry import register as geometry

    if output is not None:
        for source in (photo, prior):
            if output.exists() and source.exists() and output.samefile(source):
                raise InputError(f"{output}: the result would replace {source}; choose another -o")
        images.check_target(output)
    fixed, moving = images.read(photo), images.read(prior)
    registration = geometry.register(fixed.pixels, moving.pixels)
    if output is not None:
        warped = geometry.apply(registration, moving.pixels, size=(fixed.width, fixed.height))
        images.write(output, warped.pixels)
    record = {
        "photo": str(photo),
        "prior": str(prior),
        "width": fixed.width,
        "height": fixed.height,
        **registration.record(),
    }
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(f"placed {registration.placed}: {registration.reason}")
        print(
            f"p = {registration.p_value:.3g} (chance that another scene fits as well), "
            f"covers {registration.coverage:.0%} of the photo, canvas change: {registration.canvas}"
        )
        print("matrix, prior px to photo px:")
        for row in record["matrix"]:
            print("  " + "  ".join(f"{value:12.6f}" for value in row))


def straighten(
    photo: Path = typer.Argument(..., help="A photo of a paper print with all its corners."),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Result file; default: PHOTO_straightened."
    ),
    corners: str | None = typer.Option(
        None,
        help="The print's corners in px, if Verax does not find them: 'x,y x,y x,y x,y'.",
    ),
    border: bool = typer.Option(False, "--border", help="Do not cut off the print's plain border."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Straighten a photo of a paper print: remove perspective, background and border."""
    from verax import image as images
    from verax import prints
    from verax.prints.corners import find_corners

    target = output or photo.with_name(f"{photo.stem}_straightened{photo.suffix}")
    if target.exists() and photo.exists() and target.samefile(photo):
        raise InputError(f"{target}: the result would replace this photo; choose another -o")
    images.check_target(target)
    shot = images.read(photo)
    ring = prints.corners_of(corners) if corners is not None else find_corners(shot.pixels)
    result = prints.straighten(shot, ring, border=border)
    images.write(target, result.pixels, like=result)
    points = [[round(float(value), 1) for value in point] for point in ring]
    record = {
        "photo": str(photo),
        "output": str(target),
        "width": result.width,
        "height": result.height,
        "corners": points,
    }
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(f"{target}  {result.width}x{result.height}")
        print("corners " + " ".join(f"{x:g},{y:g}" for x, y in points))
