"""How a call ends: its answer on disk, its record closed, and what is known of its process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from verax.errors import (
    InputError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from verax.providers.answers import json_object, read_answer, read_usage
from verax.providers.budget import cost_usd
from verax.providers.records import Call, Records, State
from verax.providers.requests import ImagesAnswer, Usage
from verax.store import ROOM, Presence, write_whole, writing

NOT_SENT = (InputError, ProviderRejected, ProviderBusy)


class Keeping:
    """The answers of a journal on disk, and the closing of its records.

    Args:
        folder: of the journal.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, records: Records, clock: Callable[[], float]) -> None:
        self.folder, self.records, self.now = folder, records, clock
        self._presence = Presence(folder / "owners")

    def close(self) -> None:
        self._presence.close()

    @property
    def owner(self) -> str:
        """This process, as owner of records."""
        return self._presence.name

    def lives(self, owner: str) -> bool:
        """Whether the process of that name still lives."""
        return Presence.is_alive(self.folder / "owners", owner)

    def path(self, fingerprint: str) -> Path:
        """Where the body of the answer to a request is kept."""
        return self.folder / "answers" / fingerprint[:2] / f"{fingerprint}.json"

    def body(self, call: Call) -> bytes:
        """The kept body of a call that was answered. Raises InputError where it is gone."""
        path = self.path(call.fingerprint)
        try:
            return path.read_bytes()
        except OSError as exc:
            raise InputError(
                f"the answer to call {call.id} is gone ({path}: {exc.strerror}); to pay for it "
                f"again, remove its record: verax journal prune {call.fingerprint[:12]}"
            ) from exc

    def remove(self, calls: Sequence[Call]) -> int:
        """Forget calls and their answers; asking again is paid again. Bytes set free.

        Calls under way, also in batches, are left alone.
        """
        freed = 0
        for call in calls:
            path = self.path(call.fingerprint)
            with self.records.change():
                gone = call.state not in ("started", "batched") and self.records.delete(call)
                if gone and call.state in ("done", "unusable") and path.is_file():
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def take(self, call: Call, body: bytes) -> State:
        """Keep the answer that a batch brought for a call; its state now."""
        with writing(self.path(call.fingerprint)):
            write_whole(self.path(call.fingerprint), body)
        return self.answered(call, body)

    def give_up(self, call: Call, why: ProviderError) -> None:
        """Close a call for which a batch brought an error."""
        self.path(call.fingerprint).unlink(missing_ok=True)
        self.failed(call, why)

    def settle(self) -> list[Call]:
        """Close the records that dead processes left open; those that became uncertain."""
        with self.records.change():
            left = self.records.select(states=("started",))
            lost = [call for call in left if self.settled(call) == "uncertain"]
        Presence.sweep(self.folder / "owners")
        return lost

    def failed(self, call: Call, exc: BaseException) -> None:
        """Close the record of a call that raised."""
        path = self.path(call.fingerprint)
        message = str(exc) or type(exc).__name__
        if isinstance(exc, ProviderRefused):
            self._refused(call, exc)
        elif path.is_file():
            self.answered(call, path.read_bytes())
        else:
            self.finish(
                call, "failed" if isinstance(exc, NOT_SENT) else "uncertain", message=message
            )

    def _refused(self, call: Call, exc: ProviderRefused) -> State:
        """Close the record of a call that was refused; some services say so in a good answer."""
        self.path(call.fingerprint).unlink(missing_ok=True)
        about = {"stage": exc.stage, "categories": exc.categories}
        self.finish(call, "refused", message=str(exc), **about)
        return "refused"

    def settled(self, call: Call) -> State:
        """The state of a record, after closing it where its process is dead. Inside `change`."""
        if call.state != "started" or self.lives(call.owner):
            return call.state
        path = self.path(call.fingerprint)
        if path.is_file():
            return self.answered(call, path.read_bytes())
        path.with_name(path.name + ROOM).unlink(missing_ok=True)
        self.finish(call, "uncertain", message="the process ended before an answer came")
        return "uncertain"

    def answered(self, call: Call, body: bytes, answer: ImagesAnswer | None = None) -> State:
        """Close a record whose answer is on disk."""
        message = ""
        if answer is None:
            try:
                answer = read_answer(body)
            except ProviderRefused as exc:
                return self._refused(call, exc)
            except ProviderError as exc:
                message = str(exc)
        usage = answer.usage if answer else _usage(body)
        billed = answer.billed_usd if answer else None
        if billed is None and usage and call.price:
            billed = cost_usd(usage, call.price)
        state: State = "done" if answer else "unusable"
        about = {"request_id": answer.request_id, "retries": answer.retries} if answer else {}
        self.finish(call, state, usage=usage, cost_usd=billed, message=message, **about)
        return state

    def finish(self, call: Call, state: State, **about: Any) -> None:  # noqa: ANN401
        self.records.finish(call.id, state, ended=self.now(), **about)


def _usage(body: bytes) -> Usage | None:
    """The token counts of a body that holds no readable picture."""
    try:
        return read_usage(json_object(body).get("usage"))
    except ProviderError:
        return None
