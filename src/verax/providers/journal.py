"""The journal of paid calls, and the desk, through which all paid calls are made.

The journal records every paid call and stores its answer, so that nothing is paid twice and no paid
answer is lost. A desk joins one service with a journal; the command line, the server, benchmarks
and Python programs all make their paid calls through a desk.

A paid call has four steps: (1) a record with the most that the call can cost is written, and disk
space for the answer is reserved; (2) the request is sent; (3) the body of the answer is stored
before it is parsed; (4) the bill and the final state are written to the record. If a process ends
in between, the next start writes the final state: "done" if the answer is on disk, otherwise
"uncertain". If two threads or processes make the same call, the second waits for the answer.

The states of a call:

    started     in progress, or its process ended and no final state is written yet
    batched     part of a batch whose answers are not fetched yet
    done        the answer is stored
    unusable    the answer is stored, but no picture in it can be read; probably billed. The same
                call parses the answer again and tries its links again, at no cost
    uncertain   no complete answer; possibly billed; repeated only with `retry_uncertain`
    refused     by moderation; repeated only in another run, and if the refused call may have been
                billed, only with `retry_uncertain`
    failed      the service certainly did not start the call
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
from verax.providers.records import Call, Records, RunCost
from verax.settings import Settings
from verax.store import ReservedSpace, writing

DECODED_PIXELS = 32_000_000  # most pixels of several answers that stay decoded: 384 MB


class Journal:
    """Records paid calls and stores their answers, in a folder that many threads and processes may
    use at the same time. Raises OutputError if the folder cannot be written.

    Args:
        folder: is created if missing.
        clock: returns the time in seconds since 1970.
        sleep: waits the given number of seconds, while another process makes the same call.
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
        """The stored answer to a request; if there is none, `send` sends the request, after `pace`
        has delayed it (None: no delay). `fetch` downloads linked pictures that are not stored yet;
        with None these count as unreadable.

        Raises BudgetExceeded, before anything is sent, if the call could exceed the run's limit;
        ProviderUncertain if an earlier call of the request may have been billed and
        `retry_uncertain` is False; ProviderRefused if moderation refused the request before in
        this run, or in another one at a possible cost and `retry_uncertain` is False;
        OutputError if there is no space for the answer; and the errors of `send`.
        """
        stored = self.stored_answer(request, fetch)
        if stored is not None:
            return stored
        estimate = budget.tariff.estimate(request)
        with (pace or Pace()).slot(request.n):
            call = self.claims.claim(request, estimate, budget, retry_uncertain)
            return self._send(call, request, send) if call else self._answer(request, fetch)

    def has(self, request: Request) -> bool:
        """Whether the answer to this request is stored, even if no picture in it can be read."""
        return is_answered(self.claims.newest(request.fingerprint()))

    def stored_answer(self, request: Request, fetch: Fetch | None = None) -> ImagesAnswer | None:
        """The stored answer to this request, or None. `fetch` downloads linked pictures not stored
        yet; with None these count as unreadable. Raises ProviderError if no picture can be read."""
        return self._answer(request, fetch) if self.has(request) else None

    def answer_to(
        self, fingerprint: str, request: Request, fetch: Fetch | None = None
    ) -> ImagesAnswer | None:
        """The stored answer to the request with this fingerprint, or None. `request` is that
        request, with or without its pictures; the answer gets a notice about each difference.
        `fetch` downloads linked pictures that are not stored (None: these count as unreadable)."""
        last = self.claims.newest(fingerprint)
        return self._read(last, request, fetch) if is_answered(last) and last else None

    def cost(self, run: str) -> RunCost:
        return self.records.cost(run)

    def _send(self, call: Call, request: Request, send: Send) -> ImagesAnswer:
        path = self.answers.path(call.fingerprint)
        try:
            path.unlink(missing_ok=True)  # an answer without a record
            room = ReservedSpace(path, expected_bytes(request))
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
        except OutputError as exc:  # return the paid answer; the record is closed later
            late = f"the journal could not be written, so the cost is not recorded yet: {exc}"
            return replace(answer, notices=(*answer.notices, late))
        return self._with_bill(answer, call.fingerprint, keep.short)

    def _answer(self, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        last = self.records.last(request.fingerprint())
        if last is None:
            raise ProviderError("another process removed the record of this call; try again")
        return self._read(last, request, fetch)

    def _read(self, last: Call, request: Request, fetch: Fetch | None) -> ImagesAnswer:
        answer = self.answers.read(last, fetch)
        if last.state == "unusable" or (last.message and not answer.lost):
            self.answers.close_answered(last, answer)
        answer = replace(answer, notices=(*answer.lost, *differences(answer, request)))
        return self._with_bill(answer, last.fingerprint)

    def _with_bill(self, answer: ImagesAnswer, fingerprint: str, short: str = "") -> ImagesAnswer:
        """The answer with its cost from the journal, and with notices: one if the cost is unknown,
        and `short`, the reason why only part of its body could be stored, unless it is ""."""
        call = self.records.last(fingerprint)
        notices = list(answer.notices) + ([short] if short else [])
        if call and call.cost_usd is None and call.reserved_usd:
            notices.append(
                "the service gave no plausible token counts, so the cost is unknown; the most that "
                f"the call can cost, ${call.reserved_usd:.4f}, counts towards the limit"
            )
        cost, counted = (call.cost_usd, call.counted_usd) if call else (None, 0.0)
        return replace(answer, cost_usd=cost, counted_usd=counted, notices=tuple(notices))


@dataclass(frozen=True)
class Desk:
    """Makes paid calls to one service, through a journal. To be closed, or used in a `with` block.

    Attributes:
        client: sends the requests.
        journal: records the calls and stores the answers.
        budget: the run that the calls belong to, its cost limit, and the prices.
        pace: the limits of parallel calls and of pictures per minute.
        retry_uncertain: whether to repeat calls that may have been billed already.
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
        """The answer to a request, which `client.prepare` must have returned: the stored answer, or
        a new one. Raises ProviderError, or OutputError if the journal cannot be written."""
        return self.journal.call(
            request,
            self.client.send,
            budget=self.budget,
            retry_uncertain=self.retry_uncertain,
            pace=self.pace,
            fetch=self.client.transport.fetch,
        )

    def call_all(self, requests: Sequence[Request]) -> list[ImagesAnswer | VeraxError]:
        """Make several calls in parallel; `client.prepare` must have returned the requests. Returns
        for each, in order, the answer or the error. At most 32 million pixels stay decoded in
        memory; of the other pictures, only the bytes of the files (`data`) are kept."""
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
        """Those of the requests (returned by `client.prepare`) that have no stored answer."""
        return [request for request in requests if not self.journal.has(request)]

    def estimate(self, requests: Sequence[Request]) -> Estimate:
        """The estimated cost of all requests, as if none had a stored answer."""
        return total([self.budget.tariff.estimate(request) for request in requests])

    def with_limit(self, run: str, max_cost_usd: float | None) -> "Desk":
        """A copy of this desk whose calls belong to the run `run`, with a cost limit in US dollars
        (None: no limit)."""
        return replace(self, budget=replace(self.budget, run=run, max_cost_usd=max_cost_usd))

    def with_batch_prices(self) -> "Desk":
        """A copy of this desk with the prices of the Batch API."""
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
    """An object that makes paid calls to the service that the settings name. Opens no connection.

    Args:
        run: name of the run; all calls under one name share the limit. "" makes a new name.
        max_cost_usd: most US dollars that the run may cost; None takes the limit of the settings.
        retry_uncertain: whether to repeat calls that may have been billed already.
        today: models with a shutdown date up to this day are not used; None is the current date.
        folder: the journal's folder; None is that of the settings.
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
