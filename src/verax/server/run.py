"""The server as a running process: lines that may not idle, what happens at its end."""

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from verax.server.app import ServerOptions, Watched, create_app
from verax.server.limits import Limits
from verax.server.logs import LogLines, ToLines
from verax.server.replies import Problem

SWITCH_S = 0.001  # threads hand over so often; 5 ms each would add up before an answer goes out


def run(options: ServerOptions, listener: socket.socket) -> None:
    """Serve on a listening socket until a signal ends it."""
    lines = LogLines(sys.stderr)
    logging.basicConfig(handlers=[ToLines(lines)], level=logging.WARNING)
    allow_many_lines()
    sys.setswitchinterval(SWITCH_S)
    try:
        server(options, lines).run(sockets=[listener])
    finally:
        lines.close()


def server(options: ServerOptions, log: Callable[..., object]) -> "Server":
    """A server that is not running yet; `should_exit` ends it."""
    app = create_app(options, log)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=partial(PatientProtocol, limits=options.limits),  # type: ignore[arg-type]
        timeout_keep_alive=int(options.limits.head_s),
        backlog=512,
    )
    return Server(config, app)


def allow_many_lines() -> None:
    """As many open files as the system lets us have: a waiting client is one."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Server(uvicorn.Server):
    """Begins nothing new once it has been told to stop."""

    def __init__(self, config: uvicorn.Config, app: Watched) -> None:
        super().__init__(config)
        self.app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self.app.stop()
        super().handle_exit(sig, frame)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with limits to patience: for a request's head, for what comes after an answer, and
    for a client that does not take its answer. Bodies are the door's business."""

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:  # noqa: ANN401
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
            self.patience = ended(self.patience)

    def on_response_complete(self) -> None:
        self.expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.taking = self.loop.call_later(self.limits.taking_s, self.transport.abort)

    def resume_writing(self) -> None:
        self.taking = ended(self.taking)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.patience, self.taking = ended(self.patience), ended(self.taking)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets the official error shape too."""
        problem = Problem(400, f"want HTTP/1.1: {msg}", "invalid_http")
        body = json.dumps(problem.body()).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def ended(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """No timer any more."""
    if timer is not None:
        timer.cancel()
    return None
