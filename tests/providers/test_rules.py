"""Bad requests are clear errors before anything is sent; refused fields are dropped or refused."""

from dataclasses import replace
from datetime import date

import pytest

from asking import edit, mask, png
from verax.catalog import gateway
from verax.catalog.models import find, limits, models
from verax.errors import ImageReadError, InputError, SizeMismatchError, UnknownNameError
from verax.providers import GenerateRequest, ImageFile
from verax.providers.rules import check

TODAY = date(2026, 11, 20)
JPEG = ImageFile(b"\xff\xd8\xff" + bytes(100), "cut.jpg", "image/jpeg")


def checked(request, where="openai"):
    model = find(models(), request.model, today=TODAY)
    return check(request, model, gateway(where), limits())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"prompt": ""}, InputError, "empty"),
        ({"prompt": " \n"}, InputError, "empty"),
        ({"prompt": "x" * 33_000}, InputError, "33,000"),
        ({"model": "gpt-image-9"}, UnknownNameError, "known"),
        ({"model": "gpt-image-1"}, InputError, "gpt-image-2.5-sunburst"),
        ({"size": "1000x1000"}, InputError, "divisible by 16"),
        ({"size": "big"}, InputError, "WIDTHxHEIGHT"),
        ({"size": "3840x2176"}, InputError, "8294400"),
        ({"quality": "ultra"}, InputError, "xhigh"),
        ({"n": 0}, InputError, "1 to 10"),
        ({"n": 11}, InputError, "1 to 10"),
        ({"partial_images": 1}, InputError, "stream"),
        ({"stream": True, "partial_images": 4}, InputError, "0 to 3"),
        ({"stream": True, "n": 2}, InputError, "one picture"),
        ({"output_compression": 101, "output_format": "jpeg"}, InputError, "0 to 100"),
        ({"output_compression": 50}, InputError, "jpeg"),
        ({"output_format": "gif"}, InputError, "png, jpeg, webp"),
        ({"background": "transparent", "output_format": "jpeg"}, InputError, "transparency"),
        ({"input_fidelity": "high"}, InputError, "always works at high fidelity"),
        ({"images": ()}, InputError, "1 to 16"),
        ({"images": (ImageFile(png()),) * 17}, InputError, "1 to 16"),
        ({"images": (ImageFile(bytes(60_000_000), "big.png"),)}, InputError, "60.0 MB"),
        ({"images": (ImageFile(b"GIF89a" + bytes(50), "x.gif", "image/gif"),)}, InputError, "gif"),
        ({"images": (ImageFile(b"no picture"),)}, ImageReadError, "PNG"),
        ({"images": (JPEG,)}, ImageReadError, "cut"),
        ({"mask": mask(64, 64)}, SizeMismatchError, "64x64"),
        ({"mask": ImageFile(png())}, InputError, "alpha"),
        ({"mask": ImageFile(png(mode="RGB"))}, InputError, "alpha"),
        ({"mask": mask(), "markup": mask()}, InputError, "got both"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_request_that_cannot_work_is_a_clear_error(change, error, words):
    with pytest.raises(error, match=words):
        checked(edit(**change))


def test_an_opaque_mask_would_have_no_effect():
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.new("RGBA", (96, 72), (0, 0, 0, 255)).save(buffer, "png")
    with pytest.raises(InputError, match="transparent pixels"):
        checked(edit(mask=ImageFile(buffer.getvalue())))


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("gpt-image-2", "input_fidelity", "low"),
        ("gpt-image-2", "background", "transparent"),
        ("gpt-image-2", "complexity", "low"),
        ("gpt-image-2", "quality", "max"),
        ("gpt-image-2.5-flare", "complexity", "low"),
        ("gpt-image-2", "markup", mask()),
        ("gpt-image-1-mini", "input_fidelity", "high"),
    ],
)
def test_a_refused_field_is_an_error_and_dropped_with_a_notice_where_optional(model, field, value):
    size = "1024x1024"
    request = edit(model=model, size=size, **{field: value})
    with pytest.raises(InputError, match=field):
        checked(request)

    result, notices = checked(replace(request, optional=frozenset({field})))

    assert getattr(result, field) is None
    assert len(notices) == 1
    assert notices[0].startswith(f"{field} not sent")


def test_what_a_service_does_not_use_is_refused_there_only():
    with pytest.raises(InputError, match="never used"):
        checked(edit(mask=mask(), quality=None), "sglang")
    with pytest.raises(InputError, match="does not accept masks"):
        checked(edit(mask=mask(), quality=None), "openrouter")

    assert checked(edit(mask=mask()), "openai")[1] == ()


def test_a_copied_chat_window_is_refused():
    request = replace(edit(), model="gpt-image-2")
    model = find(models(), "gpt-image-2", today=TODAY)

    with pytest.raises(InputError, match="no effect"):
        check(replace(request, model="gpt-image-2-all"), model, gateway("cometapi"), limits())


def test_a_service_without_edits_says_so():
    with pytest.raises(InputError, match="cannot edit pictures"):
        checked(edit(), "ollama")


def test_what_model_and_service_take_passes_unchanged():
    request = GenerateRequest(model="gpt-image-2.6-flare", prompt="a boat", quality="xhigh", n=10)

    assert checked(request) == (request, ())
