"""What a JPEG photo proves: its steps are read off its pixels, its cells hold the truth."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import fft

from verax.fusion.exact import steps_of, table, within_cells
from verax.fusion.planes import luma


@pytest.fixture
def clean(scene):
    """A scene with grain, as photos have it."""
    grain = np.random.default_rng(2).normal(0, 0.02, scene.shape[:2])
    return np.clip(scene + grain[..., None], 0, 1).astype(np.float32)


def jpeg(image, quality):
    file = io.BytesIO()
    Pillow.fromarray(np.uint8(image * 255 + 0.5)).save(file, "JPEG", quality=quality)
    opened = Pillow.open(file)
    return np.asarray(opened.convert("RGB"), np.float32) / 255, opened.quantization[0]


@pytest.mark.parametrize("quality", [25, 40, 60, 80])
def test_the_steps_of_a_jpeg_are_those_in_its_file(clean, quality):
    photo, steps = jpeg(clean, quality)

    assert np.array_equal(steps_of(photo), np.reshape(steps, (8, 8)))
    assert np.array_equal(table(quality), np.reshape(steps, (8, 8)))


def test_photos_that_were_no_jpeg_or_changed_since_are_refused(clean):
    photo, _ = jpeg(clean, 40)

    assert steps_of(clean) is None
    assert steps_of(np.roll(photo, 3, 1)) is None  # other blocks
    assert steps_of(photo**0.6) is None  # another curve
    assert steps_of(np.zeros_like(photo)) is None


def test_inside_the_cells_nothing_changes_and_the_photo_is_inside(clean):
    photo, _ = jpeg(clean, 40)
    steps = steps_of(photo)

    assert np.allclose(within_cells(photo, photo, steps), photo, atol=1e-4)


def test_a_picture_in_the_cells_is_the_same_jpeg_again_and_nearer_the_truth(clean, psnr):
    photo, _ = jpeg(clean, 40)
    steps = steps_of(photo)
    wrong = np.clip(clean + 0.06 * np.sin(np.arange(clean.shape[1]) / 3)[None, :, None], 0, 1)
    held = within_cells(np.float32(wrong), photo, steps)

    grey = (luma(held) * 255 - 128)[:184, :280].reshape(23, 8, 35, 8).swapaxes(1, 2)
    own = (luma(photo) * 255 - 128)[:184, :280].reshape(23, 8, 35, 8).swapaxes(1, 2)
    off = fft.dctn(grey, axes=(2, 3), norm="ortho") - fft.dctn(own, axes=(2, 3), norm="ortho")
    assert (np.abs(off) / steps < 0.75).mean() > 0.99
    assert psnr(held, clean) > psnr(wrong, clean) + 1


def test_a_share_of_0_leaves_a_place_alone(clean):
    photo, _ = jpeg(clean, 40)
    share = np.ones(photo.shape[:2], np.float32)
    share[:64] = 0
    held = within_cells(1 - photo, photo, steps_of(photo), share)

    assert np.allclose(held[:64], 1 - photo[:64], atol=1e-6)
