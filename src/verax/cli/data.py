"""The command `verax data`: lists, downloads, registers and checks datasets."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from verax.errors import InputError, SettingsError, choose, quantity

if TYPE_CHECKING:
    from verax.datasets import Dataset
    from verax.datasets.registry import DatasetEntry

app = typer.Typer(
    name="data", help="Datasets: list, info, fetch, add, verify.", no_args_is_help=True
)


@app.command("list")
def list_datasets(
    task: str = typer.Option("", help="Only datasets of this task (fault)."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List the known datasets, and where they are on this machine."""
    from verax.datasets import registry

    home = _home()
    mine = registry.places(home)
    known = registry.all_entries(changes=home)
    entries = [e for e in known.values() if task in ("", e.task)]
    own = {n: p for n, p in mine.items() if n not in known and task in ("", p.task)}
    if as_json:
        rows = [
            asdict(e) | {"folder": mine[e.name].folder if e.name in mine else None} for e in entries
        ]
        rows_own = [{"name": name, **asdict(place)} for name, place in own.items()]
        print(json.dumps({"datasets": rows, "own": rows_own}, indent=1))
        return
    for entry in entries:
        pictures = sum(entry.splits.values()) or "?"
        where = mine[entry.name].folder if entry.name in mine else "not on this machine"
        print(f"{entry.name:20}{entry.task:18}{pictures:>9}  {where}")
    for name, place in own.items():
        print(f"{name:20}{place.task:18}{'own':>9}  {place.folder}")


@app.command()
def info(name: str = typer.Argument(..., help="Name of a dataset in verax data list.")) -> None:
    """Show the facts about a dataset: licence, citation, layout, known pitfalls."""
    from verax.datasets import registry

    entry = _entry(name)
    place = registry.places(_home()).get(name)
    rows = {
        "task": entry.task,
        "pictures": ", ".join(f"{split} {n or '?'}" for split, n in entry.splits.items()),
        "licence": entry.licence,
        "outputs may be published": "yes" if entry.redistribute else "no",
        "citation": entry.citation,
        "home": entry.home,
        "layout": "; or ".join(layout.in_words() for layout in entry.layouts),
        "pitfalls": entry.leaks,
        "places": ", ".join(entry.places),
        "checksums": ", ".join(entry.sha256) or "none stated by its makers",
        "on this machine": place.folder if place else "no",
        "to get it": f"verax data fetch {name}" if entry.fetch == "direct" else entry.steps,
    }
    print(entry.title)
    for label, text in rows.items():
        if text:
            print(f"  {label + ':':26}{text}")


@app.command()
def fetch(
    name: str = typer.Argument(..., help="Name of a dataset in verax data list."),
    output: Path | None = typer.Option(None, "-o", "--output", help="Folder to download into."),
    yes: bool = typer.Option(False, "--yes", help="Accept the licence without a question."),
) -> None:
    """Show the licence of a dataset; then download, check, unpack and register it.

    A download that was stopped is continued.
    """
    from verax.datasets import fetch as fetching

    entry = _entry(name)
    print(f"{entry.title}: licence: {entry.licence}. Please cite: {entry.citation}")
    if entry.fetch != "direct":
        print(f"{entry.home}\n{entry.steps}")
        raise SettingsError(
            f"{name} cannot be downloaded automatically; follow the steps printed above"
        )
    if not yes and not (sys.stdin.isatty() and typer.confirm("Download under this licence?")):
        raise SettingsError(
            "the licence was not accepted, so nothing was downloaded; to accept it: "
            f"verax data fetch {name} --yes"
        )
    folder = output or _home() / "datasets" / name
    with _bar() as tell:
        for address in [a for place in entry.places for a in fetching.expand(place)]:
            _fetch_one(entry, address, folder, tell)
    _register(entry, folder)


def _fetch_one(
    entry: "DatasetEntry", address: str, folder: Path, tell: Callable[[str, int, int | None], None]
) -> None:
    import httpx2

    from verax.datasets import fetch as fetching

    file = fetching.file_name(address)
    with httpx2.Client(timeout=60.0) as client:
        sha256 = fetching.download(
            address, folder / file, client=client, tell=tell, sha256=entry.sha256.get(file, "")
        )
    checked = "as published" if entry.sha256.get(file) else "none is published to compare with"
    print(f"{file}: SHA-256 {sha256} ({checked})", file=sys.stderr)
    if file.lower().endswith(".zip"):
        print(
            f"{file}: {quantity(fetching.unpack(folder / file, folder), 'file')} unpacked",
            file=sys.stderr,
        )


