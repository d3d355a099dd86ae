"""Colour for a photo without its own: whose luma, whose chroma, and where it ends."""

import cv2
import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax.prints.colour import (
    colourise,
    in_one_tone,
    is_coloured,
    split,
    spread,
    toning,
    trust_in_colour,
)


@pytest.fixture(scope="module")
def scene():
    return images.from_uint8(np.ascontiguousarray(data.coffee()[:300, :400]))


def grey(scene):
    return np.repeat(split(scene)[0][..., None], 3, 2)


def sepia(scene):
    y = split(scene)[0]
    tone = np.stack([y**0.8, y, y**1.35], 2)
    return np.asarray(np.clip(tone, 0, 1), np.float32)


def test_grey_toned_and_coloured_photos_are_distinguished(scene):
    assert [toning(picture) for picture in (grey(scene), sepia(scene), scene)] == [
        "grey",
        "toned",
        "colour",
    ]
    assert is_coloured(scene)
    assert not is_coloured(grey(scene))
    assert not is_coloured(sepia(scene))


def test_a_dark_photo_in_colour_is_not_grey(scene):
    dark = (0.04 * scene).astype(np.float32)

    assert toning(dark) == "colour"
    assert toning(grey(dark)) == "grey"


def test_one_coloured_coat_in_the_snow_makes_a_photo_in_colour(scene):
    snow = grey(scene) + np.array([-0.02, 0, 0.04], np.float32)
    snow[100:120, 200:250] = 0.3, 0.7, 0.2

    assert toning(snow) == "colour"


def test_a_sepia_print_under_a_grey_prior_is_grey_all_over(scene):
    border = sepia(scene)
    border[:, :20] = 0.9, 0.88, 0.80  # paper, which the prior does not show
    half = np.clip(border + np.array([-0.04, 0, 0.09], np.float32), 0, 1)

    toned = in_one_tone(border, half, grey(scene))

    assert toned is not None
    assert np.ptp(toned, axis=2).max() < 1e-3
    assert np.abs(split(toned)[0] - split(half)[0]).max() < 1e-3


def test_a_photo_in_colour_is_not_brought_to_one_tone(scene):
    assert in_one_tone(scene, scene, grey(scene)) is None
    assert in_one_tone(sepia(scene), sepia(scene), scene) is None


@pytest.mark.parametrize("print_", [grey, sepia], ids=["grey", "sepia"])
def test_a_colourised_photo_keeps_its_luma_and_takes_the_priors_colours(scene, print_):
    photo = print_(scene)
    prior = np.clip(cv2.GaussianBlur(scene, (0, 0), 1.0) * 0.8 + 0.1, 0, 1).astype(np.float32)

    result, share = colourise(photo, prior, np.ones(photo.shape[:2], np.float32))

    assert np.abs(split(result)[0] - split(photo)[0]).max() < 1 / 255
    truth = split(prior)[1]
    assert np.abs(split(result)[1] - truth).mean() < 0.4 * np.abs(split(photo)[1] - truth).mean()
    assert share.mean() > 0.8


def test_where_the_prior_shows_another_thing_the_photo_keeps_its_tone(scene):
    photo, prior = grey(scene), scene.copy()
    rng = np.random.default_rng(2)
    other = cv2.GaussianBlur(rng.random((300, 150, 3), np.float32), (0, 0), 4)
    prior[:, 250:] = (other - other.min()) / np.ptp(other)

    result, _ = colourise(photo, prior, np.ones(photo.shape[:2], np.float32))

    assert np.abs(split(result)[1][:, 300:]).mean() < 0.02
    assert np.abs(split(result)[1][:, :200]).mean() > 0.05


def test_a_grey_prior_brings_no_colour(scene):
    result, _ = colourise(grey(scene), grey(scene), np.ones(scene.shape[:2], np.float32))

    assert np.abs(split(result)[1]).max() < 1e-4


def test_a_plain_place_within_one_outline_has_the_colour_around_it_beyond_the_outline_none():
    rng = np.random.default_rng(4)
    texture = cv2.GaussianBlur(rng.random((240, 240), np.float32), (0, 0), 2)
    y = 0.75 + np.zeros((240, 240), np.float32)
    inside = np.hypot(*(np.mgrid[:240, :240] - 120)) < 80
    y[inside] = (0.3 + 2 * (texture - texture.mean()))[inside]
    prior = y.copy()
    y[100:140, 100:140] = prior[100:140, 100:140] = 0.3  # plain in both: nothing to compare
    shown = np.stack([prior + 0.15, prior, prior - 0.15], 2)
    shown[~inside] = (0.2, 0.6, 0.1)
    other = cv2.GaussianBlur(rng.random((240, 240, 3), np.float32), (0, 0), 3)
    shown[~inside] += 3 * (other - other.mean())[~inside]
    photo = np.repeat(y[..., None], 3, 2)

    result, _ = colourise(photo, np.clip(shown, 0, 1).astype(np.float32), np.ones_like(y))

    chroma = split(result)[1]
    assert (chroma[110:130, 110:130, 0] > 0.05).all()
    assert np.abs(chroma[:20]).mean() < 0.01


