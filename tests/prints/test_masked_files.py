"""Restoration files under a mask: what stays, to the last bit, and what is filled."""

from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax.errors import VeraxError
from verax.making import Order, fit_into, make
from verax.prints.enlarge import reduce

SIDES = ("width", "height")


@pytest.fixture
def scene():
    return images.from_uint8(np.ascontiguousarray(data.coffee()[::3, ::3]))


@pytest.fixture
def mask(scene, tmp_path):
    plane = np.zeros_like(scene)
    plane[40:90, 60:120] = 1
    images.write(tmp_path / "mask.png", plane)
    return plane[..., 0] > 0


LOSSLESS = [("png", 8), ("png", 16), ("tiff", 16), ("webp", 8), ("jxl", 8), ("jxl", 16)]


@pytest.mark.parametrize(("suffix", "depth"), LOSSLESS)
def test_outside_only_a_file_keeps_every_sample(scene, mask, tmp_path, suffix, depth):
    photo, out = tmp_path / f"photo.{suffix}", tmp_path / f"out.{suffix}"
    dark = np.asarray(scene * 0.3, np.float32)
    images.write(photo, dark, like=replace(images.Photo(dark), bit_depth=depth))
    images.write(tmp_path / "prior.png", scene)

    result = make(
        Order(photo=photo, prior=tmp_path / "prior.png", output=out, only=tmp_path / "mask.png")
    )

    before, after = images.read(photo), images.read(out)
    assert before.bit_depth == after.bit_depth == depth
    assert np.array_equal(after.pixels[~mask], before.pixels[~mask])
    assert np.abs(after.pixels[mask] - before.pixels[mask]).mean() > 0.02
    assert (result.restoration.trust[~mask] == [1, 0, 0, 0]).all()


def test_a_hole_under_a_mask_is_filled_from_the_prior(scene, mask, tmp_path):
    holed = np.where(mask[..., None], np.float32(1), scene)
    images.write(tmp_path / "photo.png", holed)
    images.write(tmp_path / "prior.png", scene)
    order = Order(
        photo=tmp_path / "photo.png",
        prior=tmp_path / "prior.png",
        output=tmp_path / "out.png",
        restorer="none",
        mask=tmp_path / "mask.png",
    )

    make(order)

    assert np.abs(images.read(tmp_path / "out.png").pixels - scene)[mask].mean() < 0.03


def test_a_mask_of_another_size_is_refused_before_anything_is_written(scene, tmp_path):
    images.write(tmp_path / "photo.png", scene)
    images.write(tmp_path / "mask.png", np.eye(30, dtype=np.float32)[..., None].repeat(3, 2))

    with pytest.raises(VeraxError, match="--only: expected a mask of the photo's size"):
        make(
            Order(
                photo=tmp_path / "photo.png",
                output=tmp_path / "out.png",
                only=tmp_path / "mask.png",
            )
        )

    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(("scale", "size"), [("2", (400, 268)), ("prior", (600, 402))])
def test_a_larger_file_reduces_to_the_restoration_and_shows_the_priors_detail(
    tmp_path, scale, size
):
    fine = images.from_uint8(np.ascontiguousarray(data.coffee()[:402, :600]))
    photo = np.asarray(np.clip(reduce(fine, (200, 134)), 0, 1), np.float32)
    shown = replace(images.Photo(photo), alpha=np.linspace(0, 1, photo[..., 0].size, dtype="f4"))
    shown = replace(shown, alpha=shown.alpha.reshape(photo.shape[:2]))
    images.write(tmp_path / "photo.png", photo, like=shown)
    images.write(tmp_path / "prior.png", fine)
    order = Order(
        photo=tmp_path / "photo.png",
        prior=tmp_path / "prior.png",
        output=tmp_path / "out.png",
        restorer="none",
        scale=scale,
    )

    outcome = make(order)

    result = images.read(tmp_path / "out.png")
    assert (result.width, result.height) == size == tuple(outcome.record()[k] for k in SIDES)
    assert result.alpha.shape == result.pixels.shape[:2]
    back = reduce(result.pixels, (200, 134))
    assert np.abs(back - outcome.restoration.pixels).max() < 1 / 255
    assert outcome.record()["larger"]["generated"] > 0.1


def test_an_answer_in_a_larger_size_shows_the_priors_detail(tmp_path):
    fine = images.from_uint8(np.ascontiguousarray(data.coffee()[:399, :600]))
    photo = np.asarray(np.clip(reduce(fine, (200, 133)), 0, 1), np.float32)
    images.write(tmp_path / "photo.png", photo)
    images.write(tmp_path / "prior.png", fine)
    order = Order(
        photo=tmp_path / "photo.png",
        prior=tmp_path / "prior.png",
        output=tmp_path / "out.png",
        restorer="none",
        size=(600, 399),
    )

    outcome = make(order)

    result = images.read(tmp_path / "out.png").pixels
    plain = fit_into(outcome.restoration.pixels, (600, 399))
    assert result.shape == fine.shape
    assert np.square(result - fine).mean() < 0.6 * np.square(plain - fine).mean()
