"""The server: Images API (`api`), web page (`page`, `pages`). Here: its answers, JSON and pictures.

Pictures stay files until their bytes are sent. A slow answer keeps its connection busy: a stream
gets comments, a plain answer leading white space, which JSON allows. A plain answer that has
started that way has status 200; an error is then in the body, in the usual shape.
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
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: what was expected, what was found, what to do.
        code: a short word for programs, or None.
        param: the request field at fault, or None.
        kind: the `type` of OpenAI's shape.
        headers: further headers, such as Retry-After.
        more: further keys of the error object, such as the moderation stage.
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
        self.kind = kind
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle support with keyword arguments, for errors from worker processes."""
        again = partial(Problem, kind=self.kind, headers=self.headers, more=self.more)
        return again, (self.status, self.message, self.code, self.param)

    def body(self) -> dict[str, object]:
        """The JSON body; OpenAI's four keys are always there."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
            **self.more,
        }
        return {"error": error}


def response(problem: Problem) -> Response:
    """The HTTP response of a problem."""
    return json_response(problem.body(), status=problem.status, headers=problem.headers)


def json_response(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON response with headers against caching and content sniffing."""
    data = json.dumps(value).encode()
    return Response(data, status, {**NO_STORE, **(headers or {})}, "application/json")


def from_error(exc: VeraxError) -> Problem:
    """Verax's errors as answers; refusals keep their stage and categories."""
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
    """Generic 500 for an unexpected error; reveals no details."""
    return Problem(500, "the server failed; see its log", "server_error", kind="server_error")


HEARTBEAT_S = 10.0
PATIENCE_S = 15.0  # a plain answer starts with white space when it takes longer
EARLY_S = 0.25  # a stream starts after so long; what is refused at once has a status of its own
CHUNK = 3 << 16  # bytes of a picture sent at a time; a multiple of three needs no padding
EVENTS = {"edit": "image_edit", "generation": "image_generation"}
UNKNOWN = {"size": "auto", "quality": "auto"}  # events must have both; see `verax.size`


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """The answer to a call.

    Attributes:
        kind: "edit" or "generation".
        pictures: files.
        about: the keys of OpenAI's response beside `created` and `data`, and our own `verax`.
    """

    kind: str
    created: int
    pictures: tuple[Path, ...]
    about: dict[str, Any]

    def plain(self) -> Iterator[bytes]:
        """The response in OpenAI's shape, in chunks of bytes."""
        yield f'{{"created": {self.created}, "data": ['.encode()
        for index, picture in enumerate(self.pictures):
            yield b', {"b64_json": "' if index else b'{"b64_json": "'
            yield from _base64(picture)
            yield b'"}'
        yield b"], " + _members(self.about) + b"}"

    def events(self) -> Iterator[bytes]:
        """OpenAI's events, one per picture, in chunks of bytes."""
        for picture in self.pictures:
            yield from _event(f"{EVENTS[self.kind]}.completed", self.created, picture, self.about)


def partial_event(kind: str, created: int, picture: Path, index: int) -> Iterator[bytes]:
    """OpenAI's event of a partial picture, in chunks of bytes."""
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
    """The members of a JSON object, without its braces."""
    return json.dumps(value)[1:-1].encode()


class Partials:
    """Partial images: sent in a stream before the answer is complete."""

    def __init__(self, kind: str) -> None:
        self.kind, self.count = kind, 0
        self.waiting: list[Path] = []
        self.arrival = asyncio.Event()

    def show(self, picture: Path) -> None:
        self.waiting.append(picture)
        self.arrival.set()

    def events(self) -> Iterator[bytes]:
        """The events of the pictures that are new since the last call."""
        self.arrival.clear()
        while self.waiting:
            picture = self.waiting.pop(0)
            yield from partial_event(self.kind, int(time.time()), picture, self.count)
            self.count += 1


class AnswerResponse(Response):
    """The result of a task as JSON or as events. The task is cancelled when the client disconnects;
    `folder` is removed at the end in any case; `partials` are sent in a stream."""

    def __init__(
        self,
        task: "asyncio.Task[CallAnswer]",
        partials: "Partials",
        *,
        stream: bool,
        folder: Path | None,
    ) -> None:
        self.task, self.partials, self.stream, self.folder = task, partials, stream, folder
        self.status_code, self.background = 200, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        departure = asyncio.create_task(_disconnect(receive))
        try:
            await self._pause(departure, EARLY_S if self.stream else PATIENCE_S)
            problem = _problem(self.task) if self.task.done() else None
            if problem is not None:
                await response(problem)(scope, receive, send)
            else:
                await self._send(departure, send)
        except _Disconnected:
            await Response(status_code=499)(scope, receive, send)  # for the log
        finally:
            departure.cancel()
            self.task.cancel()
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)

    async def _send(self, departure: "asyncio.Task[None]", send: Send) -> None:
        kind = "text/event-stream" if self.stream else "application/json"
        named = {**NO_STORE, "content-type": kind, "x-accel-buffering": "no"}
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self._pieces(departure):
            if departure.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, departure: "asyncio.Task[None]") -> AsyncIterator[bytes]:
        if self.stream:
            yield b": started\n\n"
        while not self.task.done():
            there = await self._pause(departure, HEARTBEAT_S)
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

    async def _pause(self, departure: "asyncio.Task[None]", seconds: float) -> bool:
        """Wait at most so many seconds. Returns whether the answer is ready."""
        arrival = asyncio.create_task(self.partials.arrival.wait())
        tasks = {self.task, departure, arrival}
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        if departure.done() and not self.task.done():
            raise _Disconnected
        return self.task.done()


class _Disconnected(Exception):
    """The client has disconnected."""


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _problem(task: "asyncio.Task[CallAnswer]") -> Problem | None:
    """The problem of a failed task; None if it succeeded."""
    if task.cancelled():
        return Problem(499, "the client left", "client_left")
    exc = task.exception()
    if exc is None or isinstance(exc, Problem):
        return exc
    if isinstance(exc, VeraxError):
        return from_error(exc)
    context = {"message": "a call failed", "exception": exc}
    asyncio.get_running_loop().call_exception_handler(context)  # a bug: goes to the log
    return unknown()
