"""The HTTP routes of the OpenAI-compatible API (edits, generations, models), and stored answers.

A request repeated with the same idempotency key gets the same answer and is paid for once.
"""

import asyncio
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from starlette.requests import Request
from starlette.responses import Response

from verax.server import AnswerResponse, CallAnswer, Partials, Problem, json_response
from verax.server.access import ANYBODY, Account, ClientKeys, ServerLimits
from verax.server.api.intake import receive_body
from verax.server.api.service import ImagesService
from verax.store import open_database


async def models(request: Request) -> Response:
    """GET /v1/models: the models that requests may name."""
    context = context_of(request)
    context.client(request)
    return json_response({"object": "list", "data": context.service.models()})


async def model(request: Request) -> Response:
    """GET /v1/models/{name}: the description of one model."""
    context = context_of(request)
    context.client(request)
    return json_response(context.service.model(request.path_params["name"]))


async def edits(request: Request) -> Response:
    """POST /v1/images/edits: edit or restore pictures."""
    return await _pictures(request, "edit")


async def generations(request: Request) -> Response:
    """POST /v1/images/generations: generate pictures from a prompt."""
    return await _pictures(request, "generation")


async def _pictures(request: Request, kind: str) -> Response:
    """Answers a request for pictures. `kind` is "edit" or "generation"."""
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
    keyed = KeyedCall(client=client.name, key=key, request=call.sha256, folder=folder, make=make)
    task = asyncio.create_task(context.replies.once(keyed))
    return AnswerResponse(task, partials, stream=call.stream, folder=None)


LIFETIME_S = 24 * 3600.0
MOST = 1000  # most stored answers of a client; the oldest are deleted first
MAX_KEY = 255
MIGRATIONS = (
    """
    CREATE TABLE answers (
        client TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, folder TEXT NOT NULL,
        kind TEXT NOT NULL, about TEXT NOT NULL, pictures INTEGER NOT NULL, created REAL NOT NULL,
        PRIMARY KEY (client, key))
    """,
)
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedCall:
    """A request for pictures that has an idempotency key.

    Attributes:
        client: name of the client.
        key: the idempotency key.
        request: SHA-256 of everything that the answer depends on.
        folder: folder for the files of the work, which is deleted at the end.
        make: function that makes the answer.
    """

    client: str
    key: str
    request: str
    folder: Path
    make: Callable[[], Awaitable[CallAnswer]]

    @property
    def place(self) -> tuple[str, str]:
        """The database key of the stored answer: (client, idempotency key)."""
        return self.client, self.key


@dataclass(slots=True)
class SharedRun:
    """An answer that is being made, and that several requests with the same idempotency key get.

    Attributes:
        request: SHA-256 of everything that the answer depends on.
        task: makes the answer.
        waiting: number of requests that wait for the task.
    """

    request: str
    task: "asyncio.Task[CallAnswer]"
    waiting: int = 0


