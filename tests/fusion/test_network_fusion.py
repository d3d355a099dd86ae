"""Fusion by network, and the prior that is the photo again."""

from dataclasses import replace

import numpy as np
import pytest

from verax import degrade
from verax.fusion.fuse import fuse
from verax.fusion.network import FEATHER, feathered, photometric_confidence
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
        "exactly", "", np.eye(3), None, np.ones(size, np.float32), 0.0, 1.0, "stretch"
    )
    return Warped(prior, np.ones(size, np.float32)), found


def test_a_prior_brings_its_light(pictures):
    clean, dark = pictures
    fused = fuse(dark, dark, *placed(clean), mode="network")

    assert np.abs(fused.pixels - clean).mean() < 0.4 * np.abs(dark - clean).mean()
    assert np.allclose(fused.trust.sum(2), 1, atol=1e-5)


def test_where_the_prior_is_not_trusted_its_texture_is_not_taken(pictures):
    clean, dark = pictures
    warped, found = placed(clean)
    trusted = fuse(dark, dark, warped, found, mode="network").trust[..., 2]
    nowhere = replace(found, confidence=np.zeros_like(found.confidence))
    doubted = fuse(dark, dark, warped, nowhere, mode="network").trust[..., 2]

    assert 0 <= trusted.min() <= trusted.max() <= 1
    assert not doubted.any()


def test_light_that_agrees_is_believed_and_light_that_does_not_is_not(pictures):
    clean, dark = pictures
    warped, _ = placed(clean)

    assert photometric_confidence(clean, warped).min() > 0.99
    assert photometric_confidence(dark, warped).mean() < 0.1


@pytest.mark.parametrize("mode", ["tone", "network"])
def test_the_photo_as_its_own_prior_changes_nothing(pictures, mode):
    dark = pictures[1]
    base = np.clip(dark * 1.5, 0, 1)

    assert np.array_equal(fuse(dark, base, *placed(dark), mode=mode).pixels, base)


def test_validity_fades_in_inside_the_priors_frame_and_not_at_the_photos_edge():
    valid = np.ones((96, 128), np.float32)
    valid[:, 100:] = 0
    soft = feathered(valid)

    assert not soft[:, 100 - FEATHER // 2 :].any()
    assert np.all(soft[:, : 100 - 2 * FEATHER] == 1)
    assert np.all(np.diff(soft[48]) <= 1e-6)
    assert np.array_equal(feathered(np.ones((8, 8), np.float32)), np.ones((8, 8)))
