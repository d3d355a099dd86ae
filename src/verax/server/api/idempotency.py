"""Answers by idempotency key: the same request twice is answered twice and paid once."""

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from verax.server.api.responses import CallAnswer
from verax.server.problems import Problem
from verax.store import open_database

LIFETIME_S = 24 * 3600.0
MOST = 1000  # answers of one client; the oldest go first
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
Given = TypeVarTuple("Given")


@dataclass(slots=True)
class SharedRun:
    """A run for one key, and how many requests wait for it."""

    request: str
    task: "asyncio.Task[CallAnswer]"
    waiting: int = 0


class AnswerCache:
    """Answers of one day in one folder; equal requests at the same time share one run.

    The database is written, and synced, in a thread of its own.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.clock = folder, clock
        self.connection = open_database(folder / "answers.sqlite", MIGRATIONS)
        self.thread = ThreadPoolExecutor(1)
        self.under_way: dict[tuple[str, str], SharedRun] = {}

    def close(self) -> None:
        self.thread.shutdown(wait=True)
        self.connection.close()

    async def once(
        self,
        client: str,
        key: str,
        request: str,
        make: Callable[[], Awaitable[CallAnswer]],
        folder: Path,
    ) -> CallAnswer:
        """The stored answer, or the one that `make` gives, which is stored. Errors are not kept.

        `folder` is what `make` works in; it is removed when nobody needs it any more. When
        everybody who waits for an answer has left, its making is cancelled. Raises Problem 409
        when the key came with another request before.
        """
        try:
            if len(key) > MAX_KEY:
                raise Problem(
                    400, f"idempotency-key: want at most {MAX_KEY} characters", "invalid_value"
                )
            stored = await self._apart(self._read, client, key, request)
            if stored is not None:
                return stored
            shared = self.under_way.get((client, key))
            if shared is None:
                making, folder = self._make(client, key, request, make, folder), Path()
                shared = SharedRun(request, asyncio.create_task(making))
                self.under_way[client, key] = shared
                shared.task.add_done_callback(lambda _: self._forget(client, key, shared))
            _same(shared.request, request)
            return await self._wait(client, key, shared)
        finally:
            if folder.name:
                shutil.rmtree(folder, ignore_errors=True)

    async def _wait(self, client: str, key: str, shared: SharedRun) -> CallAnswer:
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if shared.waiting == 0:
                self._forget(client, key, shared)
                shared.task.cancel()  # of no effect on what is done

    def _forget(self, client: str, key: str, shared: SharedRun) -> None:
        if self.under_way.get((client, key)) is shared:
            del self.under_way[client, key]

    async def _make(
        self,
        client: str,
        key: str,
        request: str,
        make: Callable[[], Awaitable[CallAnswer]],
        folder: Path,
    ) -> CallAnswer:
        try:
            answer = await make()
            storing = asyncio.ensure_future(self._apart(self._store, client, key, request, answer))
            try:
                return await asyncio.shield(storing)
            finally:
                await asyncio.wait({storing})  # it needs the folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _apart(self, function: Callable[[*Given], T], *arguments: *Given) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    def _read(self, client: str, key: str, request: str) -> CallAnswer | None:
        query = "SELECT * FROM answers WHERE client = ? AND key = ? AND created > ?"
        oldest = self.clock() - LIFETIME_S
        row = self.connection.execute(query, (client, key, oldest)).fetchone()
        if row is None:
            return None
        _same(row["request"], request)
        pictures = tuple(self.folder / row["folder"] / str(i) for i in range(row["pictures"]))
        about: dict[str, Any] = json.loads(row["about"])
        return CallAnswer(row["kind"], int(row["created"]), pictures, about)

    def _store(self, client: str, key: str, request: str, answer: CallAnswer) -> CallAnswer:
        self._prune(client)
        place = self.folder / secrets.token_hex(12)
        place.mkdir(mode=0o700)
        for index, picture in enumerate(answer.pictures):
            picture.rename(place / str(index))
        row = (
            client, key, request, place.name, answer.kind, json.dumps(answer.about),
            len(answer.pictures), self.clock(),
        )  # fmt: skip
        self.connection.execute("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?)", row)
        stored = self._read(client, key, request)
        return answer if stored is None else stored

    def _prune(self, client: str) -> None:
        """Delete answers that are older than a day, and the oldest beyond the limit of a client."""
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
            409, "this idempotency key came with another request before; use a new one",
            "idempotency_key_reused",
        )  # fmt: skip
