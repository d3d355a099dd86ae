"""The server as a running process: connection timeouts, log, shutdown.

The log is one JSON object per line, written by its own thread, so that a stalled reader does not
stall the server.
"""

import asyncio
import contextlib
import json
import logging
import queue
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, TextIO

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from verax.server import Problem
from verax.server.access import ServerLimits
from verax.server.app import Application, ServerOptions, create_app

SWITCH_S = 0.001  # thread switch interval; the default of 5 ms would delay answers


def run(options: ServerOptions, listener: socket.socket) -> None:
    """Serve on a listening socket until a signal ends it."""
    lines = LogLines(sys.stderr)
    logging.basicConfig(handlers=[LogHandler(lines)], level=logging.WARNING)
    allow_many_connections()
    sys.setswitchinterval(SWITCH_S)
    try:
        server(options, lines).run(sockets=[listener])
    finally:
        lines.close()


def server(options: ServerOptions, log: Callable[..., object]) -> "GracefulServer":
    """A server, not yet running; setting `should_exit` ends it."""
    application = create_app(options)
    config = uvicorn.Config(
        RequestLog(application, log),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=partial(PatientProtocol, limits=options.limits),  # type: ignore[arg-type]
        timeout_keep_alive=int(options.limits.head_s),
        backlog=512,
    )
    return GracefulServer(config, application.stop)


def allow_many_connections() -> None:
    """Raise the limit of open files to the most that the system allows: each connection is one."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class GracefulServer(uvicorn.Server):
    """Starts no new work once it has received a signal to stop."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self.stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self.stop()
        super().handle_exit(sig, frame)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with timeouts for a request's head, an idle connection, and a client that does not
    read its answer. Timeouts of bodies are in `verax.server.access`."""

    def __init__(self, *arguments: Any, limits: ServerLimits, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self.limits = limits
        self.patience: asyncio.TimerHandle | None = None
        self.taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.expect_head()

    def expect_head(self) -> None:
        if self.patience is None:
            self.patience = self.loop.call_later(self.limits.head_s, self.transport.abort)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self.patience = cancel(self.patience)

    def on_response_complete(self) -> None:
        self.expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.taking = self.loop.call_later(self.limits.taking_s, self.transport.abort)

    def resume_writing(self) -> None:
        self.taking = cancel(self.taking)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.patience, self.taking = cancel(self.patience), cancel(self.taking)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP, in OpenAI's error shape."""
        problem = Problem(400, f"expected HTTP/1.1: {msg}", "invalid_http")
        body = json.dumps(problem.body()).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one. Returns None, to replace it."""
    if timer is not None:
        timer.cancel()
    return None


MOST_WAITING = 10_000
PATIENCE_S = 2.0  # to write the last lines when the server ends


class LogLines:
    """Writes JSON lines to a stream; never waits for it."""

    def __init__(self, stream: TextIO, *, most_waiting: int = MOST_WAITING) -> None:
        self.stream = stream
        self.waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(most_waiting)
        self.dropped = 0
        self.writer = threading.Thread(target=self._write, daemon=True)
        self.writer.start()

    def __call__(self, **line: Any) -> None:  # noqa: ANN401  # any JSON
        try:
            self.waiting.put_nowait({"at": round(time.time(), 3), **line})
        except queue.Full:
            self.dropped += 1

    def _write(self) -> None:
        while (line := self.waiting.get()) is not None:
            dropped, self.dropped = self.dropped, 0
            with contextlib.suppress(OSError, ValueError):  # the reader is gone
                entry = {**line, "lines_dropped": dropped} if dropped else line
                self.stream.write(json.dumps(entry) + "\n")
                self.stream.flush()

    def close(self) -> None:
        """Write the waiting lines, unless the reader has stopped reading."""
        with contextlib.suppress(queue.Full):
            self.waiting.put(None, timeout=PATIENCE_S)
        self.writer.join(PATIENCE_S)


class LogHandler(logging.Handler):
    """Warnings and errors of libraries, like every other line."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        entry = {"level": record.levelname.lower(), "message": record.getMessage().strip()}
        if record.exc_info:
            entry["trace"] = logging.Formatter().formatException(record.exc_info)
        self.lines(**entry)


class RequestLog:
    """Counts and logs every request: route, status, seconds; never a picture, key or prompt."""

    def __init__(self, application: Application, log: Callable[..., object]) -> None:
        self.app, self.metrics, self.log = application.asgi, application.metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499
        name = request_id(Headers(scope=scope).get("x-request-id", ""))

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self.app(scope, receive, send_named)
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
    """The client's request id if it is valid, else a new one."""
    return name if re.fullmatch(r"[\w.:-]{1,128}", name) else f"req_{secrets.token_hex(12)}"
