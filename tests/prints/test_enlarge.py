"""A larger result: degraded back it is the photo; the prior only adds what lies above it."""

import cv2
import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax import making, restore
from verax.errors import InputError
from verax.prints.enlarge import align_finely, enlarge, larger_size, on_finer_grid, reduce


@pytest.fixture(scope="module")
def fine():
    return images.from_uint8(np.ascontiguousarray(data.coffee()[:240, :360]))


def psnr(a, b):
    return float(-10 * np.log10(np.mean((a - b)[8:-8, 8:-8] ** 2)))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("with_prior", [True, False])
def test_degraded_back_it_is_the_photo_within_half_a_level(fine, factor, with_prior):
    photo = np.clip(reduce(fine, (360 // factor, 240 // factor)), 0, 1)
    prior = np.asarray(np.clip(fine * 0.8 + 0.15, 0, 1), np.float32) if with_prior else None

    larger = enlarge(photo, (360, 240), prior)

    back = reduce(larger, (photo.shape[1], photo.shape[0]))
    assert np.abs(back - photo).max() < 0.5 / 255


def test_a_prior_in_other_light_adds_detail_and_a_foreign_one_none(fine):
    photo = np.clip(reduce(fine, (90, 60)), 0, 1)
    prior = np.asarray(np.clip(fine * 0.7 + 0.2, 0, 1), np.float32)
    plain = enlarge(photo, (360, 240))
    cubic = cv2.resize(photo, (360, 240), interpolation=cv2.INTER_CUBIC)

    assert psnr(enlarge(photo, (360, 240), prior), fine) > psnr(cubic, fine) + 2
    other = np.ascontiguousarray(prior[::-1, ::-1])
    assert psnr(enlarge(photo, (360, 240), other), fine) > psnr(plain, fine) - 1


@pytest.mark.parametrize("off", [0.4, -1.2, 2.0])
def test_detail_is_brought_to_the_place_where_the_photo_has_it(fine, off):
    photo = np.clip(reduce(fine, (90, 60)), 0, 1)
    move = np.float32([[1, 0, off], [0, 1, -off]])
    light = 0.8 * fine + 0.1
    prior = cv2.warpAffine(
        light, move, (360, 240), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )

    moved = align_finely(np.clip(prior, 0, 1), photo)

    assert psnr(moved, light) > psnr(prior, light) + 3


def test_a_place_is_the_same_place_on_the_finer_grid():
    matrix, field = on_finer_grid(np.eye(3), np.ones((60, 90, 2), np.float32), (90, 60), (360, 240))

    np.testing.assert_allclose(matrix @ [10, 20, 1], [41.5, 81.5, 1])
    np.testing.assert_allclose(field, 4)


@pytest.mark.parametrize(
    ("scale", "line"),
    [("5", "expected one of 2, 3, 4, prior"), ("4", "megapixels")],
)
def test_a_scale_that_cannot_be_is_refused_in_one_line(scale, line):
    with pytest.raises(InputError, match=line) as caught:
        larger_size((9000, 6000), scale)

    assert "\n" not in str(caught.value)


def contrast(picture):
    """Deviation of what is 8 to 16 px large."""
    coarse, coarser = (cv2.GaussianBlur(picture.mean(2), (0, 0), sigma) for sigma in (4, 8))
    return float((coarse - coarser).std())


def test_a_photo_that_was_enlarged_before_takes_more_contrast_where_a_larger_one_is_wanted(fine):
    soft = cv2.resize(reduce(fine, (90, 60)), (360, 240), interpolation=cv2.INTER_CUBIC)
    soft = np.asarray(np.clip(soft, 0, 1), np.float32)
    blurred = cv2.GaussianBlur(fine, (0, 0), 8)
    prior = np.asarray(np.clip(blurred + 1.3 * (fine - blurred), 0, 1), np.float32)

    usual, larger = (restore(soft, prior, scale=scale) for scale in ("", "prior"))

    assert contrast(usual.pixels) < 0.98 * contrast(larger.pixels)
    assert contrast(larger.pixels) < 1.05 * contrast(prior)


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: np.zeros((2_000_000, 2_000_000, 30)),
        lambda: cv2.resize(np.zeros((9, 9), np.uint8), (2_000_000, 2_000_000)),
    ],
)
def test_short_memory_is_one_clear_line(allocate):
    photo = images.Photo(np.zeros((16, 32, 3), np.float32))

    with pytest.raises(InputError, match=r"memory: .*32x16 px"), making.enough_memory(photo):
        allocate()
