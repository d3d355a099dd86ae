"""The loss function of training, and what shows the progress of a run: validation and plots.

The losses compare batches of pictures (B, 3, H, W) and return a number. They measure the distance
to the reference, differences of the spectrum, invented structure, and errors of the estimated
severities of degradations. During a run, the PSNR for each kind of degradation is measured on
samples that are not trained on (held-out samples), and some of these are written as a picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verax import image as images
from verax.errors import SettingsError
from verax.restorers.nafnet import apply_transform
from verax.restorers.runtime import TASKS
from verax.training import TrainingRecipe
from verax.training.data import Sample, Source
from verax.training.library import Library, load

WINDOW = 9  # px: window of the local linear fit
SEED = 1_000_003  # of the held-out samples, which are the same for all runs


def charbonnier(restored: Tensor, reference: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """The mean of sqrt(d**2 + epsilon**2) - epsilon over all differences d of two pictures.

    This is the L1 distance, made smooth at zero.
    """
    return (torch.sqrt((restored - reference) ** 2 + epsilon**2) - epsilon).mean()


def decibels(restored: Tensor, reference: Tensor, *, enough: float = 40.0) -> Tensor:
    """The mean over the batch of log10 of a picture's mean squared error.

    This is -0.1 times the mean PSNR. Unlike the L1 distance, it penalises a loss of 1 dB on a good
    photo as much as on a bad one. Above a PSNR of `enough` dB it hardly decreases.
    """
    error = ((restored - reference) ** 2).mean((1, 2, 3))
    return torch.log10(error + 10 ** (-enough / 10)).mean()


def severity(estimated: Tensor, known: Tensor) -> Tensor:
    """The mean binary cross-entropy of severities (B, 10) in [0, 1], minus its lowest value.

    The 10 columns are the kinds of degradation, such as haze; 0 means that there is none.

    So a perfect estimate gives 0. An L1 distance would let all estimates become 0, since most
    severities are 0.
    """
    p = estimated.clamp(1e-4, 1 - 1e-4)
    q = known.clamp(1e-4, 1 - 1e-4)
    return (q * torch.log(q / p) + (1 - q) * torch.log((1 - q) / (1 - p))).mean()


def frequency(restored: Tensor, reference: Tensor) -> Tensor:
    """The mean absolute difference of two pictures' Fourier spectra (Cho et al., ICCV 2021)."""
    return torch.fft.rfft2((restored - reference).float(), norm="ortho").abs().mean()


def structure(restored: Tensor, photo: Tensor, reference: Tensor) -> Tensor:
    """The mean amplitude of structure in the restoration that neither photo nor reference has.

    In each window of 9 x 9 px, the restoration is fitted as a linear function of the photo's grey
    value, as in a guided filter (He, Sun and Tang, TPAMI 2013). The residual of this fit is
    structure that the photo does not show. It counts as far as it exceeds the residual of the same
    fit of the reference.
    """
    guide = photo.mean(1, keepdim=True)
    left = _unexplained_variance(restored.mean(1, keepdim=True), guide)
    right = _unexplained_variance(reference.mean(1, keepdim=True), guide)
    return F.relu(torch.sqrt(left + 1e-6) - torch.sqrt(right + 1e-6)).mean()


def _unexplained_variance(plane: Tensor, guide: Tensor) -> Tensor:
    """For each window of 9 x 9 px inside the pictures, the variance of `plane` after subtracting
    its linear fit by `guide`: (B, 1, H - 8, W - 8). Both planes are (B, 1, H, W)."""
    mean_g, mean_p = _box(guide), _box(plane)
    variance = _box(guide * guide) - mean_g * mean_g
    covariance = _box(guide * plane) - mean_g * mean_p
    left = _box(plane * plane) - mean_p * mean_p - covariance**2 / (variance + 1e-4)
    return F.relu(left)


def _box(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane, WINDOW, stride=1)


