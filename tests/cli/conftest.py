"""What the tests of the command line share: a photo and its prior."""

import numpy as np
import pytest

from verax import image as images


@pytest.fixture(scope="session")
def scene():
    """A clean picture with structure at all scales: scikit-image's coffee (CC0), 200 x 134."""
    from skimage import data

    return images.from_uint8(np.ascontiguousarray(data.coffee()[::3, ::3]))


@pytest.fixture
def pair(tmp_path, scene):
    """A darkened photo and a bright prior of it, as files."""
    photo, prior = tmp_path / "photo.png", tmp_path / "prior.png"
    images.write(photo, np.asarray(scene * 0.25, np.float32))
    images.write(prior, scene)
    return photo, prior
