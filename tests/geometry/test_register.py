import cv2
import numpy as np
import pytest
from skimage import data

from verax.geometry import transforms
from verax.geometry.register import apply, register

WIDTH, HEIGHT = 480, 360


@pytest.fixture(scope="module")
def scene():
    photo = data.astronaut()[80:440, :480]
    return np.ascontiguousarray(photo, np.float32) / np.float32(255)


def moved(scene, matrix):
    """The scene as a prior whose matrix onto the scene is `matrix`."""
    size = (scene.shape[1], scene.shape[0])
    seen = cv2.warpPerspective(
        scene, transforms.invert(matrix), size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.clip(seen, 0, 1)


def about_centre(matrix):
    to = transforms.shift((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    return transforms.compose(to, matrix, transforms.invert(to))


def turn(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


KNOWN = {
    "identity": np.eye(3),
    "shift": transforms.shift(31.5, -22.25),
    "scale": about_centre(np.diag([1.12, 0.9, 1])),
    "rotation": about_centre(turn(3)),
    "perspective": about_centre(np.array([[1, 0, 0], [0, 1, 0], [8e-5, -6e-5, 1]])),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_moves_of_a_clean_picture_are_recovered(scene, name):
    found = register(scene, moved(scene, KNOWN[name]))
    error = transforms.corner_errors(found.matrix, KNOWN[name], (WIDTH, HEIGHT))

    assert found.accepted
    assert error.max() < (0.05 if name == "identity" else 0.5)


@pytest.mark.parametrize(
    "other",
    {
        "flat": np.full((HEIGHT, WIDTH, 3), 0.5, np.float32),
        "noise": np.random.default_rng(1).random((HEIGHT, WIDTH, 3), np.float32),
        "unrelated": data.coffee()[:HEIGHT, :WIDTH].astype(np.float32) / 255,
    }.items(),
    ids=lambda item: item[0],
)
def test_what_does_not_show_the_scene_is_foreign(scene, other):
    found = register(scene, other[1])

    assert found.outcome == "foreign"
    assert not found.confidence.any()


def test_a_mirrored_prior_is_foreign(scene):
    assert register(scene, np.ascontiguousarray(scene[:, ::-1])).outcome == "foreign"


def test_registration_is_deterministic(scene):
    prior = moved(scene, KNOWN["scale"])
    first, second = register(scene, prior), register(scene, prior)

    assert np.array_equal(first.matrix, second.matrix)
    assert np.array_equal(first.confidence, second.confidence)


def test_the_warped_prior_lies_on_the_photo(scene):
    prior = moved(scene, KNOWN["rotation"])
    warped = apply(register(scene, prior), prior, size=(WIDTH, HEIGHT))
    inner = np.s_[40:-40, 40:-40]

    assert warped.pixels.dtype == warped.valid.dtype == np.float32
    assert np.abs(warped.pixels - scene)[inner].mean() < 0.01
