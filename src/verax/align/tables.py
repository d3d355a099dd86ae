"""Reading pairs of photo and edit from folders, CSV, JSONL, Parquet and WebDataset tars.

The bytes of a picture are in a file, in a member of a tar, or in a cell of a Parquet file.
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

# usual names of the columns or folders of photo and edit; the first one that exists is used
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
    """The location of a picture's bytes, small enough to be sent to a worker.

    Attributes:
        path: path of the picture file, the tar or the Parquet file.
        kind: which of these the path leads to.
        start: place of the picture: first byte in a tar, row of a Parquet file; both from 0.
        size: bytes of the picture, if it is in a tar; else 0.
        column: name of the column, if it is in a Parquet file; else "".
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
        """The bytes of the picture file. Raises ImageReadError if they cannot be read."""
        if self.kind == "file":
            return read_bytes(self.path)
        try:
            return self._from_tar() if self.kind == "tar" else self._from_parquet()
        except (OSError, ValueError) as exc:
            raise ImageReadError(
                f"{self}: no picture can be read here ({exc}); repair this file or remove it"
            ) from exc

    def _from_tar(self) -> bytes:
        with Path(self.path).open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) < self.size:
            raise ImageReadError(
                f"{self}: expected a picture of {self.size} bytes from this byte on, but the tar "
                f"ends after {len(data)} of them; copy or download the tar again"
            )
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
            raise ImageReadError(
                f"{self}: expected a picture in this cell (file:column:row), found it empty; fill "
                "the cell or remove the row"
            )
        return read_bytes(Path(self.path).parent / str(path))


def parquet() -> Any:  # noqa: ANN401  # pyarrow has no types
    """The module pyarrow.parquet. Raises MissingExtraError if pyarrow is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as exc:
        raise missing_extra("Parquet", "bench") from exc
    return pyarrow.parquet


@lru_cache(8)
def _starts(path: str) -> list[int]:
    """The first row of each row group of a Parquet file, and as last element the number of rows."""
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
    """A photo and an edit of it; `index` counts the pairs of all tables from 0."""

    index: int
    name: str
    photo: Location
    edited: Location


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns or folders of photo and edit; "": usual ones like "input" are tried."""

    photo: str = ""
    edited: str = ""

    def choose(self, available: Iterable[str], where: Path) -> tuple[str, str]:
        """Choose the names (of photo, of edit) among the columns or folders `available` in `where`.

        Upper and lower case count as equal. Raises InputError if one of the two is missing.
        """
        names = {name.lower(): name for name in available}
        columns = []
        sides = ("--photo", self.photo, PHOTO), ("--edited", self.edited, EDITED)
        for option, own, known in sides:
            candidates = (own,) if own else known
            name = next((names[c.lower()] for c in candidates if c.lower() in names), None)
            if name is None:
                present = ", ".join(sorted(names.values())) or "none"
                raise InputError(
                    f"{where}: expected a column or folder {' or '.join(candidates[:3])}, found "
                    f"{present}; give the name of the right one with {option}"
                )
            columns.append(name)
        return columns[0], columns[1]


Rows = Iterator[tuple[str, Location, Location]]


def read(tables: Sequence[Path], columns: Columns) -> list[EditPair]:
    """Read all pairs of some folders and tables, in order.

    Raises InputError for a missing path, an unknown format, or if there are no pairs.
    """
    pairs: list[EditPair] = []
    for table in tables:
        if not table.exists():
            raise InputError(
                f"{table}: expected a folder or a table of pairs, found no file; check the path"
            )
        for file, reader in _readers(table):
            for name, photo, edited in reader(file, columns):
                pairs.append(EditPair(len(pairs), name, photo, edited))
    if not pairs:
        raise InputError(
            f"{', '.join(map(str, tables))}: expected pairs of pictures, found none; give both "
            "files of a pair the same name, or name the columns of a table by --photo and --edited"
        )
    return pairs


def _readers(table: Path) -> list[tuple[Path, Callable[[Path, Columns], Rows]]]:
    if table.is_dir():
        inside = [p for p in sorted(table.iterdir()) if p.suffix.lower() in (".tar", ".parquet")]
        return [(p, READERS[p.suffix.lower()]) for p in inside] or [(table, from_folder)]
    if table.suffix.lower() not in READERS:
        raise InputError(
            f"{table}: expected a folder or a file that ends in {', '.join(READERS)}, got "
            f"{table.suffix or 'a name without suffix'}; convert the table"
        )
    return [(table, READERS[table.suffix.lower()])]


def from_folder(folder: Path, columns: Columns) -> Rows:
    """Pairs (name, photo, edit) from two subfolders of `folder`. The name is a picture's path in
    its subfolder without suffix, and is equal for both; a picture without partner is left out."""
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
    """Pairs (name, photo, edit) of a CSV or TSV file: two columns of paths relative to its
    folder."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ",")
        photo, edited = columns.choose(rows.fieldnames or (), table)
        for row in rows:
            yield _of_paths(table, row[photo], row[edited])


def from_jsonl(table: Path, columns: Columns) -> Rows:
    """Pairs (name, photo, edit) of JSON objects, one a line, with paths relative to the folder."""
    names: tuple[str, str] | None = None
    with table.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as exc:
                raise InputError(
                    f"{table}, line {number}: expected one JSON object, got other text ({exc}); "
                    "correct or remove this line"
                ) from exc
            names = names or columns.choose(row, table)
            yield _of_paths(table, row.get(names[0]), row.get(names[1]))


def from_parquet(table: Path, columns: Columns) -> Rows:
    """Pairs (name, photo, edit) of a Parquet file; cells: bytes, Hugging Face picture or path."""
    file = parquet().ParquetFile(table)
    photo, edited = columns.choose(file.schema_arrow.names, table)
    for row in range(file.metadata.num_rows):
        sides = [Location(str(table), "parquet", row, column=name) for name in (photo, edited)]
        yield f"{table.stem}-{row}", sides[0], sides[1]


def from_webdataset(table: Path, columns: Columns) -> Rows:
    """Pairs (name, photo, edit) of a tar with members KEY.photo.png, KEY.edited.png side by side.

    "photo", "edited" and "png" may be other words; members that are not pictures are skipped.
    """
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
        raise InputError(
            f"{table}: expected an uncompressed tar, got another or a damaged file ({exc}); pack "
            "the pictures again without compression"
        ) from exc


def _of_sides(key: str, sides: dict[str, Location], columns: Columns, table: Path) -> Rows:
    if len(sides) > 1:
        photo, edited = columns.choose(sides, table)
        yield key, sides[photo], sides[edited]


def _of_paths(table: Path, photo: object, edited: object) -> tuple[str, Location, Location]:
    """The name and both locations of a pair; cells are paths relative to the folder of `table`.

    An empty cell becomes the path of a missing file, which is reported when the pair is aligned.
    """
    first, second = (table.parent / str(cell or "missing") for cell in (photo, edited))
    return first.stem, Location(str(first)), Location(str(second))


READERS: dict[str, Callable[[Path, Columns], Rows]] = {
    ".csv": from_csv,
    ".tsv": from_csv,
    ".jsonl": from_jsonl,
    ".parquet": from_parquet,
    ".tar": from_webdataset,
}
