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

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from verax.errors import (
    BudgetExceeded,
    OutputError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    VeraxError,
)
from verax.providers.answers import Fetch, differences
from verax.providers.budget import Budget, Estimate, Pace, total
from verax.providers.claims import expected_bytes, is_answered, raise_refused, raise_uncertain
from verax.providers.keeping import Keeper, Keeping
from verax.providers.records import Call, Records, Spent, State
from verax.providers.requests import ImagesAnswer, Request, Send
from verax.store import Reserved, writing

WAIT_S = 0.05  # between looks at a call that somebody else has under way
ROUNDING_USD = 1e-9


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
        self._clock, self._sleep = clock, sleep
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.records = Records(folder / "journal.sqlite")
        try:
            self.kept = Keeping(folder, self.records, clock)
            self.kept.settle()
        except BaseException:
            self.records.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.records.close()
        self.kept.close()

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
            call = self._claim(request, estimate, budget, retry_uncertain)
            return self._send(call, request, send) if call else self._answer(request, fetch)

    def has(self, request: Request) -> bool:
        """Whether an answer to exactly this request is kept, readable or not: asking is free."""
        return is_answered(self._settled(request.fingerprint()))

    def stored(self, request: Request, fetch: Fetch | None = None) -> ImagesAnswer | None:
        """The kept answer to exactly this request; None where there is none.

        Raises ProviderError where the kept answer holds no picture that can be read.
        """
        return self._answer(request, fetch) if self.has(request) else None

    def answer_to(
        self, fingerprint: str, request: Request, fetch: Fetch | None = None
    ) -> ImagesAnswer | None:
        """The kept answer by the fingerprint of its request; `request` needs no pictures here."""
        last = self._settled(fingerprint)
        return self._read(last, request, fetch) if is_answered(last) and last else None

    def spent(self, run: str) -> Spent:
        """What the calls of a run have cost."""
        return self.records.spent(run)

    def _claim(
        self, request: Request, estimate: Estimate, budget: Budget, retry_uncertain: bool
    ) -> Call | None:
        """A new record, or None where the answer is there by now."""
        while True:
            with self._deciding():
                last, state = self._standing(request)
                if state in ("done", "unusable"):
                    return None
                if last and state == "batched":
                    raise ProviderBusy(
                        f"this call is part of {last.owner}; fetch its answers first"
                    )
                if last and state == "uncertain" and not retry_uncertain:
                    raise_uncertain(last)
                if last and state == "refused":
                    raise_refused(last, budget.run, retry_uncertain)
                if state != "started" and self._affordable(estimate, budget, request.model):
                    owner = self.kept.owner
                    return self._begin("started", request, estimate, budget, owner)
            self._sleep(WAIT_S)

    def queue(
        self, requests: Sequence[Request], owner: str, *, budget: Budget, retry_uncertain: bool
    ) -> list[Request]:
        """Claim for a batch what may be asked; the rest is kept, refused, uncertain or under way.

        Raises BudgetExceeded, and claims nothing, where they do not all fit under the limit.
        """
        with self._deciding():
            asked = []
            for request in {one.fingerprint(): one for one in requests}.values():
                last, state = self._standing(request)
                again = state == "uncertain" and retry_uncertain
                if last and state == "refused":
                    with suppress(ProviderRefused):
                        raise_refused(last, budget.run, retry_uncertain)
                        again = True
                if state == "" or again:
                    asked.append(request)
            estimates = [budget.tariff.estimate(request) for request in asked]
            names = ", ".join(sorted({request.model for request in asked}))
            if asked and not self._affordable(total(estimates), budget, names):
                raise ProviderBusy("other calls of this run are under way; try again when they end")
            for request, estimate in zip(asked, estimates, strict=True):
                self._begin("batched", request, estimate, budget, owner)
        return asked

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        """A transaction whose findings about other calls stand also when the answer is no."""
        no: VeraxError | None = None
        with self.records.change():
            try:
                yield
            except VeraxError as exc:
                no = exc
        if no is not None:
            raise no

    def _settled(self, fingerprint: str) -> Call | None:
        """The newest record of a request, closed where its process has died meanwhile."""
        last = self.records.last(fingerprint)
        if last is None or last.state != "started":
            return last
        with self.records.change():
            self.kept.settled(last)
        return self.records.last(fingerprint)

    def _standing(self, request: Request) -> tuple[Call | None, State | Literal[""]]:
        """The newest record of a request and its state, "" without one. Inside `change`."""
        last = self.records.last(request.fingerprint())
        if last and self.kept.settled(last) != last.state:
            last = self.records.last(request.fingerprint())
        return last, last.state if last else ""

    def _begin(
        self, state: State, request: Request, estimate: Estimate, budget: Budget, owner: str
    ) -> Call:
        return self.records.begin(
            state,
            fingerprint=request.fingerprint(),
            run=budget.run,
            owner=owner,
            kind=request.kind,
            gateway=request.gateway,
            model=request.model,
            request=request.describe(),
            started=self._clock(),
            price=budget.tariff.price(request),
            reserved_usd=estimate.high_usd,
            least_usd=estimate.low_usd,
        )

    def _affordable(self, estimate: Estimate, budget: Budget, model: str) -> bool:
        """Whether this fits under the limit now; False: perhaps when other calls have ended."""
        limit = budget.max_cost_usd
        if limit is None or math.isinf(limit):
            return True
        if estimate.high_usd is None:
            raise BudgetExceeded(
                f"no price is known for {model}, so a cost limit cannot be kept; nothing was "
                "sent. Add the price to the catalog or drop the limit"
            )
        left = limit + ROUNDING_USD - estimate.high_usd
        if self.spent(budget.run).most_usd <= left:
            return True
        for call in self.records.select(states=("started",), run=budget.run):
            self.kept.settled(call)  # who waits for a dead process waits forever
        spent = self.spent(budget.run)
        if spent.billed_usd + spent.possibly_usd <= left:
            return False
        raise BudgetExceeded(
            f"this may cost up to ${estimate.high_usd:.4f}; ${spent.billed_usd:.4f} are billed, "
            f"${spent.possibly_usd:.4f} more may be, and the limit is ${limit:.4f}; nothing was "
            "sent. Raise the limit to go on; what was paid for is kept"
        )

    def _send(self, call: Call, request: Request, send: Send) -> ImagesAnswer:
        path = self.kept.path(call.fingerprint)
        try:
            path.unlink(missing_ok=True)  # of a record that was removed
            room = Reserved(path, expected_bytes(request))
        except BaseException as exc:
            self.kept.finish(call, "failed", message=str(exc))
            raise
        keep = Keeper(room)
        try:
            answer = send(request, keep)
        except BaseException as exc:
            self.kept.failed(call, exc)
            raise
        finally:
            room.drop()
        try:
            self.kept.answered(call, answer, short=keep.short)
        except OutputError as exc:  # paid and in memory: delivered, and closed at the next look
            late = f"the journal is not up to date: {exc}"
            return replace(answer, notices=(*answer.notices, late))
        return self._with_bill(answer, call.fingerprint, keep.short)

    def _answer(self, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        """The kept answer, as it was when it came, and what has been fetched or learnt since."""
        last = self.records.last(request.fingerprint())
        if last is None:
            raise ProviderError("the record of this call was removed meanwhile; ask again")
        return self._read(last, request, fetch)

    def _read(self, last: Call, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        answer = self.kept.read(last, fetch)
        if last.state == "unusable" or (last.message and not answer.lost):
            self.kept.answered(last, answer)
        answer = replace(answer, notices=(*answer.lost, *differences(answer, request)))
        return self._with_bill(answer, last.fingerprint)

    def _with_bill(self, answer: ImagesAnswer, fingerprint: str, short: str = "") -> ImagesAnswer:
        """The answer with what it cost, and a word where that is not known."""
        call = self.records.last(fingerprint)
        notices = list(answer.notices) + ([short] if short else [])
        if call and call.cost_usd is None and call.reserved_usd:
            notices.append(
                "the service gave no token counts that can be believed; the most that the call can "
                f"cost, ${call.reserved_usd:.4f}, is counted"
            )
        cost, counted = (call.cost_usd, call.counted_usd) if call else (None, 0.0)
        return replace(answer, cost_usd=cost, counted_usd=counted, notices=tuple(notices))
