"""How a run is watched: PSNR by task on held-out samples, a sheet of pictures, plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from verax import image as images
from verax.errors import SettingsError
from verax.restorers.nafnet import TASKS
from verax.training.library import load
from verax.training.objective import objective, sample_at, source_of
from verax.training.recipes import Recipe


def draw(log: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the lines of a run's log; without any, no picture is written."""
    losses = [(line["step"], line["loss"]) for line in log if "loss" in line]
    checks = [line for line in log if "psnr" in line]
    if not losses and not checks:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if losses:
        left.plot(*zip(*losses, strict=True), linewidth=1)
    left.set(xlabel="step", ylabel="loss", title="Training loss")
    for task in sorted({task for line in checks for task in line["photo_and_restoration"]}):
        points = [
            (line["step"], line["photo_and_restoration"][task][1])
            for line in checks
            if task in line["photo_and_restoration"]
        ]
        right.plot(*zip(*points, strict=True), marker=".", linewidth=1, label=task)
    right.set(xlabel="step", ylabel="PSNR, dB", title="Held-out samples")
    if checks:
        right.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)


SEED = 1_000_003  # of the held-out samples, so that every run sees the same


def held_out(recipe: Recipe, device: torch.device) -> list[tuple[str, Any]]:
    """Held-out samples, one batch of one each; empty where the data has no "val" rows."""
    try:
        library = load(recipe.data, split="val", shortest=recipe.crop)
    except SettingsError:
        return []
    source = source_of(recipe, library, seed=SEED)
    batches = []
    for index in range(recipe.validation):
        sample = sample_at(source, recipe, index * recipe.batch)
        task = TASKS[int(sample.severity.argmax())] if sample.severity.any() else "clean"
        planes = (sample.inputs, sample.target, sample.severity)
        batches.append((task, tuple(torch.from_numpy(p)[None].to(device) for p in planes)))
    return batches


def validate(
    recipe: Recipe, net: nn.Module, batches: list[tuple[str, Any]], sheet: Path
) -> dict[str, Any]:
    """Mean PSNR, and PSNR before and after by task; the pictures go into `sheet`."""
    rows: list[Tensor] = []
    gains: dict[str, list[tuple[float, float]]] = {}
    with torch.no_grad():
        for task, batch in batches:
            _, restored = objective(recipe, net, batch)
            before = batch[0][:, :3] if recipe.network == "tone" else batch[0][:, 3:6]
            gains.setdefault(task, []).append((_psnr(before, batch[1]), _psnr(restored, batch[1])))
            rows.append(torch.cat([batch[0][:, :3], restored, batch[1]], 3)[0])
    _sheet(rows, sheet)
    table = {t: [round(float(v), 2) for v in np.mean(g, 0)] for t, g in gains.items()}
    mean = float(np.mean([v[1] for v in table.values()]))
    return {"psnr": round(mean, 3), "photo_and_restoration": table}


def _psnr(picture: Tensor, reference: Tensor) -> float:
    return float(-10 * torch.log10(((picture.clamp(0, 1) - reference) ** 2).mean() + 1e-10))


def _sheet(rows: list[Tensor], path: Path) -> None:
    """The first samples under each other; rows of several sizes are cut to the smallest."""
    width = min(row.shape[2] for row in rows)
    strips = [row[:, :, :width] for row in rows[:12]]
    picture = torch.cat(strips, 1).clamp(0, 1).permute(1, 2, 0)
    images.write(path, np.ascontiguousarray(picture.cpu().numpy(), np.float32))
