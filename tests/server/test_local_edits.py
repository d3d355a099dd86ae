"""The gateway with the embedded restorer, through the official SDK and by hand."""

import base64
import contextlib
import json

import httpx2
import openai
import pytest

from verax import image as images


@pytest.fixture
def sdk(server):
    return openai.OpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0)


def picture(body):
    return images.decode(base64.b64decode(body["data"][0]["b64_json"]))


def test_the_sdk_gets_an_edit_in_the_photos_own_size(sdk, photo):
    done = sdk.images.edit(model="verax/local", image=("p.png", photo), prompt="", size="auto")

    restored = images.decode(base64.b64decode(done.data[0].b64_json))
    assert (restored.width, restored.height) == (150, 100)
    assert done.model_extra["verax"]["size"] == "150x100"
    assert done.usage.total_tokens == 0


def test_a_second_picture_is_the_prior(sdk, photo, prior, scene):
    done = sdk.images.edit(
        model="verax/local", image=[("p.png", photo), ("g.png", prior)], prompt=""
    )

    restored = images.decode(base64.b64decode(done.data[0].b64_json)).pixels
    record = done.model_extra["verax"]["restorations"][0]
    assert record["prior"] == "used"
    assert abs(restored.mean() - scene.mean()) < abs(scene.mean() * 0.3 - scene.mean()) / 3


def test_the_sdk_reads_the_stream(sdk, photo):
    events = list(
        sdk.images.edit(model="verax/local", image=("p.png", photo), prompt="", stream=True)
    )

    assert [event.type for event in events] == ["image_edit.completed"]
    assert events[0].model_extra["verax"]["size"] == "150x100"


def test_the_sdk_lists_the_models_with_their_end(sdk):
    models = {model.id: model for model in sdk.models.list()}

    assert "verax/local" in models
    assert "verax/gpt-image-2.6-sunburst" in models
    assert "gpt-image-2.6-sunburst" in models


def test_the_sdk_retrieves_one_model(sdk):
    assert sdk.models.retrieve("verax/local").owned_by == "verax"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nonesuch")


def test_the_json_body_does_the_same(http, photo):
    url = "data:image/png;base64," + base64.b64encode(photo).decode()
    body = {"model": "verax/local", "prompt": "", "images": [{"image_url": url}]}

    answer = http.post("/v1/images/edits", json=body)

    assert answer.status_code == 200
    assert picture(answer.json()).width == 150


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_the_answer_has_the_requested_format(http, photo, format):
    answer = http.post(
        "/v1/images/edits",
        data={"model": "verax/local", "prompt": "", "output_format": format},
        files={"image[]": ("p.png", photo)},
    ).json()

    assert picture(answer).format == format
    assert answer["output_format"] == format


@pytest.mark.parametrize(
    ("changes", "param", "status"),
    [
        ({"model": "nonesuch"}, "model", 400),
        ({"n": "11"}, "n", 400),
        ({"n": "many"}, "n", 400),
        ({"size": "8x8"}, "size", 400),
        ({"output_format": "bmp"}, "output_format", 400),
        ({"prompt": "x" * 32_001}, "prompt", 400),
        ({"fidelity": "2"}, "fidelity", 400),
        ({"stream": "perhaps"}, "stream", 400),
        ({"seed": "7"}, "seed", 400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_field_is_400_in_the_official_shape(http, photo, changes, param, status):
    fields = {"model": "verax/local", "prompt": "", **changes}

    answer = http.post("/v1/images/edits", data=fields, files={"image": ("p.png", photo)})

    error = answer.json()["error"]
    assert answer.status_code == status
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["param"] == param


def test_the_sdk_raises_its_own_error_for_ours(sdk, photo):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.images.edit(model="nonesuch", image=("p.png", photo), prompt="")

    assert caught.value.param == "model"


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_is_400(http, data):
    answer = http.post(
        "/v1/images/edits", data={"model": "verax/local"}, files={"image": ("p.png", data)}
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "image"


def test_a_truncated_picture_is_400_from_the_worker(http, photo):
    cut = photo[: len(photo) // 2]
    answer = http.post(
        "/v1/images/edits", data={"model": "verax/local"}, files={"image": ("p.png", cut)}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_no_route_and_wrong_method_have_the_official_shape(http):
    for answer in (http.get("/nowhere"), http.get("/v1/images/edits")):
        assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}


def test_the_local_model_makes_no_picture_from_words(http):
    answer = http.post("/v1/images/generations", json={"model": "verax/local", "prompt": "a cat"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


def test_an_idempotency_key_gives_the_same_answer_and_refuses_another_request(http, photo):
    headers = {"idempotency-key": "one"}
    fields = {"model": "verax/local", "prompt": ""}
    files = {"image": ("p.png", photo)}

    first = http.post("/v1/images/edits", data=fields, files=files, headers=headers)
    again = http.post("/v1/images/edits", data=fields, files=files, headers=headers)
    other = http.post(
        "/v1/images/edits", data=fields | {"prompt": "more"}, files=files, headers=headers
    )

    assert first.json() == again.json()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")


def test_health_and_metrics_answer(http):
    assert http.get("/healthz").json()["status"] == "ok"
    assert "verax_requests_total" in http.get("/metrics").text


def test_the_servers_own_description_is_openapi(http):
    assert json.loads(http.get("/openapi.json").text)["openapi"].startswith("3.1")


def test_a_closed_connection_leaves_the_server_well(server, photo):
    with httpx2.Client(base_url=server, timeout=0.05) as hasty:
        for _ in range(2):
            with contextlib.suppress(httpx2.TimeoutException):
                hasty.post(
                    "/v1/images/edits",
                    data={"model": "verax/local"},
                    files={"image": ("p.png", photo)},
                )

    assert httpx2.get(f"{server}/healthz").status_code == 200
