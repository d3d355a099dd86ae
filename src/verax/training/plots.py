"""One picture of a training run: loss, rate, and PSNR of the held-out samples by task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
