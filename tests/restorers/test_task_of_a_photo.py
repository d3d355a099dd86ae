"""A fault that stands out is named; a clean photo is not accused of one."""

import cv2
import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax.catalog import tasks
from verax.restorers.faults import estimate


@pytest.fixture(scope="module", params=["coffee", "astronaut", "rocket"])
def scene(request):
    """Clean pictures that come with scikit-image."""
    return images.from_uint8(np.ascontiguousarray(getattr(data, request.param)()))


def noisy(scene):
    rng = np.random.default_rng(1)
    return scene + rng.normal(0, 14 / 255, scene.shape).astype(np.float32)


WATER = np.array([0.15, 0.6, 0.5], np.float32)  # red light is lost first
VEIL = np.array([0.02, 0.35, 0.4], np.float32)
FAULTS = {
    "lowlight": lambda scene: scene * 0.15,
    "underwater": lambda scene: scene * WATER + (1 - WATER) * VEIL,
    "dehaze": lambda scene: 0.2 * scene + 0.8 * 0.85,
    "denoise": noisy,
}


@pytest.mark.parametrize("task", FAULTS)
def test_a_plain_fault_is_named(scene, task):
    faulty = np.clip(FAULTS[task](scene), 0, 1).astype(np.float32)

    assert estimate(faulty) == task
    assert task in tasks()


def test_blur_is_named_though_its_kind_may_be_mistaken(scene):
    """A tall rocket out of focus looks as if it had moved: its own lines are not told from blur."""
    assert estimate(cv2.GaussianBlur(scene, (0, 0), 6)).endswith("_deblur")


def test_a_clean_photo_gets_the_prompt_that_names_no_fault():
    assert estimate(images.from_uint8(data.coffee())) == "restore"


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (16, 16)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_even_an_empty_picture_gets_an_answer(shape, level):
    assert estimate(np.full((*shape, 3), level, np.float32)) in tasks()
