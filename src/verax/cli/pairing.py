"""Which file belongs to which: folders and globs on the command line, partners by name."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from verax.datasets import by_name, common_key
from verax.errors import InputError
from verax.image.header import is_picture_name

if TYPE_CHECKING:
    from verax.image import Photo

MODEL = 0x0110  # EXIF


def pictures_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The picture files in a folder, sorted by name; hidden files are left out.

    `recursive` takes those of its folders, too, hidden folders left out.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: want a folder of pictures, there is none; check the path")
    if not recursive:
        return sorted(p for p in folder.iterdir() if is_picture_name(p))
    pictures = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures += [Path(here, name) for name in names if is_picture_name(name)]
    return sorted(pictures)


def expand(arguments: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], bool]:
    """The pictures meant by paths, folders and quoted globs; and whether several were meant."""
    photos: list[Path] = []
    several = len(arguments) > 1
    absent = [a for a in arguments if not a.exists() and not any(sign in a.name for sign in "*?[")]
    if len(absent) == len(arguments):
        raise InputError(
            f"{', '.join(map(str, absent))}: want a picture, there is none; check the path"
        )
    for argument in arguments:
        if argument.is_dir():
            several = True
            pictures = pictures_in(argument, recursive=recursive)
            if not pictures:
                raise InputError(f"{argument}: want a folder with pictures, found none in it")
            photos += pictures
        elif not argument.exists() and any(sign in argument.name for sign in "*?["):
            several = True
            photos += glob(argument)
        else:
            photos.append(argument)
    return list(dict.fromkeys(photos)), several


def glob(pattern: Path) -> list[Path]:
    """The files whose name fits the last part of a pattern such as photos/*.jpg.

    Hidden files, such as macOS puts beside others, are left out unless the pattern asks for them.
    """
    hidden = pattern.name.startswith(".")
    pictures = sorted(
        p
        for p in pattern.parent.glob(pattern.name)
        if p.is_file() and (hidden or not p.name.startswith("."))
    )
    if not pictures:
        raise InputError(f"{pattern}: no file fits this pattern")
    return pictures


def by_stem(*folders: Path) -> tuple[dict[str, Path], ...]:
    """Pictures of folders by the name that partners share; two files of one name are an error."""
    for folder in folders:
        pictures_in(folder)
    return by_name(*folders)


def partners(places: Mapping[Path, Path], folder: Path, *, deep: bool = False) -> dict[Path, Path]:
    """The picture in `folder` that belongs to each photo, by its place (a name or relative path).

    `deep` looks in the folders below, too. Raises InputError where no photo has a partner at all.
    """
    others = {p.relative_to(folder): p for p in pictures_in(folder, recursive=deep)}
    key = common_key([str(place) for place in places.values()], [str(place) for place in others])
    by_key = {key(str(place)): other for place, other in others.items()}
    if len(by_key) < len(others):
        by_name(folder)
    pairs = {p: by_key[key(str(at))] for p, at in places.items() if key(str(at)) in by_key}
    if not pairs:
        raise InputError(
            f"{folder}: want priors that are named like the photos, found none among its "
            f"{len(others)} pictures; name them such as {next(iter(places)).stem}.png"
        )
    return pairs


def common_folder(photos: Iterable[Path]) -> Path:
    """The deepest folder that holds all photos."""
    return Path(os.path.commonpath([photo.parent for photo in photos]))


def camera(photo: "Photo") -> str:
    """The camera that a file names, "" for none."""
    from PIL.Image import Exif

    tags = Exif()
    tags.load(photo.metadata.exif or b"")
    return str(tags.get(MODEL, "")).strip("\0 ")
