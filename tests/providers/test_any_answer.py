"""Whatever bytes a service sends: only our errors leave, no record stays open, money is counted."""

import json
import socketserver
import threading
from datetime import date
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorder import PICTURE

from asking import edit, repeated
from verax.errors import VeraxError
from verax.providers.budget import Budget, load_tariff
from verax.providers.failures import NOT_BEGUN
from verax.providers.images_api import connect
from verax.providers.journal import Journal
from verax.providers.transport import Transport
from verax.settings import load

TARIFF = load_tariff()
ANY = st.none() | st.booleans() | st.integers(-9, 999) | st.text(max_size=9)
NESTED = st.recursive(ANY, lambda one: st.lists(one, max_size=3) | st.dictionaries(
    st.sampled_from(["data", "url", "b64_json", "error", "code", "usage", "message", "type"]),
    one, max_size=3), max_leaves=8)  # fmt: skip
ENTRY = st.fixed_dictionaries({}, optional={"b64_json": st.just(PICTURE) | ANY, "url": ANY})
USAGE = st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cost"]), ANY)
BODY = st.fixed_dictionaries(
    {},
    optional={"data": st.lists(ENTRY, max_size=3) | NESTED, "usage": USAGE | ANY, "error": NESTED},
)
TEXTS = (
    st.binary(max_size=80)
    | BODY.map(lambda one: json.dumps(one).encode())
    | NESTED.map(lambda one: json.dumps(one).encode())
    | BODY.map(lambda one: b"data: " + json.dumps(one).encode() + b"\n\n")
)
HEADERS = st.sampled_from(
    [b"", b"content-encoding: gzip\r\n", b"content-encoding: br\r\n", b"retry-after: 0\r\n",
     b"content-type: text/event-stream\r\n", b"location: http://127.0.0.1:9/\r\n",
     b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n"]
)  # fmt: skip
STATUSES = st.integers(200, 599) | st.sampled_from([200, 200, 200, 429, 500])
REPLIES = st.binary(max_size=60) | st.builds(
    lambda status, headers, body: b"HTTP/1.1 %d X\r\n%sconnection: close\r\n\r\n%s"
    % (status, headers, body),
    STATUSES, HEADERS, TEXTS,
)  # fmt: skip


class Raw(socketserver.ThreadingTCPServer):
    """Takes a whole request and answers it with the bytes that are in turn."""

    allow_reuse_address = daemon_threads = True
    answer, requests = b"", 0


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        self.server.requests += 1
        self.wfile.write(self.server.answer)


@pytest.fixture(scope="module")
def raw():
    with Raw(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def calls(raw, tmp_path_factory):
    """The journal, the client, and requests that are all different."""
    home = tmp_path_factory.mktemp("home")
    environ = {"VERAX_BASE_URL": f"http://127.0.0.1:{raw.server_address[1]}/v1"}
    environ |= {"VERAX_HOME": str(home), "VERAX_API_KEY": "sk-test", "VERAX_RETRIES": "1"}
    transport = partial(Transport, sleep=lambda seconds: None)
    client = connect(load(environ), today=date(2026, 11, 20), transport=transport)
    request = client.prepare(edit())[0]
    with Journal(home / "journal") as journal:
        yield journal, client, (repeated(request, index) for index in count())
    client.transport.close()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(reply=REPLIES)
def test_whatever_comes_is_understood_counted_and_not_repeated(raw, calls, reply):
    journal, client, requests = calls
    request = next(requests)
    raw.answer, raw.requests = reply, 0

    def call():
        try:
            budget = Budget(TARIFF, "run")
            journal.call(request, client.send, budget=budget, fetch=client.transport.fetch)
        except VeraxError:
            return False
        return True

    delivered = call()
    record = journal.records.newest(request.fingerprint())
    once = raw.requests
    status = int(reply[9:12]) if reply.startswith(b"HTTP/1.1 ") else 0

    assert record.state != "started"
    assert delivered == (record.state == "done")
    if status not in NOT_BEGUN and record.state not in ("failed", "refused"):
        assert record.counted_usd > 0
        call()
        links = raw.requests - once  # a link of the answer may be tried again, for nothing
        assert links == 0 or record.state in ("done", "unusable")
    if record.state == "failed":
        assert status in NOT_BEGUN or b"<" in reply
