"""The ladder: what geometry costs, and that undoing it brings it back."""

import cv2
import numpy as np
import pytest
import skimage.data

from verax.deviation import compare, ladder
from verax.deviation.compare import align_generated
from verax.errors import InputError, SizeMismatchError, UnknownNameError


@pytest.fixture(scope="module")
def photo():
    """Slightly soft, as photos are: nothing at the sampling limit that moving must lose."""
    picture = skimage.data.coffee()[30:270, 110:470].astype(np.float32) / np.float32(255)
    return cv2.GaussianBlur(picture, (0, 0), 0.7)


def fourier_shift(picture, dx, dy):
    """Moved without loss, as a periodic signal."""
    height, width = picture.shape[:2]
    phase = np.exp(
        -2j * np.pi * (dx * np.fft.fftfreq(width)[None] + dy * np.fft.fftfreq(height)[:, None])
    )
    moved = np.fft.ifft2(np.fft.fft2(picture, axes=(0, 1)) * phase[..., None], axes=(0, 1)).real
    return np.clip(moved, 0, 1).astype(np.float32)


def psnr(steps):
    return {rung.name: rung.psnr_db for rung in steps.rungs}


@pytest.mark.parametrize("step", [0.5, 5])
def test_a_shifted_copy_loses_and_regains_its_psnr(photo, step):
    psnr_db = psnr(ladder(compare(photo, fourier_shift(photo, step, step)), photo))

    assert psnr_db["raw resize"] < 36
    assert psnr_db["global"] > 40
    assert psnr_db["local"] > 40


def test_a_scaled_copy_loses_and_regains_its_psnr(photo):
    matrix = cv2.getRotationMatrix2D(((360 - 1) / 2, (240 - 1) / 2), 0, 1.03)
    scaled = cv2.warpAffine(photo, matrix, (360, 240), flags=cv2.INTER_LANCZOS4)
    psnr_db = psnr(ladder(compare(photo, np.clip(scaled, 0, 1)), photo))

    assert psnr_db["raw resize"] < 32
    assert psnr_db["global"] > 40


def test_a_colour_cast_is_regained_by_the_matrix_and_not_before(photo):
    cast = np.clip(photo @ np.array([[0.8, 0.1, 0], [0, 0.7, 0.1], [0.1, 0, 0.9]]), 0, 1)
    psnr_db = psnr(ladder(compare(photo, cast.astype(np.float32)), photo))

    assert psnr_db["local"] < 30
    assert psnr_db["3x3 colour"] > 40


def test_a_foreign_picture_gains_little_even_from_the_freest_step(photo):
    other = skimage.data.astronaut().astype(np.float32) / np.float32(255)
    psnr_db = psnr(ladder(compare(photo, other), photo))

    assert psnr_db["local affine colour"] < 25


def test_every_step_is_scored_on_the_same_share_of_pixels(photo):
    part = photo[:140, :210]
    steps = ladder(compare(part, fourier_shift(part, 3, 3)), part)

    assert 0.9 < steps.compared_share < 1
    assert "ridge" in steps.regularisation


def test_a_reference_on_another_grid_is_refused(photo):
    part = photo[:96, :128]

    with pytest.raises(SizeMismatchError, match="expected equal sizes"):
        ladder(compare(part, part), photo)


def test_an_unknown_alignment_is_refused(photo):
    with pytest.raises(UnknownNameError, match="canvas, global, local"):
        align_generated(photo[:96, :128], photo[:96, :128], "globl")


def test_a_picture_of_another_scene_is_not_aligned_beyond_the_canvas(photo):
    other = skimage.data.astronaut().astype(np.float32) / np.float32(255)

    with pytest.raises(InputError, match="do not show the same scene"):
        align_generated(photo, other, "global")
    assert align_generated(photo, other, "canvas")[0].shape == photo.shape
