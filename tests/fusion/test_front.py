"""What was in front of the scene is told from what a prior lost."""

import cv2
import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax.fusion.front import beams, find_removed


@pytest.fixture(scope="module")
def scene():
    return images.from_uint8(np.ascontiguousarray(data.coffee()[:320, :480]))


def streak(shape, width):
    """A soft slanted bar, in [0, 1]."""
    plane = np.zeros(shape[:2], np.float32)
    cv2.line(plane, (300, -20), (180, 340), 1.0, width)
    return cv2.GaussianBlur(plane, (0, 0), width / 5)


def test_light_that_lies_over_the_scene_is_taken_away(scene):
    light = streak(scene.shape, 26)
    photo = np.clip(scene + 0.3 * light[..., None], 0, 1)

    mask = find_removed(photo, scene, np.ones(scene.shape[:2], np.float32))

    assert mask[light > 0.5].mean() > 0.7
    assert mask[cv2.dilate(light, np.ones((15, 15))) < 0.01].mean() < 0.02


def test_a_thing_of_its_own_that_the_prior_lost_stays(scene):
    thing = (streak(scene.shape, 26) > 0.5).astype(np.float32)[..., None]
    grain = np.random.default_rng(0).normal(0, 0.04, scene.shape[:2]).astype(np.float32)
    own = np.float32(0.9) + cv2.GaussianBlur(grain, (0, 0), 1.0)[..., None]
    photo = np.clip(scene + thing * (own - scene), 0, 1)

    mask = find_removed(photo, scene, np.ones(scene.shape[:2], np.float32))

    assert mask[thing[..., 0] > 0].mean() < 0.1


def test_a_beam_is_straight_and_long():
    labels = np.zeros((120, 160), np.int32)
    cv2.line(labels, (10, 5), (60, 110), 1, 8)
    cv2.circle(labels, (110, 30), 20, 2, -1)
    cv2.ellipse(labels, (120, 90), (28, 24), 0, 0, 200, 3, 4)

    assert list(beams(labels, 4)[1:]) == [True, False, False]


def test_a_thin_thing_that_the_prior_only_moved_stays(scene):
    wire, moved = np.zeros(scene.shape[:2], np.float32), np.zeros(scene.shape[:2], np.float32)
    for plane, shift in ((wire, 0), (moved, 7)):
        points = np.array([(60 + shift, 20), (90 + shift, 150), (70 + shift, 290)], np.int32)
        cv2.polylines(plane, [points], False, 1.0, 1)
    photo, same, bright = (
        np.clip(scene * (1 - plane[..., None]), 0, 1) for plane in (wire, moved, 0 * wire)
    )
    ones = np.ones(scene.shape[:2], np.float32)

    assert find_removed(photo, same, ones)[wire > 0].mean() < 0.1
    assert find_removed(photo, bright, ones)[wire > 0].mean() > 0.9
