"""Where stages run: threads (default), processes, or Ray Data on many machines.

An engine maps a function over items and yields results as they finish, in any order. It holds a
bounded number of items at a time, so memory does not grow with the run.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures import ThreadPoolExecutor as ThreadPool
from importlib import metadata
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from verax.errors import RunError, missing_extra

Out = TypeVar("Out")
In = TypeVar("In")

BACKLOG = 4  # items waiting per worker
PER_BLOCK = 8  # items that Ray hands to a worker at once


def default_workers() -> int:
    """The default number of workers: one per core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(stage: Callable[[In], Out], items: Iterable[In], *, workers: int) -> Iterator[Out]:
    """Threads of this process: right for the pipeline, whose work releases the GIL."""
    with ThreadPool(workers) as pool:
        yield from _bounded(pool, stage, items, workers * BACKLOG)


def processes(stage: Callable[[In], Out], items: Iterable[In], *, workers: int) -> Iterator[Out]:
    """Processes of this machine: right for methods that hold the GIL."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from _bounded(pool, stage, items, workers * BACKLOG)


def end_with_parent() -> None:
    """End this process when the one that started it is killed; it would wait forever otherwise."""
    parent = parent_process()

    def wait_for_the_end() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait_for_the_end, daemon=True).start()


def _bounded(
    pool: Executor, stage: Callable[[In], Out], items: Iterable[In], backlog: int
) -> Iterator[Out]:
    source = iter(items)
    waiting: set[Future[Out]] = {pool.submit(stage, item) for item in islice(source, backlog)}
    try:
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            waiting |= {pool.submit(stage, item) for item in islice(source, len(finished))}
            for future in finished:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()


def ray_data(
    stage: Callable[[In], Out], items: Iterable[In], *, workers: int, address: str | None = None
) -> Iterator[Out]:
    """Ray Data: the same stage on a cluster; every machine must be able to read the pictures."""
    try:
        import ray
    except ImportError as exc:
        raise missing_extra("--engine ray", "ray") from exc
    if not ray.is_initialized():
        cpus = None if address else workers
        try:
            ray.init(address=address, num_cpus=cpus, include_dashboard=False)
        except ConnectionError as exc:
            raise RunError(
                f"no Ray cluster answers at {address}: {exc}; check that it runs, and that this "
                "side uses the cluster's way of authentication (RAY_AUTH_MODE)"
            ) from exc

    def run(row: dict[str, Any]) -> dict[str, Any]:
        return {"out": stage(row["item"])}

    waiting = [{"item": item} for item in items]
    if not waiting:
        return
    blocks = -(-len(waiting) // PER_BLOCK)  # what is computed again when a worker is lost
    rows = ray.data.from_items(waiting, override_num_blocks=blocks)
    for row in rows.map(run, concurrency=workers).iter_rows():
        yield row["out"]


ENGINES: dict[str, Callable[..., Iterator[Any]]] = {
    "threads": threads,
    "processes": processes,
    "ray": ray_data,
}


def environment() -> dict[str, Any]:
    """The environment of a run: versions, commit and whether the tree was dirty, hardware."""
    packages = ("verax", "numpy", "opencv-python-headless", "pillow", "scipy", "scikit-image")
    versions = {name: _version(name) for name in (*packages, "onnxruntime", "torch")}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "packages": {name: version for name, version in versions.items() if version},
        "git": _git(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _git() -> dict[str, Any]:
    """Commit and dirtiness of the tree that holds this package; empty when it is none."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(ask("status", "--porcelain"))} if commit else {}
