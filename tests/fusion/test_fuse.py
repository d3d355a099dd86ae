"""Fusion: what it takes from a prior, and what it never takes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from verax.degrade import Degradation, apply
from verax.errors import SizeMismatchError
from verax.fusion.fuse import fuse
from verax.fusion.light import unsupported_edges
from verax.fusion.planes import TILE
from verax.geometry import register
from verax.image import check_image, from_uint8, read
from verax.image.pixels import luma
from verax.restorers import network
from verax.restorers.faults import diagnose


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


def test_a_prior_displaced_by_a_pixel_or_two_costs_no_contrast(scene, place):
    photo = (0.5 * scene).astype(np.float32)
    moved = np.roll(scene, (1, 2), (0, 1))
    fused = fuse(photo, photo, *place(moved))

    assert 0.85 < fused.pixels.std() / scene.std() < 1.1


def test_a_prior_of_another_scene_state_gives_no_light_and_is_flagged(scene, place):
    night = (0.15 * scene).astype(np.float32)
    fused = fuse(scene, scene, *place(night))

    assert fused.scene_state_change
    assert "day made night" in fused.notes[0]
    assert abs(fused.pixels.mean() - scene.mean()) < 0.02


def test_an_old_photo_takes_no_thing_of_another_scene_state(scene, place):
    night = (0.15 * scene).astype(np.float32)
    fused = fuse(scene, scene, *place(night), task="old_photo")

    assert fused.scene_state_change
    assert fused.explanation.front == 0


def test_fidelity_0_is_the_registered_prior_and_the_base_outside_it(scene, place):
    valid = np.ones(scene.shape[:2], np.float32)
    valid[:, :60] = 0
    fused = fuse(scene, scene, *place(scene**0.5, valid=valid), fidelity=0)

    assert np.allclose(fused.pixels[:, 60:], scene[:, 60:] ** 0.5, atol=1e-6)
    assert np.allclose(fused.pixels[:, :60], scene[:, :60], atol=1e-6)


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


def test_night_made_day_is_flagged_on_a_real_pair(pictures):
    folder = pictures / "lowlight" / "gpt4o_noxsine_fig"
    photo, prior = (read(folder / k / "lowlight_01.png").pixels for k in ("input", "generated"))
    registration = register.register(photo, prior)
    warped = register.apply(registration, prior, size=(photo.shape[1], photo.shape[0]))

    assert fuse(photo, photo, warped, registration).scene_state_change


def test_a_photo_of_another_size_than_its_base_is_refused(scene):
    with pytest.raises(SizeMismatchError):
        fuse(scene, scene[1:], None, None)


@pytest.mark.parametrize(("task", "least"), [("lowlight", 8), ("haze", 5), ("underwater", 4)])
def test_a_true_prior_brings_light_and_colour_back(scene, place, psnr, task, least):
    photo = apply(scene, Degradation(task, 0.6, 1))
    fused = fuse(photo, photo, *place(scene))

    assert psnr(fused.pixels, scene) > psnr(photo, scene) + least
    assert fused.explanation.light == 1


def test_a_large_thing_far_off_in_haze_gets_most_of_the_priors_contrast(scene, place):
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    disc = (np.hypot(y - 80, x - 230) < 30)[..., None].astype(np.float32)
    far = (x > 170)[..., None].astype(np.float32)
    truth = np.where(far > 0, 0.75 + 0.1 * (scene - 0.5), scene)
    truth = (truth * (1 - disc) + (0.2 + 0.1 * scene) * disc).astype(np.float32)
    photo = (0.8 + (0.5 - 0.38 * far) * (truth - 0.8)).astype(np.float32)

    fused = fuse(photo, photo, *place(truth))

    inside, around = disc[..., 0] > 0, (far[..., 0] > 0) & (disc[..., 0] == 0)
    contrasts = [v[around].mean() - v[inside].mean() for v in (photo, fused.pixels, truth)]
    assert fused.explanation.reasons == ("haze",)
    assert contrasts[0] < 0.2 * contrasts[2]
    assert contrasts[1] > 0.75 * contrasts[2]


def test_colour_that_compression_lost_in_the_dark_comes_from_the_prior(place):
    def colour(image):
        return image - image.mean(2, keepdims=True)

    truth = from_uint8(data.astronaut())[:320, :320].copy()
    dark = (apply(truth, Degradation("lowlight", 0.5, 3)) * 255 + 0.5).astype(np.uint8)
    coded = cv2.imencode(".jpg", dark[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    photo = from_uint8(np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]))
    faults = diagnose(photo)
    smooth = replace(faults, measures=replace(faults.measures, blocking=0.0))
    errors = [
        rms(colour(fuse(photo, photo, *place(truth), faults=record).pixels - truth))
        for record in (faults, smooth)
    ]
    assert faults.measures.blocking > 0.3
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("task", ["motion_blur", "defocus_blur"])
def test_a_true_prior_sharpens_a_blurred_photo_and_leaves_its_light(scene, place, psnr, task):
    photo = apply(scene, Degradation(task, 0.5, 1))
    brighter = (scene**0.9).astype(np.float32)
    fused = fuse(photo, photo, *place(brighter))

    assert psnr(fused.pixels, scene) > psnr(photo, scene) + 2
    assert abs(fused.pixels.mean() - photo.mean()) < 0.25 * abs(brighter.mean() - scene.mean())


def test_the_cast_of_water_is_taken_away_without_the_priors_local_light(scene, place):
    photo = np.clip(scene * np.float32([0.55, 1, 0.9]) + np.float32([0, 0.05, 0.04]), 0, 1)
    ramp = np.linspace(0.88, 1.12, scene.shape[1], dtype=np.float32)[None, :, None]
    prior = np.clip(scene * ramp, 0, 1)

    fused = fuse(photo, photo, *place(prior), faults=diagnose(photo).believing("underwater"))

    assert fused.explanation.reasons == ("a colour cast",)
    assert rms(low(fused.pixels) - low(scene)) < 0.5 * rms(low(prior) - low(scene))
    assert np.abs((fused.pixels - scene).mean((0, 1))).max() < 0.02


def test_at_fidelity_1_a_prior_that_burns_its_highlights_burns_fewer_of_the_photos(scene, place):
    photo = (0.3 * scene).astype(np.float32)
    burnt = np.clip(1.8 * scene, 0, 1)

    default, careful = (fuse(photo, photo, *place(burnt), fidelity=f).pixels for f in (0.75, 1))

    assert careful.mean() > 2 * photo.mean()
    assert (careful > 0.995).mean() < 0.6 * (default > 0.995).mean()


def test_of_a_prior_that_redrew_the_scene_nothing_is_taken_and_the_base_stays(scene, place):
    moved = np.roll(scene, (12, 12), (0, 1))
    anew = moved - low(moved) + low(scene)

    fused = fuse(scene, scene, *place(np.clip(anew, 0, 1)))

    assert np.array_equal(fused.pixels, scene)
    assert "redrawn" in fused.notes[0]


def test_a_prior_of_another_state_that_redrew_the_scene_smooths_nothing(scene, place):
    rng = np.random.default_rng(2)
    flakes = (rng.random(scene.shape[:2]) > 0.9).astype(np.float32)
    snow = cv2.GaussianBlur(flakes, (0, 0), 1.0)[..., None]
    photo = np.clip(0.5 * scene + snow, 0, 1).astype(np.float32)

    fused = fuse(photo, photo, *place(1 - low(photo).astype(np.float32)))

    assert fused.scene_state_change
    assert (photo - low(photo)).std() < 1.02 * (fused.pixels - low(fused.pixels)).std()


def test_what_heavy_rain_hides_comes_from_the_prior(place, psnr):
    scene = from_uint8(np.ascontiguousarray(data.coffee()[:320, :480]))
    photo = scene
    for seed in (1, 3):
        photo = apply(photo, Degradation("rain", 1.0, seed))
    faults = diagnose(photo)
    base = network.structure(photo, faults)

    fused = fuse(photo, base, *place(scene), faults=faults)

    assert psnr(fused.pixels, scene) > psnr(base, scene) + 10
    assert fused.explanation.words() == "heavy rain"


def test_style_in_light_is_not_taken_for_a_fault(scene, place):
    warmer = np.clip(scene * np.float32([1.08, 1.0, 0.94]) + 0.03, 0, 1)
    fused = fuse(scene, scene, *place(warmer))

    assert rms(low(fused.pixels - scene)) < 0.2 * rms(low(warmer - scene))


def test_at_fidelity_1_light_has_to_be_wrong_in_the_photo_itself(scene, place):
    veil = (0.8 * scene + 0.15).astype(np.float32)  # too thin to be seen in the photo alone
    vivid = np.clip(1.25 * (scene - 0.5) + 0.5, 0, 1).astype(np.float32)
    clear = diagnose(scene)
    strict, usual = (
        fuse(veil, veil, *place(vivid), faults=clear, fidelity=fidelity) for fidelity in (1, 0.75)
    )

    assert strict.explanation.light < 0.3
    assert usual.explanation.light > 0.9


def test_an_object_only_the_prior_shows_is_not_added(scene, place):
    prior = scene.copy()
    cv2.circle(prior, (140, 100), 25, (0.1, 0.9, 0.1), -1)
    fused = fuse(scene, scene, *place(prior))

    assert unsupported_edges(fused.pixels, scene) == 0
    assert rms(fused.pixels - scene) < 0.15 * rms(prior - scene)


def test_a_thing_that_the_prior_lost_stays(scene, place):
    prior = scene.copy()
    cv2.circle(prior, (140, 100), 25, tuple(float(x) for x in scene[60, 140]), -1)
    fused = fuse(scene, scene, *place(prior))

    assert rms(fused.pixels - scene) < 0.15 * rms(prior - scene)


def test_scratches_and_dust_are_taken_away(scene, place):
    rng = np.random.default_rng(3)
    photo = scene.copy()
    for _ in range(40):
        x, y = (int(v) for v in rng.integers(5, 180, 2))
        cv2.circle(photo, (x + 50, y), 1, (1.0, 1.0, 1.0), -1)
    fused = fuse(photo, photo, *place(scene))

    assert rms(fused.pixels - scene) < 0.4 * rms(photo - scene)
    assert fused.trust[..., 3].mean() > 0.01


def test_colour_comes_from_the_prior_where_the_photo_has_none(scene, place):
    grey = np.repeat(luma(scene)[..., None], 3, 2)
    fused = fuse(grey, grey, *place(scene))

    assert rms(fused.pixels - scene) < 0.4 * rms(grey - scene)
    assert np.abs(luma(fused.pixels) - grey[..., 0]).mean() < 0.02


def test_a_rough_registration_gives_light_alone_and_says_so(scene, place, psnr):
    photo = apply(scene, Degradation("lowlight", 0.5, 2))
    fused = fuse(photo, photo, *place(scene, "roughly"))

    assert psnr(fused.pixels, scene) > psnr(photo, scene) + 6
    assert "only its light" in fused.notes[0]
    assert not fused.trust[..., 3].any()


@pytest.mark.parametrize("fidelity", [0.0, 0.3, 0.75, 1.0])
def test_trust_shares_sum_to_one(scene, place, fidelity):
    dark = (0.1 * scene).astype(np.float32)
    trust = fuse(dark, dark, *place(scene), fidelity=fidelity).trust.astype(np.float32)

    assert np.allclose(trust.sum(2), 1, atol=5e-3)
    assert trust.min() >= -1e-3


def test_what_the_trust_map_calls_generated_grows_down_the_dial(scene, place):
    photo = apply(scene, Degradation("motion_blur", 0.7, 1))
    prior, registration = place(scene)
    shares = [
        fuse(photo, photo, prior, registration, fidelity=f).trust[..., 3].mean(dtype=float)
        for f in (1.0, 0.75, 0.5, 0.25, 0.0)
    ]

    assert shares[0] == 0
    assert shares[-1] == 1
    assert (np.diff(shares) > -0.01).all()


def test_the_dial_goes_from_the_photo_to_the_prior(scene, place):
    rng = np.random.default_rng(7)
    texture = cv2.GaussianBlur(rng.standard_normal(scene.shape[:2]).astype(np.float32), (0, 0), 1.5)
    redrawn = np.clip(scene**0.8 + 0.3 * texture[..., None], 0, 1).astype(np.float32)
    prior, registration = place(redrawn)
    steps = [
        fuse(scene, scene, prior, registration, fidelity=f).pixels for f in np.linspace(0, 1, 5)
    ]
    distances = [rms(step - redrawn) for step in steps]

    assert distances == sorted(distances)


def test_structure_that_the_prior_redrew_stays_the_photos(scene, place):
    dark = (0.2 * scene).astype(np.float32)
    rng = np.random.default_rng(8)
    texture = cv2.GaussianBlur(rng.standard_normal(scene.shape[:2]).astype(np.float32), (0, 0), 1.2)
    redrawn = np.clip(scene + 0.08 * texture[..., None], 0, 1).astype(np.float32)
    fused = fuse(dark, dark, *place(redrawn))

    def likeness(picture):
        fine = [luma(x) - luma(cv2.GaussianBlur(x, (0, 0), 2)) for x in (picture, dark)]
        return np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]

    assert likeness(fused.pixels) > likeness(redrawn) + 0.04


def test_tiles_leave_no_seam(scene, place):
    tall = cv2.resize(scene, (200, 2 * TILE + 90), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    photo = apply(tall, Degradation("lowlight", 0.6, 3))
    fused = fuse(photo, photo, *place(tall)).pixels
    steps = np.abs(np.diff(fused.astype(np.float64), axis=0)).mean((1, 2))

    assert steps[[TILE - 1, 2 * TILE - 1]].max() < np.quantile(steps, 0.99)


def test_a_dark_real_photo_gets_the_light_of_its_prior(pictures, psnr):
    folder = pictures / "lowlight" / "nanobananapro_lowlevelbanana"
    photo, prior, target = (
        read(folder / kind / "ll_good1.png").pixels for kind in ("input", "generated", "target")
    )
    registration = register.register(photo, prior)
    warped = register.apply(registration, prior, size=(photo.shape[1], photo.shape[0]))
    faults = diagnose(photo)
    fused = fuse(
        photo, photo, warped, registration, faults=faults, lit=network.lit_copy(photo, faults)
    )

    assert psnr(fused.pixels, target) > 22
