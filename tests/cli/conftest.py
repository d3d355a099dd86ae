"""The command line as users run it: a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

from verax import image as images


@pytest.fixture
def verax():
    """Run `verax ARGS`; gives the finished process with text output."""

    def run(*args, cwd=None):
        command = [sys.executable, "-m", "verax", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=100)

    return run


@pytest.fixture(scope="session")
def scene():
    """A clean picture with structure at all scales: scikit-image's coffee (CC0), 300 x 200."""
    from skimage import data

    return images.from_uint8(np.ascontiguousarray(data.coffee()[::2, ::2]))


@pytest.fixture
def pair(tmp_path, scene):
    """A darkened photo and a bright prior of it, as files."""
    photo, prior = tmp_path / "photo.png", tmp_path / "prior.png"
    images.write(photo, np.asarray(scene * 0.25, np.float32))
    images.write(prior, scene)
    return photo, prior
