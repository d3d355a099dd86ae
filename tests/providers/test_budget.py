"""Estimates equal the bills of the test service; limits of pace hold in every minute."""

import functools
import io
import threading
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from verax.catalog.models import models
from verax.errors import InputError
from verax.providers import EditRequest, GenerateRequest, ImageFile, Usage
from verax.providers.budget import (
    Pace,
    cost_usd,
    estimate,
    input_image_tokens,
    load_tariff,
    total,
)
from verax.providers.images_api import connect
from verax.settings import Settings
from verax.testservice import models as billing

KNOWN = models()
PROMPT = (
    "Remove the haze from this photograph. Keep every object, its position, its shape and all text "
    "exactly as they are; do not add, remove or move anything. Keep the framing."
)
SIZES = ["1024x768", "1024x1024", "1024x1536", "1920x1080", "2560x1440", "3840x2160"]
QUALITIES = {
    "gpt-image-2": ["low", "medium", "high"],
    "gpt-image-2.5-flare": ["low", "medium", "high", "xhigh", "max"],
    "gpt-image-2.5-sunburst": ["low", "medium", "high", "xhigh", "max"],
    "gpt-image-2.6-flare": ["low", "medium", "high", "xhigh", "max"],
    "gpt-image-2.6-sunburst": ["low", "medium", "high", "xhigh", "max"],
}
CASES = [(m, q, s) for m, qualities in QUALITIES.items() for q in qualities for s in SIZES]


@functools.cache
def png(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "png")
    return ImageFile(buffer.getvalue())


def bill(model, quality, size, inputs=(), n=1, previews=0):
    outputs = [(quality, *map(int, size.split("x")))] * n
    return billing.charge(model, PROMPT, list(inputs), outputs, previews=previews)["usd"]


@pytest.mark.parametrize(("model", "quality", "size"), CASES, ids="-".join)
def test_a_generation_is_estimated_within_one_percent(model, quality, size):
    request = GenerateRequest(model=model, prompt=PROMPT, quality=quality, size=size)

    got = estimate(request, KNOWN[model])

    assert got.expected_usd == pytest.approx(bill(model, quality, size), rel=0.01)
    assert got.low_usd <= bill(model, quality, size) * 1.001 <= got.high_usd * 1.001


@pytest.mark.parametrize("photo", [(1024, 768), (512, 384), (2560, 1440), (480, 640)], ids=str)
@pytest.mark.parametrize(("model", "quality", "size"), CASES[::9], ids="-".join)
def test_an_edit_is_estimated_within_one_percent_input_included(model, quality, size, photo):
    request = EditRequest(
        model=model, prompt=PROMPT, quality=quality, size=size, images=(png(*photo),)
    )

    got = estimate(request, KNOWN[model])

    want = bill(model, quality, size, inputs=[photo])
    assert got.expected_usd == pytest.approx(want, rel=0.01)
    assert want <= got.high_usd


