"""Exposure in stops, for who wants another than the one chosen."""

import numpy as np
import pytest
from skimage import data

import verax
from verax.errors import InputError
from verax.image import from_uint8

PHOTO = from_uint8(np.ascontiguousarray(data.astronaut()[::4, ::4]))


def test_stops_make_the_result_brighter_or_darker():
    means = [verax.restore(PHOTO, exposure=stops).pixels.mean() for stops in (-1, 0, 1)]

    assert means[0] < means[1] - 0.05
    assert means[2] > means[1] + 0.05


def test_more_stops_than_anybody_wants_are_refused():
    with pytest.raises(
        InputError, match="exposure: expected a number of stops from -4 to 4, got 9"
    ):
        verax.restore(PHOTO, exposure=9)
