"""Batches in the journal's database, their uploads, and how requests become lines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from verax.errors import ProviderBusy, ProviderError, ProviderRejected, ProviderUncertain
from verax.providers import GenerateRequest, ImageFile, Request
from verax.providers.answers import json_object
from verax.providers.dialects import Wire
from verax.providers.records import Records
from verax.providers.transport import Transport


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. Times are seconds since 1970.

    Attributes:
        owner: the process that prepares it.
        address: base URL of the service.
        status: "preparing" (nothing sent), "creating" (maybe created), then the service's status.
        message: the service's reason if it failed.
    """

    id: int
    owner: str
    address: str
    endpoint: str
    created: float
    ended: float | None
    input_file: str
    service_id: str
    status: str
    message: str

    @property
    def name(self) -> str:
        """The owner of its calls in the journal."""
        return f"batch {self.id}"


@dataclass(frozen=True)
class BatchTable:
    """The batches of one service address in one journal."""

    records: Records
    address: str

    def new(self, owner: str, endpoint: str, created: float) -> Batch:
        """A batch in status "preparing"."""
        values = (owner, self.address, endpoint, created, "preparing")
        names = "owner, address, endpoint, created, status"
        with self.records.change():
            self.records.database.execute(
                f"INSERT INTO batches ({names}) VALUES (?, ?, ?, ?, ?)",
                values,
            )
            return self.open()[-1]

    def open(self) -> list[Batch]:
        """Batches that have not ended, oldest first."""
        rows = self._rows("SELECT * FROM batches WHERE address = ? AND ended IS NULL ORDER BY id")
        return [Batch(**row) for row in rows]

    def change(self, batch: Batch, **values: Any) -> Batch:  # noqa: ANN401  # columns
        """The batch with these columns changed."""
        changes = ", ".join(f"{name} = :{name}" for name in values)
        self._write(f"UPDATE batches SET {changes} WHERE id = :id", values | {"id": batch.id})
        return replace(batch, **values)

    def adopt(self, batch: Batch, owner: str) -> bool:
        """Make `owner` the owner of the batch; False if another process was first."""
        with self.records.change():
            done = self.records.database.execute(
                "UPDATE batches SET owner = ? WHERE id = ? AND owner = ?",
                (owner, batch.id, batch.owner),
            )
        return done.rowcount == 1

    def drop(self, batch: Batch) -> None:
        self._write("DELETE FROM batches WHERE id = :id", {"id": batch.id})

    def uploaded(self) -> dict[str, str]:
        """SHA-256 -> file id of the pictures stored at the service."""
        rows = self._rows("SELECT sha256, file_id FROM uploads WHERE address = ?")
        return {row["sha256"]: row["file_id"] for row in rows}

    def remember(self, sha256: str, file_id: str) -> None:
        values = {"address": self.address, "sha256": sha256, "file_id": file_id}
        self._write("INSERT OR REPLACE INTO uploads VALUES (:address, :sha256, :file_id)", values)

    def forget(self, sha256: str) -> None:
        values = {"address": self.address, "sha256": sha256}
        self._write("DELETE FROM uploads WHERE address = :address AND sha256 = :sha256", values)

    def _rows(self, sql: str) -> list[Any]:
        with self.records.lock:
            return self.records.database.execute(sql, (self.address,)).fetchall()

    def _write(self, sql: str, values: dict[str, Any]) -> None:
        with self.records.change():
            self.records.database.execute(sql, values)


R = TypeVar("R", bound=GenerateRequest)
MOST_LINES = 50_000
MOST_BYTES = 200_000_000


@dataclass(frozen=True)
class Uploads:
    """The pictures stored at the service for open batches; equal bytes are uploaded once."""

    table: BatchTable
    transport: Transport

    @cached_property
    def _known(self) -> dict[str, str]:
        return self.table.uploaded()

    def file_id(self, picture: ImageFile) -> str:
        """The id of a picture at the service, uploaded if missing."""
        if picture.sha256 not in self._known:
            self._known[picture.sha256] = self.send(picture, "vision")
            self.table.remember(picture.sha256, self._known[picture.sha256])
        return self._known[picture.sha256]

    def send(self, file: ImageFile, purpose: str) -> str:
        """Upload a file.

        Costs nothing. Returns its id. Raises ProviderBusy where it is interrupted.
        """
        upload = Wire("/files", form=(("purpose", purpose),), files=(("file", file),))
        try:
            return str(json_object(self.transport.post(upload, paid=False).body)["id"])
        except ProviderUncertain as exc:
            raise ProviderBusy(
                f"an upload was interrupted; nothing was requested yet: {exc}"
            ) from exc

    def clear(self) -> None:
        """Delete the pictures at the service; ignores those that it no longer has."""
        for sha256, file_id in self.table.uploaded().items():
            with suppress(ProviderRejected):
                self.transport.delete(f"/files/{file_id}")
            self.table.forget(sha256)


def plain(request: R) -> R:
    """The request as a batch sends it: without streaming."""
    return replace(request, stream=False, partial_images=None)


def split(
    requests: Sequence[Request], *, lines: int = MOST_LINES, size: int = MOST_BYTES
) -> Iterator[list[Request]]:
    """The requests in parts of at most so many lines and bytes, in order."""
    part: list[Request] = []
    used = 0
    for request in requests:
        length = _line_bytes(request)
        if part and (len(part) == lines or used + length > size):
            yield part
            part, used = [], 0
        part.append(request)
        used += length
    if part:
        yield part


def _line_bytes(request: Request) -> int:
    """Upper bound for the length of a line: 6 bytes per character of JSON, ids of 100 bytes."""
    return len(json.dumps(request.fields())) * 2 + 200 * len(request.files()) + 500


def status_of(response: Mapping[str, Any]) -> int:
    value = response.get("status_code")
    return value if isinstance(value, int) else 0


def unanswered(status: str, message: str) -> ProviderError:
    if status == "completed":
        return ProviderUncertain("the batch is complete but holds no answer to this call")
    return ProviderBusy(f"the batch is {status}: {message or 'this call was not processed'}")


def errors_of(record: Mapping[str, Any]) -> str:
    listed: Iterable[Mapping[str, Any]] = (record.get("errors") or {}).get("data") or []
    return "; ".join(str(one.get("message", "")) for one in listed)[:1000]
