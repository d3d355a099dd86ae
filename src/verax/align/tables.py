"""Tables of pairs: a folder, CSV, JSONL, Parquet or WebDataset, read as one list of pairs.

A picture's bytes are in a file, in a member of a tar, or in a cell of a Parquet file.
"""

import csv
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from verax.errors import ImageReadError, InputError, missing_extra
from verax.image import SUFFIXES, read_bytes

# names that people give to the two sides, in the order in which they are believed
PHOTO = (
    "photo", "photos", "input", "input_image", "source", "source_image", "src", "original",
    "original_image", "before", "lq", "image",
)  # fmt: skip
EDITED = (
    "edited", "edited_image", "edit", "generated", "generated_image", "output", "output_image",
    "after", "prior", "result", "target", "target_image", "tgt",
)  # fmt: skip
PICTURES = frozenset({*SUFFIXES, ".jpe", ".jfif"})
GROUPS_HELD = 2  # row groups of Parquet files that a worker keeps decoded


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a picture's bytes; small, so that it can be sent to any worker.

    Attributes:
        start, size: byte range in a tar; row of a Parquet file.
        column: of the Parquet file.
    """

    path: str
    kind: Literal["file", "tar", "parquet"] = "file"
    start: int = 0
    size: int = 0
    column: str = ""

    def __str__(self) -> str:
        places = {"file": "", "tar": f":{self.start}", "parquet": f":{self.column}:{self.start}"}
        return self.path + places[self.kind]

    def read(self) -> bytes:
        """The picture file's bytes. Raises ImageReadError."""
        if self.kind == "file":
            return read_bytes(self.path)
        try:
            return self._from_tar() if self.kind == "tar" else self._from_parquet()
        except (OSError, ValueError) as exc:
            raise ImageReadError(f"{self}: cannot be read: {exc}") from exc

    def _from_tar(self) -> bytes:
        with Path(self.path).open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) < self.size:
            raise ImageReadError(f"{self}: the tar ends before the picture does; get it again")
        return data

    def _from_parquet(self) -> bytes:
        group, row = _group_of(self.path, self.start)
        cell = _column(self.path, group, self.column)[row].as_py()
        if isinstance(cell, dict):  # as Hugging Face stores pictures
            data, path = cell.get("bytes"), cell.get("path")
        else:
            data, path = (cell, None) if isinstance(cell, bytes) else (None, cell)
        if data is not None:
            return bytes(data)
        if not path:
            raise ImageReadError(f"{self}: the cell is empty; fill it or remove the row")
        return read_bytes(Path(self.path).parent / str(path))


def parquet() -> Any:  # noqa: ANN401  # pyarrow has no types
    """pyarrow.parquet. Raises MissingExtraError without it."""
    try:
        import pyarrow.parquet
    except ImportError as exc:
        raise missing_extra("Parquet", "bench") from exc
    return pyarrow.parquet


@lru_cache(8)
def _starts(path: str) -> list[int]:
    """The first row of every row group, and the number of rows."""
    about = parquet().ParquetFile(path).metadata
    starts = [0]
    for group in range(about.num_row_groups):
        starts.append(starts[-1] + about.row_group(group).num_rows)
    return starts


def _group_of(path: str, row: int) -> tuple[int, int]:
    starts = _starts(path)
    group = next(g for g in range(len(starts) - 1) if row < starts[g + 1])
    return group, row - starts[group]


@lru_cache(2 * GROUPS_HELD)
def _column(path: str, group: int, column: str) -> Any:  # noqa: ANN401  # pyarrow has no types
    table = parquet().ParquetFile(path).read_row_group(group, columns=[column])
    return table.column(column).combine_chunks()


@dataclass(frozen=True, slots=True)
class EditPair:
    """A photo and what an editor made of it; `index` is its place in the tables."""

    index: int
    name: str
    photo: Location
    edited: Location


@dataclass(frozen=True, slots=True)
class Columns:
    """The two sides' names; "" finds them among PHOTO and EDITED."""

    photo: str = ""
    edited: str = ""

    def choose(self, there: Iterable[str], where: Path) -> tuple[str, str]:
        """Both names as they are in a table. Raises InputError where one is not there."""
        names = {name.lower(): name for name in there}
        columns = []
        for option, own, known in (
            ("--photo", self.photo, PHOTO),
            ("--edited", self.edited, EDITED),
        ):
            candidates = (own,) if own else known
            name = next((names[c.lower()] for c in candidates if c.lower() in names), None)
            if name is None:
                present = ", ".join(sorted(names.values())) or "none"
                raise InputError(
                    f"{where}: expected a column or folder for {option}, got {present}; "
                    f"name it with {option}"
                )
            columns.append(name)
        return columns[0], columns[1]


