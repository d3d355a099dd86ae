"""The journal: no call is paid twice, no answer that was paid for is lost.

Around every call: (1) a record with the most it can cost is committed and disk space for the answer
set aside; (2) the request goes out; (3) the body of the answer is synced to disk before anybody
reads it; (4) the record is closed with the bill. A record left open by a dead process is closed on
the next start: with the answer where its body is on disk, else as "uncertain".

The answers are the cache: one body per request fingerprint. Two callers of the same request, in
threads or processes, make one call: the second waits for the first.

States of a call:

    started     under way, or left behind by a dead process until somebody looks
    batched     part of a batch whose answers are not fetched yet
    done        answered and kept
    unusable    answered and kept, but without a picture that can be read; probably billed; read
                again, and its links tried again, at every further call, for nothing
    uncertain   no answer came; possibly billed, repeated only when asked for
    refused     by moderation; asked again in another run, or where it may have been billed only
                when asked for
    failed      surely not begun: rejected, busy, stopped before sending
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from verax.errors import (
    OutputError,
    ProviderError,
)
from verax.providers.answer_store import AnswerSink, AnswerStore
from verax.providers.answers import Fetch, differences
from verax.providers.budget import Budget, Pace
from verax.providers.claims import Claims, expected_bytes, is_answered
from verax.providers.records import Call, Records, Spent
from verax.providers.requests import ImagesAnswer, Request, Send
from verax.store import Reserved, writing


class Journal:
    """The journal in one folder; safe for many threads and processes at once.

    Args:
        folder: holds journal.sqlite, answers/ and owners/; private to the user.
        clock, sleep: seconds since 1970, and waiting; arguments for tests.

    Raises OutputError when the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.records = Records(folder / "journal.sqlite")
        try:
            self.answers = AnswerStore(folder, self.records, clock)
            self.answers.settle()
        except BaseException:
            self.records.close()
            raise
        self.claims = Claims(self.records, self.answers, clock, sleep)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.records.close()
        self.answers.close()

    def call(
        self,
        request: Request,
        send: Send,
        *,
        budget: Budget,
        retry_uncertain: bool = False,
        pace: Pace | None = None,
        fetch: Fetch | None = None,
    ) -> ImagesAnswer:
        """The answer to a request: the stored one, or that of one call, paid once.

        `fetch` gets the pictures behind links of a stored answer that are not here yet.

        Raises BudgetExceeded before anything is sent when the call could pass the run's limit;
        ProviderUncertain when an earlier call of the same request may have been billed and
        `retry_uncertain` is not set; ProviderRefused when this run was refused already;
        OutputError when the answer could not be stored; and what `send` raises.
        """
        stored = self.stored(request, fetch)
        if stored is not None:
            return stored
        estimate = budget.tariff.estimate(request)
        with (pace or Pace()).slot(request.n):
            call = self.claims.claim(request, estimate, budget, retry_uncertain)
            return self._send(call, request, send) if call else self._answer(request, fetch)

    def has(self, request: Request) -> bool:
        """Whether an answer to exactly this request is stored, readable or not; then it is free."""
        return is_answered(self.claims.newest(request.fingerprint()))

    def stored(self, request: Request, fetch: Fetch | None = None) -> ImagesAnswer | None:
        """The kept answer to exactly this request; None where there is none.

        Raises ProviderError where the kept answer holds no picture that can be read.
        """
        return self._answer(request, fetch) if self.has(request) else None

    def answer_to(
        self, fingerprint: str, request: Request, fetch: Fetch | None = None
    ) -> ImagesAnswer | None:
        """The kept answer by the fingerprint of its request; `request` needs no pictures here."""
        last = self.claims.newest(fingerprint)
        return self._read(last, request, fetch) if is_answered(last) and last else None

    def spent(self, run: str) -> Spent:
        """What the calls of a run have cost."""
        return self.records.spent(run)

    def _send(self, call: Call, request: Request, send: Send) -> ImagesAnswer:
        path = self.answers.path(call.fingerprint)
        try:
            path.unlink(missing_ok=True)  # of a record that was removed
            room = Reserved(path, expected_bytes(request))
        except BaseException as exc:
            self.answers.finish(call, "failed", message=str(exc))
            raise
        keep = AnswerSink(room)
        try:
            answer = send(request, keep)
        except BaseException as exc:
            self.answers.close_failed(call, exc)
            raise
        finally:
            room.drop()
        try:
            self.answers.close_answered(call, answer, short=keep.short)
        except OutputError as exc:  # paid and in memory: delivered, and closed at the next look
            late = f"the journal is not up to date: {exc}"
            return replace(answer, notices=(*answer.notices, late))
        return self._with_bill(answer, call.fingerprint, keep.short)

    def _answer(self, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        """The stored answer, with the pictures and costs that are known by now."""
        last = self.records.last(request.fingerprint())
        if last is None:
            raise ProviderError("the record of this call was removed meanwhile; ask again")
        return self._read(last, request, fetch)

    def _read(self, last: Call, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        answer = self.answers.read(last, fetch)
        if last.state == "unusable" or (last.message and not answer.lost):
            self.answers.close_answered(last, answer)
        answer = replace(answer, notices=(*answer.lost, *differences(answer, request)))
        return self._with_bill(answer, last.fingerprint)

    def _with_bill(self, answer: ImagesAnswer, fingerprint: str, short: str = "") -> ImagesAnswer:
        """The answer with its cost, and a notice where that is not known."""
        call = self.records.last(fingerprint)
        notices = list(answer.notices) + ([short] if short else [])
        if call and call.cost_usd is None and call.reserved_usd:
            notices.append(
                "the service gave no token counts that can be believed; the most that the call can "
                f"cost, ${call.reserved_usd:.4f}, is counted"
            )
        cost, counted = (call.cost_usd, call.counted_usd) if call else (None, 0.0)
        return replace(answer, cost_usd=cost, counted_usd=counted, notices=tuple(notices))
