"""The entries of the page's history: how they are stored, and their life cycle.

One folder per client, in it one folder per entry. Every file of an entry has one writer.
`request.json`, written by the server, has the request and its state. `result.json` and
`changes.json`, written by the worker, have the result and what the generator changed. Names from
outside never become paths: ids follow one pattern, and the files of an entry are a fixed set.
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
STOPS = (100, 75, 50, 25, 0)  # of the page's dial, fidelity in percent
SHOWN = round(100 * DEFAULT)  # the stop that is shown first


def of_stop(fidelity: float) -> str:
    """The suffix of picture names at this fidelity, such as "-050"; "" at the default."""
    percent = round(100 * fidelity)
    return "" if percent == SHOWN else f"-{percent:03d}"


PICTURES = (
    "photo", "prior", "registered", "restoration", "trust", "overlay", "motion", "edges", "objects",
    "faces", "small",
    *(f"picture-{index}" for index in range(10)),
    *(f"{kind}{of_stop(stop / 100)}" for kind in ("restoration", "trust") for stop in STOPS
      if stop != SHOWN),
)  # fmt: skip
MOST = 500  # entries of one client
MOST_NAME = 120
UNDO_S = 600.0
CLOCK_NS = 100_000_000  # file systems round times: two changes within this may look like one
SENT = (
    "photo",
    "prior",
    "answer-0",
    "mask",
    "only",
    "request.json",
)  # files of an entry that are not made here
FINAL = ("done", "failed")
INTERRUPTED = "the server stopped before this was finished; start it again"


@dataclass(frozen=True, slots=True)
class History:
    """The entries of one client, in a folder of its own."""

    folder: Path

    def create(self, request: dict[str, Any], *, name: str = "") -> Path:
        """A new entry's folder; `name` is an id that the client has chosen.

        Raises Problem 400 for what is no id, 409 when it is taken or there are too many entries.
        """
        if name and not ID.fullmatch(name):
            raise Problem(400, "id: expected 22 letters, digits, - and _", "invalid_value", "id")
        if sum(1 for _ in self.ids()) >= MOST:
            raise Problem(409, f"the history holds {MOST} entries; delete some", "history_full")
        entry = self.folder / (name or secrets.token_urlsafe(16))
        try:
            entry.mkdir(parents=True, mode=0o700)
        except FileExistsError as exc:
            raise Problem(409, "id: this entry is there already", "taken", "id") from exc
        write_json(
            entry / "request.json",
            {"id": entry.name, "created": round(time.time(), 3), "state": "waiting", **request},
        )
        return entry

    def ids(self) -> Iterator[str]:
        """Every entry's id, in no order."""
        if self.folder.is_dir():
            yield from (path.name for path in self.folder.iterdir() if ID.fullmatch(path.name))

    def entry(self, name: str) -> Path:
        """The folder of an entry of this client; Problem 404 for every other name."""
        path = self.folder / name
        if not ID.fullmatch(name) or not path.is_dir():
            raise Problem(404, "there is no such entry in your history", "not_found")
        return path

    def picture(self, name: str, picture: str) -> Path:
        """A picture of an entry; Problem 404 where there is none of that name."""
        stem = picture.removesuffix(".png")
        path = self.entry(name) / f"{stem}.png"
        if stem not in PICTURES or not path.is_file():
            raise Problem(404, "this entry has no such picture", "not_found")
        return path

    def remove(self, name: str) -> None:
        """Move an entry aside, so that workers no longer find it.

        For UNDO_S seconds `bring_back` restores it, then `forget` deletes it from the disk.
        """
        hidden = self._hidden_path(name)
        self.entry(name).rename(hidden)
        os.utime(hidden)

    def bring_back(self, name: str) -> Path:
        """The folder of an entry that was removed a short while ago; Problem 404 for any other."""
        if not ID.fullmatch(name) or not self._hidden_path(name).is_dir():
            raise Problem(404, "this entry cannot be brought back any more", "not_found")
        return self._hidden_path(name).rename(self.folder / name)

    def _hidden_path(self, name: str) -> Path:
        return self.folder / f".{name}.gone"


def forget(results: Path, *, seconds: float = UNDO_S) -> None:
    """Delete from the disk the entries that any client removed longer ago than this."""
    for hidden in results.glob("*/.*.gone"):
        with suppress(OSError):  # brought back meanwhile
            if time.time() - hidden.stat().st_mtime >= seconds:
                shutil.rmtree(hidden)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write atomically; fails if the entry was deleted meanwhile."""
    replace_file(path, json.dumps(value).encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} where there is no such file, or it cannot be read."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value


def amend(entry: Path, **changes: Any) -> None:  # noqa: ANN401  # any JSON
    """Change the server's part of an entry."""
    path = entry / "request.json"
    write_json(path, {**read_json(path), **changes})