Rows = Iterator[tuple[str, Location, Location]]


def read(tables: Sequence[Path], columns: Columns) -> list[EditPair]:
    """Every pair of the tables, in their order. Raises InputError for what is not a table."""
    pairs: list[EditPair] = []
    for table in tables:
        if not table.exists():
            raise InputError(f"{table}: expected a folder or a table of pairs, found none")
        for file, reader in _readers(table):
            for name, photo, edited in reader(file, columns):
                pairs.append(EditPair(len(pairs), name, photo, edited))
    if not pairs:
        raise InputError(
            f"{', '.join(map(str, tables))}: no pairs found; check --photo and --edited"
        )
    return pairs


def _readers(table: Path) -> list[tuple[Path, Callable[[Path, Columns], Rows]]]:
    if table.is_dir():
        inside = [p for p in sorted(table.iterdir()) if p.suffix.lower() in (".tar", ".parquet")]
        return [(p, READERS[p.suffix.lower()]) for p in inside] or [(table, from_folder)]
    if table.suffix.lower() not in READERS:
        raise InputError(
            f"{table}: expected a folder, {', '.join(READERS)}, got {table.suffix or 'no suffix'}"
        )
    return [(table, READERS[table.suffix.lower()])]


def from_folder(folder: Path, columns: Columns) -> Rows:
    """Two folders inside; partners share their path without the suffix."""
    photo, edited = columns.choose([p.name for p in folder.iterdir() if p.is_dir()], folder)
    partners = dict(_pictures(folder / edited))
    for stem, path in _pictures(folder / photo):
        if stem in partners:
            yield stem, Location(str(path)), Location(str(partners[stem]))


def _pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURES and not path.name.startswith("."):
            yield path.relative_to(folder).with_suffix("").as_posix(), path


def from_csv(table: Path, columns: Columns) -> Rows:
    """Paths in two columns, relative to the table's folder."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ",")
        photo, edited = columns.choose(rows.fieldnames or (), table)
        for row in rows:
            yield _of_paths(table, row[photo], row[edited])


def from_jsonl(table: Path, columns: Columns) -> Rows:
    """One JSON object per line with paths in two fields."""
    names: tuple[str, str] | None = None
    with table.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as exc:
                raise InputError(
                    f"{table}, line {number}: expected one JSON object: {exc}"
                ) from exc
            names = names or columns.choose(row, table)
            yield _of_paths(table, row.get(names[0]), row.get(names[1]))


def from_parquet(table: Path, columns: Columns) -> Rows:
    """Pictures as bytes, as Hugging Face stores them, or as paths."""
    file = parquet().ParquetFile(table)
    photo, edited = columns.choose(file.schema_arrow.names, table)
    for row in range(file.metadata.num_rows):
        sides = [Location(str(table), "parquet", row, column=name) for name in (photo, edited)]
        yield f"{table.stem}-{row}", sides[0], sides[1]


def from_webdataset(table: Path, columns: Columns) -> Rows:
    """Members KEY.photo.png and KEY.edited.png, one after the other; other members are skipped."""
    key = ""
    sides: dict[str, Location] = {}
    try:
        with tarfile.open(table, "r:") as archive:
            for member in archive:
                stem, _, rest = Path(member.name).name.partition(".")
                side, _, suffix = rest.rpartition(".")
                if not member.isfile() or f".{suffix.lower()}" not in PICTURES:
                    continue
                stem = (Path(member.name).parent / stem).as_posix()
                if stem != key:
                    yield from _of_sides(key, sides, columns, table)
                    key, sides = stem, {}
                place = Location(str(table), "tar", member.offset_data, member.size)
                sides[side.lower()] = place
            yield from _of_sides(key, sides, columns, table)
    except tarfile.TarError as exc:
        raise InputError(f"{table}: expected an uncompressed tar: {exc}") from exc


def _of_sides(key: str, sides: dict[str, Location], columns: Columns, table: Path) -> Rows:
    if len(sides) > 1:
        photo, edited = columns.choose(sides, table)
        yield key, sides[photo], sides[edited]


def _of_paths(table: Path, photo: object, edited: object) -> tuple[str, Location, Location]:
    """Paths relative to the table's folder; an empty cell is a file that is not there."""
    first, second = (table.parent / str(cell or "missing") for cell in (photo, edited))
    return first.stem, Location(str(first)), Location(str(second))


READERS: dict[str, Callable[[Path, Columns], Rows]] = {
    ".csv": from_csv,
    ".tsv": from_csv,
    ".jsonl": from_jsonl,
    ".parquet": from_parquet,
    ".tar": from_webdataset,
}
