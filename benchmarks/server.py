"""The server under load: failures, fairness, memory, health, and the time it adds to an edit.

    python benchmarks/server.py [--only load] [--seconds 120] [--clients 50] [--waiting 200]

Three parts, each against a `verax serve` of its own on loopback:

overhead   1 MP edits one after another, on `verax/local` and with a paid service (simulated by
           the test service), each in turn with the same work without the server
load       many clients with 1 MP photos on `verax/local`; nine tenths of them share one key;
           answers other than 200 and 429 with Retry-After are failures
waiting    many clients that wait for a slow paid service

Another process reads the health every 50 ms. Memory is the proportional set size of the server and
all its workers. The last line is JSON.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from service.plugin import running_service
from serving import serving
from verax import image as images
from verax.making import Order
from verax.priors import generated
from verax.providers.journal import open_desk
from verax.server.access import ClientKeys
from verax.server.api.service import restore
from verax.server.queue import worker_process
from verax.settings import load as load_settings

SIZE = (1224, 816)
MODEL = "gpt-image-2.6-sunburst"
PROBE_S = 0.05
PATIENCE_S = 60  # after the end, for requests under way
BOUNDARY = "b0undary"


def photo_file() -> bytes:
    """A dark 1 MP photo as JPEG."""
    import cv2
    from skimage import data

    clean = cv2.resize(images.from_uint8(data.coffee()), SIZE, interpolation=cv2.INTER_CUBIC)
    return images.encode(np.asarray(np.clip(clean * 0.4, 0, 1), np.float32), format="jpeg")


# ---- asking ----


def request_bytes(address: str, photo: bytes, key: str, model: str, prompt: str) -> bytes:
    """The bytes of one HTTP request for an edit, made once, so that clients need little time."""
    fields = {"model": model, "prompt": prompt, "output_format": "jpeg"}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="p.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + photo
        + b"\r\n"
    )
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST /v1/images/edits HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def request_once(address: str, request: bytes) -> tuple[int, float]:
    """(status, seconds to come back after or 0) of one request; status 0 for a broken line."""
    place = urlsplit(address)
    try:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            whole = await reader.read(-1)
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return 0, 0.0
    back = [line.split(":")[1] for line in head if line.startswith("retry-after:")]
    status = int(head[0].split()[1])
    if status == 200 and b'"b64_json"' not in whole[:200]:
        status = 1  # an error reported in a body that had begun
    return status, float(back[0]) if back else 0.0


def probe(
    address: str, over: "multiprocessing.synchronize.Event", delays: "multiprocessing.Queue"
) -> None:
    """Ask for the server's health until `over` is set; put the seconds per answer in `delays`."""
    place = urlsplit(address)
    request = f"GET /healthz HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode()

    async def ask_on() -> list[float]:
        took = []
        while not over.is_set():
            started = time.perf_counter()
            status, _ = await request_once(address, request)
            took.append(time.perf_counter() - started if status in (200, 1) else float("inf"))
            await asyncio.sleep(PROBE_S)
        return took

    delays.put(asyncio.run(ask_on()))


