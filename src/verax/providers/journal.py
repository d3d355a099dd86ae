"""The journal of paid calls, and the desk: one service with the journal in front of it.

A desk is the only way to make a paid call, from the command line, the server, benchmarks and
Python. No call is paid twice, and no paid answer is lost.

Around every call: (1) a record with the most it can cost is committed and disk space for the answer
set aside; (2) the request goes out; (3) the body of the answer is synced to disk before it is
read; (4) the record is closed with the bill. A record left open by a dead process is closed on
the next start: with the answer where its body is on disk, else as "uncertain".

The answers are the cache: one body per request fingerprint. Two callers of the same request, in
threads or processes, make one call: the second waits for the first.

States of a call:

    started     in progress, or left by a dead process until the next start
    batched     part of a batch whose answers are not fetched yet
    done        answered and kept
    unusable    answered and kept, but without a picture that can be read; probably billed; read
                again, and its links tried again, at every further call, at no cost
    uncertain   no complete answer; possibly billed, repeated only with `retry_uncertain`
    refused     by moderation; repeated in another run, or only with `retry_uncertain` where it
                may have been billed
    failed      certainly not started: rejected, busy, stopped before sending
"""

import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from verax.errors import OutputError, ProviderError, VeraxError
from verax.providers import ImagesAnswer, Request, Send
from verax.providers.answer_store import AnswerSink, AnswerStore
from verax.providers.answers import Fetch, differences
from verax.providers.budget import Budget, Estimate, Pace, load_tariff, total
from verax.providers.claims import Claims, expected_bytes, is_answered
from verax.providers.images_api import Client, connect
from verax.providers.records import Call, Records, Spent
from verax.settings import Settings
from verax.store import Reserved, writing

DECODED_PIXELS = 32_000_000  # of several answers at a time: 384 MB


class Journal:
    """The journal in one folder; safe for many threads and processes at once.

    Args:
        folder: holds journal.sqlite, answers/ and owners/; OutputError where it is not writable.
        clock, sleep: seconds since 1970, and waiting; arguments for tests.
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
        """The answer to a request: the stored one, or that of one call, paid once. `fetch` gets the
        pictures behind links of a stored answer that are not stored yet.

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
        """The stored answer to exactly this request, or None. Raises ProviderError if it has no
        readable picture."""
        return self._answer(request, fetch) if self.has(request) else None

    def answer_to(
        self, fingerprint: str, request: Request, fetch: Fetch | None = None
    ) -> ImagesAnswer | None:
        """The stored answer, or None, by a request's fingerprint; `request` needs no pictures
        here."""
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
            raise ProviderError("the record of this call was removed meanwhile; repeat the call")
        return self._read(last, request, fetch)

    def _read(self, last: Call, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        answer = self.answers.read(last, fetch)
        if last.state == "unusable" or (last.message and not answer.lost):
            self.answers.close_answered(last, answer)
        answer = replace(answer, notices=(*answer.lost, *differences(answer, request)))
        return self._with_bill(answer, last.fingerprint)

    def _with_bill(self, answer: ImagesAnswer, fingerprint: str, short: str = "") -> ImagesAnswer:
        """The answer with its cost, and a notice where the cost is unknown."""
        call = self.records.last(fingerprint)
        notices = list(answer.notices) + ([short] if short else [])
        if call and call.cost_usd is None and call.reserved_usd:
            most = f"the most that the call can cost, ${call.reserved_usd:.4f}, is counted"
            notices.append(f"the service gave no plausible token counts; {most}")
        cost, counted = (call.cost_usd, call.counted_usd) if call else (None, 0.0)
        return replace(answer, cost_usd=cost, counted_usd=counted, notices=tuple(notices))


@dataclass(frozen=True)
class Desk:
    """One service with the journal in front of it; close it at the end, or use it as a context.

    Attributes:
        budget: the run that calls count towards, and its limit.
        pace: calls at once and pictures per minute.
        retry_uncertain: repeat calls that may have been billed already.
    """

    settings: Settings
    client: Client
    journal: Journal
    budget: Budget
    pace: Pace
    retry_uncertain: bool = False

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.transport.close()
        self.journal.close()

    def call(self, request: Request) -> ImagesAnswer:
        """The answer to a prepared request, stored or paid once. Raises as `Journal.call` does."""
        return self.journal.call(
            request,
            self.client.send,
            budget=self.budget,
            retry_uncertain=self.retry_uncertain,
            pace=self.pace,
            fetch=self.client.transport.fetch,
        )

    def call_all(self, requests: Sequence[Request]) -> list[ImagesAnswer | VeraxError]:
        """Every answer or its error, in order; several calls run at once.

        Pictures stay decoded up to DECODED_PIXELS together, so that memory has a bound.
        """
        count, lock = [0], threading.Lock()

        def one(request: Request) -> ImagesAnswer | VeraxError:
            try:
                answer = self.call(request)
            except VeraxError as exc:
                return exc
            with lock:
                count[0] += answer.decoded_pixels
                return answer if count[0] <= DECODED_PIXELS else answer.without_pixels()

        with ThreadPoolExecutor(self.settings.concurrency) as threads:
            return list(threads.map(one, requests))

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        """The requests whose answers are not stored."""
        return [request for request in requests if not self.journal.has(request)]

    def estimate(self, requests: Sequence[Request]) -> Estimate:
        """What the requests cost, however many of them are stored."""
        return total([self.budget.tariff.estimate(request) for request in requests])

    def counted_to(self, run: str, max_cost_usd: float | None) -> "Desk":
        """This desk for another run, with its own limit."""
        return replace(self, budget=replace(self.budget, run=run, max_cost_usd=max_cost_usd))

    def batched(self) -> "Desk":
        """The same desk at the prices of the Batch API."""
        tariff = load_tariff(changes=self.settings.home, batch=True)
        return replace(self, budget=replace(self.budget, tariff=tariff))


def journal_folder(settings: Settings) -> Path:
    return settings.home / "journal"


def open_desk(
    settings: Settings,
    *,
    run: str = "",
    max_cost_usd: float | None = None,
    retry_uncertain: bool = False,
    today: date | None = None,
    folder: Path | None = None,
) -> Desk:
    """The service that the settings name, with its journal. Sends nothing yet.

    Args:
        run: runs of one name share their limit; "" is a run without a name.
        max_cost_usd: the most that the run may cost; None is the limit of the settings.
        today: by which models have ended.
        folder: of the journal, if not that of the settings.
    """
    now = datetime.now(UTC)
    client = connect(settings, today=today or now.date())
    limit = settings.max_cost if max_cost_usd is None else max_cost_usd
    limit = None if limit is None or not math.isfinite(limit) else limit
    name = run or f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    try:
        journal = Journal(folder or journal_folder(settings))
    except BaseException:
        client.transport.close()
        raise
    budget = Budget(load_tariff(changes=settings.home), name, limit)
    pace = Pace(settings.images_per_minute, settings.concurrency)
    return Desk(settings, client, journal, budget, pace, retry_uncertain)
