"""The image models of the catalog: what each accepts, what it costs, and when it is shut down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from verax.catalog import merge, table
from verax.errors import InputError, SettingsError, choose

Size = tuple[int, int]  # (width, height) in pixels


@dataclass(frozen=True, slots=True)
class Sizes:
    """Picture sizes that a model accepts, in pixels.

    Attributes:
        fixed: the only sizes; if it is empty, the limits below apply instead.
        multiple: both sides must be divisible by this.
        min_pixels, max_pixels: limits of width x height.
        max_edge: limit of the longer side.
        max_ratio: limit of the longer side divided by the shorter one.
    """

    fixed: tuple[Size, ...] = ()
    multiple: int = 1
    min_pixels: int = 0
    max_pixels: int = 0
    max_edge: int = 0
    max_ratio: float = 0.0

    def why_not(self, size: Size) -> str:
        """Why the model does not accept `size`, in words; "" if it does."""
        width, height = size
        if self.fixed:
            names = ", ".join(f"{w}x{h}" for w, h in self.fixed)
            return "" if size in self.fixed else f"only {names} are possible"
        if min(width, height) < 1:
            return "both sides must be at least 1 pixel"
        if width % self.multiple or height % self.multiple:
            return f"both sides must be divisible by {self.multiple}"
        if max(width, height) > self.max_edge:
            return f"no side may be longer than {self.max_edge} pixels"
        if max(width, height) > self.max_ratio * min(width, height):
            return f"the longer side may be at most {self.max_ratio:g} times the shorter one"
        if not self.min_pixels <= width * height <= self.max_pixels:
            return f"width x height must be {self.min_pixels} to {self.max_pixels} pixels"
        return ""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices of a model in US dollars per million tokens, by kind of token.

    "in" means sent, "out" means generated, and "cached" means sent before, which is cheaper. A
    cached price is None if unknown; `text_out` is None if text costs as much as `image_out`.
    """

    text_in: float
    image_in: float
    image_out: float
    text_in_cached: float | None = None
    image_in_cached: float | None = None
    text_out: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One image model.

    Attributes:
        family: name of the group of models that share these facts, such as "gpt-image-2".
        sizes: the picture sizes that the model accepts.
        fields: request field -> the values that the model accepts; any, if () or absent.
        refused: request field -> why this model refuses it.
        open: True for a model that the catalog does not know; no request field is refused.
        snapshots: dated names of the model, oldest first.
        default_quality: the quality that Verax requests by default; "" leaves it to the service.
        price: the prices of its tokens, None if unknown.
        batch_discount: share of the price that the Batch API takes off, 0..1.
        input_image_tokens: upper estimate of input tokens per picture sent.
        output_grid: quality -> number of cells along the long side of a grid that covers a
            picture; the output tokens of the picture are computed from it.
        output_table: quality -> "WxH" -> output tokens, for models with a published table.
        output_assumed: True if the token counts are those of another model.
        since, ends: the days on which the model was released and is shut down; None if unknown.
        successor: name of the model to use after `ends`, "" if there is none.
        note: a sentence for the user, "" if there is none.
    """

    name: str
    family: str
    sizes: Sizes
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    open: bool = False
    snapshots: tuple[str, ...] = ()
    default_quality: str = ""
    price: Price | None = None
    batch_discount: float = 0.0
    input_image_tokens: int = 0
    output_grid: Mapping[str, int] = field(default_factory=dict)
    output_table: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    output_assumed: bool = False
    since: date | None = None
    ends: date | None = None
    successor: str = ""
    note: str = ""

    @property
    def qualities(self) -> tuple[str, ...]:
        """Names of the qualities that the model accepts, cheapest first, without "auto"."""
        return tuple(q for q in self.fields.get("quality", ()) if q != "auto")

    def has_ended(self, today: date) -> bool:
        return self.ends is not None and today >= self.ends


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits of one request to any GPT image model.

    Attributes:
        prompt_characters: most characters of the prompt.
        images: most pictures that may be sent.
        image_bytes, mask_bytes: the file of a picture or a mask must be smaller than this.
        pictures: most pictures that may be requested.
        partial_images: most previews that may be requested.
        partial_image_tokens: number of output tokens that one preview costs.
    """

    prompt_characters: int
    images: int
    image_bytes: int
    mask_bytes: int
    pictures: int
    partial_images: int
    partial_image_tokens: int


def limits(*, changes: Path | None = None) -> ModelLimits:
    return ModelLimits(**table("models", changes=changes)["limits"])


def check_date(*, changes: Path | None = None) -> date:
    """The day on which the catalog's prices and dates were last compared with their sources. A file
    models.toml in the user's folder `changes` may state another day."""
    day: date = table("models", changes=changes)["checked"]
    return day


def models(
    *, changes: Path | None = None, ends: Mapping[str, str] | None = None
) -> dict[str, Model]:
    """Every model of the catalog: name -> model.

    `ends` (model name -> ISO date) replaces the catalog's dates of shutdown. Files in the user's
    folder `changes` add or replace entries of the catalog.
    """
    data = table("models", changes=changes)
    families = {name: _family(name, data["families"]) for name in data["families"]}
    known = {name: _model(name, entry, families) for name, entry in data["models"].items()}
    for name, day in (ends or {}).items():
        owner = next((m for m in known.values() if name in (m.name, *m.snapshots)), None)
        if owner is not None and name == owner.name:
            known[owner.name] = replace(owner, ends=date.fromisoformat(day))
    return known