# ---- watching ----


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its children in MB (Linux)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    own = next(int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:"))
    return own + sum(memory_mb(int(child)) for child in children)


@dataclass
class Load:
    """Peak memory and times of health answers of a server under load."""

    peak_mb: float = 0.0
    health_ms: list[float] = field(default_factory=list)

    def record(self) -> dict:
        at = np.percentile(self.health_ms, [50, 99, 100])
        return {"health_ms": dict(zip(("p50", "p99", "max"), at.round(1).tolist(), strict=True)),
                "requests": len(self.health_ms), "peak_mb": round(self.peak_mb)}  # fmt: skip


@contextmanager
def watched(address: str, pid: int) -> Iterator[Load]:
    """Measure peak memory and health of a server while the block of `with` runs."""
    load, over = Load(), threading.Event()
    processes = multiprocessing.get_context("spawn")
    end, delays = processes.Event(), processes.Queue()
    asking = processes.Process(target=probe, args=(address, end, delays), daemon=True)
    asking.start()

    def look() -> None:
        while not over.wait(0.5):
            load.peak_mb = max(load.peak_mb, memory_mb(pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield load
    finally:
        over.set()
        end.set()
        load.health_ms = [1000 * took for took in delays.get(timeout=60)]
        asking.join()
        looking.join()


# ---- the parts ----


def load(photo: bytes, clients: int, seconds: float) -> dict:
    """Many clients at once on the embedded restorer; nine tenths use one key."""
    counts: dict[str, Counter] = {"crowd": Counter(), "single": Counter()}
    waits: dict[str, list[float]] = {"crowd": [], "single": []}
    with tempfile.TemporaryDirectory() as home:
        book = ClientKeys(Path(home) / "serve" / "clients.sqlite")
        keys = {name: book.add(name) for name in counts}
        book.close()
        with serving(Path(home)) as (address, process), watched(address, process.pid) as load:
            requests = {
                name: request_bytes(address, photo, key, "verax/local", "")
                for name, key in keys.items()
            }
            end = time.monotonic() + seconds

            async def client(name: str) -> None:
                while time.monotonic() < end:
                    started = time.monotonic()
                    status, back_s = await request_once(address, requests[name])
                    known = status == 200 or (status == 429 and back_s > 0)
                    counts[name][str(status) if known else f"failed ({status})"] += 1
                    if status == 200:
                        waits[name].append(time.monotonic() - started)
                    await asyncio.sleep(min(back_s, 5))

            async def crowd() -> int:
                names = ["single" if index % 10 == 0 else "crowd" for index in range(clients)]
                tasks = [asyncio.create_task(client(name)) for name in names]
                _, left = await asyncio.wait(tasks, timeout=seconds + PATIENCE_S)
                for task in left:
                    task.cancel()
                return len(left)

            left = asyncio.run(crowd())
    waited = {name: round(float(np.median(w)), 2) for name, w in waits.items() if w}
    answers = {name: dict(counted) for name, counted in counts.items()}
    return {"answers": answers, "unanswered": left, "median_wait_s": waited, **load.record()}


def waiting(photo: bytes, clients: int, upstream_s: float) -> dict:
    """Many clients that wait for a paid service whose calls take `upstream_s` seconds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder)) as service,
        serving(Path(folder) / "home", "--base-url", service.base_url, VERAX_API_KEY="sk-test") as (
            address,
            process,
        ),
    ):
        service.script([f"slow:{upstream_s}"] * clients)
        with watched(address, process.pid) as load:
            model = f"verax/{MODEL}"

            async def client(index: int) -> None:
                await request_once(address, request_bytes(address, photo, "any", model, f"{index}"))

            async def crowd() -> None:
                one = [asyncio.create_task(client(index)) for index in range(clients)]
                await asyncio.wait(one, timeout=1.5 * upstream_s)
                health.update(httpx2.get(f"{address}/healthz").json()["upstream"])
                for task in one:
                    task.cancel()
                await asyncio.gather(*one, return_exceptions=True)

            health: dict = {}
            asyncio.run(crowd())
        service.script([])
    return {"clients": clients, "upstream_s": upstream_s, "at_the_end": health, **load.record()}


def overhead(photo: bytes, runs: int) -> dict:
    """Seconds of a 1 MP edit through the server, and of the same work without it, in turn."""
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder)) as service:
        home, key = Path(folder) / "home", {"VERAX_API_KEY": "sk-test"}
        with serving(home, "--base-url", service.base_url, **key) as (address, _):
            worker = worker_process()
            bare = Bare(Path(folder), photo, service.base_url, worker)
            took: dict[str, list[float]] = {}
            for index in range(runs + 1):  # the first one wakes everything up
                for name, ways in bare.ways(address, index).items():
                    for way, run in ways.items():
                        started = time.perf_counter()
                        run()
                        took.setdefault(f"{name} {way}", []).append(time.perf_counter() - started)
            worker.shutdown()
    median = {name: float(np.median(seconds[1:])) for name, seconds in took.items()}
    return {
        name: {
            "bare_s": round(median[f"{name} bare"], 3),
            "gateway_s": round(median[f"{name} gateway"], 3),
            "more_percent": round(
                100 * (median[f"{name} gateway"] / median[f"{name} bare"] - 1), 1
            ),
        }
        for name in ("local", "paid")
    }


class Bare:
    """The work of an edit without the server, in a worker process like those of the server."""

    def __init__(self, folder: Path, photo: bytes, base_url: str, worker) -> None:  # noqa: ANN001
        self.photo, self.worker, self.folder = photo, worker, folder
        self.path = folder / "p.jpg"
        self.path.write_bytes(photo)
        environ = {"VERAX_API_KEY": "sk-test", "VERAX_BASE_URL": base_url}
        self.desk = open_desk(load_settings({**environ, "VERAX_HOME": str(folder / "home")}))

    def ways(self, address: str, index: int) -> dict:
        def through(model: str) -> Callable[[], None]:
            request = request_bytes(address, self.photo, "any", model, f"run {index}")

            def run() -> None:
                status, _ = asyncio.run(request_once(address, request))
                assert status == 200, status

            return run

        return {
            "local": {"bare": self.restored, "gateway": through("verax/local")},
            "paid": {"bare": lambda: self.paid(index), "gateway": through(f"verax/{MODEL}")},
        }

    def restored(self, prior: Path | None = None) -> None:
        order = Order(photo=self.path, prior=prior, output=self.folder / "out.jpg")
        self.worker.submit(restore, order).result()

    def paid(self, index: int) -> None:
        choices = generated.PriorOptions(model=MODEL, prompt=f"bare {index}")
        prior = self.folder / "prior.png"
        images.write(prior, generated.ask(images.read(self.path), self.desk, choices).pixels)
        self.restored(prior)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("overhead", "load", "waiting"))
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--waiting", type=int, default=200)
    parser.add_argument("--upstream", type=float, default=30)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    photo = photo_file()
    parts = {
        "overhead": lambda: overhead(photo, options.runs),
        "load": lambda: load(photo, options.clients, options.seconds),
        "waiting": lambda: waiting(photo, options.waiting, options.upstream),
    }
    results = {}
    for name, part in parts.items():
        if options.only in (None, name):
            results[name] = part()
            print(name, results[name], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
