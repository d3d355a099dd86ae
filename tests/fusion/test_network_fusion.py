"""Fusion by network, and the prior that is the photo again."""

import numpy as np
import pytest

from verax import degrade
from verax.fusion.fuse import fuse
from verax.geometry.register import Registration, Warped


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :128].astype(np.float32) / 128
    clean = np.stack([0.3 + 0.5 * x, 0.7 - 0.5 * y, 0.5 + 0.2 * np.sin(20 * x * y)], 2)
    clean[30:60, 40:80] = rng.random(3)
    dark = degrade.apply(clean.astype(np.float32), degrade.Degradation("lowlight", 0.6, 1))
    return clean.astype(np.float32), dark


def placed(prior):
    size = prior.shape[:2]
    found = Registration(
        "registered", "", np.eye(3), None, np.ones(size, np.float32), 0.0, 1.0, "stretch"
    )
    return Warped(prior, np.ones(size, np.float32)), found


def test_a_prior_brings_its_light(pictures):
    clean, dark = pictures
    fused = fuse(dark, dark, *placed(clean), mode="network")

    assert np.abs(fused.pixels - clean).mean() < 0.4 * np.abs(dark - clean).mean()
    assert np.allclose(fused.trust.sum(2), 1, atol=1e-5)


@pytest.mark.parametrize("mode", ["tone", "network"])
def test_the_photo_as_its_own_prior_changes_nothing(pictures, mode):
    dark = pictures[1]
    base = np.clip(dark * 1.5, 0, 1)

    assert np.array_equal(fuse(dark, base, *placed(dark), mode=mode).pixels, base)
