import numpy as np
import pytest
import toy

from verax.image import to_uint8
from verax.restorers.runtime import TASKS
from verax.training.data import Source
from verax.training.library import Library, Pair, Scene


def source(mix, seed=0, depth=None):
    photos = [to_uint8(toy.scene(k, (120, 160))) for k in range(3)]
    noisy = np.clip(photos[0] + np.random.default_rng(0).normal(0, 9, photos[0].shape), 0, 255)
    pair = Pair(noisy.astype(np.uint8), photos[0], "noise")
    return Source(Library([Scene(p, depth) for p in photos], [pair]), mix, seed)


@pytest.mark.parametrize("mix", [{"noise": 1.0}, {"haze": 1.0}, {"lowlight": 1.0, "clean": 0.5}])
def test_a_sample_depends_on_seed_and_index_alone(mix):
    first, again, other = source(mix), source(mix), source(mix, seed=1)

    assert np.array_equal(first.detail(7, 32).inputs, again.detail(7, 32).inputs)
    assert not np.array_equal(first.detail(7, 32).inputs, first.detail(8, 32).inputs)
    assert not np.array_equal(first.detail(7, 32).inputs, other.detail(7, 32).inputs)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_pictures_in_range_and_its_severity(task):
    sample = source({task: 1.0}).detail(3, 32)

    assert sample.inputs.shape == (12, 32, 32)
    assert sample.inputs.min() >= 0
    assert sample.inputs.max() <= 1
    assert sample.severity[TASKS.index(task)] > 0


def test_a_clean_sample_is_its_own_target():
    samples = [source({"clean": 1.0}).detail(k, 32) for k in range(8)]

    assert all(np.array_equal(s.inputs[3:6], s.target) for s in samples)
    assert not any(s.severity.any() for s in samples)


def test_no_prior_is_all_zero():
    assert not source({"rain": 1.0}).detail(0, 32).inputs[6:].any()


def test_real_pairs_keep_their_pixels_together():
    sample = source({"real:noise": 1.0}).detail(5, 32)
    error = np.abs(sample.inputs[:3] - sample.target)

    assert 0.01 < error.mean() < 0.06
    assert sample.severity[TASKS.index("noise")] == pytest.approx(4 * 9 / 255, rel=0.3)


def test_thumbnails_cycle_through_shapes_by_batch():
    tone = source({"clean": 1.0}).tone
    shapes = [tone(batch * 4, 4, 96).inputs.shape[1:] for batch in range(4)]

    assert shapes == [(96, 128), (128, 96), (112, 112), (144, 192)]


def test_measured_depth_is_used_and_mirrored_with_its_photo():
    depth = np.tile(np.linspace(1, 9, 160, dtype=np.float32), (120, 1))
    samples = [source({"haze": 1.0}, depth=depth).tone(k, 1, 96) for k in range(4)]

    assert all(np.abs(s.inputs - s.target).mean() > 1e-3 for s in samples)


def test_a_black_photo_stays_finite():
    black = [np.zeros((120, 160, 3), np.uint8)]
    samples = [
        Source(Library([Scene(p) for p in black]), {task: 1.0}, 0).detail(0, 32) for task in TASKS
    ]

    assert all(np.isfinite(s.inputs).all() and np.isfinite(s.target).all() for s in samples)
