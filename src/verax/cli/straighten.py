"""verax straighten: a shot of a print in, the print alone out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from verax.errors import InputError

if TYPE_CHECKING:
    from verax.prints.corners import Corners


def straighten(
    photo: Path = typer.Argument(..., help="A shot of a print, with all its corners in view."),
    output: Path | None = typer.Option(None, "-o", "--output", help="Result file."),
    corners: str | None = typer.Option(
        None, help="The print's corners in pixels, where they are not found: 'x,y x,y x,y x,y'."
    ),
    border: bool = typer.Option(False, "--border", help="Keep the paper's plain border."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Take the perspective out of a shot of a print, and the table and border off it."""
    from verax import image as images
    from verax import prints
    from verax.prints.corners import find_corners

    target = output or photo.with_name(f"{photo.stem}_straightened{photo.suffix}")
    if target.exists() and photo.exists() and target.samefile(photo):
        raise InputError(f"{target}: the result would replace the shot; choose another -o")
    images.check_target(target)
    shot = images.read(photo)
    ring = corners_of(corners) if corners is not None else find_corners(shot.pixels)
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


def corners_of(text: str) -> "Corners":
    """Four points from 'x,y x,y x,y x,y'."""
    import numpy as np

    try:
        points = [[float(value) for value in point.split(",")] for point in text.split()]
        ring = np.array(points, np.float64).reshape(4, 2)
    except ValueError as exc:
        raise InputError(f"--corners: want 'x,y x,y x,y x,y' in pixels, got {text!r}") from exc
    return ring
