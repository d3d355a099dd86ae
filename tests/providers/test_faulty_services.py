"""What relays and gateways really send, judged by the ledger of the service that sends it.

Three facts hold for every fault: the ledger never passes the limit, what was paid is in the
journal, and nothing is paid twice on its own.
"""

import base64
import json
import resource
from dataclasses import replace

import httpx2
import pytest

from asking import edit, png, repeated
from verax.errors import (
    BudgetExceeded,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
)
from verax.providers import GenerateRequest, ImageFile, Usage, connections
from verax.providers.answers import read_answer
from verax.providers.batch import Batches
from verax.providers.batch_table import plain
from verax.providers.budget import Budget, load_tariff
from verax.providers.connections import LinkOrigin, fetch_link
from verax.providers.journal import Journal
from verax.providers.payload import decode_base64
from verax.testservice.state import LinkedPicture

TARIFF = load_tariff()
GENERATE = GenerateRequest(
    model="gpt-image-2.6-flare", prompt="a pier", size="1024x768", quality="low"
)
KINDS = {"edit": edit(), "generate": GENERATE}


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal") as journal:
        yield journal


@pytest.fixture(params=["edit", "generate"])
def request_of_kind(request, client):
    return client.prepare(KINDS[request.param])[0]


def call(journal, client, request, *, limit=None, run="run", **options):
    budget = Budget(TARIFF, run, limit)
    fetch = client.transport.fetch
    return journal.call(request, client.send, budget=budget, fetch=fetch, **options)


def states(journal):
    return [one.state for one in journal.records.select()]


def most_of(request):
    return TARIFF.estimate(request).high_usd


STATUSES = ["500", "502", "503", "504", "408", "409", "499", "520", "529", "599"]


@pytest.mark.parametrize("status", STATUSES)
def test_a_failure_that_may_have_been_billed_is_uncertain_and_not_repeated(
    journal, client, service, request_of_kind, status
):
    service.script([f"billed:{status}"] * 9)
    for _ in range(3):
        with pytest.raises(ProviderUncertain):
            call(journal, client, request_of_kind)

    assert len(service.ledger()) == 1
    assert states(journal) == ["uncertain"]
    assert journal.cost("run").most_usd >= service.bill_usd()


def test_what_may_have_been_billed_holds_the_limit(journal, client, service):
    request = client.prepare(edit())[0]
    limit = 2.5 * most_of(request)
    service.script(["billed:502"] * 20)
    for index in range(6):
        with pytest.raises((ProviderUncertain, BudgetExceeded)):
            call(journal, client, repeated(request, index), limit=limit)

    assert len(service.ledger()) == 2
    assert service.bill_usd() <= limit


@pytest.mark.parametrize(
    "usage", ["zeros", "prompt", "no-output", "null-output", "zero-output", "few"]
)
def test_a_count_that_cannot_be_counts_at_its_upper_bound(
    journal, client, service, request_of_kind, usage
):
    service.script([f"usage:{usage}"] * 9)
    limit = 2.5 * most_of(request_of_kind)
    answers = []
    for index in range(4):
        try:
            answers.append(call(journal, client, repeated(request_of_kind, index), limit=limit))
        except BudgetExceeded:
            break

    assert answers[0].cost_usd is None
    assert "the most that the call can cost" in " ".join(answers[0].notices)
    assert len(service.ledger()) == len(answers) == 2
    assert service.bill_usd() <= journal.cost("run").most_usd <= limit


def test_with_a_key_of_ones_own_the_price_is_the_sum(journal, client, service):
    service.script(["usage:byok"])

    assert call(journal, client, client.prepare(edit())[0]).cost_usd == 0.04


@pytest.mark.parametrize("way", ["400", "null", "200", "500", "contentFilter"])
def test_a_refusal_without_a_known_code_is_refused_counted_and_not_repeated(
    journal, client, service, request_of_kind, way
):
    service.script([f"moderation:{way}"] * 9)
    for run in ("run", "run", "another"):
        with pytest.raises(ProviderRefused):
            call(journal, client, request_of_kind, run=run)

    assert len(service.ledger()) == 1
    assert states(journal) == ["refused"]
    assert journal.cost("run").most_usd >= service.bill_usd()


WAYS = ["", "null", "empty", "relative", "redirect", "data", "late", "cut", "keyed"]


@pytest.mark.parametrize("way", WAYS)
def test_the_picture_behind_a_link_is_fetched_at_once_and_kept(
    journal, client, service, request_of_kind, way
):
    service.script([f"link:{way}" if way else "link"])
    first = call(journal, client, request_of_kind)
    attempts = sum(one.attempts for one in service.state.linked)
    again = call(journal, client, request_of_kind)

    assert (first.images[0].width, first.images[0].height) == (1024, 768)
    assert again.images == first.images
    assert len(service.ledger()) == 1
    assert sum(one.attempts for one in service.state.linked) == attempts


