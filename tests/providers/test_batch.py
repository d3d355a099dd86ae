"""The Batch API: every request answered once, at half price, from whichever process looks."""

import io
import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from PIL import Image

from asking import repeated
from verax.errors import BudgetExceeded, ProviderBusy, ProviderUncertain
from verax.providers import EditRequest, GenerateRequest, ImageFile
from verax.providers.batch import Batches
from verax.providers.batch_table import plain, split
from verax.providers.budget import Budget, load_tariff, total
from verax.providers.images_api import connect
from verax.providers.journal import Journal
from verax.settings import Settings

TARIFF = load_tariff(batch=True)
BUDGET = Budget(TARIFF, "run")


def photo(seed):
    levels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "png")
    return ImageFile(buffer.getvalue(), "photo.png")


def edits(count, **fields):
    given = {"model": "gpt-image-2", "prompt": "clear", "size": "1024x768", "quality": "low"}
    return [EditRequest(**given | fields, images=(photo(i),)) for i in range(count)]


@pytest.fixture
def client(service, tmp_path):
    environ = {"VERAX_API_KEY": "sk-test"}
    settings = Settings(home=tmp_path, base_url=service.base_url, environ=environ)
    client = connect(settings, today=date(2026, 11, 20))
    yield client
    client.transport.close()


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal") as journal:
        yield journal


def prepared(client, requests):
    return [plain(client.prepare(request)[0]) for request in requests]


def batches(client, journal, **options):
    options = {"budget": BUDGET, "sleep": lambda seconds: None} | options
    return Batches(client, journal, **options)


def states(journal):
    return [call.state for call in journal.records.select()]


def test_a_folder_is_answered_and_every_answer_belongs_to_its_photo(client, journal, service):
    requests = prepared(client, edits(3))
    batches(client, journal).run(requests)
    answers = [journal.stored_answer(request) for request in requests]

    assert states(journal) == ["done"] * 3
    for index, answer in enumerate(answers):  # the service answers in another order
        want = np.asarray(Image.open(io.BytesIO(photo(index).data)).resize((1024, 768)), float)
        got = np.asarray(Image.open(io.BytesIO(answer.images[0].data)), float)
        assert np.abs(got - want).mean() < 25


def test_the_estimate_is_half_and_equals_the_bill(client, journal, service):
    requests = prepared(client, edits(3))
    expected = total([TARIFF.estimate(request) for request in requests]).expected_usd
    batches(client, journal).run(requests)

    assert service.bill_usd() == pytest.approx(expected, rel=0.01)
    assert journal.cost("run").billed_usd == pytest.approx(service.bill_usd())


def test_what_is_stored_or_on_its_way_is_not_sent_again(client, journal, service):
    requests = prepared(client, edits(2))
    work = batches(client, journal)
    first = work.submit(requests[:1])
    second = work.submit(requests)
    third = work.submit(requests)
    work.run([])
    fourth = work.submit(requests)

    assert [len(one) for one in (first, second, third, fourth)] == [1, 1, 0, 0]
    assert len(service.ledger()) == 2


def test_another_process_fetches_the_answers(client, tmp_path, service):
    requests = prepared(client, edits(2))
    with Journal(tmp_path / "journal") as journal:
        batches(client, journal).submit(requests)
    with Journal(tmp_path / "journal") as journal:
        waiting = states(journal)
        batches(client, journal).run([])
        answered = states(journal)

    assert waiting == ["batched", "batched"]
    assert answered == ["done", "done"]
    assert len(service.state.batches) == 1


