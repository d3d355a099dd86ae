"""The benchmark. Here: the record of a run, a folder with run.sqlite and outputs/KEY.png.

Outputs are stored before they are scored. Reports, comparisons and releases read only the record.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from verax.errors import InputError, SettingsError
from verax.store import open_database, transaction, writing

OUTCOMES = ("restored", "refused", "failed", "wrong_size", "prior_not_placed", "abstained")


def _placed(column: str) -> str:
    """SQL that renames "outcome" and "accepted" in older JSON to "placed"."""
    return f"""
        CASE WHEN json_extract({column}, '$.outcome') IS NULL THEN {column} ELSE json_remove(
            json_set({column}, '$.placed', CASE json_extract({column}, '$.outcome')
                WHEN 'registered' THEN 'exactly' WHEN 'coarse' THEN 'roughly' ELSE 'not' END),
            '$.outcome', '$.accepted') END"""


MIGRATIONS = (
    """
    CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE outputs (
        key TEXT PRIMARY KEY, dataset TEXT NOT NULL, task TEXT NOT NULL, item TEXT NOT NULL,
        method TEXT NOT NULL, prior TEXT NOT NULL, degradation TEXT NOT NULL, prompt TEXT NOT NULL,
        repeat INTEGER NOT NULL, generator TEXT NOT NULL, licence TEXT NOT NULL,
        outcome TEXT NOT NULL, reason TEXT NOT NULL, seconds REAL NOT NULL, cost_usd REAL NOT NULL,
        width INTEGER NOT NULL, height INTEGER NOT NULL, registration TEXT NOT NULL,
        photo TEXT NOT NULL, reference TEXT NOT NULL, sha256 TEXT NOT NULL);
    CREATE TABLE scores (
        key TEXT NOT NULL REFERENCES outputs (key), metric TEXT NOT NULL, protocol TEXT NOT NULL,
        value REAL, reason TEXT NOT NULL, PRIMARY KEY (key, metric, protocol))
    """,
    "CREATE TABLE deviations (key TEXT PRIMARY KEY REFERENCES outputs (key), value TEXT NOT NULL)",
    """
    ALTER TABLE outputs ADD COLUMN scene TEXT NOT NULL DEFAULT '';
    ALTER TABLE outputs ADD COLUMN seed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outputs ADD COLUMN prior_file TEXT NOT NULL DEFAULT '';
    ALTER TABLE outputs ADD COLUMN prior_sha256 TEXT NOT NULL DEFAULT '';
    ALTER TABLE outputs ADD COLUMN prior_c2pa INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outputs ADD COLUMN prior_seconds REAL;
    ALTER TABLE outputs ADD COLUMN aside INTEGER NOT NULL DEFAULT 0
    """,
    f"""
    UPDATE outputs SET outcome = 'prior_not_placed' WHERE outcome = 'registration_refused';
    UPDATE outputs SET registration = {_placed("registration")} WHERE registration <> '';
    UPDATE deviations SET value = {_placed("value")}
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One picture under one configuration, by name: what work and its stored output share.

    `scene` is what the picture shows; statistics take pictures of one scene together.
    """

    key: str
    dataset: str
    task: str
    item: str
    method: str
    prior: str
    prompt: str
    repeat: int
    generator: str
    licence: str
    seed: int = 0
    scene: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRow(Trial):
    """The outcome of one trial.

    Attributes:
        photo: the file, relative to the run folder, which stores degraded ones.
        registration: JSON or empty.
        prior_file: the generated file, where the dataset has one.
        prior_sha256, prior_c2pa: of the original generated file, if there is one.
        prior_seconds: how long the service took, None where it is unknown.
    """

    degradation: str
    outcome: str
    reason: str
    seconds: float
    cost_usd: float
    width: int
    height: int
    registration: str
    photo: str
    reference: str
    sha256: str
    prior_file: str = ""
    prior_sha256: str = ""
    prior_c2pa: bool = False
    prior_seconds: float | None = None


NAMES = tuple(field.name for field in fields(OutputRow))


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One number of one output; `value` is None when it could not be computed, with the reason."""

    key: str
    metric: str
    protocol: str
    value: float | None
    reason: str = ""


