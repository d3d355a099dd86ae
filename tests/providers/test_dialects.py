"""The spelling of one request at each service, as their documentation has it."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from asking import edit, mask, png
from verax.catalog import gateway, gateways
from verax.errors import InputError
from verax.providers import GenerateRequest, ImageFile
from verax.providers.dialects import json_pictures, wire, with_polarity
from verax.providers.rules import DATA_URL_CHARACTERS


def form(wired):
    return dict(wired.form)


def names(wired):
    return [name for name, _ in wired.files]


def test_one_picture_is_image_and_several_are_image_brackets():
    two = (ImageFile(png()), ImageFile(png(seed=4)))

    assert names(wire(edit(), gateway("openai"))) == ["image"]
    assert names(wire(edit(images=two), gateway("openai"))) == ["image[]", "image[]"]
    assert names(wire(edit(images=two), gateway("cometapi"))) == ["image", "image"]
    assert names(wire(edit(), gateway("sdcpp"))) == ["image[]"]


def test_moderation_travels_in_the_form_of_an_edit():
    assert form(wire(edit(moderation="low"), gateway("openai")))["moderation"] == "low"


@pytest.mark.parametrize("name", ["lumenfall", "cometapi", "vllm-omni", "sglang"])
def test_services_that_answer_with_links_are_asked_for_the_bytes(name):
    assert form(wire(edit(), gateway(name)))["response_format"] == "b64_json"


def test_openai_itself_is_never_sent_response_format():
    assert "response_format" not in form(wire(edit(), gateway("openai")))


def test_openrouter_has_references_in_json_and_its_own_names():
    wired = wire(edit(safety_identifier="ab", quality="high"), gateway("openrouter"))
    url = wired.json["input_references"][0]["image_url"]["url"]

    assert wired.path == "/images"
    assert wired.json["model"] == "openai/gpt-image-2.6-sunburst"
    assert wired.json["user"] == "ab"
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == png()
    assert wired.form == wired.files == ()


def test_azures_deployment_is_in_path_and_fields():
    wired = wire(edit(), gateway("azure-deployments"), deployment="my-images")

    assert wired.path.startswith("/deployments/my-images/images/edits?api-version=")
    assert form(wired)["model"] == "my-images"


def test_vllm_omni_gets_the_mask_under_its_own_name():
    assert names(wire(edit(mask=mask()), gateway("vllm-omni"))) == ["image", "mask_image"]


@pytest.mark.parametrize(("polarity", "edited", "opaque"), [("white", 255, 0), ("black", 0, 255)])
def test_a_mask_is_turned_into_the_polarity_of_the_service(polarity, edited, opaque):
    turned = np.asarray(Image.open(io.BytesIO(with_polarity(mask(), polarity).data)))

    assert turned.shape == (72, 96)
    assert (turned[:36] == edited).all()
    assert (turned[36:] == opaque).all()


def test_where_alpha_counts_the_mask_stays_bit_for_bit():
    assert with_polarity(mask(), "alpha") == mask()


def test_json_edits_point_at_uploaded_files_or_carry_the_pictures():
    request = edit(mask=mask())

    carried = json_pictures(request)
    pointed = json_pictures(request, lambda file: {"file_id": f"file-{file.sha256[:4]}"})

    assert carried["mask"]["image_url"].startswith("data:image/png;base64,")
    assert [list(one) for one in pointed["images"]] == [["file_id"]]


@pytest.mark.parametrize("name", gateways())
def test_a_generation_can_be_spelled_for_every_service(name):
    request = GenerateRequest(model="gpt-image-2", prompt="a boat", size="1024x1024")

    assert wire(request, gateway(name)).json["prompt"] == "a boat"


def test_a_picture_too_large_for_json_is_refused_before_it_is_sent():
    from datetime import date

    from verax.catalog.models import find, limits, models
    from verax.providers.rules import check

    model = find(models(), "gpt-image-2", today=date(2026, 11, 20))
    large = ImageFile(png() + bytes(DATA_URL_CHARACTERS * 3 // 4), "large.png")
    with pytest.raises(InputError, match="MB for the service openrouter"):
        check(edit(images=(large,), model="gpt-image-2"), model, gateway("openrouter"), limits())
