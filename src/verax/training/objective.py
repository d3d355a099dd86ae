"""What training minimises, on which samples: distance in space and frequency, invented structure,
severities; and the join of recipe, data, network and

The losses take (B, 3, H, W) tensors and return a scalar.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verax.errors import SettingsError
from verax.restorers.nafnet import toned
from verax.training.data import Sample, Source
from verax.training.library import Library
from verax.training.recipes import Recipe

WINDOW = 9  # px: the photo explains a window of the restoration by one line per window


def charbonnier(restored: Tensor, reference: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d**2 + epsilon**2) - epsilon: L1, smooth at zero."""
    return (torch.sqrt((restored - reference) ** 2 + epsilon**2) - epsilon).mean()


def decibels(restored: Tensor, reference: Tensor, *, enough: float = 40.0) -> Tensor:
    """Mean over the pictures of log10 of the squared error: PSNR, turned around.

    A good photo that is spoilt weighs as much as a bad one that is not helped, which a mean of
    distances over both would hide. What is better than `enough` dB hardly counts.
    """
    error = ((restored - reference) ** 2).mean((1, 2, 3))
    return torch.log10(error + 10 ** (-enough / 10)).mean()


def severity(estimated: Tensor, known: Tensor) -> Tensor:
    """Mean cross-entropy of severities (B, tasks) in [0, 1], 0 where the estimate is right.

    A distance would not do: most severities are 0, and so would be every estimate.
    """
    p = estimated.clamp(1e-4, 1 - 1e-4)
    q = known.clamp(1e-4, 1 - 1e-4)
    return (q * torch.log(q / p) + (1 - q) * torch.log((1 - q) / (1 - p))).mean()


def frequency(restored: Tensor, reference: Tensor) -> Tensor:
    """Mean distance of the spectra: weighs all scales alike (Cho et al., ICCV 2021)."""
    return torch.fft.rfft2((restored - reference).float(), norm="ortho").abs().mean()


def structure(restored: Tensor, photo: Tensor, reference: Tensor) -> Tensor:
    """Structure that neither the photo nor the reference has.

    In each window the restoration is fitted by a line in the photo's grey value; what is left is
    structure that the photo does not show (local-linear model: He, Sun and Tang, TPAMI 2013).
    As much of it as the reference has is right, more is invented.
    """
    guide = photo.mean(1, keepdim=True)
    left = _unexplained(restored.mean(1, keepdim=True), guide)
    right = _unexplained(reference.mean(1, keepdim=True), guide)
    return F.relu(torch.sqrt(left + 1e-6) - torch.sqrt(right + 1e-6)).mean()


def _unexplained(plane: Tensor, guide: Tensor) -> Tensor:
    """Variance of `plane` per window that no line in `guide` explains."""
    mean_g, mean_p = _box(guide), _box(plane)
    variance = _box(guide * guide) - mean_g * mean_g
    covariance = _box(guide * plane) - mean_g * mean_p
    left = _box(plane * plane) - mean_p * mean_p - covariance**2 / (variance + 1e-4)
    return F.relu(left)


def _box(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane, WINDOW, stride=1)


def possible(recipe: Recipe, library: Library) -> dict[str, float]:
    """The mix without real pairs that the data does not have."""
    have = {f"real:{pair.task}" for pair in library.pairs}
    mix = {k: w for k, w in recipe.mix.items() if not k.startswith("real:") or k in have}
    if not mix or (not library.scenes and any(not k.startswith("real:") for k in mix)):
        raise SettingsError("data: want photos without degradation (or a mix of real pairs only)")
    return mix


def source_of(recipe: Recipe, library: Library, *, seed: int) -> Source:
    """Where a run's samples come from."""
    return Source(library, possible(recipe, library), seed)


def sample_at(source: Source, recipe: Recipe, index: int) -> Sample:
    """Sample `index` of a run."""
    if recipe.network == "tone":
        return source.tone(index, recipe.batch, recipe.crop)
    return source.detail(index, recipe.crop)


def objective(
    recipe: Recipe, net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Loss of a batch and its restorations (B, 3, H, W)."""
    inputs, target, known = batch
    outputs = net(inputs)
    if recipe.network == "tone":
        photo, estimated = inputs, outputs[1]
        restored = toned(photo, outputs[0])
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
