"""Small real datasets for benchmark tests, made from scikit-image's coffee (CC0)."""

import numpy as np
import pytest

from verax import image as images


def small_dataset(folder, count=4, size=64):
    """A folder with input/, target/ and generated/: dark photos, references, bright priors."""
    from skimage import data

    picture = images.from_uint8(data.coffee())
    for role in ("input", "target", "generated"):
        (folder / role).mkdir(parents=True)
    for index in range(count):
        top, left = 37 * index % 300, 53 * index % 500
        clean = np.ascontiguousarray(picture[top : top + size, left : left + size])
        images.write(folder / "target" / f"{index:04d}.png", clean)
        images.write(folder / "input" / f"{index:04d}.png", np.asarray(clean * 0.4, np.float32))
        images.write(folder / "generated" / f"{index:04d}.png", np.clip(clean * 1.05, 0, 1))
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dark")