class CutAfter:
    """A transport that loses the answer to the creation of a batch."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def post(self, wire, **options):
        reply = self.inner.post(wire, **options)
        if wire.path == "/batches":
            raise ProviderUncertain("the line was cut")
        return reply


def test_a_batch_that_was_created_without_our_hearing_is_found_not_paid_twice(
    client, journal, service
):
    requests = prepared(client, edits(2))
    cut = replace(client, transport=CutAfter(client.transport))
    batches(cut, journal).submit(requests)
    batches(client, journal).run(requests)

    assert len(service.state.batches) == 1
    assert len(service.ledger()) == 2
    assert states(journal) == ["done", "done"]


class CutBefore(CutAfter):
    """A transport whose batch request never arrives."""

    def post(self, wire, **options):
        if wire.path == "/batches":
            raise ProviderUncertain("the line was cut")
        return self.inner.post(wire, **options)


def test_a_batch_that_never_arrived_is_created_on_the_next_start(client, journal, service):
    requests = prepared(client, edits(2))
    cut = replace(client, transport=CutBefore(client.transport))
    with pytest.raises(ProviderUncertain):
        batches(cut, journal).submit(requests)
    batches(client, journal).run(requests)

    assert len(service.state.batches) == 1
    assert states(journal) == ["done", "done"]


class NoUpload(CutAfter):
    def post(self, wire, **options):
        raise ProviderBusy("no connection")


def test_a_batch_whose_upload_failed_leaves_nothing_claimed(client, journal):
    requests = prepared(client, edits(1))
    broken = replace(client, transport=NoUpload(client.transport))
    with pytest.raises(ProviderBusy):
        batches(broken, journal).submit(requests)
    left = states(journal)
    batches(client, journal).run(requests)

    assert left == ["failed"]
    assert states(journal) == ["failed", "done"]


def test_an_expired_batch_keeps_what_was_finished(client, journal, service):
    requests = prepared(client, edits(3))
    service.state.batch_plan = {"expire_after": 1}
    batches(client, journal).run(requests)
    first = sorted(states(journal))
    service.state.batch_plan = {}
    batches(client, journal).run(requests)

    assert first == ["done", "failed", "failed"]
    assert len(service.ledger()) == 3
    assert all(journal.stored_answer(request) for request in requests)


def test_a_refused_line_is_a_refusal_and_the_others_are_answered(client, journal, service):
    requests = prepared(client, edits(3))
    service.state.batch_plan = {"fail_lines": {1: "refuse"}}
    batches(client, journal).run(requests)
    (refusal,) = journal.records.select(states=("refused",))
    again = batches(client, journal).submit(requests)

    assert states(journal).count("done") == 2
    assert (refusal.stage, refusal.categories) == ("input", ("violence",))
    assert again == []


def test_a_batch_that_fails_validation_says_why_and_costs_nothing(client, journal, service):
    service.state.batch_plan = {"invalid": True}
    batches(client, journal).run(prepared(client, edits(1)))
    (call,) = journal.records.select()

    assert call.state == "failed"
    assert "line 1 is not JSON" in call.message
    assert service.ledger() == []


def test_a_batch_beyond_the_limit_is_not_even_uploaded(client, journal, service):
    one = TARIFF.estimate(prepared(client, edits(1))[0]).high_usd
    budget = Budget(TARIFF, "run", max_cost_usd=2.5 * one)
    with pytest.raises(BudgetExceeded):
        batches(client, journal, budget=budget).submit(prepared(client, edits(3)))

    assert service.state.files == {}
    assert states(journal) == []


def test_parts_that_do_not_fit_together_are_not_sent_at_all(client, journal, service):
    one = TARIFF.estimate(prepared(client, edits(1))[0]).high_usd
    budget = Budget(TARIFF, "run", max_cost_usd=2.5 * one)
    with pytest.raises(BudgetExceeded):
        batches(client, journal, budget=budget, most_lines=1).submit(prepared(client, edits(3)))

    assert service.state.batches == {}
    assert set(states(journal)) == {"failed"}


def test_a_batch_that_another_process_prepares_is_left_to_it(client, journal, tmp_path):
    with Journal(tmp_path / "journal") as other:
        theirs = batches(client, other).table.new(other.answers.owner, "/v1/images/edits", 0.0)
        still = batches(client, journal).collect()
    later = batches(client, journal).collect()

    assert [batch.id for batch in still] == [theirs.id]
    assert later == []


def test_too_many_lines_become_several_batches(client, journal, service):
    batches(client, journal, most_lines=2).run(prepared(client, edits(3)))

    counts = [batch["request_counts"]["total"] for batch in service.state.batches.values()]
    assert counts == [2, 1]
    assert states(journal) == ["done"] * 3


def test_one_batch_holds_one_model_and_one_endpoint(client, journal, service):
    words = GenerateRequest(model="gpt-image-2", prompt="a", size="1024x768", quality="low")
    requests = [*edits(1), *edits(1, model="gpt-image-2.6-flare"), words]
    batches(client, journal).run(prepared(client, requests))

    endpoints = [batch["endpoint"] for batch in service.state.batches.values()]
    assert sorted(endpoints) == [
        "/v1/images/edits",
        "/v1/images/edits",
        "/v1/images/generations",
    ]
    assert states(journal) == ["done"] * 3


def test_equal_pictures_are_uploaded_once_and_deleted_at_the_end(client, journal, service):
    requests = prepared(client, [repeated(edits(1)[0], index) for index in range(3)])
    work = batches(client, journal)
    work.submit(requests)
    purposes = [file["purpose"] for file in service.state.files.values()]
    work.run([])
    left = [file["purpose"] for file in service.state.files.values()]

    assert sorted(purposes) == ["batch", "vision"]
    assert "vision" not in left


@pytest.mark.parametrize("lines", [1, 3, 7])
def test_parts_keep_order_and_limits(lines):
    requests = [GenerateRequest(model="m", prompt=f"{i}") for i in range(20)]
    parts = list(split(requests, lines=lines))

    assert [request for part in parts for request in part] == requests
    assert max(map(len, parts)) == lines


def test_long_prompts_make_parts_by_size():
    requests = [GenerateRequest(model="m", prompt="ü" * 30_000) for _ in range(10)]
    parts = list(split(requests, size=1_000_000))
    longest = max(sum(len(json.dumps(one.fields())) for one in part) for part in parts)

    assert len(parts) > 1
    assert longest < 1_000_000
