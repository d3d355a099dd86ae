"""Reads the TOML files of this folder (services, prompts ...); users can override entries."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from verax.errors import SettingsError, UnknownNameError, choose

Table = dict[str, Any]
Scalar = str | int | float | bool


@cache
def _shipped_table(name: str) -> Table:
    file = files("verax.catalog") / f"{name}.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownNameError(
            f"the catalog has no file {name}.toml; use models, gateways, prompts or datasets"
        ) from None


def table(name: str, *, changes: Path | None = None) -> Table:
    """The contents of the catalog file `name`.toml as a dict; `name` is "models", "gateways",
    "prompts" or "datasets".

    A file of the same name in the user's folder `changes` adds entries or replaces them. Raises
    SettingsError if the user's file is not TOML, UnknownNameError if the catalog has no such file.
    """
    mine = changes / f"{name}.toml" if changes else None
    if mine is None or not mine.is_file():
        return merge(_shipped_table(name), {})
    try:
        return merge(_shipped_table(name), tomllib.loads(mine.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(
            f"{mine}: expected a TOML file in UTF-8, but it cannot be read: {exc}; correct it"
        ) from exc


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """A new dict: `base` with the values of `over`; nested dicts are merged key by key."""
    merged = {k: merge(v, {}) if isinstance(v, dict) else v for k, v in base.items()}
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both and old is not None else value
    return merged


@dataclass(frozen=True, slots=True)
class Gateway:
    """How one image service is called.

    Attributes:
        base_url: its address; "" if the user must give it.
        address: name of the environment variable with the user's address, "" if there is none.
        address_suffix: path of the API, which follows the user's address.
        keys: names of the environment variables that may have the key; () if no key is needed.
        key_optional: whether the service also works without a key.
        auth: HTTP header with the key: "bearer" (authorization) or "api-key".
        edit, generate: paths of the calls with and without pictures to edit; "" if it has none.
        body: form of an edit: "multipart", "json", or "references" (JSON with the pictures in the
            field `input_references`).
        image: form field for pictures; "auto" is image for one picture, image[] for several.
        mask: mark of the pixels that may change: "alpha" (alpha 0), "white" or "black"; "" if the
            service accepts no mask.
        fields: optional fields that the service knows; None for all of the Images API.
        renamed: name of a field -> its name at this service.
        dropped: field that the service accepts but ignores -> why; it is treated as refused.
        constants: field -> value that is sent with every request.
        free: whether the service never sends a bill.
        any_model: whether it may have models that the catalog does not list.
        refused_models: endings of the names of models that must not be used with this service.
        ids: name of a model -> its name at this service.
        ends: name of a model -> first day on which this service no longer has it.
        notes: sentences for the user about this service.
    """

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
    """Every image service of the catalog: name -> service. A file gateways.toml in the user's
    folder `changes` adds or replaces entries."""
    entries = table("gateways", changes=changes)["gateways"]
    try:
        return {name: Gateway(name, **_frozen(entry)) for name, entry in entries.items()}
    except TypeError as exc:
        raise SettingsError(
            f"gateways.toml: an entry has an unknown field or lacks one ({exc}); correct that entry"
        ) from exc


def gateway(name: str, *, changes: Path | None = None) -> Gateway:
    return choose(gateways(changes=changes), name, kind="gateway")


def _frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt for an image generator.

    Attributes:
        task: what the generator should do, such as "dehaze".
        fidelity: name of the wording that says how much of the photo must be kept, such as
            "strict".
        version: version number of the catalog's prompts; it changes with every wording.
        text: the whole prompt.
    """

    task: str
    fidelity: str
    version: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.task}/{self.fidelity}@{self.version}"


def tasks(*, changes: Path | None = None) -> tuple[str, ...]:
    return tuple(table("prompts", changes=changes)["tasks"])


def wordings(*, changes: Path | None = None) -> tuple[str, ...]:
    return tuple(table("prompts", changes=changes)["fidelity"])


def prompt(task: str, *, fidelity: str = "default", changes: Path | None = None) -> Prompt:
    """The catalog's prompt for a task such as "dehaze".

    `fidelity` is the name of the sentence that is appended to say how much of the photo must be
    kept, such as "default" or "strict"; some tasks have a complete text of their own for such a
    name. A file prompts.toml in the user's folder `changes` adds or replaces prompts. Raises
    UnknownNameError if the catalog does not have the task or the sentence.
    """
    data = table("prompts", changes=changes)
    entry = choose(data["tasks"], task, kind="task")
    variants = entry.get("variants", {})
    if fidelity in variants:
        text = variants[fidelity]
    else:
        text = f"{entry['text']} {choose(data['fidelity'], fidelity, kind='fidelity wording')}"
    return Prompt(task, fidelity, data["version"], text.strip())