def test_a_link_that_is_dead_today_is_fetched_for_nothing_tomorrow(journal, client, service):
    request = client.prepare(edit())[0]
    service.script(["link:gone"])
    with pytest.raises(ProviderError, match="verax journal fetch"):
        call(journal, client, request)
    left = states(journal)
    service.state.linked[0].way = ""
    answer = call(journal, client, request)

    assert left == ["unusable"]
    assert states(journal) == ["done"]
    assert answer.images[0].width == 1024
    assert len(service.ledger()) == 1


def test_a_link_without_end_is_given_up_and_its_answer_kept(journal, client, service, monkeypatch):
    monkeypatch.setattr(connections, "MOST_LINK_BYTES", 3_000_000)
    service.script(["link:endless"])
    with pytest.raises(ProviderError, match="took longer than"):
        call(journal, client, client.prepare(edit())[0])

    assert states(journal) == ["unusable"]
    assert service.state.linked[0].attempts == 1


def test_a_service_on_the_internet_may_not_point_into_a_private_network():
    origin = LinkOrigin(httpx2.URL("https://8.8.8.8/v1"), False, {}, 0, lambda s: None)
    for link in ("http://127.0.0.1:9/x.png", "http://169.254.169.254/x", "http://[::1]/x"):
        with pytest.raises(ProviderError, match="private network"):
            fetch_link(link, origin)


STREAMS = ["", "url", "nested", "named", "noise", "unended", "plain", "odd", "none"]


@pytest.mark.parametrize("streamed", [True, False], ids=["asked", "unasked"])
@pytest.mark.parametrize("way", STREAMS)
def test_events_are_read_as_events_whatever_their_names_and_headers(
    journal, service, connected, way, streamed
):
    client = connected(service.base_url, stream="always" if streamed else "never")
    request = client.prepare(edit())[0]
    service.script([f"stream:{way}"])
    answer = call(journal, client, request)

    assert answer.images[0].width == 1024
    assert answer.usage is not None
    assert call(journal, client, request).images == answer.images
    assert len(service.ledger()) == 1


@pytest.mark.parametrize("spelling", ["wrapped", "urlsafe", "unpadded"])
def test_base64_is_read_in_every_spelling(journal, client, service, spelling):
    service.script([f"base64:{spelling}"])

    assert call(journal, client, client.prepare(edit())[0]).images[0].width == 1024


def test_of_two_pictures_the_good_one_is_delivered_and_the_empty_one_reported(
    journal, client, service, request_of_kind
):
    request = replace(request_of_kind, n=2)
    service.script(["empty-entry"])
    for _ in range(2):
        answer = call(journal, client, request)

        assert len(answer.images) == 1
        assert "1 of 2 entries of the answer hold no picture" in answer.notices
    assert len(service.ledger()) == 1


@pytest.mark.parametrize("step", ["ended", "gzip-lie"])
def test_an_answer_that_arrived_whole_is_accepted_whatever_the_connection_says(
    journal, client, service, request_of_kind, step
):
    service.script([step])

    assert call(journal, client, request_of_kind).images[0].width == 1024
    assert states(journal) == ["done"]


def test_of_a_broken_answer_what_arrived_is_kept(journal, client, service):
    service.script(["half"])
    with pytest.raises(ProviderUncertain):
        call(journal, client, client.prepare(edit())[0])
    assert "bytes of the answer arrived" in journal.records.select()[0].message
    (left,) = journal.folder.glob("answers/*/*.part")

    assert left.read_bytes().startswith(b'{"created"')
    assert left.stat().st_size > 10_000


def test_a_call_without_credit_is_not_repeated(journal, client, service, waits):
    service.script(["429:quota"] * 9)
    with pytest.raises(ProviderRejected, match="top up"):
        call(journal, client, client.prepare(edit())[0])

    assert (len(service.requests()), waits) == (1, [])


def test_a_web_page_is_no_answer_and_costs_nothing(journal, connected, service):
    client = connected(service.base_url.removesuffix("/v1"), stream="never")
    service.script(["page"])
    with pytest.raises(ProviderRejected, match=r"got a web page.*try http.*/v1"):
        call(journal, client, client.prepare(edit())[0])

    assert states(journal) == ["failed"]
    assert journal.cost("run").most_usd == 0


def test_an_answer_larger_than_the_disk_is_delivered_and_kept_in_part(journal, client, service):
    request = client.prepare(edit())[0]
    service.script(["padded:30000000"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, before[1]))
    try:
        answer = call(journal, client, request)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (record,) = journal.records.select()

    assert answer.images[0].width == 1024
    assert "only part of the answer" in " ".join(answer.notices)
    assert (record.state, "only part of the answer" in record.message) == ("unusable", True)
    assert journal.answers.path(record.fingerprint).stat().st_size == 20_000_000
    assert call(journal, client, request).images == answer.images
    assert len(service.ledger()) == 1


