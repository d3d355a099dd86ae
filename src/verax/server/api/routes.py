"""The OpenAI-compatible routes: edits, generations, models; and what every route shares."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from verax.server.api.idempotency import AnswerCache
from verax.server.api.intake import receive_body
from verax.server.api.responses import AnswerResponse, Partials
from verax.server.api.service import ImagesService
from verax.server.door import ServerLimits
from verax.server.keys import ANYBODY, Account, ClientKeys
from verax.server.problems import Problem, json_response


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
        call = await service.read(client, await receive_body(request, kind, folder, context.limits))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    partials = Partials(kind)
    make = partial(service.answer, client, call, folder, partials.show)
    key = request.headers.get("idempotency-key")
    if key is None:
        return AnswerResponse(
            asyncio.create_task(make()), partials, stream=call.stream, folder=folder
        )
    once = context.replies.once(client.name, key, call.sha256, make, folder)
    return AnswerResponse(asyncio.create_task(once), partials, stream=call.stream, folder=None)


@dataclass(frozen=True, slots=True)
class Context:
    """One running server.

    Attributes:
        incoming: folder for the files of calls under way.
        results: folder of the page's history, one folder per client in it.
        guarded: a key is needed even when none is configured any more.
    """

    service: ImagesService
    clients: ClientKeys
    replies: AnswerCache
    limits: ServerLimits
    incoming: Path
    results: Path
    guarded: bool = False

    def client(self, request: Request) -> Account:
        """The account of a request. Without configured keys everybody on this machine is served.

        Raises Problem 401 where a key is needed and there is no valid one.
        """
        if not self.guarded and not self.clients.names():
            return ANYBODY
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        account = self.clients.client(key.strip()) if scheme.lower() == "bearer" else None
        if account is None:
            raise Problem(
                401,
                "want a key of this server: Authorization: Bearer KEY; see verax serve-key",
                "invalid_api_key",
                kind="authentication_error",
                headers={"www-authenticate": "Bearer"},
            )
        return account


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
