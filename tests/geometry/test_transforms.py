import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax import geometry
from verax.geometry import compose, invert, map_points, motion, stretch

SIZES = st.tuples(st.integers(2, 4000), st.integers(2, 4000))
SMALL = st.floats(-1e-4, 1e-4)
MATRICES = st.builds(
    lambda a, b, c, d, x, y, p, q: np.array([[a, b, x], [c, d, y], [p, q, 1.0]]),
    st.floats(0.5, 2),
    st.floats(-0.2, 0.2),
    st.floats(-0.2, 0.2),
    st.floats(0.5, 2),
    st.floats(-50, 50),
    st.floats(-50, 50),
    SMALL,
    SMALL,
)
POINTS = np.array([[0, 0], [100, 0], [33.3, 80], [250, 199]])


@given(matrix=MATRICES)
def test_the_inverse_undoes_a_matrix(matrix):
    assert np.allclose(map_points(invert(matrix), map_points(matrix, POINTS)), POINTS, atol=1e-6)


@given(first=MATRICES, second=MATRICES)
def test_composing_is_applying_one_after_the_other(first, second):
    one_by_one = map_points(second, map_points(first, POINTS))

    assert np.allclose(map_points(compose(second, first), POINTS), one_by_one, atol=1e-6)


@given(source=SIZES, target=SIZES)
def test_stretching_maps_outer_edges_to_outer_edges(source, target):
    edges = np.array([[-0.5, -0.5], [source[0] - 0.5, source[1] - 0.5]])
    ends = [[-0.5, -0.5], [target[0] - 0.5, target[1] - 0.5]]

    assert np.allclose(map_points(stretch(source, target), edges), ends)


@given(source=SIZES, target=SIZES)
def test_a_plain_resize_is_no_motion(source, target):
    parts = motion(stretch(source, target), source, target)

    assert np.allclose([*parts.shift, parts.rotation, parts.shear, *parts.perspective], 0)
    assert np.allclose(parts.scale, 1)


def test_motion_names_what_was_put_in():
    size = (400, 300)
    centre = geometry.shift(199.5, 149.5)
    angle = np.radians(2.0)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    matrix = compose(geometry.shift(40, -15), centre, turn, np.diag([1.1, 0.9, 1]), invert(centre))
    parts = motion(matrix, size, size)

    assert parts.shift == pytest.approx((0.1, -0.05))
    assert parts.scale == pytest.approx((1.1, 0.9))
    assert parts.rotation == pytest.approx(2.0)
    assert parts.shear == pytest.approx(0.0, abs=1e-9)


def test_corner_errors_are_zero_for_the_truth_and_the_shift_for_a_shift():
    truth = np.array([[1.1, 0.02, 5], [-0.01, 0.95, 3], [1e-5, 0, 1]])
    off = compose(geometry.shift(3, 4), truth)

    assert np.allclose(geometry.corner_errors(truth, truth, (640, 480)), 0, atol=1e-9)
    assert np.allclose(geometry.corner_errors(off, truth, (640, 480)), 5)
