"""The journal: one payment per request, whatever happens in between."""

import base64
import io
import json
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verax.errors import (
    BudgetExceeded,
    InputError,
    OutputError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    SettingsError,
)
from verax.providers import EditRequest, GenerateRequest, ImageFile
from verax.providers.answers import read_answer
from verax.providers.budget import Budget, Pace, load_tariff
from verax.providers.journal import Journal

TARIFF = load_tariff()
FREE = Budget(TARIFF)
# 196 output tokens at 30, 5 prompt tokens at 5 USD per million
COST = (196 * 30 + 5 * 5) / 1e6
USAGE = {
    "input_tokens": 5,
    "output_tokens": 196,
    "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
}
REQUEST = GenerateRequest(
    model="gpt-image-2.6-flare", prompt="a pier in fog", size="1024x1024", quality="low"
)


def png(seed=0, size=8):
    levels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "png")
    return buffer.getvalue()


def body(picture=None, usage=USAGE):
    data = base64.b64encode(png() if picture is None else picture).decode()
    return json.dumps({"created": 1, "data": [{"b64_json": data}], "usage": usage}).encode()


class Service:
    """A send that answers, counts its calls, and raises what it is told to."""

    def __init__(self, *, before=None, after=None, answer=None):
        self.before, self.after, self.body = before, after, body() if answer is None else answer
        self.calls = 0

    def __call__(self, request, keep):
        self.calls += 1
        if self.before:
            raise self.before
        keep(self.body)
        if self.after:
            raise self.after
        headers = {"x-request-id": "req_1"}
        return read_answer(self.body, request=request, headers=headers, retries=1)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal") as journal:
        yield journal


def states(journal):
    return [call.state for call in journal.records.select()]


def test_the_same_request_is_sent_once_and_answered_twice(journal):
    service = Service()
    first = journal.call(REQUEST, service, budget=FREE)
    again = journal.call(REQUEST, service, budget=FREE)

    assert service.calls == 1
    assert (again.images, again.usage, again.request_id) == (first.images, first.usage, "req_1")
    assert (again.raw, again.retries) == (first.raw, 1)


CHANGES = [
    {"prompt": "a pier"},
    {"model": "gpt-image-2.6-sunburst"},
    {"size": "1536x1024"},
    {"quality": "high"},
    {"background": "opaque"},
    {"gateway": "azure"},
    {"repeat_index": 1},
    {"n": 2},
    {"extra": (("seed", 1),)},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_any_changed_field_is_a_new_call(journal, change):
    service = Service()
    journal.call(REQUEST, service, budget=FREE)
    journal.call(replace(REQUEST, **change), service, budget=FREE)

    assert service.calls == 2


def test_other_input_bytes_are_a_new_call(journal):
    service = Service()
    for seed in (1, 2, 1):
        request = EditRequest(
            model="gpt-image-2", prompt="x", size="1024x1024", images=(ImageFile(png(seed)),)
        )
        journal.call(request, service, budget=FREE)

    assert service.calls == 2


def test_another_start_finds_the_answer(tmp_path):
    service = Service()
    for _ in range(2):
        with Journal(tmp_path) as journal:
            journal.call(REQUEST, service, budget=FREE)

    assert service.calls == 1


def test_the_body_is_on_disk_before_anybody_reads_it(journal):
    states = []

    def send(request, keep):
        keep(body())
        states.extend(path.read_bytes() for path in journal.folder.glob("answers/*/*.json"))
        return read_answer(body(), request=request)

    journal.call(REQUEST, send, budget=FREE)

    assert states == [body()]


def test_a_record_is_committed_before_the_request_goes_out(journal):
    states = []

    def send(request, keep):
        with Journal(journal.folder) as other:  # its own connection sees only what is committed
            states.extend(other.records.select())
        keep(body())
        return read_answer(body())

    journal.call(REQUEST, send, budget=FREE)

    assert [(call.state, call.fingerprint) for call in states] == [
        ("started", REQUEST.fingerprint())
    ]
    assert states[0].reserved_usd >= COST


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ProviderUncertain("cut"), "uncertain"),
        (ProviderRefused("no", stage="output", categories=["violence"]), "refused"),
        (ProviderRejected("400"), "failed"),
        (ProviderBusy("429"), "failed"),
        (SettingsError("no key"), "failed"),
        (ProviderError("larger than 1 GiB"), "uncertain"),
        (KeyboardInterrupt(), "uncertain"),
        (MemoryError(), "uncertain"),
    ],
    ids=lambda value: (getattr(value, "args", None) and type(value).__name__) or str(value),
)
def test_every_way_to_fail_has_its_state(journal, error, state):
    with pytest.raises(type(error)):
        journal.call(REQUEST, Service(before=error), budget=FREE)

    assert states(journal) == [state]