def possible(recipe: TrainingRecipe, library: Library) -> dict[str, float]:
    """How often each kind of sample is drawn (relative numbers, as in `recipe.mix`).

    Kinds for which the library lacks the real pairs, such as "real:haze", are left out.
    Raises SettingsError if no kind remains, or if one needs photos without degradation and the
    library has none.
    """
    have = sorted({f"real:{pair.task}" for pair in library.pairs})
    mix = {k: w for k, w in recipe.mix.items() if not k.startswith("real:") or k in have}
    if not mix or (not library.scenes and any(not k.startswith("real:") for k in mix)):
        raise SettingsError(
            "data: expected photos without degradation, or pairs for the kinds in `mix`, found "
            f"{len(library.scenes)} such photos and pairs for {', '.join(have) or 'no kind'}; "
            "add photos to the data, or change `mix` in the recipe"
        )
    return mix


def source_of(recipe: TrainingRecipe, library: Library, *, seed: int) -> Source:
    """The source from which a training run draws its samples, with the random seed `seed`."""
    return Source(library, possible(recipe, library), seed)


def sample_at(source: Source, recipe: TrainingRecipe, index: int) -> Sample:
    """Make sample number `index` for the network that the recipe trains."""
    if recipe.network == "tone":
        return source.tone(index, recipe.batch, recipe.crop)
    return source.detail(index, recipe.crop)


def objective(
    recipe: TrainingRecipe, net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The loss of a network on a batch, and the network's restorations (B, 3, H, W).

    The batch consists of inputs (B, C, H, W), references (B, 3, H, W) and the severities (B, 10)
    of the kinds of degradation, from 0 (none) to 1.
    """
    inputs, target, known = batch
    outputs = net(inputs)
    if recipe.network == "tone":
        photo, estimated = inputs, outputs[1]
        restored = apply_transform(photo, outputs[0])
    else:
        photo, estimated = inputs[:, 3:6], outputs[2]
        restored = photo + outputs[0]
    if recipe.distance == "decibels":
        loss = decibels(restored, target, enough=recipe.enough)
    else:
        loss = charbonnier(restored, target)
    loss = loss + recipe.severity * severity(estimated, known)
    if recipe.frequency:
        loss = loss + recipe.frequency * frequency(restored, target)
    if recipe.structure:
        loss = loss + recipe.structure * structure(restored, photo, target)
    return loss, restored


def draw(log: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot loss and PSNR from the log of a run to the file `path`; an empty log writes nothing."""
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


def held_out_samples(recipe: TrainingRecipe, device: torch.device) -> list[tuple[str, Any]]:
    """The samples on which a run is validated, from the rows "val" of manifest.csv.

    There are `recipe.validation` of them. Returns for each the kind of degradation and a batch of
    one sample (input, target, severities) on `device`. The list is empty if there are no such
    rows, or if they cannot be loaded.
    """
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
    recipe: TrainingRecipe, net: nn.Module, batches: list[tuple[str, Any]], sheet: Path
) -> dict[str, Any]:
    """Restore validation samples, and write photos, restorations and references to `sheet`.

    `batches` holds, for each sample, its kind of degradation and a batch of this sample alone:
    input, reference and severities.
    Returns an entry for the log: "psnr", the mean over the kinds in dB, and
    "photo_and_restoration", kind -> [PSNR of the photo, PSNR of the restoration]. For the detail
    network, this photo is the one with corrected light and colour in the input.
    """
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
    """Write the first 12 of the pictures `rows`, each (3, H, W), one below the other, to `path`.

    All are cropped on the right to the width of the narrowest.
    """
    width = min(row.shape[2] for row in rows)
    strips = [row[:, :, :width] for row in rows[:12]]
    picture = torch.cat(strips, 1).clamp(0, 1).permute(1, 2, 0)
    images.write(path, np.ascontiguousarray(picture.cpu().numpy(), np.float32))
