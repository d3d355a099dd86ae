"""A bounded queue of jobs that is fair between clients, and its worker processes and threads.

Each client has its own queue, and free workers serve the clients in turn, so that a hundred jobs of
one client do not delay a single job of another. To keep one client from filling all places, the
number of its waiting jobs must stay below a multiple of the free places (Choudhury and Hahne,
"Dynamic queue length thresholds", IEEE/ACM Transactions on Networking 6, 1998).
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

FREE_PLACES = 4  # a client may have at most this many waiting jobs for each free place
RECENT = 0.2  # weight of the last job in the moving average of durations
NICE = 3  # lowers the priority of workers a little; much lower would stop them on a busy machine
LIMIT_S = 900  # far longer than the work on any picture within the limits
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@dataclass(eq=False, slots=True)
class QueuedJob:
    """A call `function(*arguments)` that waits or runs.

    Attributes:
        done: receives the result of the call, or its exception.
        worker: runs the call; None while it waits.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    done: "asyncio.Future[Any]"
    worker: Executor | None = None


@dataclass(slots=True)
class WorkQueue:
    """Runs functions for clients, which take turns.

    Args:
        make_worker: makes an executor that runs one job at a time, so that a crash of its process
            affects only one job.
        workers: most jobs that run at the same time.
        waiting_limit: most jobs that may wait.
        typical_s: first estimate of a job's duration in seconds; updated after each job.
        stoppable: whether to kill the process of a running job when its caller is cancelled.
        observe: is called after each job with its error or None, and its duration in seconds.

    Attributes:
        queues: waiting jobs by client; the first client has the next turn.
        running: number of running jobs.
        idle, workers_now: the workers without a job, and all workers.
        restarts: how many workers have crashed or were killed.
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

    async def run(
        self, client: str, function: Callable[[*Arguments], T], *arguments: *Arguments
    ) -> T:
        """Run `function(*arguments)` when it is the client's turn, and return the result.

        Raises Problem 429 if the queue is full. If the caller is cancelled, a waiting job is
        removed; a running job goes on, unless the queue is `stoppable`.
        """
        if self.stopping:
            raise _stopping()
        waiting, mine = self.waiting, len(self.queues.get(client, ()))
        if self.running >= self.workers and mine >= FREE_PLACES * (self.waiting_limit - waiting):
            raise self._full(mine)
        return await self.finish(client, function, *arguments)

    async def finish(
        self, client: str, function: Callable[[*Arguments], T], *arguments: *Arguments
    ) -> T:
        """Run `function(*arguments)` when it is the client's turn, and return the result. Unlike
        `run`, this accepts the job even if the queue is full, as the last step of a paid call."""
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
        """The process ids of all workers; [] if the workers are threads."""
        return [one.pid for worker in self.workers_now for one in processes_of(worker) if one.pid]

    def _full(self, mine: int) -> Problem:
        wait_s = max(1, round(self.waiting * self.typical_s / self.workers))
        return Problem(
            429,
            f"the queue is full: {self.waiting} jobs wait, {mine} of them yours; try again in "
            f"{wait_s} s",
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
                self.queues[client] = queue  # to the end, so that the next client has its turn
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
            result = await self._result_of(worker, job)
        except BrokenProcessPool as exc:
            self.restarts += 1
            self.workers_now.discard(worker)
            worker.shutdown(wait=False)
            self.observe(exc, loop.time() - started)
            text = "the process for this picture crashed; try again with a smaller picture"
            self._fail(job, Problem(500, text, "server_error", kind="server_error"))
        except BaseException as exc:  # noqa: BLE001  # raised where the job is awaited
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

    async def _result_of(self, worker: Executor, job: QueuedJob) -> Any:  # noqa: ANN401  # any function's
        """Run a job and return its result. The worker is idle again, unless its process crashed."""
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
        """Reject new and waiting jobs with Problem 503; running jobs go on."""
        self.stopping = True
        for queue in self.queues.values():
            for job in queue:
                self._fail(job, _stopping())
        self.queues.clear()

    async def close(self) -> None:
        """Reject waiting jobs, wait for running ones, and end the workers."""
        self.stop()
        while self.running:
            await asyncio.sleep(0.02)
        for worker in self.idle:
            worker.shutdown(wait=True)
        self.idle.clear()


def processes_of(worker: Executor) -> "list[Process]":
    """The processes of an executor, from a private attribute; [] if it has threads."""
    processes = getattr(worker, "_processes", None) or {}
    return list(processes.values())


def end_processes(worker: Executor) -> None:
    """Kill the processes of an executor."""
    for process in processes_of(worker):
        process.kill()


def _stopping() -> Problem:
    return Problem(
        503,
        "the server is stopping; this request cost nothing; try again in 30 s",
        "server_stopping",
        kind="server_error",
        headers={"retry-after": "30"},
    )


def worker_process() -> Executor:
    """An executor with one new process, started by "spawn" since the server has threads."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet_process)


def quiet_process() -> None:
    """Set up a worker process: it has low priority, uses one thread per library (so that several
    workers share the cores), ignores Ctrl-C, and ends when the server ends."""
    end_with_parent()
    os.nice(NICE)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def worker_thread() -> Executor:
    """An executor with one thread."""
    return ThreadPoolExecutor(1, initializer=quiet_thread)


def quiet_thread() -> None:
    """Lower the priority of this thread below that of the server's main thread; on Linux only."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def run_limited(function: Callable[[*Arguments], T], seconds: int, *arguments: *Arguments) -> T:
    """Run `function(*arguments)` and return the result. If that takes longer than `seconds`, the
    operating system kills this process, so call this only in a worker process."""
    signal.alarm(seconds)  # the signal ends the process, even within a library
    try:
        return function(*arguments)
    finally:
        signal.alarm(0)


def one_thread() -> None:
    """Limit OpenCV, which does not read OMP_NUM_THREADS, to one thread."""
    import cv2

    cv2.setNumThreads(1)


def resident_bytes(processes: Iterable[int]) -> int:
    """The resident memory of the processes with these ids together; 0 on a system without /proc."""
    total = 0
    for process in processes:
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total
