"""Computes the stages of a benchmark run in threads (default), in processes, or by Ray Data.

An engine calls a function for every item and yields the results as they finish, in any order.
Threads and processes hold a bounded number of items, so that memory does not grow with the run.
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

BACKLOG = 4  # items that wait or are computed, per worker
PER_BLOCK = 8  # items that Ray gives to a worker at once


def default_workers() -> int:
    """The default number of workers: the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(stage: Callable[[In], Out], items: Iterable[In], *, workers: int) -> Iterator[Out]:
    """Yields `stage(item)` for every item, in any order, computed by `workers` threads.

    Suits functions that release the GIL while they compute, as OpenCV and NumPy do.
    """
    with ThreadPool(workers) as pool:
        yield from _run_bounded(pool, stage, items, workers * BACKLOG)


def processes(stage: Callable[[In], Out], items: Iterable[In], *, workers: int) -> Iterator[Out]:
    """Yields `stage(item)` for every item, in any order, computed by `workers` processes.

    The processes run on this machine. Suits functions that hold the GIL while they compute.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from _run_bounded(pool, stage, items, workers * BACKLOG)


def end_with_parent() -> None:
    """Make this worker process end when its parent is killed; otherwise it would wait forever."""
    parent = parent_process()

    def wait_for_the_end() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait_for_the_end, daemon=True).start()


def _run_bounded(
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
    """Yields `stage(item)` for every item, in any order, computed by `workers` Ray Data workers.

    `address` is that of a running Ray cluster, whose machines must all be able to read the files of
    the run at the same paths; None starts Ray on this machine.
    """
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
                f"expected a Ray cluster at {address}, but none answers: {exc}; check that it "
                "runs, and that RAY_AUTH_MODE is the same there and here"
            ) from exc

    def run(row: dict[str, Any]) -> dict[str, Any]:
        return {"out": stage(row["item"])}

    waiting = [{"item": item} for item in items]
    if not waiting:
        return
    blocks = -(-len(waiting) // PER_BLOCK)  # Ray repeats a whole block when a worker is lost
    rows = ray.data.from_items(waiting, override_num_blocks=blocks)
    for row in rows.map(run, concurrency=workers).iter_rows():
        yield row["out"]


ENGINES: dict[str, Callable[..., Iterator[Any]]] = {
    "threads": threads,
    "processes": processes,
    "ray": ray_data,
}


def environment() -> dict[str, Any]:
    """The software and hardware of this machine on which outputs depend, to be stored as JSON:
    versions of packages, operating system, processor, git commit."""
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
    """{"commit": the git commit of this package's source, "dirty": whether there are uncommitted
    changes}; {} if the source is not in a git repository."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(ask("status", "--porcelain"))} if commit else {}
