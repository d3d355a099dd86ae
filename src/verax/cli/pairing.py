"""Which file belongs to which: folders and globs on the command line, partners by name."""

from collections.abc import Sequence
from pathlib import Path

from verax.errors import InputError

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif", ".bmp"}
)


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in a folder, sorted by name; hidden files are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder}: want a folder of pictures, there is none; check the path")
    found = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")
    ]
    return sorted(found)


def expand(arguments: Sequence[Path]) -> tuple[list[Path], bool]:
    """The pictures meant by paths, folders and quoted globs; and whether several were meant."""
    photos: list[Path] = []
    several = len(arguments) > 1
    for argument in arguments:
        if argument.is_dir():
            several = True
            found = pictures_in(argument)
            if not found:
                raise InputError(f"{argument}: want a folder with pictures, found none in it")
            photos += found
        elif not argument.exists() and any(sign in argument.name for sign in "*?["):
            several = True
            photos += glob(argument)
        else:
            photos.append(argument)
    return list(dict.fromkeys(photos)), several


def glob(pattern: Path) -> list[Path]:
    """The pictures whose name fits the last part of a pattern such as photos/*.jpg."""
    found = sorted(p for p in pattern.parent.glob(pattern.name) if p.is_file())
    if not found:
        raise InputError(f"{pattern}: no file fits this pattern")
    return found


def by_stem(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by name without suffix; two files of one name are an error."""
    partners: dict[str, Path] = {}
    for path in pictures_in(folder):
        if path.stem in partners:
            raise InputError(
                f"{folder}: {partners[path.stem].name} and {path.name} share one name; "
                "partners are found by name, keep one of them"
            )
        partners[path.stem] = path
    return partners
