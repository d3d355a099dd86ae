"""What is counted for Prometheus and logged: requests, jobs, money, memory, workers that died."""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from verax.errors import (
    BudgetExceeded,
    InputError,
    ProviderBusy,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    VeraxError,
)
from verax.providers.records import Spent
from verax.server import Problem
from verax.server.api.routes import context_of
from verax.server.api.service import ImagesService

SECONDS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (ProviderRefused, "refused"),
    (ProviderUncertain, "uncertain"),
    (ProviderBusy, "busy"),
    (BudgetExceeded, "budget"),
    (ProviderRejected, "rejected"),
    (InputError, "rejected"),
    (Problem, "rejected"),
)


class Metrics:
    """One registry per server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        named = {"registry": self.registry}
        self.requests = Counter(
            "verax_requests", "Requests by route and status.", ["route", "status"], **named
        )
        self.seconds = Histogram(
            "verax_request_seconds", "Seconds per request.", ["route"], buckets=SECONDS, **named
        )
        self.waiting = Gauge("verax_waiting_jobs", "Jobs waiting.", ["line"], **named)
        self.running = Gauge("verax_running_jobs", "Jobs under way.", ["line"], **named)
        self.outcomes = Counter(
            "verax_jobs", "Ended jobs: restorations (local) and paid calls (upstream).",
            ["line", "outcome"], **named,
        )  # fmt: skip
        self.job_seconds = Histogram(
            "verax_job_seconds", "Seconds per job, without waiting.", ["line"], buckets=SECONDS,
            **named,
        )  # fmt: skip
        self.money = Gauge(
            "verax_upstream_usd", "US dollars of all calls for clients, as journaled.",
            ["kind"], **named,
        )  # fmt: skip
        self.memory = Gauge("verax_memory_bytes", "Resident memory.", ["process"], **named)
        self.restarts = Gauge(
            "verax_worker_restarts", "Workers that died or were ended with their job.", ["line"],
            **named,
        )  # fmt: skip

    def observer(self, line: str) -> Callable[[BaseException | None, float], None]:
        """A function that counts how each job of a queue ended and how long it took."""

        def observe(exc: BaseException | None, seconds: float) -> None:
            self.outcomes.labels(line, outcome(exc)).inc()
            self.job_seconds.labels(line).observe(seconds)

        return observe

    def look(self, service: ImagesService) -> None:
        """Update the gauges."""
        for line, jobs in (("local", service.local), ("upstream", service.remote)):
            self.waiting.labels(line).set(jobs.waiting)
            self.running.labels(line).set(jobs.running)
            self.restarts.labels(line).set(jobs.restarts)
        self.restarts.labels("intake").set(service.intake.restarts)
        self.memory.labels("server").set(resident_bytes([os.getpid()]))
        workers = [*service.local.process_ids(), *service.intake.process_ids()]
        self.memory.labels("workers").set(resident_bytes(workers))

    def count_money(self, spent: Spent) -> None:
        self.money.labels("billed").set(spent.billed_usd)
        self.money.labels("possibly billed").set(spent.possibly_usd)
        self.money.labels("under way").set(spent.under_way_usd)

    @staticmethod
    async def page(request: Request) -> Response:
        """GET /metrics, in the text format of Prometheus."""
        metrics: Metrics = request.app.state.metrics
        service = context_of(request).service
        metrics.look(service)
        if service.upstream is not None:
            metrics.count_money(await run_in_threadpool(service.upstream.spent))
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")


def outcome(exc: BaseException | None) -> str:
    """One word for how a job ended."""
    if exc is None:
        return "done"
    known = (word for kind, word in OUTCOMES if isinstance(exc, kind))
    return next(known, "failed" if isinstance(exc, VeraxError) else "broken")


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


class RequestLog:
    """Counts and logs every request: route, status, seconds; never a picture, key or prompt.

    `stop` is safe to call from any thread; no new work is started after it.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        log: Callable[..., object],
        stop: Callable[[], None],
    ) -> None:
        self.app, self.metrics, self.log, self.stop = app, metrics, log, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499
        name = request_id(Headers(scope=scope).get("x-request-id", ""))

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            self.log(
                method=scope["method"],
                route=route,
                status=status,
                seconds=round(seconds, 4),
                request_id=name,
            )


def request_id(name: str) -> str:
    """The client's own name for a request where it is one; else a new one."""
    return name if re.fullmatch(r"[\w.:-]{1,128}", name) else f"req_{secrets.token_hex(12)}"
