"""The gateway under load: failures, fairness, memory, health, and what it adds to an edit.

    python benchmarks/server.py [--seconds 120] [--clients 50] [--waiting 200]

Three parts, each against a `verax serve` of its own on loopback: many clients with 1 MP photos on
`verax/local` (two clients of different keys; answers other than 200 and 429 with Retry-After are
failures), many clients waiting for a slow paid service (played by the test service), and one edit
after another beside the pipeline alone. The last line is JSON.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from service.plugin import running_service
from serving import serving
from verax import image as images
from verax import pipeline
from verax.server.keys import ClientKeys

SIZE = (1224, 816)


def photo_file() -> bytes:
    """A dark 1 MP photo as JPEG."""
    import cv2
    from skimage import data

    clean = cv2.resize(images.from_uint8(data.coffee()), SIZE, interpolation=cv2.INTER_CUBIC)
    return images.encode(np.asarray(np.clip(clean * 0.4, 0, 1), np.float32), format="jpeg")


def memory_mb(pid: int) -> float:
    """Proportional memory of a process and its children (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = 0.0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            own = int(line.split()[1]) / 1000
    return own + sum(memory_mb(int(child)) for child in children)


class Watch(threading.Thread):
    """Peak memory of the server and how quickly it says that it is well."""

    def __init__(self, address: str, pid: int) -> None:
        super().__init__(daemon=True)
        self.address, self.pid = address, pid
        self.peak_mb, self.health_ms, self.over = 0.0, [], threading.Event()

    def run(self) -> None:
        with httpx2.Client(timeout=30) as client:
            while not self.over.wait(0.25):
                started = time.perf_counter()
                client.get(f"{self.address}/healthz")
                self.health_ms.append((time.perf_counter() - started) * 1000)
                self.peak_mb = max(self.peak_mb, memory_mb(self.pid))


def ask(address: str, photo: bytes, key: str, model: str, prompt: str, wait_s: float) -> tuple:
    """(status, whether it may come back, seconds) of one edit."""
    started = time.perf_counter()
    answer = httpx2.post(
        f"{address}/v1/images/edits",
        data={"model": model, "prompt": prompt, "output_format": "jpeg"},
        files={"image": ("p.jpg", photo)},
        headers={"authorization": f"Bearer {key}"},
        timeout=wait_s,
    )
    return answer.status_code, "retry-after" in answer.headers, time.perf_counter() - started


def load(photo: bytes, clients: int, seconds: float) -> dict:
    """Many clients at once on the embedded restorer; nine tenths use one key."""
    with tempfile.TemporaryDirectory() as home:
        book = ClientKeys(Path(home) / "serve" / "clients.sqlite")
        keys = {name: book.add(name) for name in ("crowd", "single")}
        book.close()
        counts: dict[str, Counter] = {name: Counter() for name in keys}
        waits: dict[str, list[float]] = {name: [] for name in keys}
        with serving(Path(home)) as (address, process):
            watch = Watch(address, process.pid)
            watch.start()
            end = time.monotonic() + seconds

            def client(index: int) -> None:
                name = "single" if index % 10 == 0 else "crowd"
                while time.monotonic() < end:
                    status, back, took = ask(
                        address, photo, keys[name], "verax/local", "", seconds + 120
                    )
                    known = status == 200 or (status == 429 and back)
                    counts[name]["failed" if not known else str(status)] += 1
                    if status == 200:
                        waits[name].append(took)
                    else:
                        time.sleep(1)

            crowd = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
            for one in crowd:
                one.start()
            for one in crowd:
                one.join()
            watch.over.set()
            watch.join()
    return {
        "answers": {name: dict(c) for name, c in counts.items()},
        "median_wait_s": {
            n: round(float(np.median(w)), 2) if w else None for n, w in waits.items()
        },
        "health_p99_ms": round(float(np.percentile(watch.health_ms, 99)), 1),
        "health_max_ms": round(max(watch.health_ms), 1),
        "peak_mb": round(watch.peak_mb),
    }


def waiting(photo: bytes, clients: int, upstream_s: float) -> dict:
    """Many clients that wait for a slow paid service."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder)) as service,
        serving(Path(folder) / "home", "--base-url", service.base_url, VERAX_API_KEY="sk-test") as (
            address,
            process,
        ),
    ):
        service.script([f"slow:{upstream_s}"] * clients)
        watch = Watch(address, process.pid)
        watch.start()

        def client(index: int) -> None:
            with contextlib.suppress(httpx2.HTTPError):  # it only had to wait
                ask(address, photo, "any", "verax/gpt-image-2.6-sunburst", f"{index}", upstream_s)

        crowd = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        watch.over.set()
        watch.join()
    return {"clients": clients, "upstream_s": upstream_s, "peak_mb": round(watch.peak_mb)}


def overhead(photo: bytes, runs: int = 7) -> dict:
    """Seconds of a 1 MP edit through the gateway and of the pipeline with reading and writing."""
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "p.jpg"
        path.write_bytes(photo)
        alone, through = [], []
        with serving(Path(home)) as (address, _):
            ask(address, photo, "any", "verax/local", "", 60)  # the workers start
            for _ in range(runs):
                started = time.perf_counter()
                read = images.read(path)
                images.encode(pipeline.restore(read).pixels, format="jpeg", like=read)
                alone.append(time.perf_counter() - started)
                through.append(ask(address, photo, "any", "verax/local", "", 60)[2])
    return {"pipeline_s": round(float(np.median(alone)), 3),
            "gateway_s": round(float(np.median(through)), 3)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--waiting", type=int, default=200)
    parser.add_argument("--upstream", type=float, default=30)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    photo = photo_file()
    results = {"overhead": overhead(photo)}
    print("overhead", results["overhead"])
    results["load"] = load(photo, options.clients, options.seconds)
    print("load", results["load"])
    results["waiting"] = waiting(photo, options.waiting, options.upstream)
    print("waiting", results["waiting"])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
