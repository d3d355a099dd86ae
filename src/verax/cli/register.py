"""verax register: where a prior lies on a photo."""

import json
from pathlib import Path

import typer

from verax.errors import InputError


def register(
    photo: Path = typer.Argument(..., help="The photo."),
    prior: Path = typer.Argument(..., help="What a generator made of it."),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Write the prior on the photo's grid to this file."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find where a prior lies on a photo, and whether it shows the same scene."""
    from verax import image as images
    from verax.geometry import register as registration

    if output is not None:
        for source in (photo, prior):
            if output.exists() and source.exists() and output.samefile(source):
                raise InputError(f"{output}: the result would replace {source}; choose another -o")
        images.check_target(output)
    fixed, moving = images.read(photo), images.read(prior)
    found = registration.register(fixed.pixels, moving.pixels)
    if output is not None:
        warped = registration.apply(found, moving.pixels, size=(fixed.width, fixed.height))
        images.write(output, warped.pixels)
    record = {
        "photo": str(photo),
        "prior": str(prior),
        "width": fixed.width,
        "height": fixed.height,
        **found.record(),
    }
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(f"placed {found.placed}: {found.reason}")
        print(f"p = {found.p_value:.3g}, coverage {found.coverage:.0%}, canvas {found.canvas}")
        for row in record["matrix"]:
            print("  " + "  ".join(f"{value:12.6f}" for value in row))