def find(known: Mapping[str, Model], name: str, *, today: date) -> Model:
    """The model with this name, or with this dated name such as "gpt-image-2-2026-04-21".

    Raises UnknownNameError if `known` (name -> model) has neither, InputError if the model was shut
    down by `today`.
    """
    alive = _by_name(known, name)
    if alive.has_ended(today):
        other = "choose another one; to list the models, run: verax models"
        way = f"use {alive.successor} instead" if alive.successor else other
        raise InputError(f"the model {name} was shut down on {alive.ends}; {way}")
    return alive


def unknown(name: str, *, changes: Path | None = None) -> Model:
    """A placeholder for a model that the catalog does not list. Only its name is known, so it
    accepts every request field, and it has no price. A file models.toml in the user's folder
    `changes` may replace the catalog's facts about such models."""
    return replace(_family("unknown", table("models", changes=changes)["families"]), name=name)


def output_tokens(model: Model, quality: str, size: Size) -> int:
    """The number of output tokens that a service bills for one picture of a `quality` such as "low"
    and of `size`, (width, height) in pixels.

    If the model accepts any size within limits, the picture is covered with a grid. The grid has
    `output_grid[quality]` cells along the long side and proportionally many along the short side;
    tokens = number of cells x (2e6 + width x height) / 4e6, rounded up.
    A model with a list of sizes has a table of tokens. Raises InputError if the catalog has no
    count for the quality or the size.
    """
    width, height = size
    if quality in model.output_grid:
        cells = model.output_grid[quality]
        long, short = max(size), min(size)
        area = cells * round(Fraction(cells * short, long))  # a half cell goes to the even number
        return -(-area * (2_000_000 + width * height) // 4_000_000)
    known = model.output_table.get(quality, {})
    if f"{width}x{height}" in known:
        return known[f"{width}x{height}"]
    raise InputError(
        f"{model.name}: the catalog has no token count for quality {quality} at {width}x{height}; "
        "choose another quality or size"
    )


def picture_usd(model: Model, quality: str, size: Size) -> float | None:
    """The price of the output tokens of one picture in US dollars; None if the model has no price.
    `size` is (width, height) in pixels. Raises InputError if the catalog has no token count for the
    quality or size."""
    if model.price is None:
        return None
    return output_tokens(model, quality, size) * model.price.image_out / 1e6


def as_json(model: Model) -> dict[str, Any]:
    """The catalog entry of a model as a dict for JSON: sizes as "WxH", dates in ISO format."""
    entry = asdict(model)
    entry["sizes"]["fixed"] = [f"{w}x{h}" for w, h in model.sizes.fixed]
    for name in ("since", "ends"):
        entry[name] = entry[name] and entry[name].isoformat()
    return entry


def parse_size(text: str) -> Size:
    """(width, height) in pixels, from a text such as "1536x1024". Raises InputError for another
    text."""
    width, _, height = text.lower().partition("x")
    if not (text.isascii() and width.isdecimal() and height.isdecimal()):
        raise InputError(
            f"size: expected WIDTHxHEIGHT in pixels such as 1536x1024, got {text!r}; correct it"
        )
    return int(width), int(height)


def _by_name(known: Mapping[str, Model], name: str) -> Model:
    owners = {alias: m for m in known.values() for alias in (m.name, *m.snapshots)}
    return choose(owners, name, kind="model")


def _family(name: str, families: Mapping[str, Any]) -> Model:
    entry = _inherit(name, families)
    sizes = dict(entry.get("sizes", {}))
    sizes["fixed"] = tuple(parse_size(text) for text in sizes.get("fixed", ()))
    try:
        return Model(
            name="",
            family=name,
            sizes=Sizes(**sizes),
            fields={k: () if v is True else tuple(v) for k, v in entry.get("fields", {}).items()},
            refused=entry.get("refused", {}),
            open=entry.get("open", False),
            default_quality=entry.get("default_quality", ""),
            price=Price(**entry["price"]) if "price" in entry else None,
            batch_discount=float(entry.get("batch_discount", 0.0)),
            input_image_tokens=entry.get("input_image_tokens", 0),
            output_grid=entry.get("output_grid", {}),
            output_table=entry.get("output_tokens", {}),
            output_assumed=entry.get("output_assumed", False),
        )
    except TypeError as exc:
        raise SettingsError(
            f"models.toml: the family {name} has an unknown field or lacks one ({exc}); correct it"
        ) from exc


def _inherit(name: str, families: Mapping[str, Any]) -> dict[str, Any]:
    """The catalog entry of a model family. What it lacks is taken from the family that its field
    `like` names, if any; but a table `refused` of its own is used as it is."""
    entry = choose(families, name, kind="model family")
    if "like" not in entry:
        return dict(entry)
    parent = _inherit(entry["like"], families)
    merged = merge(parent, entry)
    merged["refused"] = entry.get("refused", parent.get("refused", {}))
    return merged


def _model(name: str, entry: Mapping[str, Any], families: Mapping[str, Model]) -> Model:
    family = choose(families, entry.get("family", ""), kind="model family")
    own = {k: v for k, v in entry.items() if k != "family"}
    own["snapshots"] = tuple(own.get("snapshots", ()))
    try:
        return replace(family, name=name, **own)
    except TypeError as exc:
        raise SettingsError(
            f"models.toml: the model {name} has an unknown field or lacks one ({exc}); correct it"
        ) from exc
