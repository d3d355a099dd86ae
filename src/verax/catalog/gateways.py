"""The services that speak the Images API, as records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from verax.catalog.read import table
from verax.errors import SettingsError, choose

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Gateway:
    """How one service is spoken to; the meaning of each attribute is in gateways.toml."""

    name: str
    base_url: str = ""
    address: str = ""
    address_suffix: str = ""
    keys: tuple[str, ...] = ()
    key_optional: bool = False
    auth: str = "bearer"
    edit: str = "/images/edits"
    generate: str = "/images/generations"
    body: str = "multipart"
    image: str = "auto"
    mask: str = "alpha"
    fields: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Scalar] = field(default_factory=dict)
    free: bool = False
    any_model: bool = False
    refused_models: tuple[str, ...] = ()
    ids: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, date] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def gateways(*, changes: Path | None = None) -> dict[str, Gateway]:
    """Every service by name."""
    entries = table("gateways", changes=changes)["gateways"]
    try:
        return {name: Gateway(name, **_frozen(entry)) for name, entry in entries.items()}
    except TypeError as exc:
        raise SettingsError(f"catalog, gateways: {exc}") from exc


def gateway(name: str, *, changes: Path | None = None) -> Gateway:
    return choose(gateways(changes=changes), name, kind="gateway")


def _frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
