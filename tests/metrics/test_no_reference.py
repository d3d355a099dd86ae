"""Facts about metrics that look at one picture."""

import cv2
import numpy as np
import pytest
import skimage.data

from verax.metrics import score
from verax.metrics.naturalness import fit_asymmetric
from verax.metrics.scene import haze_density


@pytest.fixture(scope="module")
def photo():
    return skimage.data.astronaut().astype(np.float32) / np.float32(255)


def value(name, picture):
    return score(picture, None, [name])[0].value


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gaussian_has_shape_two(seed):
    values = np.random.default_rng(seed).normal(0, 3.0, (400, 400)).astype(np.float32)
    fit = fit_asymmetric(values)

    assert fit.shape == pytest.approx(2.0, abs=0.05)
    assert fit.left == pytest.approx(3.0, rel=0.02)
    assert fit.mean == pytest.approx(0.0, abs=0.05)


def test_a_laplacian_with_unequal_sides_has_shape_one_and_both_deviations():
    rng = np.random.default_rng(3)
    right, left = rng.exponential(2.0, 200_000), -rng.exponential(1.0, 100_000)
    fit = fit_asymmetric(np.concatenate([right, left]).astype(np.float32))

    assert fit.shape == pytest.approx(1.0, abs=0.05)
    assert fit.left == pytest.approx(np.sqrt(2) * 1.0, rel=0.03)
    assert fit.right == pytest.approx(np.sqrt(2) * 2.0, rel=0.03)


@pytest.mark.parametrize("name", ["niqe", "brisque", "piqe"])
def test_blur_and_heavy_jpeg_look_less_natural(name, photo):
    blurred = cv2.GaussianBlur(photo, (0, 0), 3)
    levels = np.rint(photo * 255).astype(np.uint8)
    squeezed = cv2.imdecode(
        cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], cv2.IMREAD_COLOR
    )
    jpeg = squeezed.astype(np.float32) / np.float32(255)

    assert value(name, blurred) > value(name, photo)
    assert value(name, jpeg) > value(name, photo)


@pytest.mark.parametrize("name", ["uiqm", "uciqe"])
def test_water_lowers_the_underwater_scores(name, photo):
    t = np.array([0.25, 0.7, 0.6], np.float32)
    water = photo * t + np.array([0.05, 0.5, 0.5], np.float32) * (1 - t)

    assert value(name, water.astype(np.float32)) < value(name, photo)


def test_haze_density_rises_with_haze(photo):
    hazes = [photo * (1 - h) + np.float32(0.85 * h) for h in (0.0, 0.3, 0.6, 0.85)]
    densities = [haze_density(h.astype(np.float32)) for h in hazes]

    assert densities == sorted(densities)
    assert densities[-1] > 0.6 > 0.25 > densities[0]
