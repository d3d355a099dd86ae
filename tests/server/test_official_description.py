"""Everything the gateway says, held against the official description of the Images API."""

import base64
import json

import httpx2
import jsonschema
import pytest

MODEL = "gpt-image-2.6-sunburst"


@pytest.fixture(scope="module")
def official(pictures):
    """Checks a value against one of the official schemas; skips where they are not there."""
    path = pictures.parent / "spec" / "openai-images-openapi.json"
    if not path.is_file():
        pytest.skip(f"no official description at {path}")
    document = json.loads(path.read_text(encoding="utf-8"))

    def check(value, schema):
        whole = {**document, "$ref": f"#/components/schemas/{schema}"}
        jsonschema.Draft202012Validator(whole).validate(value)
        return value

    return check


@pytest.fixture(scope="module")
def gateway(paid):
    """A client of the gateway, and the paid service behind it."""
    service, address = paid
    with httpx2.Client(base_url=f"{address}/v1", timeout=60) as http:
        yield http, service


def edit(http, photo, **fields):
    return http.post("/images/edits", data=fields, files={"image": ("p.png", photo)})


def events(answer):
    """(name, value) of every event of a stream."""
    blocks = [block for block in answer.text.split("\n\n") if block and block[0] != ":"]
    lines = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [(line["event"], json.loads(line["data"])) for line in lines]


@pytest.mark.parametrize("model", ["verax/local", f"verax/{MODEL}", MODEL])
def test_edits(official, gateway, photo, model):
    answer = edit(gateway[0], photo, model=model, prompt=f"brighten, {model}", size="auto")

    body = official(answer.json(), "ImagesResponse")
    official(body["usage"], "ImagesUsage")
    assert base64.b64decode(body["data"][0]["b64_json"])[:4] == b"\x89PNG"


def test_edits_from_json(official, gateway, photo):
    url = "data:image/png;base64," + base64.b64encode(photo).decode()
    body = {"model": "verax/local", "prompt": "x", "images": [{"image_url": url}]}
    official(body, "EditImageBodyJsonParam")

    official(gateway[0].post("/images/edits", json=body).json(), "ImagesResponse")


def test_generations(official, gateway):
    body = {"model": MODEL, "prompt": "a mill", "n": 2, "size": "1024x1024", "quality": "low"}
    official(body, "CreateImageRequest")

    answer = official(gateway[0].post("/images/generations", json=body).json(), "ImagesResponse")
    assert (len(answer["data"]), answer["size"], answer["quality"]) == (2, "1024x1024", "low")


@pytest.mark.parametrize("model", ["verax/local", f"verax/{MODEL}"])
def test_events_of_edits(official, gateway, photo, model):
    answer = edit(gateway[0], photo, model=model, prompt="streamed", stream="true")

    assert answer.headers["content-type"].startswith("text/event-stream")
    ((name, value),) = events(answer)
    assert name == value["type"] == "image_edit.completed"
    official(value, "ImageEditStreamEvent")


def test_a_generated_picture_is_shown_before_its_restoration(official, gateway, photo):
    answer = edit(
        gateway[0], photo, model=f"verax/{MODEL}", prompt="shown", stream="true", partial_images="1"
    )

    partial, completed = events(answer)
    assert partial[0] == partial[1]["type"] == "image_edit.partial_image"
    assert partial[1]["partial_image_index"] == 0
    official(partial[1], "ImageEditStreamEvent")
    official(completed[1], "ImageEditStreamEvent")
    assert partial[1]["b64_json"] != completed[1]["b64_json"]


def test_events_of_generations(official, gateway):
    body = {"model": MODEL, "prompt": "a streamed mill", "stream": True}
    ((name, value),) = events(gateway[0].post("/images/generations", json=body))

    assert name == value["type"] == "image_generation.completed"
    official(value, "ImageGenStreamEvent")


def test_models(official, gateway):
    listed = official(gateway[0].get("/models").json(), "ListModelsResponse")
    for model in listed["data"]:
        official(gateway[0].get(f"/models/{model['id']}").json(), "Model")


@pytest.mark.parametrize(
    ("fields", "step", "status"),
    [
        ({"model": "nonesuch"}, "ok", 400),
        ({"n": "0"}, "ok", 400),
        ({"prompt": "refused before"}, "refuse:input", 400),
        ({"prompt": "refused after"}, "refuse:output", 400),
        ({"prompt": "not understood"}, "400", 400),
        ({"prompt": "key not known"}, "401", 400),
        ({"prompt": "line cut"}, "cut", 504),
    ],
    ids=lambda value: str(value)[:30],
)
def test_errors(official, gateway, photo, fields, step, status):
    http, service = gateway
    service.script([step] if step != "ok" else [])
    answer = edit(http, photo, **{"model": f"verax/{MODEL}", **fields})
    service.script([])

    assert answer.status_code == status
    official(answer.json(), "ErrorResponse")


def test_an_error_in_a_stream(official, gateway, photo):
    http, service = gateway
    service.script(["slow:1", "refuse:output"])
    edit(http, photo, model=f"verax/{MODEL}", prompt="slow, so that the stream begins")
    answer = edit(http, photo, model=f"verax/{MODEL}", prompt="no", stream="true")
    service.script([])

    body = events(answer)[0][1] if answer.status_code == 200 else answer.json()
    assert official(body, "ErrorResponse")["error"]["code"] == "moderation_blocked"


def test_what_is_no_http_gets_the_official_error(official, gateway):
    import socket

    url = gateway[0].base_url
    with socket.create_connection((url.host, url.port), timeout=10) as line:
        line.sendall(b"nonsense\r\n\r\n")
        answer = line.recv(65536)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    official(json.loads(body), "ErrorResponse")
