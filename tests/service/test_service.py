"""The test service keeps its promises: it checks, bills before answering and fails on order."""

import base64
import io
import json
import subprocess
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from verax import testservice
from verax.testservice import calls
from verax.testservice import models as billing

KEY = {"Authorization": "Bearer sk-test"}
MODEL = "gpt-image-2.6-flare"


def png(width=64, height=48, mode="RGB"):
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 256, (8, 8, len(mode)), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels, mode).resize((width, height)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def client(service):
    with httpx2.Client(base_url=service.base_url, headers=KEY, timeout=5.0) as client:
        yield client


def generate(client, **fields):
    body = {"model": MODEL, "prompt": "a pier in fog", "size": "1024x768", "quality": "low"}
    return client.post("/images/generations", json=body | fields)


def edit(client, data=None, files=(), **fields):
    form = {"model": MODEL, "prompt": "clear the fog", "size": "1024x768", "quality": "low"}
    sent = [("image[]", ("a.png", data or png(), "image/png")), *files]
    return client.post("/images/edits", data=form | fields, files=sent)


def picture(answer):
    data = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return Image.open(io.BytesIO(data))


def test_an_edit_returns_a_picture_of_the_asked_size_near_the_input(client, service):
    answer = edit(client, png(1024, 768))
    before = np.asarray(Image.open(io.BytesIO(png(1024, 768))), float)
    after = np.asarray(picture(answer), float)

    assert after.shape == (768, 1024, 3)
    assert 1.0 < np.abs(after - before).mean() < 12.0


def test_every_billed_call_is_one_line_of_the_ledger(client, service):
    answers = [generate(client), edit(client), generate(client, n=2)]
    usage = [answer.json()["usage"] for answer in answers]

    assert [entry["usage"] for entry in service.ledger()] == usage
    assert usage[2]["output_tokens"] == 2 * usage[0]["output_tokens"] == 268
    assert usage[1]["input_tokens_details"]["image_tokens"] == 768


def test_json_edit_takes_a_data_url_or_an_uploaded_file(client):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    upload = {"file": ("a.png", png())}
    file = client.post("/files", data={"purpose": "vision"}, files=upload).json()
    body = {"model": MODEL, "prompt": "clear", "size": "1024x768", "quality": "low"}
    answers = [
        client.post("/images/edits", json=body | {"images": [reference]})
        for reference in ({"image_url": url}, {"file_id": file["id"]})
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert picture(answers[0]).tobytes() == picture(answers[1]).tobytes()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"seed": 1}, "seed", "unknown_parameter"),
        ({"model": "gpt-image-3"}, "model", "invalid_value"),
        ({"model": "gpt-image-1"}, "model", "model_not_found"),
        ({"model": "gpt-image-2", "quality": "max"}, "quality", "invalid_value"),
        ({"model": "gpt-image-2", "background": "transparent"}, "background", "invalid_value"),
        ({"response_format": "b64_json"}, "response_format", "unknown_parameter"),
        ({"size": "1000x1000"}, "size", "invalid_value"),
        ({"size": "3840x3840"}, "size", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"n": "two"}, "n", "invalid_type"),
        ({"prompt": "x" * 32_001}, "prompt", "invalid_value"),
        ({"quality": "best"}, "quality", "invalid_value"),
        ({"partial_images": 2}, "partial_images", "invalid_value"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_service_refuses_is_named_and_not_billed(client, service, fields, param, code):
    answer = generate(client, **fields)
    error = answer.json()["error"]

    assert answer.status_code in (400, 404)
    assert (error["param"], error["code"]) == (param, code)
    assert service.ledger() == []


def test_the_own_field_table_refuses_what_the_official_schema_refuses(monkeypatch):
    if not testservice.have_schema():
        pytest.skip("the official schema is not here")
    good = {"model": MODEL, "prompt": "x", "size": "1024x768", "quality": "max", "n": 2}
    bad = [{"n": 0}, {"n": "2"}, {"quality": "best"}, {"seed": 1}, {"background": "pink"}]

    def verdicts():
        testservice.validator.cache_clear()
        for fields in [good, *({**good, **wrong} for wrong in bad), {"model": MODEL}]:
            try:
                testservice.check_fields("generate", fields)
                yield "accepted"
            except testservice.Refusal as refusal:
                yield refusal.error["param"], refusal.error["code"]

    official = list(verdicts())
    monkeypatch.setattr(testservice, "SCHEMA", Path("absent.json"))
    own = list(verdicts())
    testservice.validator.cache_clear()

    assert official == own
    assert official[0] == "accepted"
    assert "accepted" not in official[1:]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (png(64, 48, "RGB"), "no transparent pixel"),
        (png(32, 48, "RGBA"), "expected the size of the image"),
    ],
    ids=["without alpha", "of another size"],
)
def test_a_mask_must_have_alpha_and_the_size_of_the_image(client, mask, message):
    clear = Image.open(io.BytesIO(mask))
    if clear.mode == "RGBA":
        clear.putalpha(0)
    buffer = io.BytesIO()
    clear.save(buffer, "png")
    answer = edit(client, files=[("mask", ("mask.png", buffer.getvalue(), "image/png"))])

    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_input_fidelity_is_an_error_from_gpt_image_2_on(client):
    answer = edit(client, model="gpt-image-2", input_fidelity="low")

    assert answer.json()["error"]["code"] == "unknown_parameter"


