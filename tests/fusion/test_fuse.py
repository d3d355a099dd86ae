"""Fusion: what it takes from a prior, and what it never takes."""

import cv2
import numpy as np
import pytest

from verax.degrade import Degradation, apply
from verax.errors import SizeMismatchError, UnknownNameError
from verax.fusion.fuse import STRIPE, fuse
from verax.fusion.noise import VISIBLE
from verax.fusion.verify import unsupported_edges
from verax.geometry import register
from verax.image import check_image, read


def low(image):
    return cv2.GaussianBlur(image, (0, 0), 0.03 * image.shape[1])


def rms(image):
    return float(np.sqrt((image**2).mean()))


def test_without_a_prior_the_result_is_the_base(scene):
    fused = fuse(scene, scene, None, None)

    assert np.array_equal(fused.pixels, scene)
    assert np.array_equal(fused.trust[..., 0], np.ones(scene.shape[:2]))


def test_a_foreign_prior_changes_nothing(scene, place):
    fused = fuse(scene, scene, *place(1 - scene, "not"))

    assert np.array_equal(fused.pixels, scene)


def test_a_prior_that_shows_next_to_nothing_of_the_photo_changes_nothing(scene, place):
    sliver = np.zeros(scene.shape[:2], np.float32)
    sliver[:, :2] = 1
    fused = fuse(scene, scene, *place(1 - scene, valid=sliver))

    assert np.array_equal(fused.pixels, scene)
    assert "nothing is taken" in fused.notes[0]


def test_the_photo_itself_as_prior_leaves_the_photo(scene, place):
    assert np.array_equal(fuse(scene, scene, *place(scene)).pixels, scene)


@pytest.mark.parametrize(("task", "least"), [("lowlight", 8), ("haze", 5), ("underwater", 5)])
def test_a_true_prior_brings_light_and_colour_back(scene, place, psnr, task, least):
    photo = apply(scene, Degradation(task, 0.6, 1))
    fused = fuse(photo, photo, *place(scene))

    assert psnr(fused.pixels, scene) > psnr(photo, scene) + least
    assert rms(low(fused.pixels - scene)) < 0.5 * rms(low(photo - scene))


def test_a_prior_displaced_by_a_pixel_or_two_costs_no_contrast(scene, place):
    photo = (0.5 * scene).astype(np.float32)
    moved = np.roll(scene, (1, 2), (0, 1))
    fused = fuse(photo, photo, *place(moved))

    assert 0.85 < fused.pixels.std() / scene.std() < 1.1


def test_an_object_only_the_prior_shows_leaves_at_most_a_soft_glow(scene, place):
    prior = scene.copy()
    cv2.circle(prior, (140, 100), 25, (1.0, 1.0, 1.0), 2)
    fused = fuse(scene, scene, *place(prior))

    assert unsupported_edges(fused.pixels, scene) == 0
    assert rms(fused.pixels - scene) < 0.4 * rms(prior - scene)


def test_noise_that_the_gain_would_show_is_removed(scene, place):
    flat = np.full_like(scene, 0.5)
    rng = np.random.default_rng(1)
    noisy = np.clip(0.04 + 0.004 * rng.standard_normal(scene.shape), 0, 1).astype(np.float32)
    fused = fuse(noisy, noisy, *place(flat))

    assert abs(fused.pixels.mean() - 0.5) < 0.03
    assert fused.pixels.std() < 1.5 * VISIBLE


def test_noise_of_a_photo_that_needs_no_light_is_left_to_the_restorer(scene, place):
    rng = np.random.default_rng(1)
    noisy = np.clip(scene + 0.04 * rng.standard_normal(scene.shape), 0, 1).astype(np.float32)
    fused = fuse(noisy, noisy, *place(scene))

    assert rms(fused.pixels - noisy) < 0.01


def test_a_coarse_registration_gives_a_coarse_tone_and_says_so(scene, place, psnr):
    photo = apply(scene, Degradation("lowlight", 0.5, 2))
    fused = fuse(photo, photo, *place(scene, "roughly"))

    assert psnr(fused.pixels, scene) > psnr(photo, scene) + 6
    assert "coarse tone" in fused.notes[0]


def test_a_prior_of_another_scene_state_gives_no_light_and_is_flagged(scene, place):
    night = (0.15 * scene).astype(np.float32)
    fused = fuse(scene, scene, *place(night))

    assert fused.scene_state_change
    assert "day made night" in fused.notes[0]
    assert abs(fused.pixels.mean() - scene.mean()) < 0.02


