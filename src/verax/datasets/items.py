"""Items of a dataset: photo, reference and generated picture, matched by name.

Two forms need no registration: a folder with `input/`, `target/` and `generated/` (any of them
may be missing or have another of its usual names, partners share their name without suffix; photos
alone may lie in the folder itself), and a manifest, a CSV file with the columns task, dataset,
split, input, target, generated, generator, licence, scene (paths relative to it; all but task,
input and target may be missing).
"""

import codecs
import csv
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from verax.errors import SettingsError
from verax.image.header import is_picture_name

ROLES = ("input", "target", "generated")
FOLDERS = {  # the usual names of each role's folder, in the order in which they are believed
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
        scene: pictures of one scene say less than as many scenes, so statistics resample scenes;
            "" where the dataset names none.
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
    """Items with remarks on what was left out and why."""

    name: str
    items: tuple[Item, ...]
    remarks: tuple[str, ...] = ()


def from_manifest(path: Path) -> Dataset:
    """The items of a manifest CSV; a file that is named but absent is an error with all names."""
    rows = list(csv.DictReader(StringIO(_text_of(path), newline="")))
    if not rows or not {"task", "input", "target"} <= set(rows[0]):
        raise SettingsError(
            f"{path}: want a CSV with the columns task, input, target (and split, dataset, "
            f"generated, generator, licence, scene), got {sorted(rows[0]) if rows else 'no rows'}"
        )
    items = tuple(_manifest_item(row, path.parent) for row in rows)
    _require_files(path, items)
    return Dataset(path.parent.name, _unique(path, items))


def _text_of(path: Path) -> str:
    """The text of a manifest, as spreadsheets write it too: with a mark, or in UTF-16."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SettingsError(
            f"{path}: want a CSV in UTF-8, got another encoding (byte {exc.start}); "
            "save it as CSV UTF-8"
        ) from exc


def _manifest_item(row: dict[str, str], root: Path) -> Item:
    files = {role: root / row[role] if row.get(role) else None for role in ROLES}
    first = next((row[role] for role in ROLES if row.get(role)), "")
    if not first:
        raise SettingsError(f"{root}: a manifest row names no picture: {row}")
    return Item(
        name=first,
        task=row["task"],
        dataset=row.get("dataset") or root.name,
        split=row.get("split") or "",
        generator=row.get("generator") or "",
        licence=row.get("licence") or "",
        scene=row.get("scene") or "",
        **files,
    )


def from_folder(folder: Path, *, task: str) -> Dataset:
    """The items of a folder with input/, target/, generated/, partners matched by name."""
    places = {role: _place(folder, role) for role in ROLES}
    if not (places["input"].is_dir() or places["target"].is_dir()) and _pictures(folder):
        places["input"] = folder
    roles = dict(zip(ROLES, by_name(*places.values()), strict=True))
    lead = roles["input"] or roles["target"]
    if not lead:
        raise SettingsError(
            f"{folder}: want a manifest.csv, pictures, or the folders input/ and target/ "
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
    """The folder of a role, by its own name or another usual one."""
    there = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    return next((there[name] for name in FOLDERS[role] if name in there), folder / role)


def by_name(*folders: Path) -> tuple[dict[str, Path], ...]:
    """Pictures of each folder by what partners share: their name without suffix.

    One normal form of Unicode counts, and upper or lower case does not matter unless a folder has
    names that differ in nothing else. Two files of one name in a folder are a SettingsError.
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
    """What makes names of several lists alike: no suffix, one normal form, and no case unless a
    list has names that differ in it alone."""
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
        if roles[role]:
            missing = sorted(set(lead) - set(roles[role]))
            extra = sorted(set(roles[role]) - set(lead))
            if missing:
                remarks.append(f"{places[role]}: no partner for {_some(missing)}")
            if extra:
                remarks.append(f"{places[role]}: left out, no photo for {_some(extra)}")
    return remarks


def _some(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _require_files(path: Path, items: tuple[Item, ...]) -> None:
    files = [file for i in items for file in (i.input, i.target, i.generated) if file is not None]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        raise SettingsError(f"{path}: files named but absent: {_some(absent)}")


def _unique(path: Path, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items, or an error where two rows lead with the same picture."""
    counts = Counter(item.name for item in items)
    twice = [name for name, n in counts.items() if n > 1]
    if twice:
        raise SettingsError(
            f"{path}: several rows for {_some(twice)}; one row per picture, or write the rows of "
            "each generator into a manifest of its own"
        )
    return items