@pytest.mark.parametrize(
    ("form", "header", "read", "value"),
    [
        ("2", "retry-after", float, 2.0),
        ("ms=50", "retry-after-ms", float, 50.0),
        ("absurd", "retry-after", float, 99999.0),
        ("text", "retry-after", str, "soon"),
        ("", "retry-after", str, None),
    ],
)
def test_429_comes_with_every_form_of_retry_after(client, service, form, header, read, value):
    service.script([f"429:{form}" if form else "429"])
    answer = generate(client)
    wait = answer.headers.get(header)

    assert answer.status_code == 429
    assert (wait if wait is None else read(wait)) == value


def test_429_with_a_date_names_a_moment_ahead(client, service):
    service.script(["429:date=30"])
    answer = generate(client)
    now = parsedate_to_datetime(answer.headers["date"])

    assert 25 <= (parsedate_to_datetime(answer.headers["retry-after"]) - now).total_seconds() <= 31


@pytest.mark.parametrize(
    ("step", "billed"),
    [("cut", 1), ("cut-early", 0), ("timeout:0.05", 1), ("half", 1)],
)
def test_a_cut_line_is_a_broken_connection_billed_or_not(client, service, step, billed):
    service.script([step])

    with pytest.raises(httpx2.TransportError):
        generate(client)
    assert len(service.ledger()) == billed


@pytest.mark.parametrize(("stage", "billed"), [("input", 0), ("output", 1)])
def test_a_refusal_names_its_stage(client, service, stage, billed):
    service.script([f"refuse:{stage}"])
    error = generate(client).json()["error"]

    assert error["code"] == "moderation_blocked"
    assert error["moderation_details"] == {"moderation_stage": stage, "categories": ["violence"]}
    assert len(service.ledger()) == billed


def test_pictures_can_come_wrong(client, service):
    service.script(["size:640x480", "jpeg", "truncated"])
    wrong_size, jpeg, cut = (generate(client) for _ in range(3))

    assert picture(wrong_size).size == (640, 480)
    assert picture(jpeg).format == "JPEG"
    with pytest.raises(OSError, match="truncated"):
        picture(cut).load()


def events(text):
    blocks = [block for block in text.split("\n\n") if block.startswith("event")]
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


def test_a_stream_brings_previews_then_one_completed_event_with_usage(client):
    stream = events(generate(client, stream=True, partial_images=2).text)

    assert [event["type"].split(".")[1] for event in stream] == [
        "partial_image",
        "partial_image",
        "completed",
    ]
    assert stream[-1]["usage"]["output_tokens"] == 134 + 200


def test_half_a_stream_breaks_inside_the_last_event(client, service):
    service.script(["half"])

    with pytest.raises(httpx2.RemoteProtocolError):
        generate(client, stream=True, partial_images=1)
    assert len(service.ledger()) == 1


def test_a_slow_stream_sends_comments_meanwhile(client, service):
    service.script(["slow:0.15"])

    assert generate(client, stream=True).text.startswith(": still painting")


def test_without_a_key_nothing_is_answered(service):
    answer = httpx2.get(service.base_url + "/models")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_requests_are_kept_without_their_key(client, service):
    generate(client)

    assert service.requests()[0]["fields"]["prompt"] == "a pier in fog"
    assert "sk-test" not in json.dumps(service.requests())


