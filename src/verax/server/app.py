"""The server as one ASGI application: routes, access control, metrics, start and stop."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from verax.errors import (
    BudgetExceeded,
    InputError,
    ProviderBusy,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    VeraxError,
)
from verax.providers.records import RunCost
from verax.server import Problem, from_error, json_response, response, unknown
from verax.server.access import LOOPBACK, AccessControl, ClientKeys, OtherSites, ServerLimits
from verax.server.api import description
from verax.server.api import routes as api
from verax.server.api.routes import AnswerCache, Context, context_of
from verax.server.api.service import ImagesService
from verax.server.api.upstream import open_upstream
from verax.server.page.routes import routes as page_routes
from verax.server.queue import WorkQueue, resident_bytes, worker_process, worker_thread
from verax.settings import Settings

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
ASIDE = 4  # downloads of pictures and archives in progress at the same time


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of one server.

    Attributes:
        hosts: accepted names in the Host header.
        guarded: whether every client needs a key, since other machines can reach the server.
        workers: most restorations at the same time, each in a process of its own.
        waiting: most restorations that may wait; further requests get status 429.
        waiting_upstream: most calls to a paid service that may wait.
        path: URL path of the server, such as "/verax"; "" for none.
        origins: other sites whose pages may send requests; "*" is any site.
    """

    settings: Settings
    hosts: frozenset[str] = LOOPBACK
    guarded: bool = False
    workers: int = 2
    waiting: int = 64
    waiting_upstream: int = 256
    limits: ServerLimits = field(default_factory=ServerLimits)
    path: str = ""
    origins: frozenset[str] = frozenset()


class Metrics:
    """The metrics of one server, for Prometheus. The label `line` names a queue: "local" for
    restorations, "upstream" for calls to a paid service."""

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
        self.running = Gauge("verax_running_jobs", "Jobs in progress.", ["line"], **named)
        self.outcomes = Counter(
            "verax_jobs", "Ended jobs: restorations (local) and paid calls (upstream).",
            ["line", "outcome"], **named,
        )  # fmt: skip
        self.job_seconds = Histogram(
            "verax_job_seconds", "Seconds per job, without waiting.", ["line"], buckets=SECONDS,
            **named,
        )  # fmt: skip
        self.money = Gauge(
            "verax_upstream_usd", "US dollars that paid calls cost, according to the journal.",
            ["kind"], **named,
        )  # fmt: skip
        self.memory = Gauge("verax_memory_bytes", "Resident memory.", ["process"], **named)
        self.restarts = Gauge(
            "verax_worker_restarts", "Workers that crashed or were stopped.", ["line"], **named
        )

    def observer(self, line: str) -> Callable[[BaseException | None, float], None]:
        """A function that counts jobs of the queue `line`. It is to be called after each job, with
        the job's error (None if there was none) and its duration in seconds."""

        def observe(exc: BaseException | None, seconds: float) -> None:
            self.outcomes.labels(line, outcome(exc)).inc()
            self.job_seconds.labels(line).observe(seconds)

        return observe

    def look(self, service: ImagesService) -> None:
        """Set the metrics about queues, workers and memory to their present values in `service`."""
        for line, jobs in (("local", service.local), ("upstream", service.remote)):
            self.waiting.labels(line).set(jobs.waiting)
            self.running.labels(line).set(jobs.running)
            self.restarts.labels(line).set(jobs.restarts)
        self.restarts.labels("intake").set(service.intake.restarts)
        self.memory.labels("server").set(resident_bytes([os.getpid()]))
        workers = [*service.local.process_ids(), *service.intake.process_ids()]
        self.memory.labels("workers").set(resident_bytes(workers))

    def count_money(self, spent: RunCost) -> None:
        """Set the metrics about money to `spent`, the cost of all paid calls in US dollars."""
        self.money.labels("billed").set(spent.billed_usd)
        self.money.labels("possibly billed").set(spent.possibly_usd)
        self.money.labels("under way").set(spent.under_way_usd)

    @staticmethod
    async def page(request: Request) -> Response:
        """GET /metrics: the metrics in the text format of Prometheus."""
        metrics: Metrics = request.app.state.metrics
        service = context_of(request).service
        metrics.look(service)
        if service.upstream is not None:
            metrics.count_money(await run_in_threadpool(service.upstream.cost))
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")


def outcome(exc: BaseException | None) -> str:
    """How a job ended: "done" without error, a word of OUTCOMES for the errors listed there (such
    as "refused" by moderation), "failed" for other errors of Verax, "broken" for the rest."""
    if exc is None:
        return "done"
    known = (word for kind, word in OUTCOMES if isinstance(exc, kind))
    return next(known, "failed" if isinstance(exc, VeraxError) else "broken")


