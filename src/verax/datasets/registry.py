"""The datasets that are known by name, and where the user has put them.

Facts come from `catalog/datasets.toml`; the user's folders are kept in one small file,
`datasets.json` in the home folder of Verax.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from verax.catalog import table
from verax.datasets.items import Dataset, Item, from_folder, from_manifest
from verax.datasets.layouts import Layout, find_items
from verax.errors import SettingsError, UnknownNameError, choose
from verax.settings import load as load_settings
from verax.store import write_whole, writing

FILE = "datasets.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known about one dataset; the fields are those of datasets.toml."""

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
    """Where the user has a dataset, and what `verify` saw there first."""

    folder: str
    pictures: int = 0
    sha256: str = ""


def known(*, changes: Path | None = None) -> dict[str, Entry]:
    """Every dataset of the catalog by name; `changes` is a folder with the user's own entries."""
    entries = table("datasets", changes=changes).items()
    return {name: _entry(name, facts) for name, facts in entries if isinstance(facts, dict)}


def _entry(name: str, facts: Mapping[str, Any]) -> Entry:
    try:
        values = dict(facts) | {
            "layouts": tuple(Layout(**layout) for layout in facts["layouts"]),
            "places": tuple(facts.get("places", ())),
        }
        return Entry(name=name, **values)
    except (KeyError, TypeError) as exc:
        raise SettingsError(f"datasets.toml, {name}: {exc}") from exc


def places(home: Path) -> dict[str, Place]:
    """The user's folders by dataset name."""
    file = home / FILE
    if not file.is_file():
        return {}
    try:
        return {name: Place(**place) for name, place in json.loads(file.read_text("utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as exc:
        raise SettingsError(f"{file}: want the file that verax data add writes: {exc}") from exc


def keep(home: Path, name: str, place: Place) -> None:
    """Remember where a dataset is."""
    rows = {n: {f: getattr(p, f) for f in Place.__slots__} for n, p in places(home).items()}
    rows[name] = {f: getattr(place, f) for f in Place.__slots__}
    with writing(home / FILE):
        write_whole(home / FILE, json.dumps(rows, indent=1, ensure_ascii=False).encode())


def read(entry: Entry, folder: Path) -> Dataset:
    """The items of a known dataset in a folder; an error that shows the layouts where none fit."""
    items = tuple(_item(entry, item) for item in find_items(folder, entry.layouts))
    if not items:
        wanted = "; ".join(layout.in_words() for layout in entry.layouts)
        raise SettingsError(f"{folder}: no pictures of {entry.title} here; want {wanted}")
    remarks = []
    sizes = expected_sizes(entry)
    if sizes and len(items) not in sizes:
        remarks.append(
            f"{entry.title}: {len(items)} pictures here; the makers state {entry.splits}"
        )
    alone = sum(item.input is not None and item.target is None for item in items)
    if alone and any(layout.target for layout in entry.layouts):
        remarks.append(f"{entry.title}: {alone} photos have no reference here")
    return Dataset(entry.name, items, tuple(remarks))


def _item(entry: Entry, item: Item) -> Item:
    generator = (entry.generator or "unknown") if item.generated else ""
    task = item.task or entry.task
    return replace(item, task=task, dataset=entry.name, licence=entry.licence, generator=generator)


def expected_sizes(entry: Entry) -> set[int]:
    """Counts that a complete copy may have: each split, and the first several together."""
    counts = [n for n in entry.splits.values() if n]
    return set(counts) | set(accumulate(counts))


def load(source: str, *, task: str = "", home: Path | None = None) -> Dataset:
    """A dataset from a folder, a manifest file or a known name; plain folders take `task`.

    `home` is where the user's folders are kept, by default that of the settings.
    """
    path = Path(source)
    if path.is_file():
        return from_manifest(path)
    if (path / "manifest.csv").is_file():
        return from_manifest(path / "manifest.csv")
    if path.is_dir():
        return from_folder(path, task=task or path.name)
    try:
        return load_known(source, home or load_settings().home)
    except UnknownNameError as exc:
        raise UnknownNameError(
            f"{source}: want a folder with input/ and target/, a manifest or a known name; {exc}"
        ) from exc


def load_known(name: str, home: Path) -> Dataset:
    """A dataset by name, from where the user put it."""
    entry = choose(known(changes=home), name, kind="dataset or folder")
    place = places(home).get(name)
    if place is None:
        way = f"verax data fetch {name}" if entry.fetch == "direct" else entry.steps
        raise SettingsError(f"{entry.title} is known, but not on this machine yet. {way}")
    if not Path(place.folder).is_dir():
        raise SettingsError(
            f"{entry.title} was at {place.folder}, which is gone; verax data add its new folder"
        )
    return read(entry, Path(place.folder))


def recognise(folder: Path, entries: Mapping[str, Entry]) -> Entry:
    """The dataset that a folder holds: judged by its layout, its name and its count of pictures.

    Raises SettingsError with the candidates where that does not decide.
    """
    found: dict[str, tuple[bool, bool, int]] = {}
    flat = _letters(str(folder.resolve()))
    for name, entry in entries.items():
        items = find_items(folder, entry.layouts)
        if items and any(i.target or i.generated or not i.input for i in items):
            best = max(layout.weight for layout in entry.layouts if find_items(folder, (layout,)))
            found[name] = (_letters(name) in flat, len(items) in expected_sizes(entry), best)
    if not found:
        raise SettingsError(
            f"{folder}: no known dataset looks like this; see verax data info NAME for what is "
            "expected, or use a folder with input/ and target/ directly, without adding it"
        )
    top = max(found.values())
    names = [name for name, evidence in found.items() if evidence == top]
    if len(names) > 1 or (len(found) > 1 and not (top[0] or top[1])):
        raise SettingsError(
            f"{folder} could be {', '.join(sorted(found))}; say which one: --name NAME"
        )
    return entries[names[0]]


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
