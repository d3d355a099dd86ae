"""verax release: a run as a dataset ready to publish."""

from pathlib import Path

import typer


def release(
    folder: Path = typer.Argument(..., metavar="RUN", help="A run folder."),
    output: Path = typer.Argument(..., metavar="DIR", help="An empty folder to write into."),
) -> None:
    """Write a run as a dataset: pictures, Parquet index, WebDataset shards, dataset card.

    What a licence does not allow to be published is left out and named.
    """
    from verax.cli.bench_results import opened
    from verax.report.release import release as write

    with opened(folder) as record:
        made = write(record, output)
    print(
        f"{len(made.published)} pictures published, {len(made.withheld)} withheld for their "
        f"licence, {len(made.without_output)} items without a picture; {output}/README.md"
    )
    for licence in sorted({row["licence"] or "none stated" for row in made.withheld}):
        print(f"withheld: {licence}")
