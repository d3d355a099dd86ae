"""The client against the test service: right requests, failures told apart, nothing paid twice."""

import io
import json
import logging
import traceback
from dataclasses import replace

import pytest
from PIL import Image
from recorder import recorder

from asking import KEY, ask, edit, mask, png
from verax.errors import (
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    SettingsError,
)
from verax.providers import GenerateRequest, ImageFile, Usage
from verax.providers.answers import read_answer

GENERATE = GenerateRequest(
    model="gpt-image-2.6-flare", prompt="a pier", size="1024x768", quality="low"
)


def test_an_edit_comes_back_with_its_real_size_and_usage(client, service):
    answer = ask(client, edit())
    bill = service.ledger()[0]["usage"]

    assert [(p.width, p.height, p.media_type) for p in answer.images] == [(1024, 768, "image/png")]
    assert answer.usage == Usage(
        bill["input_tokens_details"]["text_tokens"],
        bill["input_tokens_details"]["image_tokens"],
        0,
        bill["output_tokens"],
    )
    assert answer.request_id.startswith("req_")
    assert answer.notices == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"mask": mask()},
        {"markup": mask()},
        {"images": (ImageFile(png()), ImageFile(png(64, 64), "second.png"))},
        {"quality": "max", "complexity": "low"},
        {"background": "transparent", "output_format": "webp", "output_compression": 80},
        {"moderation": "low", "safety_identifier": "a1b2"},
        {"n": 3},
        {"stream": True, "partial_images": 2},
        {"model": "gpt-image-1.5", "size": "1536x1024", "input_fidelity": "high"},
        {"model": "gpt-image-2", "size": "auto", "quality": "auto", "background": "auto"},
        {"model": "gpt-image-2.5-flare-2026-09-08", "output_format": "jpeg"},
    ],
    ids=lambda fields: "+".join(fields),
)
def test_every_field_of_an_edit_is_valid_under_the_official_schema(client, service, fields):
    """The service answers 400 to whatever the schema, with the fields newer than it, forbids."""
    answer = ask(client, edit(**fields))

    assert len(answer.images) == fields.get("n", 1)
    assert len(service.ledger()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"moderation": "low", "background": "opaque", "n": 2},
        {"stream": True, "partial_images": 1},
        {"output_format": "jpeg", "output_compression": 70, "complexity": "high"},
    ],
    ids=lambda fields: "+".join(fields) or "plain",
)
def test_every_field_of_a_generation_is_valid_under_the_official_schema(client, fields):
    answer = ask(client, replace(GENERATE, **fields))

    assert len(answer.images) == fields.get("n", 1)


@pytest.mark.parametrize(
    ("step", "error", "billed"),
    [
        ("400", ProviderRejected, 0),
        ("401", ProviderRejected, 0),
        ("refuse:input", ProviderRefused, 0),
        ("refuse:output", ProviderRefused, 1),
        ("429:quota", ProviderRejected, 0),
        ("page", ProviderRejected, 0),
        ("html", ProviderUncertain, 0),
        ("500", ProviderUncertain, 0),
        ("503", ProviderUncertain, 0),
        ("billed:500", ProviderUncertain, 1),
        ("billed:502", ProviderUncertain, 1),
        ("billed:503", ProviderUncertain, 1),
        ("billed:529", ProviderUncertain, 1),
        ("billed:408", ProviderUncertain, 1),
        ("billed:409", ProviderUncertain, 1),
        ("billed:499", ProviderUncertain, 1),
        ("moderation:400", ProviderRefused, 1),
        ("moderation:null", ProviderRefused, 1),
        ("moderation:200", ProviderRefused, 1),
        ("cut-early", ProviderUncertain, 0),
        ("cut", ProviderUncertain, 1),
        ("half", ProviderUncertain, 1),
        ("timeout:2", ProviderUncertain, 1),
        ("truncated", ProviderError, 1),
    ],
)
def test_a_failure_is_classified_and_never_paid_twice(service, connected, step, error, billed):
    silence_s = 0.4 if step.startswith("timeout") else 30
    client = connected(service.base_url, timeout_s=silence_s, stream="never")
    service.script([step])

    with pytest.raises(error) as caught:
        ask(client, edit())

    assert type(caught.value) is error
    assert len(service.requests()) == 1
    assert len(service.ledger()) == billed


def test_a_refusal_names_stage_and_categories(client, service):
    for stage in ("input", "output"):
        service.script([f"refuse:{stage}"])
        with pytest.raises(ProviderRefused, match=f"at the {stage} stage") as caught:
            ask(client, edit())

        assert (caught.value.stage, caught.value.categories) == (stage, ("violence",))


@pytest.mark.parametrize("step", ["429", "429:ms=10", "429:ahead=1"])
def test_what_certainly_was_not_started_is_repeated(client, service, waits, step):
    service.script([step, step])

    answer = ask(client, edit())

    assert answer.retries == 2
    assert [w > 0 for w in waits] == [True, True]
    assert len(service.ledger()) == 1


@pytest.mark.parametrize(
    ("step", "low", "high"),
    [
        ("429:3", 3.0, 3.0),
        ("429:ms=50", 0.05, 0.05),
        ("429:date=5", 3.0, 5.0),
        ("429:text", 0.3, 0.5),
        ("429:date=-5", 0.0, 0.0),
    ],
)
def test_the_wait_is_what_the_service_asks_for(client, service, waits, step, low, high):
    service.script([step])
    ask(client, edit())

    assert low <= waits[0] <= high


def test_an_absurd_wait_ends_the_call_at_once(client, service, waits):
    service.script(["429:absurd"])

    with pytest.raises(ProviderBusy):
        ask(client, edit())
    assert waits == []


