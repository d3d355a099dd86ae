"""The benchmark. This module stores a run: a folder with run.sqlite and outputs/KEY.png.

Outputs are stored before they are scored. Reports, comparisons and releases read only that folder.
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


def _rename_outcome(column: str) -> str:
    """An SQL expression: the registration or deviation that `column` has as JSON, converted from
    the format of older versions. Its keys "outcome" and "accepted" are replaced by "placed", which
    says whether the prior could be registered: "exactly", "roughly" or "not"."""
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
    UPDATE outputs SET registration = {_rename_outcome("registration")} WHERE registration <> '';
    UPDATE deviations SET value = {_rename_outcome("value")}
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Identifies one output of a run by its photo, method, prior and prompt.

    Attributes:
        key: 32 hex digits that identify the output, a hash over everything that decides it.
        dataset, task, item: names of the dataset, of the kind of damage and of the photo.
        method: name of the method, such as "full" or "restorer:clahe".
        prior: "none", "files" (from the dataset), "simulated", "provider:MODEL" (made by a service)
            or a control, such as "input" (the photo itself).
        prompt: name of the prompt that a service gets; "" if no service is called.
        repeat: number of the service's call with the same photo and prompt, from 0.
        generator: the model that made the prior, "" if unknown.
        licence: of the photo, in words.
        seed: of the random numbers with which the photo or the prior is simulated, if one is.
        scene: name of what the photo shows; statistics treat photos of one scene as dependent.
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
    """A stored output and how it was made.

    Attributes:
        degradation: TASK:SEVERITY if the photo was degraded by simulation, else "".
        outcome: "restored", "refused" (by the service), "failed", "wrong_size" (of the service's
            picture), "prior_not_placed" or "abstained" (no prior).
        reason: why the outcome is not "restored", in words; "" if it is.
        seconds, cost_usd: time to make prior and output, and price of the call of the service.
        width, height: of the photo in px; 0 if it could not be read.
        registration: JSON with the prior's registration (matrix, confidence ...); "" without one.
        photo: its path; relative to the run folder if the photo was degraded and stored there.
        reference: path of the reference (ground truth), "" if there is none.
        sha256: hash of the output file; "" if there is no output.
        prior_file: path of the generated picture, if the prior comes from the dataset, else "".
        prior_sha256, prior_c2pa: hash of the generated picture's file, and whether it has a C2PA
            manifest; "" and False if there is no such file.
        prior_seconds: how long the service took; None if unknown, or if no service was called.
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
    """The value of one metric for one output.

    Attributes:
        key, metric: key of the output, name of the metric.
        protocol: JSON list of what the value depends on (channel, border, software ...); "" if
            there is no value.
        value: None if it could not be computed; `reason` then says why.
    """

    key: str
    metric: str
    protocol: str
    value: float | None
    reason: str = ""


class Record:
    """An open run folder with its database. Only one thread may use it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs_folder = folder / "outputs"
        self.photos_folder = folder / "photos"  # of degraded photos
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
        """Store `now` (versions, commit, processor) unless the run already has that environment."""
        known = self.environments()
        if now not in known:
            self.set_about("environments", [*known, now])

    def environments(self) -> list[dict[str, Any]]:
        """The software and hardware with which the outputs were made, as dicts, oldest first."""
        return self.about("environments") or [e for e in [self.about("environment")] if e]

    def output_path(self, key: str) -> Path:
        return self.outputs_folder / f"{key}.png"

    def done(self) -> set[str]:
        """The keys of all stored outputs, except those whose provider call failed.

        The next start of the run makes only outputs that are not listed here. So it repeats failed
        calls, but none that the provider refused.
        """
        again = "outcome = 'failed' AND prior LIKE 'provider:%'"
        rows = self.connection.execute(f"SELECT key FROM outputs WHERE NOT ({again})")
        return {row[0] for row in rows}

    def score_keys(self) -> set[tuple[str, str]]:
        """(key of the output, name of the metric) for every stored score, also failed ones."""
        return {(r[0], r[1]) for r in self.connection.execute("SELECT key, metric FROM scores")}

    def add_outputs(self, rows: Sequence[OutputRow]) -> None:
        with writing(self.folder), transaction(self.connection):
            _insert(self.connection, "outputs", rows)

    def add_scores(self, rows: Sequence[ScoreRow]) -> None:
        with writing(self.folder), transaction(self.connection):
            _insert(self.connection, "scores", rows)

    def outputs(self) -> Iterator[OutputRow]:
        """The rows of all outputs, sorted by task, dataset, item and method.

        Rows that have been replaced (after a change of input, method or version) are left out.
        """
        order = "task, dataset, item, degradation, method, prior, prompt, repeat"
        sql = f"SELECT {', '.join(NAMES)} FROM outputs WHERE NOT aside ORDER BY {order}"
        for row in self.connection.execute(sql):
            yield OutputRow(**dict(zip(NAMES, row, strict=True)))

    def keep_only(self, keys: Iterable[str]) -> int:
        """Mark output rows as replaced if their key is not in `keys`; unmark all others.

        Marked rows stay in the database but no longer count, so that each item has one outcome.
        Returns how many rows are now marked, including those marked before.
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
        """Store measured deviations, as (key of the output, JSON of its measured numbers)."""
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


def total_cost(rows: Iterable[OutputRow]) -> float:
    """The total cost in US dollars; a provider call that made several outputs counts once."""
    return sum(
        {
            (r.task, r.dataset, r.item, r.degradation, r.prior, r.prompt, r.repeat): r.cost_usd
            for r in rows
        }.values()
    )


def finished_outputs(folder: Path) -> tuple[set[str], dict[str, Any]]:
    """The keys of the outputs that a run need not make again, and the hashes of its input files.

    The hashes are {path: [size in bytes, time of change in ns, SHA-256]}. Both are empty for a
    folder without a run.
    """
    if not (folder / "run.sqlite").is_file():
        return set(), {}
    record = Record(folder)
    try:
        return record.done(), record.about("digests") or {}
    finally:
        record.close()


def open_run(folder: Path) -> Record:
    """The run stored in a folder. Raises InputError if there is none, or one without a plan."""
    if not (folder / "run.sqlite").is_file():
        raise SettingsError(
            f"{folder}: expected a run folder with run.sqlite, found none; verax bench run makes "
            "one"
        )
    record = Record(folder)
    if record.about("plan") is None:
        record.close()
        raise InputError(
            f"{folder}: the run was stopped before it stored its plan; start it again with "
            "verax bench run"
        )
    return record
