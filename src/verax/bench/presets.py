"""Plans by name, for the questions that are asked again and again; facts in presets.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from verax.errors import choose


@dataclass(frozen=True, slots=True)
class Preset:
    """A plan without datasets: its question, fields of `Plan`, whether deviations are measured."""

    about: str
    fields: dict[str, Any]
    deviation: bool = False


@cache
def presets() -> dict[str, Preset]:
    """Every preset by name."""
    table = tomllib.loads((files("verax.bench") / "presets.toml").read_text(encoding="utf-8"))
    return {name: _preset(dict(entry)) for name, entry in table.items()}


def preset(name: str) -> Preset:
    """The preset of that name; UnknownNameError lists the others."""
    return choose(presets(), name, kind="preset")


def _preset(entry: dict[str, Any]) -> Preset:
    about, deviation = entry.pop("about"), entry.pop("deviation", False)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Preset(about, values, deviation)
