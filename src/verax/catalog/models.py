"""The image models as records: what each accepts, what it costs, and when it is shut down."""

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
    """Picture sizes that a model accepts, in pixels: a fixed list, or multiples within limits."""

    fixed: tuple[Size, ...] = ()
    multiple: int = 1
    min_pixels: int = 0
    max_pixels: int = 0
    max_edge: int = 0
    max_ratio: float = 0.0

    def why_not(self, size: Size) -> str:
        """Why this size is not accepted; "" if it is."""
        width, height = size
        if self.fixed:
            names = ", ".join(f"{w}x{h}" for w, h in self.fixed)
            return "" if size in self.fixed else f"only {names} are possible"
        if min(width, height) < 1:
            return "both sides must be at least 1 pixel"
        if width % self.multiple or height % self.multiple:
            return f"both sides must be divisible by {self.multiple}"
        if max(width, height) > self.max_edge:
            return f"no side may be longer than {self.max_edge}"
        if max(width, height) > self.max_ratio * min(width, height):
            return f"the sides may differ at most {self.max_ratio:g}:1"
        if not self.min_pixels <= width * height <= self.max_pixels:
            return f"width x height must lie in {self.min_pixels}..{self.max_pixels}"
        return ""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    text_in: float
    image_in: float
    image_out: float
    text_in_cached: float | None = None
    image_in_cached: float | None = None
    text_out: float | None = None  # None: counted as image_out


@dataclass(frozen=True, slots=True)
class Model:
    """One image model.

    Attributes:
        fields: field -> allowed values, or () for any value.
        refused: field -> why this model refuses it.
        open: an unknown model, of which no field is refused.
        default_quality: the quality that Verax requests by default; "" leaves it to the service.
        price: None where unknown.
        batch_discount: share of the price that the Batch API takes off, 0..1.
        input_image_tokens: upper estimate of input tokens per picture sent.
        output_grid: quality -> cells along the long side of the planning grid.
        output_table: quality -> "WxH" -> tokens, for models with a published table.
        output_assumed: the token counts are those of another model.
        ends: the day on which the model is shut down; None if unknown.
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
        """Quality names, cheapest first, without "auto"."""
        return tuple(q for q in self.fields.get("quality", ()) if q != "auto")

    def ended(self, today: date) -> bool:
        return self.ends is not None and today >= self.ends


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits of all GPT image models; byte counts are exclusive upper bounds."""

    prompt_characters: int
    images: int
    image_bytes: int
    mask_bytes: int
    pictures: int
    partial_images: int
    partial_image_tokens: int


def limits(*, changes: Path | None = None) -> ModelLimits:
    return ModelLimits(**table("models", changes=changes)["limits"])


def checked(*, changes: Path | None = None) -> date:
    """The day on which prices and dates were last compared with their sources."""
    day: date = table("models", changes=changes)["checked"]
    return day


def models(
    *, changes: Path | None = None, ends: Mapping[str, str] | None = None
) -> dict[str, Model]:
    """Every model by name. `ends` (model -> ISO date) overrides the catalog's dates."""
    data = table("models", changes=changes)
    families = {name: _family(name, data["families"]) for name in data["families"]}
    known = {name: _model(name, entry, families) for name, entry in data["models"].items()}
    for name, day in (ends or {}).items():
        owner = next((m for m in known.values() if name in (m.name, *m.snapshots)), None)
        if owner is not None and name == owner.name:
            known[owner.name] = replace(owner, ends=date.fromisoformat(day))
    return known


def find(known: Mapping[str, Model], name: str, *, today: date) -> Model:
    """The model of that name or snapshot, if it is still offered on `today`.

    Raises UnknownNameError for an unknown name, InputError for a model that was shut down.
    """
    alive = _by_name(known, name)
    if alive.ended(today):
        way = f"; use {alive.successor} instead" if alive.successor else ""
        raise InputError(f"model {name} ended on {alive.ends}{way}")
    return alive


def unknown(name: str, *, changes: Path | None = None) -> Model:
    """A model of which only the name is known, at an address given by the user."""
    return replace(_family("unknown", table("models", changes=changes)["families"]), name=name)


def output_tokens(model: Model, quality: str, size: Size) -> int:
    """Output tokens of one picture.

    Models with free sizes plan on a grid: its long side has a number of cells that depends on the
    quality, its short side is in proportion; tokens = cells x (2e6 + width x height) / 4e6,
    rounded up. Raises InputError where the catalog knows no count.
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
    raise InputError(f"{model.name}: no token count for quality {quality} at {width}x{height}")


def picture_usd(model: Model, quality: str, size: Size) -> float | None:
    """Price of the output tokens of one picture in US dollars; None where no price is known."""
    if model.price is None:
        return None
    return output_tokens(model, quality, size) * model.price.image_out / 1e6


def as_json(model: Model) -> dict[str, Any]:
    """The catalog entry of a model as a JSON object."""
    entry = asdict(model)
    entry["sizes"]["fixed"] = [f"{w}x{h}" for w, h in model.sizes.fixed]
    for name in ("since", "ends"):
        entry[name] = entry[name] and entry[name].isoformat()
    return entry


def parse_size(text: str) -> Size:
    """(width, height) of "WIDTHxHEIGHT"."""
    width, _, height = text.lower().partition("x")
    if not (text.isascii() and width.isdecimal() and height.isdecimal()):
        raise InputError(f"size: expected WIDTHxHEIGHT in pixels such as 1536x1024, got {text!r}")
    return int(width), int(height)


def _by_name(known: Mapping[str, Model], name: str) -> Model:
    owners = {alias: m for m in known.values() for alias in (m.name, *m.snapshots)}
    return choose(owners, name, kind="model")


def _family(name: str, families: Mapping[str, Any]) -> Model:
    entry = _inherited(name, families)
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
        raise SettingsError(f"catalog, family {name}: {exc}") from exc


def _inherited(name: str, families: Mapping[str, Any]) -> dict[str, Any]:
    """A family's facts, with those of the family that it is `like` as defaults (not `refused`)."""
    entry = choose(families, name, kind="model family")
    if "like" not in entry:
        return dict(entry)
    parent = _inherited(entry["like"], families)
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
        raise SettingsError(f"catalog, model {name}: {exc}") from exc
