"""verax release: a run as a dataset ready to publish."""

from pathlib import Path

import typer


def release(
    folder: Path = typer.Argument(..., metavar="RUN", help="A run folder."),
    output: Path = typer.Argument(..., metavar="DIR", help="An empty folder to write into."),
    licence: str = typer.Option("", help="Of your own photos, where none is stated: 'CC BY 4.0'."),
) -> None:
    """Write a run as a dataset: pictures, Parquet index, WebDataset shards, dataset card.

    What a licence does not allow to be published is left out and named. Pictures made from photos
    without a licence are left out, unless --licence states it.
    """
    from verax.cli.bench_results import opened
    from verax.report.release import release as write

    with opened(folder) as record:
        made = write(record, output, licence=licence)
    print(
        f"{len(made.published)} pictures published, {len(made.withheld)} withheld for their "
        f"licence, {len(made.without_output)} items without a picture; {output}/README.md"
    )
    for why in sorted({row["licence"] or "none stated, see --licence" for row in made.withheld}):
        print(f"withheld: {why}")
