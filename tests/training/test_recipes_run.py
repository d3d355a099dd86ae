"""The named recipes at their smallest: every network is trained, exported and run, so that a
rented GPU is not the first machine that tries."""

from dataclasses import replace

import numpy as np
import pytest
import toy

from verax import restorers, training, weights
from verax.training.export import export
from verax.training.loop import train

CROPS = {"tone": 48, "detail": 32}


@pytest.mark.parametrize("name", training.RECIPES)
def test_a_recipe_makes_every_network_that_restores(name):
    judge = {"judge"}  # names what a photo suffers from; benchmarks/fit_judge.py makes it
    assert set(training.named_runs(name, ("x",))) == set(weights.FILES) - judge


@pytest.mark.parametrize("file", ["tone", "rain"])
def test_the_gpu_recipe_runs_from_photos_to_a_restorer(file, tmp_path):
    data = toy.folder(tmp_path / "data", size=(96, 128))
    recipe = training.named_runs("gpu", (str(data),))[file]
    shape = replace(recipe.shape, widths=(8, 16), blocks=1, middle=1)
    tiny = replace(
        recipe, shape=shape, steps=2, minutes=0.0, crop=CROPS[recipe.network], batch=2, workers=1,
        devices=1, validation=2, compile=False,
    )  # fmt: skip
    trained = train(training.check(tiny), tmp_path / "run")
    exported = export(trained.checkpoint, tmp_path / f"{file}.onnx")
    base = restorers.restore(toy.scene(5), str(exported.path))

    assert trained.step == 2
    assert np.isfinite(base).all()


@pytest.mark.parametrize("name", training.RECIPES)
def test_what_a_recipe_makes_fits_in_the_package(name):
    """Half-precision weights: two bytes a parameter, all files together at most 12 MB."""
    from verax.training.checkpoints import build

    sizes = [
        sum(p.numel() for p in build(recipe).parameters())
        for recipe in training.named_runs(name, ("x",)).values()
    ]

    assert 2 * sum(sizes) < 12e6