def test_an_uncertain_call_is_repeated_only_when_requested(journal):
    with pytest.raises(ProviderUncertain):
        journal.call(REQUEST, Service(before=ProviderUncertain("cut")), budget=FREE)
    service = Service()
    with pytest.raises(ProviderUncertain, match=r"may have been billed.*--retry-uncertain"):
        journal.call(REQUEST, service, budget=FREE)
    assert service.calls == 0
    journal.call(REQUEST, service, budget=FREE, retry_uncertain=True)

    assert service.calls == 1
    assert states(journal) == ["uncertain", "done"]


def test_a_repeat_that_failed_leaves_the_call_uncertain(journal):
    for error in (ProviderUncertain("cut"), ProviderBusy("503")):
        with pytest.raises(type(error)):
            journal.call(REQUEST, Service(before=error), budget=FREE, retry_uncertain=True)

    with pytest.raises(ProviderUncertain, match="retry-uncertain"):
        journal.call(REQUEST, Service(), budget=FREE)


def test_a_refusal_is_remembered_in_its_run_and_is_never_a_result(journal):
    refusal = ProviderRefused("unsafe", stage="input", categories=["violence"])
    with pytest.raises(ProviderRefused):
        journal.call(REQUEST, Service(before=refusal), budget=Budget(TARIFF, "one"))
    service = Service()
    with pytest.raises(ProviderRefused) as again:
        journal.call(REQUEST, service, budget=Budget(TARIFF, "one"))
    asked_again = service.calls
    journal.call(REQUEST, service, budget=Budget(TARIFF, "two"))

    assert (again.value.stage, again.value.categories) == ("input", ("violence",))
    assert (asked_again, service.calls) == (0, 1)
    assert journal.stored_answer(REQUEST) is not None


def test_a_refusal_inside_a_good_answer_is_a_refusal(journal):
    error = {"code": "moderation_blocked", "message": "unsafe"}
    service = Service(answer=json.dumps({"error": error}).encode())
    with pytest.raises(ProviderRefused):
        journal.call(REQUEST, service, budget=FREE)

    assert states(journal) == ["refused"]
    assert journal.stored_answer(REQUEST) is None


def test_a_broken_picture_is_kept_counted_and_not_paid_again(journal):
    service = Service(answer=body(png(size=64)[:200]))
    for _ in range(2):
        with pytest.raises(ProviderError, match="cannot be read"):
            journal.call(REQUEST, service, budget=FREE)

    assert service.calls == 1
    assert states(journal) == ["unusable"]
    assert journal.cost("").billed_usd == pytest.approx(COST)


def test_an_interrupt_after_the_body_arrived_loses_nothing(journal):
    with pytest.raises(KeyboardInterrupt):
        journal.call(REQUEST, Service(after=KeyboardInterrupt()), budget=FREE)
    service = Service()
    journal.call(REQUEST, service, budget=FREE)

    assert service.calls == 0


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_journal import FREE, REQUEST, body
from verax.providers.journal import Journal

def send(request, keep):
    if sys.argv[3] == "after":
        keep(body())
    os.kill(os.getpid(), 9)

