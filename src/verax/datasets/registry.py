"""The datasets known by name, and their folders on this machine.

Facts come from `catalog/datasets.toml`; the user's folders are stored in `datasets.json` in Verax's
home folder.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from verax.catalog import table
from verax.datasets import (
    FOLDERS,
    Dataset,
    Item,
    Layout,
    find_items,
    from_folder,
    from_manifest,
)
from verax.errors import SettingsError, UnknownNameError, choose, quantity
from verax.settings import load as load_settings
from verax.store import write_whole, writing

FILE = "datasets.json"
PART = "-part"  # appended to a dataset's name if the number of pictures is not the published one
ROLE_WORDS = {word for words in FOLDERS.values() for word in words} | {"png", "jpg"}


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """What the catalog datasets.toml says about one dataset.

    Attributes:
        redistribute: whether outputs made from the dataset may be published.
        home: address of the project page.
        fetch: "direct" if the files can be downloaded from `places`, else "manual".
        task: kind of damage, such as "dehazing"; a layout may have another one.
        layouts: where the files lie in the published copies.
        splits: number of pictures by name of the split; 0 if unknown.
        leaks: pitfalls, such as other datasets with the same scenes.
        places: addresses of the files.
        steps: how to get the files by hand, in words.
        generator: the model that made the generated pictures; "" if none or unknown.
        sha256: checksums of downloaded files by name.
    """

    name: str
    title: str
    task: str
    licence: str
    redistribute: bool
    citation: str
    home: str
    fetch: str
    layouts: tuple[Layout, ...]
    splits: Mapping[str, int]
    leaks: str = ""
    places: tuple[str, ...] = ()
    steps: str = ""
    generator: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the user has a dataset.

    Attributes:
        pictures, sha256: number of picture files, and a hash over all of them, found by the first
            `verax data verify`; 0 and "" before.
        task, licence: as given by the user for pictures of their own; "" for a catalog dataset.
    """

    folder: str
    pictures: int = 0
    sha256: str = ""
    task: str = ""
    licence: str = ""


def all_entries(*, changes: Path | None = None) -> dict[str, DatasetEntry]:
    """Every dataset of the catalog by name.

    A file datasets.toml in the folder `changes` adds entries or replaces them; None: there is none.
    """
    entries = table("datasets", changes=changes).items()
    return {name: _entry(name, facts) for name, facts in entries if isinstance(facts, dict)}


def _entry(name: str, facts: Mapping[str, Any]) -> DatasetEntry:
    try:
        values = dict(facts) | {
            "layouts": tuple(Layout(**layout) for layout in facts["layouts"]),
            "places": tuple(facts.get("places", ())),
        }
        return DatasetEntry(name=name, **values)
    except (KeyError, TypeError) as exc:
        raise SettingsError(
            f"datasets.toml: the entry {name} lacks a field or has an unknown one ({exc}); correct "
            "the entry in the file datasets.toml in Verax's home folder"
        ) from exc


