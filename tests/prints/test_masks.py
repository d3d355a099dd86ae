"""A mask drawn by hand: outside it the photo stays, bit for bit."""

import numpy as np
import pytest

from verax import image as images
from verax.errors import InputError, SizeMismatchError
from verax.image import Photo
from verax.prints.holes import mask_of, only_inside

PHOTO = Photo(np.zeros((40, 60, 3), np.float32))


def picture(plane, **fields):
    return Photo(np.repeat(np.asarray(plane, np.float32)[..., None], 3, 2), **fields)


@pytest.fixture
def plane():
    mask = np.zeros((40, 60), np.float32)
    mask[10:20, 15:40] = 1
    mask[20, 15:40] = 0.5
    return mask


def test_the_photo_is_untouched_outside_and_the_result_stands_inside(plane):
    rng = np.random.default_rng(3)
    photo, result = rng.random((2, 40, 60, 3), np.float32)

    outcome = only_inside(photo, result, plane)

    assert np.array_equal(outcome[plane == 0], photo[plane == 0])
    assert np.array_equal(outcome[plane == 1], result[plane == 1])
    np.testing.assert_allclose(outcome[20, 15:40], (photo + result)[20, 15:40] / 2, atol=1e-6)


def test_a_compressed_mask_is_black_and_white_again(plane, tmp_path):
    images.write(tmp_path / "mask.jpg", picture(plane > 0.7).pixels)

    read = mask_of(PHOTO, images.read(tmp_path / "mask.jpg"), name="--only")

    assert not read[:6].any()
    assert (read[13:17, 20:35] == 1).all()


def test_what_is_clear_in_a_mask_counts_as_black(plane):
    mask = mask_of(PHOTO, picture(np.ones((40, 60)), alpha=plane), name="--only")

    assert np.array_equal(mask > 0, plane > 0)


@pytest.mark.parametrize(
    ("mask", "error", "line"),
    [
        (
            np.eye(30),
            SizeMismatchError,
            "--only: expected a mask of the photo's size 60x40, got 30x30",
        ),
        (np.zeros((40, 60)), InputError, "--only: expected some white in the mask, got none"),
        (np.ones((40, 60)), InputError, "--only: expected some black in the mask, got all white"),
    ],
    ids=["another size", "empty", "all white"],
)
def test_a_mask_that_says_nothing_is_refused_in_one_line(mask, error, line):
    with pytest.raises(error, match=line) as caught:
        mask_of(PHOTO, picture(mask), name="--only")

    assert "\n" not in str(caught.value)
