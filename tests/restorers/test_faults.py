"""The record of what a photo suffers from, on pictures of known damage."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

import verax
from verax import degrade
from verax import image as images
from verax.degrade.sensor import add_gaussian, compress
from verax.errors import UnknownNameError
from verax.restorers import runtime
from verax.restorers.classical import least_value, nowhere_black
from verax.restorers.faults import KINDS, diagnose


@pytest.fixture(scope="module", params=["coffee", "astronaut", "rocket"])
def photo(request):
    """Clean pictures that come with scikit-image."""
    return images.from_uint8(np.ascontiguousarray(getattr(data, request.param)()))


@pytest.fixture(scope="module")
def clean(photo):
    """The record of the picture without damage."""
    return diagnose(photo)


@pytest.mark.parametrize("sigma", [5, 12, 25, 50])
def test_the_noise_is_measured_in_levels(photo, clean, sigma):
    noisy = add_gaussian(photo, sigma, np.random.default_rng(1))
    faults = diagnose(noisy)

    assert faults.measures.sigma == pytest.approx(sigma, rel=0.3, abs=1.5)
    assert faults["noise"].certainty > clean["noise"].certainty


def test_blocks_are_measured_and_the_worse_the_more(photo):
    steps = [diagnose(compress(photo, quality)).measures for quality in (80, 40, 15)]

    assert steps[0].blocking < steps[1].blocking < steps[2].blocking
    assert diagnose(compress(photo, 15))["jpeg"].certainty > 0.5


def test_a_grid_that_was_cut_is_still_a_grid(photo):
    cut = np.ascontiguousarray(compress(photo, 15)[3:, 5:])

    assert diagnose(cut)["jpeg"].certainty > 0.5


def test_blur_is_measured_in_pixels(photo, clean):
    sigmas = [diagnose(cv2.GaussianBlur(photo, (0, 0), px)).measures.blur for px in (2, 4)]

    assert clean.measures.blur < sigmas[0] < sigmas[1]
    assert sigmas == pytest.approx([2, 4], rel=0.6)


def test_black_and_white_is_recognised(photo, clean):
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    assert diagnose(grey)["grey"].certainty == 1
    assert clean["grey"].certainty == 0


def test_faults_that_are_sure_come_first_and_the_others_not_at_all(photo):
    dark = degrade.apply(photo, degrade.Degradation("lowlight", 0.9, 1))
    faults = diagnose(dark)

    assert next(iter(faults)).kind == "lowlight"
    assert faults.words().startswith("lowlight")
    assert all(fault.certainty >= 0.5 for fault in faults)
    assert [fault.kind for fault in faults.entries] == list(KINDS)


def test_an_unknown_kind_is_said(clean):
    with pytest.raises(UnknownNameError, match="smell"):
        clean["smell"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (16, 16), (800, 20)])
def test_a_picture_of_any_size_has_a_record(shape):
    plain = np.full((*shape, 3), 0.5, np.float32)

    assert json.loads(json.dumps(diagnose(plain).record()))["measures"]["sigma"] < 0.5


def test_a_restoration_carries_the_record():
    photo = np.random.default_rng(0).random((48, 64, 3)).astype(np.float32)
    restoration = verax.restore(photo)

    assert restoration.faults == diagnose(photo)
    assert set(restoration.record()["faults"]["kinds"]) == set(KINDS)


def test_a_restoration_says_whether_anything_changed(photo):
    dark = degrade.apply(photo, degrade.Degradation("lowlight", 0.6, 1))

    assert verax.restore(photo).record()["unchanged"]
    assert not verax.restore(dark).record()["unchanged"]


def veiled(photo, near, far):
    """Transmission from `near` at the bottom to `far` at the top, under a white sky."""
    shares = np.linspace(far, near, photo.shape[0], dtype=np.float32)[:, None, None]
    return (photo * shares + 0.9 * (1 - shares)).astype(np.float32)


def test_a_veil_over_a_scene_is_sure_and_clear_photos_have_none(photo, clean):
    assert clean["haze"].certainty == 0
    assert diagnose(veiled(photo, 0.7, 0.25))["haze"].certainty > 0.5


def room(height=240, width=320):
    """Blocks of all colours, black and white among them, as in a room full of things."""
    values = np.random.default_rng(3).choice([0.0, 0.3, 0.6, 1.0], (12, 16, 3))
    blocks = np.asarray(values, np.float32)
    blocks[:6, :4] = (0.5, 0.7, 0.6)  # a wall, pale in every channel
    blocks[9, 3], blocks[2, 12] = 0.0, 1.0
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


def test_thin_haze_leaves_nothing_black_and_grows_with_distance():
    scene = room()
    hazy = veiled(scene, 0.93, 0.45)

    assert least_value(hazy) == pytest.approx(0.9 * 0.07, abs=0.03)
    assert nowhere_black(hazy, hazy, 0.35) > 0.5
    assert nowhere_black(scene, scene, 0.35) == 0
    assert nowhere_black(hazy, hazy, 0.2) == 0  # the network sees no haze


def test_a_faded_photo_is_lifted_by_as_much_everywhere_and_is_no_room_in_haze():
    faded = np.asarray(0.3 + 0.7 * room(), np.float32)

    assert nowhere_black(faded, faded, 0.35) == 0


def test_one_black_pixel_in_a_hundred_thousand_does_not_count_for_the_least_value():
    grey = np.full((500, 400, 3), 0.2, np.float32)
    grey[7, 7] = 0

    assert least_value(grey) == pytest.approx(0.2)


def test_a_pale_black_and_white_photo_is_no_haze(photo):
    grey = np.repeat(photo.mean(2, keepdims=True), 3, 2)
    pale = np.asarray(0.4 * grey + 0.5, np.float32)

    assert diagnose(0.4 * photo + np.float32(0.5))["haze"].certainty > 0.5
    assert diagnose(pale)["haze"].certainty == 0


def test_a_smooth_picture_is_no_haze():
    """Mist over water: pale, hardly any contrast anywhere, nothing behind it."""
    rows = np.linspace(0.75, 0.55, 240, dtype=np.float32)[:, None, None]
    mist = np.repeat(np.repeat(rows, 320, 1), 3, 2)

    assert diagnose(np.ascontiguousarray(mist))["haze"].certainty == 0


@pytest.mark.parametrize("stops", [3, 4])
def test_a_photo_taken_too_dark_is_sure(photo, clean, stops):
    dark = images.from_uint8(images.to_uint8(photo * np.float32(2 ** (-stops / 2.2))))

    assert diagnose(dark)["lowlight"].certainty > 0.5
    assert clean["lowlight"].certainty == 0


@pytest.mark.parametrize("colour", [(0.85, 0.3, 0.02), (0.1, 0.15, 0.9), (0.8, 0.05, 0.5)])
def test_what_stands_black_before_a_coloured_light_is_not_dark(colour):
    """Saturated colours have little luma, but they are well exposed."""
    portrait = np.full((240, 320, 3), colour, np.float32)
    cv2.ellipse(portrait, (160, 150), (105, 140), 0, 0, 360, (0.006, 0.006, 0.006), -1)
    portrait[100:130, 120:200] = 0.02

    assert diagnose(portrait)["lowlight"].certainty == 0


def test_a_moon_in_a_dark_sky_and_a_bright_gap_between_dark_rocks_are_left():
    """Who took them exposed for what is bright."""
    rng = np.random.default_rng(5)
    sky = np.clip(rng.normal(0.015, 0.004, (240, 320, 3)), 0, 1).astype(np.float32)
    cv2.circle(sky, (200, 90), 18, (0.7, 0.7, 0.66), -1)
    rocks = np.clip(rng.normal(0.06, 0.02, (240, 320, 3)), 0, 1).astype(np.float32)
    rocks[:, 150:165] = (0.95, 0.93, 0.9)

    assert diagnose(sky)["lowlight"].certainty < 0.5
    assert diagnose(rocks)["lowlight"].certainty < 0.5


@pytest.mark.parametrize("grey", [0.04, 0.05])
def test_a_dark_photo_whose_black_was_lifted_was_meant_so(grey):
    """Films are graded like that; an underexposed photo is black somewhere."""
    photo = images.from_uint8(np.ascontiguousarray(data.coffee()))
    dark = np.asarray(0.3 * photo**3, np.float32)
    graded = np.maximum(dark, np.float32(grey))

    assert diagnose(dark)["lowlight"].certainty > 0.5
    assert diagnose(graded)["lowlight"].certainty < 0.5


def test_lights_in_a_black_night_are_left():
    night = np.zeros((240, 320, 3), np.float32)
    for row in range(20, 220, 40):
        for column in range(20, 300, 40):
            night[row : row + 12, column : column + 12] = (1.0, 0.8, 0.4)

    assert diagnose(night)["lowlight"].certainty == 0


@pytest.mark.parametrize("level", [0.9, 0.97, 1.0])
def test_no_rain_falls_on_white_paper(level):
    page = np.full((240, 320, 3), round(255 * level), np.uint8)
    for row in range(30, 220, 14):
        cv2.putText(page, "no rain falls on paper", (20, row), 0, 0.4, (25, 25, 25), 1)

    assert diagnose(images.from_uint8(page))["rain"].certainty == 0


def test_heavy_rain_before_a_bright_sky_is_rain(photo):
    bright = (0.75 + 0.25 * photo).astype(np.float32)
    wet = degrade.apply(bright, degrade.Degradation("rain", 0.9, 3))

    assert diagnose(bright)["rain"].certainty == 0
    assert diagnose(wet)["rain"].certainty > 0.5


@pytest.mark.parametrize("px", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("strength", [0.1, 0.25])
def test_a_texture_is_no_rain_at_any_scale(px, strength):
    """Fleece, gravel, leaves: fine structure that goes in no direction."""
    rough = np.random.default_rng(7).standard_normal((300, 400)).astype(np.float32)
    fleece = cv2.GaussianBlur(rough, (0, 0), px) - cv2.GaussianBlur(rough, (0, 0), 3 * px)
    grey = np.clip(0.5 + strength * fleece / fleece.std(), 0, 1)

    assert diagnose(np.repeat(grey[..., None], 3, 2))["rain"].certainty < 0.5


@pytest.mark.parametrize("scale", [0.35, 0.5, 1.0])
@pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
def test_brick_grass_and_gravel_are_no_rain(name, scale):
    grey = images.from_uint8(getattr(data, name)())
    size = tuple(round(side * scale) for side in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)

    assert diagnose(np.repeat(small[..., None], 3, 2))["rain"].certainty < 0.5


@pytest.mark.parametrize("name", ["EUVP_FUnIE/input/14.jpg", "UFO120_sample/input/set_f31.jpg"])
def test_a_photo_taken_under_water_is_known_by_what_it_shows(name):
    path = Path("../shared/data/underwater") / name
    if not path.exists():
        pytest.skip("../shared/data is absent")

    assert diagnose(images.read(path).pixels)["underwater"].certainty > 0.5


@pytest.mark.parametrize("name", ["6-3_125_5000_plant_10", "11_160_3200_classroom_6"])
def test_a_dim_photo_with_noise_is_not_dark(name):
    path = Path("../shared/data/denoising/PolyU_real/input") / f"NikonD800_{name}.jpg"
    if not path.exists():
        pytest.skip("../shared/data is absent")

    assert diagnose(images.read(path).pixels)["lowlight"].certainty == 0


def test_a_tone_network_that_keeps_what_it_saw_is_asked_for_its_severities_alone(photo):
    tone = runtime.embedded_network("tone")
    silent = replace(tone, session=Silent(tone.session))
    small = runtime.thumbnail(photo, tone.multiple)

    assert runtime.look(small, silent)[2].size == 0
    assert np.array_equal(runtime.look(small, silent)[1], runtime.look(small, tone)[1])


class Silent:
    """A session that answers as one of `verax export` does, without the last output."""

    def __init__(self, session):
        self.session = session

    def run(self, names, inputs):
        return self.session.run(names, inputs)[:2]


@pytest.mark.parametrize("kind", ["snow", "raindrop", "motion_blur", "defocus_blur"])
def test_what_covers_or_blurs_a_photo_is_found_in_most(kind):
    """Flakes, drops and blur are detected in the full resolution, not in the thumbnail."""
    photos = [
        images.from_uint8(getattr(data, name)()) for name in ("coffee", "astronaut", "rocket")
    ]

    def is_detected(photo, seed):
        faulty = degrade.apply(photo, degrade.Degradation(kind, 0.9, seed))
        return diagnose(faulty)[kind].certainty > 0.5

    assert not any(diagnose(photo)[kind].certainty > 0.5 for photo in photos)
    assert sum(is_detected(photo, 1) or is_detected(photo, 2) for photo in photos) >= 2


def test_leaves_are_green_and_no_water(photo):
    """Water takes red and leaves blue; leaves leave red and take blue."""
    leaves = np.asarray(photo * (0.45, 0.8, 0.2), np.float32)

    assert diagnose(leaves)["underwater"].certainty == 0
