"""Each degradation follows its model: closed forms and known transforms."""

import cv2
import numpy as np
import pytest

from verax.degrade import Degradation, apply
from verax.degrade.fields import (
    as_depth,
    fractal_noise,
    pseudo_depth,
    smooth_noise,
    to_linear,
    to_srgb,
)
from verax.degrade.optics import disc, rasterise, trajectory, underwater
from verax.degrade.sensor import add_gaussian, add_shot_and_read, compress, lowlight
from verax.degrade.weather import bars, blurred_streaks, flakes, scatter
from verax.image.pixels import guided_filter


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def grey(value, side=64):
    return np.full((side, side, 3), value, np.float32)


def test_linear_light_and_back_is_the_same_level():
    levels = np.arange(256, dtype=np.float32).reshape(16, 16, 1).repeat(3, 2) / 255

    np.testing.assert_allclose(to_srgb(to_linear(levels)), levels, atol=0.4 / 255)


def test_haze_of_transmission_half_halves_contrast_around_the_airlight():
    picture = np.array([[[0.2, 0.4, 0.6], [0.8, 0.0, 1.0]]], np.float32)
    airlight = np.array([0.9, 0.8, 0.7], np.float32)

    hazy = scatter(picture, np.full((1, 2), 0.5, np.float32), airlight)

    np.testing.assert_allclose(hazy, (picture + airlight) / 2, atol=1e-6)


def test_white_noise_has_the_requested_deviation(rng):
    noisy = add_gaussian(grey(0.5, 128), 25.0, rng)

    assert noisy.std() * 255 == pytest.approx(25.0, rel=0.02)
    assert np.corrcoef(noisy[:, 1:, 0].ravel(), noisy[:, :-1, 0].ravel())[0, 1] < 0.03


@pytest.mark.parametrize("light", [0.02, 0.5])
def test_shot_noise_variance_is_proportional_to_light(light, rng):
    noisy = add_shot_and_read(grey(light, 128), shot=0.01, read=0.03, rng=rng)

    assert noisy.var() == pytest.approx(0.01 * light + 0.03**2, rel=0.03)


def test_low_light_follows_a_power_law_with_more_lost_in_the_shadows(rng):
    ramp = np.linspace(0.3, 0.95, 128, dtype=np.float32)[None, :, None].repeat(128, 0).repeat(3, 2)

    dark = np.mean([lowlight(ramp, 0.8, np.random.default_rng(k)).mean(0) for k in range(12)], 0)
    power = np.polyfit(np.log(ramp[0, :, 1]), np.log(dark[:, 1]), 1)[0]

    assert 1.1 < power < 2.6  # 1.4-2.6 on real pairs


def test_a_camera_path_ends_up_in_a_kernel_of_its_size(rng):
    for _ in range(20):
        kernel = rasterise(trajectory(rng) * 15.0)
        ys, xs = np.nonzero(kernel > 0)

        assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
        assert 14 <= max(np.ptp(xs), np.ptp(ys)) <= 17


@pytest.mark.parametrize("blades", [0, 5, 6])
@pytest.mark.parametrize("radius", [2.0, 6.0])
def test_the_defocus_disc_sums_to_one_and_is_centred(radius, blades):
    kernel = disc(radius, blades=blades)
    y, x = np.indices(kernel.shape) - kernel.shape[0] // 2

    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.hypot((kernel * x).sum(), (kernel * y).sum()) < 0.35
    if not blades:  # the mean squared distance of a disc is r**2 / 2
        assert (kernel * (x * x + y * y)).sum() == pytest.approx(radius**2 / 2, rel=0.1)


def test_lower_jpeg_quality_is_farther_from_the_picture(rng):
    picture = np.clip(0.5 + 0.2 * fractal_noise((96, 80), rng, cells=8), 0, 1)[..., None].repeat(
        3, 2
    )
    errors = [np.abs(compress(picture, q, shift=(3, 5)) - picture).mean() for q in (95, 60, 30, 8)]

    assert errors == sorted(errors)
    assert errors[0] < 2 / 255


