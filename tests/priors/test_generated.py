"""From photo to prior and back, against the test service: legal canvas, no metadata, right grid."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verax import image as images
from verax.catalog.models import models, parse_size
from verax.errors import InputError, SizeMismatchError, UnknownNameError
from verax.geometry import canvas
from verax.image import Photo
from verax.priors.generated import (
    PriorOptions,
    ask,
    flat,
    mask_plane,
    plan,
)

LATITUDE = (52.0, 31.0, 12.34)  # degrees, minutes, seconds: Berlin


def photo(width=300, height=200, seed=5):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8))
    return Photo(images.from_uint8(np.asarray(small.resize((width, height)))))


def sent(draft):
    return Image.open(io.BytesIO(draft.request.images[0].data))


def test_a_prior_comes_back_on_the_photos_grid_and_close_to_the_photo(desk, service):
    got = ask(photo(), desk, PriorOptions(task="dehaze", quality="low"))

    assert got.pixels.shape == (200, 300, 3)
    assert np.abs(got.pixels - photo().pixels).mean() < 12 / 255
    assert got.draft.prompt_name.startswith("dehaze/default@")
    assert (
        service.requests()[0]["fields"]["size"]
        == f"{got.answer.images[0].width}x{got.answer.images[0].height}"
    )


def test_nothing_but_pixels_is_sent(client):
    exif = Image.Exif()
    exif[0x0132] = "2026:11:20 12:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: LATITUDE, 3: "E", 4: (13.0, 24.0, 1.5)})
    exif.get_ifd(0x8769)[0x927C] = b"maker note"
    buffer = io.BytesIO()
    source = Image.fromarray(images.to_uint8(photo().pixels))
    source.save(buffer, "jpeg", exif=exif, comment=b"52.5200 13.4050", icc_profile=b"\0" * 128)

    draft = plan(images.decode(buffer.getvalue()), client, PriorOptions(task="denoise"))
    picture = sent(draft)

    assert picture.format == "PNG"
    assert not picture.getexif()
    assert set(picture.info) <= {"srgb", "gamma"}
    for leak in (b"maker note", b"52.5200", b"2026:11:20", b"eXIf", b"tEXt", b"iTXt", b"iCCP"):
        assert leak not in draft.request.images[0].data


def test_what_alpha_hides_is_not_sent():
    hidden = Photo(np.zeros((40, 60, 3), np.float32), alpha=np.zeros((40, 60), np.float32))

    assert (flat(hidden) == 1.0).all()


def test_an_answer_of_another_scale_is_brought_to_the_photos_grid(desk, service):
    service.script(["size:768x512"])

    got = ask(photo(), desk, PriorOptions(task="dehaze", quality="low"))

    assert got.pixels.shape == (200, 300, 3)
    assert any("768x512" in notice for notice in got.notices)
    assert np.abs(got.pixels - photo().pixels).mean() < 12 / 255


def test_an_answer_of_another_shape_is_left_to_registration_and_said(desk, service):
    service.script(["size:640x640"])

    got = ask(photo(), desk, PriorOptions(task="dehaze", quality="low"))

    assert got.pixels.shape == (640, 640, 3)
    assert any("other proportions" in notice for notice in got.notices)


def test_a_mask_lies_on_the_canvas_with_alpha_zero_where_to_edit(client):
    place = np.zeros((200, 300), np.float32)
    place[50:100, 60:120] = 1

    draft = plan(photo(), client, PriorOptions(task="raindrop"), mask=place)
    alpha = np.asarray(Image.open(io.BytesIO(draft.request.mask.data)))[:, :, 3]
    back = canvas.retrieve(
        np.repeat((alpha == 0)[:, :, None], 3, 2).astype(np.float32), draft.canvas
    )

    assert alpha.shape[::-1] == draft.canvas.size
    assert np.abs(back[:, :, 0] - place).mean() < 0.02


def test_a_mask_of_another_size_is_an_error_before_anything_is_sent(client, service):
    with pytest.raises(SizeMismatchError, match="10x10"):
        plan(photo(), client, PriorOptions(task="raindrop"), mask=np.ones((10, 10), np.float32))

    assert service.requests() == []


def test_a_mask_file_marks_by_transparency_or_by_white():
    white = Photo(np.ones((4, 4, 3), np.float32))
    clear = replace(white, alpha=np.zeros((4, 4), np.float32))

    assert (mask_plane(white) == 1).all()
    assert (mask_plane(clear) == 1).all()
    assert (mask_plane(replace(clear, alpha=np.ones((4, 4), np.float32))) == 0).all()


def test_a_photo_beyond_the_largest_canvas_is_asked_smaller(client):
    large = Photo(np.full((3000, 4500, 3), 0.5, np.float32))

    draft = plan(large, client, PriorOptions(task="dehaze"))
    width, height = parse_size(draft.request.size)

    assert width * height <= 8_294_400
    assert draft.canvas.photo == (4500, 3000)


def test_the_default_quality_follows_the_model_and_goes_where_it_is_refused(client):
    def quality(model):
        return plan(photo(), client, PriorOptions(model=model, task="dehaze")).request.quality

    assert quality("gpt-image-2") == "medium"
    assert quality("gpt-image-2.6-sunburst") == "high"
    assert quality("any-model-of-yours") is None


def test_own_words_replace_the_tasks_prompt_and_auto_asks_the_judge(client):
    own = plan(photo(), client, PriorOptions(prompt="make it clear"))
    judged = plan(photo(), client, PriorOptions(task="auto"), judge=lambda picture: "derain")

    assert (own.request.prompt, own.prompt_name) == ("make it clear", "own")
    assert "rain streaks" in judged.request.prompt


@pytest.mark.parametrize(
    "choices", [PriorOptions(task="dehazing"), PriorOptions(task="dehaze", wording="x")]
)
def test_a_task_or_wording_nobody_knows_is_an_error(client, choices):
    with pytest.raises(UnknownNameError):
        plan(photo(), client, choices)


def test_an_ended_model_names_its_successor(client):
    with pytest.raises(InputError, match=r"gpt-image-2\.5-sunburst"):
        plan(photo(), client, PriorOptions(model="gpt-image-1"))


def outcome(width, height, rules):
    """The planned size, or the reason why there is none."""
    try:
        return canvas.plan(width, height, rules).size
    except InputError as exc:
        return str(exc)


@settings(deadline=None, max_examples=60)
@given(st.integers(16, 12_000), st.integers(16, 9_000))
def test_every_photo_size_has_a_canvas_legal_for_each_model_or_a_clear_reason(width, height):
    for rules in {model.sizes for model in models().values()}:
        got = outcome(width, height, rules)
        legal = isinstance(got, tuple) and rules.why_not(got) == ""

        assert legal or "narrow" in got or "fits none of the sizes" in got
