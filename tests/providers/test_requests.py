"""A request is a value: anything that changes the answer changes its fingerprint."""

from dataclasses import replace

import pytest

from asking import repeated
from verax.providers import EditRequest, GenerateRequest, ImageFile

PHOTO = ImageFile(b"photo bytes", "photo.png")
EDIT = EditRequest(model="gpt-image-2.6-sunburst", prompt="remove the haze", images=(PHOTO,))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-image-2.6-flare"},
        {"prompt": "remove the rain"},
        {"images": (ImageFile(b"photo bytez", "photo.png"),)},
        {"images": (PHOTO, PHOTO)},
        {"mask": ImageFile(b"mask")},
        {"markup": ImageFile(b"mask")},
        {"size": "1024x768"},
        {"quality": "max"},
        {"complexity": "low"},
        {"background": "opaque"},
        {"output_format": "webp"},
        {"output_compression": 90},
        {"moderation": "low"},
        {"n": 2},
        {"stream": True},
        {"partial_images": 1},
        {"input_fidelity": "high"},
        {"safety_identifier": "someone"},
        {"gateway": "azure"},
        {"repeat_index": 1},
        {"extra": (("seed", 1),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_gives_another_fingerprint(change):
    assert replace(EDIT, **change).fingerprint() != EDIT.fingerprint()


def test_the_fingerprint_does_not_depend_on_file_names_or_on_what_may_be_dropped():
    renamed = replace(EDIT, images=(ImageFile(b"photo bytes", "other.png"),))

    assert renamed.fingerprint() == EDIT.fingerprint()
    assert replace(EDIT, optional=frozenset({"size"})).fingerprint() == EDIT.fingerprint()


def test_only_what_is_set_is_sent():
    assert GenerateRequest(model="m", prompt="a boat").fields() == {
        "model": "m",
        "prompt": "a boat",
    }


def test_a_repeat_is_another_request_with_the_same_fields():
    again = repeated(EDIT, 1)

    assert again.fields() == EDIT.fields()
    assert again.fingerprint() != EDIT.fingerprint()


def test_a_repr_shows_no_picture_bytes():
    assert "photo bytes" not in repr(EDIT)
