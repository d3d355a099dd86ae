"""Degradations are values: the same one gives the same picture, more severity gives a worse one."""

import numpy as np
import pytest
from skimage import data

from verax.degrade import TASKS, Degradation, apply, sample
from verax.errors import SettingsError, SizeMismatchError, UnknownNameError


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-9)


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(data.astronaut()[60:220, 150:342], np.float32) / 255


@pytest.mark.parametrize("task", TASKS)
def test_a_degradation_is_a_function_of_picture_and_value(task, photo):
    before = photo.copy()

    once, again = (apply(photo, Degradation(task, 0.6, 7)) for _ in range(2))

    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(photo, before)
    assert not np.array_equal(once, apply(photo, Degradation(task, 0.6, 8)))


@pytest.mark.parametrize("task", TASKS)
def test_severity_zero_leaves_the_picture(task, photo):
    np.testing.assert_array_equal(apply(photo, Degradation(task, 0.0, 3)), photo)


@pytest.mark.parametrize("task", TASKS)
def test_a_touch_of_severity_is_hardly_seen(task, photo):
    touched = [psnr(apply(photo, Degradation(task, 0.01, seed)), photo) for seed in range(4)]

    assert np.mean(touched) > 33


@pytest.mark.parametrize("task", TASKS)
def test_psnr_to_the_clean_picture_falls_with_severity(task, photo):
    levels = (0.15, 0.4, 0.7, 1.0)
    table = np.array(
        [[psnr(apply(photo, Degradation(task, s, k)), photo) for s in levels] for k in range(8)]
    )

    assert (np.diff(table.mean(0)) < 0).all()
    assert (np.diff(table, axis=1) < 1.0).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 2), (97, 64)])
def test_any_shape_comes_back_as_a_picture_of_that_shape(task, shape):
    picture = np.random.default_rng(0).random((*shape, 3), np.float32)

    out = apply(picture, Degradation(task, 1.0, 5))

    assert out.shape == picture.shape
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_measured_depth_decides_where_haze_is_thick():
    dark = np.full((64, 128, 3), 0.2, np.float32)
    depth = np.ones((64, 128), np.float32)
    depth[:, 64:] = 9.0

    hazy = [apply(dark, Degradation("haze", 0.7, seed), depth=depth) for seed in range(12)]
    near, far = np.mean(hazy, axis=(0, 1, 3)).reshape(2, 64).mean(1) - 0.2

    assert far > 1.4 * near > 0


def test_degradations_act_in_the_order_given(photo):
    dark, wet = Degradation("lowlight", 0.5, 1), Degradation("rain", 0.5, 1)

    both = apply(photo, dark, wet)

    np.testing.assert_array_equal(both, apply(apply(photo, dark), wet))
    assert not np.array_equal(both, apply(photo, wet, dark))


def test_sampling_is_decided_by_the_generator_alone():
    first, second = (np.random.default_rng(4) for _ in range(2))

    assert [sample(first) for _ in range(5)] == [sample(second) for _ in range(5)]
    assert sample(first, "rain").task == "rain"


def test_what_is_no_degradation_is_refused(photo):
    with pytest.raises(UnknownNameError, match="rain"):
        Degradation("rian", 0.5)
    with pytest.raises(SettingsError, match="from 0 to 1"):
        Degradation("rain", 1.5)
    with pytest.raises(SettingsError, match="from 0 to 1"):
        Degradation("rain", float("nan"))
    with pytest.raises(SizeMismatchError):
        apply(photo, Degradation("haze", 0.5), depth=np.ones((3, 3), np.float32))