Journal(Path(sys.argv[2])).call(REQUEST, send, budget=FREE)
"""


@pytest.mark.parametrize(("moment", "state"), [("before", "uncertain"), ("after", "done")])
def test_what_a_killed_process_left_open_is_closed_on_the_next_start(tmp_path, moment, state):
    folder = tmp_path / "journal"
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, here, str(folder), moment], check=False)
    with Journal(folder) as journal:
        left = states(journal)
        rooms = list(folder.glob("answers/*/*.room"))
        spent = journal.cost("")

    assert done.returncode == -9
    assert left == [state]
    assert rooms == []
    assert (spent.billed_usd > 0, spent.possibly_usd > 0) == (state == "done", state != "done")


def test_a_process_that_dies_meanwhile_leaves_an_uncertain_call(journal):
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, here, str(journal.folder), "before"]
    subprocess.run(command, check=False)
    service = Service()
    with pytest.raises(ProviderUncertain, match="the process ended before an answer arrived"):
        journal.call(REQUEST, service, budget=FREE)

    assert service.calls == 0
    assert states(journal) == ["uncertain"]


def test_threads_with_the_same_request_make_one_call(journal):
    gate = threading.Event()
    service = Service()

    def slow(request, keep):
        gate.wait(5)
        return service(request, keep)

    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(journal.call(REQUEST, slow, budget=FREE)),
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()

    assert service.calls == 1
    assert len({answer.images for answer in answers}) == 1


def test_another_process_waits_for_the_call_under_way(journal, tmp_path):
    waits = []
    other = Journal(journal.folder, sleep=waits.append)
    service = Service()

    def send(request, keep):
        thread = threading.Thread(target=lambda: other.call(REQUEST, service, budget=FREE))
        thread.start()
        while not waits:
            pass
        keep(body())
        send.thread = thread
        return read_answer(body())

    journal.call(REQUEST, send, budget=FREE)
    send.thread.join()
    other.close()

    assert service.calls == 0


def test_the_limit_stops_before_anything_is_sent(journal):
    service = Service()
    budget = Budget(TARIFF, "run", max_cost_usd=2.5 * COST)
    journal.call(REQUEST, service, budget=budget)
    journal.call(replace(REQUEST, repeat_index=1), service, budget=budget)
    with pytest.raises(BudgetExceeded, match=r"the limit of \$0\.0148.*Nothing was sent"):
        journal.call(replace(REQUEST, repeat_index=2), service, budget=budget)

    assert service.calls == 2
    assert journal.cost("run").billed_usd == pytest.approx(2 * COST)


def test_runs_do_not_share_their_limit(journal):
    for run in ("one", "two"):
        budget = Budget(TARIFF, run, max_cost_usd=1.5 * COST)
        request = replace(REQUEST, prompt=f"a pier {run}")
        journal.call(request, Service(), budget=budget)

    assert states(journal) == ["done", "done"]


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ProviderUncertain("cut"), True),
        (ProviderRefused("no", stage="output"), True),
        (ProviderRefused("no", stage="unknown"), True),
        (ProviderRefused("no", stage="input"), False),
        (ProviderRejected("400"), False),
        (ProviderBusy("503"), False),
    ],
    ids=["uncertain", "refused output", "refused unknown", "refused input", "rejected", "busy"],
)
def test_what_may_have_been_billed_counts_towards_the_limit(journal, error, counted):
    budget = Budget(TARIFF, "run", max_cost_usd=1.5 * COST)
    with pytest.raises(type(error)):
        journal.call(REQUEST, Service(before=error), budget=budget)
    service = Service()
    try:
        journal.call(replace(REQUEST, repeat_index=1), service, budget=budget)
    except BudgetExceeded:
        assert counted
    else:
        assert not counted


def test_many_threads_never_pass_the_limit_together(journal):
    budget = Budget(TARIFF, "run", max_cost_usd=4.5 * COST)
    service, stopped = Service(), []
    gate = threading.Barrier(8)

    def one(index):
        gate.wait()
        try:
            journal.call(replace(REQUEST, repeat_index=index), service, budget=budget)
        except BudgetExceeded as exc:
            stopped.append(exc)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (service.calls, len(stopped)) == (4, 4)


def test_a_limit_without_a_known_price_is_an_error(journal):
    request = replace(REQUEST, model="someones-model", size=None)
    with pytest.raises(BudgetExceeded, match="the price of someones-model is not known"):
        journal.call(request, Service(), budget=Budget(TARIFF, "", max_cost_usd=1.0))

    assert journal.call(request, Service(), budget=FREE).usage is not None


def test_a_full_disk_stops_before_anything_is_sent(journal):
    service = Service()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(OutputError, match="free space"):
            journal.call(REQUEST, service, budget=FREE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.call(REQUEST, service, budget=FREE)

    assert service.calls == 1
    assert states(journal) == ["failed", "done"]


def test_a_journal_that_cannot_be_closed_delivers_and_is_closed_at_the_next_look(
    journal, monkeypatch
):
    finish = journal.records.finish

    def full(*arguments, **values):
        raise OutputError("cannot write: no space left")

    monkeypatch.setattr(journal.records, "finish", full)
    answer = journal.call(REQUEST, Service(), budget=FREE)
    monkeypatch.setattr(journal.records, "finish", finish)
    service = Service()
    again = journal.call(REQUEST, service, budget=FREE)

    assert "the cost is not recorded yet" in " ".join(answer.notices)
    assert (again.images, service.calls, states(journal)) == (answer.images, 0, ["done"])


def test_the_journal_is_private_to_the_user(journal):
    assert journal.folder.stat().st_mode & 0o777 == 0o700


def test_a_removed_call_is_paid_again(journal):
    service = Service()
    journal.call(REQUEST, service, budget=FREE)
    freed = journal.answers.remove(journal.records.select())
    journal.call(REQUEST, service, budget=FREE)

    assert freed == len(body())
    assert service.calls == 2


def test_a_lost_answer_is_reported_not_paid_again(journal):
    service = Service()
    journal.call(REQUEST, service, budget=FREE)
    next(journal.folder.glob("answers/*/*.json")).unlink()

    with pytest.raises(InputError, match=r"cannot be read.*verax journal prune"):
        journal.call(REQUEST, service, budget=FREE)
    assert service.calls == 1


def test_calls_under_way_wait_at_the_pace(journal):
    under_way, most = [], []
    pace = Pace(concurrency=2)

    def send(request, keep):
        under_way.append(request)
        most.append(len(under_way))
        keep(body())
        under_way.remove(request)
        return read_answer(body())

    def one(index):
        journal.call(replace(REQUEST, repeat_index=index), send, budget=FREE, pace=pace)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) <= 2


RACING = """
import sys
from datetime import date
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from test_journal import REQUEST, TARIFF
from verax.errors import BudgetExceeded
from verax.providers.budget import Budget
from verax.providers.images_api import connect
from verax.providers.journal import Journal
from verax.settings import Settings

