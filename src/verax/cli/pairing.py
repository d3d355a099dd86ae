"""Finds the photos that folders and patterns name, and matches them with priors and results."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from verax.datasets import by_name, common_key
from verax.errors import InputError, OutputError, VeraxError, quantity
from verax.image.header import READ_ONLY, is_picture_name

if TYPE_CHECKING:
    from verax.geometry.register import Registration
    from verax.image import Photo

MODEL = 0x0110  # EXIF tag of the camera's model
WHY = {
    "not": "it shows another scene",
    "undecided": "it is not certain whether it shows the same scene",
}


def pictures_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The picture files in a folder, sorted by name, without hidden files.

    `recursive` includes those in its subfolders that are not hidden.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder of pictures, found no such folder; check the path"
        )
    if not recursive:
        return sorted(p for p in folder.iterdir() if is_picture_name(p))
    pictures = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures += [Path(here, name) for name in names if is_picture_name(name)]
    return sorted(pictures)


def expand(arguments: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], bool]:
    """(pictures, several): the picture files that paths, folders and glob patterns name.

    `several` is False if the argument is a single file, and True otherwise: even if a folder or a
    pattern has only one picture.
    """
    photos: list[Path] = []
    several = len(arguments) > 1
    absent = [a for a in arguments if not a.exists() and not any(sign in a.name for sign in "*?[")]
    if len(absent) == len(arguments):
        raise InputError(
            f"{', '.join(map(str, absent))}: expected a picture, found none; check the path"
        )
    for argument in arguments:
        if argument.is_dir():
            several = True
            pictures = pictures_in(argument, recursive=recursive)
            if not pictures:
                raise InputError(
                    f"{argument}: expected pictures in this folder, found none; check the path "
                    "(--recursive includes its subfolders)"
                )
            photos += pictures
        elif not argument.exists() and any(sign in argument.name for sign in "*?["):
            several = True
            photos += glob(argument)
        else:
            photos.append(argument)
    return list(dict.fromkeys(photos)), several


def glob(pattern: Path) -> list[Path]:
    """The files that a pattern such as photos/*.jpg matches; only its last part has wildcards.

    Hidden files, such as macOS writes, are left out unless that part begins with a dot.
    """
    hidden = pattern.name.startswith(".")
    pictures = sorted(
        p
        for p in pattern.parent.glob(pattern.name)
        if p.is_file() and (hidden or not p.name.startswith("."))
    )
    if not pictures:
        raise InputError(f"{pattern}: no file matches this pattern; check the path")
    return pictures


def by_stem(*folders: Path) -> tuple[dict[str, Path], ...]:
    """For each folder, a dict of its pictures by name without suffix.

    Raises InputError if a folder is missing, or has two pictures whose names differ in the suffix
    alone.
    """
    for folder in folders:
        pictures_in(folder)
    return by_name(*folders)


def partners(places: Mapping[Path, Path], folder: Path, *, deep: bool = False) -> dict[Path, Path]:
    """The partner of each photo: the picture in `folder` with the same name, apart from the suffix.

    `places`: for each photo, the path in `folder` (relative to it) where its partner is expected.
    `deep` includes subfolders. Photos without a partner are left out; raises InputError if no photo
    has one.
    """
    others = {p.relative_to(folder): p for p in pictures_in(folder, recursive=deep)}
    key = common_key([str(place) for place in places.values()], [str(place) for place in others])
    by_key = {key(str(place)): other for place, other in others.items()}
    if len(by_key) < len(others):
        by_name(folder)
    pairs = {p: by_key[key(str(at))] for p, at in places.items() if key(str(at)) in by_key}
    if not pairs:
        raise InputError(
            f"{folder}: expected priors that are named like the photos, found none among its "
            f"{quantity(len(others), 'picture')}; name them such as {next(iter(places)).stem}.png"
        )
    return pairs


def common_folder(photos: Iterable[Path]) -> Path:
    """The deepest folder that contains all photos."""
    return Path(os.path.commonpath([photo.parent for photo in photos]))


def camera(photo: "Photo") -> str:
    """The camera model that a photo's EXIF names; "" if it names none."""
    from PIL.Image import Exif

    tags = Exif()
    tags.load(photo.metadata.exif or b"")
    return str(tags.get(MODEL, "")).strip("\0 ")


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to restore, its prior, and the paths of its results.

    `prior`: None if there is none, or a service still has to make it. `report`: folder for its
    report, None: no report. `registration`: of the prior on the photo; None: still to be computed.
    """

    photo: Path
    prior: Path | None
    output: Path
    report: Path | None
    registration: "Registration | None" = None


def second_as_prior(
    pictures: list[Path], *, accept: bool = False
) -> "tuple[list[Path], Path | None, Registration | None]":
    """(photos, prior, registration) for pictures that the user named without --prior.

    Two pictures of the same scene are a photo and its prior. Otherwise all are photos, and prior
    and registration are None. A second picture whose EXIF names a camera is a photo, since
    generators name none. With `accept`, the second of two pictures is always the prior.
    """
    from verax import image as images
    from verax.geometry.register import register

    if len(pictures) != 2 or not all(path.is_file() for path in pictures):
        return pictures, None, None
    try:
        photo, other = (images.read(path) for path in pictures)
    except VeraxError:  # reported when that file is restored
        return pictures, None, None
    taken_by = "" if accept else camera(other)
    names = [path.name for path in pictures]
    first, second = names if len(set(names)) == 2 else map(str, pictures)
    registration = register(photo.pixels, other.pixels, accept=accept) if not taken_by else None
    if registration is None or not registration.usable:
        why = (
            f"it was taken by a camera ({taken_by})"
            if registration is None
            else WHY[registration.placed]
        )
        print(
            f"note: {second} is restored as a photo of its own, since {why}; "
            "if it is a prior, use --prior",
            file=sys.stderr,
        )
        return pictures, None, None
    print(
        f"{second} is taken as the prior of {first}, since both show one scene "
        "(if both are photos of yours, name their folder instead)",
        file=sys.stderr,
    )
    return pictures[:1], pictures[1], registration


def plan(
    photos: list[Path],
    *,
    several: bool,
    prior: Path | None,
    output: Path | None,
    report: Path | None,
    recursive: bool = False,
) -> list[Job]:
    """One job for each photo, with its prior and result paths. `prior`, `output` and `report` are
    values of options; default for `output`: NAME_restored, or folder "restored" beside the photos.
    With `several`, `prior` and `output` are folders of files named like the photos; `recursive`:
    they have the same subfolders, too."""
    if report is not None and report.exists() and not report.is_dir():
        raise InputError(f"--report: expected a folder, got the file {report}; name a folder")
    if not several:
        photo = photos[0]
        target = output or photo.with_name(writable(f"{photo.stem}_restored{photo.suffix}"))
        if target.is_dir():
            target = target / writable(photo.name)
        if output is None and target.exists():
            print(f"note: a restoration replaces {target}; -o names another file", file=sys.stderr)
        return [Job(photo, prior, target, report)]
    if prior is not None and not prior.is_dir():
        raise InputError(
            f"--prior: expected a folder for {quantity(len(photos), 'photo')}, got the file "
            f"{prior}; name a folder of priors"
        )
    if output is not None and not output.is_dir() and (output.exists() or is_picture_name(output)):
        raise InputError(
            f"--output: expected a folder for {quantity(len(photos), 'photo')}, "
            f"got the file {output}; name a folder"
        )
    root = common_folder(photos) if recursive else photos[0].parent
    folder = output if output is not None else root / "restored"
    photos = [photo for photo in photos if not (recursive and photo.is_relative_to(folder))]
    places = {p: p.relative_to(root) if recursive else Path(p.name) for p in photos}
    priors = partners(places, prior, deep=recursive) if prior is not None else {}
    jobs = []
    for photo, place in places.items():
        target = folder / place.with_name(writable(place.name))
        jobs.append(Job(photo, priors.get(photo), target, report / place if report else None))
    without = [job.photo.name for job in jobs if job.prior is None]
    if prior is not None and without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        print(f"note: no prior in {prior} for {', '.join(without[:5])}{more}", file=sys.stderr)
    counts = Counter(job.output for job in jobs)
    if twice := sorted({target.name for target, n in counts.items() if n > 1}):
        raise InputError(f"several photos would become {', '.join(twice)}; rename the photos")
    return jobs


def writable(name: str) -> str:
    """The file name itself, or with the suffix .png if its format can be read but not written."""
    path = Path(name)
    return str(path.with_suffix(".png")) if path.suffix.lower() in READ_ONLY else name


def check_targets(jobs: Sequence[Job], *, several: bool, make: bool) -> None:
    """Raises OutputError if a result cannot be written, before anything is paid or computed.

    `several`: the results go into folders. `make`: make these folders if they are missing;
    otherwise, as on a dry run, nothing is made.
    """
    from verax import image as images

    if several and make:
        make_folders(jobs)
    for job in jobs:
        if job.output.parent.is_dir() or not several:
            images.check_target(job.output)
        else:
            images.format_of(job.output)


def still_to_do(jobs: list[Job]) -> list[Job]:
    """The jobs whose result file does not exist yet; prints how many are skipped."""
    todo = [job for job in jobs if not job.output.is_file()]
    if len(todo) < len(jobs):
        existing = quantity(len(jobs) - len(todo), "photo")
        print(f"note: {existing} skipped, since a result exists", file=sys.stderr)
    return todo


def make_folders(jobs: Sequence[Job]) -> list[Path]:
    """Make the missing folders of the results. Returns those that were made."""
    new = [f for f in dict.fromkeys(job.output.parent for job in jobs) if not f.is_dir()]
    for folder in new:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(
                f"{folder}: cannot make this folder: {exc.strerror}; choose another -o"
            ) from exc
    return new
