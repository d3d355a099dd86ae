"""Storage: a SQLite database in WAL mode, and files beside it.

Both survive `kill -9` at any moment, and two processes at once. A write is complete or absent: a
file gets its name only after its bytes are synced, and changes of the database commit in one step.
Every failure to write is an OutputError; a file of a newer Verax is an InputError.
"""

import io
import os
import shutil
import sqlite3
import stat
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from verax.errors import InputError, OutputError

BUSY_S = 60.0  # how long one process waits for another's transaction
_SURROUNDINGS = {  # errors of disk and permissions, not of our SQL
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
ROOM = ".room"  # ending of a file that only reserves space


@contextmanager
def writing(where: Path | str) -> Iterator[None]:
    """Run a `with` block that writes to the file or folder `where`. Errors of the system or of
    SQLite that prevent the writing are raised as an OutputError that names `where`."""
    try:
        yield
    except OSError as exc:
        raise _no_write(where, exc.strerror or str(exc)) from exc
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF not in _SURROUNDINGS:
            raise
        raise _no_write(where, str(exc)) from exc


def _no_write(where: Path | str, reason: str) -> OutputError:
    return OutputError(f"cannot write {where}: {reason}; free space or choose another place")


def free_gb(path: Path) -> float:
    """The free space, in GB, on the disk of a file or folder, which need not exist yet."""
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free / 1e9


def write_whole(path: Path, data: bytes, *, parents: bool = True) -> None:
    """Write a file in one step. Afterwards it has exactly these bytes, synced to disk; after an
    error it is unchanged.

    A symbolic link is followed, and the permissions of an existing file are kept. `parents` creates
    missing folders. Raises OSError; inside `with writing(path)` this becomes an OutputError.
    """
    target = Path(os.path.realpath(path))
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".verax-{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            draft.chmod(stat.S_IMODE(target.stat().st_mode))
        draft.replace(target)
        _sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that a rename in it survives a power failure. Systems on which a
    folder cannot be opened do not need this."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class ReservedSpace:
    """`size` bytes of disk space that are reserved for the file `path`, so that its contents will
    fit when it is written.

    A file with the ending .room occupies the space, until `fill` makes it the file at `path`, or
    `drop` removes it. Raises OutputError if the disk does not have so much space.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._room = path, path.with_name(path.name + ROOM)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._room.open("wb") as file:
                    _allocate(file.fileno(), size)
            except BaseException:
                self.drop()
                raise

    def fill(self, data: bytes) -> None:
        """Write `data`, which may be shorter or longer than `size`, as the file; sync it to disk.

        Raises OutputError if not all bytes fit on the disk; the file then has the first bytes.
        """
        with writing(self.path):
            with self._room.open("r+b", buffering=0) as file:
                written, why = _as_much_as_fits(file, data)
                file.truncate(written)
                os.fsync(file.fileno())
            self._room.replace(self.path)
            _sync_folder(self.path.parent)
            if why is not None:
                raise why

    def drop(self) -> None:
        """Free the reserved space; does nothing after `fill`."""
        self._room.unlink(missing_ok=True)


def _allocate(handle: int, size: int) -> None:
    """Reserve `size` bytes on the disk for the open file `handle`. To set its length with truncate
    would not reserve them."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.write(handle, bytes(size))


def _as_much_as_fits(file: io.FileIO, data: bytes) -> tuple[int, OSError | None]:
    """Write as many bytes of `data` to the open `file` as fit on the disk. Returns their number and
    the error that prevented more, None if all fit."""
    view, written = memoryview(data), 0
    try:
        while written < len(data):
            written += file.write(view[written:])
    except OSError as exc:
        return written, exc
    return written, None


def open_database(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    """A connection to the database at `path`, which is created or brought to the newest version.

    `migrations[k]` is the SQL script that turns version k of the tables into version k + 1; an
    empty database has version 0. Rows are `sqlite3.Row`, whose columns have names. Outside
    `transaction` every statement is committed and synced at once. Threads may share the connection,
    but not use it at the same time. Raises OutputError if the database cannot be opened or written,
    InputError if the file is not a database or was written by a newer Verax.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            _prepare(connection, path, migrations)
        except sqlite3.DatabaseError as exc:
            connection.close()
            if isinstance(exc, sqlite3.OperationalError):
                raise
            raise InputError(
                f"{path}: expected a database of Verax, got another file ({exc}); choose another "
                "folder or move the file"
            ) from exc
        except InputError:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Set WAL mode and bring the database to the newest version.

    SQLite does not wait while another process opens the first connection or closes the last one;
    this function does, for up to 60 s.
    """
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection, path, migrations)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    if _version(connection) == len(migrations):
        return
    with transaction(connection):
        version = _version(connection)  # another process may have been first
        if version > len(migrations):
            raise InputError(
                f"{path}: expected a database of version {len(migrations)} or older, got version "
                f"{version}; update Verax, or choose another folder (VERAX_HOME)"
            )
        for script in migrations[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a `with` block as one transaction, which is committed at its end, or rolled back if it
    raises an error. Other writers wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


class Presence:
    """Shows other processes that this one runs, by a lock on a file in `folder`. The system
    releases the lock when the process ends, however it ends.

    The file has a unique name, `name`, which identifies the process. Others ask `is_alive` with
    this name. Unlike process ids, this works between containers that share a disk.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.path = folder / self.name
        draft = folder / f".{self.name}"  # under its name only once it is locked
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
            _lock(self._handle)
            draft.replace(self.path)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._handle)

    @staticmethod
    def is_alive(folder: Path, name: str) -> bool:
        """Whether the process that made the Presence with this `folder` and `name` still runs."""
        try:
            handle = os.open(folder / name, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            _lock(handle)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    @staticmethod
    def sweep(folder: Path) -> None:
        """Remove the files in `folder` whose processes have ended."""
        for path in folder.glob("[!.]*"):
            if not Presence.is_alive(folder, path.name):
                path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
