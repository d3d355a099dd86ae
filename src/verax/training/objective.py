"""What is minimised on which samples: the join of recipe, data, network and losses."""

from torch import Tensor, nn

from verax.errors import SettingsError
from verax.training import losses
from verax.training.data import Sample, Source
from verax.training.library import Library
from verax.training.nafnet import toned
from verax.training.recipes import Recipe


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
    inputs, target, severity = batch
    outputs = net(inputs)
    if recipe.network == "tone":
        photo, estimated = inputs, outputs[1]
        restored = toned(photo, outputs[0])
    else:
        photo, estimated = inputs[:, 3:6], outputs[2]
        restored = photo + outputs[0]
    if recipe.distance == "decibels":
        loss = losses.decibels(restored, target, enough=recipe.enough)
    else:
        loss = losses.charbonnier(restored, target)
    loss = loss + recipe.severity * losses.severity(estimated, severity)
    if recipe.frequency:
        loss = loss + recipe.frequency * losses.frequency(restored, target)
    if recipe.structure:
        loss = loss + recipe.structure * losses.structure(restored, photo, target)
    return loss, restored
