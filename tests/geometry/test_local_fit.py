import cv2
import numpy as np
import pytest
from skimage import data

from verax.geometry.features import log_luminance, orientation
from verax.geometry.local_fit import fit_field, resize_field, through
from verax.geometry.register import register
from verax.image.pixels import luma

SIZE = (384, 288)


@pytest.fixture(scope="module")
def scene():
    return cv2.resize(data.astronaut()[60:444].astype(np.float32) / 255, SIZE)


def bump(height):
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    bell = np.exp(-(((x - 190) / 80) ** 2 + ((y - 140) / 70) ** 2))
    return np.stack([height * bell, -0.6 * height * bell], -1).astype(np.float32)


def channels(image):
    return orientation(log_luminance(luma(image), SIZE), window=8, smooth=2)


def test_a_smooth_displacement_is_recovered(scene):
    # what the photo shows at p, the prior shows at p + field[p]
    field = bump(7)
    photo = through(scene, field)
    valid = np.ones(SIZE[::-1], np.float32)
    local = fit_field(channels(photo), channels(scene), valid)
    inner = np.s_[40:-40, 40:-40]
    error = np.linalg.norm(local - field, axis=-1)[inner]

    assert np.median(error) < 0.5
    assert np.median(error) < 0.25 * np.median(np.linalg.norm(field, axis=-1)[inner])


def test_no_field_where_nothing_is_displaced(scene):
    noisy = np.clip(scene + np.random.default_rng(0).normal(0, 0.05, scene.shape), 0, 1)
    valid = np.ones(SIZE[::-1], np.float32)

    assert fit_field(channels(noisy.astype(np.float32)), channels(scene), valid) is None


def test_one_moved_object_does_not_bend_its_surroundings(scene):
    photo = scene.copy()
    photo[30:90, 250:310] = scene[30:90, 262:322]  # a patch displaced by 12 px
    local = fit_field(channels(photo), channels(scene), np.ones(SIZE[::-1], np.float32))
    bend = np.zeros((*SIZE[::-1], 2)) if local is None else local

    assert np.linalg.norm(bend, axis=-1)[140:, :200].max() < 0.5


def test_a_field_on_another_grid_keeps_its_meaning():
    field = np.full((10, 20, 2), (2, 1), np.float32)
    larger = resize_field(field, (40, 30))

    assert np.allclose(larger, (4, 3))


@pytest.mark.parametrize("size", [(16, 16), (20, 16), (8, 8)])
@pytest.mark.filterwarnings("error")
def test_a_picture_of_a_few_pixels_is_fitted_without_a_warning(size):
    tiny = cv2.resize(data.coffee().astype(np.float32) / 255, size, interpolation=cv2.INTER_AREA)
    registration = register(tiny, np.roll(tiny, 1, axis=1))

    assert np.isfinite(registration.matrix).all()
    assert np.isfinite(registration.confidence).all()
