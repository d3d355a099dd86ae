import numpy as np
import pytest

from verax import geometry
from verax.geometry import share_seen, warp


@pytest.fixture
def picture():
    y, x = np.mgrid[:120, :160].astype(np.float32)
    waves = [0.5 + 0.4 * np.sin(x / 9 + y / k) for k in (7, 11, 15)]
    return np.stack(waves, 2).astype(np.float32)


def test_the_identity_returns_the_picture(picture):
    pixels, valid = warp(picture, np.eye(3), None, (160, 120))

    assert np.abs(pixels - picture).max() < 1e-6
    assert valid.min() == 1


def test_a_warp_and_its_inverse_cancel(picture):
    matrix = np.array([[1.05, 0.03, 4.2], [-0.02, 0.97, -3.1], [5e-5, -3e-5, 1]])
    there, _ = warp(picture, matrix, None, (160, 120))
    back, valid = warp(there, geometry.invert(matrix), None, (160, 120))
    inner = np.s_[20:-20, 20:-20]

    assert valid[inner].min() == 1
    assert np.abs(back - picture)[inner].max() < 0.01


def test_a_constant_field_is_a_shift_of_the_lookup(picture):
    field = np.zeros((120, 160, 2), np.float32)
    field[..., 0] = 7
    pixels, valid = warp(picture, np.eye(3), field, (160, 120))

    assert np.abs(pixels[:, :150] - picture[:, 7:157]).max() < 1e-6
    assert valid[:, :152].min() == 1
    assert valid[:, 155:].max() == 0


def test_many_strips_are_one_picture(picture, monkeypatch):
    matrix = geometry.shift(3.3, -2.7)
    whole, _ = warp(picture, matrix, None, (160, 120))
    monkeypatch.setattr("verax.image.pixels.STRIPE", 160 * 7)
    strips, _ = warp(picture, matrix, None, (160, 120))

    assert np.array_equal(whole, strips)


def test_a_much_finer_prior_is_averaged_not_aliased():
    fine = np.random.default_rng(0).random((1200, 1600, 3), np.float32)
    pixels, _ = warp(fine, geometry.stretch((1600, 1200), (160, 120)), None, (160, 120))
    averaged = fine.reshape(120, 10, 160, 10, 3).mean((1, 3))

    assert np.abs(pixels - averaged).max() < 0.01


def test_the_share_seen_is_the_overlap():
    assert share_seen(np.eye(3), (200, 100), (200, 100)) == pytest.approx(1)
    assert share_seen(geometry.shift(50, 0), (201, 101), (201, 101)) == pytest.approx(0.75)
    assert share_seen(geometry.shift(500, 0), (200, 100), (200, 100)) == 0
