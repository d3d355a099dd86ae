"""Keys of the server's own clients: made here, shown once, stored as hashes.

The keys are 256 random bits, so a plain SHA-256 is enough: there is nothing to guess.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from verax.errors import InputError
from verax.store import open_database

PREFIX = "verax-"
MIGRATIONS = (
    """
    CREATE TABLE clients (
        name TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, budget_usd REAL, created REAL NOT NULL)
    """,
)


@dataclass(frozen=True, slots=True)
class Account:
    """A client. `budget_usd` is the most that all its paid calls may cost; None: no limit."""

    name: str
    budget_usd: float | None = None


ANYBODY = Account("local")


class ClientKeys:
    """The clients of one server."""

    def __init__(self, path: Path) -> None:
        self.connection = open_database(path, MIGRATIONS)

    def close(self) -> None:
        self.connection.close()

    def add(self, name: str, *, budget_usd: float | None = None) -> str:
        """A new client's key; it cannot be shown again."""
        if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
            raise InputError(f"client name {name!r}: want letters, digits, - and _, at most 64")
        if name == ANYBODY.name:
            raise InputError(f"client name {name!r} is kept for clients without a key")
        if budget_usd is not None and not budget_usd >= 0:
            raise InputError(f"budget: want US dollars, 0 or more, got {budget_usd}")
        key = PREFIX + secrets.token_urlsafe(32)
        row = (name, digest(key), budget_usd, time.time())
        if name in self.names():
            raise InputError(f"client {name!r} has a key already; remove it first")
        self.connection.execute("INSERT INTO clients VALUES (?, ?, ?, ?)", row)
        return key

    def remove(self, name: str) -> bool:
        done = self.connection.execute("DELETE FROM clients WHERE name = ?", (name,))
        return done.rowcount > 0

    def names(self) -> list[str]:
        return [r[0] for r in self.connection.execute("SELECT name FROM clients ORDER BY name")]

    def all(self) -> list[Account]:
        """Every client with its budget, by name."""
        rows = self.connection.execute("SELECT name, budget_usd FROM clients ORDER BY name")
        return [Account(name, budget) for name, budget in rows]

    def client(self, key: str) -> Account | None:
        """The client of a key; None for an unknown key."""
        query = "SELECT name, budget_usd FROM clients WHERE sha256 = ?"
        row = self.connection.execute(query, (digest(key),)).fetchone()
        return None if row is None else Account(row[0], row[1])


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
