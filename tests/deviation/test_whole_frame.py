"""Facts about what blocks say of the whole frame: carried on, outliers without a say."""

import numpy as np
import pytest

from verax.deviation.blocks import Blocks, ResidualFlow, find_blocks
from verax.deviation.framing import fit_global, geometry_entries
from verax.deviation.whole_frame import over_the_frame
from verax.geometry import map_points
from verax.geometry.register import Registration


def test_a_smooth_motion_known_in_part_of_the_frame_is_carried_on():
    size = (400, 300)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(10.0, 400, 20), np.arange(10.0, 300, 20)))
    moved = np.stack([3 * np.sin(x / 60), 3 * np.cos(y / 50)], 1)
    points, even = np.stack([x, y], 1), np.ones(len(x))
    cell = np.arange(len(x)) // 9
    whole = Blocks(points, moved, even, cell, len(x), len(x), even / len(x))
    known = (x < 250) | (y > 200)
    count = int(known.sum())
    part = Blocks(
        points[known], moved[known], even[:count], cell[known], len(x), len(x), even[:count] / count
    )
    rng = np.random.default_rng(0)
    truth, blocks_only = (fit_global(blocks, size, rng) for blocks in (whole, part))
    carried = over_the_frame(part, blocks_only, size, rng)

    def off(geometry):
        return np.linalg.norm(
            map_points(geometry.matrix, points) - map_points(truth.matrix, points)
        )

    assert off(carried) < 0.5 * off(blocks_only)
    assert len(carried.samples) == len(blocks_only.samples) + 1


def test_blocks_that_the_others_do_not_expect_have_no_say():
    size, rng = (400, 300), np.random.default_rng(0)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(10.0, 400, 20), np.arange(10.0, 300, 20)))
    points, even = np.stack([x, y], 1), np.ones(len(x))
    moved = np.stack([2 + 0 * x, -1 + 0 * y], 1) + rng.normal(0, 0.05, (len(x), 2))
    moved[[5, 77, 150]] += 15
    cell = np.arange(len(x)) // 9
    blocks = Blocks(points, moved, even, cell, len(x), len(x), even / len(x))
    geometry = over_the_frame(blocks, fit_global(blocks, size, rng), size, rng)

    assert geometry.motion.shift == pytest.approx((2 / 400, -1 / 300), abs=2e-4)
    assert geometry.motion.perspective == pytest.approx((0, 0), abs=1e-3)
    assert np.linalg.norm(geometry.residual, axis=1).max() < 1


def test_what_nothing_was_seen_of_widens_the_interval():
    """The more of the frame is without blocks, the less is told of a smooth motion."""
    size, rng = (400, 300), np.random.default_rng(0)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(10.0, 400, 20), np.arange(10.0, 300, 20)))
    moved = np.stack([3 * np.sin(x / 60), 3 * np.cos(y / 50)], 1)
    widths = []
    for known in (np.ones(len(x), bool), x < 250, x < 170):
        count = int(known.sum())
        even, cell = np.ones(count), (np.arange(len(x)) // 9)[known]
        points = np.stack([x, y], 1)[known]
        blocks = Blocks(points, moved[known], even, cell, len(x), len(x), even / count)
        geometry = over_the_frame(blocks, fit_global(blocks, size, rng), size, rng)
        entry = geometry_entries(geometry, size, 1.0)["shift_x_px"]
        shifts = geometry.samples[-1][:, 0, 2]
        widths.append(float(shifts.std()))
        assert entry.value is None or entry.low <= entry.value <= entry.high

    assert widths == sorted(widths)


def test_places_that_agree_less_than_usual_are_left_out_when_asked():
    shape = (300, 400)
    usual = np.ones(shape, bool)
    usual[:, :100] = False
    nothing, sure = np.zeros((*shape, 2), np.float32), np.ones(shape, np.float32)
    residual = ResidualFlow(nothing, sure, sure, sure, usual)
    same = Registration("exactly", "", np.eye(3), None, sure, 0.0, 1.0, "stretch", 1.0)
    every, some = (
        find_blocks((400, 300), residual, same, np.eye(3), usual_only=precise)
        for precise in (False, True)
    )

    assert len(some.points) == len(every.points) * 3 // 4
    assert some.points[:, 0].min() > 100
