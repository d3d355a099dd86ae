"""Training of the networks. Here: recipes.

A recipe is every setting of one training run as a frozen value. Some have names; others are read
from TOML files.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from verax.errors import SettingsError, choose
from verax.restorers.runtime import DETAIL, TASKS, TONE, Shape

Network = Literal["tone", "detail"]

NETWORKS = ("tone", "detail")

# The mixes follow what each network is for: the tone network corrects haze and darkness; noise and
# rain hide structure and have a network each, since one for both removed texture as well. All see
# undegraded photos, which must not change.
TONE_MIX = {
    "clean": 0.15, "haze": 0.36, "real:haze": 0.11, "lowlight": 0.13, "real:lowlight": 0.01,
    "underwater": 0.05, "real:noise": 0.10, "noise": 0.02, "rain": 0.03, "real:rain": 0.01,
    "snow": 0.02, "jpeg": 0.01, "motion_blur": 0.01, "raindrop": 0.01,
}  # fmt: skip
DARK_MIX = {
    "clean": 0.08, "lowlight": 0.66, "real:lowlight": 0.03, "haze": 0.08, "noise": 0.04,
    "real:noise": 0.06, "underwater": 0.05,
}  # fmt: skip
NOISE_MIX = {"clean": 0.09, "noise": 0.49, "real:noise": 0.15, "lowlight": 0.20, "jpeg": 0.07}
RAIN_MIX = {"clean": 0.06, "rain": 0.72, "real:rain": 0.14, "snow": 0.04, "noise": 0.04}


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """One training run.

    Attributes:
        network: "tone" (whole photos as thumbnails) or "detail" (crops).
        data: folders of photos.
        start: checkpoint whose averaged weights the run begins with; "" starts from random weights.
        mix: weight per kind of sample: "clean", a task, or "real:task" for real pairs.
        steps: length of the run in steps; 0: `minutes` is used.
        minutes: length of the run in minutes; the cosine schedule follows it.
        crop: side of a detail crop, or short side of a thumbnail, in px.
        batch: samples per step and device.
        shape: size of the network: pixel-unshuffle factor, channels per scale, blocks per scale
            and side, blocks in the middle, and whether blocks normalise.
        seed: of the initial weights and of every sample.
        rate: peak learning rate of AdamW.
        warmup: steps until the rate is reached.
        weight_decay: of AdamW.
        ema: decay of the averaged weights, which are the result.
        distance: the main loss, "charbonnier" or "decibels" (PSNR of each picture).
        enough: PSNR in dB above which "decibels" hardly decreases.
        severity, frequency, structure: weights of the other losses.
        bf16: compute in bfloat16 where it is safe.
        compile: compile the network with torch; slow to start, faster to run.
        devices: how many GPUs train together, 0 for all of them.
        workers: data-loading processes; 0 loads in the training process.
        threads: CPU threads of each process.
        save_minutes: minutes between two checkpoints.
        validate_every: steps between two validations on held-out photos.
        validation: number of validation samples.
    """

    network: Network = "detail"
    data: tuple[str, ...] = ()
    start: str = ""
    mix: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(NOISE_MIX))
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


_TONE = TrainingRecipe(
    "tone", mix=MappingProxyType(TONE_MIX), shape=TONE, crop=96, batch=8,
    distance="decibels", enough=32.0, severity=0.5, structure=0.0, frequency=0.0,
)  # fmt: skip
_DARK = replace(_TONE, mix=MappingProxyType(DARK_MIX))
_DETAIL = TrainingRecipe(
    crop=96, compile=True, distance="decibels", severity=0.02, structure=0.0, frequency=0.0
)
_RAIN = replace(_DETAIL, mix=MappingProxyType(RAIN_MIX))
_LARGE = Shape(widths=(40, 80, 144))  # two of this size and the others stay under 12 MB


def _on_gpus(recipe: TrainingRecipe) -> TrainingRecipe:
    """The recipe with large batches for all GPUs of a machine."""
    return replace(recipe, crop=192, batch=64, workers=14, devices=0)


# named after the weight files they produce
RECIPES: dict[str, dict[str, TrainingRecipe]] = {
    # about 2 hours on 2 cores, one of which trains
    "cpu": {
        "tone": replace(_TONE, minutes=38),
        "dark": replace(_DARK, minutes=12),
        "dusk": replace(_DARK, minutes=12, seed=1),
        "detail": replace(_DETAIL, minutes=27),
        "rain": replace(_RAIN, minutes=21),
    },
    # 30 minutes of one H200
    "gpu": {
        "tone": _on_gpus(replace(_TONE, minutes=6)),
        "dark": _on_gpus(replace(_DARK, minutes=2)),
        "dusk": _on_gpus(replace(_DARK, minutes=2, seed=1)),
        "detail": _on_gpus(replace(_DETAIL, minutes=7, shape=_LARGE)),
        "rain": _on_gpus(replace(_RAIN, minutes=6, shape=_LARGE)),
    },
}


def named(name: str, data: tuple[str, ...]) -> dict[str, TrainingRecipe]:
    """The training runs of a named recipe in the order to run them: output file -> recipe.

    `data`: the folders to train on.
    """
    runs = choose(RECIPES, name, kind="recipe")
    return {file: replace(recipe, data=data) for file, recipe in runs.items()}


def read(path: Path, data: tuple[str, ...] = ()) -> TrainingRecipe:
    """A recipe from a TOML file with the keys of `TrainingRecipe`; `data` replaces its folders."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{path}: expected a TOML recipe: {exc}") from exc
    return from_dict(table | ({"data": data} if data else {}), name=str(path))


def from_dict(table: Mapping[str, Any], *, name: str = "recipe") -> TrainingRecipe:
    """The recipe from a table of its settings, checked. `name` is that of its file, for errors."""
    known = {f.name for f in fields(TrainingRecipe)}
    for key in table:
        if key not in known:
            raise SettingsError(
                f"{name}: unknown setting {key!r}; use one of {', '.join(sorted(known))}"
            )
    start = _TONE if table.get("network") == "tone" else TrainingRecipe()
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


def check(recipe: TrainingRecipe, *, name: str = "recipe") -> TrainingRecipe:
    """The recipe itself if it is valid; raises SettingsError otherwise."""
    known = {"clean", *TASKS, *(f"real:{task}" for task in TASKS)}
    rule = recipe.shape.multiple * (6 if recipe.network == "tone" else 1)
    unknown = sorted(set(recipe.mix) - known)
    problems = {
        f"network: expected one of {', '.join(NETWORKS)}": recipe.network not in NETWORKS,
        "distance: expected 'charbonnier' or 'decibels'": (
            recipe.distance not in ("charbonnier", "decibels")
        ),
        "data: name at least one folder of photos": not recipe.data,
        "expected steps or minutes above 0, and not both": (recipe.steps > 0)
        == (recipe.minutes > 0),
        f"mix: unknown {unknown}; known: {sorted(known)}": bool(unknown),
        "mix: expected weights above 0": not recipe.mix or min(recipe.mix.values()) <= 0,
        f"crop: expected a multiple of {rule}, got {recipe.crop}": recipe.crop % rule != 0,
        "batch: expected at least 1": recipe.batch < 1,
        "rate: expected above 0": not recipe.rate > 0,
    }
    for problem, wrong in problems.items():
        if wrong:
            raise SettingsError(f"{name}: {problem}")
    return recipe
