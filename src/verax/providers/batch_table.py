"""The journal's tables of batches and uploaded files, and how requests are split into batches."""

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
    """A batch of requests as the journal records it. Times are seconds since 1970.

    Attributes:
        owner: unique name of the process that prepares the batch.
        address: base URL of the service.
        endpoint: path of the API that all requests of the batch go to.
        ended: None while the batch is open.
        input_file: the service's id of the uploaded file with the requests, "" before the upload.
        service_id: the service's id of the batch, "" before the batch was created.
        status: "preparing" (before the upload), "creating" (the service may have created the
            batch), "abandoned" (never sent), or else the status that the service gives.
        message: the service's reason for a failure, "" without one.
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
        """The batch's name, recorded as the owner of its calls, such as "batch 3"."""
        return f"batch {self.id}"


@dataclass(frozen=True)
class BatchTable:
    """The batches and uploaded files that a journal records for one service address."""

    records: Records
    address: str

    def new(self, owner: str, endpoint: str, created: float) -> Batch:
        """Insert a batch with the status "preparing", and return it. `owner` is the unique name of
        this process, `endpoint` the path of the API that its requests go to, and `created` the
        present time in seconds since 1970."""
        values = (owner, self.address, endpoint, created, "preparing")
        names = "owner, address, endpoint, created, status"
        with self.records.change():
            self.records.database.execute(
                f"INSERT INTO batches ({names}) VALUES (?, ?, ?, ?, ?)",
                values,
            )
            return self.open()[-1]

    def open(self) -> list[Batch]:
        """The batches at this service address that have not ended, oldest first."""
        rows = self._rows("SELECT * FROM batches WHERE address = ? AND ended IS NULL ORDER BY id")
        return [Batch(**row) for row in rows]

    def change(self, batch: Batch, **values: Any) -> Batch:  # noqa: ANN401  # columns
        """Change fields of a batch, given as name=value, in the journal. Returns the new batch."""
        changes = ", ".join(f"{name} = :{name}" for name in values)
        self._write(f"UPDATE batches SET {changes} WHERE id = :id", values | {"id": batch.id})
        return replace(batch, **values)

    def adopt(self, batch: Batch, owner: str) -> bool:
        """Make the process `owner` the owner of the batch. Returns True, or False if the batch got
        another owner after `batch` was read."""
        with self.records.change():
            done = self.records.database.execute(
                "UPDATE batches SET owner = ? WHERE id = ? AND owner = ?",
                (owner, batch.id, batch.owner),
            )
        return done.rowcount == 1

    def drop(self, batch: Batch) -> None:
        self._write("DELETE FROM batches WHERE id = :id", {"id": batch.id})

    def uploaded_files(self) -> dict[str, str]:
        """The uploaded files that are stored at the service: SHA-256 of the bytes -> file id."""
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
    """Uploads the pictures of batches to a service, each picture once, and deletes them there."""

    table: BatchTable
    transport: Transport

    @cached_property
    def _known_files(self) -> dict[str, str]:
        return self.table.uploaded_files()

    def file_id(self, picture: ImageFile) -> str:
        """The service's id of a picture, which is uploaded first unless the service has it."""
        if picture.sha256 not in self._known_files:
            self._known_files[picture.sha256] = self.send(picture, "vision")
            self.table.remember(picture.sha256, self._known_files[picture.sha256])
        return self._known_files[picture.sha256]

    def send(self, file: ImageFile, purpose: str) -> str:
        """Upload a file, which costs nothing. Returns the service's id of the file.

        `purpose` tells the service what the file is for: "vision" for a picture, "batch" for a file
        of requests. Raises ProviderBusy if the upload is interrupted.
        """
        upload = Wire("/files", form=(("purpose", purpose),), files=(("file", file),))
        try:
            return str(json_object(self.transport.post(upload, paid=False).body)["id"])
        except ProviderUncertain as exc:
            raise ProviderBusy(
                f"an upload was interrupted ({exc}); no paid call was sent; try again"
            ) from exc

    def clear(self) -> None:
        """Delete all uploaded pictures at the service. Call this only while no batch is open, since
        an open batch still needs its pictures."""
        for sha256, file_id in self.table.uploaded_files().items():
            with suppress(ProviderRejected):
                self.transport.delete(f"/files/{file_id}")
            self.table.forget(sha256)


def plain(request: R) -> R:
    """The request without streaming and previews, which batches do not have. The answer from a
    batch is stored under the fingerprint of this request."""
    return replace(request, stream=False, partial_images=None)


def split(
    requests: Sequence[Request], *, lines: int = MOST_LINES, size: int = MOST_BYTES
) -> Iterator[list[Request]]:
    """Split requests, in order, into lists that each fit into one batch: at most `lines` requests
    with at most `size` bytes together. A single larger request gets a list of its own."""
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
    """An upper bound for the number of bytes of a request in a batch. Each picture counts as 200
    bytes, since only its file id is in the batch."""
    return len(json.dumps(request.fields())) * 2 + 200 * len(request.files()) + 500


def status_of(response: Mapping[str, Any]) -> int:
    """The HTTP status of the answer to one call in a batch; 0 if `response`, the JSON object with
    that answer, states none."""
    value = response.get("status_code")
    return value if isinstance(value, int) else 0


def error_without_answer(status: str, message: str) -> ProviderError:
    """The error for a call that got no answer in a batch: ProviderUncertain if the batch is
    "completed", since the call may have been billed, otherwise ProviderBusy. `status` says how the
    batch ended; `message` is the service's reason, or ""."""
    if status == "completed":
        return ProviderUncertain(
            "the batch is complete but has no answer to this call, which may have been billed; "
            "before you repeat it, check the calls in your account at the service"
        )
    return ProviderBusy(
        f"the batch is {status}: {message or 'this call was not processed'}; try again"
    )


def errors_of(record: Mapping[str, Any]) -> str:
    """The error messages in `record`, the service's description of a batch, joined with "; ". At
    most 1000 characters; "" if there are none."""
    listed: Iterable[Mapping[str, Any]] = (record.get("errors") or {}).get("data") or []
    return "; ".join(str(one.get("message", "")) for one in listed)[:1000]