class Record:
    """An open run folder. Not for use by two threads at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs_folder = folder / "outputs"
        self.photos_folder = folder / "photos"  # degraded ones
        self.connection: sqlite3.Connection = open_database(folder / "run.sqlite", MIGRATIONS)

    def close(self) -> None:
        self.connection.close()

    def about(self, name: str) -> Any:  # noqa: ANN401  # whatever JSON was stored
        row = self.connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_about(self, name: str, value: Any) -> None:  # noqa: ANN401  # anything JSON can hold
        text = json.dumps(value, ensure_ascii=False)
        self.connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, text))

    def add_environment(self, now: dict[str, Any]) -> None:
        """Store what the outputs depend on; a run that continues on another machine has several."""
        known = self.environments()
        if now not in known:
            self.set_about("environments", [*known, now])

    def environments(self) -> list[dict[str, Any]]:
        """The environments in which the outputs were made, in order of time."""
        return self.about("environments") or [e for e in [self.about("environment")] if e]

    def output_path(self, key: str) -> Path:
        return self.outputs_folder / f"{key}.png"

    def done(self) -> set[str]:
        """Keys of the items that have an output row, whatever its outcome.

        Calls that failed at the provider are left out, so that they are repeated; refusals are
        final.
        """
        again = "outcome = 'failed' AND prior LIKE 'provider:%'"
        rows = self.connection.execute(f"SELECT key FROM outputs WHERE NOT ({again})")
        return {row[0] for row in rows}

    def scored(self) -> set[tuple[str, str]]:
        """(key, metric) of every stored score."""
        return {(r[0], r[1]) for r in self.connection.execute("SELECT key, metric FROM scores")}

    def add_outputs(self, rows: Sequence[OutputRow]) -> None:
        with writing(self.folder), transaction(self.connection):
            _insert(self.connection, "outputs", rows)

    def add_scores(self, rows: Sequence[ScoreRow]) -> None:
        with writing(self.folder), transaction(self.connection):
            _insert(self.connection, "scores", rows)

    def outputs(self) -> Iterator[OutputRow]:
        """Every output row that counts, in the order of the plan's groups."""
        order = "task, dataset, item, degradation, method, prior, prompt, repeat"
        sql = f"SELECT {', '.join(NAMES)} FROM outputs WHERE NOT aside ORDER BY {order}"
        for row in self.connection.execute(sql):
            yield OutputRow(**dict(zip(NAMES, row, strict=True)))

    def keep_only(self, keys: Iterable[str]) -> int:
        """Set aside rows replaced after a change of input, method or version. Returns their number.

        They stay in the database but no longer count: one item has one outcome.
        """
        with writing(self.folder), transaction(self.connection) as connection:
            connection.execute("CREATE TEMP TABLE current (key TEXT PRIMARY KEY)")
            connection.executemany("INSERT INTO current VALUES (?)", ((key,) for key in keys))
            connection.execute(
                "UPDATE outputs SET aside = NOT aside "
                "WHERE aside = (key IN (SELECT key FROM current))"
            )
            connection.execute("DROP TABLE current")
            count = connection.execute("SELECT count(*) FROM outputs WHERE aside").fetchone()
        return int(count[0])

    def scores(self) -> Iterator[ScoreRow]:
        names = ", ".join(field.name for field in fields(ScoreRow))
        for row in self.connection.execute(f"SELECT {names} FROM scores"):
            yield ScoreRow(*row)

    def add_deviations(self, rows: Sequence[tuple[str, str]]) -> None:
        """Store what outputs changed against their photos, as (key, JSON)."""
        with writing(self.folder), transaction(self.connection):
            self.connection.executemany("INSERT OR REPLACE INTO deviations VALUES (?, ?)", rows)

    def deviations(self) -> Iterator[tuple[str, str]]:
        for row in self.connection.execute("SELECT key, value FROM deviations"):
            yield row[0], row[1]


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Any]) -> None:
    rows = list(rows)
    if rows:
        names = [field.name for field in fields(rows[0])]
        values = [tuple(getattr(row, name) for name in names) for row in rows]
        marks = ", ".join("?" * len(names))
        connection.executemany(
            f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})", values
        )


def spent(rows: Iterable[OutputRow]) -> float:
    """US dollars for all rows: methods that share an answer paid for it once."""
    return sum(
        {
            (r.task, r.dataset, r.item, r.degradation, r.prior, r.prompt, r.repeat): r.cost_usd
            for r in rows
        }.values()
    )


def finished(folder: Path) -> tuple[set[str], dict[str, Any]]:
    """The finished items of the run in a folder, and its stored digests; empty for a new folder."""
    if not (folder / "run.sqlite").is_file():
        return set(), {}
    record = Record(folder)
    try:
        return record.done(), record.about("digests") or {}
    finally:
        record.close()


def open_run(folder: Path) -> Record:
    """An existing run; an error where there is no run."""
    if not (folder / "run.sqlite").is_file():
        raise SettingsError(
            f"{folder}: expected a run folder with run.sqlite; make one: verax bench run"
        )
    record = Record(folder)
    if record.about("plan") is None:
        record.close()
        raise InputError(f"{folder}: the run was stopped before its plan was stored; run it again")
    return record