def test_after_the_last_repeat_the_service_is_busy(service, connected, waits):
    client = connected(service.base_url, retries=2, stream="never")
    service.script(["429"] * 9)

    with pytest.raises(ProviderBusy, match="429"):
        ask(client, edit())
    assert len(service.requests()) == 3


def test_no_connection_is_repeated_and_then_busy(connected, waits):
    client = connected("http://127.0.0.1:9/v1", retries=2)

    with pytest.raises(ProviderBusy, match="nothing was sent"):
        ask(client, edit())
    assert len(waits) == 2


def test_a_wrong_size_and_a_wrong_format_are_recorded(client, service):
    service.script(["size:640x480", "jpeg"])

    smaller, jpeg = ask(client, edit()), ask(client, edit())

    assert (smaller.images[0].width, smaller.images[0].height) == (640, 480)
    assert smaller.notices == ("requested 1024x768, but picture 1 is 640x480",)
    assert jpeg.images[0].media_type == "image/jpeg"
    assert jpeg.notices == ("requested png, but picture 1 is jpeg",)


def test_the_body_is_kept_before_it_is_read_and_reads_the_same_again(client, service):
    bodies = []
    request, _ = client.prepare(edit())
    answer = client.send(request, bodies.append)
    service.script(["truncated"])
    with pytest.raises(ProviderError, match="journal keeps the answer"):
        client.send(request, bodies.append)

    assert len(bodies) == 2
    assert read_answer(bodies[0]).images == answer.images


def test_a_stream_brings_previews_and_the_same_answer(service, connected):
    previews = []
    client = replace(
        connected(service.base_url, stream="always"), preview=lambda i, b: previews.append(i)
    )

    answer = ask(client, edit())

    assert previews == [0, 1]
    assert (answer.images[0].width, answer.images[0].height) == (1024, 768)
    assert answer.usage.output_image == service.ledger()[0]["usage"]["output_tokens"]
    assert read_answer(answer.raw).images == answer.images


def test_half_a_stream_is_uncertain(service, connected):
    client = connected(service.base_url, stream="always")
    service.script(["half"])

    with pytest.raises(ProviderUncertain, match="billed"):
        ask(client, edit())
    assert len(service.requests()) == 1


def test_a_whole_stream_of_foreign_events_is_kept(connected):
    events = b'data: {"type": "image.done", "b64_json": "aGVsbG8="}\n\n'
    bodies = []
    with recorder((200, {"content-type": "text/event-stream"}, events)) as (url, _):
        client = connected(url, stream="always")
        request, _ = client.prepare(edit())
        with pytest.raises(ProviderError, match="journal keeps the answer"):
            client.send(request, bodies.append)

    assert bodies == [events]


def test_a_service_that_does_not_stream_is_called_without(connected):
    """The refusal names the field, as the API does; it is not billed."""
    details = {"message": "Unknown parameter: 'stream'.", "code": "unknown_parameter"}
    refusal = json.dumps({"error": details}).encode()
    answer = (400, {"content-type": "application/json"}, refusal)
    with recorder(answer) as (url, requests), pytest.raises(ProviderRejected):
        ask(connected(url, stream="always"), edit())

    names = [[name for name, _, _ in request.parts] for request in requests]
    assert ["stream" in one for one in names] == [True, False]
    assert ["partial_images" in one for one in names] == [True, False]


def test_heartbeats_keep_a_slow_stream_alive_beyond_the_silence_limit(service, connected):
    client = connected(service.base_url, stream="always", timeout_s=0.4)
    service.script(["slow:1.0"])

    assert ask(client, edit()).images


@pytest.mark.parametrize(("quality", "streamed"), [("max", True), ("high", False), ("low", False)])
def test_long_calls_are_streamed_on_their_own_accord(service, connected, quality, streamed):
    request, _ = connected(service.base_url).prepare(edit(quality=quality))

    assert request.stream == streamed


def test_shutdown_dates_are_requested_from_the_service(client):
    assert client.shutdown_dates()["gpt-image-1.5"] == "2026-12-01"


def test_without_a_key_nothing_is_sent(service, connected):
    client = connected(service.base_url, gateway="openai", openai="")
    client = replace(client, ready=False)

    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        ask(client, edit())
    assert service.requests() == []


@pytest.mark.parametrize("step", ["ok", "401", "429:absurd", "cut", "html", "refuse:input"])
def test_no_key_in_logs_errors_tracebacks_or_reprs(service, connected, caplog, step):
    caplog.set_level(logging.DEBUG)
    client = connected(service.base_url, stream="never")
    service.script([step])
    try:
        report = repr(ask(client, edit()))
    except ProviderError:
        report = traceback.format_exc()

    for text in (report, caplog.text, repr(client), str(client), repr(client.transport)):
        assert KEY not in text


def test_what_a_service_says_about_a_key_is_not_repeated(client):
    text = f"Incorrect API key provided: {KEY} (Authorization: Bearer abc.def-123)"

    assert client.transport.redact(text).count("[key]") == 2
    assert "abc.def" not in client.transport.redact(text)


def test_what_leaves_and_to_whom_is_said(client, service, connected):
    words = client.announcement(edit(), edit())

    assert service.base_url in words
    assert "UNENCRYPTED" not in words
    assert "UNENCRYPTED" in connected("http://192.0.2.1/v1").announcement(edit())
    assert "1 picture, " in words
    assert "gpt-image-2.6-sunburst" in words


def test_the_answer_to_a_generation_is_a_picture(client):
    picture = ask(client, GENERATE).images[0]

    assert Image.open(io.BytesIO(picture.data)).size == (1024, 768)