def reopen(entry: Path) -> None:
    """Delete the results of an entry, and its error, so that it can be made again."""
    for path in entry.iterdir():
        if path.name not in SENT:
            path.unlink(missing_ok=True)
    request = read_json(entry / "request.json")
    request.pop("error", None)
    write_json(entry / "request.json", {**request, "state": "waiting"})


def record(entry: Path, *, running: bool) -> dict[str, Any]:
    """An entry as the page sees it.

    Its state is "waiting", "asking" (a service), "restoring", "measuring", "done" or "failed".
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
    """Every entry of a client, newest first."""
    entries = [record(history.folder / name, running=name in running) for name in history.ids()]
    there = [entry for entry in entries if "id" in entry]  # not deleted meanwhile
    return sorted(there, key=lambda entry: float(entry["created"]), reverse=True)


def version(history: History, running: Collection[str]) -> str | None:
    """A tag that changes with any entry of a client; None while a change could be missed.

    Every file of an entry is renamed into place, so the time of its folder covers all of them.
    """
    folders = []
    with suppress(OSError):  # deleted meanwhile: the next look sees it
        folders = [
            (n, (history.folder / n).stat().st_mtime_ns, n in running) for n in history.ids()
        ]
    newest = max((changed for _, changed, _ in folders), default=0)
    if time.time_ns() - newest < CLOCK_NS or len(folders) != len(set(history.ids())):
        return None
    return f'"{hashlib.sha256(repr(sorted(folders)).encode()).hexdigest()[:32]}"'


def plain_name(name: str | None, default: str = "photo") -> str:
    """A file name from outside, without folders and special characters."""
    last = re.split(r"[\\/]", name or "")[-1]
    plain = "".join(c for c in last if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*;')
    return plain.strip(" .")[:MOST_NAME] or default


def attachment(name: str) -> dict[str, str]:
    """The header that saves an answer under this name (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    return {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    }


MOST_PAUSE_S = 10.0
Work = Callable[[], Awaitable[dict[str, Any]]]  # returns what is added to the entry at the end


def whose(request: Request) -> "tuple[Context, Account, History]":
    """The client account of a request, and its history. Raises Problem 401 without a valid key."""
    from verax.server.api.routes import context_of  # a worker needs no routes

    context = context_of(request)
    client = context.client(request)
    return context, client, History(context.results / client.name)


def under_way(request: Request) -> dict[str, "asyncio.Task[None]"]:
    """The running tasks by entry; kept for the lifetime of the application."""
    running: dict[str, asyncio.Task[None]] = request.app.state.page_running
    return running


async def earlier_answer(request: Request, history: History, name: str) -> Response | None:
    """The answer to a repeated request, else None; Problem 429 while the first one arrives."""
    if name not in set(history.ids()):
        return None
    running = name in under_way(request)
    payload = await run_in_threadpool(partial(record, history.entry(name), running=running))
    if "format" not in payload and payload.get("kind") == "restoration":
        raise Problem(429, "this is still being received", "arriving", headers={"retry-after": "2"})
    return json_response(payload, status=202)


async def start(request: Request, entry: Path, work: Work) -> Response:
    """Start the work of an entry as a task. Returns the entry as a response."""
    running = under_way(request)
    task = asyncio.create_task(_carry_out(entry, work))
    running[entry.name] = task
    task.add_done_callback(lambda _: running.pop(entry.name, None))
    payload = await run_in_threadpool(partial(record, entry, running=True))
    return json_response(payload, status=202)


async def _carry_out(entry: Path, work: Work) -> None:
    """Run the work of an entry and store its outcome."""
    try:
        outcome: dict[str, Any] = {"state": "done", **await work()}
    except Problem as problem:
        outcome = {"state": "failed", "error": problem.message}
    except VeraxError as exc:
        words = from_error(exc).message.replace(f"{entry}/", "")
        outcome = {"state": "failed", "error": words.removeprefix("--")}
    except Exception as exc:  # noqa: BLE001  # whatever it was, the entry must not wait for ever
        if entry.is_dir():  # a bug; where the entry was deleted meanwhile, it is none
            context = {"message": "an entry failed", "exception": exc}
            asyncio.get_running_loop().call_exception_handler(context)
        outcome = {"state": "failed", "error": unknown().message}
    if entry.is_dir():
        await run_in_threadpool(partial(amend, entry, **outcome))


async def in_turn(jobs: WorkQueue, client: Account, work: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """The result of work in a queue; where the queue is full, waits until there is room."""
    while True:
        try:
            return await jobs.run(client.name, work, *arguments)
        except Problem as problem:
            if problem.status != 429 or "retry-after" not in problem.headers:
                raise
            await asyncio.sleep(min(MOST_PAUSE_S, float(problem.headers["retry-after"])))
