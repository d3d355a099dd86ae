"""Runs the server. This module has timeouts of connections, the log, and shutdown.

The log has one JSON object per line. A separate thread writes it, so that the server never waits
for the program that reads the log.
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

SWITCH_S = 0.001  # Python's thread switch interval; the default of 5 ms would delay answers


def run(options: ServerOptions, listener: socket.socket) -> None:
    """Run a server on the listening socket `listener` until a signal stops it."""
    lines = LogLines(sys.stderr)
    logging.basicConfig(handlers=[LogHandler(lines)], level=logging.WARNING)
    allow_many_connections()
    sys.setswitchinterval(SWITCH_S)
    try:
        server(options, lines).run(sockets=[listener])
    finally:
        lines.close()


def server(options: ServerOptions, log: Callable[..., object]) -> "GracefulServer":
    """A server that is not running yet. To stop it later, set its attribute `should_exit` to True.
    `log` is called after each request, with the values of a log line as keyword arguments."""
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
    """Let this process open as many files and connections as the system allows."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class GracefulServer(uvicorn.Server):
    """A server that calls `stop` when the process is told to end, so that no new work starts."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self.stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self.stop()
        super().handle_exit(sig, frame)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with timeouts: a connection is closed if complete request headers do not arrive
    within `limits.head_s` seconds, or if the client does not read for `limits.taking_s` seconds."""

    def __init__(self, *arguments: Any, limits: ServerLimits, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self.limits = limits
        self.patience: asyncio.TimerHandle | None = None
        self.taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.expect_head()

    def expect_head(self) -> None:
        """Start the timeout for the headers of the next request, unless it runs already."""
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
        """Send an error answer to a client whose bytes are not HTTP, and close the connection.
        `msg` says what is wrong."""
        problem = Problem(
            400, f"expected a request in HTTP/1.1, got bytes that are not: {msg}", "invalid_http"
        )
        body = json.dumps(problem.body()).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one. Always returns None, to be stored in place of the timer."""
    if timer is not None:
        timer.cancel()
    return None


MOST_WAITING = 10_000
PATIENCE_S = 2.0  # most seconds for writing the last lines when the server ends


class LogLines:
    """Writes log lines as JSON to a stream, in a thread; a line is given by a call with its values
    as keyword arguments. While `most_waiting` lines wait, further lines are dropped and counted."""

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
            with contextlib.suppress(OSError, ValueError):  # the stream is closed
                entry = {**line, "lines_dropped": dropped} if dropped else line
                self.stream.write(json.dumps(entry) + "\n")
                self.stream.flush()

    def close(self) -> None:
        """Write the waiting lines and end the thread. Give up if the stream blocks for 2 s."""
        with contextlib.suppress(queue.Full):
            self.waiting.put(None, timeout=PATIENCE_S)
        self.writer.join(PATIENCE_S)


class LogHandler(logging.Handler):
    """Writes the warnings and errors of libraries into the log."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        entry = {"level": record.levelname.lower(), "message": record.getMessage().strip()}
        if record.exc_info:
            entry["trace"] = logging.Formatter().formatException(record.exc_info)
        self.lines(**entry)


class RequestLog:
    """ASGI middleware that counts and logs each request, without its pictures, key and prompt."""

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
    """The request id `name` that a client sent, or a new one if it is "" or otherwise not valid."""
    return name if re.fullmatch(r"[\w.:-]{1,128}", name) else f"req_{secrets.token_hex(12)}"