@dataclass(frozen=True, slots=True)
class Application:
    """A server's ASGI application and its metrics. `stop`, which any thread may call, makes the
    application reject new work."""

    asgi: ASGIApp
    metrics: Metrics
    stop: Callable[[], None]


def create_app(options: ServerOptions) -> Application:
    """The application of a server. Opens files and databases only when the server starts."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        app.state.context = context = open_context(options)
        context.service.local.observe = app.state.metrics.observer("local")
        context.service.remote.observe = app.state.metrics.observer("upstream")
        app.state.page_running, app.state.loop = {}, asyncio.get_running_loop()
        with suppress(VeraxError):  # a request for a paid model raises the error again
            await run_in_threadpool(context.service.service)
        try:
            yield
        finally:
            await close(context, list(app.state.page_running.values()))

    routes = [
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.model),
        Route("/v1/images/edits", api.edits, methods=["POST"]),
        Route("/v1/images/generations", api.generations, methods=["POST"]),
        Route("/healthz", health),
        Route("/metrics", Metrics.page),
        Route("/openapi.json", openapi),
        *page_routes,
    ]
    handlers: dict[Any, Any] = {
        Problem: on_problem,
        ClientDisconnect: on_gone,
        VeraxError: on_error,
        HTTPException: on_http,
        Exception: on_crash,
    }
    app = Starlette(routes=routes, lifespan=life, exception_handlers=handlers)
    app.state.metrics = Metrics()

    def stop() -> None:
        app.state.loop.call_soon_threadsafe(app.state.context.service.stop)

    sites = OtherSites(app, options.origins)
    sites.app = AccessControl(app, limits=options.limits, hosts=options.hosts, allows=sites.allows)
    return Application(UnderPath(sites, options.path), app.state.metrics, stop)


def open_context(options: ServerOptions) -> Context:
    """Open the folders, queues and databases of a server; delete files of an earlier server's
    unfinished calls."""
    home = options.settings.home / "serve"
    incoming = home / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True, mode=0o700)
    calls = options.settings.concurrency
    service = ImagesService(
        options.limits,
        WorkQueue(worker_process, 1, options.waiting + options.waiting_upstream, 0.05),
        WorkQueue(worker_thread, ASIDE, options.waiting),
        WorkQueue(worker_process, options.workers, options.waiting, stoppable=True),
        WorkQueue(worker_thread, calls, options.waiting_upstream, 30.0),
        lambda: open_upstream(options.settings),
    )
    return Context(
        service,
        ClientKeys(home / "clients.sqlite"),
        AnswerCache(home / "replies"),
        options.limits,
        incoming,
        home / "results",
        options.guarded,
    )


async def close(context: Context, tasks: "list[asyncio.Task[None]]") -> None:
    """Wait for `tasks` and running jobs, so that paid answers are stored; close the databases."""
    context.service.stop()
    await asyncio.gather(*tasks, return_exceptions=True)
    await context.service.close()
    context.replies.close()
    context.clients.close()


class UnderPath:
    """ASGI middleware that removes the prefix `path`, such as "/verax", from the paths of requests.
    Paths without the prefix are not changed."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.path:
            if scope["path"] == self.path:
                await RedirectResponse(f"{self.path}/")(scope, receive, send)
                return
            if scope["path"].startswith(f"{self.path}/"):
                scope = {**scope, "path": scope["path"].removeprefix(self.path)}
        await self.app(scope, receive, send)


async def health(request: Request) -> Response:
    """GET /healthz: "status", always "ok", and how many jobs run and wait in each queue."""
    service = context_of(request).service
    lines = {"local": service.local, "upstream": service.remote}
    counts = {n: {"running": j.running, "waiting": j.waiting} for n, j in lines.items()}
    return json_response({"status": "ok", **counts})


async def openapi(request: Request) -> Response:
    """GET /openapi.json: the OpenAPI description of the API."""
    return json_response(description())


async def on_problem(request: Request, exc: Problem) -> Response:
    return response(exc)


async def on_gone(request: Request, exc: ClientDisconnect) -> Response:
    """A response with status 499, for the log only, since the client has disconnected."""
    return Response(status_code=499)


async def on_error(request: Request, exc: VeraxError) -> Response:
    return response(from_error(exc))


async def on_http(request: Request, exc: HTTPException) -> Response:
    """The error answer for an exception of the web framework, in OpenAI's form."""
    codes = {404: "not_found", 405: "method_not_allowed"}
    status = 400 if exc.status_code == 422 else exc.status_code
    headers = dict(exc.headers or {})
    return response(Problem(status, str(exc.detail), codes.get(status), headers=headers))


async def on_crash(request: Request, exc: Exception) -> Response:
    return response(unknown())