@pytest.mark.parametrize(
    "fields",
    [{}, {"quality": "auto"}, {"size": "auto"}, {"n": 3}, {"stream": True, "partial_images": 3}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["generate", "edit"])
@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-2.5-flare", "gpt-image-1.5"])
def test_no_bill_is_above_the_upper_bound(service, client, model, kind, fields):
    given = {"model": model, "prompt": PROMPT, "size": "1024x1024", "quality": "low"} | fields
    request = GenerateRequest(**given)
    if kind == "edit":
        request = EditRequest(**given, images=(png(300, 200), png(200, 300)))
    tariff = load_tariff()

    client.send(request, lambda body: None)

    got = tariff.estimate(request)
    assert got.low_usd * 0.99 <= service.bill_usd() <= got.high_usd


@pytest.fixture
def client(service):
    settings = Settings(
        home=Path("unused"), base_url=service.base_url, environ={"VERAX_API_KEY": "sk-test"}
    )
    return connect(settings, today=date(2026, 11, 20))


def test_the_cost_of_usage_is_its_tokens_at_their_prices():
    usage = Usage(input_text=1_000_000, input_image=2_000_000, output_text=0, output_image=500_000)

    assert cost_usd(usage, KNOWN["gpt-image-2"].price) == pytest.approx(5 + 16 + 15)


def test_text_output_has_its_own_price_where_the_catalog_names_one():
    usage = Usage(output_text=1_000_000)

    assert cost_usd(usage, KNOWN["gpt-image-1.5"].price) == pytest.approx(10)
    assert cost_usd(usage, KNOWN["gpt-image-2"].price) == pytest.approx(30)


def test_the_batch_api_costs_half():
    request = GenerateRequest(model="gpt-image-2", prompt=PROMPT, quality="low", size="1024x1024")
    now, later = load_tariff().estimate(request), load_tariff(batch=True).estimate(request)

    assert later.expected_usd == pytest.approx(now.expected_usd / 2)
    assert later.high_usd == pytest.approx(now.high_usd / 2)


def test_a_free_gateway_costs_nothing_and_an_unknown_model_has_no_price():
    tariff = load_tariff()
    request = GenerateRequest(
        model="qwen-image", prompt="x", gateway="vllm-omni http://127.0.0.1:8000/v1"
    )

    assert tariff.estimate(request).high_usd == 0.0
    unknown = GenerateRequest(model="qwen-image", prompt="x", gateway="http://10.0.0.1/v1")
    assert tariff.estimate(unknown).high_usd is None


def test_an_unknown_quality_of_a_priced_model_is_an_error():
    request = GenerateRequest(model="gpt-image-2", prompt="x", quality="max", size="1024x1024")

    with pytest.raises(InputError, match="no token count for quality max"):
        estimate(request, KNOWN["gpt-image-2"])


def test_totals_add_up_and_one_unknown_price_makes_the_sum_unknown():
    request = GenerateRequest(model="gpt-image-2", prompt="x", quality="low", size="1024x1024")
    one = estimate(request, KNOWN["gpt-image-2"])
    unknown = load_tariff().estimate(GenerateRequest(model="m", prompt="x", gateway="g"))

    assert total([one] * 3).expected_usd == pytest.approx(3 * one.expected_usd)
    assert total([one] * 3).usage.output_image == 3 * 196
    assert total([one, unknown]).high_usd is None


@pytest.mark.parametrize("size", [(1024, 1024), (341, 512), (1179, 2556), (3840, 2160), (16, 48)])
def test_input_tokens_equal_those_of_the_ledger(size):
    assert input_image_tokens(*size) == billing.input_image_tokens(*size)


def test_half_a_cell_goes_to_the_even_number_as_in_the_official_calculator():
    """1024x928 at low quality: 16 x 14.5 cells become 16 x 14 (16 x 15 would be 178 tokens)."""
    request = GenerateRequest(model="gpt-image-2", prompt="", quality="low", size="1024x928")

    assert estimate(request, KNOWN["gpt-image-2"]).usage.output_image == 166
    assert billing.output_tokens("gpt-image-2", "low", 1024, 928) == 166


class Clock:
    """A clock that sleeping moves on."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("pictures", [1, 2, 3])
def test_no_minute_has_more_pictures_than_allowed(pictures):
    clock = Clock()
    pace = Pace(images_per_minute=5, clock=clock, sleep=clock.sleep)
    sent = []
    for _ in range(20):
        with pace.slot(pictures):
            sent += [clock.now] * pictures
        clock.now += 1.0

    busiest = max(sum(start <= t < start + 60 for t in sent) for start in sent)
    assert busiest <= 5


def test_the_allowance_is_used_up_before_anybody_waits():
    clock = Clock()
    pace = Pace(images_per_minute=5, clock=clock, sleep=clock.sleep)
    for _ in range(10):
        with pace.slot():
            pass

    assert clock.now == pytest.approx(160.0)


def test_a_call_for_more_pictures_than_a_minute_allows_goes_out_alone():
    clock = Clock()
    pace = Pace(images_per_minute=5, clock=clock, sleep=clock.sleep)
    for _ in range(2):
        with pace.slot(10):
            pass

    assert clock.now == pytest.approx(160.0)


def test_no_more_calls_than_allowed_are_under_way():
    pace, under_way, most = Pace(concurrency=2), [], []

    def one():
        with pace.slot():
            under_way.append(1)
            most.append(len(under_way))
            under_way.pop()

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) <= 2