class AnswerCache:
    """Stores the answers of the last 24 hours, by client and idempotency key, in an SQLite file.

    Requests with the same key at the same time share one answer. All SQL runs in one extra thread.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.clock = folder, clock
        self.connection = open_database(folder / "answers.sqlite", MIGRATIONS)
        self.thread = ThreadPoolExecutor(1)
        self.under_way: dict[tuple[str, str], SharedRun] = {}

    def close(self) -> None:
        self.thread.shutdown(wait=True)
        self.connection.close()

    async def once(self, call: KeyedCall) -> CallAnswer:
        """Returns the stored answer to a request. If there is none, makes the answer and stores it.

        If all clients that wait disconnect, the work on the answer is cancelled. Errors are not
        stored. Raises Problem 409 if the key was used for another request before.
        """
        mine = True  # whether to delete the folder here
        try:
            if len(call.key) > MAX_KEY:
                text = (
                    f"idempotency-key: expected at most {MAX_KEY} characters, got {len(call.key)}; "
                    "use a shorter one"
                )
                raise Problem(400, text, "invalid_value")
            stored = await self._apart(self._read, call)
            if stored is not None:
                return stored
            shared = self.under_way.get(call.place)
            if shared is None:
                mine = False
                shared = SharedRun(call.request, asyncio.create_task(self._make(call)))
                self.under_way[call.place] = shared
                shared.task.add_done_callback(lambda _: self._forget(call, shared))
            _same(shared.request, call.request)
            return await self._wait(call, shared)
        finally:
            if mine:
                shutil.rmtree(call.folder, ignore_errors=True)

    async def _wait(self, call: KeyedCall, shared: SharedRun) -> CallAnswer:
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if shared.waiting == 0:
                self._forget(call, shared)
                shared.task.cancel()  # has no effect if the task has ended

    def _forget(self, call: KeyedCall, shared: SharedRun) -> None:
        if self.under_way.get(call.place) is shared:
            del self.under_way[call.place]

    async def _make(self, call: KeyedCall) -> CallAnswer:
        """Makes and stores the answer to a request; deletes the request's folder at the end."""
        try:
            answer = await call.make()
            storing = asyncio.ensure_future(self._apart(self._store, call, answer))
            try:
                return await asyncio.shield(storing)
            finally:
                await asyncio.wait({storing})  # before the folder is deleted
        finally:
            shutil.rmtree(call.folder, ignore_errors=True)

    async def _apart(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    def _read(self, call: KeyedCall) -> CallAnswer | None:
        query = "SELECT * FROM answers WHERE client = ? AND key = ? AND created > ?"
        oldest = self.clock() - LIFETIME_S
        row = self.connection.execute(query, (*call.place, oldest)).fetchone()
        if row is None:
            return None
        _same(row["request"], call.request)
        pictures = tuple(self.folder / row["folder"] / str(i) for i in range(row["pictures"]))
        about: dict[str, Any] = json.loads(row["about"])
        return CallAnswer(row["kind"], int(row["created"]), pictures, about)

    def _store(self, call: KeyedCall, answer: CallAnswer) -> CallAnswer:
        self._prune(call.client)
        place = self.folder / secrets.token_hex(12)
        place.mkdir(mode=0o700)
        for index, picture in enumerate(answer.pictures):
            picture.rename(place / str(index))
        row = (
            *call.place, call.request, place.name, answer.kind, json.dumps(answer.about),
            len(answer.pictures), self.clock(),
        )  # fmt: skip
        self.connection.execute("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?)", row)
        stored = self._read(call)
        return answer if stored is None else stored

    def _prune(self, client: str) -> None:
        """Delete all answers older than 24 hours, and those of `client` except the newest 1000."""
        query = """
            SELECT client, key, folder FROM answers WHERE created <= ? UNION
            SELECT * FROM (SELECT client, key, folder FROM answers WHERE client = ?
                           ORDER BY created DESC LIMIT -1 OFFSET ?)
            """
        old = self.connection.execute(query, (self.clock() - LIFETIME_S, client, MOST)).fetchall()
        for row in old:
            remove = "DELETE FROM answers WHERE client = ? AND key = ?"
            self.connection.execute(remove, (row["client"], row["key"]))
            shutil.rmtree(self.folder / row["folder"], ignore_errors=True)


def _same(stored: str, request: str) -> None:
    if stored != request:
        raise Problem(
            409, "idempotency-key: this key was used for another request; send a new key",
            "idempotency_key_reused",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """The objects that all routes of a running server share.

    Attributes:
        service: makes the answers.
        clients: the clients and their keys.
        replies: stored answers by idempotency key.
        incoming: folder for the files of calls in progress.
        results: folder of the page's history, with a folder for each client.
        guarded: whether every request needs a key, even if the server has no clients.
    """

    service: ImagesService
    clients: ClientKeys
    replies: AnswerCache
    limits: ServerLimits
    incoming: Path
    results: Path
    guarded: bool = False

    def client(self, request: Request) -> Account:
        """The client that sent a request, named "local" if the server needs no keys.

        Raises Problem 401 if the server needs a key and the request has no valid one.
        """
        if not self.guarded and not self.clients.names():
            return ANYBODY
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        account = self.clients.client(key.strip()) if scheme.lower() == "bearer" else None
        if account is None:
            raise Problem(
                401,
                "expected a valid key of this server in the header Authorization: Bearer KEY; the "
                "operator makes keys with: verax serve-key add NAME",
                "invalid_api_key",
                kind="authentication_error",
                headers={"www-authenticate": "Bearer"},
            )
        return account


def context_of(request: Request) -> Context:
    """The shared objects of the server that received a request."""
    context: Context = request.app.state.context
    return context
