"""The history of the web page: how its entries are stored, and their life cycle.

Each client has a folder, with a folder for each entry. Of an entry's files, the server writes
`request.json` (the request and its state); a worker process writes `result.json` (the result) and
`changes.json` (what the generator changed). Names that clients send never become paths unchecked:
ids must match a pattern, and the names of an entry's files are fixed.
"""

import asyncio
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from verax.errors import VeraxError
from verax.fusion.dial import DEFAULT
from verax.image import replace_file
from verax.server import Problem, from_error, json_response, unknown
from verax.server.access import Account
from verax.server.queue import WorkQueue

if TYPE_CHECKING:
    from verax.server.api.routes import Context

ID = re.compile(r"[A-Za-z0-9_-]{22}")
STOPS = (100, 75, 50, 25, 0)  # the values of fidelity that the page offers, in percent
SHOWN = round(100 * DEFAULT)  # the fidelity that the page shows first, in percent


def stop_suffix(fidelity: float) -> str:
    """The suffix of picture names for a fidelity, such as "-050" for 0.5; "" for 0.75."""
    percent = round(100 * fidelity)
    return "" if percent == SHOWN else f"-{percent:03d}"


PICTURES = (
    "photo", "prior", "registered", "restoration", "trust", "overlay", "motion", "edges", "objects",
    "faces", "small",
    *(f"picture-{index}" for index in range(10)),
    *(f"{kind}{stop_suffix(stop / 100)}" for kind in ("restoration", "trust") for stop in STOPS
      if stop != SHOWN),
)  # fmt: skip
MOST = 500  # most entries of a client
MOST_NAME = 120
UNDO_S = 600.0
CLOCK_NS = 100_000_000  # two changes within this time may get the same time stamp
# the files of an entry that are not results
SENT = ("photo", "prior", "answer-0", "mask", "only", "request.json")
FINAL = ("done", "failed")
INTERRUPTED = "the server stopped before this entry was finished; choose Try again"


@dataclass(frozen=True, slots=True)
class History:
    """The entries of one client, stored in `folder`."""

    folder: Path

    def create(self, request: dict[str, Any], *, name: str = "") -> Path:
        """Create an entry with the id `name`, or a new id if `name` is "". Its file request.json
        gets the keys and values of `request`. Returns the entry's folder. Raises Problem 400 for
        an invalid id, and 409 if the id exists or the history is full."""
        if name and not ID.fullmatch(name):
            text = f"id: expected 22 characters (letters, digits, - and _), got {name[:60]!r}"
            raise Problem(400, text, "invalid_value", "id")
        if sum(1 for _ in self.ids()) >= MOST:
            raise Problem(409, f"the history is full ({MOST} entries); delete some", "history_full")
        entry = self.folder / (name or secrets.token_urlsafe(16))
        try:
            entry.mkdir(parents=True, mode=0o700)
        except FileExistsError as exc:
            raise Problem(409, f"id: {name!r} is in use; choose another", "taken", "id") from exc
        write_json(
            entry / "request.json",
            {"id": entry.name, "created": round(time.time(), 3), "state": "waiting", **request},
        )
        return entry

    def ids(self) -> Iterator[str]:
        """The ids of all entries, in no particular order."""
        if self.folder.is_dir():
            yield from (path.name for path in self.folder.iterdir() if ID.fullmatch(path.name))

    def entry(self, name: str) -> Path:
        """The folder of the entry with this id. Raises Problem 404 if the client has none."""
        path = self.folder / name
        if not ID.fullmatch(name) or not path.is_dir():
            raise Problem(404, "your history has no such entry; reload the page", "not_found")
        return path

    def picture(self, name: str, picture: str) -> Path:
        """The file of a picture, "trust" or "trust.png", of entry `name`; Problem 404 if none."""
        stem = picture.removesuffix(".png")
        path = self.entry(name) / f"{stem}.png"
        if stem not in PICTURES or not path.is_file():
            text = f"this entry has no picture {stem[:60]!r}; reload the page"
            raise Problem(404, text, "not_found")
        return path

    def remove(self, name: str) -> None:
        """Hide the entry with this id or raise 404; before `forget`, `bring_back` undoes it."""
        hidden = self._hidden_path(name)
        self.entry(name).rename(hidden)
        os.utime(hidden)

    def bring_back(self, name: str) -> Path:
        """Undo `remove`. Returns the entry's folder. Raises Problem 404 if it is too late."""
        if not ID.fullmatch(name) or not self._hidden_path(name).is_dir():
            text = "a deletion can be undone for ten minutes only; this entry is lost, make it anew"
            raise Problem(404, text, "not_found")
        return self._hidden_path(name).rename(self.folder / name)

    def _hidden_path(self, name: str) -> Path:
        return self.folder / f".{name}.gone"


