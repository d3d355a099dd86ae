"""Fusion: what it takes from a prior, and what it never takes."""

import numpy as np
import pytest

from verax.errors import SizeMismatchError, UnknownNameError
from verax.fusion.fuse import fuse
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import read


def registration(shape, outcome="registered"):
    return Registration(
        outcome, "", np.eye(3), None, np.ones(shape, np.float32), 0.0, 1.0, "stretch"
    )


def warped(pixels):
    return Warped(pixels, np.ones(pixels.shape[:2], np.float32))


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(5)
    coarse = rng.random((8, 12, 3), np.float32)
    import cv2

    return np.clip(cv2.resize(coarse, (192, 128), interpolation=cv2.INTER_CUBIC), 0, 1)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


def test_without_a_prior_the_result_is_the_base(photo):
    fused = fuse(photo, photo, None, None)

    assert np.array_equal(fused.pixels, photo)
    assert np.array_equal(fused.trust[..., 0], np.ones(photo.shape[:2]))


def test_a_foreign_prior_changes_nothing(photo):
    foreign = registration(photo.shape[:2], "foreign")

    assert np.array_equal(fuse(photo, photo, warped(1 - photo), foreign).pixels, photo)


def test_trust_shares_sum_to_one_and_lie_between_0_and_1(photo):
    prior = warped(photo**0.5)

    for fidelity in (0.0, 0.3, 1.0):
        trust = fuse(photo, photo, prior, registration(photo.shape[:2]), fidelity=fidelity).trust
        assert np.allclose(trust.sum(2), 1, atol=1e-5)
        assert trust.min() >= 0


def test_fidelity_0_is_the_registered_prior_and_the_base_outside_it(photo):
    prior = warped(photo**0.5)
    prior.valid[:, :60] = 0
    fused = fuse(photo, photo, prior, registration(photo.shape[:2]), fidelity=0)

    assert np.allclose(fused.pixels[:, 60:], prior.pixels[:, 60:], atol=1e-6)
    assert np.allclose(fused.pixels[:, :60], photo[:, :60], atol=1e-6)


def test_the_fidelity_dial_is_monotone(photo):
    prior = warped(photo**0.5)
    steps = [
        fuse(photo, photo, prior, registration(photo.shape[:2]), fidelity=f).pixels
        for f in np.linspace(0, 1, 6)
    ]
    distances = [np.abs(s - prior.pixels).mean() for s in steps]

    assert distances == sorted(distances)


def test_an_unknown_mode_and_a_foreign_size_are_refused(photo):
    with pytest.raises(UnknownNameError, match="mode"):
        fuse(photo, photo, None, None, mode="magic")
    with pytest.raises(SizeMismatchError):
        fuse(photo, photo[1:], None, None)


def test_a_dark_real_photo_gets_the_light_of_its_prior(pictures):
    folder = pictures / "lowlight" / "nanobananapro_lowlevelbanana"
    photo, prior, target = (
        read(folder / kind / "ll_good1.png").pixels for kind in ("input", "generated", "target")
    )
    found = register(photo, prior)
    seen = apply(found, prior, size=(photo.shape[1], photo.shape[0]))
    fused = fuse(photo, photo, seen, found)

    assert psnr(fused.pixels, target) > 21.5