def test_trust_shares_sum_to_one_and_grow_with_what_was_taken(scene, place):
    for fidelity in (0.0, 0.3, 1.0):
        trust = fuse(scene, scene, *place(scene**0.4), fidelity=fidelity).trust
        assert np.allclose(trust.sum(2), 1, atol=1e-5)
        assert trust.min() >= -1e-6
        assert np.allclose(trust[..., 2], 1 - fidelity, atol=1e-5)
    little, much = (
        fuse(scene, scene, *place(scene**power)).trust[..., 1].mean() for power in (0.9, 0.4)
    )
    assert little < 0.1 < much


def test_fidelity_0_is_the_registered_prior_and_the_base_outside_it(scene, place):
    valid = np.ones(scene.shape[:2], np.float32)
    valid[:, :60] = 0
    fused = fuse(scene, scene, *place(scene**0.5, valid=valid), fidelity=0)

    assert np.allclose(fused.pixels[:, 60:], scene[:, 60:] ** 0.5, atol=1e-6)
    assert np.allclose(fused.pixels[:, :60], scene[:, :60], atol=1e-6)


def test_the_fidelity_dial_is_monotone(scene, place):
    prior, found = place(scene**0.5)
    steps = [fuse(scene, scene, prior, found, fidelity=f).pixels for f in np.linspace(0, 1, 6)]
    distances = [rms(step - prior.pixels) for step in steps]

    assert distances == sorted(distances)
    assert np.allclose(steps[3], 0.6 * steps[5] + 0.4 * prior.pixels, atol=1e-5)


def test_stripes_leave_no_seam(scene, place):
    tall = cv2.resize(scene, (200, 2 * STRIPE + 90), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    photo = apply(tall, Degradation("lowlight", 0.6, 3))
    fused = fuse(photo, photo, *place(tall)).pixels
    steps = np.abs(np.diff(fused.astype(np.float64), axis=0)).mean((1, 2))

    seams = steps[[STRIPE - 1, 2 * STRIPE - 1]]
    assert seams.max() < np.quantile(steps, 0.99)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 500), (37, 5), (64, 64)])
def test_any_size_works(shape, place):
    rng = np.random.default_rng(0)
    photo = rng.random((*shape, 3), np.float32)
    prior = rng.random((*shape, 3), np.float32)
    fused = fuse(photo, photo, *place(prior))

    assert check_image(fused.pixels).shape == photo.shape


def test_flat_black_and_white_pictures_are_no_trouble(scene, place):
    for photo in (np.zeros_like(scene), np.ones_like(scene)):
        for prior in (np.zeros_like(scene), np.ones_like(scene), scene):
            check_image(fuse(photo, photo, *place(prior)).pixels)


def test_an_unknown_mode_and_a_foreign_size_are_refused(scene):
    with pytest.raises(UnknownNameError, match="tone"):
        fuse(scene, scene, None, None, mode="magic")
    with pytest.raises(SizeMismatchError):
        fuse(scene, scene[1:], None, None)


def test_a_dark_real_photo_gets_the_light_of_its_prior(pictures, psnr):
    folder = pictures / "lowlight" / "nanobananapro_lowlevelbanana"
    photo, prior, target = (
        read(folder / kind / "ll_good1.png").pixels for kind in ("input", "generated", "target")
    )
    found = register.register(photo, prior)
    seen = register.apply(found, prior, size=(photo.shape[1], photo.shape[0]))
    fused = fuse(photo, photo, seen, found)

    assert psnr(fused.pixels, target) > 22.5


def test_night_made_day_is_flagged_on_a_real_pair(pictures):
    folder = pictures / "lowlight" / "gpt4o_noxsine_fig"
    photo, prior = (read(folder / k / "lowlight_01.png").pixels for k in ("input", "generated"))
    found = register.register(photo, prior)
    seen = register.apply(found, prior, size=(photo.shape[1], photo.shape[0]))

    assert fuse(photo, photo, seen, found).scene_state_change


def test_rain_that_tone_cannot_remove_is_said(scene, place):
    photo = apply(scene, Degradation("rain", 0.8, 1))
    smooth = cv2.GaussianBlur(scene, (0, 0), 1.5)

    assert "restorer" in " ".join(fuse(photo, photo, *place(smooth)).notes)
    assert "restorer" not in " ".join(fuse(scene, scene, *place(scene)).notes)
