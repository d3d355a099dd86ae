"""The official SDK and our client put the same fields on the wire."""

import pytest
from recorder import recorder

from asking import KEY, ask, edit, mask, png
from verax.providers import GenerateRequest, ImageFile

EDITS = [
    {},
    {"n": 2, "quality": "max", "size": "1536x1024"},
    {"background": "transparent", "output_format": "webp", "output_compression": 0},
    {"mask": mask()},
    {"markup": mask(), "complexity": "low"},
    {"images": (ImageFile(png(), "a.png"), ImageFile(png(seed=4), "b.png"))},
    {"moderation": "low", "safety_identifier": "d5a0"},
    {"model": "gpt-image-1.5", "size": "1536x1024", "input_fidelity": "high"},
    {"stream": True, "partial_images": 0},
]
GENERATIONS = [
    {},
    {"n": 3, "size": "auto", "quality": "auto"},
    {"background": "opaque", "moderation": "low", "complexity": "high"},
    {"output_format": "jpeg", "output_compression": 55, "safety_identifier": "d5a0"},
    {"stream": True, "partial_images": 2},
]


@pytest.fixture
def sdk():
    """sdk(url, verb, **fields): what the official SDK sends."""
    import openai

    def call(url, verb, **fields):
        extra = {k: fields.pop(k) for k in ("moderation",) if verb == "edit" and k in fields}
        with openai.OpenAI(api_key=KEY, base_url=url, max_retries=0) as client:
            answer = getattr(client.images, verb)(**fields, extra_body=extra or None)
            if fields.get("stream"):
                answer.close()

    return call


def as_file(image):
    return (image.name, image.data, image.media_type)


def sdk_fields(request):
    images = [as_file(image) for image in request.images]
    guides = {n: as_file(f) for n, f in request.files() if n != "image"}
    return request.fields() | {"image": images if len(images) > 1 else images[0]} | guides


def heard_form(requests):
    """Every part as (field, file name, bytes), without an order between the fields."""
    return sorted(requests.parts)


@pytest.mark.parametrize("fields", EDITS, ids=lambda f: "+".join(f) or "plain")
def test_an_edit_has_the_same_form(connected, sdk, fields):
    request = edit(**fields)
    with recorder() as (url, requests):
        ask(connected(url, stream="never"), request)
        sdk(url, "edit", **sdk_fields(request))

    ours, theirs = requests
    assert ours.path == theirs.path
    assert heard_form(ours) == heard_form(theirs)
    assert ours.headers["authorization"] == theirs.headers["authorization"]


@pytest.mark.parametrize("fields", GENERATIONS, ids=lambda f: "+".join(f) or "plain")
def test_a_generation_has_the_same_json(connected, sdk, fields):
    request = GenerateRequest(model="gpt-image-2.6-flare", prompt="ein Boot – 舟", **fields)
    with recorder() as (url, requests):
        ask(connected(url, stream="never"), request)
        sdk(url, "generate", **request.fields())

    ours, theirs = requests
    assert ours.path == theirs.path
    assert ours.json == theirs.json


AZURE = {"AZURE_OPENAI_API_KEY": KEY, "VERAX_DEPLOYMENT": "mine"}


def test_azures_older_form_is_that_of_the_sdk(connected):
    import openai

    request = edit()
    with recorder() as (url, requests):
        root = url.removesuffix("/v1")
        ours = AZURE | {"AZURE_OPENAI_ENDPOINT": root}
        ask(connected("", gateway="azure-deployments", stream="never", environ=ours), request)
        version = "2025-04-01-preview"
        with openai.AzureOpenAI(
            api_key=KEY, azure_endpoint=root, api_version=version, max_retries=0
        ) as client:
            client.images.edit(**(sdk_fields(request) | {"model": "mine"}))

    ours, theirs = requests
    assert ours.path == theirs.path
    assert ours.headers["api-key"] == theirs.headers["api-key"] == KEY
    assert heard_form(ours) == heard_form(theirs)


def test_azures_newer_form_is_the_plain_api_under_openai_v1(connected):
    with recorder() as (url, requests):
        environ = AZURE | {"AZURE_OPENAI_ENDPOINT": url.removesuffix("/v1")}
        ask(connected("", gateway="azure", stream="never", environ=environ), edit())

    assert requests[0].path == "/openai/v1/images/edits"
    assert requests[0].headers["api-key"] == KEY
    assert ("model", "", b"mine") in requests[0].parts
