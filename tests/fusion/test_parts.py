"""The parts of fusion against closed forms: exposure, grid, noise, gates, verification."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from verax.fusion import evidence, explanation, join, light, matching, planes, tone
from verax.image.pixels import luma, to_linear, to_srgb
from verax.metrics.scene import scene_state
from verax.restorers.faults import diagnose


def test_srgb_and_linear_light_are_inverse_and_meet_the_standard():
    values = np.linspace(0, 1, 1001, dtype=np.float32)

    assert np.allclose(to_srgb(to_linear(values)), values, atol=1e-5)
    assert to_linear(np.float32([0.5]))[0] == pytest.approx(0.21404, abs=1e-4)  # IEC


@pytest.mark.parametrize("gain", [0.4, 1.0, 2.5, 12.0])
def test_the_exposure_of_a_prior_is_recovered(scene, gain):
    dark = to_srgb(to_linear(scene) * 0.05)
    prior = matching.brighten(dark, gain)
    weight = np.ones(scene.shape[:2], np.float32)

    assert matching.fit_exposure(dark, np.roll(prior, 9, 1), weight) == pytest.approx(
        gain, rel=0.04
    )


def test_an_exposure_curve_rises_and_stays_in_range():
    for gain in (0.25, 1.0, 8.0, 64.0):
        curve = matching.exposure_curve(gain)
        assert np.all(np.diff(curve) >= 0)
        assert curve.min() >= 0
        assert curve.max() <= 1
    assert np.allclose(
        matching.exposure_curve(1.0), np.linspace(0, 1, matching.CURVE_STEPS + 1), atol=1e-5
    )


def test_the_balance_of_a_prior_is_recovered_though_a_tenth_of_it_was_redrawn(scene):
    gain, offset = np.float32([1.3, 0.9, 0.7]), np.float32([-0.1, 0.02, 0.15])
    prior = scene * gain + offset
    prior[: scene.shape[0] // 10] = np.float32([1, 0, 0])

    balance = matching.fit_balance(scene, prior, np.ones(scene.shape[:2], np.float32))

    assert np.allclose(balance[0], gain, atol=0.03)
    assert np.allclose(balance[1], offset, atol=0.02)


def test_even_light_is_the_priors_where_one_gain_and_offset_per_channel_explain_it(scene):
    prior = np.asarray(scene * np.float32([0.8, 0.6, 0.7]) + np.float32([0, 0.1, 0.05]), np.float32)
    weight = np.ones(scene.shape[:2], np.float32)

    assert np.abs(matching.even_light(scene, prior, weight) - prior).max() < 0.03
    clipped = np.clip(3 * scene - 1, 0, 1)
    moved = matching.even_light(scene, clipped, weight)
    assert ((moved < 0) | (moved > 1)).mean() <= 2 * matching.CLIPPED


def test_the_balance_of_a_foreign_prior_changes_no_contrast(scene):
    noise = np.random.default_rng(5).random(scene.shape, np.float32)

    balance = matching.fit_balance(scene, noise, np.ones(scene.shape[:2], np.float32))

    assert np.allclose(balance[0], 1, atol=0.01)


def test_offsets_from_every_second_pixel_are_those_from_every_one(scene, monkeypatch):
    small, prior = scene[::2, ::2], scene[::2, ::2] ** 2 * np.float32([1, 0.9, 0.8])
    weight = np.ones(small.shape[:2], np.float32)
    field = tone.fit(small, prior, weight, matching.fit_exposure(small, prior, weight), reach=0.6)
    exposed = field.expose(scene)
    every = tone.apply(field, exposed)
    monkeypatch.setattr(tone, "LARGE", 0)
    second = tone.apply(field, exposed)

    assert np.abs(second - every).mean() < 1 / 255
    top, rows = 32, (32, scene.shape[0])
    part = tone.apply(field, exposed[top : top + 64], rows=rows)
    assert np.allclose(part[2:-2], second[top + 2 : top + 62], atol=1e-3)


def test_a_constant_grid_is_constant_everywhere(scene):
    flat = np.full((planes.LEVELS, 7, 9, 3), 0.25, np.float32)

    assert np.allclose(planes.look_up(flat, luma(scene)), 0.25)


def test_a_grid_that_is_linear_in_luma_and_place_is_looked_up_exactly():
    levels, gh, gw = planes.LEVELS, 16, 24
    level, y, x = np.mgrid[:levels, :gh, :gw].astype(np.float32)
    field = np.stack([level / (levels - 1), y, x], -1)
    guide = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (64, 1))
    values = planes.look_up(field, guide)
    inside = (slice(4, -4), slice(4, -4))

    assert np.allclose(values[..., 0], guide, atol=1e-5)
    assert np.allclose(np.diff(values[inside][..., 1], axis=0), 0.25, atol=2e-2)
    assert np.allclose(np.diff(values[inside][..., 2], axis=1), 0.25, atol=2e-2)


def test_a_stripe_is_looked_up_as_a_part_of_the_whole(scene):
    rng = np.random.default_rng(0)
    field = rng.random((planes.LEVELS, 11, 13, 3), np.float32)
    guide = luma(scene)
    whole = planes.look_up(field, guide)

    assert np.allclose(planes.look_up(field, guide[50:90], (50, guide.shape[0])), whole[50:90])


def test_the_grid_keeps_both_sides_of_an_edge_apart():
    guide = np.full((64, 64), 0.2, np.float32)
    guide[:, 32:] = 0.8
    values = np.where(guide > 0.5, 0.3, -0.1)[..., None].astype(np.float32)
    field = planes.means(guide, values, np.ones_like(guide), 8.0)
    sampled = planes.look_up(field, guide)[..., 0]

    assert sampled[:, :32].max() < 0
    assert sampled[:, 32:].min() > 0.2
    assert abs(sampled[0, 31] - sampled[0, 0]) < 0.03


def test_wide_blurs_agree_with_the_exact_gaussian(scene):
    exact = cv2.GaussianBlur(scene, (0, 0), 14, borderType=cv2.BORDER_REFLECT)

    assert np.abs(planes.blur(scene, 14) - exact).max() < 0.03
    assert np.abs(planes.blur(scene, 14) - exact).mean() < 0.004


def test_moments_keep_the_contrast_that_least_squares_loses(scene):
    rng = np.random.default_rng(2)
    plain = cv2.GaussianBlur(rng.standard_normal((128, 128), np.float32), (0, 0), 3)
    photo = np.repeat(0.5 + 0.05 * plain[..., None] / plain.std(), 3, 2)
    prior = np.repeat(0.5 + 0.10 * np.roll(plain, 3, 1)[..., None] / plain.std(), 3, 2)
    weight = np.ones((128, 128), np.float32)
    gain = tone.fit_gain(photo, prior, weight, 128)[..., 0].mean()
    centred = photo - 0.5
    least_squares = (centred * (prior - 0.5)).sum() / (centred**2).sum()

    assert gain > 1.7
    assert least_squares < 1.6


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.08])
def test_white_noise_is_measured_within_a_fifth(scene, sigma):
    rng = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(scene, (0, 0), 4)
    noisy = (0.3 + 0.4 * smooth + sigma * rng.standard_normal(scene.shape)).astype(np.float32)
    table = evidence.noise_table(noisy)

    assert table[100:150].mean() == pytest.approx(sigma, rel=0.2)


def test_a_photo_of_8_bits_has_at_least_one_level_of_noise(scene):
    rounded = (np.rint(scene * 255) / 255).astype(np.float32)

    assert evidence.noise_table(rounded).min() >= np.float32(1 / 255)
    assert evidence.noise_table(np.full_like(scene, 0.123)).max() < 1e-4


def test_noise_has_to_go_only_as_far_as_a_gain_shows_it():
    sigma = np.float32([0.004, 0.004, 0.004, 0.1])
    gain = np.float32([1.0, 2.0, 12.0, 1.0])

    assert np.allclose(evidence.excess(sigma, gain), [0, 0, 0.75, 0], atol=1e-6)


def test_denoising_takes_noise_and_keeps_edges(scene, psnr):
    rng = np.random.default_rng(4)
    noisy = np.clip(scene + 0.05 * rng.standard_normal(scene.shape), 0, 1).astype(np.float32)

    assert psnr(evidence.denoise(noisy, 0.05), scene) > psnr(noisy, scene) + 3
    assert psnr(evidence.denoise(scene, 0.002), scene) > 45


def test_every_strong_edge_of_a_photo_is_supported_by_itself_in_any_tone(scene):
    for restoration in (scene, scene**0.5, 0.3 + 0.5 * scene, 1 - scene):
        assert light.unsupported_edges(np.asarray(restoration, np.float32), scene) == 0


def test_faint_edges_of_a_dark_photo_count_as_support(scene):
    dark = (0.06 * scene).astype(np.float32)

    assert light.unsupported_edges(scene, dark) < 0.005


def test_edges_of_another_scene_are_not_supported(scene):
    blank = np.full_like(scene, 0.5)
    assert light.unsupported_edges(scene, blank) == 1
    assert light.unsupported_edges(blank, scene) == 0


def test_doubt_lies_on_the_invented_edge_and_nowhere_else():
    photo = np.full((120, 160, 3), 0.5, np.float32)
    invented = photo.copy()
    invented[40:80, 100:140] = 0.9
    doubt = light.doubt(invented, photo)

    assert doubt[40, 120] == 1
    assert doubt[:, :60].max() == 0


def test_light_and_casts_that_only_another_state_of_the_scene_explains(scene):
    def change(base, prior):
        return scene_state(base, prior, np.ones(scene.shape[:2], bool))

    dark = matching.brighten(scene, 0.05)
    hazy = (0.35 * scene + 0.55).astype(np.float32)
    green = (scene * np.float32([0.4, 1.0, 0.5])).astype(np.float32)
    sunset = (scene * np.float32([1.0, 0.55, 0.1])).astype(np.float32)
    assert change(dark, scene) == "same"
    assert change(hazy, scene) == "same"
    assert change(green, scene) == "same"
    assert change(scene, dark) == "day made night"
    assert change(scene, sunset) == "light of another colour"
    assert "exchanged" in change(scene, np.flipud(1 - scene).copy())


def test_no_more_noise_is_left_in_an_octave_than_was_taken_out():
    grain = np.random.default_rng(3).normal(0, 0.03, (128, 128)).astype(np.float32)
    flat, ones = np.zeros_like(grain), np.ones_like(grain)

    anything, little = (
        evidence.summarise(grain, flat, ones, 0.0, 0, most=most) for most in (np.inf, 1e-5)
    )

    assert anything.noise > 4e-4
    assert anything.noisy == 1
    assert little.noise < 2e-5
    assert little.noisy < 0.05


def test_gains_of_overlapping_octaves_bring_a_contrast_to_its_target(scene):
    valid = np.ones(scene.shape[:2], np.float32)
    picture = 0.25 + 0.5 * scene  # far from both ends, so that nothing is clipped
    (contrasts,) = matching.contrasts_of((picture,), valid)
    target = contrasts * (1.15, 1.08, 1.04)
    changed = matching.with_contrasts(picture, valid, contrasts, target)
    (reached,) = matching.contrasts_of((changed,), valid)
    assert np.allclose(reached, target, rtol=0.02)
    assert np.allclose(changed.mean((0, 1)), picture.mean((0, 1)), atol=2e-3)


def test_the_contrast_of_a_sine_is_its_deviation_times_the_response_of_the_octave():
    period, amplitude = 16, 0.2
    wave = amplitude * np.sin(2 * np.pi * np.arange(512) / period, dtype=np.float32)
    picture = np.repeat(np.tile(0.5 + wave, (512, 1))[..., None], 3, axis=2)
    (contrasts,) = matching.contrasts_of((picture,), np.ones((512, 512), np.float32))
    response = [
        np.exp(-2 * (np.pi * s / period) ** 2) - np.exp(-2 * (np.pi * 2 * s / period) ** 2)
        for s in (1, 2, 4)
    ]
    assert np.allclose(contrasts, amplitude / 2**0.5 * np.array(response), rtol=0.03)


def test_a_fault_of_the_light_that_is_hardly_believed_changes_no_light(scene):
    octaves = join.measure(scene, scene, np.ones(scene.shape[:2], np.float32))
    explain = explanation.explain

    assert explain({"haze": explanation.DOUBTED - 0.01}, None, octaves).light == 0
    assert explain({"haze": explanation.DOUBTED}, None, octaves).light == explanation.DOUBTED


@pytest.mark.parametrize("alone", [0.0, 1.0])
@pytest.mark.parametrize("severity", [0.0, 0.3, 0.6])
def test_a_veil_that_the_photo_surely_has_is_a_fault_of_its_light_however_slight(
    scene, alone, severity
):
    prior = np.clip(0.2 + 0.6 * scene, 0, 1)
    veiled = 0.25 + 0.75 * prior  # contrast falls by a quarter only
    faults = diagnose(veiled)
    entries = [replace(f, severity=severity) if f.kind == "haze" else f for f in faults.entries]
    faults = replace(faults, entries=tuple(entries))
    everywhere = np.ones(scene.shape[:2], np.float32)

    def certainty(of):
        return explanation.light_faults(veiled, prior, everywhere, of, alone=alone)["haze"]

    assert certainty(faults.believing("dehaze")) > 0.9
    assert severity == 0.6 or certainty(faults) < 0.9
