import cv2
import numpy as np
import pytest
from skimage import data

from verax import geometry
from verax.geometry.canvas import canvas_of
from verax.image.pixels import luma

PHOTO = (480, 320)
SQUARE = (512, 512)


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(data.coffee()[20:340, 60:540], np.float32) / np.float32(255)


def boxed(photo, border):
    """The photo at the middle of a square of its own width, with a border above and below."""
    bar = (PHOTO[0] - PHOTO[1]) // 2
    if border == "mirrored":
        square = np.pad(photo, ((bar, bar), (0, 0), (0, 0)), mode="reflect")
    else:
        square = np.pad(photo, ((bar, bar), (0, 0), (0, 0)))
    if border == "blurred":
        soft = cv2.GaussianBlur(cv2.resize(photo, (PHOTO[0], PHOTO[0])), (0, 0), 30)
        square[:bar], square[-bar:] = soft[:bar], soft[-bar:]
    if border == "painted":
        other = cv2.resize(data.astronaut(), (PHOTO[0], PHOTO[0])).astype(np.float32) / 255
        square[:bar], square[-bar:] = other[:bar], other[-bar:]
    return np.clip(cv2.resize(square, SQUARE, interpolation=cv2.INTER_CUBIC), 0, 1)


@pytest.mark.parametrize(
    ("border", "canvas"),
    [
        ("plain", "letterbox"),
        ("blurred", "letterbox"),
        ("mirrored", "letterbox"),
        ("painted", "outpaint"),
    ],
)
def test_a_border_is_padding_or_painted_scene(photo, border, canvas):
    top = np.array([[1, 0, 0], [0, 1, -80], [0, 0, 1.0]])
    matrix = geometry.compose(top, geometry.stretch(SQUARE, (480, 480)))

    assert canvas_of(luma(boxed(photo, border)), matrix, PHOTO) == canvas


def test_a_resized_photo_is_a_stretch(photo):
    squashed = cv2.resize(photo, SQUARE)

    assert canvas_of(luma(squashed), geometry.stretch(SQUARE, PHOTO), PHOTO) == "stretch"
    assert canvas_of(luma(photo), geometry.shift(30, 5), PHOTO) == "stretch"


def test_a_cut_out_square_is_a_crop(photo):
    matrix = geometry.compose(geometry.shift(80, 0), geometry.stretch(SQUARE, (320, 320)))

    assert canvas_of(luma(cv2.resize(photo[:, 80:400], SQUARE)), matrix, PHOTO) == "crop"
