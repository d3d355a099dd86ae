"""Real generated pictures: what a person sees in them is what is read."""

import csv

import numpy as np
import pytest

from verax.degrade.sensor import compress
from verax.deviation import measure
from verax.geometry import invert, map_points
from verax.geometry.register import register
from verax.image import read

# lowlight_01 of GPT-4o, by eye on 4x enlargements, to about 2 px: corner of a parking line, right
# and left end of the fence, bend of the lamp post, left and right foot of the car
IN_THE_PHOTO = [(240.5, 168), (140, 95), (20, 95.5), (152, 56), (162, 139), (194, 138)]
IN_THE_PRIOR = [(246, 167), (138, 92), (20, 92), (151, 52), (158, 138), (196, 138)]


def pair(pictures, name):
    with (pictures / "manifest.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if name in r["generated"]]
    if not rows:
        pytest.skip(f"no pair {name} at {pictures}")
    return tuple(read(pictures / rows[0][side]).pixels for side in ("input", "generated"))


@pytest.fixture(scope="module")
def parking_lot(pictures):
    return pair(pictures, "gpt4o_noxsine_fig/generated/lowlight_01")


def test_a_parking_lot_at_night_that_came_back_by_day_is_reported(parking_lot):
    deviation = measure(*parking_lot)

    assert deviation.placed == "exactly"
    assert deviation.scene_state == "night made day"
    assert any(change.kind == "appeared" for change in deviation.objects)  # houses


@pytest.mark.parametrize("quality", [None, 90])
def test_lamp_post_fence_and_car_lie_where_a_person_sees_them(parking_lot, quality):
    photo, prior = (p if quality is None else compress(p, quality) for p in parking_lot)
    registration = register(photo, prior)
    points = map_points(invert(registration.matrix), np.array(IN_THE_PHOTO, np.float64))
    apart = np.linalg.norm(points - IN_THE_PRIOR, axis=1)

    assert registration.placed == "exactly"
    assert np.median(apart) < 0.02 * photo.shape[1]
    assert apart.max() < 0.035 * photo.shape[1]


def test_a_wide_photo_that_came_back_square_at_night_was_reframed(pictures):
    deviation = measure(*pair(pictures, "134357_290"))

    assert (deviation.canvas, deviation.is_reframed) == ("crop", True)
    assert deviation.scene_state == "day made night"
