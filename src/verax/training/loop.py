"""The training loop.

It uses AdamW, a learning rate that rises at the start and then falls as a cosine, and a moving
average of the weights. Each run has a folder with `checkpoint.pt` (all that is needed to continue),
`log.jsonl` (losses and validation results), `sheet.png` (photo, restoration, reference of some
validation samples) and, at the end, `plots.png`. Samples depend only on the number of the step, so
a run that is stopped and continued sees the same samples.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from verax.errors import RunError, missing_extra
from verax.training import TrainingRecipe, check
from verax.training.checkpoints import NAME, TrainingState, save, start
from verax.training.data import Source
from verax.training.library import Library, load
from verax.training.objective import (
    draw,
    held_out_samples,
    objective,
    sample_at,
    source_of,
    validate,
)


@dataclass(frozen=True, slots=True)
class Team:
    """One process among those that train a network together.

    Attributes:
        rank: number of this process, from 0.
        size: how many processes train together.
        device: on which this process computes.
        fabric: the lightning_fabric.Fabric that connects the processes; None for a single one.
    """

    rank: int
    size: int
    device: torch.device
    fabric: Any = None

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network, wrapped so that its gradients are averaged over all processes."""
        return net if self.fabric is None else self.fabric.setup_module(net)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of this process's loss, averaged over all processes."""
        if self.fabric is None:
            loss.backward()
        else:
            self.fabric.backward(loss)

    def agree(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes, so that all of them decide alike."""
        return value if self.fabric is None else self.fabric.all_reduce(value)


def team(devices: int) -> Team:
    """Start the processes that train together, one on each of `devices` GPUs (0: all GPUs).

    On a machine without a GPU, this number of CPU processes (at least 1) is started. Returns the
    number and the device of the calling process, and how to reach the others. Raises
    MissingExtraError if several processes need the extra "multi-gpu" and it is not installed.
    """
    cuda = torch.cuda.is_available()
    count = devices or (torch.cuda.device_count() if cuda else 1)
    if count == 1:
        return Team(0, 1, torch.device("cuda" if cuda else "cpu"))
    if find_spec("lightning_fabric") is None:
        raise missing_extra("Training on several devices", "multi-gpu")
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=count, strategy="ddp")
    fabric.launch()
    return Team(fabric.global_rank, fabric.world_size, fabric.device, fabric)


Report = Callable[[dict[str, Any]], None]
REPORT_EVERY = 50  # steps
FINAL_RATE = 0.002  # of the peak rate
CLIP = 1.0  # gradient norm


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a training run: checkpoint, number of steps, and entries of the log."""

    checkpoint: Path
    step: int
    log: tuple[dict[str, Any], ...]


def train(
    recipe: TrainingRecipe, folder: Path, *, report: Report = lambda line: None
) -> TrainingResult:
    """Train a network by a recipe, or continue the stopped run in `folder`.

    `report` is called with every new entry of log.jsonl, as a dict.

    Raises:
        SettingsError: the recipe or its data are not valid, or the checkpoint in `folder` has
            another network, shape or seed.
        RunError: the loss is not finite; the last checkpoint is kept.
    """
    check(recipe)
    library = load(recipe.data, shortest=recipe.crop)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    crew = team(recipe.devices)
    state = start(recipe, folder, crew.device)
    _Run(recipe, library, folder, crew, report).go(state)
    log = read_log(folder)
    draw(log, folder / "plots.png")
    return TrainingResult(folder / NAME, state.step, tuple(log))


class _Samples(Dataset):  # type: ignore[misc]  # torch has no types here
    """The share of one training process (`crew` says which) of the training samples.

    They come in the order of the steps, for the steps `first` to `last` - 1, counted from 0.
    """

    def __init__(
        self, source: Source, recipe: TrainingRecipe, crew: Team, first: int, last: int
    ) -> None:
        self.source, self.recipe, self.crew = source, recipe, crew
        self.first, self.last = first, last

    def __len__(self) -> int:
        return (self.last - self.first) * self.recipe.batch

    def __getitem__(self, item: int) -> tuple[NDArray[np.float32], ...]:
        step, place = divmod(item, self.recipe.batch)
        batch = (self.first + step) * self.crew.size + self.crew.rank
        sample = sample_at(self.source, self.recipe, batch * self.recipe.batch + place)
        return sample.inputs, sample.target, sample.severity


class _Run:
    """A training run: the training loop, with everything that does not change during the run."""

    def __init__(
        self, recipe: TrainingRecipe, library: Library, folder: Path, crew: Team, report: Report
    ) -> None:
        self.recipe, self.folder, self.crew, self.report = recipe, folder, crew, report
        self.library = library
        self.source: Source = source_of(recipe, library, seed=recipe.seed)
        self.held_out = held_out_samples(recipe, crew.device)

    def go(self, state: TrainingState) -> None:
        recipe = self.recipe
        net = self.crew.wrap(state.net)
        net = torch.compile(net) if recipe.compile else net
        started, before = time.monotonic(), state.seconds
        saved = reported = started
        recent: list[float] = []
        for batch in self._batches(state.step):
            state.seconds = before + self._agree(time.monotonic() - started)
            if self._progress(state) >= 1.0:
                break
            loss = self._step(state, net, batch)
            if not math.isfinite(loss):
                raise RunError(
                    f"training: expected a finite loss, but the loss is {loss} at step "
                    f"{state.step}; lower `rate` in the recipe and repeat the command, which "
                    f"continues from the last checkpoint in {self.folder}"
                )
            state.step += 1
            recent.append(loss)
            if state.step % REPORT_EVERY == 0:
                now = time.monotonic()
                self._log(state, sum(recent) / len(recent), len(recent) / (now - reported))
                reported = now
                recent.clear()
            if state.step % recipe.validate_every == 0:
                self._validate(state)
            if time.monotonic() - saved > 60 * recipe.save_minutes:
                self._save(state)
                saved = time.monotonic()
        state.seconds = before + time.monotonic() - started
        self._validate(state)
        self._save(state)

    def _batches(self, step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        last = self.recipe.steps or 10_000_000
        samples = _Samples(self.source, self.recipe, self.crew, step, last)
        workers = self.recipe.workers
        loader: DataLoader[Any] = DataLoader(
            samples,
            self.recipe.batch,
            num_workers=workers,
            pin_memory=self.crew.device.type == "cuda",
            persistent_workers=False,
        )
        device, threads = self.crew.device, cv2.getNumThreads()
        cv2.setNumThreads(1)  # a forked worker would wait for ever for the threads of this process
        try:
            for inputs, target, severity in loader:
                yield (
                    inputs.to(device, memory_format=torch.channels_last, non_blocking=True),
                    target.to(device, non_blocking=True),
                    severity.to(device, non_blocking=True),
                )
        finally:
            cv2.setNumThreads(threads)

    def _step(
        self, state: TrainingState, net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]
    ) -> float:
        for group in state.optimiser.param_groups:
            group["lr"] = self.recipe.rate * self._rate(state)
        state.optimiser.zero_grad()
        with torch.autocast(self.crew.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            loss, _ = objective(self.recipe, net, batch)
        self.crew.backward(loss)
        nn.utils.clip_grad_norm_(state.net.parameters(), CLIP)
        value = float(self.crew.agree(loss.detach()))
        if math.isfinite(value):
            state.optimiser.step()
            _average(state, min(self.recipe.ema, (1 + state.step) / (10 + state.step)))
        return value

    def _agree(self, seconds: float) -> float:
        """The mean over all processes of the `seconds` trained, so that all stop at one step."""
        if self.crew.size == 1:
            return seconds
        return float(self.crew.agree(torch.tensor(seconds, device=self.crew.device)))

    def _progress(self, state: TrainingState) -> float:
        if self.recipe.steps:
            return state.step / self.recipe.steps
        return state.seconds / (60 * self.recipe.minutes)

    def _rate(self, state: TrainingState) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self._progress(state))))
        warm = min(1.0, (state.step + 1) / max(1, self.recipe.warmup))
        return warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def _log(self, state: TrainingState, loss: float, speed: float) -> None:
        done = self._progress(state)
        self._write(
            {
                "step": state.step,
                "loss": round(loss, 5),
                "rate": round(self.recipe.rate * self._rate(state), 7),
                "steps_per_second": round(speed, 3),
                "minutes": round(state.seconds / 60, 2),
                "minutes_left": round(state.seconds / 60 * (1 - done) / max(done, 1e-6), 1),
            }
        )

    def _write(self, line: dict[str, Any]) -> None:
        if self.crew.rank:
            return
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.report(line)

    def _validate(self, state: TrainingState) -> None:
        """Measure the PSNR of the averaged weights on the validation samples, and log it."""
        if not self.held_out or self.crew.rank:
            return
        current = {k: v.clone() for k, v in state.net.state_dict().items()}
        state.net.load_state_dict(state.average)
        figures = validate(self.recipe, state.net, self.held_out, self.folder / "sheet.png")
        state.net.load_state_dict(current)
        self._write({"step": state.step} | figures)

    def _save(self, state: TrainingState) -> None:
        if self.crew.rank == 0:
            save(state, self.recipe, self.folder, self.library)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The entries of the log `log.jsonl` in a run's folder, oldest first; empty without a log."""
    path = folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _average(state: TrainingState, decay: float) -> None:
    with torch.no_grad():
        for name, value in state.net.state_dict().items():
            state.average[name].lerp_(value, 1 - decay)
