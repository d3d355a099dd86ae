"""The tables behind batches: which there are, and which pictures lie at the service for them."""

from dataclasses import dataclass, replace
from typing import Any

from verax.providers.records import Records


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. Times are seconds since 1970.

    Attributes:
        owner: the process that prepares it.
        address: base URL of the service.
        status: "preparing" (nothing sent), "creating" (perhaps created), then the service's words.
        message: why the service failed it.
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
        """Make `owner` the one who goes on with it; False where somebody else was first."""
        with self.records.change():
            done = self.records.database.execute(
                "UPDATE batches SET owner = ? WHERE id = ? AND owner = ?",
                (owner, batch.id, batch.owner),
            )
        return done.rowcount == 1

    def drop(self, batch: Batch) -> None:
        self._write("DELETE FROM batches WHERE id = :id", {"id": batch.id})

    def uploaded(self) -> dict[str, str]:
        """SHA-256 -> file id of the pictures that lie at the service."""
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
