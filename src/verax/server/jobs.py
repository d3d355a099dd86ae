"""A bounded queue in front of workers, fair between clients.

Each client has a line of its own; the next free worker takes the first job of the next client in
turn, so that one client's hundred jobs do not keep another's single one waiting.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, TypeVar, TypeVarTuple

from verax.server.replies import Problem

TYPICAL_JOB_S = 2.0
T = TypeVar("T")
Given = TypeVarTuple("Given")


@dataclass(eq=False, slots=True)
class Job:
    """Work that waits or runs; `done` gets its result."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    done: "asyncio.Future[Any]"


@dataclass(slots=True)
class Jobs:
    """Runs functions in an executor, `workers` at a time, at most `waiting_limit` in line.

    Args:
        make_executor: called at the start, and again when a worker process has died.
    """

    make_executor: Callable[[], Executor]
    workers: int
    waiting_limit: int
    lines: "OrderedDict[str, deque[Job]]" = field(default_factory=OrderedDict)
    running: int = 0
    executor: Executor | None = None

    @property
    def waiting(self) -> int:
        return sum(len(line) for line in self.lines.values())

    async def run(self, client: str, function: Callable[[*Given], T], *arguments: *Given) -> T:
        """The function's result, in turn. Raises Problem 429 when the line is full.

        Cancelling a job that still waits takes it out of the line; one that runs goes on.
        """
        if self.waiting >= self.waiting_limit:
            wait_s = max(1, round(self.waiting * TYPICAL_JOB_S / self.workers))
            raise Problem(
                429,
                f"{self.waiting} jobs are waiting; try again in {wait_s} s",
                "rate_limit_exceeded",
                kind="rate_limit_error",
                headers={"retry-after": str(wait_s)},
            )
        job = Job(function, arguments, asyncio.get_running_loop().create_future())
        self.lines.setdefault(client, deque()).append(job)
        self._start_next()
        try:
            result: T = await job.done
            return result
        except asyncio.CancelledError:
            self._forget(client, job)
            raise

    def _forget(self, client: str, job: Job) -> None:
        line = self.lines.get(client)
        if line is not None and job in line:
            line.remove(job)
            if not line:
                del self.lines[client]

    def _start_next(self) -> None:
        while self.running < self.workers and self.lines:
            client, line = next(iter(self.lines.items()))
            job = line.popleft()
            del self.lines[client]
            if line:
                self.lines[client] = line  # back to the end: the next client is in turn
            if not job.done.done():
                self.running += 1
                task = asyncio.get_running_loop().create_task(self._run(job))
                task.add_done_callback(lambda _: None)

    async def _run(self, job: Job) -> None:
        try:
            if self.executor is None:
                self.executor = self.make_executor()
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self.executor, job.function, *job.arguments)
        except BrokenProcessPool:
            self.executor = None
            self._fail(job, Problem(500, "a worker died on this picture", "server_error",
                                    kind="server_error"))  # fmt: skip
        except BaseException as exc:  # noqa: BLE001  # handed to whoever waits for the job
            self._fail(job, exc)
        else:
            if not job.done.done():
                job.done.set_result(result)
        finally:
            self.running -= 1
            self._start_next()

    @staticmethod
    def _fail(job: Job, exc: BaseException) -> None:
        if not job.done.done():
            job.done.set_exception(exc)

    def close(self) -> None:
        """Wait for what runs; what waits is cancelled."""
        for line in self.lines.values():
            for job in line:
                job.done.cancel()
        self.lines.clear()
        if self.executor is not None:
            self.executor.shutdown(wait=True)
