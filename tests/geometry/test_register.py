import csv

import cv2
import numpy as np
import pytest
from skimage import data

from verax import degrade, geometry
from verax import image as images
from verax.geometry.register import apply, register

SIZE = WIDTH, HEIGHT = 480, 320
LEFT, TOP = 60, 40  # of the photo on the whole scene


@pytest.fixture(scope="module")
def whole():
    return np.asarray(data.coffee(), np.float32) / np.float32(255)


@pytest.fixture(scope="module")
def photo(whole):
    return np.ascontiguousarray(whole[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])


def prior_of(whole, matrix, size=SIZE):
    """The scene as a prior of `size` whose matrix onto the photo is `matrix`."""
    onto_whole = geometry.compose(geometry.shift(LEFT, TOP), matrix)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    view = cv2.warpPerspective(whole, onto_whole, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.clip(view, 0, 1)


def retoned(prior):
    """Other light and colour, as a generator would give."""
    return np.clip(prior[..., ::-1] ** 0.6 * np.float32([0.8, 1.0, 0.9]) + 0.05, 0, 1)


def about_centre(matrix):
    to = geometry.shift((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    return geometry.compose(to, matrix, geometry.invert(to))


def turn(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


KNOWN = {
    "identity": np.eye(3),
    "shift": geometry.shift(31.5, -22.25),
    "scale": about_centre(np.diag([1.12, 0.9, 1])),
    "rotation": about_centre(turn(3)),
    "perspective": about_centre(np.array([[1, 0, 0], [0, 1, 0], [8e-5, -6e-5, 1]])),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_moves_of_a_clean_picture_are_recovered(whole, photo, name):
    registration = register(photo, prior_of(whole, KNOWN[name]))
    error = geometry.corner_errors(registration.matrix, KNOWN[name], SIZE)
    off = geometry.motion(
        geometry.compose(registration.matrix, np.linalg.inv(KNOWN[name])), SIZE, SIZE
    )

    assert registration.placed == "exactly"
    assert error.max() < (0.05 if name == "identity" else 0.3)
    assert max(abs(off.shift[0]) * WIDTH, abs(off.shift[1]) * HEIGHT) < 0.05
    assert abs(off.rotation) < 0.1


@pytest.mark.parametrize(("task", "severity"), [("haze", 0.7), ("rain", 0.7), ("lowlight", 0.7)])
def test_known_moves_are_recovered_from_a_degraded_photo(whole, photo, task, severity):
    matrix = geometry.compose(KNOWN["shift"], KNOWN["scale"])
    damaged = degrade.apply(photo, degrade.Degradation(task, severity, 3))
    registration = register(damaged, retoned(prior_of(whole, matrix)))

    assert registration.placed == "exactly"
    assert geometry.corner_errors(registration.matrix, matrix, SIZE).mean() < 0.003 * WIDTH


def test_a_square_canvas_is_found_as_stretch_or_crop(whole, photo):
    square = (512, 512)
    stretched = geometry.stretch(square, SIZE)
    cropped = geometry.compose(geometry.shift(80, 0), geometry.stretch(square, (320, 320)))
    for matrix, canvas in ((stretched, "stretch"), (cropped, "crop")):
        registration = register(photo, prior_of(whole, matrix, square))

        assert (registration.placed, registration.canvas) == ("exactly", canvas)
        assert geometry.corner_errors(registration.matrix, matrix, SIZE).max() < 1


def test_swapping_the_pictures_inverts_the_matrix(whole, photo):
    prior = prior_of(whole, KNOWN["rotation"])
    there, back = register(photo, prior), register(prior, photo)
    twice = geometry.compose(back.matrix, there.matrix)

    assert geometry.corner_errors(twice, np.eye(3), SIZE).max() < 0.5


def test_an_invented_object_does_not_move_the_estimate(whole, photo):
    prior = prior_of(whole, KNOWN["shift"])
    other = np.asarray(data.astronaut()[:128, 160:288], np.float32) / np.float32(255)
    painted = prior.copy()
    painted[100:228, 200:328] = other
    one, two = register(photo, prior), register(photo, painted)

    assert geometry.corner_errors(two.matrix, one.matrix, SIZE).max() < 0.5
    assert two.confidence[85:195, 240:350].mean() < one.confidence[85:195, 240:350].mean() - 0.2


OTHERS = {
    "flat": np.full((HEIGHT, WIDTH, 3), 0.5, np.float32),
    "noise": np.random.default_rng(1).random((HEIGHT, WIDTH, 3), np.float32),
    "stripes": np.tile(np.float32([[[0.2], [0.8]]]).repeat(8, 1), (HEIGHT // 2, WIDTH // 8, 3)),
    "unrelated": np.asarray(data.astronaut()[:HEIGHT, :WIDTH], np.float32) / np.float32(255),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_show_the_scene_is_foreign(photo, name):
    for one, other in ((photo, OTHERS[name]), (OTHERS[name], photo)):
        registration = register(one, other)

        assert registration.placed == "not"
        assert registration.reason
        assert registration.field is None
        assert not registration.confidence.any()


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=["flipped", "mirrored", "turned"])
def test_a_mirrored_or_flipped_prior_is_foreign(photo, axes):
    assert register(photo, np.ascontiguousarray(np.flip(photo, axes))).placed == "not"


def test_a_nearly_symmetric_scene_is_not_refused_for_its_symmetry(photo):
    symmetric = np.clip(0.6 * photo + 0.4 * photo[:, ::-1], 0, 1)

    assert register(symmetric, retoned(symmetric)).placed == "exactly"


def test_registration_is_deterministic(whole, photo):
    prior = retoned(prior_of(whole, KNOWN["scale"]))
    first, second = register(photo, prior), register(photo, prior)

    assert np.array_equal(first.matrix, second.matrix)
    assert np.array_equal(first.confidence, second.confidence)


def test_the_warped_prior_lies_on_the_photo(whole, photo):
    prior = prior_of(whole, KNOWN["rotation"])
    warped = apply(register(photo, prior), prior, size=SIZE)
    inner = np.s_[40:-40, 40:-40]

    assert warped.pixels.dtype == warped.valid.dtype == np.float32
    assert np.abs(warped.pixels - photo)[inner].mean() < 0.01


def test_size_of_the_photo_does_not_change_where_the_prior_lies(whole, photo):
    prior = prior_of(whole, KNOWN["scale"])
    large = np.clip(cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), 0, 1)
    scaled_up = geometry.compose(geometry.scaling(3, 3), KNOWN["scale"])
    registration = register(large, prior)

    assert registration.confidence.shape == large.shape[:2]
    assert geometry.corner_errors(registration.matrix, scaled_up, (3 * WIDTH, 3 * HEIGHT)).max() < 2


@pytest.mark.parametrize("size", [(16, 16), (17, 240), (1, 1), (2, 300)])
def test_tiny_pictures_get_a_verdict(photo, size):
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], 3)

    assert register(small, photo).confidence.shape == (size[1], size[0])
    assert register(photo, small).confidence.shape == (HEIGHT, WIDTH)


def generated_pairs(pictures, generator):
    with (pictures / "manifest.csv").open() as lines:
        chosen = [r for r in csv.DictReader(lines) if r["generated"] and generator(r)]
    return [
        tuple(images.read(pictures / row[column]).pixels for column in ("input", "generated"))
        for row in chosen
    ]


def test_real_gpt_4o_priors_are_accepted_and_foreign_ones_refused(pictures):
    pairs = generated_pairs(pictures, lambda row: row["generator"] == "gpt-4o")

    assert len(pairs) == 8
    assert [register(photo, prior).placed for photo, prior in pairs] == ["exactly"] * 8
    foreign = [register(pairs[i][0], pairs[i - 3][1]).placed for i in range(8)]
    assert foreign == ["not"] * 8
