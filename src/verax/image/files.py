"""Reading pictures from files, bytes and Python objects, and writing them to files.

PIL pictures keep their ICC profile, EXIF and orientation. Arrays mean:

| array | meaning |
|---|---|
| uint8, uint16 | levels 0..255 or 0..65535; a restoration is saved at that depth |
| float16, float32, float64 | sRGB in [0, 1]; other values are an error |
| (H, W), (H, W, 1) | grey; a restoration that is still grey is saved as grey |
| (H, W, 2), (H, W, 4) | grey or RGB, then straight alpha, which is saved unchanged |"""

import hashlib
import io
import os
import reprlib
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verax.errors import ImageContractError, ImageReadError, OutputError, VeraxError
from verax.image.contract import (
    Image,
    Photo,
    Plane,
    Raw,
    array_sha256,
    check_image,
    check_plane,
    one_line,
)
from verax.image.decode import MAX_PIXELS, TURNS, decode, photo_of
from verax.image.encode import QUALITY, encode
from verax.image.header import READABLE, SUFFIXES, format_of_bytes
from verax.image.jpeg import salvage_jpeg
from verax.image.png import salvage_png
from verax.store import write_whole

EFFECTIVE = os.access in os.supports_effective_ids  # can os.access check the effective user?
MAX_BYTES = 4 << 30  # no picture within MAX_PIXELS is larger
if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    Picture = str | os.PathLike[str] | bytes | Photo | PillowImage | ArrayLike

DEPTHS: dict[str, tuple[Literal[8, 16], float]] = {"uint8": (8, 255.0), "uint16": (16, 65535.0)}
FLOATS = ("float16", "float32", "float64")
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
SALVAGERS: dict[str, Callable[..., tuple[Raw, int]]] = {"jpeg": salvage_jpeg, "png": salvage_png}


