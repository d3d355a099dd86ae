"""Plans by name, for the questions that are asked again and again; facts in presets.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from verax.errors import choose


@dataclass(frozen=True, slots=True)
class Preset:
    """A plan, mostly without datasets.

    Attributes:
        about: its question.
        fields: of `Plan`.
        needs: what the user brings, "" where any dataset will do.
        deviation: whether deviations are measured.
    """

    about: str
    fields: dict[str, Any]
    needs: str = ""
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
    facts = {name: entry.pop(name) for name in ("about", "needs", "deviation") if name in entry}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Preset(fields=values, **facts)
