"""Faces: found, and told from other ones, however bad the photo is."""

import cv2
import numpy as np
import pytest
from skimage import data

import verax
from verax import image as images
from verax import weights
from verax.faces import find_faces
from verax.faces.likeness import LEAST, check_faces, likeness, outline
from verax.report.sheet import FACE_SIDE, faces_sheet


@pytest.fixture(scope="module")
def scene():
    return images.from_uint8(np.ascontiguousarray(data.astronaut()[:340, 80:420]))


@pytest.fixture(scope="module")
def face(scene):
    (face,) = find_faces(scene)
    return face


@pytest.fixture(scope="module")
def redrawn(scene, face):
    """The same head with its features moved by a twentieth of its width, as a generator may."""
    rng = np.random.default_rng(3)
    field = cv2.resize(
        rng.normal(0, 1, (9, 9, 2)).astype(np.float32), scene.shape[1::-1], interpolation=3
    )
    field *= 0.05 * face.width * outline((face,), scene.shape)[..., None]
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    return cv2.remap(scene, x + field[..., 0], y + field[..., 1], cv2.INTER_CUBIC).clip(0, 1)


def jpeg(image):
    levels = images.to_uint8(image)[..., ::-1]
    data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 25])[1]
    return images.from_uint8(np.ascontiguousarray(cv2.imdecode(data, 1)[..., ::-1]))


def noisy(image):
    grain = np.random.default_rng(1).normal(0, 0.06, image.shape)
    return np.clip(image + grain, 0, 1).astype(np.float32)


WORN = {
    "noise": noisy,
    "blur": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
    "jpeg": jpeg,
    "dark": lambda image: np.asarray(0.4 * image**2, np.float32),
    "faded": lambda image: np.asarray(0.3 + 0.5 * image.mean(2, keepdims=True) + 0 * image),
}


def test_the_detector_is_small_and_finds_a_face_with_its_eyes_above_its_mouth(scene, face):
    assert weights.FACES.stat().st_size < 4e6
    left, top, right, bottom = face.box
    assert 60 < right - left < 110
    assert all(left < x < right and top < y < bottom for x, y in face.points)
    assert max(y for _, y in face.points[:2]) < min(y for _, y in face.points[3:])
    assert find_faces(images.from_uint8(data.coffee())) == ()


@pytest.mark.parametrize("wear", WORN)
def test_a_worn_photo_and_its_restoration_show_one_face_a_redrawn_one_does_not(
    scene, face, redrawn, wear
):
    photo = WORN[wear](scene)

    assert likeness(photo, scene, face).verdict == "same"
    assert likeness(photo, redrawn, face).verdict == "another"
    turned = np.ascontiguousarray(scene[:, ::-1])
    assert likeness(photo, turned, face).verdict == "another"


def test_of_a_small_face_nothing_can_be_told(scene):
    small = cv2.resize(scene, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    (face,) = find_faces(small)

    assert face.width < LEAST
    assert likeness(small, small, face).verdict == "cannot be told"


def test_a_hole_in_a_face_that_was_filled_does_not_make_it_another(scene, face, redrawn):
    left, top, right, bottom = (round(value) for value in face.box)
    hole = np.zeros(scene.shape[:2], bool)
    hole[top:bottom, left : left + (right - left) // 3] = True
    torn = np.where(hole[..., None], np.float32(1), scene)

    assert likeness(torn, scene, face).verdict == "another"
    assert likeness(torn, scene, face, hole).verdict == "same"
    assert likeness(torn, redrawn, face, hole).verdict == "another"
    hole[top:bottom, left : right - 5] = True
    assert likeness(torn, scene, face, hole).verdict == "cannot be told"


def test_the_share_of_a_face_that_is_generated_is_that_inside_its_outline(scene, face):
    generated = np.zeros(scene.shape[:2], np.float32)
    generated[:, : int(sum(face.box[::2]) / 2)] = 1

    nowhere = np.zeros(scene.shape[:2], bool)
    (check,) = check_faces(scene, (face,), scene, scene, generated, nowhere)

    assert check.generated == pytest.approx(0.5, abs=0.05)
    assert check.record()["restoration"] == {"verdict": "same", "likeness": 1.0}


def test_of_a_redrawn_face_nothing_unconfirmed_is_taken_at_the_default(scene, face, redrawn):
    photo = cv2.GaussianBlur(scene, (0, 0), 1.5)

    result = verax.restore(photo, redrawn, restorer="none", task="defocus_deblur")

    (check,) = result.faces
    assert (check.prior.verdict, check.restoration.verdict) == ("another", "same")
    assert check.generated < 0.02
    assert any("1 of 1 faces look different in the prior" in note for note in result.notes)
    strip = faces_sheet(result)
    assert strip.shape[1] > 4 * FACE_SIDE
    assert strip.shape[0] > FACE_SIDE
    inside = outline((face,), scene.shape) > 0
    assert result.trust[~inside][:, 3].mean(dtype=float) > check.generated
