"""The networks that ship with Verax, on pictures they were not trained on."""

import cv2
import numpy as np
import pytest

from verax import degrade, restorers, weights
from verax.errors import SettingsError
from verax.restorers import network, runtime
from verax.restorers.faults import diagnose


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)


@pytest.fixture(scope="module")
def picture():
    """A still life of discs on a shaded ground, seen through a lens, with a faint grain."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:192, :256].astype(np.float32) / 256
    ground = np.stack([0.55 + 0.2 * x, 0.5 + 0.2 * y, 0.45 - 0.1 * x], 2)
    for _ in range(25):
        centre = (int(rng.integers(256)), int(rng.integers(192)))
        cv2.circle(
            ground, centre, int(rng.integers(6, 30)), rng.random(3).tolist(), -1, cv2.LINE_AA
        )
    ground = cv2.GaussianBlur(ground, (0, 0), 1.0)
    grain = cv2.GaussianBlur(rng.normal(0, 0.005, (192, 256)).astype(np.float32), (0, 0), 1.5)
    return np.clip(ground + grain[..., None], 0, 1).astype(np.float32)


def test_they_are_small_and_say_where_they_come_from():
    files = [weights.path(name) for name in weights.FILES]

    assert sum(file.stat().st_size for file in [*files, weights.FACES]) < 12e6
    for file in files:
        facts = (
            runtime.open_network(file, runtime.KINDS.get(file.stem, file.stem))
            .session.get_modelmeta()
            .custom_metadata_map
        )
        assert len(facts["verax.data_sha256"]) == 64
        assert "CC0" in facts["verax.data_licences"]


def test_the_fault_classifier_is_no_restorer(picture):
    with pytest.raises(SettingsError, match="expected a tone or detail network"):
        restorers.restore(picture, str(weights.path("judge")))


def test_a_good_photo_stays_as_it_is(picture):
    assert psnr(restorers.restore(picture, "network"), picture) > 34


def test_noise_goes(picture):
    noisy = degrade.apply(picture, degrade.Degradation("noise", 0.5, 1))
    gain = psnr(restorers.restore(noisy, "network"), picture) - psnr(noisy, picture)

    assert gain > 3


def test_darkness_goes(picture):
    dark = degrade.apply(picture, degrade.Degradation("lowlight", 0.7, 1))

    assert psnr(restorers.restore(dark, "network"), picture) > psnr(dark, picture) + 4


def test_rain_goes(picture):
    wet = degrade.apply(picture, degrade.Degradation("rain", 0.8, 3))

    assert psnr(restorers.restore(wet, "network"), picture) > psnr(wet, picture) + 1


def test_the_faults_are_seen_and_only_where_they_are(picture):
    kinds = ("haze", "lowlight", "rain")
    clean = diagnose(picture)
    for task in kinds:
        faults = diagnose(degrade.apply(picture, degrade.Degradation(task, 0.8, 1)))

        assert max(kinds, key=lambda kind: faults[kind].severity) == task
        assert faults[task].severity > clean[task].severity + 0.2


@pytest.mark.parametrize("name", ["detail", "tone", "dark"])
def test_a_network_file_is_a_restorer(picture, name):
    base = restorers.restore(picture, str(weights.path(name)))

    assert base.shape == picture.shape
    assert base.dtype == np.float32
    assert base.min() >= 0
    assert base.max() <= 1


def test_a_file_that_is_no_network_is_said(picture, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")

    with pytest.raises(SettingsError, match=r"x\.onnx: expected a network"):
        restorers.restore(picture, str(tmp_path / "x.onnx"))


@pytest.mark.parametrize("level", [0.5, 0.02, 1.0])
def test_a_plain_picture_comes_back_as_it_was(level):
    plain = np.full((128, 160, 3), level, np.float32)

    assert np.array_equal(restorers.restore(plain, "network"), plain) or level < 0.1


def test_a_gradient_comes_back_as_it_was():
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 128, 0)
    ramp = np.ascontiguousarray(np.repeat(ramp, 3, 2))

    assert np.array_equal(restorers.restore(ramp, "network"), ramp)


def test_fine_texture_in_one_place_is_no_rain(picture):
    stripes = picture.copy()
    stripes[60:130, 90:170] = 0.5 + 0.3 * (np.arange(80) % 4 < 2)[None, :, None]

    assert psnr(restorers.restore(stripes.astype(np.float32), "network"), stripes) > 34


def test_a_small_photo_and_its_mirror_image_become_mirror_images(picture):
    noisy = degrade.apply(picture, degrade.Degradation("noise", 0.5, 1))
    turned = np.ascontiguousarray(noisy[:, ::-1])

    first, second = (runtime.apply_network(photo, "detail") for photo in (noisy, turned))
    assert np.abs(first - second[:, ::-1]).max() < 1e-4


def test_rain_that_is_taken_away_has_hardly_any_colour(picture):
    wet = degrade.apply(picture, degrade.Degradation("rain", 0.8, 1))

    plain, dry = (wet - runtime.apply_network(wet, "rain")), wet - runtime.remove_rain(wet)
    open_air = (wet < 0.9).all(2)
    assert np.ptp(dry, axis=2)[open_air].mean() < 0.6 * np.ptp(plain, axis=2)[open_air].mean()


def test_a_task_that_somebody_names_is_believed(picture):
    thin = degrade.apply(picture, degrade.Degradation("haze", 0.25, 1))

    assert diagnose(thin).believing("dehaze")["haze"].certainty == 1
    assert diagnose(thin).believing("")["haze"].certainty == diagnose(thin)["haze"].certainty


@pytest.mark.parametrize("depth", [0.08, 0.2])
def test_a_dark_photo_comes_back_about_as_bright_as_photos_are(picture, depth):
    dark = (picture * np.float32(depth)).astype(np.float32)
    base = restorers.restore(dark, "network")

    assert 0.3 < base.mean() < 0.65


def test_lamps_in_a_dark_photo_are_not_spread(picture):
    dark = (picture * np.float32(0.1)).astype(np.float32)
    dark[20:40, 20:50] = 0.9
    base = restorers.restore(dark, "network")

    assert np.mean(base.max(2) > 0.99) < 0.12


def test_a_treatment_that_makes_noise_or_takes_structure_is_not_kept(picture):
    other = np.ascontiguousarray(np.roll(picture, (50, 70), (0, 1)))
    grain = np.random.default_rng(1).normal(0, 0.04, picture.shape).astype(np.float32)

    assert network.sound(picture, np.clip(0.1 + 1.2 * picture, 0, 1))
    assert not network.sound(picture, other)
    assert not network.sound(picture, np.clip(picture + grain, 0, 1))
