"""Training of the networks that restore photos. This module defines recipes.

A recipe holds all settings of one training run and cannot be changed. Verax comes with the recipes
"cpu" and "gpu"; others are read from TOML files.
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

# How often each kind of sample is drawn depends on what a network is for: the tone network corrects
# haze and darkness; noise and rain hide structure and have a network each, since one for both
# removed texture as well. All networks also see undegraded photos, which must not change.
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
    """All settings of one training run.

    Attributes:
        network: "tone" (corrects light and colour; trained on thumbnails of whole photos) or
            "detail" (corrects noise, rain and the like; trained on crops).
        data: folders of photos without degradation, or of pairs listed in a manifest.csv.
        start: checkpoint or exported .onnx file whose weights the run begins with; "" for random
            weights.
        mix: how often each kind of sample is drawn: "clean" (no degradation), a task such as "haze"
            (simulated), or "real:haze" (real pairs). The numbers are relative.
        steps: length of the run in steps; 0 to use minutes.
        minutes: length of the run in minutes; 0 to use steps.
        crop: side of a crop, or short side of the smallest thumbnail, in px.
        batch: samples per step and device.
        shape: size of the network, a U-Net: factor of the pixel unshuffle, channels at each scale,
            blocks at each scale, blocks at the coarsest scale, whether blocks normalise.
        seed: random seed of the initial weights and of every sample.
        rate: highest learning rate of AdamW, which then falls as a cosine.
        warmup: number of steps in which the learning rate rises to its highest value.
        weight_decay: weight decay of AdamW.
        ema: decay of the moving average of the weights, which is the result of the run.
        distance: main loss, "charbonnier" (a smooth L1 distance) or "decibels" (negative PSNR).
        enough: PSNR in dB above which the loss "decibels" hardly decreases.
        severity, frequency, structure: weights of three more losses, for the estimated severity of
            degradations, differences of the Fourier spectrum, and invented structure.
        bf16: whether to compute in bfloat16 where it is safe.
        compile: whether to compile the network with torch; slower to start, faster to run.
        devices: how many GPUs train together, 0 for all of them.
        workers: number of processes that make samples; 0 makes them in the training process.
        threads: CPU threads of each training process.
        save_minutes: minutes between two checkpoints.
        validate_every: steps between two validations.
        validation: number of samples, from rows "val" of manifest.csv, to validate on.
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
    """A copy of the recipe with larger crops and batches, which trains on all GPUs of a machine."""
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


def named_runs(name: str, data: tuple[str, ...]) -> dict[str, TrainingRecipe]:
    """The training runs of the recipe `name` ("cpu" or "gpu"), in the order to run them.

    Returns the settings of each run, by the name of the network that it trains, such as "rain".
    `data` names the folders of photos to train on. Raises UnknownNameError for another name.
    """
    runs = choose(RECIPES, name, kind="recipe")
    return {file: replace(recipe, data=data) for file, recipe in runs.items()}


def read(path: Path, data: tuple[str, ...] = ()) -> TrainingRecipe:
    """Read a recipe from a TOML file whose keys are the fields of `TrainingRecipe`.

    `data`, if not empty, replaces the folders of photos that the file names. Raises SettingsError
    if the file cannot be read, or has an unknown or wrong setting.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(
            f"{path}: expected a TOML recipe, got {exc}; "
            "`verax train --recipe cpu --network tone --show` prints one"
        ) from exc
    return from_dict(table | ({"data": data} if data else {}), name=str(path))


def from_dict(table: Mapping[str, Any], *, name: str = "recipe") -> TrainingRecipe:
    """Make a recipe from its settings (name -> value) and check it.

    A setting that is missing has the default for the recipe's network. `name` is the file's name
    for messages. Raises SettingsError for an unknown or wrong setting.
    """
    known = {f.name for f in fields(TrainingRecipe)}
    for key in table:
        if key not in known:
            raise SettingsError(
                f"{name}: got an unknown setting {key!r}; use one of {', '.join(sorted(known))}"
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
        raise SettingsError(
            f"{name}: a setting has a wrong type or form ({exc}); "
            "`verax train --recipe cpu --network tone --show` prints correct ones"
        ) from exc


def check(recipe: TrainingRecipe, *, name: str = "recipe") -> TrainingRecipe:
    """Return the recipe unchanged if its settings are valid; otherwise raise SettingsError.

    `name` is the name of the recipe's file for the message.
    """
    known = {"clean", *TASKS, *(f"real:{task}" for task in TASKS)}
    rule = recipe.shape.multiple * (6 if recipe.network == "tone" else 1)
    unknown = sorted(set(recipe.mix) - known)
    problems = {
        f"network: expected 'tone' or 'detail', got {recipe.network!r}": (
            recipe.network not in NETWORKS
        ),
        f"distance: expected 'charbonnier' or 'decibels', got {recipe.distance!r}": (
            recipe.distance not in ("charbonnier", "decibels")
        ),
        "data: got no folder; name at least one folder of photos, or use --data": not recipe.data,
        f"expected either steps or minutes above 0, got steps = {recipe.steps} and minutes = "
        f"{recipe.minutes}; set one to 0": (recipe.steps > 0) == (recipe.minutes > 0),
        f"mix: unknown {unknown}; use some of {', '.join(sorted(known))}": bool(unknown),
        f"mix: expected numbers above 0, got {dict(recipe.mix)}": (
            not recipe.mix or min(recipe.mix.values()) <= 0
        ),
        f"crop: expected a multiple of {rule}, got {recipe.crop}": recipe.crop % rule != 0,
        f"batch: expected at least 1, got {recipe.batch}": recipe.batch < 1,
        f"rate: expected a number above 0, got {recipe.rate}": not recipe.rate > 0,
    }
    for problem, wrong in problems.items():
        if wrong:
            raise SettingsError(f"{name}: {problem}")
    return recipe
