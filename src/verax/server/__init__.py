"""The server. This module defines its error answers, and sends pictures as JSON or as events.

The Images API is in `api`, the web page in `page` and `pages`. Until an answer is ready, the server
sends spaces (in JSON) or comments (in an event stream), so that no proxy closes the connection.
JSON that began with spaces has status 200; if the call fails later, its body holds the error.
"""

import asyncio
import base64
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from verax.errors import (
    BudgetExceeded,
    InputError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    VeraxError,
)

NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Problem(Exception):
    """Raised to answer a request with an error in the form of OpenAI's API.

    Args:
        status: HTTP status.
        message: what was expected, what was found, what to do.
        code: short name of the error for programs, or None.
        param: name of the request field at fault, or None.
        kind: value of the key "type" in the error object.
        headers: further HTTP headers, such as Retry-After.
        more: further keys and values of the error object, such as "moderation_details".
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        *,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.kind, self.headers = kind, dict(headers or {})
        self.more = dict(more or {})

    def __reduce__(self) -> tuple[Any, ...]:
        """The (function, arguments) from which pickle rebuilds this error in another process."""
        again = partial(Problem, kind=self.kind, headers=self.headers, more=self.more)
        return again, (self.status, self.message, self.code, self.param)

    def body(self) -> dict[str, object]:
        """The JSON body of the HTTP answer, with one key, "error"."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": {**error, **self.more}}


def response(problem: Problem) -> Response:
    """The HTTP response that tells a client about an error."""
    return json_response(problem.body(), status=problem.status, headers=problem.headers)


