"""Items of a dataset: photo, reference and generated picture, matched by name.

`registry` knows datasets by name, `fetch` gets their files. Two forms need no name: a folder with
`input/`, `target/` and `generated/` (any of them may be missing or have another of its usual names,
partners share their name without suffix; photos alone may lie in the folder itself), and a
manifest, a CSV file with the columns task, dataset, split, input, target, generated, generator,
licence, scene (paths relative to it; all but task, input and target may be missing).
"""

import codecs
import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

from verax.errors import SettingsError
from verax.image.header import is_picture_name

ROLES = ("input", "target", "generated")
FOLDERS = {  # the usual names of each role's folder, in order of preference
    "input": ("input", "inputs", "photos", "lq", "low", "hazy", "rain", "rainy", "blur", "noisy"),
    "target": ("target", "targets", "gt", "groundtruth", "reference", "hq", "high", "clean",
               "clear", "sharp", "norain"),
    "generated": ("generated", "output", "outputs", "prior", "priors"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a dataset with what belongs to it.

    Attributes:
        name: unique in the dataset.
        input: the photo; None where only clean pictures exist (they get degraded).
        target: the reference on the photo's grid, or None.
        generated: what a model returned for the photo, or None.
        scene: name of the scene, since pictures of one scene are not independent and statistics
            resample scenes; "" if the dataset names none.
    """

    name: str
    task: str
    dataset: str
    split: str = ""
    input: Path | None = None
    target: Path | None = None
    generated: Path | None = None
    generator: str = ""
    licence: str = ""
    scene: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Items, with remarks on files that were left out and why."""

    name: str
    items: tuple[Item, ...]
    remarks: tuple[str, ...] = ()


def from_manifest(path: Path) -> Dataset:
    """The items of a manifest CSV. Raises an error that lists all missing files."""
    rows = list(csv.DictReader(StringIO(_text_of(path), newline="")))
    if not rows or not {"task", "input", "target"} <= set(rows[0]):
        raise SettingsError(
            f"{path}: expected a CSV with the columns task, input, target (and split, dataset, "
            f"generated, generator, licence, scene), got {sorted(rows[0]) if rows else 'no rows'}"
        )
    items = tuple(_manifest_item(row, path.parent) for row in rows)
    _check_rows(path, items)
    return Dataset(path.parent.name, items)


def _text_of(path: Path) -> str:
    """The text of a manifest: UTF-8, also with a byte order mark, or UTF-16, as by spreadsheets."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SettingsError(
            f"{path}: expected a CSV in UTF-8, got another encoding (byte {exc.start}); "
            "save it as CSV UTF-8"
        ) from exc


def _manifest_item(row: dict[str, str], root: Path) -> Item:
    first = next((row[role] for role in ROLES if row.get(role)), "")
    if not first:
        raise SettingsError(f"{root}: a manifest row names no picture, remove it: {row}")
    facts: dict[str, Any] = {role: root / row[role] if row.get(role) else None for role in ROLES}
    facts |= {name: row.get(name) or "" for name in ("split", "generator", "licence", "scene")}
    return Item(name=first, task=row["task"], dataset=row.get("dataset") or root.name, **facts)


def from_folder(folder: Path, *, task: str) -> Dataset:
    """The items of a folder with input/, target/, generated/, partners matched by name."""
    places = {role: _place(folder, role) for role in ROLES}
    if not (places["input"].is_dir() or places["target"].is_dir()) and _pictures(folder):
        places["input"] = folder
    roles = dict(zip(ROLES, by_name(*places.values()), strict=True))
    lead = roles["input"] or roles["target"]
    if not lead:
        raise SettingsError(
            f"{folder}: expected a manifest.csv, pictures, or the folders input/ and target/ "
            "(generated/) with pictures of the same names; found none"
        )
    if roles["input"] and roles["target"] and not set(roles["input"]) & set(roles["target"]):
        raise SettingsError(
            f"{folder}: no picture of {places['input'].name}/ has a partner in "
            f"{places['target'].name}/; partners share their name without suffix, such as "
            f"{next(iter(roles['input'].values())).name}"
        )
    items = tuple(
        Item(
            name=path.name,
            task=task,
            dataset=folder.name,
            input=roles["input"].get(stem),
            target=roles["target"].get(stem),
            generated=roles["generated"].get(stem),
            generator="unknown" if stem in roles["generated"] else "",
        )
        for stem, path in lead.items()
    )
    return Dataset(folder.name, items, tuple(_remarks(places, roles, lead)))


def _place(folder: Path, role: str) -> Path:
    """The folder of a role, by any of its usual names."""
    there = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    return next((there[name] for name in FOLDERS[role] if name in there), folder / role)


def by_name(*folders: Path) -> tuple[dict[str, Path], ...]:
    """Pictures of each folder by the key that partners share: the name without suffix.

    Names are compared in one Unicode normal form and without case, unless names in one folder
    differ only in case. Raises SettingsError for two files with the same key in a folder.
    """
    names = [sorted(_pictures(folder)) for folder in folders]
    for folder, some in zip(folders, names, strict=True):
        twice = [stem for stem, n in Counter(map(_normal, some)).items() if n > 1]
        if twice:
            raise SettingsError(
                f"{folder}: two files share one name: {', '.join(sorted(twice)[:5])}; partners are "
                "found by name without suffix, keep one of each"
            )
    key = common_key(*names)
    return tuple(
        {key(name): folder / name for name in some}
        for folder, some in zip(folders, names, strict=True)
    )


def common_key(*names: Sequence[str]) -> Callable[[str], str]:
    """The key function by which names of several lists match: without suffix, in one Unicode normal
    form, and without case unless names in one list differ only in case."""
    clear = all(len(set(map(_folded, some))) == len(set(map(_normal, some))) for some in names)
    return _folded if clear else _normal


def _pictures(folder: Path) -> list[str]:
    there = folder.iterdir() if folder.is_dir() else ()
    return [path.name for path in there if is_picture_name(path)]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", Path(name).with_suffix("").as_posix())


def _folded(name: str) -> str:
    return _normal(_normal(name).casefold())


def _remarks(
    places: dict[str, Path], roles: dict[str, dict[str, Path]], lead: dict[str, Path]
) -> list[str]:
    remarks = []
    for role in ("target", "generated"):
        alone = sorted(set(lead) - set(roles[role]))
        extra = sorted(set(roles[role]) - set(lead))
        if roles[role] and alone:
            remarks.append(f"{places[role]}: no partner for {_some(alone)}")
        if extra:
            remarks.append(f"{places[role]}: left out, no photo for {_some(extra)}")
    return remarks


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _check_rows(path: Path, items: tuple[Item, ...]) -> None:
    """Raises for files that are missing, and for two rows with the same first picture."""
    files = [file for i in items for file in (i.input, i.target, i.generated) if file is not None]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        raise SettingsError(f"{path}: files are missing, add them: {_some(absent)}")
    twice = [name for name, n in Counter(item.name for item in items).items() if n > 1]
    if twice:
        raise SettingsError(
            f"{path}: several rows for {_some(twice)}; one row per picture, or write the rows of "
            "each generator into a manifest of its own"
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder layout of a dataset: glob patterns, and a key that pairs the sides.

    Attributes:
        input, target, generated: glob patterns below the folder, "" where there is no such side.
        key: regular expression on the name without suffix; its groups together pair the sides.
            "" takes the whole name.
        folder: folders matched by wildcards of the pattern are part of the key.
        test: regular expression on the key: matches are the test split, the rest is train.
        scene: regular expression on the key: its group names the scene, since pictures of one scene
            are not independent; "" if every picture is its own scene.
        task: task of these pictures, "" for the dataset's own.
    """

    input: str = ""
    target: str = ""
    generated: str = ""
    key: str = ""
    folder: bool = False
    test: str = ""
    scene: str = ""
    task: str = ""

    def in_words(self) -> str:
        sides = [f"{role} {getattr(self, role)}" for role in ROLES if getattr(self, role)]
        return " with ".join(sides)

    def key_of(self, path: Path, root: Path, pattern: str) -> str | None:
        """The key that a file shares with its partners; None for a file of another layout."""
        name = path.stem
        if self.key:
            match = re.search(self.key, name)
            if match is None:
                return None
            name = "-".join(group or "" for group in match.groups())
        if not self.folder:
            return name
        fixed = set(PurePosixPath(pattern).parts)
        parts = path.parent.relative_to(root).parts
        return "/".join([part for part in parts if part not in fixed] + [name])


def find_items(folder: Path, layouts: Iterable[Layout]) -> list[Item]:
    """The items that the layouts find below a folder; a file is the first of one item at most."""
    used: set[Path] = set()
    items: list[Item] = []
    for layout in layouts:
        items_here = _items(folder, layout)
        fresh = [item for item in items_here if (item.input or item.target) not in used]
        for item in fresh:
            used |= {p for p in (item.input, item.target, item.generated) if p is not None}
        items += fresh
    return items


def _items(folder: Path, layout: Layout) -> list[Item]:
    sides = {role: _side(folder, layout, getattr(layout, role)) for role in ROLES}
    lead = "input" if layout.input else "target"
    partners = {role: {key: path for path, key in reversed(sides[role])} for role in ROLES}
    items = []
    for path, key in sides[lead]:
        split = ("test" if re.search(layout.test, key) else "train") if layout.test else ""
        scene = re.search(layout.scene, key) if layout.scene else None
        items.append(
            Item(
                name=path.relative_to(folder).as_posix(),
                task=layout.task,
                dataset="",
                split=split,
                input=path if lead == "input" else None,
                target=partners["target"].get(key),
                generated=partners["generated"].get(key),
                scene=scene.group(1) if scene else "",
            )
        )
    return items


def _side(folder: Path, layout: Layout, pattern: str) -> list[tuple[Path, str]]:
    """(file, key) of one side, sorted by name."""
    if not pattern:
        return []
    files = sorted(p for p in folder.glob(pattern) if is_picture_name(p) and p.is_file())
    keyed = ((path, layout.key_of(path, folder, pattern)) for path in files)
    return [(path, key) for path, key in keyed if key is not None]
