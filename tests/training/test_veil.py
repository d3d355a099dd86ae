import numpy as np
import pytest
import toy

from verax.degrade.weather import scatter
from verax.training import library


def test_the_veil_between_a_photo_and_its_clear_twin_is_recovered():
    clear = toy.scene(3, (96, 128))
    transmission = np.tile(np.linspace(0.3, 0.9, 128, dtype=np.float32), (96, 1))
    transmissions = library.lift(scatter(clear, transmission, np.full(3, 0.86, np.float32)), clear)

    assert transmissions.airlight == pytest.approx(0.86, abs=0.011)
    assert np.median(np.abs(transmissions.transmission - transmission)) < 0.02
    assert transmissions.residual < 0.01
    assert np.allclose(np.exp(-transmissions.depth), transmissions.transmission)


def test_a_pair_that_is_no_veil_leaves_a_residual():
    assert library.lift(toy.scene(3), toy.scene(4)).residual > library.EXACT