def read(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a picture file. Raises ImageReadError if it is not one complete still picture, or has
    more than `max_pixels` pixels."""
    photo = decode(read_bytes(path), name=str(path), max_pixels=max_pixels)
    return replace(photo, name=Path(path).name)


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a file. Raises ImageReadError if it cannot be read or is larger than 4 GiB."""
    path = Path(path)
    expected = f"{one_line(path)}: expected a {READABLE} file"
    try:
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise ImageReadError(f"{expected}, got a folder; give the path of a picture in it")
        if not stat.S_ISREG(kind.st_mode):
            raise ImageReadError(f"{expected}, got a device or pipe; save its data to a file first")
        if kind.st_size > MAX_BYTES:
            size, most = (f"{count / 1e9:.1f} GB" for count in (kind.st_size, MAX_BYTES))
            raise ImageReadError(f"{expected} of at most {most}, got one of {size}; check the path")
        return path.read_bytes()
    except ImageReadError:  # raised above; it is a ValueError, too
        raise
    except FileNotFoundError as exc:
        raise ImageReadError(f"{expected}, found no file; check the path") from exc
    except PermissionError as exc:
        hint = "got one that may not be read; change its permissions"
        raise ImageReadError(f"{expected}, {hint}") from exc
    except (OSError, ValueError) as exc:  # ValueError: a path with a null byte
        raise ImageReadError(f"{expected}, reading failed ({_reason(exc)}); try again") from exc


def format_of(path: Path | str) -> str:
    """The format for a path's suffix, such as "jpeg" for ".jpg"; OutputError if it is unknown."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(
            f"{one_line(path)}: expected a file name that ends in {', '.join(SUFFIXES)}, got "
            f"{f'the suffix {suffix!r}' if suffix else 'a name without suffix'}; rename the output"
        )
    return SUFFIXES[suffix]


def write(
    path: Path | str,
    image: Image,
    *,
    like: Photo | None = None,
    drop_gps: bool = False,
    quality: int = QUALITY,
) -> None:
    """Write a picture (H, W, 3) in the format of the path's suffix.

    `like` is a photo whose bit depth, alpha, profile and metadata the file gets (None: 8-bit sRGB);
    `drop_gps` leaves out places; `quality`, 1..100, counts for JPEG, AVIF and HEIC. An existing
    file is replaced only when the new one is complete. Raises OutputError if it cannot be written.
    """
    format = check_target(path)
    replace_file(path, encode(image, format=format, like=like, drop_gps=drop_gps, quality=quality))


def check_target(path: Path | str) -> str:
    """Check that a file can be written at `path`; returns the format for its suffix.

    The format is a name such as "jpeg". Raises OutputError if the file cannot be written. To be
    called before long work whose result is written there."""
    format = format_of(path)
    target, name = Path(path), one_line(path)
    try:
        mode = target.stat().st_mode if target.exists() else None
        if not target.parent.is_dir():
            raise OutputError(f"{name}: expected an existing folder, found none; create it first")
        if not os.access(target.parent, os.W_OK, effective_ids=EFFECTIVE):
            raise OutputError(f"{name}: the folder is write-protected; choose another folder")
    except (OSError, ValueError) as exc:
        raise _unwritable(path, exc) from exc
    if mode is not None and stat.S_ISDIR(mode):
        raise OutputError(f"{name}: expected a file name, got an existing folder; add a file name")
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(
            f"{name}: expected an ordinary file, got a device or pipe; choose another name"
        )
    if mode is not None and not mode & 0o222:
        raise OutputError(f"{name}: the existing file is write-protected; choose another name")
    return format


def replace_file(path: Path | str, data: bytes) -> None:
    """Write a file atomically in an existing folder. Raises OutputError if that fails."""
    try:
        write_whole(Path(path), data, parents=False)
    except (OSError, ValueError) as exc:
        raise _unwritable(path, exc) from exc


def _unwritable(path: Path | str, exc: Exception) -> OutputError:
    return OutputError(
        f"{one_line(path)}: the file could not be written ({_reason(exc)}) and nothing was left "
        "there; check the disk or choose another folder"
    )


def _reason(exc: Exception) -> str:
    return (isinstance(exc, OSError) and exc.strerror) or one_line(exc)


def as_photo(picture: "Picture", *, name: str = "picture") -> Photo:
    """Make a photo from a path, the bytes of a file, a PIL picture or an array.

    Parameters
    ----------
    picture
        A photo is returned unchanged. Arrays are (H, W) or (H, W, C), C = 1..4: grey or RGB, then
        alpha if C is 2 or 4; uint8 or uint16 levels, or float sRGB in [0, 1]. Anything with
        `__array__` counts as an array.
    name
        The name of the picture in error messages.

    Raises
    ------
    ImageReadError
        The path or the bytes are not one complete still picture.
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
    return _from_array(_as_array(picture, name), name)


def _as_array(picture: object, name: str) -> NDArray[Any]:
    """Convert an object to a numeric array; raises ImageContractError if it cannot become one."""
    try:
        array = np.asarray(picture)
    except (TypeError, ValueError, RuntimeError):  # rows of unequal length, a tensor on a GPU
        array = np.asarray(None)
    if array.ndim == 0 or array.dtype.kind not in "biufc":
        raise ImageContractError(
            f"{name}: expected a path, the bytes of a file, a PIL picture, an array or a "
            f"verax.Photo, got {type(picture).__name__} {reprlib.repr(picture)}; convert it first"
        )
    return array


def _from_array(array: NDArray[Any], name: str) -> Photo:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 2, 3, 4):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "move the channels last" if first else "pass one picture in this form"
        raise ImageContractError(
            f"{name}: expected an array (H, W) or (H, W, C) with 1 to 4 channels, got shape "
            f"{array.shape}; {hint}"
        )
    kind = array.dtype.name
    if kind not in (*DEPTHS, *FLOATS):
        raise ImageContractError(
            f"{name}: expected an array of uint8, uint16 or float in [0, 1], got {kind}; "
            "convert it first"
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
    """Encode a PIL picture in memory and decode it, to apply its ICC profile and orientation."""
    mode = picture.mode
    if mode in ("F", "I"):
        raise ImageContractError(
            f"{name}: expected a PIL picture of a mode such as RGB, got mode {mode}, which does "
            "not define the value of white; pass an array in [0, 1]"
        )
    buffer = io.BytesIO()
    options = {k: v for k in ("icc_profile",) if (v := picture.info.get(k))}
    if mode == "CMYK":
        picture.save(buffer, "TIFF", **options)
    else:
        if mode not in PNG_MODES:
            picture = picture.convert("RGBA" if mode.endswith(("a", "A")) else "RGB")
        exif = picture.getexif()
        picture.save(
            buffer, "PNG", compress_level=1, exif=exif.tobytes() if exif else b"", **options
        )
    photo = decode(buffer.getvalue(), name=name)
    return replace(photo, format="", name="", sha256=array_sha256(photo.pixels))


def salvage(
    file: Path | str | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS
) -> tuple[Photo, Plane]:
    """Read a file that may be truncated; returns the photo and a mask of its missing pixels.

    The mask is (H, W) on the grid of the upright photo: 1 where pixels are missing, 0 elsewhere.
    `name` is used in messages instead of the path. Raises ImageReadError if no pixel can be
    decoded, and for a damaged file that is neither JPEG nor PNG.
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
            f"{name}: expected a picture of which a part can be decoded, but nothing of it can "
            f"({one_line(exc) or type(exc).__name__}); get another copy"
        ) from exc
    height, width = raw.samples.shape[:2]
    lost = np.zeros((height, width), np.float32)
    lost[rows:] = 1
    part = f"rows {rows} to {height - 1}" if rows < height else "the finer scans"
    photo = replace(
        photo,
        name=name if isinstance(file, bytes) else Path(file).name,
        lost=(*photo.lost, f"{part}, which the file does not hold"),
    )
    return photo, np.ascontiguousarray(TURNS[turn](lost))