@pytest.mark.parametrize("angle", [-30.0, 0.0, 25.0])
def test_smeared_rain_falls_along_its_angle(angle, rng):
    layer = blurred_streaks((256, 256), 1.0, rng, angle=angle)
    gy, gx = np.gradient(cv2.GaussianBlur(layer, (0, 0), 1.5))
    # the structure tensor's minor axis points along the streaks
    tilt = 0.5 * np.degrees(np.arctan2(2 * (gx * gy).mean(), (gx * gx).mean() - (gy * gy).mean()))

    assert tilt == pytest.approx(-angle, abs=6)


def test_rain_layers_are_as_bright_as_those_of_published_sets():
    # measured mean added light: 0.03-0.18 for smeared noise, 0.11-0.34 for drawn streaks
    smeared = [
        blurred_streaks((160, 160), 1.0, np.random.default_rng(k), angle=5).mean()
        for k in range(30)
    ]
    drawn = [bars((160, 160), 1.0, np.random.default_rng(k), angle=5).mean() for k in range(30)]

    assert 0.10 < np.median(smeared) < 0.25
    assert 0.11 < np.median(drawn) < 0.34


def test_snow_cover_grows_with_severity():
    covers = [flakes((200, 200), s, np.random.default_rng(3)).mean() for s in (0.1, 0.4, 1.0)]

    assert covers == sorted(covers)
    assert 0 < covers[0] < covers[2] < 0.6


def test_water_takes_red_first():
    shares = [
        underwater(grey(0.6), 0.6, np.random.default_rng(k)).mean((0, 1)) / 0.6 for k in range(16)
    ]
    red, green, blue = np.mean(shares, 0)

    assert red < 0.75 * min(green, blue)


def test_smooth_noise_is_standard_and_smooth(rng):
    many = [smooth_noise((96, 128), rng, cells=6) for _ in range(20)]

    assert np.std(many) == pytest.approx(1.0, abs=0.15)
    assert np.mean(many) == pytest.approx(0.0, abs=0.15)
    assert np.abs(np.diff(many, axis=2)).mean() < 0.15


def test_stand_in_depth_is_farther_at_the_top_on_average():
    flat = grey(0.5, 96)
    planes = [pseudo_depth(flat, np.random.default_rng(k)) for k in range(20)]
    mean = np.mean(planes, 0)

    assert mean[:24].mean() > mean[-24:].mean() + 0.2
    assert all(p.min() >= 0 and p.max() <= 1 for p in planes)


def test_unmeasured_depth_counts_as_far(rng):
    depth = np.full((32, 32), 2.0, np.float32)
    depth[:8], depth[8:12] = 0.0, np.nan

    relative = as_depth(grey(0.5, 32), rng, depth)

    assert (relative[:12] == 1.0).all()
    assert np.isfinite(relative).all()


def test_the_guided_filter_smooths_beside_an_edge_and_not_across_it(rng):
    guide = np.zeros((40, 40), np.float32)
    guide[:, 20:] = 1.0
    noisy = guide + 0.1 * rng.standard_normal((40, 40), np.float32)

    smooth = guided_filter(guide, noisy, radius=4, epsilon=1e-3)

    assert smooth[:, :18].std() < 0.03
    assert smooth[:, 22:].mean() - smooth[:, :18].mean() == pytest.approx(1.0, abs=0.03)


def test_streaks_keep_their_size_in_px_up_to_the_reference_and_grow_beyond():
    def smoothness(side):  # the wider the streaks, the more a blur leaves of them
        layer = apply(grey(0.0, side), Degradation("rain", 0.5, 4))[..., 0]
        return cv2.GaussianBlur(layer, (0, 0), 3).var() / layer.var()

    small, equal, large = (smoothness(side) for side in (300, 600, 1800))

    assert equal == pytest.approx(small, rel=0.35)
    assert large > 1.5 * equal
