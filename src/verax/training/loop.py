"""The training loop: AdamW, warm-up and cosine, averaged weights, checkpoints that can be resumed.

A run lives in a folder: `checkpoint.pt` (everything needed to go on), `log.jsonl` (one line per
report), `sheet.png` (photo, restoration, reference of validation samples) and, at the end,
`plots.png`. Samples depend on the step alone, so a run that was killed goes on to the same losses.
"""

import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from verax import image as images
from verax.errors import RunError, SettingsError
from verax.training import losses, plots
from verax.training.data import Sample, Source
from verax.training.library import Library, load
from verax.training.nafnet import TASKS, DetailNet, ToneNet, fused, toned
from verax.training.recipes import Recipe, check, from_dict

Report = Callable[[dict[str, Any]], None]
REPORT_EVERY = 50  # steps
FINAL_RATE = 0.002  # of the peak rate
CLIP = 1.0  # gradient norm


@dataclass(frozen=True, slots=True)
class Trained:
    """Where a run ended."""

    checkpoint: Path
    step: int
    log: tuple[dict[str, Any], ...]


@dataclass(slots=True)
class State:
    """What changes while training."""

    net: nn.Module
    average: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def build(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe; the same for the same seed."""
    torch.manual_seed(recipe.seed)
    make: type[nn.Module] = ToneNet if recipe.network == "tone" else DetailNet
    return make(recipe.shape)


def train(recipe: Recipe, folder: Path, *, report: Report = lambda line: None) -> Trained:
    """Run a recipe in `folder`, or go on with the run that lies there.

    Raises:
        SettingsError: the recipe, its data or the folder's checkpoint do not fit.
        RunError: the loss is not finite; the last checkpoint is kept.
    """
    check(recipe)
    library = load(recipe.data, shortest=recipe.crop)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = _start(recipe, folder, device)
    _Run(recipe, library, folder, device, report).go(state)
    log = read_log(folder)
    plots.draw(log, folder / "plots.png")
    return Trained(folder / "checkpoint.pt", state.step, tuple(log))


class _Samples(Dataset):  # type: ignore[misc]  # torch has no types here
    """The samples of steps `first` and after, as a map: item i is always the same."""

    def __init__(self, source: Source, recipe: Recipe, first: int, last: int) -> None:
        self.source, self.recipe = source, recipe
        self.first, self.last = first * recipe.batch, last * recipe.batch

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, item: int) -> tuple[NDArray[np.float32], ...]:
        sample = sample_at(self.source, self.recipe, self.first + item)
        return sample.inputs, sample.target, sample.severity


def sample_at(source: Source, recipe: Recipe, index: int) -> Sample:
    """Sample `index` of a run."""
    if recipe.network == "tone":
        return source.tone(index, recipe.batch, recipe.crop)
    return source.detail(index, recipe.crop)


def objective(
    recipe: Recipe, net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Loss of a batch and its restorations (B, 3, H, W)."""
    inputs, target, severity = batch
    outputs = net(inputs)
    if recipe.network == "tone":
        photo, estimated = inputs, outputs[1]
        restored = toned(photo, outputs[0])
    else:
        photo, estimated = inputs[:, 3:6], outputs[2]
        restored = fused(inputs, outputs[0], outputs[1])
    loss = losses.charbonnier(restored, target, epsilon=recipe.epsilon)
    loss = loss + recipe.severity * losses.severity(estimated, severity)
    if recipe.frequency:
        loss = loss + recipe.frequency * losses.frequency(restored, target)
    if recipe.structure:
        loss = loss + recipe.structure * losses.structure(restored, photo, target)
    return loss, restored


class _Run:
    """One recipe at work: what does not change while training."""

    def __init__(
        self, recipe: Recipe, library: Library, folder: Path, device: torch.device, report: Report
    ) -> None:
        self.recipe, self.folder, self.device, self.report = recipe, folder, device, report
        self.library = library
        self.source = Source(library, _possible(recipe, library), recipe.seed)
        self.validation = _validation(recipe, device)

    def go(self, state: State) -> None:
        recipe = self.recipe
        net = torch.compile(state.net) if recipe.compile else state.net
        started, before = time.monotonic(), state.seconds
        saved = reported = started
        recent: list[float] = []
        for batch in self._batches(state.step):
            state.seconds = before + time.monotonic() - started
            if self._progress(state) >= 1.0:
                break
            loss = self._step(state, net, batch)
            if not math.isfinite(loss):
                raise RunError(
                    f"training: the loss is {loss} at step {state.step}; "
                    f"the last checkpoint is kept in {self.folder}; try a lower rate"
                )
            state.step += 1
            recent.append(loss)
            if state.step % REPORT_EVERY == 0:
                now = time.monotonic()
                self._log(state, sum(recent) / len(recent), len(recent) / (now - reported))
                reported = now
                recent.clear()
            if state.step % recipe.validate_every == 0:
                self.validate(state)
            if time.monotonic() - saved > 60 * recipe.save_minutes:
                self._save(state)
                saved = time.monotonic()
        state.seconds = before + time.monotonic() - started
        self.validate(state)
        self._save(state)

    def _batches(self, step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        last = self.recipe.steps or 10_000_000
        samples = _Samples(self.source, self.recipe, step, last)
        workers = self.recipe.workers
        loader: DataLoader[Any] = DataLoader(
            samples,
            self.recipe.batch,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=False,
            worker_init_fn=_one_thread if workers else None,
        )
        for inputs, target, severity in loader:
            yield (
                inputs.to(self.device, memory_format=torch.channels_last, non_blocking=True),
                target.to(self.device, non_blocking=True),
                severity.to(self.device, non_blocking=True),
            )

    def _step(self, state: State, net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> float:
        for group in state.optimiser.param_groups:
            group["lr"] = self.recipe.rate * self._rate(state)
        state.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            loss, _ = objective(self.recipe, net, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(state.net.parameters(), CLIP)
        value = float(loss.detach())
        if math.isfinite(value):
            state.optimiser.step()
            _average(state, min(self.recipe.ema, (1 + state.step) / (10 + state.step)))
        return value

    def _progress(self, state: State) -> float:
        if self.recipe.steps:
            return state.step / self.recipe.steps
        return state.seconds / (60 * self.recipe.minutes)

    def _rate(self, state: State) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self._progress(state))))
        warm = min(1.0, (state.step + 1) / max(1, self.recipe.warmup))
        return warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def _log(self, state: State, loss: float, speed: float) -> None:
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
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.report(line)

    def validate(self, state: State) -> None:
        """PSNR of the averaged weights on the held-out samples, per task, and a picture sheet."""
        if not self.validation:
            return
        current = {k: v.clone() for k, v in state.net.state_dict().items()}
        state.net.load_state_dict(state.average)
        rows: list[Tensor] = []
        gains: dict[str, list[tuple[float, float]]] = {}
        with torch.no_grad():
            for task, batch in self.validation:
                _, restored = objective(self.recipe, state.net, batch)
                before = batch[0][:, :3] if self.recipe.network == "tone" else batch[0][:, 3:6]
                gains.setdefault(task, []).append(
                    (_psnr(before, batch[1]), _psnr(restored, batch[1]))
                )
                rows.append(torch.cat([batch[0][:, :3], restored, batch[1]], 3)[0])
        state.net.load_state_dict(current)
        table = {t: [round(float(v), 2) for v in np.mean(g, 0)] for t, g in gains.items()}
        mean = float(np.mean([v[1] for v in table.values()]))
        self._write({"step": state.step, "psnr": round(mean, 3), "photo_and_restoration": table})
        _sheet(rows, self.folder / "sheet.png")

    def _save(self, state: State) -> None:
        save(state, self.recipe, self.folder, self.library)


def save(state: State, recipe: Recipe, folder: Path, library: Library) -> Path:
    """Write the checkpoint whole or not at all."""
    path = folder / "checkpoint.pt"
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
    """The source commit of this installation, "" where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def load_checkpoint(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe and content of a checkpoint written by `save`."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return from_dict(content["recipe"], name=str(path)), content
    except (OSError, KeyError, RuntimeError, EOFError, ValueError, UnpicklingError) as exc:
        raise SettingsError(f"{path}: want a checkpoint of `verax train`: {exc}") from exc


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    path = folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _start(recipe: Recipe, folder: Path, device: torch.device) -> State:
    net = build(recipe).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    path = folder / "checkpoint.pt"
    if not path.is_file():
        if recipe.start:
            net.load_state_dict(load_checkpoint(Path(recipe.start))[1]["average"])
        average = {k: v.detach().clone() for k, v in net.state_dict().items()}
        return State(net, average, optimiser)
    earlier, content = load_checkpoint(path)
    if (earlier.network, earlier.shape, earlier.seed) != (
        recipe.network,
        recipe.shape,
        recipe.seed,
    ):
        raise SettingsError(f"{path} is of another recipe; choose an empty folder")
    net.load_state_dict(content["net"])
    optimiser.load_state_dict(content["optimiser"])
    average = {k: v.to(device) for k, v in content["average"].items()}
    return State(net, average, optimiser, content["step"], content["seconds"])


def _possible(recipe: Recipe, library: Library) -> dict[str, float]:
    """The mix without real pairs that the data does not have."""
    have = {f"real:{pair.task}" for pair in library.pairs}
    mix = {k: w for k, w in recipe.mix.items() if not k.startswith("real:") or k in have}
    if not mix or (not library.scenes and any(not k.startswith("real:") for k in mix)):
        raise SettingsError("data: want photos without degradation (or a mix of real pairs only)")
    return mix


def _validation(recipe: Recipe, device: torch.device) -> list[tuple[str, Any]]:
    """Held-out samples, one batch of one each; empty where the data has no "val" rows."""
    try:
        library = load(recipe.data, split="val", shortest=recipe.crop)
    except SettingsError:
        return []
    source = Source(library, _possible(recipe, library), seed=1_000_003)
    batches = []
    for index in range(recipe.validation):
        sample = sample_at(source, recipe, index * recipe.batch)
        task = TASKS[int(sample.severity.argmax())] if sample.severity.any() else "clean"
        planes = (sample.inputs, sample.target, sample.severity)
        batches.append((task, tuple(torch.from_numpy(p)[None].to(device) for p in planes)))
    return batches


def _average(state: State, decay: float) -> None:
    with torch.no_grad():
        for name, value in state.net.state_dict().items():
            state.average[name].lerp_(value, 1 - decay)


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _psnr(picture: Tensor, reference: Tensor) -> float:
    return float(-10 * torch.log10(((picture.clamp(0, 1) - reference) ** 2).mean() + 1e-10))


def _sheet(rows: list[Tensor], path: Path) -> None:
    """The first samples under each other; rows of several sizes are cut to the smallest."""
    width = min(row.shape[2] for row in rows)
    strips = [row[:, :, :width] for row in rows[:12]]
    picture = torch.cat(strips, 1).clamp(0, 1).permute(1, 2, 0)
    images.write(path, np.ascontiguousarray(picture.cpu().numpy(), np.float32))
