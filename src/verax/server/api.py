"""The OpenAI-compatible routes: edits, generations, models."""

import asyncio
import shutil
import tempfile
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from verax.server.answers import Partials, Told
from verax.server.bodies import received
from verax.server.context import context_of
from verax.server.replies import json_response


async def models(request: Request) -> Response:
    """GET /v1/models."""
    context = context_of(request)
    context.client(request)
    return json_response({"object": "list", "data": context.service.models()})


async def model(request: Request) -> Response:
    """GET /v1/models/{name}."""
    context = context_of(request)
    context.client(request)
    return json_response(context.service.model(request.path_params["name"]))


async def edits(request: Request) -> Response:
    """POST /v1/images/edits."""
    return await _pictures(request, "edit")


async def generations(request: Request) -> Response:
    """POST /v1/images/generations."""
    return await _pictures(request, "generation")


async def _pictures(request: Request, kind: str) -> Response:
    context = context_of(request)
    client, service = context.client(request), context.service
    folder = Path(tempfile.mkdtemp(dir=context.incoming))
    try:
        call = await service.read(client, await received(request, kind, folder, context.limits))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    partials = Partials(kind)
    make = partial(service.answer, client, call, folder, partials.show)
    key = request.headers.get("idempotency-key")
    if key is None:
        return Told(asyncio.create_task(make()), partials, stream=call.stream, folder=folder)
    kept = context.replies.once(client.name, key, call.sha256, make, folder)
    return Told(asyncio.create_task(kept), partials, stream=call.stream, folder=None)
