"""Checkpoints of training: files that hold everything a run needs to continue."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from verax.errors import SettingsError
from verax.restorers.nafnet import DetailNet, ToneNet
from verax.training import TrainingRecipe, from_dict
from verax.training.library import Library

NAME = "checkpoint.pt"
FORMS = (".levels", ".half", "")  # what `verax export` appends to a weight's name


@dataclass(slots=True)
class TrainingState:
    """Everything that changes during a training run.

    Attributes:
        average: moving average of the network's weights, by name; it is the result of the run.
        step: number of steps done.
        seconds: time trained so far.
    """

    net: nn.Module
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def build(recipe: TrainingRecipe) -> nn.Module:
    """Make the untrained network of a recipe, with random weights from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    make = {"tone": ToneNet, "detail": DetailNet}[recipe.network]
    return make(recipe.shape)


def save(state: TrainingState, recipe: TrainingRecipe, folder: Path, library: Library) -> Path:
    """Write the checkpoint of a run to checkpoint.pt in its folder, atomically. Returns the path.

    `library` is the training data; its checksum and its licences are stored in the checkpoint.
    """
    path = folder / NAME
    part = path.with_suffix(".part")
    torch.save(
        {
            "recipe": recipe.as_dict(),
            "net": state.net.state_dict(),
            "average": state.average,
            "optimiser": state.optimiser.state_dict(),
            "step": state.step,
            "seconds": state.seconds,
            "data": library.sha256,
            "licences": list(library.licences),
            "commit": commit(),
        },
        part,
    )
    part.replace(path)
    return path


def commit() -> str:
    """The git commit (40 hex digits) of the running code, or "" if it is not known."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def load_checkpoint(path: Path) -> tuple[TrainingRecipe, dict[str, Any]]:
    """Read a checkpoint. Returns the recipe, and the whole content of the file as a dictionary.

    In it, "average" are the weights to use, by name, "step" is the number of steps trained.
    Raises SettingsError if the file is not a checkpoint of `verax train`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return from_dict(content["recipe"], name=str(path)), content
    except (OSError, KeyError, RuntimeError, EOFError, ValueError, UnpicklingError) as exc:
        raise SettingsError(
            f"{path}: expected a checkpoint of `verax train`, got another file or none ({exc}); "
            "name checkpoint.pt in the folder of a run"
        ) from exc


def _averaged_weights(path: Path, net: nn.Module) -> dict[str, Tensor]:
    """Read the weights for `net`, by name, from a checkpoint or an ONNX file of `verax export`.

    Of a checkpoint, these are the moving average. Raises SettingsError if they do not fit `net`.
    """
    if path.suffix != ".onnx":
        return dict(load_checkpoint(path)[1]["average"])
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        stored = {t.name: t for t in onnx.load(path).graph.initializer}
    except (OSError, DecodeError) as exc:
        raise SettingsError(
            f"{path}: expected a network of `verax export`, got another file or none ({exc}); "
            "correct `start` in the recipe"
        ) from exc
    average = {}
    for name, value in net.state_dict().items():
        tensor = next((stored[n] for n in (f"{name}{form}" for form in FORMS) if n in stored), None)
        if tensor is None or tuple(tensor.dims) != tuple(value.shape):
            raise SettingsError(
                f"{path}: the weight {name} is missing or has another size than in the network to "
                "train; set `start` to a file of the same network, or change `shape` in the recipe"
            )
        wide = numpy_helper.to_array(tensor).astype(np.float32)
        if f"{name}.step" in stored:
            wide = wide * numpy_helper.to_array(stored[f"{name}.step"])
        average[name] = torch.from_numpy(wide)
    return average


def start(recipe: TrainingRecipe, folder: Path, device: torch.device) -> TrainingState:
    """The state from which a run starts, on `device`: that of the checkpoint in `folder`, or, if
    there is none, that of a new run, with random weights or those of the file `recipe.start`.

    Raises SettingsError if the checkpoint has another network, shape or seed than the recipe.
    """
    net = build(recipe).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    path = folder / NAME
    if not path.is_file():
        if recipe.start:
            net.load_state_dict(_averaged_weights(Path(recipe.start), net))
        average = {k: v.detach().clone() for k, v in net.state_dict().items()}
        return TrainingState(net, average, optimiser)
    earlier, content = load_checkpoint(path)
    if (earlier.network, earlier.shape, earlier.seed) != (
        recipe.network,
        recipe.shape,
        recipe.seed,
    ):
        raise SettingsError(
            f"{path}: expected a checkpoint with the recipe's network, shape and seed, got one of "
            "another recipe; choose an empty folder"
        )
    net.load_state_dict(content["net"])
    optimiser.load_state_dict(content["optimiser"])
    average = {k: v.to(device) for k, v in content["average"].items()}
    return TrainingState(net, average, optimiser, content["step"], content["seconds"])
