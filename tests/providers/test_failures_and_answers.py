"""What services say, in all their spellings, is understood."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import png
from verax.errors import (
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
)
from verax.providers import Usage
from verax.providers.answers import read_answer, read_usage
from verax.providers.failures import failure, may_repeat, parse_error, wait_s
from verax.providers.payload import Collector

ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY |= st.lists(ANY, max_size=2) | st.dictionaries(st.text(max_size=3), ANY, max_size=2)


def objects(*names, **known):
    """JSON objects with any of these names, holding anything."""
    return ANY | st.fixed_dictionaries({}, optional=dict.fromkeys(names, ANY) | known)


FILTER = objects("code", content_filter_results=objects(hate=objects("filtered")))
DETAILS = objects("categories", "moderation_stage")
ERROR = objects("message", "code", "type", "param", inner_error=FILTER, moderation_details=DETAILS)
USAGE = objects(
    "input_tokens", "output_tokens", "cost", input_tokens_details=objects("text_tokens")
)
PICTURES = st.lists(objects("b64_json", "url"), max_size=2)
BODY = objects("size", "model", "metadata", error=ERROR, usage=USAGE, data=ANY | PICTURES)
EVENT = objects("b64_json", "partial_image_index", "usage", "created_at", error=ERROR)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
B64 = base64.b64encode(png()).decode()


def body(**error):
    return json.dumps(
        {"error": {"message": "", "type": "", "param": None, "code": None} | error}
    ).encode()


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "250"}, "", 0.25),
        ({"x-ms-retry-after-ms": "1500"}, "", 1.5),
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after-ms": "100", "retry-after": "9"}, "", 0.1),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, "", 30.0),
        ({"retry-after": "Friday, 20-Nov-26 12:00:30 GMT"}, "", 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT"}, "", 0.0),
        ({}, "Rate limit reached. Please try again in 12s. Visit ...", 12.0),
        ({}, "Please try again in 1m2.5s.", 62.5),
        ({}, "Please try again in 20ms.", 0.02),
        ({"retry-after": "121"}, "", None),
        ({"retry-after": "1e99"}, "", None),
        ({"retry-after": "inf"}, "", None),
    ],
)
def test_the_wish_to_wait_in_all_its_spellings(headers, message, seconds):
    assert wait_s(headers, body(message=message), 0, Random(1), now=NOW) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "nan", "Fri, 99 Nov 2026"])
def test_a_wish_that_is_none_gives_the_usual_growing_wait(text):
    waits = [wait_s({"retry-after": text}, b"", n, Random(1), now=NOW) for n in range(8)]

    assert all(0.375 * 2**n <= w <= 0.5 * 2**n for n, w in enumerate(waits[:4]))
    assert max(waits) <= 8.0


@pytest.mark.parametrize(
    ("status", "payload", "error"),
    [
        (400, body(code="moderation_blocked"), ProviderRefused),
        (400, body(code="content_policy_violation"), ProviderRefused),
        (400, body(code="contentFilter"), ProviderRefused),
        (400, body(inner_error={"code": "ResponsibleAIPolicyViolation"}), ProviderRefused),
        (400, body(code="invalid_value"), ProviderRejected),
        (401, body(code="invalid_api_key"), ProviderRejected),
        (402, b'{"error":{"code":"INSUFFICIENT_BALANCE","message":"empty"}}', ProviderRejected),
        (403, b"", ProviderRejected),
        (404, b'{"detail":"Not Found"}', ProviderRejected),
        (413, b"<html><body>Request Entity Too Large</body></html>", ProviderRejected),
        (429, body(code="insufficient_quota"), ProviderRejected),
        (429, body(code="rate_limit_exceeded"), ProviderBusy),
        (429, body(code="insufficient_user_quota"), ProviderRejected),
        (
            429,
            b'{"error":{"message":"Insufficient account balance","code":1113}}',
            ProviderRejected,
        ),
        (429, body(code="moderation_blocked"), ProviderRefused),
        (429, body(code="rate", message="rejected by the rate policy"), ProviderBusy),
        (425, b"", ProviderBusy),
        (500, b"[1]", ProviderUncertain),
        (502, b'{"error":"ALL_PROVIDERS_EXHAUSTED"}', ProviderUncertain),
        (503, b"", ProviderUncertain),
        (529, b"", ProviderUncertain),
        (408, b"", ProviderUncertain),
        (409, body(code="conflict"), ProviderUncertain),
        (499, b"", ProviderUncertain),
        (303, b"", ProviderUncertain),
        (307, b"", ProviderRejected),
        (999, b"", ProviderUncertain),
        (504, b"<html>Gateway Time-out</html>", ProviderUncertain),
        (524, b"", ProviderUncertain),
    ],
)
def test_every_error_answer_has_its_class(status, payload, error):
    got = failure(status, {}, payload, where="service", clean=lambda text: text)

    assert type(got) is error
    assert may_repeat(status, {}, payload) == (error is ProviderBusy)


def test_the_service_may_forbid_or_allow_a_repeat():
    assert not may_repeat(429, {"x-should-retry": "false"}, b"")
    for status in (400, 500, 504):
        assert not may_repeat(status, {"x-should-retry": "true"}, body(code="x"))


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 524])
def test_what_costs_nothing_is_requested_again_after_more_failures(status):
    got = failure(status, {}, b"", where="service", clean=str, paid=False)

    assert type(got) is ProviderBusy
    assert may_repeat(status, {}, b"", paid=False)


MODERATED = [
    body(code="400", message="Your request was rejected by the safety system."),
    body(code=None, type="image_generation_user_error", message="no"),
    body(code=400, type="bad_response_status_code", message="flagged by our content policy"),
    json.dumps({"error": {"error": {"code": "moderation_blocked", "message": "no"}}}).encode(),
    json.dumps({"error": {"message": json.dumps({"code": "moderation_blocked"})}}).encode(),
    json.dumps({"errors": [{"code": "content_filter", "message": "no"}]}).encode(),
    b"Your request was rejected by the safety system.",
]


@pytest.mark.parametrize("payload", MODERATED)
def test_moderation_is_known_by_code_type_or_words_also_inside_of_wrappings(payload):
    assert type(failure(400, {}, payload, where="service", clean=str)) is ProviderRefused
    with pytest.raises(ProviderError):
        read_answer(payload)


@pytest.mark.parametrize(
    "payload",
    [
        body(code="unknown_parameter", param="moderation", message="Unknown: 'moderation'."),
        body(code="invalid_image_file", type="image_generation_user_error", message="no image"),
        body(code="invalid_value", message="size: expected multiples of 16"),
    ],
)
def test_a_wrong_request_is_no_moderation(payload):
    assert type(failure(400, {}, payload, where="service", clean=str)) is ProviderRejected


def test_a_missing_right_is_not_an_empty_purse():
    answer = body(code="insufficient_permissions", message="You have insufficient permissions.")

    assert "top up" not in str(failure(403, {}, answer, where="", clean=str))


def test_only_a_field_may_say_that_a_late_refusal_was_at_the_input():
    words = body(code="moderation_blocked", message="your prompt was rejected")

    assert failure(400, {}, words, where="", clean=str).stage == "input"
    assert failure(500, {}, words, where="", clean=str).stage == "unknown"
    with pytest.raises(ProviderRefused) as caught:
        read_answer(words)
    assert caught.value.stage == "unknown"


def test_a_date_is_measured_against_the_clock_that_wrote_it():
    headers = {"date": "Fri, 20 Nov 2026 12:05:00 GMT"}
    headers |= {"retry-after": "Fri, 20 Nov 2026 12:05:02 GMT"}

    assert wait_s(headers, b"", 0, Random(1), now=NOW) == 2.0


@pytest.mark.parametrize(
    ("message", "stage"),
    [
        ("Your request was rejected as a result of our safety system.", "unknown"),
        ("Your prompt may contain text that is not allowed.", "input"),
        ("The generated image was blocked.", "output"),
    ],
)
def test_the_stage_is_read_from_words_where_no_field_tells_it(message, stage):
    assert parse_error(body(message=message, code="moderation_blocked")).stage == stage


def test_categories_are_read_from_words_and_from_azures_filter():
    results = {"hate": {"filtered": False}, "violence": {"filtered": True}}
    azure = body(code="contentFilter", inner_error={"content_filter_results": results})
    openai = body(message="... safety_violations=[sexual, self-harm].")

    assert parse_error(azure).categories == ("violence",)
    assert parse_error(openai).categories == ("sexual", "self-harm")


def test_only_known_usage_keys_count():
    mixed = {
        "input_tokens": 768,
        "output_tokens": 196,
        "cache_creation_input_tokens": 5,
        "prompt_tokens": 0,
        "input_tokens_details": {"text_tokens": 20, "cached": "x"},
    }

    assert read_usage(mixed) == Usage(20, 748, 0, 196)
    assert read_usage({"prompt_tokens": 1}) is None
    assert read_usage({"input_tokens": -1, "output_tokens": True}) is None
    assert read_usage(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"data": []}',
        '{"data": [{}]}',
        '{"data": [null]}',
        '{"data": [{"b64_json": "%%%"}]}',
        '{"data": [{"b64_json": "aGVsbG8="}]}',
        '{"data": [{"b64_json": null, "url": "http://127.0.0.1/x.png"}]}',
        '{"data": "x", "error": {"code": "server_error", "message": "sorry"}}',
        "<html></html>",
    ],
)
def test_an_answer_without_a_picture_is_an_error_of_ours(text):
    with pytest.raises(ProviderError):
        read_answer(text.encode())


def test_a_refusal_with_status_200_is_a_refusal():
    with pytest.raises(ProviderRefused):
        read_answer(body(code="moderation_blocked", message="no"))


def test_a_link_is_fetched_and_a_data_url_is_read():
    linked = json.dumps({"data": [{"url": "https://x.example/1.png"}]}).encode()
    inside = json.dumps({"data": [{"b64_json": f"data:image/png;base64,{B64}"}]}).encode()

    fetched = read_answer(linked, fetch=lambda url: png()).images[0]

    assert fetched == read_answer(inside).images[0]
    assert (fetched.width, fetched.height) == (96, 72)


@pytest.mark.parametrize(
    ("extra", "usd"),
    [
        ({"usage": {"cost": 0.04, "input_tokens": 1, "output_tokens": 2}}, 0.04),
        ({"metadata": {"cost": 0.12, "cost_currency": "USD"}}, 0.12),
        ({"metadata": {"cost": 0.12, "cost_currency": "EUR"}}, None),
        ({"usage": {"cost": "free"}}, None),
        ({}, None),
    ],
)
def test_a_price_that_a_gateway_states_is_read(extra, usd):
    answer = json.dumps({"data": [{"b64_json": B64}]} | extra).encode()

    assert read_answer(answer).billed_usd == usd


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_stream_reads_the_same_however_it_is_cut_and_whatever_ends_its_lines(end, step):
    usage = {"input_tokens": 1, "output_tokens": 2}
    events = [
        {"type": "image_edit.partial_image", "partial_image_index": 0, "b64_json": "QUJD"},
        {"type": "image_edit.completed", "b64_json": B64, "size": "96x72", "usage": usage},
    ]
    lines = [": hello", ""]
    for event in events:
        lines += [f"event: {event['type']}", f"data: {json.dumps(event)}", ""]
    text = (end.join([*lines, "data: [DONE]", ""]) + end).encode()
    looks = []

    collector = Collector(lambda index, data: looks.append((index, data)))
    for start in range(0, len(text), step):
        collector.feed(text[start : start + step])
    answer = read_answer(text)

    assert looks == [(0, b"QUJD")]
    assert answer.size == "96x72"
    assert answer.usage == Usage(0, 1, 0, 2)


def test_an_error_in_a_stream_is_held():
    collector = Collector()
    collector.feed(
        b'event: error\ndata: {"type":"error","error":{"code":"moderation_blocked"}}\n\n'
    )

    assert collector.answer() is None
    assert collector.error["error"]["code"] == "moderation_blocked"


@given(BODY)
def test_whatever_json_comes_only_our_errors_leave(value):
    text = json.dumps(value).encode()
    failure(400, {}, text, where="service", clean=str)
    with suppress(ProviderError):
        read_answer(text)


@given(st.binary(max_size=60), EVENT)
def test_whatever_a_stream_holds_it_is_taken(noise, value):
    collector = Collector(lambda index, data: None)
    for kind in ("image_edit.partial_image", "image_edit.completed", "x"):
        event = value | {"type": kind} if isinstance(value, dict) else value
        collector.feed(noise + b"\n\ndata: " + json.dumps(event).encode() + b"\n\n")

    assert collector.answer() is None or collector.answer()["data"]
