"""Responses: pictures stay files until their bytes are sent.

A slow answer keeps its connection busy: a stream gets comments, a plain answer leading white space,
which JSON allows. A plain answer that has started that way has status 200; an error then stands in
the body, in the usual shape.
"""

import asyncio
import base64
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from verax.errors import VeraxError
from verax.server.problems import Problem, from_error, response, unknown

HEARTBEAT_S = 10.0
PATIENCE_S = 15.0  # a plain answer starts with white space when it takes longer
EARLY_S = 0.25  # a stream starts after so long; what is refused at once has a status of its own
CHUNK = 3 << 16  # bytes of a picture sent at a time; a multiple of three needs no padding
EVENTS = {"edit": "image_edit", "generation": "image_generation"}
UNKNOWN = {"size": "auto", "quality": "auto"}  # events must have both; see `verax.size`
HEADERS = (
    (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """The answer to a call.

    Attributes:
        kind: "edit" or "generation".
        pictures: files.
        about: the keys of the official response beside `created` and `data`, and our own `verax`.
    """

    kind: str
    created: int
    pictures: tuple[Path, ...]
    about: dict[str, Any]

    def plain(self) -> Iterator[bytes]:
        """The official response, in pieces."""
        yield f'{{"created": {self.created}, "data": ['.encode()
        for index, picture in enumerate(self.pictures):
            yield b', {"b64_json": "' if index else b'{"b64_json": "'
            yield from _base64(picture)
            yield b'"}'
        yield b"], " + _members(self.about) + b"}"

    def events(self) -> Iterator[bytes]:
        """The official events, one per picture, in pieces."""
        name = f"{EVENTS[self.kind]}.completed"
        for picture in self.pictures:
            head = {"type": name, "created_at": self.created, **UNKNOWN, **self.about}
            yield f"event: {name}\ndata: {{".encode() + _members(head) + b', "b64_json": "'
            yield from _base64(picture)
            yield b'"}\n\n'


def partial_event(kind: str, created: int, picture: Path, index: int) -> Iterator[bytes]:
    """The official event of a partial picture, in pieces."""
    name = f"{EVENTS[kind]}.partial_image"
    head = {"type": name, "created_at": created, **UNKNOWN, "background": "opaque",
            "output_format": "png", "partial_image_index": index}  # fmt: skip
    yield f"event: {name}\ndata: {{".encode() + _members(head) + b', "b64_json": "'
    yield from _base64(picture)
    yield b'"}\n\n'


def _base64(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield base64.b64encode(piece)


def _members(value: dict[str, Any]) -> bytes:
    """The inside of a JSON object."""
    return json.dumps(value)[1:-1].encode()


class Partials:
    """Pictures to show before the answer is complete."""

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
    """The answer that a task makes, as JSON or as events; the task is cancelled when the client
    leaves. `folder` is removed at the end, however that comes. `partials` are shown in a stream."""

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
        gone = asyncio.create_task(_gone(receive))
        try:
            await self._pause(gone, EARLY_S if self.stream else PATIENCE_S)
            problem = _problem(self.task) if self.task.done() else None
            if problem is not None:
                await response(problem)(scope, receive, send)
            else:
                await self._send(gone, send)
        except _ClientGone:
            await Response(status_code=499)(scope, receive, send)  # for the log
        finally:
            gone.cancel()
            self.task.cancel()
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)

    async def _send(self, gone: "asyncio.Task[None]", send: Send) -> None:
        kind = b"text/event-stream" if self.stream else b"application/json"
        headers = [(b"content-type", kind), *HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self._pieces(gone):
            if gone.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, gone: "asyncio.Task[None]") -> AsyncIterator[bytes]:
        if self.stream:
            yield b": started\n\n"
        while not self.task.done():
            there = await self._pause(gone, HEARTBEAT_S)
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

    async def _pause(self, gone: "asyncio.Task[None]", seconds: float) -> bool:
        """Wait at most so many seconds; whether the answer is there."""
        shown = asyncio.create_task(self.partials.arrival.wait())
        waited = {self.task, gone, shown}
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        shown.cancel()
        if gone.done() and not self.task.done():
            raise _ClientGone
        return self.task.done()


class _ClientGone(Exception):
    """The client has disconnected."""


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _problem(task: "asyncio.Task[CallAnswer]") -> Problem | None:
    """Why there is no answer; None where there is one."""
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
