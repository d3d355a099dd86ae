"""The store: whole writes, one upgrade, clear errors, signs of life."""

import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys

import pytest

from verax.errors import InputError, OutputError
from verax.image import replace_file
from verax.store import Presence, ReservedSpace, open_database, transaction, write_whole, writing

FIRST = ["CREATE TABLE things (name TEXT)"]
SECOND = [*FIRST, "ALTER TABLE things ADD COLUMN size INTEGER; CREATE INDEX x ON things (size)"]


def names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def database(tmp_path):
    connection = open_database(tmp_path / "a.sqlite", FIRST)
    yield connection
    connection.close()


@pytest.fixture
def small_files():
    """No file may grow beyond 64 KiB: what a full disk looks like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_old_database_is_brought_up_to_date(tmp_path):
    path = tmp_path / "a.sqlite"
    old = open_database(path, FIRST)
    old.execute("INSERT INTO things VALUES ('kept')")
    old.close()
    new = open_database(path, SECOND)
    row = new.execute("SELECT name, size FROM things").fetchone()
    new.close()

    assert tuple(row) == ("kept", None)


def test_a_newer_database_is_refused(tmp_path):
    open_database(tmp_path / "a.sqlite", SECOND).close()

    with pytest.raises(InputError, match="version 1 or older, got version 2"):
        open_database(tmp_path / "a.sqlite", FIRST)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"certainly not a database " * 100)

    with pytest.raises(InputError, match="expected a database of Verax"):
        open_database(path, FIRST)


def test_a_failed_upgrade_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.sqlite"
    open_database(path, FIRST).close()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        open_database(path, [*FIRST, "ALTER TABLE things ADD x TEXT; DROP TABLE absent"])
    again = open_database(path, FIRST)
    columns = [row["name"] for row in again.execute("PRAGMA table_info(things)")]
    again.close()

    assert columns == ["name"]


def test_a_transaction_is_all_or_nothing(database):
    def insert_then_fail():
        with transaction(database):
            database.execute("INSERT INTO things VALUES ('a')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        insert_then_fail()

    assert database.execute("SELECT count(*) FROM things").fetchone()[0] == 0


def insert_many(path, count):
    for _ in range(count):  # opening and closing is where SQLite itself does not wait
        connection = open_database(path, FIRST)
        with transaction(connection):
            rows = connection.execute("SELECT count(*) FROM things").fetchone()[0]
            connection.execute("INSERT INTO things VALUES (?)", (str(rows),))
        connection.close()


def test_two_processes_write_one_after_the_other(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    path = tmp_path / "a.sqlite"
    workers = [spawn.Process(target=insert_many, args=(path, 20)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    connection = open_database(path, FIRST)
    written = [int(row["name"]) for row in connection.execute("SELECT name FROM things")]
    connection.close()

    assert written == list(range(40))


def test_a_write_that_fails_leaves_the_old_bytes(tmp_path, small_files):
    path = tmp_path / "a"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="large"):
        write_whole(path, bytes(200_000))

    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "a", b"x", parents=False)
    with pytest.raises(OutputError):
        replace_file(tmp_path / "gone" / "a", b"x")

    assert names(tmp_path) == []


def test_no_space_is_an_output_error_that_names_the_file(tmp_path, small_files):
    with pytest.raises(OutputError, match=r"cannot write .*answer.*free space"):
        ReservedSpace(tmp_path / "answer", 1_000_000)
    assert names(tmp_path) == []


def test_reserved_space_becomes_the_file(tmp_path):
    room = ReservedSpace(tmp_path / "answer", 1_000_000)
    held = (tmp_path / "answer.room").stat().st_blocks * 512
    room.fill(b"short")
    room.drop()

    assert held >= 1_000_000
    assert names(tmp_path) == ["answer"]
    assert (tmp_path / "answer").read_bytes() == b"short"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(OutputError, match="cannot write"), writing(tmp_path / "x"):
        write_whole(tmp_path / "x", b"x")


def test_a_database_below_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputError, match="cannot write"):
        open_database(tmp_path / "file" / "a.sqlite", FIRST)


def test_a_killed_process_is_no_longer_present(tmp_path):
    code = (
        "import sys; from pathlib import Path; from verax.store import Presence\n"
        "print(Presence(Path(sys.argv[1])).name, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        name = process.stdout.readline().strip()
        before = Presence.is_alive(tmp_path, name)
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = Presence.is_alive(tmp_path, name)
    mine = Presence(tmp_path)
    Presence.sweep(tmp_path)
    left = names(tmp_path)
    mine.close()

    assert (before, after) == (True, False)
    assert left == [mine.name]


def test_who_left_or_never_was_is_not_present(tmp_path):
    presence = Presence(tmp_path)
    alive = Presence.is_alive(tmp_path, presence.name)
    presence.close()

    assert alive
    assert not Presence.is_alive(tmp_path, presence.name)
    assert not Presence.is_alive(tmp_path, "nobody")


def test_rows_have_names(database):
    database.execute("INSERT INTO things VALUES ('a')")
    row = database.execute("SELECT * FROM things").fetchone()

    assert isinstance(row, sqlite3.Row)
    assert row["name"] == "a"


def test_what_does_not_fit_is_kept_as_far_as_it_does(tmp_path, small_files):
    room = ReservedSpace(tmp_path / "answer", 1_000)
    with pytest.raises(OutputError):
        room.fill(b"x" * 100_000)

    assert (tmp_path / "answer").read_bytes() == b"x" * 65_536
