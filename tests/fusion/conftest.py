"""A clean scene made from a seed, and priors placed without registration."""

import cv2
import numpy as np
import pytest

from verax.geometry.register import Registration, WarpedPrior


@pytest.fixture(scope="session")
def scene():
    """(192, 288, 3): patches of colour with edges, shading and fine texture."""
    rng = np.random.default_rng(5)
    patches = cv2.resize(rng.random((8, 12, 3), np.float32), (288, 192), interpolation=0)
    shading = cv2.resize(rng.random((3, 4, 1), np.float32), (288, 192), interpolation=2)
    texture = cv2.GaussianBlur(rng.standard_normal((192, 288), np.float32), (0, 0), 1.2)
    picture = 0.15 + 0.6 * cv2.GaussianBlur(patches, (0, 0), 1.0) + 0.2 * shading[..., None]
    return np.clip(picture + 0.1 * texture[..., None], 0, 1).astype(np.float32)


@pytest.fixture(scope="session")
def place():
    """A prior on the photo's grid with a registration placed as given."""

    def place(prior, placed="exactly", valid=None):
        ones = np.ones(prior.shape[:2], np.float32)
        valid = ones if valid is None else valid
        registration = Registration(placed, "", np.eye(3), None, ones, 0.0, 1.0, "stretch")
        return WarpedPrior(prior, valid), registration

    return place


@pytest.fixture(scope="session")
def psnr():
    return lambda a, b: float(-10 * np.log10(np.mean((a - b) ** 2)))
