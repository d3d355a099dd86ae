"""The one reader of the catalog: facts as TOML in this folder, and a user's changes on top."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from verax.errors import SettingsError, UnknownNameError

Table = dict[str, Any]


@cache
def _shipped(name: str) -> Table:
    file = files("verax.catalog") / f"{name}.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownNameError(f"the catalog has no table {name!r}") from None


def table(name: str, *, changes: Path | None = None) -> Table:
    """The table `name`.toml; a file of that name in the folder `changes` adds to it or overrides.

    Raises SettingsError when the user's file is not TOML, UnknownNameError without such a table.
    """
    mine = changes / f"{name}.toml" if changes else None
    if mine is None or not mine.is_file():
        return merge(_shipped(name), {})
    try:
        return merge(_shipped(name), tomllib.loads(mine.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{mine}: not a readable TOML file: {exc}") from exc


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`base` with the values of `over`, tables merged key by key; both are left as they are."""
    merged = {k: merge(v, {}) if isinstance(v, dict) else v for k, v in base.items()}
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both and old is not None else value
    return merged