def test_models_tell_their_shutdown_date(client):
    listed = {model["id"]: model["shutdown_date"] for model in client.get("/models").json()["data"]}

    assert listed["gpt-image-1.5"] == "2026-12-01"
    assert listed["gpt-image-2.6-sunburst"] is None


def test_a_batch_answers_every_line_at_half_price(client, service):
    body = {"model": MODEL, "prompt": "fog", "size": "1024x768", "quality": "low"}
    lines = [
        {"custom_id": f"c{i}", "method": "POST", "url": "/v1/images/generations", "body": body}
        for i in range(3)
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    upload = client.post("/files", data={"purpose": "batch"}, files={"file": ("b.jsonl", data)})
    fields = {"input_file_id": upload.json()["id"], "endpoint": "/v1/images/generations"}
    batch = client.post("/batches", json=fields | {"completion_window": "24h"}).json()
    for _ in range(3):
        batch = client.get(f"/batches/{batch['id']}").json()
    output = client.get(f"/files/{batch['output_file_id']}/content").text.splitlines()

    assert batch["status"] == "completed"
    assert sorted(json.loads(line)["custom_id"] for line in output) == ["c0", "c1", "c2"]
    single = generate(client, prompt="fog")
    assert single.status_code == 200
    assert service.ledger()[0]["usd"] == pytest.approx(service.ledger()[-1]["usd"] / 2)


def test_the_service_runs_as_a_process_and_takes_a_script(tmp_path):
    command = [sys.executable, "-m", "verax", "serve-test", "--port", "0", "--script", "500"]
    command += ["--ledger", tmp_path / "ledger.jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with httpx2.Client(base_url=url, headers=KEY) as client:
            first = generate(client)
            client.post(url.removesuffix("/v1") + "/_script", json=["503"])
            second = generate(client)
        process.kill()

    assert (first.status_code, second.status_code) == (500, 503)


# Published prices per picture (USD, output only): LiteLLM 1.109.1, per-size entries, rounded
# there to three (gpt-image-2) or four digits.
PUBLISHED = {
    "1024x768": [0.005, 0.037, 0.145, 0.0040, 0.0090, 0.0361, 0.0642, 0.1445],
    "1024x1024": [0.006, 0.053, 0.211, 0.0059, 0.0132, 0.0527, 0.0937, 0.2107],
    "1024x1536": [0.005, 0.042, 0.165, 0.0047, 0.0103, 0.0412, 0.0738, 0.1646],
    "1920x1080": [0.005, 0.040, 0.158, 0.0044, 0.0103, 0.0396, 0.0704, 0.1584],
    "2560x1440": [0.007, 0.056, 0.222, 0.0062, 0.0143, 0.0553, 0.0983, 0.2211],
    "3840x2160": [0.012, 0.101, 0.401, 0.0111, 0.0260, 0.1001, 0.1779, 0.4003],
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_token_table_gives_the_published_prices(size):
    w, h = map(int, size.split("x"))
    models_and_qualities = [("gpt-image-2", q) for q in ("low", "medium", "high")]
    models_and_qualities += [
        ("gpt-image-2.5-flare", q) for q in ("low", "medium", "high", "xhigh", "max")
    ]
    prices = [
        billing.output_tokens(model, quality, w, h) * 30e-6
        for model, quality in models_and_qualities
    ]

    # gpt-image-2's three digits are rounded up here and there, by at most one unit.
    np.testing.assert_allclose(prices[:3], PUBLISHED[size][:3], atol=1.1e-3)
    np.testing.assert_allclose(prices[3:], PUBLISHED[size][3:], atol=0.6e-4)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [(1024, 1024, 1024), (1536, 1024, 1536), (341, 512, 704), (1179, 2556, 1482)],
)
def test_input_tokens_equal_bills_seen_on_the_wire(width, height, tokens):
    """Four `usage` values reported for gpt-image-2.5 edits (September 2026)."""
    assert billing.input_image_tokens(width, height) == tokens


def test_a_multipart_field_may_hold_any_bytes():
    data = bytes(range(256)) * 3 + b"\r\n"
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    parts = calls.parse_form("multipart/form-data; boundary=x", body + data + b"\r\n--x--\r\n")

    assert parts == [("image", "a", data)]