folder, url, limit = Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
environ = {"VERAX_API_KEY": "sk-test"}
client = connect(Settings(home=folder, base_url=url, environ=environ), today=date(2026, 11, 20))
print("ready", flush=True)
sys.stdin.readline()
with Journal(folder / "journal") as journal:
    for index in range(4):
        try:
            budget = Budget(TARIFF, "run", limit)
            journal.call(replace(REQUEST, repeat_index=index), client.send, budget=budget)
        except BudgetExceeded:
            print("stopped", flush=True)
"""


@pytest.mark.parametrize(("limit", "paid"), [(1.0, 4), (3.5 * COST, 3)], ids=["ample", "tight"])
def test_two_processes_at_once_pay_once_and_share_one_limit(service, tmp_path, limit, paid):
    here, pipe = str(Path(__file__).parent), subprocess.PIPE
    service.state.delay_s = 0.05
    command = [sys.executable, "-c", RACING, here, str(tmp_path), service.base_url, str(limit)]
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for racer in racers:
        racer.stdout.readline()
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    ends = [racer.communicate(timeout=60)[0] for racer in racers]

    assert [racer.returncode for racer in racers] == [0, 0]
    assert len({entry["request"] for entry in service.ledger()}) == 1  # repeats look alike there
    assert len(service.ledger()) == paid
    assert [end.count("stopped") for end in ends] == [4 - paid] * 2
    assert service.bill_usd() <= limit