@app.command()
def add(
    folder: Path = typer.Argument(..., help="Folder of the pictures."),
    name: str = typer.Option(
        "", help="Name for the dataset; default: that of the published dataset, or of the folder."
    ),
    task: str = typer.Option("", help="For your own pictures: the fault of the photos."),
    licence: str = typer.Option(
        "", help="For your own pictures: their licence, if no manifest states it."
    ),
) -> None:
    """Register a folder of pictures, so that --dataset finds it by its name.

    A published dataset is recognised by its files; any other folder is a dataset of your own.
    """
    from verax.datasets import registry

    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found none; check the path")
    known = registry.all_entries(changes=_home())
    entry, alike = registry.recognise(folder, known) if not name else (known.get(name), [])
    if entry is not None:
        if task or licence:
            raise InputError(
                f"--task and --licence are for pictures of your own, but {folder} is the published "
                f"dataset {entry.title}; leave them out"
            )
        return _register(entry, folder)
    own = name or folder.resolve().name
    hint = f"; if it is {' or '.join(alike)}, add --name with that name" if alike else ""
    if published := registry.namesake(own, known):
        raise SettingsError(
            f"{folder}: expected the files of the published dataset {published.title}, since "
            f"{own} is its name, got others{hint}; to add a dataset of your own, choose another "
            "--name"
        )
    place = registry.Place(str(folder.resolve()), task=task, licence=licence)
    _show(registry.read_own(own, place))
    registry.keep(_home(), own, place)
    print(f"{folder} is your own dataset {own}; use it as --dataset {own}{hint}")
    return None


@app.command()
def verify(
    source: str = typer.Argument(
        ..., metavar="NAME|DIR|MANIFEST", help="A registered name, a folder or a manifest (CSV)."
    ),
) -> None:
    """Count and hash the files of a dataset.

    A dataset given by its name is compared with what its first verification found: a change is an
    error.
    """
    from verax.datasets import registry
    from verax.datasets.registry import load

    dataset = load(source)
    files, sha256 = _fingerprint(dataset)
    _show(dataset)
    print(f"{quantity(files, 'file')}, SHA-256 over all: {sha256}")
    place = registry.places(_home()).get(dataset.name)
    if place is None or Path(source).exists():
        return
    if place.sha256 and place.sha256 != sha256:
        raise InputError(
            f"{source}: expected the files that the first verify found in {place.folder} "
            f"({quantity(place.pictures, 'file')}, SHA-256 {place.sha256}), got changed "
            f"files ({quantity(files, 'file')}, SHA-256 {sha256}); if you changed them on purpose, "
            f"add the folder again: verax data add {place.folder}"
        )
    registry.keep(_home(), dataset.name, replace(place, pictures=files, sha256=sha256))
    print("same as at the first verify" if place.sha256 else "stored for the next verify")


def _fingerprint(dataset: "Dataset") -> tuple[int, str]:
    """(number of a dataset's files, SHA-256 over the SHA-256 values of all of them)."""
    from verax.datasets.fetch import digest

    paths = [p for i in dataset.items for p in (i.input, i.target, i.generated) if p is not None]
    unique = list(dict.fromkeys(paths))
    whole = hashlib.sha256("".join(map(digest, unique)).encode())
    return len(unique), whole.hexdigest()


def _register(entry: "DatasetEntry", folder: Path) -> None:
    from verax.datasets import registry

    dataset = registry.read(entry, folder)
    registry.keep(_home(), entry.name, registry.Place(str(folder.resolve())))
    _show(dataset)
    part = "" if registry.complete(entry, len(dataset.items)) else "part of "
    print(f"{part}{entry.title} is at {folder}; use it as --dataset {entry.name}")


def _show(dataset: "Dataset") -> None:
    for (task, split), n in sorted(Counter((i.task, i.split) for i in dataset.items).items()):
        what = "" if task == dataset.name else f"{task} "  # the name stands in for a missing task
        print(f"{dataset.name}: {n} {what}pictures{f' ({split})' if split else ''}")
    for remark in dataset.remarks:
        print(f"note: {remark}", file=sys.stderr)


def _entry(name: str) -> "DatasetEntry":
    from verax.datasets import registry

    return choose(registry.all_entries(changes=_home()), name, kind="dataset")


def _home() -> Path:
    from verax.settings import load

    return load().home


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a progress bar on a terminal for each file that is downloaded.

    Yields the function to call with (file name, bytes so far, bytes in total or None if unknown).
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(name: str, there: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=there, total=total)

        yield tell
