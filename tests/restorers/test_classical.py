"""The classical restorers do what their papers say, on pictures built by their own model."""

import time

import cv2
import numpy as np
import pytest

from verax.degrade import Degradation, apply
from verax.errors import ImageContractError, UnknownNameError
from verax.image import check_image
from verax.image.pixels import to_linear, to_srgb
from verax.restorers import RESTORERS, restore
from verax.restorers.classical import expose


@pytest.fixture(scope="module")
def clean():
    """A colourful scene with flat parts, edges and dark corners."""
    rng = np.random.default_rng(3)
    patches = cv2.resize(rng.random((6, 8, 3), np.float32), (240, 180), interpolation=0)
    return np.clip(cv2.GaussianBlur(patches, (0, 0), 1.0), 0, 1) ** 1.5


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


@pytest.mark.parametrize("name", RESTORERS)
def test_every_restorer_keeps_the_contract_and_its_input(clean, name):
    before = clean.copy()
    for photo in (clean, clean[:1, :9].copy(), np.zeros((9, 7, 3), np.float32)):
        assert check_image(restore(photo, name)).shape == photo.shape
    assert np.array_equal(clean, before)


def test_none_is_the_photo_itself(clean):
    assert restore(clean) is clean


def test_the_dark_channel_prior_undoes_haze_of_its_own_model(clean):
    dark = clean * (1 - 0.9 * (np.arange(240) % 12 < 2)[None, :, None]).astype(np.float32)
    hazy = dark * 0.5 + 0.9 * (1 - 0.5)
    hazy[:20] = 0.9  # sky: where the airlight is read

    assert psnr(restore(hazy.astype(np.float32), "dcp")[40:], dark[40:]) > psnr(hazy, dark) + 5


def test_lime_and_gamma_lighten_a_dark_photo_towards_the_clean_one(clean):
    dark = (clean**2.2 * 0.15).astype(np.float32) ** np.float32(1 / 2.2)

    for name in ("lime", "gamma"):
        assert psnr(restore(dark, name), clean) > psnr(dark, clean) + 2


def test_auto_levels_undoes_a_linear_loss_of_contrast(clean):
    assert psnr(restore(clean * 0.4 + 0.3, "auto_levels"), clean) > 24


def test_clahe_raises_the_contrast_of_a_flat_photo(clean):
    flat = clean * 0.1 + 0.45

    assert restore(flat, "clahe").std() > 1.15 * flat.std()


def test_non_local_means_removes_white_noise_and_leaves_a_quiet_photo_alone(clean):
    rng = np.random.default_rng(0)
    noisy = np.clip(clean + 0.08 * rng.standard_normal(clean.shape), 0, 1).astype(np.float32)

    assert psnr(restore(noisy, "nlm"), clean) > psnr(noisy, clean) + 5
    quiet = cv2.GaussianBlur(clean, (0, 0), 3)
    assert np.array_equal(restore(quiet, "nlm"), quiet)


def test_guided_derain_takes_out_thin_bright_streaks(clean):
    rainy = apply(clean, Degradation("rain", 0.7, 1))

    assert psnr(restore(rainy, "guided_derain"), clean) > psnr(rainy, clean) + 1


def test_a_wrong_name_and_a_wrong_array_are_refused_with_words(clean):
    with pytest.raises(UnknownNameError, match="lime"):
        restore(clean, "limes")
    with pytest.raises(ImageContractError):
        restore(clean.astype(np.float64), "dcp")


@pytest.mark.slow
@pytest.mark.parametrize("name", RESTORERS)
def test_a_megapixel_takes_less_than_two_seconds_on_one_thread(name):
    noise = np.random.default_rng(0).random((1000, 1000, 3), np.float32)
    photo = np.clip(0.4 + 0.1 * noise, 0, 1)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    start = time.perf_counter()
    restore(photo, name)
    seconds = time.perf_counter() - start
    cv2.setNumThreads(threads)

    assert seconds < 2


@pytest.mark.parametrize("stops", [-2, 1, 3])
def test_exposure_counts_stops_in_the_dark_and_keeps_black_and_white(stops):
    dark = to_srgb(np.full((4, 4, 3), 0.001, np.float32))
    ends = np.array([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]], np.float32)

    assert to_linear(expose(dark, stops)) == pytest.approx(0.001 * 2.0**stops, rel=0.02)
    assert expose(ends, stops) == pytest.approx(ends, abs=1e-6)
    assert expose(dark, 0) is dark