def places(home: Path) -> dict[str, Place]:
    """The user's dataset folders by dataset name; `home` is Verax's home folder."""
    file = home / FILE
    if not file.is_file():
        return {}
    try:
        return {name: Place(**place) for name, place in json.loads(file.read_text("utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as exc:
        raise SettingsError(
            f"{file}: expected the file that verax data add writes, but it cannot be read: {exc}; "
            "remove it and add the folders again"
        ) from exc


def tasks(home: Path) -> list[str]:
    """The names of the tasks of all datasets, of the catalog and of the user, sorted."""
    entries = all_entries(changes=home).values()
    laid_out = (layout.task for entry in entries for layout in entry.layouts)
    own = (place.task for place in places(home).values())
    return sorted({*(entry.task for entry in entries), *laid_out, *own} - {"", "generated"})


def keep(home: Path, name: str, place: Place) -> None:
    """Store in a file in Verax's home folder `home` that the dataset `name` is at `place`."""
    rows = {n: {f: getattr(p, f) for f in Place.__slots__} for n, p in places(home).items()}
    rows[name] = {f: getattr(place, f) for f in Place.__slots__}
    with writing(home / FILE):
        write_whole(home / FILE, json.dumps(rows, indent=1, ensure_ascii=False).encode())


def read(entry: DatasetEntry, folder: Path) -> Dataset:
    """Read the dataset `entry` of the catalog from a folder.

    Raises SettingsError if there is no picture at the paths where its published copies have them.
    """
    items = tuple(_item(entry, item) for item in find_items(folder, entry.layouts))
    if not items:
        layouts = "; ".join(layout.in_words() for layout in entry.layouts)
        raise SettingsError(
            f"{folder}: expected pictures of {entry.title} (paths: {layouts}), found none; check "
            "the path of the folder"
        )
    remarks = []
    if not complete(entry, len(items)):
        counts = ", ".join(f"{split} {n or '?'}" for split, n in entry.splits.items())
        remarks.append(
            f"{entry.title}: {quantity(len(items), 'picture')} here, while the published set has "
            f"{counts}; results are therefore named {entry.name}{PART}"
        )
        items = tuple(replace(item, dataset=f"{entry.name}{PART}") for item in items)
    alone = sum(item.input is not None and item.target is None for item in items)
    if alone and any(layout.target for layout in entry.layouts):
        remarks.append(f"{entry.title}: {quantity(alone, 'photo')} here without a reference")
    return Dataset(entry.name, items, tuple(remarks))


def _item(entry: DatasetEntry, item: Item) -> Item:
    generator = (entry.generator or "unknown") if item.generated else ""
    task = item.task or entry.task
    return replace(item, task=task, dataset=entry.name, licence=entry.licence, generator=generator)


def complete(entry: DatasetEntry, count: int) -> bool:
    """Whether `count` pictures are a complete copy: any one split, or the first two, three ...
    splits together."""
    return count in expected_sizes(entry)


def expected_sizes(entry: DatasetEntry) -> set[int]:
    """The numbers of pictures that a complete copy can have: those of any one split, and of the
    first two, three ... splits together."""
    counts = [n for n in entry.splits.values() if n]
    return set(counts) | set(accumulate(counts))


def load(source: str, *, task: str = "", home: Path | None = None) -> Dataset:
    """Read a dataset; `source` is a folder, a manifest file or the name of a known dataset.

    `task` is the task of a folder without manifest, by default the folder's name. `home` is Verax's
    home folder, by default that of the settings.
    """
    path = Path(source)
    if path.exists():
        home = home or load_settings().home
        for name, place in places(home).items():  # an added folder has a task and a licence
            if not task and Path(place.folder).resolve() == path.resolve():
                return load_known(name, home)
        return _from_path(path, task=task or path.resolve().name)
    if "/" in source or path.suffix:
        raise SettingsError(
            f"{source}: expected a folder with input/ and target/ or a manifest, found none; check "
            "the path (verax data list shows the known names)"
        )
    try:
        return load_known(source, home or load_settings().home)
    except UnknownNameError as exc:
        raise UnknownNameError(
            f"{source}: expected a folder with input/ and target/, "
            f"a manifest or a known name; {exc}"
        ) from exc


def _from_path(path: Path, *, task: str) -> Dataset:
    """Read a dataset from a manifest file, or from a folder with or without manifest.csv.

    `task` is that of a folder without manifest.csv.
    """
    manifest = path / "manifest.csv"
    if path.is_file() or manifest.is_file():
        return from_manifest(manifest if manifest.is_file() else path)
    return from_folder(path, task=task)


def load_known(name: str, home: Path) -> Dataset:
    """The dataset `name`, read from the folder that the user added under this name."""
    mine, entries = places(home), all_entries(changes=home)
    entry = choose({**dict.fromkeys(mine), **entries}, name, kind="dataset or folder")
    title = entry.title if entry else name
    if entry is not None and name not in mine:
        way = f"verax data fetch {name}" if entry.fetch == "direct" else entry.steps
        raise SettingsError(f"{title} is known, but not on this machine yet; to get it: {way}")
    folder = Path(mine[name].folder)
    if not folder.exists():
        raise SettingsError(
            f"{title} was at {folder}, which no longer exists; add the new folder: "
            "verax data add DIR"
        )
    return read(entry, folder) if entry else read_own(name, mine[name])


def read_own(name: str, place: Place) -> Dataset:
    """Read a dataset from `place`, a user's own folder that was added under this name."""
    dataset = _from_path(Path(place.folder), task=place.task or name)
    items = tuple(replace(i, licence=i.licence or place.licence) for i in dataset.items)
    if not Path(place.folder, "manifest.csv").is_file():
        items = tuple(replace(item, dataset=name) for item in items)
    return replace(dataset, name=name, items=items)


def recognise(
    folder: Path, entries: Mapping[str, DatasetEntry]
) -> tuple[DatasetEntry | None, list[str]]:
    """Find out which published dataset is in a folder.

    Returns that dataset (None if uncertain), and the names of all datasets whose files would lie at
    the same paths. A dataset is certain only if the folder has the published number of pictures,
    and if its path has the dataset's name or its files have unusual names
    (not such as "input" or "gt").
    `entries` are the published datasets by name.
    """
    alike: list[str] = []
    sure: list[DatasetEntry] = []
    flat = _letters(str(folder.resolve()))
    for name, entry in entries.items():
        items = find_items(folder, entry.layouts)
        if not any(i.target or i.generated or not i.input for i in items):
            continue
        alike.append(name)
        own = any(_distinct(layout) for layout in entry.layouts if find_items(folder, (layout,)))
        if complete(entry, len(items)) and (own or _letters(name) in flat):
            sure.append(entry)
    named = [entry for entry in sure if _letters(entry.name) in flat] or sure
    return (named[0] if len(named) == 1 else None), alike


def namesake(name: str, entries: Mapping[str, DatasetEntry]) -> DatasetEntry | None:
    """The published dataset of this name, in any spelling (case, hyphens, spaces), or None."""
    return next((e for e in entries.values() if _letters(name) == _letters(e.name)), None)


def _distinct(layout: Layout) -> bool:
    """Whether file or folder names of a layout are unusual, so that they show which dataset it is.

    Usual names are those that many datasets have, such as "input", "hazy" or "gt".
    """
    patterns = " ".join((layout.input, layout.target, layout.generated, layout.key)).lower()
    return bool(set(re.findall(r"[a-z]{3,}", patterns)) - ROLE_WORDS)


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
