"""The OpenAI-compatible routes: edits, generations, models.

An answer that takes long keeps its line busy: a stream gets comments, a plain answer leading white
space, which JSON allows. Plain answers that started that way have status 200; an error is then
told in the body, in the usual shape.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from verax.errors import VeraxError
from verax.server.calls import Call, read_call
from verax.server.context import Context, context_of
from verax.server.images_service import Answer, remove
from verax.server.keys import Client
from verax.server.replies import Problem, from_error, json_response

HEARTBEAT_S = 10.0
PATIENCE_S = 15.0  # a plain answer starts with white space when it takes longer
EVENTS = {"edit": "image_edit", "generation": "image_generation"}


async def models(request: Request) -> Response:
    """GET /v1/models."""
    context = context_of(request)
    context.client(request)
    return json_response({"object": "list", "data": context.service.models()})


async def edits(request: Request) -> Response:
    """POST /v1/images/edits."""
    return await _pictures(request, "edit")


async def generations(request: Request) -> Response:
    """POST /v1/images/generations."""
    return await _pictures(request, "generation")


async def _pictures(request: Request, kind: str) -> Response:
    context = context_of(request)
    client = context.client(request)
    folder = Path(tempfile.mkdtemp(dir=context.incoming))
    try:
        call = await read_call(request, kind, folder, context.limits)
        context.service.check(call)
        task = asyncio.create_task(
            _kept(context, client, request.headers.get("idempotency-key"), call, folder)
        )
    except BaseException:
        remove(folder)
        raise
    task.add_done_callback(lambda _: remove(folder))
    if call.stream:
        return StreamingResponse(
            _events(task, EVENTS[kind]), media_type="text/event-stream", headers=_plain_headers()
        )
    return await _patient(request, task)


async def _kept(
    context: Context, client: Client, key: str | None, call: Call, folder: Path
) -> dict[str, Any]:
    """The answer's body; with an idempotency key, the stored one where there is one."""

    async def make() -> dict[str, Any]:
        answer: Answer = await context.service.answer(client, call, folder)
        return answer.body()

    if key is None:
        return await make()
    return await context.replies.once(client.name, key, call.sha256, make)


async def _patient(request: Request, task: "asyncio.Task[Any]") -> Response:
    """The answer as JSON; the job is dropped when the client leaves."""
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return json_response(task.result())
        if gone.done():
            task.cancel()
            return Response(status_code=499)
    finally:
        gone.cancel()
    return StreamingResponse(_padded(task), media_type="application/json", headers=_plain_headers())


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _padded(task: "asyncio.Task[Any]") -> AsyncIterator[bytes]:
    """White space until the answer is there."""
    try:
        while not task.done():
            yield b" "
            await asyncio.wait({task}, timeout=HEARTBEAT_S)
        yield json.dumps(_result(task)).encode()
    finally:
        task.cancel()


async def _events(task: "asyncio.Task[Any]", name: str) -> AsyncIterator[bytes]:
    """Server-sent events: comments until the answer is there, then the completed events."""
    try:
        yield b": started\n\n"
        while not task.done():
            await asyncio.wait({task}, timeout=HEARTBEAT_S)
            if not task.done():
                yield b": working\n\n"
        body = _result(task)
        if "error" in body:
            yield _event("error", body)
            return
        for picture in body["data"]:
            yield _event(f"{name}.completed", _completed(f"{name}.completed", body, picture))
    finally:
        task.cancel()


def _completed(kind: str, body: dict[str, Any], picture: dict[str, Any]) -> dict[str, Any]:
    about = {k: v for k, v in body.items() if k not in ("data", "created")}
    return {"type": kind, "created_at": body["created"], **picture, **about}


def _event(kind: str, value: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()


def _result(task: "asyncio.Task[Any]") -> dict[str, Any]:
    """The body of a finished task, or that of its error."""
    try:
        body: dict[str, Any] = task.result()
    except Problem as problem:
        return problem.body()
    except VeraxError as exc:
        return from_error(exc).body()
    except (Exception, asyncio.CancelledError):  # noqa: BLE001  # whatever it was, say so
        return Problem(
            500, "the server could not finish this", "server_error", kind="server_error"
        ).body()
    return body


def _plain_headers() -> dict[str, str]:
    return {"cache-control": "no-store", "x-content-type-options": "nosniff",
            "x-accel-buffering": "no"}  # fmt: skip
