"""Items of a dataset: photo, reference and generated picture, matched by name.

`registry` knows published datasets by name, `fetch` downloads their files. A user's own dataset is
a folder or a manifest. The folder has pictures of the same names (without suffix) in `input/`,
`target/` and `generated/`, or under other usual names; photos alone may lie in the folder itself. A
manifest is a CSV file with the columns task, input, target and, if wanted, dataset, split,
generated, generator, licence, scene. Its paths are relative to its own folder.
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
    """One photo of a dataset with its reference and its generated picture, where they exist.

    Attributes:
        name: unique in the dataset.
        task: kind of damage, such as "dehazing".
        input: the photo; None if only the clean `target` exists, which can be degraded.
        target: the reference (clean picture) on the photo's pixel grid, or None.
        generated: what a model returned for the photo, or None; `generator` names the model.
        scene: name of what the photo shows; statistics treat photos of one scene as dependent.
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
    """The items of a dataset; `remarks` say which files were left out or lack a partner."""

    name: str
    items: tuple[Item, ...]
    remarks: tuple[str, ...] = ()


def from_manifest(path: Path) -> Dataset:
    """Read a dataset from a manifest (CSV). Raises SettingsError for missing columns or files."""
    rows = list(csv.DictReader(StringIO(_text_of(path), newline="")))
    if not rows or not {"task", "input", "target"} <= set(rows[0]):
        raise SettingsError(
            f"{path}: expected a CSV with at least the columns task, input and target, got "
            f"{', '.join(sorted(rows[0])) if rows else 'no rows'}; add what is missing"
        )
    items = tuple(_manifest_item(row, path.parent) for row in rows)
    _check_rows(path, items)
    return Dataset(path.parent.name, items)


def _text_of(path: Path) -> str:
    """The text of a CSV file in UTF-8 or UTF-16, with or without a byte order mark."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SettingsError(
            f"{path}: expected a CSV in UTF-8, but byte {exc.start} is in another encoding; "
            "save it as CSV UTF-8"
        ) from exc


def _manifest_item(row: dict[str, str], root: Path) -> Item:
    first = next((row[role] for role in ROLES if row.get(role)), "")
    if not first:
        raise SettingsError(f"{root}: this row of the manifest has no picture; remove it: {row}")
    facts: dict[str, Any] = {role: root / row[role] if row.get(role) else None for role in ROLES}
    facts |= {name: row.get(name) or "" for name in ("split", "generator", "licence", "scene")}
    return Item(name=first, task=row["task"], dataset=row.get("dataset") or root.name, **facts)


def from_folder(folder: Path, *, task: str) -> Dataset:
    """Read a dataset, all of one `task`, from a folder with input/, target/, generated/, matching
    pictures by name."""
    places = {role: _place(folder, role) for role in ROLES}
    if not (places["input"].is_dir() or places["target"].is_dir()) and _pictures(folder):
        places["input"] = folder
    roles = dict(zip(ROLES, by_name(*places.values()), strict=True))
    lead = roles["input"] or roles["target"]
    if not lead:
        raise SettingsError(
            f"{folder}: expected a file manifest.csv, pictures, or the folders input/ and target/ "
            "with pictures of the same names; found none of these; check the path"
        )
    if roles["input"] and roles["target"] and not set(roles["input"]) & set(roles["target"]):
        raise SettingsError(
            f"{folder}: expected a photo and its reference to have the same name (without suffix), "
            f"but {places['target'].name}/ has none of the names in {places['input'].name}/, such "
            f"as {next(iter(roles['input'].values())).name}; rename the references"
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
    """The subfolder for `role`, such as "input", under any of its usual names; else folder/role."""
    there = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    return next((there[name] for name in FOLDERS[role] if name in there), folder / role)


def by_name(*folders: Path) -> tuple[dict[str, Path], ...]:
    """For each folder, its pictures by key; pictures that belong together have the same key.

    The key is the file name without suffix, in lower case unless names differ only in case. Raises
    SettingsError if two pictures of one folder have the same name without suffix.
    """
    names = [sorted(_pictures(folder)) for folder in folders]
    for folder, some in zip(folders, names, strict=True):
        twice = [stem for stem, n in Counter(map(_normal, some)).items() if n > 1]
        if twice:
            raise SettingsError(
                f"{folder}: expected one picture for each name without suffix, found several for "
                f"{', '.join(sorted(twice)[:5])}; keep one of each"
            )
    key = common_key(*names)
    return tuple(
        {key(name): folder / name for name in some}
        for folder, some in zip(folders, names, strict=True)
    )


def common_key(*names: Sequence[str]) -> Callable[[str], str]:
    """A function that turns a file name into a key: the name without suffix, in one Unicode form,
    and in lower case unless one of the lists in `names` has names that differ only in case."""
    clear = all(len(set(map(_fold, some))) == len(set(map(_normal, some))) for some in names)
    return _fold if clear else _normal


def _pictures(folder: Path) -> list[str]:
    there = folder.iterdir() if folder.is_dir() else ()
    return [path.name for path in there if is_picture_name(path)]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", Path(name).with_suffix("").as_posix())


def _fold(name: str) -> str:
    return _normal(_normal(name).casefold())


def _remarks(
    places: dict[str, Path], roles: dict[str, dict[str, Path]], lead: dict[str, Path]
) -> list[str]:
    remarks = []
    for role in ("target", "generated"):
        alone = sorted(set(lead) - set(roles[role]))
        extra = sorted(set(roles[role]) - set(lead))
        if roles[role] and alone:
            remarks.append(f"{places[role]}: no picture has the name of {_some(alone)}")
        if extra:
            remarks.append(f"{places[role]}: left out, since no photo has the name: {_some(extra)}")
    return remarks


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _check_rows(path: Path, items: tuple[Item, ...]) -> None:
    """Raise SettingsError if the manifest `path` names an absent file or a picture twice."""
    files = [file for i in items for file in (i.input, i.target, i.generated) if file is not None]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        raise SettingsError(f"{path} names files that do not exist: {_some(absent)}; add them")
    twice = [name for name, n in Counter(item.name for item in items).items() if n > 1]
    if twice:
        raise SettingsError(
            f"{path}: expected one row per picture, found several rows for {_some(twice)}; keep "
            "one, or write one manifest for each generator"
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a dataset lie in its folder, and which of them belong together.

    Attributes:
        input, target, generated: glob patterns of the files, "" if the dataset has none of a kind.
        key: regular expression for the file name without suffix, "" for the whole name. Files for
            which it finds the same groups belong together; the joined groups are their key.
        folder: whether names of folders that match a wildcard of the pattern are part of the key.
        test: regular expression; keys that match are split "test", others "train"; "" for none.
        scene: regular expression whose group is the name of the scene in the key; "" for none.
        task: the task of these pictures, "" for that of the dataset.
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
        """The key of a file below the dataset folder `root` that the glob `pattern` matches; files
        with equal keys belong together. None if the regular expression `key` finds nothing."""
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
    """The items below `folder` in the order of the layouts; each photo is taken only once."""
    used: set[Path] = set()
    items: list[Item] = []
    for layout in layouts:
        fresh = [i for i in _items(folder, layout) if (i.input or i.target) not in used]
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
    """(file, key) of the pictures below `folder` that match the glob `pattern`, sorted by path."""
    if not pattern:
        return []
    files = sorted(p for p in folder.glob(pattern) if is_picture_name(p) and p.is_file())
    keyed = ((path, layout.key_of(path, folder, pattern)) for path in files)
    return [(path, key) for path, key in keyed if key is not None]
