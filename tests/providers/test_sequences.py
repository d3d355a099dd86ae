"""Any sequence of faults and kills: the limit holds, nothing paid is lost, none paid twice."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from doomed import RUN, client_of, request_of
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from service.plugin import running_service
from verax.errors import VeraxError
from verax.providers.batch import Batches
from verax.providers.batch_table import plain
from verax.providers.budget import Budget, load_tariff
from verax.providers.journal import Journal

READABLE = ["ok", "link", "link:null", "link:relative", "link:redirect", "link:keyed"]
READABLE += ["stream:url", "stream:nested", "stream:named", "stream:noise", "stream:unended"]
READABLE += ["usage:zeros", "usage:prompt", "usage:no-output", "usage:null-output", "usage:few"]
READABLE += ["base64:wrapped", "base64:urlsafe", "base64:unpadded", "jpeg", "no-usage", "ended"]
READABLE += ["gzip-lie", "size:640x480", "padded:1000", "link:late", "link:cut"]
UNREADABLE = ["truncated", "link:gone"]
BROKEN = ["billed:500", "billed:502", "billed:503", "billed:408", "billed:499", "cut", "half"]
BROKEN += ["moderation:400", "moderation:null", "moderation:200", "refuse:output"]
UNBILLED = ["429:0", "429:quota", "400", "401", "page", "refuse:input", "cut-early", "500", "html"]
FAULTS = st.sampled_from([*READABLE, *UNREADABLE, *BROKEN, *UNBILLED])
REQUESTS = st.tuples(st.sampled_from(["edit", "generate"]), st.integers(0, 2))
MOMENTS = st.sampled_from(["sent", "come", "kept", "end"])
PRICES = 3.6  # dearest calls that the limit is enough for
TARIFF, HALF = load_tariff(), load_tariff(batch=True)


class Sequences(RuleBasedStateMachine):
    """A user, a service and a journal; `worker` makes the calls that die."""

    service = worker = None

    def __init__(self):
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="verax-sequence-")
        self.folder = Path(self.place.name)
        self.state = self.service.state
        self.state.ledger.path = self.folder / "ledger.jsonl"
        self.state.ledger.path.touch()
        self.state.batch_plan = {}
        self.client = client_of(self.folder, self.service.base_url)
        self.client.transport.sleep = lambda seconds: None
        self.journal = Journal(self.folder / "journal")
        dearest = request_of(self.client, "edit", 0)
        self.limit = PRICES * TARIFF.estimate(dearest).high_usd
        self.allowed = Counter()  # how often a request may be in the ledger
        self.delivered = {}  # what certainly arrived and was kept

    def teardown(self):
        self.journal.close()
        self.client.transport.close()
        self.place.cleanup()

    @rule(which=REQUESTS, fault=FAULTS, retry=st.booleans())
    def ask(self, which, fault, retry):
        self.service.script([fault])
        self.note(which, retry)
        before = self.paid(which)
        try:
            budget = Budget(TARIFF, RUN, self.limit)
            self.journal.call(
                request_of(self.client, *which),
                self.client.send,
                budget=budget,
                retry_uncertain=retry,
                fetch=self.client.transport.fetch,
            )
        except VeraxError:
            assert fault not in READABLE or self.paid(which) == before
        else:
            self.delivered[which] = True
        self.service.script([])

    @rule(which=REQUESTS, fault=FAULTS, retry=st.booleans(), moment=MOMENTS)
    def ask_and_die(self, which, fault, retry, moment):
        self.service.script([fault])
        self.note(which, retry)
        self.state.delay_s = 0.06 if moment == "sent" else 0.0
        before = self.paid(which)
        order = {"folder": str(self.folder), "url": self.service.base_url, "request": which}
        order |= {"limit": self.limit, "retry": retry, "moment": moment}
        self.worker.stdin.write(json.dumps(order) + "\n")
        self.worker.stdin.flush()
        self.worker.stdout.readline()
        self.state.delay_s = 0.0
        if self.paid(which) > before and moment in ("kept", "end") and fault in READABLE:
            self.delivered[which] = True
        self.service.script([])

    @rule(indices=st.sets(st.integers(0, 2), min_size=1), status=st.sampled_from([None, 502, 0]))
    def ask_in_a_batch(self, indices, status):
        self.state.batch_plan = {"create": [status] if status is not None else []}
        requests = [plain(request_of(self.client, "generate", index)) for index in indices]
        for index in indices:
            self.note(("generate", index), False)
        budget = Budget(HALF, RUN, self.limit)
        batches = Batches(self.client, self.journal, budget, sleep=lambda seconds: None)
        with suppress(VeraxError):
            batches.run(requests)

    @rule()
    def links_come_alive(self):
        for linked in self.state.linked:
            linked.way = ""

    @rule()
    def start_again(self):
        self.journal.close()
        self.journal = Journal(self.folder / "journal")

    def note(self, which, retry):
        """A call that may have been billed is repeated only on request."""
        self.allowed[which] += retry or not self.allowed[which]

    def paid(self, which):
        prompt = f"{which[0]} {which[1]}"
        return sum(entry["prompt"] == prompt for entry in self.service.ledger())

    @invariant()
    def the_ledger_stays_within_the_limit(self):
        assert self.service.bill_usd() <= self.limit + 1e-9
        assert self.service.bill_usd() <= self.journal.cost(RUN).most_usd + 1e-9

    @invariant()
    def nothing_is_paid_twice(self):
        for which, count in self.allowed.items():
            assert self.paid(which) <= count

    @invariant()
    def no_picture_that_was_paid_is_missing(self):
        for which in self.delivered:
            request = request_of(self.client, *which)
            assert self.journal.stored_answer(request, self.client.transport.fetch).images


def play(folder, examples, steps):
    here = str(Path(__file__).parent)
    tests = str(Path(__file__).parents[1])
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([tests, here, os.environ.get("PYTHONPATH", "")])
    }
    command = [sys.executable, Path(__file__).with_name("doomed.py")]
    pipe = subprocess.PIPE
    with (
        running_service(folder) as service,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ) as worker,
    ):
        machine = type("Play", (Sequences,), {"service": service, "worker": worker})
        rules = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate],  # to shrink takes minutes; the sequence found is short
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(machine, settings=rules)
        finally:
            worker.kill()


def test_short_sequences_of_faults_and_kills(tmp_path):
    play(tmp_path, examples=8, steps=8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_long_sequences_of_faults_and_kills(tmp_path):
    play(tmp_path, examples=200, steps=30)