def json_response(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON response that browsers do not cache."""
    data = json.dumps(value).encode()
    return Response(data, status, {**NO_STORE, **(headers or {})}, "application/json")


def from_error(exc: VeraxError) -> Problem:
    """The error answer for an exception of Verax, with the status that belongs to its class."""
    text = str(exc)
    if isinstance(exc, ProviderRefused):
        details = {"moderation_stage": exc.stage, "categories": list(exc.categories)}
        return Problem(400, text, "moderation_blocked", more={"moderation_details": details})
    if isinstance(exc, InputError):
        return Problem(400, text, "invalid_value")
    if isinstance(exc, BudgetExceeded):
        return Problem(429, text, "insufficient_quota", kind="insufficient_quota")
    if isinstance(exc, ProviderBusy):
        busy = {"retry-after": "30"}
        return Problem(429, text, "rate_limit_exceeded", kind="upstream_error", headers=busy)
    if isinstance(exc, ProviderRejected):
        return Problem(400, text, "upstream_rejected", kind="upstream_error")
    if isinstance(exc, ProviderUncertain):
        return Problem(504, text, "upstream_uncertain", kind="upstream_error")
    if isinstance(exc, ProviderError):
        return Problem(502, text, "upstream_failed", kind="upstream_error")
    return unknown()


def unknown() -> Problem:
    """The error answer for an unexpected exception; it does not tell clients what happened."""
    text = "the server failed; try again, or ask its operator, who finds the reason in the log"
    return Problem(500, text, "server_error", kind="server_error")


HEARTBEAT_S = 10.0
PATIENCE_S = 15.0  # a JSON answer that takes longer begins with spaces
EARLY_S = 0.25  # an event stream begins after this time; an earlier error gets its own HTTP status
CHUNK = 3 << 16  # bytes of a picture sent at a time; base64 of a multiple of 3 has no padding
EVENTS = {"edit": "image_edit", "generation": "image_generation"}
UNKNOWN = {"size": "auto", "quality": "auto"}  # both keys are required in events


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """The answer to one request for pictures.

    Attributes:
        kind: "edit" or "generation".
        created: time in seconds since 1970.
        pictures: the files of the finished pictures.
        about: further keys of the JSON answer, such as "size", "usage" and our own "verax".
    """

    kind: str
    created: int
    pictures: tuple[Path, ...]
    about: dict[str, Any]

    def plain(self) -> Iterator[bytes]:
        """This answer as JSON in OpenAI's form, in chunks of bytes."""
        yield f'{{"created": {self.created}, "data": ['.encode()
        for index, picture in enumerate(self.pictures):
            yield b', {"b64_json": "' if index else b'{"b64_json": "'
            yield from _base64(picture)
            yield b'"}'
        yield b"], " + _members(self.about) + b"}"

    def events(self) -> Iterator[bytes]:
        """This answer as server-sent events in OpenAI's form, one for each picture."""
        for picture in self.pictures:
            yield from _event(f"{EVENTS[self.kind]}.completed", self.created, picture, self.about)


def partial_event(kind: str, created: int, picture: Path, index: int) -> Iterator[bytes]:
    """The server-sent event that shows the file `picture` as preview number `index` (from 0).
    `kind` is "edit" or "generation"; `created` is the time in seconds since 1970."""
    about = {"background": "opaque", "output_format": "png", "partial_image_index": index}
    yield from _event(f"{EVENTS[kind]}.partial_image", created, picture, about)


def _event(name: str, created: int, picture: Path, about: dict[str, Any]) -> Iterator[bytes]:
    head = {"type": name, "created_at": created, **UNKNOWN, **about}
    yield f"event: {name}\ndata: {{".encode() + _members(head) + b', "b64_json": "'
    yield from _base64(picture)
    yield b'"}\n\n'


def _base64(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield base64.b64encode(piece)


def _members(value: dict[str, Any]) -> bytes:
    """A dictionary as JSON bytes without the outer braces, so that more keys can follow."""
    return json.dumps(value)[1:-1].encode()


class Partials:
    """The previews of one call, sent before the finished pictures. `show` adds a picture file."""

    def __init__(self, kind: str) -> None:
        self.kind, self.count = kind, 0
        self.waiting: list[Path] = []
        self.arrival = asyncio.Event()

    def show(self, picture: Path) -> None:
        self.waiting.append(picture)
        self.arrival.set()

    def events(self) -> Iterator[bytes]:
        """The server-sent events for the previews that `show` added since the last call of this."""
        self.arrival.clear()
        while self.waiting:
            picture = self.waiting.pop(0)
            yield from partial_event(self.kind, int(time.time()), picture, self.count)
            self.count += 1


class AnswerResponse(Response):
    """An HTTP response that waits for `task` and sends its answer: as JSON, or if `stream` is true,
    as server-sent events that begin with the previews in `partials`. If the client disconnects,
    `task` is cancelled. At the end the folder `folder` is deleted, unless it is None."""

    def __init__(
        self,
        task: "asyncio.Task[CallAnswer]",
        partials: Partials,
        *,
        stream: bool,
        folder: Path | None,
    ) -> None:
        self.task, self.partials, self.stream, self.folder = task, partials, stream, folder
        self.status_code, self.background = 200, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disconnection = asyncio.create_task(_disconnect(receive))
        try:
            await self._pause(disconnection, EARLY_S if self.stream else PATIENCE_S)
            problem = _problem(self.task) if self.task.done() else None
            if problem is not None:
                await response(problem)(scope, receive, send)
            else:
                await self._send(disconnection, send)
        except _Disconnected:
            await Response(status_code=499)(scope, receive, send)  # for the log
        finally:
            disconnection.cancel()
            self.task.cancel()
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)

    async def _send(self, disconnection: "asyncio.Task[None]", send: Send) -> None:
        kind = "text/event-stream" if self.stream else "application/json"
        named = {**NO_STORE, "content-type": kind, "x-accel-buffering": "no"}
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self._pieces(disconnection):
            if disconnection.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, disconnection: "asyncio.Task[None]") -> AsyncIterator[bytes]:
        if self.stream:
            yield b": started\n\n"
        while not self.task.done():
            there = await self._pause(disconnection, HEARTBEAT_S)
            if self.stream and self.partials.waiting:
                for piece in self.partials.events():
                    yield piece
            elif not there:
                yield b": working\n\n" if self.stream else b" "
        problem = _problem(self.task)
        if problem is None:
            answer = self.task.result()
            for piece in answer.events() if self.stream else answer.plain():
                yield piece
        elif self.stream:
            yield f"event: error\ndata: {json.dumps(problem.body())}\n\n".encode()
        else:
            yield json.dumps(problem.body()).encode()

    async def _pause(self, disconnection: "asyncio.Task[None]", seconds: float) -> bool:
        """Wait up to `seconds` for the answer or a preview. Returns whether the answer is ready.
        Raises _Disconnected if `disconnection`, a task that waits for the client to disconnect,
        ends first."""
        arrival = asyncio.create_task(self.partials.arrival.wait())
        tasks = {self.task, disconnection, arrival}
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        if disconnection.done() and not self.task.done():
            raise _Disconnected
        return self.task.done()


class _Disconnected(Exception):
    """Raised when the client has disconnected before the answer is ready."""


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _problem(task: "asyncio.Task[CallAnswer]") -> Problem | None:
    """The error answer for a task that has ended; None if the task succeeded."""
    if task.cancelled():
        return Problem(499, "the client has disconnected", "client_left")
    exc = task.exception()
    if exc is None or isinstance(exc, Problem):
        return exc
    if isinstance(exc, VeraxError):
        return from_error(exc)
    context = {"message": "a call failed", "exception": exc}
    asyncio.get_running_loop().call_exception_handler(context)  # a bug: log it
    return unknown()
