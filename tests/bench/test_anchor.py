"""Anchors on real pictures."""

from dataclasses import replace

import pytest

from verax.bench import open_run
from verax.bench import plan as plans
from verax.bench.runner import run
from verax.bench.work import expand
from verax.datasets.registry import load


def test_a_published_low_light_output_scores_what_was_published(pictures, tmp_path):
    """LOL pair `ll_good1` with its real output: raw resize, RGB PSNR, 19.5 to 19.7 dB."""
    dataset = load(str(pictures))
    items = tuple(item for item in dataset.items if "ll_good1" in item.name)
    plan = plans.Plan((str(pictures),), ("raw-prior",), priors=("files",), metrics=("psnr",))
    run(plan, expand(plan, [replace(dataset, items=items)]), tmp_path / "run")

    record = open_run(tmp_path / "run")
    (value,) = (row.value for row in record.scores())
    record.close()
    assert value == pytest.approx(19.6, abs=0.1)
