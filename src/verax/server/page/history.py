"""What the page keeps of its work: one folder per client, in it one folder per entry.

Every file of an entry has one writer. `request.json` is the server's: what was asked and how far it
is. `result.json` and `changes.json` are the worker's: what was made, and what the generator
changed. Names that come from outside never become paths: ids follow one pattern, the files of an
entry are a fixed set.
"""

import json
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from verax.fusion.dial import DEFAULT
from verax.image import replace_file
from verax.server.replies import Problem

ID = re.compile(r"[A-Za-z0-9_-]{22}")
STOPS = (100, 75, 50, 25, 0)  # of the page's dial, fidelity in percent
SHOWN = round(100 * DEFAULT)  # the stop that is shown first


def of_stop(fidelity: float) -> str:
    """What the names of a stop's pictures end in; nothing at the default."""
    percent = round(100 * fidelity)
    return "" if percent == SHOWN else f"-{percent:03d}"


PICTURES = (
    "photo", "prior", "registered", "restoration", "trust", "overlay", "motion", "edges", "objects",
    "small",
    *(f"picture-{index}" for index in range(10)),
    *(f"{kind}{of_stop(stop / 100)}" for kind in ("restoration", "trust") for stop in STOPS
      if stop != SHOWN),
)  # fmt: skip
MOST = 500  # entries of one client
MOST_NAME = 120
FINAL = ("done", "failed")
INTERRUPTED = "the server stopped before this was finished; start it again"


@dataclass(frozen=True, slots=True)
class History:
    """The entries of one client, in a folder of its own."""

    folder: Path

    def create(self, request: dict[str, Any]) -> Path:
        """A new entry's folder. Raises Problem 409 when there are too many already."""
        if sum(1 for _ in self.ids()) >= MOST:
            raise Problem(409, f"the history holds {MOST} entries; delete some", "history_full")
        entry = self.folder / secrets.token_urlsafe(16)
        entry.mkdir(parents=True, mode=0o700)
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
        """Forget an entry with all its files; a worker that still writes to it finds it gone."""
        gone = self.folder / f".{name}.gone"
        self.entry(name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Whole or not at all; fails where the entry was deleted meanwhile."""
    replace_file(path, json.dumps(value).encode())


def read_json(path: Path) -> dict[str, Any]:
    """What is there; nothing where nothing is there yet."""
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
    """Forget that an entry failed, and what its worker had begun."""
    (entry / "started").unlink(missing_ok=True)
    (entry / "result.json").unlink(missing_ok=True)
    kept = {k: v for k, v in read_json(entry / "request.json").items() if k != "error"}
    write_json(entry / "request.json", {**kept, "state": "waiting"})


def record(entry: Path, *, running: bool) -> dict[str, Any]:
    """An entry as the page sees it.

    Its state is "waiting", "asking" (a service), "restoring", "measuring", "done" or "failed".
    """
    request = read_json(entry / "request.json")
    result, changes = read_json(entry / "result.json"), read_json(entry / "changes.json")
    told = {**request, **result, **changes}
    there = {path.name for path in entry.iterdir()} if entry.is_dir() else set()
    told["pictures"] = [name for name in PICTURES if f"{name}.png" in there]
    state = request.get("state", "failed")
    if state not in FINAL and not running:
        return {**told, "state": "failed", "error": INTERRUPTED}
    if state == "waiting" and "started" in there:
        state = "measuring" if result else "restoring"
    return {**told, "state": state}


def records(kept: History, running: Collection[str]) -> list[dict[str, Any]]:
    """Every entry of a client, newest first."""
    entries = [record(kept.folder / name, running=name in running) for name in kept.ids()]
    there = [entry for entry in entries if "id" in entry]  # not deleted meanwhile
    return sorted(there, key=lambda entry: float(entry["created"]), reverse=True)


def plain_name(name: str | None, default: str = "photo") -> str:
    """A file name from outside, without folders and signs that no file name needs."""
    last = re.split(r"[\\/]", name or "")[-1]
    kept = "".join(c for c in last if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*;')
    return kept.strip(" .")[:MOST_NAME] or default


def attachment(name: str) -> dict[str, str]:
    """The header that saves an answer under this name (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    return {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    }
