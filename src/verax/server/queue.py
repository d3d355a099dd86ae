"""A bounded queue, fair between clients, and the processes and threads that work it off.

Each client has its own queue; a free worker takes the first job of the next client in turn, so
that one client's hundred jobs do not delay another's single one. Nor can one client fill the queue:
it may only hold a multiple of the places that are still free (Choudhury and Hahne, "Dynamic queue
length thresholds", IEEE/ACM Transactions on Networking 6, 1998).
"""

import asyncio
import os
import signal
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from verax.bench.engines import end_with_parent
from verax.server import Problem

FREE_PLACES = 4  # a client may hold so many times the places that are free: at most 4 in 5
RECENT = 0.2  # weight of the last job in the moving average of durations
NICE = 3  # below the process that answers; far lower would starve on a busy machine
LIMIT_S = 900  # far longer than any picture within the limits takes
T = TypeVar("T")
Given = TypeVarTuple("Given")


@dataclass(eq=False, slots=True)
class QueuedJob:
    """A job that waits or runs; `done` gets its result."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    done: "asyncio.Future[Any]"
    worker: Executor | None = None


@dataclass(slots=True)
class WorkQueue:
    """Runs functions, `workers` at a time, at most `waiting_limit` waiting.

    Args:
        make_worker: makes one worker, an executor that runs one job at a time. Each job has one
            to itself, so that a picture that kills its process affects no other job.
        typical_s: estimated duration of a job, until some have been measured.
        stoppable: a running job is ended, with its worker process, when nobody waits for it.
        observe: called with the error of a job (None if it succeeded) and its duration.
    """

    make_worker: Callable[[], Executor]
    workers: int
    waiting_limit: int
    typical_s: float = 2.0
    stoppable: bool = False
    observe: Callable[[BaseException | None, float], None] = lambda exc, seconds: None
    queues: "OrderedDict[str, deque[QueuedJob]]" = field(default_factory=OrderedDict)
    running: int = 0
    idle: list[Executor] = field(default_factory=list)
    workers_now: set[Executor] = field(default_factory=set)
    stopping: bool = False
    restarts: int = 0

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self.queues.values())

    async def run(self, client: str, function: Callable[[*Given], T], *arguments: *Given) -> T:
        """The function's result, in turn. Raises Problem 429 when the queue is full.

        Cancelling a waiting job removes it from the queue; a running one goes on, or is ended with
        its worker where the queue is `stoppable`.
        """
        if self.stopping:
            raise _stopping()
        waiting, mine = self.waiting, len(self.queues.get(client, ()))
        if self.running >= self.workers and mine >= FREE_PLACES * (self.waiting_limit - waiting):
            raise self._full(mine)
        return await self.finish(client, function, *arguments)

    async def finish(self, client: str, function: Callable[[*Given], T], *arguments: *Given) -> T:
        """Like `run`, but never rejected: use it for the final step of paid work."""
        job = QueuedJob(function, arguments, asyncio.get_running_loop().create_future())
        self.queues.setdefault(client, deque()).append(job)
        self._start_next()
        try:
            result: T = await job.done
            return result
        except asyncio.CancelledError:
            self._forget(client, job)
            if self.stoppable and job.worker is not None:
                end_processes(job.worker)
            raise

    def process_ids(self) -> list[int]:
        """The processes of all workers, where they are processes."""
        return [one.pid for worker in self.workers_now for one in processes_of(worker) if one.pid]

    def _full(self, mine: int) -> Problem:
        wait_s = max(1, round(self.waiting * self.typical_s / self.workers))
        return Problem(
            429,
            f"{self.waiting} jobs are waiting, {mine} of them yours; try again in {wait_s} s",
            "rate_limit_exceeded",
            kind="rate_limit_error",
            headers={"retry-after": str(wait_s)},
        )

    def _forget(self, client: str, job: QueuedJob) -> None:
        queue = self.queues.get(client)
        if queue is not None and job in queue:
            queue.remove(job)
            if not queue:
                del self.queues[client]

    def _start_next(self) -> None:
        while self.running < self.workers and self.queues:
            client, queue = next(iter(self.queues.items()))
            job = queue.popleft()
            del self.queues[client]
            if queue:
                self.queues[client] = queue  # back to the end: the next client is in turn
            if not job.done.done():
                self.running += 1
                task = asyncio.get_running_loop().create_task(self._run(job))
                task.add_done_callback(lambda _: None)

    async def _run(self, job: QueuedJob) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            worker = self.idle.pop() if self.idle else self._new_worker()
            job.worker = worker
            result = await self._done_by(worker, job)
        except BrokenProcessPool as exc:
            self.restarts += 1
            self.workers_now.discard(worker)
            worker.shutdown(wait=False)
            self.observe(exc, loop.time() - started)
            self._fail(job, Problem(500, "a worker died on this picture", "server_error",
                                    kind="server_error"))  # fmt: skip
        except BaseException as exc:  # noqa: BLE001  # handed to whoever waits for the job
            self.observe(exc, loop.time() - started)
            self._fail(job, exc)
        else:
            self.observe(None, loop.time() - started)
            self.typical_s += RECENT * (loop.time() - started - self.typical_s)
            if not job.done.done():
                job.done.set_result(result)
        finally:
            job.worker = None
            self.running -= 1
            self._start_next()

    def _new_worker(self) -> Executor:
        worker = self.make_worker()
        self.workers_now.add(worker)
        return worker

    async def _done_by(self, worker: Executor, job: QueuedJob) -> Any:  # noqa: ANN401  # any function's
        """The job's result; the worker is idle again afterwards, unless it died."""
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(worker, job.function, *job.arguments)
        except BrokenProcessPool:
            raise
        except BaseException:
            self.idle.append(worker)
            raise
        self.idle.append(worker)
        return result

    @staticmethod
    def _fail(job: QueuedJob, exc: BaseException) -> None:
        if not job.done.done():
            job.done.set_exception(exc)

    def stop(self) -> None:
        """Reject new jobs and those that wait; running jobs go on."""
        self.stopping = True
        for queue in self.queues.values():
            for job in queue:
                self._fail(job, _stopping())
        self.queues.clear()

    async def close(self) -> None:
        """Reject waiting jobs, and wait for running ones."""
        self.stop()
        while self.running:
            await asyncio.sleep(0.02)
        for worker in self.idle:
            worker.shutdown(wait=True)
        self.idle.clear()


