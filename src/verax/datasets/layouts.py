"""How the files of a dataset lie in a folder: glob patterns and a key that pairs the sides."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verax.datasets.items import ROLES, Item
from verax.image.header import is_picture_name


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a dataset is found.

    Attributes:
        input, target, generated: glob patterns below the folder, "" where there is no such side.
        key: regular expression on the name without suffix; its groups together pair the sides.
            "" takes the whole name.
        folder: the folders that a pattern leaves open belong to the key, too.
        test: regular expression on the key: what it finds is the test split, the rest train.
        scene: regular expression on the key: its group names the scene, since pictures of one scene
            are not independent; "" where every picture has a scene of its own.
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
        """What a file shares with its partners; None for a file that is not of this layout."""
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
    """The items that the layouts find below a folder; a file leads one item at most."""
    taken: set[Path] = set()
    items: list[Item] = []
    for layout in layouts:
        fresh = [item for item in _items(folder, layout) if not _lead(item) & taken]
        for item in fresh:
            taken |= {p for p in (item.input, item.target, item.generated) if p is not None}
        items += fresh
    return items


def _lead(item: Item) -> set[Path]:
    lead = item.input or item.target
    return {lead} if lead else set()


def _items(folder: Path, layout: Layout) -> list[Item]:
    sides = {role: _side(folder, layout, getattr(layout, role)) for role in ROLES}
    lead = "input" if layout.input else "target"
    partners = {role: {key: path for path, key in reversed(sides[role])} for role in ROLES}
    items = []
    for path, key in sides[lead]:
        split = ("test" if re.search(layout.test, key) else "train") if layout.test else ""
        items.append(
            Item(
                name=path.relative_to(folder).as_posix(),
                task=layout.task,
                dataset="",
                split=split,
                input=path if lead == "input" else None,
                target=partners["target"].get(key),
                generated=partners["generated"].get(key),
                scene=_scene(layout, key),
            )
        )
    return items


def _scene(layout: Layout, key: str) -> str:
    match = re.search(layout.scene, key) if layout.scene else None
    return match.group(1) if match else ""


def _side(folder: Path, layout: Layout, pattern: str) -> list[tuple[Path, str]]:
    """(file, key) of one side, in order of the names."""
    if not pattern:
        return []
    files = sorted(p for p in folder.glob(pattern) if is_picture_name(p) and p.is_file())
    keyed = ((path, layout.key_of(path, folder, pattern)) for path in files)
    return [(path, key) for path, key in keyed if key is not None]