def forget(results: Path, *, seconds: float = UNDO_S) -> None:
    """Delete from the disk the entries of all clients, in the folder `results`, that were removed
    more than `seconds` ago."""
    for hidden in results.glob("*/.*.gone"):
        with suppress(OSError):  # restored in the same moment
            if time.time() - hidden.stat().st_mtime >= seconds:
                shutil.rmtree(hidden)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file atomically. Raises OutputError, for instance if the entry is deleted."""
    replace_file(path, json.dumps(value).encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} if the file is missing or cannot be read."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value


def amend(entry: Path, **changes: Any) -> None:  # noqa: ANN401  # any JSON
    """Set these keys to these values in the file request.json of an entry; others are kept."""
    path = entry / "request.json"
    write_json(path, {**read_json(path), **changes})


def reopen(entry: Path) -> None:
    """Prepare an entry for new work: delete its results and error, set its state to "waiting"."""
    for path in entry.iterdir():
        if path.name not in SENT:
            path.unlink(missing_ok=True)
    request = read_json(entry / "request.json")
    request.pop("error", None)
    write_json(entry / "request.json", {**request, "state": "waiting"})


def record(entry: Path, *, running: bool) -> dict[str, Any]:
    """The JSON object that describes an entry to the page. `running`: whether it is in progress.

    The state is "waiting", "asking" (for the prior), "restoring", "measuring" (what the generator
    changed), "done" or "failed".
    """
    request = read_json(entry / "request.json")
    result, changes = read_json(entry / "result.json"), read_json(entry / "changes.json")
    payload = {**request, **result, **changes}
    there = {path.name for path in entry.iterdir()} if entry.is_dir() else set()
    payload["drawn"] = [name for name in ("mask", "only") if name in there]
    payload["pictures"] = [name for name in PICTURES if f"{name}.png" in there]
    state = request.get("state", "failed")
    if state not in FINAL and not running:
        return {**payload, "state": "failed", "error": INTERRUPTED, "interrupted": True}
    if state == "waiting" and "started" in there:
        state = "measuring" if result else "restoring"
    return {**payload, "state": state}


def records(history: History, running: Collection[str]) -> list[dict[str, Any]]:
    """The JSON objects of a client's entries, newest first; `running`: ids of those in progress."""
    entries = [record(history.folder / name, running=name in running) for name in history.ids()]
    there = [entry for entry in entries if "id" in entry]  # without those deleted just now
    return sorted(there, key=lambda entry: float(entry["created"]), reverse=True)


def version(history: History, running: Collection[str]) -> str | None:
    """The ETag of a client's history, which changes whenever an entry changes. None if the last
    change is so recent that another one might get the same time stamp."""
    folders = []
    with suppress(OSError):  # an entry deleted just now
        folders = [
            (n, (history.folder / n).stat().st_mtime_ns, n in running) for n in history.ids()
        ]
    # every file is replaced by renaming, which changes the time of its folder
    newest = max((changed for _, changed, _ in folders), default=0)
    if time.time_ns() - newest < CLOCK_NS or len(folders) != len(set(history.ids())):
        return None
    return f'"{hashlib.sha256(repr(sorted(folders)).encode()).hexdigest()[:32]}"'


def plain_name(name: str | None, default: str = "photo") -> str:
    """A client's file name without folders and special characters; `default` if that is empty."""
    last = re.split(r"[\\/]", name or "")[-1]
    plain = "".join(c for c in last if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*;')
    return plain.strip(" .")[:MOST_NAME] or default


def attachment(name: str) -> dict[str, str]:
    """The HTTP header that makes a browser save the answer as a file of this name (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    return {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    }


MOST_PAUSE_S = 10.0
Work = Callable[[], Awaitable[dict[str, Any]]]  # returns keys to set in request.json at the end


def whose(request: Request) -> "tuple[Context, Account, History]":
    """A request's server, client and history. Raises Problem 401 if the key is not valid."""
    from verax.server.api.routes import context_of  # here, since workers need no routes

    context = context_of(request)
    client = context.client(request)
    return context, client, History(context.results / client.name)


def under_way(request: Request) -> dict[str, "asyncio.Task[None]"]:
    """The tasks in progress, by the id of the entry that they work on."""
    running: dict[str, asyncio.Task[None]] = request.app.state.page_running
    return running


async def earlier_answer(request: Request, history: History, name: str) -> Response | None:
    """The answer to a request that was sent before, so that an entry with the id `name` exists.
    None if there is no such entry. Raises Problem 429 while the entry's files still arrive."""
    if name not in set(history.ids()):
        return None
    running = name in under_way(request)
    payload = await run_in_threadpool(partial(record, history.entry(name), running=running))
    if "format" not in payload and payload.get("kind") == "restoration":
        text = "the photo is still arriving; try again in 2 s"
        raise Problem(429, text, "arriving", headers={"retry-after": "2"})
    return json_response(payload, status=202)


async def start(request: Request, entry: Path, work: Work) -> Response:
    """Start `work`, which returns keys and values for request.json, on an entry as a task. Returns
    a response with the entry as JSON."""
    running = under_way(request)
    task = asyncio.create_task(_carry_out(entry, work))
    running[entry.name] = task
    task.add_done_callback(lambda _: running.pop(entry.name, None))
    payload = await run_in_threadpool(partial(record, entry, running=True))
    return json_response(payload, status=202)


async def _carry_out(entry: Path, work: Work) -> None:
    """Run `work` on an entry. Store what it returns and how it ended (state, error) in the entry's
    request.json."""
    try:
        outcome: dict[str, Any] = {"state": "done", **await work()}
    except Problem as problem:
        outcome = {"state": "failed", "error": problem.message}
    except VeraxError as exc:
        words = from_error(exc).message.replace(f"{entry}/", "")
        outcome = {"state": "failed", "error": words.removeprefix("--")}
    except Exception as exc:  # noqa: BLE001  # the entry must not stay "waiting" for ever
        if entry.is_dir():  # a bug, unless the entry was deleted in the meantime
            context = {"message": "an entry failed", "exception": exc}
            asyncio.get_running_loop().call_exception_handler(context)
        outcome = {"state": "failed", "error": unknown().message}
    if entry.is_dir():
        await run_in_threadpool(partial(amend, entry, **outcome))


async def in_turn(jobs: WorkQueue, client: Account, work: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """Run `work(*arguments)` for `client` in the queue `jobs`, and return the result. While the
    queue is full, wait and try again."""
    while True:
        try:
            return await jobs.run(client.name, work, *arguments)
        except Problem as problem:
            if problem.status != 429 or "retry-after" not in problem.headers:
                raise
            await asyncio.sleep(min(MOST_PAUSE_S, float(problem.headers["retry-after"])))
