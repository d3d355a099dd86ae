"""Stores the answers to paid calls on disk, and writes the final states of calls to the journal.

The body of an answer is stored unchanged as `<fingerprint>.json`. The files beside it end with
`.<hash of the link>.picture` (a linked picture), the same with `.unread` (a download that is no
picture and is tried again), or `.<id of the call>.part` (what arrived of an interrupted answer).
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
from verax.providers.answers import (
    Fetch,
    bill,
    holds_pictures,
    is_picture,
    not_fetched,
    read_answer,
)
from verax.providers.budget import cost_usd
from verax.providers.records import Call, CallState, Records
from verax.store import ROOM, Presence, ReservedSpace, write_whole, writing

NOT_SENT = (InputError, ProviderRejected, ProviderBusy)
PLAUSIBLE = 0.75  # a bill below this fraction of the lowest possible cost is taken as unknown


class AnswerSink:
    """Stores the answer to one call: its body, and the pictures that it links to.

    Args:
        room: the disk space reserved for the file that will hold the body.

    Attributes:
        short: why only part of the body could be stored; "" if all of it was.
    """

    def __init__(self, room: ReservedSpace) -> None:
        self._room = room
        self.short = ""

    def __call__(self, body: bytes, /) -> None:
        """Store the body. If the disk is full, store the bytes that fit and set `self.short` to the
        reason, but raise no error, since the paid pictures are still in memory."""
        try:
            self._room.fill(body)
        except OutputError as exc:
            self.short = f"only part of the answer of {len(body)} bytes could be stored: {exc}"

    def picture(self, link: str, fetch: Fetch, /) -> bytes:
        return linked_picture(self._room.path, link, fetch)


def linked_picture(answer_file: Path, link: str, fetch: Fetch) -> bytes:
    """The bytes of the picture at `link`, a link in the answer stored in `answer_file`. If they are
    not stored yet, `fetch` downloads them, and they are stored beside that file."""
    path = picture_path(answer_file, link)
    if path.is_file():
        return path.read_bytes()
    data = fetch(link)
    if not is_picture(data):  # an error page, or a format that a later version may read
        path = path.with_suffix(".unread")
    with suppress(OutputError), writing(path):  # if it fails: the link can be loaded again
        write_whole(path, data)
    return data


def picture_path(answer_file: Path, link: str) -> Path:
    name = hashlib.sha256(link.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return answer_file.with_suffix(f".{name}.picture")


class AnswerStore:
    """The stored answers to paid calls. Also records in the journal how each call ended.

    Args:
        folder: the journal's folder.
        records: the journal's table of calls.
        clock: returns the time in seconds since 1970.
    """

    def __init__(self, folder: Path, records: Records, clock: Callable[[], float]) -> None:
        self.folder, self.records, self.now = folder, records, clock
        self._presence = Presence(folder / "owners")
        self._unclosed: set[int] = set()  # finished calls whose records could not be closed

    def close(self) -> None:
        self._presence.close()

    @property
    def owner(self) -> str:
        """The unique name of this process, recorded as the owner of the calls that it makes."""
        return self._presence.name

    def lives(self, owner: str) -> bool:
        """Whether the process with the unique name `owner` is still running."""
        return Presence.is_alive(self.folder / "owners", owner)

    def path(self, fingerprint: str) -> Path:
        """The path of the file for the answer to the request with this fingerprint (SHA-256)."""
        return self.folder / "answers" / fingerprint[:2] / f"{fingerprint}.json"

    def body(self, call: Call) -> bytes:
        """The stored body of the answer to a call. Raises InputError if it cannot be read."""
        path = self.path(call.fingerprint)
        try:
            return path.read_bytes()
        except OSError as exc:
            raise InputError(
                f"the stored answer to call {call.id} cannot be read ({path}: {exc.strerror}); to "
                f"pay for a new one, first run: verax journal prune {call.fingerprint[:12]} --yes"
            ) from exc

    def remove(self, calls: Sequence[Call]) -> int:
        """Delete calls and their answers; to send the same requests then costs money again.

        Calls in progress or in an open batch are not deleted. Returns the number of bytes freed.
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
        """The existing files of a call that has ended: its answer and the linked pictures, or the
        received part of an interrupted answer."""
        path = self.path(call.fingerprint)
        if call.state in ("done", "unusable"):
            beside = [*path.parent.glob(f"{path.stem}.*.picture")]
            beside += path.parent.glob(f"{path.stem}.*.unread")
            return [one for one in (path, *beside) if one.is_file()]
        part = self.part(call)
        return [part] if part.is_file() else []

    def part(self, call: Call) -> Path:
        """The path of the file with the received part of a call's answer that was interrupted."""
        return self.path(call.fingerprint).with_suffix(f".{call.id}.part")

    def read(self, call: Call, fetch: Fetch | None = None) -> ImagesAnswer:
        """The stored answer to a call; `fetch` downloads linked pictures that are not stored yet
        (None: these count as unreadable). Raises InputError if the answer's file cannot be read,
        ProviderError if no picture can be read."""
        load = partial(linked_picture, self.path(call.fingerprint), fetch=fetch or not_fetched)
        answer = read_answer(self.body(call), fetch=load, retries=call.retries)
        return replace(answer, request_id=call.request_id)

    def reread(self, call: Call, fetch: Fetch | None = None) -> CallState:
        """Parse the stored answer to a call again. Write and return the new state of the call.
        `fetch` downloads linked pictures that are not stored yet; with None these count as
        unreadable. Of an interrupted answer only the complete pictures are used; if it has none,
        the call stays "uncertain". Raises InputError if the file of a complete answer cannot be
        read."""
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
        """Store `body`, the answer to a call. Write and return the final state of the call. `fetch`
        downloads the linked pictures; with None these count as unreadable."""
        with writing(self.path(call.fingerprint)):
            write_whole(self.path(call.fingerprint), body)
        return self.close_answered(call, fetch=fetch)

    def close_unanswered(self, call: Call, why: ProviderError) -> None:
        """Write the final state of a call that got no answer in its batch; `why` is the reason."""
        self.path(call.fingerprint).unlink(missing_ok=True)
        self.close_failed(call, why)

    def settle(self) -> list[Call]:
        """Write the final states of calls whose processes ended too early to do so. Returns those
        that are now "uncertain": they may have been billed, but no answer is stored."""
        with self.records.change():
            opened = self.records.select(states=("started",))
            lost = [call for call in opened if self.settle_one(call) == "uncertain"]
        Presence.sweep(self.folder / "owners")
        return lost

    def close_failed(self, call: Call, exc: BaseException) -> None:
        """Write the final state that follows from `exc`, the exception that ended the call."""
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
        """Store the received part of an answer. Returns a sentence that says where, or why not."""
        path = self.part(call)
        try:
            with writing(path):
                write_whole(path, partial)
        except OutputError as exc:
            return f"{len(partial)} bytes of the answer arrived but could not be stored: {exc}"
        return f"{len(partial)} bytes of the answer arrived and are stored in {path}"

    def _close_refused(self, call: Call, exc: ProviderRefused) -> CallState:
        """Write the final state of a call that moderation refused, "refused", and return it."""
        self.path(call.fingerprint).unlink(missing_ok=True)  # a refusal sent with status 200
        self.finish(call, "refused", message=str(exc), stage=exc.stage, categories=exc.categories)
        return "refused"

    def settle_one(self, call: Call) -> CallState:
        """The state of a call. If its process ended without writing a final state, this function
        writes one first. To be called within a database transaction (`Records.change`)."""
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
        """Record in the journal the final state of a call whose answer is on disk, and return it:
        "done", "unusable" (no picture can be read, or a part is missing) or "refused".

        `answer` is the parsed answer; if None, its file is parsed, and `fetch` downloads linked
        pictures that are not stored (None: these count as unreadable). `short` says why only part
        of the body could be stored; "" if all of it was.
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
        """Write a call's final state, and the columns in `about`, to the journal. Raises
        OutputError if that fails; the next look-up of the call then writes the state."""
        self._unclosed.add(call.id)
        self.records.finish(call.id, state, ended=self.now(), **about)
        self._unclosed.discard(call.id)


def cost_of(call: Call, usage: Usage | None, stated_usd: float | None) -> float | None:
    """What a call cost in US dollars: the price that the service stated, or else the price of the
    tokens in `usage`. None if both are unknown, or if the tokens cost less than 75 % of the least
    that the call can cost, since they are then wrong."""
    if call.reserved_usd == 0.0:
        return 0.0
    if stated_usd is not None or usage is None or call.price is None:
        return stated_usd
    cost = cost_usd(usage, call.price)
    return cost if cost >= (call.least_usd or 0.0) * PLAUSIBLE else None
