"""What is left of a cut file, and which part of the picture it does not hold."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from verax.errors import ImageReadError, VeraxError
from verax.image.contract import Photo, Plane
from verax.image.decode import MAX_PIXELS, TURNS, decode, photo_of
from verax.image.files import read_bytes
from verax.image.header import format_of_bytes
from verax.image.jpeg import salvage_jpeg
from verax.image.png import salvage_png
from verax.image.raw import Raw, one_line

SALVAGERS: dict[str, Callable[..., tuple[Raw, int]]] = {"jpeg": salvage_jpeg, "png": salvage_png}


def salvage(
    file: Path | str | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS
) -> tuple[Photo, Plane]:
    """A photo from a file that may be cut short, and a mask of what it does not hold.

    The mask is 1 where the photo holds nothing: (H, W), upright as the photo. A whole file has an
    empty mask. Raises ImageReadError where nothing can be told, and for other formats than JPEG
    and PNG.
    """
    data = file if isinstance(file, bytes) else read_bytes(file)
    name = one_line(name or (file if not isinstance(file, bytes) else "image"))
    try:
        photo = decode(data, name=name, max_pixels=max_pixels)
        return photo, np.zeros(photo.pixels.shape[:2], np.float32)
    except ImageReadError:
        if (format := format_of_bytes(data)) not in SALVAGERS:
            raise
    try:
        raw, rows = SALVAGERS[format](data, max_pixels=max_pixels)
        photo, turn = photo_of(raw, format, name, hashlib.sha256(data).hexdigest())
    except VeraxError as exc:
        raise ImageReadError(f"{name}: {exc}") from exc
    except Exception as exc:  # decoders raise anything on damaged data
        raise ImageReadError(
            f"{name}: want a picture of which some is left, got one that does not decode "
            f"({one_line(exc) or type(exc).__name__}); get it again"
        ) from exc
    height, width = raw.samples.shape[:2]
    lost = np.zeros((height, width), np.float32)
    lost[rows:] = 1
    said = f"rows {rows} to {height - 1}" if rows < height else "the finer scans"
    photo = replace(
        photo,
        name=name if isinstance(file, bytes) else Path(file).name,
        lost=(*photo.lost, f"{said}, which the file does not hold"),
    )
    return photo, np.ascontiguousarray(TURNS[turn](lost))