def test_colour_that_is_the_priors_counts_as_its_light():
    trust = np.array([[[0.6, 0.2, 0.1, 0.1]] * 2], np.float16)

    shares = trust_in_colour(trust, np.array([[0.5, 0.0]], np.float32))

    assert shares[0, 0] == pytest.approx([0.3, 0.2, 0.4, 0.1], abs=1e-3)
    assert shares[0, 1] == pytest.approx(trust[0, 1])


def test_an_outline_brings_no_colour_to_the_wall_behind_it():
    rng = np.random.default_rng(7)
    place = np.mgrid[:400, :400].astype(np.float32)
    head = np.clip(100.5 - np.hypot(place[0] - 200, place[1] - 200), 0, 1)[..., None]
    curls = cv2.GaussianBlur(rng.random((400, 400), np.float32), (0, 0), 2)
    hair = 0.25 + 0.3 * (curls - curls.min()) / np.ptp(curls)
    blots = cv2.GaussianBlur(rng.random((400, 400, 3), np.float32), (0, 0), 15)
    garden = 0.4 + 0.6 * (blots - blots.min()) / np.ptp(blots)
    cloth = cv2.GaussianBlur(rng.normal(0, 0.3, (400, 400)).astype(np.float32), (0, 0), 4)
    wall = np.repeat(0.8 + cloth[..., None], 3, 2)
    tinted = hair[..., None] * np.float32([1.2, 1.0, 0.8])
    photo = head * hair[..., None] + (1 - head) * wall
    prior = np.asarray(head * tinted + (1 - head) * garden, np.float32)

    result, _ = colourise(photo.astype(np.float32), prior, np.ones((400, 400), np.float32))

    chroma = np.abs(split(result)[1]).max(2)
    beside = cv2.dilate(head, np.ones((25, 25), np.uint8)) - (cv2.dilate(head, np.ones((5, 5))))
    assert chroma[head[..., 0] == 1].mean() > 0.02
    behind = np.abs(split(prior)[1]).max(2)
    assert chroma[beside > 0.9].mean() < 0.5 * behind[beside > 0.9].mean()


def test_colour_spreads_up_to_the_outline_of_a_cheek_and_not_to_the_wall_behind_it():
    place = np.mgrid[:400, :400].astype(np.float32)
    far = np.hypot(place[0] - 200, place[1] - 200)
    y = np.where(far < 120, 0.6 - 0.1 * (far / 120) ** 2, 0.8).astype(np.float32)
    sure = (far < 108).astype(np.float32)
    skin, none = np.float32([0.1, 0, -0.2]), np.zeros((400, 400, 3), np.float32)

    chroma, reach = spread(y, sure[..., None] * skin, none, sure)

    rim, wall = (far > 110) & (far < 117), far > 125
    assert np.abs(chroma[rim][:, 0] / skin[0] - 1).max() < 0.2
    assert np.abs(chroma[wall]).max() < 0.01
    assert reach[rim].min() > 0.8 > 0.1 > reach[wall].max()


def test_small_things_have_their_own_colour():
    rng = np.random.default_rng(11)
    texture = cv2.GaussianBlur(rng.random((480, 480), np.float32), (0, 0), 1.5)
    y = np.repeat((0.45 + 1.5 * (texture - texture.mean()))[..., None], 3, 2)
    small = np.zeros((480, 480), bool)
    for top in range(40, 440, 60):
        small[top : top + 7, top : top + 7] = True
    photo = np.where(small[..., None], 0.7 * y + 0.3, y)
    prior = photo + np.where(small[..., None], np.float32([0.1, 0, -0.15]), [-0.1, 0.05, 0])

    result, _ = colourise(
        *(np.clip(v, 0, 1).astype(np.float32) for v in (photo, prior)),
        np.ones((480, 480), np.float32),
    )

    chroma = split(result)[1]
    assert (chroma[small][:, 0] > 0.03).mean() > 0.8
    assert (chroma[~small][:, 0] < 0).mean() > 0.95
