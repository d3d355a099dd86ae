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


def _placed(column: str) -> str:
    """An SQL expression: the JSON of `column` in which "placed" replaces the "outcome" and
    "accepted" of older versions."""
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
    """Names one output of a run: a picture, the method applied, and its prior and prompt.

    Attributes:
        key: identifies the output; a hash over all that decides it.
        prior: kind of prior, as in `plan.PRIORS`, or "provider:MODEL".
        repeat: counts repeated calls with the same prompt, from 0.
        scene: name of what the picture shows; statistics treat pictures of one scene as dependent.
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
    """A stored output and how it came out.

    Attributes:
        degradation: TASK:SEVERITY if the photo was degraded by simulation, else "".
        outcome, reason: one of OUTCOMES, and in words why it is not "restored".
        seconds, cost_usd: time of the whole item, and price of its provider call.
        width, height: of the photo in px.
        registration: JSON of the prior's registration; "" without one.
        photo: its path; relative to the run folder if the photo was degraded and stored there.
        sha256: hash of the output file; "" if there is no output.
        prior_file: path of the generated picture, if the dataset has one, else "".
        prior_sha256, prior_c2pa: hash of that file, and whether it has a C2PA manifest.
        prior_seconds: how long the service took; None if unknown.
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
    """A metric's value for one output; None if it could not be computed, for the given `reason`."""

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
        """The environments in which the outputs were made, oldest first."""
        return self.about("environments") or [e for e in [self.about("environment")] if e]

    def output_path(self, key: str) -> Path:
        return self.outputs_folder / f"{key}.png"

    def done(self) -> set[str]:
        """The keys of all outputs that need not be made again, whatever their outcome.

        Failed calls of a provider are left out, so that the next start repeats them; a refusal is
        final.
        """
        again = "outcome = 'failed' AND prior LIKE 'provider:%'"
        rows = self.connection.execute(f"SELECT key FROM outputs WHERE NOT ({again})")
        return {row[0] for row in rows}

    def scored(self) -> set[tuple[str, str]]:
        """(key of the output, name of the metric) for every stored score."""
        return {(r[0], r[1]) for r in self.connection.execute("SELECT key, metric FROM scores")}

    def add_outputs(self, rows: Sequence[OutputRow]) -> None:
        with writing(self.folder), transaction(self.connection):
            _insert(self.connection, "outputs", rows)

    def add_scores(self, rows: Sequence[ScoreRow]) -> None:
        with writing(self.folder), transaction(self.connection):
            _insert(self.connection, "scores", rows)

    def outputs(self) -> Iterator[OutputRow]:
        """Every output row that is not set aside, sorted by task, dataset, item and method."""
        order = "task, dataset, item, degradation, method, prior, prompt, repeat"
        sql = f"SELECT {', '.join(NAMES)} FROM outputs WHERE NOT aside ORDER BY {order}"
        for row in self.connection.execute(sql):
            yield OutputRow(**dict(zip(NAMES, row, strict=True)))

    def keep_only(self, keys: Iterable[str]) -> int:
        """Set aside all output rows except those with `keys`. Returns the number set aside.

        Such rows were replaced after a change of input, method or version. They stay in the
        database but no longer count, so that each item has one outcome.
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
        """Store how outputs deviate from their photos, as (key of the output, JSON)."""
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
    """What all rows cost together, in US dollars; an answer that methods share is counted once."""
    return sum(
        {
            (r.task, r.dataset, r.item, r.degradation, r.prior, r.prompt, r.repeat): r.cost_usd
            for r in rows
        }.values()
    )


def finished(folder: Path) -> tuple[set[str], dict[str, Any]]:
    """The keys of a run's finished outputs, and the stored hashes of its input files.

    Both are empty for a folder without a run.
    """
    if not (folder / "run.sqlite").is_file():
        return set(), {}
    record = Record(folder)
    try:
        return record.done(), record.about("digests") or {}
    finally:
        record.close()


def open_run(folder: Path) -> Record:
    """The run stored in a folder. Raises SettingsError if there is none."""
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
