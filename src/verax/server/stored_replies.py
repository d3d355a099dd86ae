"""Answers kept by idempotency key: the same request asked twice is answered, not paid, twice."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from verax.server.replies import Problem
from verax.store import Blobs, open_database

KEPT_S = 24 * 3600.0
MAX_KEY = 255
MIGRATIONS = (
    """
    CREATE TABLE replies (
        client TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, body TEXT NOT NULL,
        created REAL NOT NULL, PRIMARY KEY (client, key))
    """,
)
Body = dict[str, Any]


class StoredReplies:
    """Kept in one folder, for a day; two of the same under way share one run."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.connection = open_database(folder / "replies.sqlite", MIGRATIONS)
        self.bodies = Blobs(folder / "bodies")
        self.clock = clock
        self.under_way: dict[tuple[str, str], tuple[str, asyncio.Future[Body]]] = {}

    def close(self) -> None:
        self.connection.close()

    async def once(
        self, client: str, key: str, request: str, make: Callable[[], Awaitable[Body]]
    ) -> Body:
        """The stored body, or the one that `make` gives, which is stored. Errors are not kept.

        Raises Problem 409 when the key came with another request before.
        """
        if len(key) > MAX_KEY:
            raise Problem(
                400, f"idempotency-key: want at most {MAX_KEY} characters", "invalid_value"
            )
        stored = self._stored(client, key, request)
        if stored is not None:
            return stored
        running = self.under_way.get((client, key))
        if running is not None:
            _same(running[0], request)
            return await asyncio.shield(running[1])
        future: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda f: f.cancelled() or f.exception())  # always looked at
        self.under_way[client, key] = (request, future)
        try:
            body = await make()
        except BaseException as exc:
            future.set_exception(exc if isinstance(exc, Exception) else asyncio.CancelledError())
            raise
        else:
            self._store(client, key, request, body)
            future.set_result(body)
            return body
        finally:
            del self.under_way[client, key]

    def _stored(self, client: str, key: str, request: str) -> Body | None:
        query = "SELECT request, body FROM replies WHERE client = ? AND key = ? AND created > ?"
        oldest = self.clock() - KEPT_S
        row = self.connection.execute(query, (client, key, oldest)).fetchone()
        if row is None:
            return None
        _same(row["request"], request)
        body: Body = json.loads(self.bodies.get(row["body"]))
        return body

    def _store(self, client: str, key: str, request: str, body: Body) -> None:
        blob = self.bodies.put(json.dumps(body).encode())
        row = (client, key, request, blob, self.clock())
        self.connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)
        self._prune()

    def _prune(self) -> None:
        """Forget what is older than a day."""
        oldest = self.clock() - KEPT_S
        old = self.connection.execute("SELECT body FROM replies WHERE created <= ?", (oldest,))
        gone = [row[0] for row in old]
        self.connection.execute("DELETE FROM replies WHERE created <= ?", (oldest,))
        for blob in gone:
            query = "SELECT 1 FROM replies WHERE body = ?"
            if self.connection.execute(query, (blob,)).fetchone() is None:
                self.bodies.remove(blob)


def _same(stored: str, asked: str) -> None:
    if stored != asked:
        raise Problem(
            409, "this idempotency key came with another request before; use a new one",
            "idempotency_key_reused",
        )  # fmt: skip
