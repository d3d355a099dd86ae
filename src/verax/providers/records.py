"""The journal's database table, with one record for every paid call."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from verax.catalog.models import Price
from verax.providers import Usage
from verax.store import open_database, transaction, writing

CallState = Literal["started", "batched", "done", "unusable", "uncertain", "refused", "failed"]
STATES: tuple[CallState, ...] = get_args(CallState)

MIGRATIONS = [
    """
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        run TEXT NOT NULL,
        state TEXT NOT NULL,
        owner TEXT NOT NULL,
        kind TEXT NOT NULL,
        gateway TEXT NOT NULL,
        model TEXT NOT NULL,
        request TEXT NOT NULL,
        started REAL NOT NULL,
        ended REAL,
        price TEXT,
        reserved_usd REAL,
        cost_usd REAL,
        usage TEXT,
        request_id TEXT NOT NULL DEFAULT '',
        retries INTEGER NOT NULL DEFAULT 0,
        stage TEXT NOT NULL DEFAULT '',
        categories TEXT NOT NULL DEFAULT '[]',
        message TEXT NOT NULL DEFAULT '',
        counted_usd REAL AS (CASE
            WHEN state = 'failed' OR state = 'refused' AND stage = 'input' THEN 0.0
            WHEN state IN ('done', 'unusable') THEN coalesce(cost_usd, reserved_usd, 0.0)
            ELSE coalesce(reserved_usd, 0.0) END)
    );
    CREATE UNIQUE INDEX one_call_per_request ON calls (fingerprint)
        WHERE state IN ('started', 'batched', 'done', 'unusable');
    CREATE INDEX calls_by_fingerprint ON calls (fingerprint, id);
    CREATE INDEX calls_by_run ON calls (run, id);
    CREATE INDEX calls_by_owner ON calls (owner);
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        address TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        created REAL NOT NULL,
        ended REAL,
        input_file TEXT NOT NULL DEFAULT '',
        service_id TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL,
        message TEXT NOT NULL DEFAULT ''
    );
    CREATE TABLE uploads (
        address TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        file_id TEXT NOT NULL,
        PRIMARY KEY (address, sha256)
    )
    """,
    "ALTER TABLE calls ADD COLUMN least_usd REAL",
]


@dataclass(frozen=True, slots=True)
class Call:
    """The journal's record of one paid call. Times are seconds since 1970, amounts US dollars.

    Attributes:
        fingerprint: SHA-256 that identifies the request.
        run: name of the run, the group of calls that share a cost limit.
        state: "started" (in progress), "batched" (in a batch), "done" (answer stored), "unusable"
            (answer stored, but no picture in it can be read), "uncertain" (no answer, perhaps
            billed), "refused" (by moderation), or "failed" (the service did not start the call).
        owner: unique name of the process that made the call, or the name of its batch.
        kind: "generate" or "edit".
        gateway: name of the service, followed by its address and deployment if the user gave them.
        request: what `describe()` of the request returned, with hashes in place of pictures.
        ended: None while the call is in progress.
        price: price per million tokens when the call was made, None if unknown.
        reserved_usd, least_usd: the most and the least that the call can cost, None if unknown.
        cost_usd: what the call cost, None if unknown.
        usage: token counts of the answer, None if unknown.
        request_id: the service's id of the call, "" if unknown.
        retries: how many attempts to send the request failed before the answer came.
        stage: what moderation refused: "input", "output" or "unknown"; "" if it refused nothing.
        categories: why moderation refused it, such as "violence".
        message: why the state is not "done", or which pictures are missing.
        counted_usd: the amount that counts towards the run's limit: `cost_usd`, or `reserved_usd`
            if the cost is unknown; 0 if certainly nothing was billed.
    """

    id: int
    fingerprint: str
    run: str
    state: CallState
    owner: str
    kind: str
    gateway: str
    model: str
    request: dict[str, Any]
    started: float
    ended: float | None
    price: Price | None
    reserved_usd: float | None
    cost_usd: float | None
    usage: Usage | None
    request_id: str
    retries: int
    stage: str
    categories: tuple[str, ...]
    message: str
    counted_usd: float
    least_usd: float | None


@dataclass(frozen=True, slots=True)
class RunCost:
    """The cost of a run, a group of calls that share a cost limit, in US dollars.

    Attributes:
        billed_usd: sum of the known costs.
        possibly_usd: the most that calls with unknown cost may cost, without those in progress.
        under_way_usd: the most that calls in progress may cost.
    """

    billed_usd: float
    possibly_usd: float
    under_way_usd: float

    @property
    def most_usd(self) -> float:
        return self.billed_usd + self.possibly_usd + self.under_way_usd


class Records:
    """The journal's records of calls in the database file `path`, which is created if missing, and
    which many threads and processes may use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.database = open_database(path, MIGRATIONS)

    def close(self) -> None:
        self.database.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Run a `with` block as one transaction, during which no other process or thread writes."""
        with self.lock, writing(self.path), transaction(self.database):
            yield

    def begin(self, state: CallState, **values: Any) -> Call:  # noqa: ANN401  # columns of the table
        """Insert a record, and return it. `values` are fields of `Call`, given as name=value. To be
        called within `change`."""
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        sql = f"INSERT INTO calls (state, {names}) VALUES (:state, {marks})"
        new = self.database.execute(sql, _to_columns(values) | {"state": state}).lastrowid
        return self._select("WHERE id = ?", (new,))[0]

    def finish(self, call_id: int, state: CallState, **values: Any) -> None:  # noqa: ANN401
        """Set the final state of a call, and other fields of its `Call`, given as name=value."""
        changes = "".join(f", {name} = :{name}" for name in values)
        sql = f"UPDATE calls SET state = :state{changes} WHERE id = :id"
        with self.lock, writing(self.path):
            self.database.execute(sql, _to_columns(values) | {"state": state, "id": call_id})

    def last(self, fingerprint: str) -> Call | None:
        """The newest record of the request with this fingerprint whose state is not "failed"; None
        if there is none."""
        rows = self._select(
            "WHERE fingerprint = ? AND state != 'failed' ORDER BY id DESC LIMIT 1", (fingerprint,)
        )
        return rows[0] if rows else None

    def newest(self, fingerprint: str) -> Call | None:
        """The newest record of the request with this fingerprint; None if there is none."""
        rows = self._select("WHERE fingerprint = ? ORDER BY id DESC LIMIT 1", (fingerprint,))
        return rows[0] if rows else None

    def select(
        self,
        *,
        states: Sequence[str] = STATES,
        run: str | None = None,
        owner: str | None = None,
        before: float = float("inf"),
    ) -> list[Call]:
        """The records, oldest first, of calls that are in one of the `states`, belong to `run` and
        `owner` (None: to any), and started before the time `before` (seconds since 1970)."""
        marks = ", ".join("?" * len(states))
        return self._select(
            f"WHERE state IN ({marks}) AND (? IS NULL OR run = ?)"
            " AND (? IS NULL OR owner = ?) AND started < ? ORDER BY id",
            (*states, run, run, owner, owner, before),
        )

    def cost(self, run: str) -> RunCost:
        """The cost of all calls of the run with this name."""
        return self._cost("run = ?", run)

    def cost_by_prefix(self, prefix: str) -> RunCost:
        """The cost of all calls of the runs whose names start with `prefix`."""
        return self._cost("substr(run, 1, length(?1)) = ?1", prefix)

    def _cost(self, which: str, value: str) -> RunCost:
        sums = f"""SELECT
            sum(counted_usd) FILTER (WHERE cost_usd IS NOT NULL),
            sum(counted_usd) FILTER (WHERE state != 'started' AND cost_usd IS NULL),
            sum(counted_usd) FILTER (WHERE state = 'started') FROM calls WHERE {which}"""
        with self.lock:
            row = self.database.execute(sums, (value,)).fetchone()
        return RunCost(*(value or 0.0 for value in row))

    def delete(self, call: Call) -> bool:
        """Delete a call's record, unless its state has changed since `call` was read. Returns
        whether it was deleted. To be called within `change`."""
        done = self.database.execute(
            "DELETE FROM calls WHERE id = ? AND state = ?", (call.id, call.state)
        )
        return done.rowcount == 1

    def _select(self, tail: str, values: Sequence[Any]) -> list[Call]:
        with self.lock:
            rows = self.database.execute(f"SELECT {_COLUMNS} FROM calls {tail}", values).fetchall()
        return [_call(row) for row in rows]


_COLUMNS = ", ".join(f.name for f in fields(Call))


def _to_columns(values: dict[str, Any]) -> dict[str, Any]:
    """Column name -> value that SQLite can store: objects and tuples become JSON texts."""

    def one(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, (Usage, Price)):
            return json.dumps(asdict(value))
        return json.dumps(value) if isinstance(value, (dict, tuple)) else value

    return {name: one(value) for name, value in values.items()}


def _call(row: sqlite3.Row) -> Call:
    values = dict(row)
    values["request"] = json.loads(row["request"])
    values["categories"] = tuple(json.loads(row["categories"]))
    values["usage"] = row["usage"] and Usage(**json.loads(row["usage"]))
    values["price"] = row["price"] and Price(**json.loads(row["price"]))
    return Call(**values)
