"""Clients that are slow on purpose: nothing of theirs is waited for without end."""

import contextlib
import json
import socket
import threading
import time

import httpx2
import pytest

from serving import serving_here
from verax.server.access import ServerLimits


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory):
    limits = ServerLimits(head_s=0.6, silence_s=0.6, body_s=2.0, taking_s=0.6, json_bytes=1_000_000,
                    together_bytes=3_000_000)  # fmt: skip
    with serving_here(tmp_path_factory.mktemp("strict_server"), limits=limits) as address:
        yield int(address.rsplit(":", 1)[1])


def closed_after(line, most_s=20.0):
    """Seconds until the other side closes the line."""
    line.settimeout(most_s)
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while line.recv(65536):
            pass
    return time.monotonic() - started


def call(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


HEAD = b"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "head",
    [b"", b"POST /v1/im", HEAD, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he"],
    ids=["nothing", "half a line", "half a head", "half a second request"],
)
def test_a_head_that_does_not_come_is_not_waited_for(strict_server, head):
    with call(strict_server) as line:
        line.sendall(head)
        assert closed_after(line) < 15


def test_a_head_that_trickles_is_cut(strict_server):
    with call(strict_server) as line:
        line.sendall(HEAD)
        cut = False
        for number in range(200):
            try:
                line.sendall(f"X-{number}: a\r\n".encode())
            except ConnectionError:
                cut = True
                break
            time.sleep(0.1)
        assert cut


def test_a_body_that_trickles_is_cut_and_its_line_closed(strict_server):
    with call(strict_server) as line:
        line.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                line.sendall(b" ")
                time.sleep(0.1)
            answer = line.recv(65536)

        assert answer == b"" or b" 408 " in answer


def test_an_answer_that_nobody_takes_is_given_up(strict_server):
    with call(strict_server) as line:
        line.settimeout(20)
        line.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)
        time.sleep(3)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(1 << 20):
                taken += len(piece)

    assert taken < 50_000_000  # all of it would be 200 MB


def test_two_hundred_idle_lines_keep_nobody_out(strict_server):
    with contextlib.ExitStack() as lines:
        for _ in range(200):
            lines.enter_context(call(strict_server)).sendall(b"POST /v1")
        answer = httpx2.get(f"http://127.0.0.1:{strict_server}/healthz", timeout=10)

    assert answer.status_code == 200


def test_json_that_is_too_large_is_refused_while_it_comes(strict_server):
    body = b'{"prompt": "' + bytes(1_500_000)
    answer = httpx2.post(
        f"http://127.0.0.1:{strict_server}/v1/images/edits",
        content=body,
        headers={"content-type": "application/json"},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_of_many_bodies_at_once_some_are_to_be_sent_later(strict_server):
    """Bodies that are held open together may hold 3 MB here; the fourth megabyte is too much."""
    statuses = []

    def send():
        with call(strict_server) as line:
            head = HEAD.replace(b"application/json", b"multipart/form-data; boundary=b")
            start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            line.sendall(head + b"Content-Length: 2000000\r\n\r\n" + start)
            with contextlib.suppress(ConnectionError):
                line.sendall(bytes(1_100_000))
                answer = line.recv(65536)
                statuses.append((answer[9:12], b"retry-after" in answer))

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (b"429", True) in statuses
    answer = httpx2.get(f"http://127.0.0.1:{strict_server}/healthz", timeout=10)
    assert json.loads(answer.text)["status"] == "ok"
