"""Recipes: every setting of one training run as a frozen value, the named ones, and TOML files."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from verax.errors import SettingsError, choose
from verax.training.nafnet import DETAIL, TASKS, TONE, Shape

Network = Literal["tone", "detail"]

# Weights follow need: haze and darkness are tone, what hides structure is detail; both see
# clean photos, which must come back as they are.
TONE_MIX = {
    "clean": 0.10, "haze": 0.30, "real:haze": 0.14, "lowlight": 0.20, "real:lowlight": 0.01,
    "underwater": 0.06, "real:noise": 0.05, "noise": 0.02, "rain": 0.04, "real:rain": 0.01,
    "snow": 0.03, "jpeg": 0.01, "motion_blur": 0.02, "raindrop": 0.01,
}  # fmt: skip
DETAIL_MIX = {
    "clean": 0.05, "noise": 0.21, "real:noise": 0.12, "rain": 0.31, "real:rain": 0.06,
    "lowlight": 0.09, "snow": 0.04, "jpeg": 0.04, "motion_blur": 0.02, "defocus_blur": 0.01,
    "haze": 0.03, "underwater": 0.01, "raindrop": 0.01,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run.

    Attributes:
        network: "tone" (whole photos as thumbnails) or "detail" (crops).
        data: folders of photos.
        start: checkpoint whose averaged weights the run begins with; "" begins anew.
        mix: weight per kind of sample: "clean", a task, or "real:task" for real pairs.
        steps: length of the run; 0 when `minutes` decides.
        minutes: length of the run by the clock; the cosine schedule follows it.
        crop: side of a detail crop, or short side of a thumbnail, in px.
        batch: samples per step and device.
        rate: peak learning rate of AdamW.
        ema: decay of the averaged weights, which are the ones kept.
        distance: the main loss, "charbonnier" or "decibels" (each picture counts by its PSNR).
        enough: PSNR in dB beyond which "decibels" asks for little more.
        severity, frequency, structure: weights of the losses beside it.
        bf16: compute in bfloat16 where it is safe.
        devices: how many GPUs train together, 0 for all of them.
        workers: loading processes; 0 loads in the training process.
        threads: of each process on the CPU.
    """

    network: Network = "detail"
    data: tuple[str, ...] = ()
    start: str = ""
    mix: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(DETAIL_MIX))
    shape: Shape = DETAIL
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    crop: int = 128
    batch: int = 8
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    ema: float = 0.999
    distance: Literal["charbonnier", "decibels"] = "charbonnier"
    enough: float = 40.0
    severity: float = 0.01
    frequency: float = 0.02
    structure: float = 0.02
    bf16: bool = True
    compile: bool = False
    devices: int = 1
    workers: int = 0
    threads: int = 1
    save_minutes: float = 3.0
    validate_every: int = 1000
    validation: int = 32

    def as_dict(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"mix": dict(self.mix), "shape": asdict(self.shape)}


_TONE = Recipe(
    "tone", mix=MappingProxyType(TONE_MIX), shape=TONE, crop=96, batch=16,
    distance="decibels", enough=32.0, severity=0.5, structure=0.0, frequency=0.0,
)  # fmt: skip

RECIPES: dict[str, tuple[Recipe, ...]] = {
    # about 2 hours on 2 cores, one of which trains
    "cpu": (
        replace(_TONE, minutes=30, warmup=200),
        Recipe(minutes=85, crop=96, structure=0.0, compile=True),
    ),
    # 30 minutes of one H200
    "gpu": (
        replace(_TONE, minutes=8, crop=192, batch=64, workers=14, devices=0),
        Recipe(minutes=20, crop=192, batch=64, workers=14, devices=0, compile=True,
               shape=Shape(widths=(48, 96, 160), blocks=2, middle=4)),
    ),
}  # fmt: skip


def named(name: str, data: tuple[str, ...]) -> tuple[Recipe, ...]:
    """The runs of a named recipe on `data`, in order."""
    return tuple(replace(recipe, data=data) for recipe in choose(RECIPES, name, kind="recipe"))


def read(path: Path, data: tuple[str, ...] = ()) -> Recipe:
    """A recipe from a TOML file; keys are those of `Recipe`; `data` replaces its folders."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{path}: want a TOML recipe: {exc}") from exc
    return from_dict(table | ({"data": data} if data else {}), name=str(path))


def from_dict(table: Mapping[str, Any], *, name: str = "recipe") -> Recipe:
    """A checked recipe from plain values."""
    known = {f.name for f in fields(Recipe)}
    for key in table:
        if key not in known:
            raise SettingsError(f"{name}: no setting {key!r}; known: {', '.join(sorted(known))}")
    start = _TONE if table.get("network") == "tone" else Recipe()
    values = dict(table)
    try:
        if "shape" in values:
            shape = values["shape"] | {"widths": tuple(values["shape"]["widths"])}
            values["shape"] = Shape(**shape)
        if "data" in values:
            values["data"] = tuple(values["data"])
        return check(replace(start, **values), name=name)
    except (TypeError, KeyError) as exc:
        raise SettingsError(f"{name}: {exc}") from exc


def check(recipe: Recipe, *, name: str = "recipe") -> Recipe:
    """The recipe itself if a run can start from it; raises SettingsError otherwise."""
    known = {"clean", *TASKS, *(f"real:{task}" for task in TASKS)}
    rule = recipe.shape.multiple * (6 if recipe.network == "tone" else 1)
    unknown = sorted(set(recipe.mix) - known)
    problems = {
        "network: want 'tone' or 'detail'": recipe.network not in ("tone", "detail"),
        "distance: want 'charbonnier' or 'decibels'": (
            recipe.distance not in ("charbonnier", "decibels")
        ),
        "data: name at least one folder of photos": not recipe.data,
        "want steps or minutes above 0, and not both": (recipe.steps > 0) == (recipe.minutes > 0),
        f"mix: unknown {unknown}; known: {sorted(known)}": bool(unknown),
        "mix: want weights above 0": not recipe.mix or min(recipe.mix.values()) <= 0,
        f"crop: want a multiple of {rule}, got {recipe.crop}": recipe.crop % rule != 0,
        "batch: want at least 1": recipe.batch < 1,
        "rate: want above 0": not recipe.rate > 0,
    }
    for problem, found in problems.items():
        if found:
            raise SettingsError(f"{name}: {problem}")
    return recipe
