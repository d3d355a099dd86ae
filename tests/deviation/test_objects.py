"""Changed objects: with and without a detector, and what is left alone."""

import cv2
import numpy as np
import pytest
import skimage.data

from verax.degrade.weather import scatter
from verax.deviation import measure
from verax.deviation.objects import Detection, by_detector
from verax.deviation.regions import Regions, is_a_thing
from verax.priors.changes import ObjectEdit, Tone
from verax.priors.inject import Deviations, inject


@pytest.fixture(scope="module")
def photo():
    picture = skimage.data.astronaut()[:400].astype(np.float32) / np.float32(255)
    return cv2.resize(picture, (288, 225), interpolation=cv2.INTER_AREA)


def test_a_piece_moved_in_a_drifted_and_retoned_picture_is_found(photo):
    change = Deviations(
        objects=(ObjectEdit("moved", area=0.03, distance=0.2),),
        scale_x=1.02,
        shift_y=-0.01,
        tone=Tone(exposure_ev=0.3, saturation=1.2),
    )
    sim = inject(photo, change, seed=3)
    mask = sim.objects[0].lost | sim.objects[0].gained
    objects = measure(photo, sim.prior).objects

    assert objects != ()
    for one in objects:
        left, top, right, bottom = one.box
        assert mask[top:bottom, left:right].mean() > 0.2


@pytest.mark.parametrize(
    ("edit", "kind"), [("added", "appeared"), ("removed", "vanished"), ("moved", "moved")]
)
def test_what_happened_to_a_thing_is_reported(photo, edit, kind):
    objects = (ObjectEdit(edit, area=0.03, distance=0.2),)
    sim = inject(photo, Deviations(objects=objects, scale_x=1.02), seed=3)
    (truth,) = sim.objects
    (change,) = measure(photo, sim.prior).objects

    assert change.kind == kind
    if kind == "moved":
        assert change.shift_px == pytest.approx(truth.shift, abs=5)


@pytest.mark.parametrize("thickness", [0.6, 1.0, 1.4])
def test_what_an_even_veil_hid_has_not_appeared(photo, thickness):
    depth = np.tile(
        np.linspace(1.0, 0.4, photo.shape[0], dtype=np.float32)[:, None], photo.shape[1]
    )
    hazy = scatter(photo, np.exp(-thickness * depth), np.full(3, 0.9, np.float32))
    sim = inject(photo, Deviations(scale_x=1.02, shift_y=0.02), seed=2)

    assert measure(hazy, sim.prior).objects == ()


def test_a_change_of_light_alone_is_no_object(photo):
    sim = inject(photo, Deviations(tone=Tone(exposure_ev=0.6, contrast=1.3, uneven_ev=0.4)), seed=1)

    assert measure(photo, sim.prior).objects == ()


def test_replaced_fine_texture_is_no_object(photo):
    assert measure(photo, inject(photo, Deviations(texture=1.0), seed=1).prior).objects == ()


def test_thin_lines_are_no_objects(photo):
    drawn = photo.copy()
    for x in (30, 110, 220):
        cv2.line(drawn, (x, 10), (x + 45, 210), (1.0, 1.0, 1.0), 2)

    assert measure(photo, drawn).objects == ()
    assert measure(drawn, photo).objects == ()


def test_what_clips_in_a_brighter_picture_is_no_object(photo):
    sim = inject(photo, Deviations(tone=Tone(exposure_ev=1.0, contrast=1.3)), seed=1)

    assert measure(photo, sim.prior).objects == ()


def test_a_detector_matches_things_of_one_label_by_place():
    before = [Detection("cup", (10, 10, 20, 20), 0.9), Detection("cup", (60, 10, 70, 20), 0.8)]
    after = [Detection("cup", (11, 10, 21, 20), 0.9), Detection("dog", (60, 10, 70, 20), 0.7)]
    pictures = {40: before, 41: after}
    find = by_detector(lambda picture: pictures[picture.shape[0]])
    changes = find(np.zeros((40, 100, 3), np.float32), np.zeros((41, 100, 3), np.float32))

    assert [(c.kind, c.box) for c in changes] == [
        ("vanished", (60, 10, 70, 20)),
        ("appeared", (60, 10, 70, 20)),
    ]


def test_a_detected_thing_elsewhere_has_moved(photo):
    spots = iter([(10, 10, 30, 30), (40, 10, 60, 30)])
    find = by_detector(lambda picture: [Detection("cup", next(spots), 0.9)])
    deviation = measure(photo, photo, finder=find)
    (change,) = deviation.objects

    assert (change.kind, change.shift_px) == ("moved", (30.0, 0.0))
    assert deviation.entries["objects_moved"].value == 1


def test_a_region_below_the_threshold_on_average_is_no_thing():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    lab = np.zeros((60, 80, 3), np.float32)
    lab[mask] = 30

    def verdict(strength):
        regions = Regions(mask.astype(np.int32), np.float32(strength) * mask, lab * 0, lab)
        return is_a_thing(regions, mask)

    assert [verdict(strength) for strength in (0.7, 0.95, 1.5, 4.0)] == [False, False, True, True]