def processes_of(worker: Executor) -> "list[Process]":
    """The processes of an executor; the library names them only privately before Python 3.14."""
    processes = getattr(worker, "_processes", None) or {}
    return list(processes.values())


def end_processes(worker: Executor) -> None:
    for process in processes_of(worker):
        process.kill()


def _stopping() -> Problem:
    return Problem(
        503,
        "the server is being stopped; nothing was paid for this, try again soon",
        "server_stopping",
        kind="server_error",
        headers={"retry-after": "30"},
    )


def worker_process() -> Executor:
    """A fresh process for one job at a time; spawned, since the server has threads."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet_process)


def quiet_process() -> None:
    """Set up a worker process: low priority, ignores Ctrl-C, ends with its server.

    Workers share the cores between pictures, not within one.
    """
    end_with_parent()
    os.nice(NICE)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def worker_thread() -> Executor:
    """A thread for one call of a paid service at a time."""
    return ThreadPoolExecutor(1, initializer=quiet_thread)


def quiet_thread() -> None:
    """Lower this thread's priority, so that the one that answers goes first; on Linux alone."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def limited(function: Callable[[*Given], T], seconds: int, *arguments: *Given) -> T:
    """The function's result in a worker process, which is killed when it takes too long."""
    signal.alarm(seconds)  # its default action ends the process, whatever it is busy with
    try:
        return function(*arguments)
    finally:
        signal.alarm(0)


def one_thread() -> None:
    """Limit OpenCV to one thread: it does not read OMP_NUM_THREADS."""
    import cv2

    cv2.setNumThreads(1)


def resident_bytes(processes: Iterable[int]) -> int:
    """Resident memory of processes together; 0 where the system does not say."""
    total = 0
    for process in processes:
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total
