"""A shot of a print: its corners, its shape, and what is left out."""

import json
import warnings

import cv2
import numpy as np
import pytest
from skimage import data
from typer.testing import CliRunner

from prints.shots import GROUNDS, shot
from verax import image as images
from verax.cli import app
from verax.errors import InputError
from verax.prints import flatten, inside_border, shape_of, straighten
from verax.prints.corners import check_corners, find_corners


@pytest.fixture(scope="module")
def scenes():
    return [
        images.from_uint8(np.ascontiguousarray(picture))
        for picture in (data.coffee(), data.astronaut(), data.chelsea())
    ]


def psnr(a, b):
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("border", [0.0, 0.05], ids=["no border", "border"])
def test_the_corners_of_a_print_are_found_within_a_fiftieth_of_a_side(scenes, ground, border):
    for seed, picture in enumerate(scenes):
        view = shot(picture, seed, ground, border)

        corners = find_corners(view.pixels)

        side = np.hypot(*(np.roll(view.corners, -1, axis=0) - view.corners).T).min()
        assert np.hypot(*(corners - view.corners).T).max() < side / 50
        assert shape_of(corners, (800, 600)) == pytest.approx(view.ratio, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_table_and_border_are_left_out(scenes, seed):
    picture = scenes[seed]
    view = shot(picture, seed, GROUNDS[seed], 0.06)

    flat = flatten(view.pixels, view.corners)
    left, top, right, bottom = inside_border(flat)

    sides = np.array([left, top, flat.shape[1] - right, flat.shape[0] - bottom])
    margin = 0.06 / 1.12 * min(flat.shape[:2])
    assert (np.abs(sides - margin) < 0.3 * margin).all()
    whole = straighten(images.Photo(view.pixels), view.corners).pixels
    fitted = cv2.resize(whole, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
    light = cv2.GaussianBlur(picture, (0, 0), 40) / cv2.GaussianBlur(fitted, (0, 0), 40)
    inner = (slice(20, -20), slice(20, -20))
    assert psnr((fitted * light)[inner], picture[inner]) > 20


def test_a_print_without_a_border_is_kept_whole(scenes):
    height, width = scenes[0].shape[:2]

    assert inside_border(scenes[0]) == (0, 0, width, height)


def test_a_shot_with_a_corner_out_of_view_is_refused_in_one_line(scenes):
    view = shot(scenes[0], 1, "plain", 0.0)
    left = round(view.corners[:, 0].min() + 0.3 * np.ptp(view.corners[:, 0]))

    with pytest.raises(InputError, match="all four corners of a print in view") as caught:
        find_corners(np.ascontiguousarray(view.pixels[:, left:]))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket"])
def test_a_plain_photo_is_no_print(name):
    with pytest.raises(InputError, match="corners"):
        find_corners(images.from_uint8(np.ascontiguousarray(getattr(data, name)())))


def test_corners_count_in_any_order():
    ring = np.array([[10.0, 5.0], [90.0, 8.0], [88.0, 60.0], [12.0, 64.0]])

    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        np.testing.assert_array_equal(check_corners(ring[order], (100, 70)), ring)


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([[10, 5], [120, 8], [88, 60], [12, 64]], "corners inside the picture of 100x70"),
        ([[10, 5], [11, 5], [12, 5], [13, 5]], "convex outline"),
        ([[10, 5], [90, 8], [50, 10], [12, 64]], "convex outline"),
    ],
    ids=["outside", "on one line", "dented"],
)
def test_corners_that_span_no_print_are_refused(points, line):
    with pytest.raises(InputError, match=line):
        check_corners(np.array(points, np.float64), (100, 70))


def test_the_command_writes_the_print_and_leaves_the_shot_alone(scenes, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    view = shot(scenes[1], 4, "plain", 0.05)
    images.write(tmp_path / "shot.png", view.pixels)
    before = (tmp_path / "shot.png").read_bytes()
    given = " ".join(f"{x:.1f},{y:.1f}" for x, y in view.corners)

    first = run("straighten", tmp_path / "shot.png", "--json")
    second = run(
        "straighten", tmp_path / "shot.png", "-o", tmp_path / "told.png", "--corners", given
    )
    over = run("straighten", tmp_path / "shot.png", "-o", tmp_path / "shot.png")

    record = json.loads(first.stdout)
    assert np.hypot(*(np.array(record["corners"]) - view.corners).T).max() < 5
    assert images.read(record["output"]).pixels.shape[1] == record["width"]
    assert second.exit_code == 0
    assert abs(images.read(tmp_path / "told.png").pixels.shape[1] - record["width"]) < 8
    assert isinstance(over.exception, InputError)
    assert (tmp_path / "shot.png").read_bytes() == before


def test_a_print_seen_from_straight_above_has_the_shape_of_its_sides_without_a_warning():
    corners = np.array([[0, 0], [100, 0], [100, 50], [0, 50]], np.float32)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shape_of(corners, (400, 300)) == pytest.approx(2)
