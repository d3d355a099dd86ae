"""Run over all pairs, resumed at the pair: rows in SQLite, then one table, the same every time."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from verax.align.source import parquet
from verax.align.tables import Pair
from verax.align.work import Options, align
from verax.bench.engines import ENGINES
from verax.errors import MissingExtraError, RunError, SettingsError, choose
from verax.image import replace_file
from verax.store import Presence, open_database, transaction

MIGRATIONS = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE rows (pair INTEGER PRIMARY KEY, row TEXT NOT NULL)",
)
COLUMNS = (
    "index", "name", "verdict", "reason", "photo_file", "edited_file", "width", "height", "box",
    "score", "p_value", "coverage", "confidence", "canvas", "matrix", "photo", "edited",
)  # fmt: skip
Tell = Callable[[int, int, "Counter[str]"], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run holds: pairs by verdict, how many are new, and where the table is."""

    verdicts: dict[str, int]
    new: int
    tables: tuple[Path, ...]


def run(
    pairs: Sequence[Pair],
    folder: Path,
    options: Options,
    *,
    engine: str = "processes",
    workers: int = 1,
    address: str | None = None,
    tell: Tell = lambda done, total, verdicts: None,
) -> Summary:
    """Align every pair that is not done; safe to call again after any stop.

    A pair's row is stored once its pictures are written, so a killed run makes at most the pairs
    anew that were in hand. Raises SettingsError where `folder` holds another run, RunError where
    another process works on it.
    """
    go = partial(choose(ENGINES, engine, kind="engine"), workers=workers)
    if address is not None:
        go = partial(go, address=address)
    presence = _alone(folder / "running")
    database = open_database(folder / "align.sqlite", MIGRATIONS)
    try:
        _claim(database, options, len(pairs), folder)
        known = {
            int(r["pair"]): json.loads(r["row"]) for r in database.execute("SELECT * FROM rows")
        }
        _check_same(pairs, known, folder)
        verdicts = Counter(row["verdict"] for row in known.values())
        stage = partial(align, folder=folder.resolve() / "pairs", options=options)
        left = [pair for pair in pairs if pair.index not in known]
        for row in go(stage, left):
            with transaction(database):
                database.execute("INSERT INTO rows VALUES (?, ?)", (row["index"], json.dumps(row)))
            verdicts[row["verdict"]] += 1
            tell(verdicts.total(), len(pairs), verdicts)
        tables = write_tables(_rows(database), folder)
        return Summary(dict(sorted(verdicts.items())), len(left), tables)
    finally:
        database.close()
        presence.close()


def _alone(folder: Path) -> Presence:
    Presence.sweep(folder)
    if folder.is_dir() and any(folder.glob("[!.]*")):
        raise RunError(f"{folder.parent}: another process is aligning here; wait for its end")
    return Presence(folder)


def _claim(database: Any, options: Options, count: int, folder: Path) -> None:  # noqa: ANN401
    """Store the options in a fresh folder; refuse others, with the difference named."""
    wanted = {**asdict(options), "pairs": count}
    stored = database.execute("SELECT value FROM about WHERE name = 'options'").fetchone()
    if stored is None:
        with transaction(database):
            database.execute("INSERT INTO about VALUES ('options', ?)", (json.dumps(wanted),))
        return
    held = json.loads(stored["value"])
    other = [f"{k}: {held.get(k)}, now {v}" for k, v in wanted.items() if held.get(k) != v]
    if other:
        raise SettingsError(
            f"{folder} holds a run with other options ({'; '.join(other)}); choose another folder"
        )


def _check_same(pairs: Sequence[Pair], known: dict[int, dict[str, Any]], folder: Path) -> None:
    """The rows that are there must be of these pairs."""
    for pair in pairs:
        row = known.get(pair.index)
        if row and (row["photo"], row["edited"]) != (str(pair.photo), str(pair.edited)):
            raise SettingsError(
                f"{folder}: pair {pair.index} was {row['photo']}, now {pair.photo}; the table has "
                "changed, choose another folder"
            )


def _rows(database: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  # sqlite3.Connection
    for found in database.execute("SELECT row FROM rows ORDER BY pair"):
        yield dict.fromkeys(COLUMNS) | json.loads(found["row"])


def write_tables(rows: Iterator[dict[str, Any]], folder: Path) -> tuple[Path, ...]:
    """pairs.csv, and pairs.parquet where pyarrow is installed; in the order of the input."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    every = list(rows)
    writer.writerows(every)
    made = [folder / "pairs.csv"]
    replace_file(made[0], text.getvalue().encode())
    try:
        writer_of = parquet()
    except MissingExtraError:
        return tuple(made)
    made.append(folder / "pairs.parquet")
    import pyarrow as pa

    writer_of.write_table(pa.table({n: [row[n] for row in every] for n in COLUMNS}), made[1])
    return tuple(made)
