"""What becomes of paid work when the client leaves, the server is stopped, or it is killed."""

import json
import os
import signal
import socket
import threading
import time

import httpx2
import pytest

from service.plugin import running_service
from serving import serving

MODEL = "verax/gpt-image-2.6-sunburst"
KEY = {"VERAX_API_KEY": "sk-test-not-a-real-key"}


@pytest.fixture
def service(tmp_path):
    with running_service(tmp_path) as running:
        yield running


def edit(address, photo, prompt, *, timeout=60, **headers):
    return httpx2.post(
        f"{address}/v1/images/edits",
        data={"model": MODEL, "prompt": prompt},
        files={"image": ("p.png", photo)},
        headers=headers,
        timeout=timeout,
    )


def leave(address, photo, prompt, when):
    """Ask, and hang up as soon as `when` is true."""
    request = httpx2.Request(
        "POST",
        f"{address}/v1/images/edits",
        data={"model": MODEL, "prompt": prompt},
        files={"image": ("p.png", photo)},
    )
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((request.url.host, request.url.port)) as line:
        line.sendall(f"POST /v1/images/edits HTTP/1.1\r\n{head}\r\n".encode() + body)
        until(when)


def until(true, most_s=20.0):
    end = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def waiting(address):
    return httpx2.get(f"{address}/healthz").json()["upstream"]


@pytest.mark.slow
def test_a_client_that_leaves_gives_up_its_place_and_loses_nothing_that_was_paid(
    tmp_path, service, photo
):
    service.script(["slow:5"])
    with serving(
        tmp_path / "home", "--base-url", service.base_url, VERAX_CONCURRENCY="1", **KEY
    ) as (address, _):
        leave(address, photo, "paid for", lambda: len(service.ledger()) == 1)
        leave(address, photo, "never asked", lambda: waiting(address)["waiting"] == 1)
        until(lambda: waiting(address)["waiting"] == 0)
        again = edit(address, photo, "paid for")

    assert again.status_code == 200
    assert len(service.ledger()) == 1


@pytest.mark.slow
def test_stopped_the_server_finishes_what_is_paid_and_sends_away_what_waits(
    tmp_path, service, photo
):
    service.script(["slow:3"])
    outcome = {}

    def ask(prompt):
        answer = edit(address, photo, prompt)
        outcome[prompt] = (answer.status_code, answer.headers.get("retry-after"))

    with serving(
        tmp_path / "home", "--base-url", service.base_url, VERAX_CONCURRENCY="1", **KEY
    ) as (address, process):
        threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in ("first", "second")]
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda n=number: waiting(address) == {"running": 1, "waiting": n})
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        status = process.wait(timeout=30)

    assert outcome == {"first": (200, None), "second": (503, "30")}
    assert status in (0, -signal.SIGTERM)
    assert len(service.ledger()) == 1


def test_killed_during_paid_work_nothing_is_lost_and_nothing_paid_twice(
    tmp_path, service, photo, verax_home
):
    home, options = tmp_path / "home", ("--base-url", service.base_url)
    page = {"data": {"model": MODEL, "prompt": "for the page"}, "files": {"photo": ("a", photo)}}
    with serving(home, *options, **KEY) as (address, process):
        first = edit(address, photo, "finished", **{"idempotency-key": "one"})
        done = httpx2.post(f"{address}/page/restorations", files=page["files"]).json()
        place = f"/page/history/{done['id']}"
        until(lambda: httpx2.get(address + place).json()["state"] == "done")
        service.script(["slow:20", "slow:20"])
        leave(address, photo, "under way", lambda: len(service.ledger()) == 2)
        cut = httpx2.post(f"{address}/page/restorations", **page).json()
        until(lambda: len(service.ledger()) == 3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    listed = json.loads(verax_home(home, "journal", "list", "--json"))
    assert sorted(call["state"] for call in listed) == ["done", "uncertain", "uncertain"]
    with (
        serving(home, *options, **KEY) as (address, _),
        httpx2.Client(base_url=address, timeout=60) as http,
    ):
        # what was finished is there, by the page and by the key
        assert http.get(f"{place}/file").status_code == 200
        entries = {e["id"]: e for e in http.get("/page/history").json()["entries"]}
        assert entries[done["id"]]["state"] == "done"
        assert "Try again" in entries[cut["id"]]["error"]
        again = edit(address, photo, "finished", **{"idempotency-key": "one"})
        assert again.json() == first.json()
        # what was under way may have been billed, and is not asked again by itself
        assert edit(address, photo, "under way").json()["error"]["code"] == "upstream_uncertain"
        place = f"/page/history/{cut['id']}"
        assert http.post(f"{place}/again").status_code == 202
        until(lambda: http.get(place).json()["state"] == "failed")
        assert "billed" in http.get(place).json()["error"]

    assert len(service.ledger()) == 3


@pytest.mark.slow
def test_an_entry_that_failed_starts_again_without_being_paid_again(tmp_path, service, photo):
    home, options = tmp_path / "home", ("--base-url", service.base_url)
    page = {"data": {"model": MODEL, "prompt": ""}, "files": {"photo": ("a", photo)}}
    with serving(home, *options, **KEY) as (address, process):
        entry = httpx2.post(f"{address}/page/restorations", **page).json()
        until(lambda: len(service.ledger()) == 1)
        place = f"/page/history/{entry['id']}"
        until(lambda: httpx2.get(address + place).json().get("cost_usd") is not None)
        os.kill(process.pid, signal.SIGKILL)  # the answer is there, the restoration hardly
        process.wait()
    with serving(home, *options, **KEY) as (address, _):
        state = httpx2.get(address + place).json()["state"]
        if state == "failed":
            assert httpx2.post(f"{address}{place}/again").status_code == 202
        until(lambda: httpx2.get(address + place).json()["state"] == "done")
        assert httpx2.post(f"{address}{place}/again").status_code == 409

    assert len(service.ledger()) == 1
