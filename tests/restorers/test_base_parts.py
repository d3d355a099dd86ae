"""The base in its two parts: structure is mended, light is judged apart."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax.degrade.sensor import add_gaussian
from verax.metrics.reference import psnr
from verax.restorers import network
from verax.restorers.faults import diagnose


@pytest.fixture(scope="module")
def photo():
    """A good photo that comes with scikit-image."""
    return images.from_uint8(np.ascontiguousarray(data.coffee()))


def lights(picture):
    """The picture's light: what is left at 12 by 8 places."""
    return cv2.resize(picture, (12, 8), interpolation=cv2.INTER_AREA)


def test_a_clean_photo_keeps_its_structure_bit_for_bit(photo):
    assert np.array_equal(network.structure(photo, diagnose(photo)), photo)


def test_a_good_photo_comes_back_bit_for_bit(photo):
    assert diagnose(photo).words() == "no fault"
    assert network.restore(photo) is photo


@pytest.mark.parametrize("near", [0.95, 0.9, 0.85, 0.8])
def test_what_is_not_sure_is_not_treated(photo, near):
    """A veil so thin that nobody can say: all of its treatment, or none."""
    shares = np.linspace(near - 0.1, near, photo.shape[0], dtype=np.float32)[:, None, None]
    pale = (photo * shares + 0.9 * (1 - shares)).astype(np.float32)
    faults = diagnose(pale)

    assert bool(list(faults)) != (network.restore(pale, faults) is pale)


def test_noise_lies_everywhere_and_a_facade_in_its_place(photo):
    rng = np.random.default_rng(2)
    noisy = add_gaussian(photo, 8, rng)
    facade = photo.copy()
    facade[200:300, 350:500] += rng.choice([-0.1, 0.1], (100, 150, 1)).astype(np.float32)

    assert not network.removes_texture(noisy, photo)
    assert network.removes_texture(facade, photo)


def test_noise_has_few_extremes_and_leaves_have_many(photo):
    rng = np.random.default_rng(3)
    grain = rng.normal(0, 5 / 255, (*photo.shape[:2], 1))
    leaves = rng.laplace(0, 1.6 / 255, grain.shape) * rng.choice([1.0, 4.0], grain.shape)

    assert not network.removes_texture(np.asarray(photo + grain, np.float32), photo)
    assert network.removes_texture(np.asarray(photo + leaves, np.float32), photo)


def test_a_dark_photo_without_noise_keeps_its_structure_bit_for_bit(photo):
    dark = np.asarray(photo * 0.12, np.float32)  # its light is wrong, and not structure's to mend

    assert np.array_equal(network.structure(dark, diagnose(dark)), dark)


@pytest.mark.parametrize("sigma", [15, 30])
def test_noise_goes_and_the_light_stays(photo, sigma):
    pale = 0.3 + 0.4 * photo  # no noise is cut off at black or white, which would move the light
    noisy = add_gaussian(pale, sigma, np.random.default_rng(3))
    mended = network.structure(noisy, diagnose(noisy))

    assert psnr(mended, pale) > psnr(noisy, pale) + 4
    assert np.abs(lights(mended) - lights(noisy)).max() < 0.01


def test_a_good_photo_needs_no_other_light(photo):
    assert network.lit_copy(photo, diagnose(photo)) is None


def test_a_dark_photo_is_lit_as_a_small_copy(photo):
    dark = np.asarray(photo * 0.12, np.float32)
    lit = network.lit_copy(dark, diagnose(dark))

    assert max(lit.shape[:2]) == network.SIDE
    assert lit.mean() > 1.5 * dark.mean()


def test_a_night_with_lamps_stays_a_night(photo):
    """Who took it exposed for the lamps; a yard without any light was taken too dark."""
    yard = np.asarray(0.12 * photo, np.float32)
    yard[:220] = 0.01  # of 400 rows: a black sky
    street = yard.copy()
    for column in range(40, 600, 80):
        street[180:210, column : column + 12] = (1.0, 0.9, 0.6)
    lifts = [network.restore(dark)[220:].mean() / dark[220:].mean() for dark in (street, yard)]

    assert network.night(street) == 1
    assert network.night(yard) == 0
    assert lifts[0] < 0.75 * lifts[1]


def test_a_black_photo_without_any_light_was_taken_too_dark(photo):
    black = np.asarray(0.03 * photo, np.float32)
    lamp = black.copy()
    lamp[100:120, 100:120] = 0.9

    assert network.night(black) == 0
    assert network.night(lamp) > 0.5


def test_lamps_in_a_dim_room_are_no_night():
    """What is not black was meant to be seen."""
    room = np.full((240, 320, 3), 0.09, np.float32)
    room[60:90, 60:110] = room[60:90, 220:270] = 0.9

    assert network.night(room) == 0


def beach(water):
    """A grey bed with stones, through water of a colour (3,)."""
    rng = np.random.default_rng(3)
    bed = cv2.GaussianBlur(rng.random((192, 256)).astype(np.float32), (0, 0), 3)
    bed = np.clip(0.5 + 4 * (bed - bed.mean()), 0, 1)[..., None]
    return np.asarray(0.6 * bed * water + 0.4 * np.asarray(water), np.float32)


@pytest.mark.parametrize(
    ("water", "changed"), [((0.2, 0.7, 0.55), True), ((0.3, 0.45, 0.85), False)]
)
def test_only_the_green_cast_of_water_is_taken_away_unless_somebody_asks(water, changed):
    photo = beach(np.float32(water))
    faults = diagnose(photo)
    entries = tuple(
        replace(f, certainty=1.0 if f.kind == "underwater" else 0.0, severity=0.2)
        for f in faults.entries
    )
    wet = replace(faults, entries=entries)

    assert bool(np.any(network.light(photo, wet))) == changed
    assert np.any(network.light(photo, wet.believing("underwater")))


@pytest.mark.parametrize("severity", [0.2, 0.6])
def test_what_is_grey_under_water_does_not_turn_red(severity):
    """A ray or a diver's bottle in full colour: the blue around it is the water's."""
    photo = beach(np.float32((0.1, 0.7, 0.6)))
    photo[80:120, 100:160] = 0.7
    faults = diagnose(photo)
    entries = tuple(
        replace(f, certainty=1.0 if f.kind == "underwater" else 0.0, severity=severity)
        for f in faults.entries
    )
    result = network.restore(photo, replace(faults, entries=entries))
    ray, water = (result[rows, columns].mean((0, 1)) for rows, columns in (RAY, WATER))

    assert ray[0] < 1.1 * ray[1:].max()
    assert severity < 0.5 or water[0] > 1.3 * photo[WATER].mean((0, 1))[0]


RAY, WATER = (slice(85, 115), slice(110, 150)), (slice(140, 190), slice(10, 90))
