"""Where the bytes of a picture lie: a file, a member of a tar, a cell of a Parquet file."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from verax.errors import ImageReadError, missing_extra
from verax.image import read_bytes

GROUPS_HELD = 2  # row groups of Parquet files that a worker keeps decoded


@dataclass(frozen=True, slots=True)
class Location:
    """Where a picture's bytes lie; small, so that it travels to any worker.

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
            raise ImageReadError(f"{self}: the tar ends before the picture does")
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
            raise ImageReadError(f"{self}: the cell is empty")
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
