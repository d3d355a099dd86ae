"""Pictures as Python programs hold them, taken in under the image contract.

Paths and file bytes are decoded; PIL pictures keep profile, EXIF and turn; arrays follow one rule:

| array | meaning |
|---|---|
| uint8, uint16 | levels 0..255, 0..65535; a restoration is saved at that depth |
| float16, float32, float64 | sRGB in [0, 1]; values beyond are refused, not guessed |
| (H, W), (H, W, 1) | grey; saved as grey while it is still grey |
| (H, W, 2), (H, W, 4) | grey or RGB with straight alpha, which is kept and not restored |
"""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verax.errors import ImageContractError
from verax.image.contract import Photo, array_sha256, check_image, check_plane
from verax.image.decode import decode
from verax.image.files import read

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    Picture = str | os.PathLike[str] | bytes | Photo | PillowImage | ArrayLike

DEPTHS: dict[str, tuple[Literal[8, 16], float]] = {"uint8": (8, 255.0), "uint16": (16, 65535.0)}
FLOATS = ("float16", "float32", "float64")
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def as_photo(picture: "Picture", *, name: str = "picture") -> Photo:
    """A photo from a path, file bytes, a PIL picture, an array or a photo.

    Parameters
    ----------
    picture
        See the table above. Anything with `__array__`, such as a CPU tensor, is an array.
    name
        What messages call it.

    Raises
    ------
    ImageReadError
        The path or the bytes are not one still picture.
    ImageContractError
        The array has another shape, type or range.
    """
    if isinstance(picture, Photo):
        return picture
    if isinstance(picture, str | os.PathLike):
        return read(Path(picture))
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode(bytes(picture), name=name)
    if type(picture).__module__.startswith("PIL."):
        return _from_pillow(picture, name)
    return _from_array(np.asarray(picture), name)


def _from_array(array: NDArray[Any], name: str) -> Photo:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 2, 3, 4):
        hint = "; move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageContractError(
            f"{name}: want (H, W), (H, W, 3) or (H, W, 4), got {array.shape}{hint}"
        )
    kind = array.dtype.name
    if kind not in (*DEPTHS, *FLOATS):
        raise ImageContractError(
            f"{name}: want uint8, uint16 or float in [0, 1], got {kind}; convert it first"
        )
    depth, white = DEPTHS.get(kind, (8, 1.0))
    values = np.atleast_3d(np.asarray(array, np.float32)) / np.float32(white)
    grey, has_alpha = channels < 3, channels in (2, 4)
    colours = values[..., :-1] if has_alpha else values
    pixels = np.ascontiguousarray(np.repeat(colours, 3, axis=2) if grey else colours)
    check_image(pixels, name=name)
    alpha = np.ascontiguousarray(values[..., -1]) if has_alpha else None
    if alpha is not None:
        check_plane(alpha, size=(pixels.shape[1], pixels.shape[0]), name=f"{name}: alpha")
    return Photo(
        pixels,
        alpha=alpha,
        bit_depth=depth,
        color="grey" if grey else "rgb",
        sha256=array_sha256(pixels),
    )


def _from_pillow(picture: Any, name: str) -> Photo:  # noqa: ANN401  # PIL has no light type
    """By way of a file in memory, so that profile, turn and depth are read as from a file."""
    mode = picture.mode
    if mode in ("F", "I"):
        raise ImageContractError(
            f"{name}: PIL mode {mode} has no fixed white; pass it as an array in [0, 1]"
        )
    buffer = io.BytesIO()
    kept = {k: v for k in ("icc_profile",) if (v := picture.info.get(k))}
    if mode == "CMYK":
        picture.save(buffer, "TIFF", **kept)
    else:
        if mode not in PNG_MODES:
            picture = picture.convert("RGBA" if mode.endswith(("a", "A")) else "RGB")
        exif = picture.getexif()
        picture.save(buffer, "PNG", compress_level=1, exif=exif.tobytes() if exif else b"", **kept)
    photo = decode(buffer.getvalue(), name=name)
    return replace(photo, format="", name="", sha256=array_sha256(photo.pixels))