FORMS = ["{}", "{}/", "{}//", "{}/images/edits", "{}/images/generations", "{}?api-version=1"]


def test_every_form_of_an_address_is_one_service_and_one_payment(journal, connected, service):
    urls = [form.format(service.base_url) for form in FORMS]
    urls += [service.base_url.replace("http", "HTTP"), service.base_url.replace("/v1", "//v1/")]
    for url in urls:
        client = connected(url, stream="never")
        call(journal, client, client.prepare(edit())[0])

    assert len(service.ledger()) == 1


@pytest.mark.parametrize("status", [502, 500, 0, 200])
def test_a_batch_that_was_created_and_denied_is_found(tmp_path, service, connected, status):
    client = connected(service.base_url)
    service.state.batch_plan["create"] = [status] * 9
    requests = [
        plain(client.prepare(edit(images=(ImageFile(png(seed=seed)),)))[0]) for seed in range(3)
    ]
    with Journal(tmp_path / "journal") as journal:
        tariff = load_tariff(batch=True)
        batches = Batches(client, journal, Budget(tariff, "run"), sleep=lambda seconds: None)
        batches.run(requests)
        left = states(journal)

    assert left == ["done"] * 3
    assert len(service.state.batches) == 1
    assert len(service.ledger()) == 3


def in_a_batch(tmp_path, client, count=2):
    """The journal after a batch of edits, and the requests."""
    requests = [
        plain(client.prepare(edit(images=(ImageFile(png(seed=seed)),)))[0]) for seed in range(count)
    ]
    journal = Journal(tmp_path / "journal")
    budget = Budget(load_tariff(batch=True), "run")
    Batches(client, journal, budget, sleep=lambda seconds: None).run(requests)
    return journal, requests


CHANGES = {
    "zeros": lambda body: body | {"usage": {"input_tokens": 0, "output_tokens": 0}},
    "no usage": lambda body: {"data": body["data"]},
    "nested": lambda body: {"result": {"data": body["data"]}},
    "wrapped": lambda body: {"data": [{"b64_json": body["data"][0]["b64_json"] + "\n"}]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_batch_brings_the_same_faults_and_loses_nothing(tmp_path, service, connected, change):
    service.state.batch_plan["bodies"] = CHANGES[change]
    journal, requests = in_a_batch(tmp_path, connected(service.base_url))
    with journal:
        assert states(journal) == ["done", "done"]
        assert all(journal.stored_answer(one).cost_usd is None for one in requests)
        assert journal.cost("run").most_usd >= service.bill_usd()


def test_a_batch_that_answers_with_links_has_its_pictures_fetched(tmp_path, service, connected):
    with service.state.lock:
        service.state.linked.append(LinkedPicture(png(1024, 768), ""))
    service.state.batch_plan["bodies"] = lambda body: {"data": [{"url": "/pictures/0"}]}
    journal, requests = in_a_batch(tmp_path, connected(service.base_url))
    with journal:
        service.state.linked[0].way = "gone"

        assert states(journal) == ["done", "done"]
        assert journal.stored_answer(requests[0]).images[0].width == 1024


def test_a_line_of_a_batch_that_is_no_json_is_kept_and_stops_nothing(tmp_path, service, connected):
    service.state.batch_plan["garble"] = True
    journal, _ = in_a_batch(tmp_path, connected(service.base_url))
    with journal:
        assert states(journal) == ["done", "done"]
        (file,) = journal.folder.glob("unread/*")
    assert b"half a li" in file.read_bytes()


def test_a_page_in_place_of_a_linked_picture_is_not_taken_for_it(journal, client, service):
    request = client.prepare(edit())[0]
    service.script(["link:sorry"])
    for _ in range(2):
        with pytest.raises(ProviderError, match="cannot be read"):
            call(journal, client, request)
    service.state.linked[0].way = ""

    assert call(journal, client, request).images[0].width == 1024
    assert len(service.ledger()) == 1


def test_usage_that_contradicts_itself_is_counted_at_the_dearer_reading():
    split = {
        "input_tokens_details": {"text_tokens": 9},
        "output_tokens_details": {"text_tokens": 0},
    }
    counts = {"input_tokens": 20, "output_tokens": 196, "total_tokens": 300, **split}
    counts["output_tokens_details"]["image_tokens"] = 0
    answer = read_answer(json.dumps({"data": [{"b64_json": b64()}], "usage": counts}).encode())

    assert answer.usage == Usage(9, 11, 0, 280)


def b64():
    return base64.b64encode(png()).decode()


def test_url_safe_and_wrapped_text_is_the_same_bytes():
    assert decode_base64("-_8=\n") == decode_base64("+/8") == b"\xfb\xff"
