"""Pictures that were enlarged by repeating their pixels."""

import cv2
import numpy as np
import pytest
from skimage import data

import verax
from verax.image import from_uint8
from verax.image.pixels import interpolate, repeats_of

PICTURES = ("coffee", "astronaut", "chelsea")


@pytest.fixture(scope="module", params=PICTURES)
def picture(request):
    return from_uint8(cv2.resize(getattr(data, request.param)(), (400, 400)))


def enlarged(small, size, how):
    return np.clip(cv2.resize(small, size, interpolation=how), 0, 1)


def compressed(picture, quality):
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    coded = cv2.imencode(".jpg", (picture[..., ::-1] * 255).astype(np.uint8), flags)[1]
    return from_uint8(np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]))


def psnr(a, b):
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("side", [133, 100, 73, 50, 30])
@pytest.mark.parametrize("cut", [(0, 0), (2, 3)])
def test_the_period_is_found_and_the_pixels_are_interpolated(picture, side, cut):
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    blocks, smooth = (
        np.ascontiguousarray(enlarged(small, (400, 400), how)[cut[0] :, cut[1] : 390])
        for how in (cv2.INTER_NEAREST, cv2.INTER_CUBIC)
    )
    repeats = repeats_of(blocks)

    assert repeats.period == pytest.approx(400 / side, rel=0.005)
    soft = cv2.GaussianBlur(smooth, (0, 0), 0.3 * repeats.period)
    assert psnr(interpolate(blocks, repeats), soft) > 30


@pytest.mark.parametrize("quality", [3, 10, 40])
def test_blocks_of_compression_are_not_repeated_pixels(picture, quality):
    assert repeats_of(compressed(picture, quality)) is None


@pytest.mark.parametrize("quality", [75, 95])
def test_the_period_is_found_under_compression(picture, quality):
    small = cv2.resize(picture, (73, 73), interpolation=cv2.INTER_AREA)
    blocks = enlarged(small, (400, 400), cv2.INTER_NEAREST)

    assert repeats_of(compressed(blocks, quality)).period == pytest.approx(400 / 73, rel=0.005)


@pytest.mark.parametrize("how", [cv2.INTER_LINEAR, cv2.INTER_CUBIC])
def test_interpolated_pictures_flat_ones_and_small_ones_repeat_nothing(picture, how):
    small = cv2.resize(picture, (80, 80), interpolation=cv2.INTER_AREA)

    assert repeats_of(picture) is None
    assert repeats_of(enlarged(small, (400, 400), how)) is None
    assert repeats_of(np.full((64, 64, 3), 0.5, np.float32)) is None
    assert repeats_of(picture[:20, :20]) is None


def test_a_prior_supplies_the_detail_of_a_photo_of_repeated_pixels(picture):
    small = cv2.resize(picture, (100, 100), interpolation=cv2.INTER_AREA)
    photo = enlarged(small, (400, 400), cv2.INTER_NEAREST)
    result = verax.restore(photo, picture)

    assert any("repeating its pixels" in note for note in result.notes)
    assert psnr(result.pixels, picture) > psnr(photo, picture) + 3
    assert np.array_equal(verax.restore(photo).pixels, photo)  # alone it stays as it is


def test_repeated_pixels_stay_where_nothing_of_the_prior_is_taken(picture):
    small = cv2.resize(picture, (100, 100), interpolation=cv2.INTER_AREA)
    photo = enlarged(small, (400, 400), cv2.INTER_NEAREST)
    result = verax.restore(photo, photo)  # the photo itself says nothing

    assert np.array_equal(result.pixels, photo)
    assert not any("repeating its pixels" in note for note in result.notes)
