import cv2
import numpy as np
import pytest
from skimage import data

from verax import degrade, geometry
from verax.geometry.register import register
from verax.geometry.search import placements, same_frame
from verax.image.pixels import luma

WIDTH, HEIGHT = 480, 320


@pytest.fixture(scope="module")
def photo():
    return np.asarray(data.coffee()[40:360, 60:540], np.float32) / np.float32(255)


@pytest.fixture(scope="module")
def other():
    return np.asarray(data.astronaut()[:HEIGHT, 16:496], np.float32) / np.float32(255)


def generated(scene):
    """A prior on the photo's frame: a little moved and enlarged, in another light."""
    nudge = np.array([[1.006, 0, 2.0], [0, 0.996, -1.5], [0, 0, 1]])
    drifted = cv2.warpPerspective(scene, nudge, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
    return np.clip(drifted[..., ::-1] ** 0.6 * np.float32([0.8, 1.0, 0.9]) + 0.05, 0, 1)


def noisy(scene, deviation):
    noise = np.random.default_rng(2).normal(0, deviation, scene.shape)
    return np.asarray(np.clip(0.3 * scene + 0.35 + noise, 0, 1), np.float32)


DAMAGE = {
    "haze, then haze again": [("haze", 1.0), ("haze", 0.8)],
    "haze and noise": [("haze", 1.0), ("noise", 0.6)],
    "rain": [("rain", 1.0)],
    "snow": [("snow", 1.0)],
    "noise": [("noise", 1.0)],
    "darkness": [("lowlight", 1.0)],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_prior_on_the_photos_frame_is_placed_through_heavy_damage(photo, other, name):
    steps = [degrade.Degradation(task, severity, 5) for task, severity in DAMAGE[name]]
    damaged = degrade.apply(photo, *steps)
    registration = register(damaged, generated(photo))

    assert registration.usable
    true = np.array([[1.006, 0, 2.0], [0, 0.996, -1.5], [0, 0, 1]])
    off = geometry.corner_errors(registration.matrix, geometry.invert(true), (WIDTH, HEIGHT))
    assert off.mean() < 0.015 * WIDTH
    assert not register(damaged, generated(other)).usable


def test_more_noise_makes_the_verdict_less_sure_and_never_wrong(photo):
    order = ["exactly", "roughly", "undecided", "not"]
    verdicts = [
        register(noisy(photo, level), generated(photo)).placed
        for level in (0.1, 0.8, 2.4, 3.2, 9.0)
    ]

    assert verdicts[0] == "exactly"
    assert "undecided" in verdicts
    assert verdicts == sorted(verdicts, key=order.index)


def test_whoever_knows_the_scene_has_the_prior_placed_on_its_frame(photo, other):
    assert not register(photo, generated(other)).usable
    registration = register(photo, generated(other), accept=True)

    assert registration.usable
    assert "because you say" in registration.reason
    assert (
        geometry.corner_errors(registration.matrix, np.eye(3), (WIDTH, HEIGHT)).max() < 0.05 * WIDTH
    )
    flat = np.full_like(photo, 0.5)
    assert register(flat, photo, accept=True).placed == "roughly"


TURNS = {
    "mirrored": lambda prior: prior[:, ::-1],
    "upside down": lambda prior: prior[::-1],
    "rotated by 180 degrees": lambda prior: prior[::-1, ::-1],
    "rotated by 90 degrees to the right": lambda prior: np.rot90(prior, -1),
    "rotated by 90 degrees to the left": lambda prior: np.rot90(prior),
}


@pytest.mark.parametrize("way", TURNS)
def test_a_turned_prior_is_said_to_be_turned_and_how(photo, way):
    registration = register(photo, np.ascontiguousarray(TURNS[way](generated(photo))))

    assert registration.placed == "not"
    assert way in registration.reason


def test_a_nearly_symmetric_scene_is_distinguished_from_its_mirror_image(photo):
    symmetric = np.clip(0.7 * photo + 0.3 * photo[:, ::-1], 0, 1)

    assert register(symmetric, generated(symmetric)).placed == "exactly"
    mirrored = register(symmetric, np.ascontiguousarray(generated(symmetric)[:, ::-1]))
    assert mirrored.placed == "not"
    assert "mirrored" in mirrored.reason


def test_no_other_scene_is_said_to_be_mirrored_or_turned(photo):
    others = np.asarray(data.chelsea()[:300, :450], np.float32) / np.float32(255)
    for turn in TURNS.values():
        reason = register(photo, np.ascontiguousarray(turn(others))).reason
        assert not any(way in reason for way in TURNS)


def test_a_canvas_of_another_shape_is_stretched_cropped_or_extended_about_the_centre():
    stretched, cropped, extended = placements((300, 200), (100, 100))
    middle = np.array([[49.5, 49.5]])

    assert np.allclose(geometry.map_points(stretched, middle), [[149.5, 99.5]])
    for matrix, scale in ((cropped, 3), (extended, 2)):
        assert np.allclose(np.diag(matrix), [scale, scale, 1])
        assert np.allclose(geometry.map_points(matrix, middle), [[149.5, 99.5]])
    assert len(list(placements((300, 200), (900, 600)))) == 1


def test_evidence_of_the_same_picture_is_the_most_there_is(photo, other):
    photo, other = luma(photo), luma(other)
    same, foreign = same_frame(photo, photo), same_frame(photo, other)

    assert same.p_value < 1e-8
    assert foreign.p_value > 0.01
    assert same.upright
