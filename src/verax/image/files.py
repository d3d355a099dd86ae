"""Photos on disk. What cannot be read or written is said in one line of ours.

A file appears whole or not at all: written beside its target, flushed, then renamed.
"""

import os
import stat
from dataclasses import replace
from pathlib import Path

from verax.errors import ImageReadError, OutputError
from verax.image.contract import Image, Photo
from verax.image.decode import MAX_PIXELS, decode
from verax.image.encode import QUALITY, encode
from verax.image.header import READABLE, SUFFIXES
from verax.image.raw import one_line
from verax.store import write_whole

EFFECTIVE = os.access in os.supports_effective_ids  # ask for the user we act as
MAX_BYTES = 4 << 30  # no picture within MAX_PIXELS is larger


def read(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """A photo from a file. Raises ImageReadError with one line that says what to do."""
    photo = decode(read_bytes(path), name=str(path), max_pixels=max_pixels)
    return replace(photo, name=Path(path).name)


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a file that may be a picture. Raises ImageReadError as `read` does."""
    path = Path(path)
    want = f"{one_line(path)}: want a {READABLE} file"
    try:
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise ImageReadError(f"{want}, got a folder; name a picture in it")
        if not stat.S_ISREG(kind.st_mode):
            raise ImageReadError(f"{want}, got a device or pipe; save it to a file first")
        if kind.st_size > MAX_BYTES:
            raise ImageReadError(f"{want}, got {kind.st_size / 1e9:.1f} GB; check the path")
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ImageReadError(f"{want}, there is none; check the path") from exc
    except PermissionError as exc:
        raise ImageReadError(f"{want}, reading it is not permitted; check its owner") from exc
    except (OSError, ValueError) as exc:  # ValueError: a path with a null byte
        raise ImageReadError(f"{want}, reading it failed ({_reason(exc)}); try again") from exc


def format_of(path: Path | str) -> str:
    """The format that a path's suffix asks for; OutputError lists the known suffixes."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(
            f"{one_line(path)}: want a suffix that names a picture format "
            f"({' '.join(SUFFIXES)}), got {suffix!r}"
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
    """Write a picture in the format of the path's suffix; with `like`, as that photo came.

    See `encode` for what is taken over. The file is whole or not there, and an older one
    stays until the new one is complete. Raises OutputError when it cannot be written.
    """
    format = check_target(path)
    replace_file(path, encode(image, format=format, like=like, drop_gps=drop_gps, quality=quality))


def check_target(path: Path | str) -> str:
    """The format that `path` asks for, if it can be written there; OutputError if not.

    `write` asks it first; callers with long work ahead ask before they begin.
    """
    format = format_of(path)
    target, shown = Path(path), one_line(path)
    try:
        mode = target.stat().st_mode if target.exists() else None
        if not target.parent.is_dir():
            raise OutputError(f"{shown}: want an existing folder, there is none; make it first")
        if not os.access(target.parent, os.W_OK, effective_ids=EFFECTIVE):
            raise OutputError(f"{shown}: want a folder to write in, this one is write-protected")
    except (OSError, ValueError) as exc:
        raise _unwritable(path, exc) from exc
    if mode is not None and stat.S_ISDIR(mode):
        raise OutputError(f"{shown}: want a file to write, got a folder; add a file name")
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(f"{shown}: want an ordinary file, got a device or pipe; choose another")
    if mode is not None and not mode & 0o222:
        raise OutputError(f"{shown}: the file there is write-protected; choose another name")
    return format


def replace_file(path: Path | str, data: bytes) -> None:
    """`verax.store.write_whole` with an OutputError in the words of this room."""
    try:
        write_whole(Path(path), data)
    except (OSError, ValueError) as exc:
        raise _unwritable(path, exc) from exc


def _unwritable(path: Path | str, exc: Exception) -> OutputError:
    return OutputError(
        f"{one_line(path)}: want to write it, that failed ({_reason(exc)}); "
        "nothing was left behind, choose another place"
    )


def _reason(exc: Exception) -> str:
    return (isinstance(exc, OSError) and exc.strerror) or one_line(exc)
