"""Facts about the deviation vector: known changes are read back, and nothing else moves."""

import json

import cv2
import numpy as np
import pytest
import skimage.data

from verax.deviation import measure
from verax.deviation.record import sentences
from verax.errors import ImageContractError

LEVELS = ("photo_", "generated_")  # what is there, not what changed
ONE_WHEN_SAME = ("scale_x", "scale_y", "aspect_change")


def photo(name="coffee"):
    """A real photo, long side 240 px: small, so that the suite stays quick."""
    picture = getattr(skimage.data, name)().astype(np.float32) / np.float32(255)
    scale = 240 / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def warped(picture, matrix, size=None):
    """The picture with its content moved by the matrix."""
    size = size or (picture.shape[1], picture.shape[0])
    moved = cv2.warpPerspective(
        picture,
        np.asarray(matrix, np.float64),
        size,
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.clip(moved, 0, 1).astype(np.float32)


def about_centre(picture, linear):
    """The matrix that applies a 2x2 linear map about the picture's centre."""
    centre = np.array([(picture.shape[1] - 1) / 2, (picture.shape[0] - 1) / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - np.asarray(linear) @ centre
    return matrix


def value(deviation, name):
    return deviation.entries[name].value


@pytest.fixture(scope="module")
def untouched():
    return measure(photo(), photo())


def test_a_photo_against_itself_reads_zero_on_every_entry(untouched):
    changes = {n: e.value for n, e in untouched.entries.items() if not n.startswith(LEVELS)}
    changes.pop("finest_scale_px")
    ones = {name: changes.pop(name) for name in ONE_WHEN_SAME}

    assert changes == pytest.approx(dict.fromkeys(changes, 0), abs=1e-6)
    assert list(ones.values()) == pytest.approx([1, 1, 1], abs=1e-9)


def test_a_photo_against_itself_has_no_drift_and_says_so(untouched):
    assert untouched.drift == pytest.approx(0, abs=1e-3)
    assert untouched.canvas == "same"
    assert sentences(untouched) == ["The generator changed nothing that can be measured."]


def test_tone_alone_moves_no_structure_entry():
    bright = np.clip(photo() ** 0.7 * np.array([1.0, 0.95, 0.88]), 0, 1).astype(np.float32)
    deviation = measure(photo(), bright)

    assert value(deviation, "colour_difference") > 5
    assert value(deviation, "exposure_shift_ev") > 0.5
    assert abs(value(deviation, "shift_x_px")) < 0.1
    assert value(deviation, "scale_x") == pytest.approx(1, abs=1e-3)
    assert value(deviation, "local_motion_median_px") < 0.2
    assert value(deviation, "invented_edges") < 0.01
    assert value(deviation, "lost_edges") < 0.01
    assert deviation.objects == ()
    assert deviation.drift < 2


def test_content_moved_right_and_down_reads_a_positive_shift():
    moved = warped(photo(), [[1, 0, 9], [0, 1, 4], [0, 0, 1]])
    deviation = measure(photo(), moved)

    assert value(deviation, "shift_x_px") == pytest.approx(9, abs=0.2)
    assert value(deviation, "shift_y_px") == pytest.approx(4, abs=0.2)
    assert any("9 px to the right" in line for line in sentences(deviation))


def test_a_picture_zoomed_in_by_six_per_cent_reads_a_scale_of_1_06():
    picture = photo()
    deviation = measure(picture, warped(picture, about_centre(picture, 1.06 * np.eye(2))))

    assert value(deviation, "scale_x") == pytest.approx(1.06, abs=0.002)
    assert value(deviation, "scale_y") == pytest.approx(1.06, abs=0.002)
    assert any("zoomed in by 6.0%" in line for line in sentences(deviation))


def test_a_clockwise_turn_reads_positive_degrees():
    picture, angle = photo(), np.deg2rad(2)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    deviation = measure(picture, warped(picture, about_centre(picture, turn)))

    assert value(deviation, "rotation_deg") == pytest.approx(2, abs=0.05)


def test_intervals_hold_their_values():
    moved = warped(photo(), [[1.02, 0, 3], [0, 0.99, -5], [0, 0, 1]])
    entries = measure(photo(), moved).entries

    for name in ("shift_x_px", "shift_y_px", "scale_x", "scale_y", "rotation_deg"):
        assert entries[name].low <= entries[name].value <= entries[name].high


def test_an_enlarged_copy_is_a_change_of_size_and_nothing_else():
    large = cv2.resize(photo(), (720, 480), interpolation=cv2.INTER_CUBIC)
    deviation = measure(photo(), np.clip(large, 0, 1))

    assert deviation.canvas == "resized"
    assert not deviation.is_reframed
    assert value(deviation, "generated_width_px") == 720
    assert value(deviation, "scale_x") == pytest.approx(1, abs=2e-3)
    assert deviation.drift < 2


def test_a_photo_squeezed_into_a_square_is_a_stretch():
    square = cv2.resize(photo(), (213, 213), interpolation=cv2.INTER_AREA)
    deviation = measure(photo(), square)

    assert (deviation.canvas, deviation.is_reframed) == ("stretch", True)
    assert value(deviation, "aspect_change") == pytest.approx(2 / 3)
    assert value(deviation, "scale_x") == pytest.approx(1, abs=5e-3)
    assert value(deviation, "hidden_share") < 0.02


def test_a_square_cut_out_of_the_middle_is_a_crop():
    square = cv2.resize(photo()[:, 40:200], (213, 213), interpolation=cv2.INTER_CUBIC)
    deviation = measure(photo(), np.clip(square, 0, 1))

    assert (deviation.canvas, deviation.is_reframed) == ("crop", True)
    assert value(deviation, "scale_x") == pytest.approx(1, abs=5e-3)
    assert value(deviation, "hidden_share") == pytest.approx(1 / 3, abs=0.02)


def test_bars_above_and_below_are_a_letterbox():
    tall = cv2.copyMakeBorder(photo(), 40, 40, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    deviation = measure(photo(), tall)

    assert deviation.canvas == "letterbox"
    assert value(deviation, "outpainted_share") == pytest.approx(1 / 3, abs=0.02)
    assert value(deviation, "bars_share") == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("other", ["astronaut", "chelsea"])
def test_a_picture_of_another_scene_is_called_foreign(other):
    deviation = measure(photo(), photo(other))

    assert deviation.placed == "not"
    assert deviation.drift == 100
    assert deviation.entries["shift_x_px"].value is None
    assert "another scene" in sentences(deviation)[0]


def test_a_disc_put_into_the_scene_has_appeared():
    picture = photo("astronaut")
    changed = picture.copy()
    cv2.circle(changed, (37, 178), 19, (0.1, 0.6, 0.2), -1)
    deviation = measure(picture, changed)
    (change,) = deviation.objects

    assert change.kind == "appeared"
    assert change.box == pytest.approx((18, 159, 57, 198), abs=4)
    assert value(deviation, "object_count_change") == 1


def test_a_disc_taken_out_of_the_scene_has_vanished():
    picture = photo("astronaut")
    changed = picture.copy()
    cv2.circle(changed, (37, 178), 19, (0.1, 0.6, 0.2), -1)
    (change,) = measure(changed, picture).objects

    assert change.kind == "vanished"


def test_a_photo_made_three_stops_darker_has_become_night():
    deviation = measure(photo(), (photo() ** 2.2 / 16) ** np.float32(1 / 2.2))

    assert deviation.scene_state == "day made night"
    assert "day into night" in sentences(deviation)[0]


def test_a_dark_photo_brought_to_light_is_the_same_scene_state():
    dark = np.round(255 * (photo() ** 2.2 / 16) ** (1 / 2.2)) / 255
    assert measure(dark.astype(np.float32), photo()).scene_state == "same"


def test_a_smooth_local_motion_is_read_back():
    picture = photo()
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    field = [
        4 * np.sin(2 * np.pi * x / 150) * np.cos(2 * np.pi * y / 170),
        4 * np.cos(2 * np.pi * x / 160) * np.sin(2 * np.pi * y / 140),
    ]
    moved = cv2.remap(
        picture, x + field[0], y + field[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    length = float(np.median(np.hypot(*field)))
    deviation = measure(picture, np.clip(moved, 0, 1))

    assert value(deviation, "local_motion_median_px") == pytest.approx(length, rel=0.08)
    assert abs(value(deviation, "scale_x") - 1) < 0.005


def test_along_parallel_stripes_local_motion_is_not_reported():
    x = np.arange(360, dtype=np.float32)
    stripes = np.tile((0.5 + 0.4 * np.sin(x / 4))[None, :, None], (240, 1, 3)).astype(np.float32)
    entry = measure(stripes, stripes).entries.get("local_motion_median_px")

    assert entry is None or entry.value is None


def test_bands_that_slid_along_themselves_lost_no_structure():
    y, x = np.mgrid[:240, :360].astype(np.float32)
    bands = np.clip(0.5 + 2 * np.sin(1.5 * np.sin(x / 57) + y / 19 + x / 70), 0.15, 0.85)
    picture = np.dstack([bands] * 3)
    there = x + 5 * np.sin(x / 60), y + 4 * np.sin(y / 40 + 1)
    bent = cv2.remap(picture, *there, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    deviation = measure(picture, np.clip(bent, 0, 1))

    assert value(deviation, "local_motion_median_px") is None
    assert value(deviation, "coherence_loss_2px") < 0.005
    assert value(deviation, "structure_residual") < 0.005


def test_lines_drawn_into_the_scene_are_invented_edges():
    picture = photo("astronaut")
    changed = picture.copy()
    for x in range(9, 233, 17):
        cv2.line(changed, (x, 0), (x + 4, 239), (0.9, 0.9, 0.9), 1)
    there, back = measure(picture, changed), measure(changed, picture)

    assert value(there, "invented_edges") > 0.15 > 0.05 > value(there, "lost_edges")
    assert value(there, "colour_difference") < 1.5
    assert value(back, "lost_edges") > 0.15 > 0.05 > value(back, "invented_edges")


def test_a_record_is_json_with_flat_numbers(untouched):
    record = json.loads(json.dumps(untouched.record()))

    for name in ("shift_x_px", "scale_y", "rotation_deg", "invented_edges", "lost_edges", "drift"):
        assert isinstance(record[name], (int, float))
    assert record["entries"]["shift_x_px"]["unit"] == "px"


@pytest.mark.parametrize("broken", [np.full((40, 40, 3), np.nan, np.float32), np.zeros((4, 4))])
def test_arrays_that_are_no_pictures_are_refused(broken):
    with pytest.raises(ImageContractError, match="generated"):
        measure(photo(), broken)


def test_flat_pictures_are_foreign_to_everything():
    flat = np.full((64, 64, 3), 0.5, np.float32)

    assert measure(flat, flat).placed == "not"
