"""The end of a call: its answer on disk, its record closed.

The body of an answer is one file, `<fingerprint>.json`, byte for byte. Beside it are the
pictures behind its links (`.<hash of the link>.picture`; `.unread` for a file that is not a
picture, which is fetched again), and the received part of interrupted answers (`.<call>.part`).
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from verax.errors import (
    InputError,
    OutputError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    VeraxError,
)
from verax.providers import ImagesAnswer, Usage
from verax.providers.answers import Fetch, bill, holds_pictures, is_picture, read_answer
from verax.providers.budget import cost_usd
from verax.providers.records import Call, CallState, Records
from verax.store import ROOM, Presence, Reserved, write_whole, writing

NOT_SENT = (InputError, ProviderRejected, ProviderBusy)
PLAUSIBLE = 0.75  # a bill below this share of the lowest possible cost is taken as unknown


class AnswerSink:
    """Stores what one call returns: the body of its answer, and the pictures behind its links.

    Attributes:
        short: why the body could be stored only in part; "" if it is complete.
    """

    def __init__(self, room: Reserved) -> None:
        self._room = room
        self.short = ""

    def __call__(self, body: bytes, /) -> None:
        """Store the body, or as much of it as fits on a full disk; the call goes on, since its
        pictures are paid and still in memory."""
        try:
            self._room.fill(body)
        except OutputError as exc:
            self.short = f"the answer of {len(body)} bytes could be kept only in part: {exc}"

    def picture(self, link: str, fetch: Fetch, /) -> bytes:
        """The picture behind a link; fetched and stored if missing."""
        return linked_picture(self._room.path, link, fetch)


def linked_picture(answer: Path, link: str, fetch: Fetch) -> bytes:
    """The picture behind a link of the answer at this path; fetched and stored if missing."""
    path = picture_path(answer, link)
    if path.is_file():
        return path.read_bytes()
    data = fetch(link)
    if not is_picture(data):  # an error page, or a format that a later version may read
        path = path.with_suffix(".unread")
    with suppress(OutputError), writing(path):  # delivered all the same; the link stays
        write_whole(path, data)
    return data


def picture_path(answer: Path, link: str) -> Path:
    name = hashlib.sha256(link.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return answer.with_suffix(f".{name}.picture")


def _not_fetched(link: str) -> bytes:
    raise ProviderError("the picture was sent as a link, not stored; try: verax journal fetch")


class AnswerStore:
    """The answers of a journal on disk, and the closing of its records.

    Args:
        folder: of the journal.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, records: Records, clock: Callable[[], float]) -> None:
        self.folder, self.records, self.now = folder, records, clock
        self._presence = Presence(folder / "owners")
        self._unclosed: set[int] = set()  # finished calls whose records could not be closed

    def close(self) -> None:
        self._presence.close()

    @property
    def owner(self) -> str:
        """The name of this process as owner of records."""
        return self._presence.name

    def lives(self, owner: str) -> bool:
        """Whether the process of that name is still running."""
        return Presence.is_alive(self.folder / "owners", owner)

    def path(self, fingerprint: str) -> Path:
        """Where the body of the answer to a request is kept."""
        return self.folder / "answers" / fingerprint[:2] / f"{fingerprint}.json"

    def body(self, call: Call) -> bytes:
        """The stored body of an answered call. Raises InputError if it is missing."""
        path = self.path(call.fingerprint)
        try:
            return path.read_bytes()
        except OSError as exc:
            raise InputError(
                f"the answer to call {call.id} is gone ({path}: {exc.strerror}); to pay for it "
                f"again, remove its record: verax journal prune {call.fingerprint[:12]}"
            ) from exc

    def remove(self, calls: Sequence[Call]) -> int:
        """Delete calls and their answers, so that the same requests are paid again.

        Calls in progress, also in batches, are not deleted. Returns the bytes freed.
        """
        freed = 0
        for call in calls:
            with self.records.change():
                deleted = call.state not in ("started", "batched") and self.records.delete(call)
                for file in self.files(call) if deleted else ():
                    freed += file.stat().st_size
                    file.unlink()
        return freed

    def files(self, call: Call) -> list[Path]:
        """Everything on disk that belongs to a call which has ended."""
        path = self.path(call.fingerprint)
        if call.state in ("done", "unusable"):
            beside = [*path.parent.glob(f"{path.stem}.*.picture")]
            beside += path.parent.glob(f"{path.stem}.*.unread")
            return [one for one in (path, *beside) if one.is_file()]
        part = self.part(call)
        return [part] if part.is_file() else []

    def part(self, call: Call) -> Path:
        """The file that holds the received part of a broken answer."""
        return self.path(call.fingerprint).with_suffix(f".{call.id}.part")

    def read(self, call: Call, fetch: Fetch | None = None) -> ImagesAnswer:
        """The stored answer of a call; `fetch` gets pictures behind links that are not stored yet.

        Raises as `read_answer` does; InputError where the file is gone.
        """
        path = self.path(call.fingerprint)
        answer = read_answer(
            self.body(call),
            fetch=lambda link: linked_picture(path, link, fetch or _not_fetched),
            retries=call.retries,
        )
        return replace(answer, request_id=call.request_id)

    def reread(self, call: Call, fetch: Fetch | None = None) -> CallState:
        """Read the stored answer of a call again, with this version, and try its links again.

        From an interrupted answer, complete pictures are used. Returns the new state.
        """
        if call.state == "uncertain":
            return self._from_part(call, fetch)
        self.body(call)
        return self.close_answered(call, fetch=fetch)

    def _from_part(self, call: Call, fetch: Fetch | None) -> CallState:
        part, newest = self.part(call), self.records.last(call.fingerprint)
        body = part.read_bytes() if part.is_file() else b""
        if newest is None or newest.id != call.id or not holds_pictures(body):
            return call.state
        state = self.take(call, body, fetch)
        part.unlink()
        return state

    def take(self, call: Call, body: bytes, fetch: Fetch | None = None) -> CallState:
        """Store the answer that a batch returned for a call. Returns the call's state."""
        with writing(self.path(call.fingerprint)):
            write_whole(self.path(call.fingerprint), body)
        return self.close_answered(call, fetch=fetch)

    def close_unanswered(self, call: Call, why: ProviderError) -> None:
        """Close a call for which a batch returned an error."""
        self.path(call.fingerprint).unlink(missing_ok=True)
        self.close_failed(call, why)

    def settle(self) -> list[Call]:
        """Close the records that dead processes left open. Returns those that became uncertain."""
        with self.records.change():
            left = self.records.select(states=("started",))
            lost = [call for call in left if self.settle_one(call) == "uncertain"]
        Presence.sweep(self.folder / "owners")
        return lost

    def close_failed(self, call: Call, exc: BaseException) -> None:
        """Close the record of a call that raised."""
        message = str(exc) or type(exc).__name__
        if isinstance(exc, ProviderRefused):
            self._close_refused(call, exc)
        elif self.path(call.fingerprint).is_file():
            self.close_answered(call)
        elif isinstance(exc, NOT_SENT):
            self.finish(call, "failed", message=message)
        else:
            if isinstance(exc, ProviderUncertain) and exc.partial:
                message = f"{message}; {self._keep_part(call, exc.partial)}"
            self.finish(call, "uncertain", message=message)

    def _keep_part(self, call: Call, partial: bytes) -> str:
        """Store the received part of a broken answer. Returns a note that says where it is."""
        path = self.part(call)
        try:
            with writing(path):
                write_whole(path, partial)
        except OutputError as exc:
            return f"{len(partial)} bytes of the answer were received and could not be kept: {exc}"
        return f"{len(partial)} bytes of the answer were received: {path}"

    def _close_refused(self, call: Call, exc: ProviderRefused) -> CallState:
        """Close the record of a refused call; some services refuse with status 200."""
        self.path(call.fingerprint).unlink(missing_ok=True)
        about = {"stage": exc.stage, "categories": exc.categories}
        self.finish(call, "refused", message=str(exc), **about)
        return "refused"

    def settle_one(self, call: Call) -> CallState:
        """The state of a record, after closing it where its process is dead. Inside `change`."""
        under_way = self.lives(call.owner) and call.id not in self._unclosed
        if call.state != "started" or under_way:
            return call.state
        path = self.path(call.fingerprint)
        if path.is_file():
            return self.close_answered(call)
        path.with_name(path.name + ROOM).unlink(missing_ok=True)
        self.finish(call, "uncertain", message="the process ended before an answer arrived")
        return "uncertain"

    def close_answered(
        self,
        call: Call,
        answer: ImagesAnswer | None = None,
        *,
        fetch: Fetch | None = None,
        short: str = "",
    ) -> CallState:
        """Close a record whose answer is on disk.

        `answer`: None if it has to be read from there; `fetch` then loads linked pictures.
        `short`: why the body could be stored only in part; "" if it is complete.
        """
        message = short
        if answer is None:
            try:
                answer = self.read(call, fetch)
            except ProviderRefused as exc:
                return self._close_refused(call, exc)
            except VeraxError as exc:
                message = message or str(exc)
        usage, price_usd = (answer.usage, answer.billed_usd) if answer else bill(self.body(call))
        state: CallState = "done" if answer and not short else "unusable"
        about: dict[str, Any] = {}
        if answer:
            about = {"request_id": answer.request_id, "retries": answer.retries}
            message = message or "; ".join(answer.lost)
        cost = cost_of(call, usage, price_usd)
        self.finish(call, state, usage=usage, cost_usd=cost, message=message, **about)
        return state

    def finish(self, call: Call, state: CallState, **about: Any) -> None:  # noqa: ANN401
        """Close a record. Raises OutputError if that cannot be written; the record is then closed
        at the next access."""
        self._unclosed.add(call.id)
        self.records.finish(call.id, state, ended=self.now(), **about)
        self._unclosed.discard(call.id)


def cost_of(call: Call, usage: Usage | None, stated_usd: float | None) -> float | None:
    """The bill of a call in US dollars; None where it is not known.

    Token counts are ignored if their price is less than PLAUSIBLE of the lowest possible cost of
    the request.
    """
    if call.reserved_usd == 0.0:
        return 0.0
    if stated_usd is not None or usage is None or call.price is None:
        return stated_usd
    cost = cost_usd(usage, call.price)
    return cost if cost >= (call.least_usd or 0.0) * PLAUSIBLE else None
