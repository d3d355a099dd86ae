"""Decides whether a paid call may be made, from earlier calls with the same request and the limit.

If it may, a record of the call is written to the journal before anything is sent: the claim. Any
other thread or process that wants to send the same request finds the claim. The call itself is made
by `verax.providers.journal`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NoReturn

from verax.catalog.models import parse_size
from verax.errors import (
    BudgetExceeded,
    ProviderBusy,
    ProviderRefused,
    ProviderUncertain,
    VeraxError,
)
from verax.providers import Request
from verax.providers.answer_store import AnswerStore
from verax.providers.budget import Budget, Estimate, total
from verax.providers.records import Call, CallState, Records

BYTES_PER_PIXEL = 4 * 4 / 3  # four channels without compression, as base64
AUTO_PIXELS = 8_294_400  # largest picture that a service may choose
WAIT_S = 0.05  # between checks of a call that is in progress elsewhere
ROUNDING_USD = 1e-9


@dataclass(frozen=True)
class Claims:
    """Decides whether a paid call may be made and, if so, records it in the journal before it is
    sent. This record is the claim: it keeps other processes from making the same call.

    Attributes:
        records: the journal's table of calls.
        answers: the journal's stored answers.
        clock: returns the time in seconds since 1970.
        sleep: waits the given number of seconds; used while another caller makes the same call.
    """

    records: Records
    answers: AnswerStore
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def claim(
        self, request: Request, estimate: Estimate, budget: Budget, retry_uncertain: bool
    ) -> Call | None:
        """Record a call that is about to be sent. Returns the record, or None if the answer is
        stored already. Waits while another thread or process makes the same call, and while other
        calls of the run that are in progress may use up its limit. `estimate` is the estimated
        cost of the request.

        Raises BudgetExceeded if the call may exceed the limit in `budget`, ProviderRefused if
        moderation refused it before and `raise_refused` does not allow to repeat it,
        ProviderUncertain if an earlier try may have been billed and `retry_uncertain` is False,
        and ProviderBusy if it is part of a batch.
        """
        while True:
            with self._transaction():
                last, state = self._state_of(request)
                if state in ("done", "unusable"):
                    return None
                if last and state == "batched":
                    raise ProviderBusy(
                        f"this call is part of {last.owner}, whose answers are not fetched yet; "
                        "fetch them first: repeat the command that sent the batch"
                    )
                if last and state == "uncertain" and not retry_uncertain:
                    raise_uncertain(last)
                if last and state == "refused":
                    raise_refused(last, budget.run, retry_uncertain)
                if state != "started" and self._affordable(estimate, budget, request.model):
                    owner = self.answers.owner
                    return self._begin("started", request, estimate, budget, owner)
            self.sleep(WAIT_S)

    def queue(
        self, requests: Sequence[Request], owner: str, *, budget: Budget, retry_uncertain: bool
    ) -> list[Request]:
        """Record and return those of the requests that may be sent in the batch named `owner`.

        Left out are requests that are answered or in progress, that moderation refused (unless
        `raise_refused` allows to repeat them), or that may have been billed without an answer
        (unless `retry_uncertain` is True). Equal requests are recorded once. Raises
        BudgetExceeded, and records none, if together they may exceed the limit in `budget`;
        ProviderBusy if they may exceed it until other calls of the run have ended.
        """
        with self._transaction():
            claimed = []
            for request in {one.fingerprint(): one for one in requests}.values():
                last, state = self._state_of(request)
                again = state == "uncertain" and retry_uncertain
                if last and state == "refused":
                    with suppress(ProviderRefused):
                        raise_refused(last, budget.run, retry_uncertain)
                        again = True
                if state == "" or again:
                    claimed.append(request)
            estimates = [budget.tariff.estimate(request) for request in claimed]
            names = ", ".join(sorted({request.model for request in claimed}))
            if claimed and not self._affordable(total(estimates), budget, names):
                raise ProviderBusy(
                    "the other calls of this run that are in progress may use up the cost limit; "
                    "nothing was sent; try again when they have ended"
                )
            for request, estimate in zip(claimed, estimates, strict=True):
                self._begin("batched", request, estimate, budget, owner)
        return claimed

    def newest(self, fingerprint: str) -> Call | None:
        """The newest record of the request with this fingerprint whose state is not "failed", or
        None. If the call's process ended without writing a final state, one is written first."""
        last = self.records.last(fingerprint)
        if last is None or last.state != "started":
            return last
        with self.records.change():
            self.answers.settle_one(last)
        return self.records.last(fingerprint)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a `with` block as a database transaction that is committed even if the block raises a
        VeraxError, so that final states written in the block are not lost."""
        no: VeraxError | None = None
        with self.records.change():
            try:
                yield
            except VeraxError as exc:
                no = exc
        if no is not None:
            raise no

    def _state_of(self, request: Request) -> tuple[Call | None, CallState | Literal[""]]:
        """The newest record of a request that is not in state "failed", and its state; (None, "")
        if there is none. To be called within a transaction."""
        last = self.records.last(request.fingerprint())
        if last and self.answers.settle_one(last) != last.state:
            last = self.records.last(request.fingerprint())
        return last, last.state if last else ""

    def _begin(
        self, state: CallState, request: Request, estimate: Estimate, budget: Budget, owner: str
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
            started=self.clock(),
            price=budget.tariff.price(request),
            reserved_usd=estimate.high_usd,
            least_usd=estimate.low_usd,
        )

    def _affordable(self, estimate: Estimate, budget: Budget, model: str) -> bool:
        """Whether the run's cost limit in `budget` allows a call with this estimated cost now. If
        not, the limit may allow it when the calls in progress have ended; raises BudgetExceeded if
        even then it cannot. `model` is the name of the model, for the message."""
        limit = budget.max_cost_usd
        if limit is None or math.isinf(limit):
            return True
        if estimate.high_usd is None:
            raise BudgetExceeded(
                f"the price of {model} is not known, so the cost limit cannot be checked; nothing "
                "was sent. Add the price in a file models.toml in the folder VERAX_HOME, or allow "
                "any cost: --max-cost any (in Python: max_cost_usd=math.inf)"
            )
        allowed = limit + ROUNDING_USD - estimate.high_usd
        if self.records.cost(budget.run).most_usd <= allowed:
            return True
        for call in self.records.select(states=("started",), run=budget.run):
            self.answers.settle_one(call)  # calls of dead processes would never end
        spent = self.records.cost(budget.run)
        if spent.billed_usd + spent.possibly_usd <= allowed:
            return False
        raise BudgetExceeded(
            f"this call may cost up to ${estimate.high_usd:.4f}, which could pass the limit of "
            f"${limit:.4f}: ${spent.billed_usd:.4f} were billed so far, and another "
            f"${spent.possibly_usd:.4f} may have been billed. Nothing was sent. To go on, raise "
            "--max-cost (in Python: max_cost_usd); answers already paid for are kept"
        )


def is_answered(call: Call | None) -> bool:
    """Whether the answer to a call is stored, even if no picture in it can be read. False if
    `call` is None."""
    return call is not None and call.state in ("done", "unusable")


def expected_bytes(request: Request) -> int:
    """An upper bound for the size, in bytes, of the answer to a request, previews included."""
    size = request.size or "auto"
    pixels = AUTO_PIXELS if size == "auto" else math.prod(parse_size(size))
    pictures = request.n * (1 + (request.partial_images or 0))
    return pictures * int(pixels * BYTES_PER_PIXEL) + 65_536


def raise_refused(call: Call, run: str, retry_uncertain: bool) -> None:
    """Raise ProviderRefused if the run named `run` may not repeat a call that moderation refused.

    The run that made the refused call may not repeat it. Another run may; but if the refused call
    may have been billed, only if `retry_uncertain` is True.
    """
    if call.run == run:
        raise ProviderRefused(call.message, stage=call.stage, categories=call.categories)
    if call.stage != "input" and not retry_uncertain:
        raise ProviderRefused(
            f"{call.message}; the refused call may have been billed, so it is repeated only with "
            "--retry-uncertain (in Python: retry_uncertain=True)",
            stage=call.stage,
            categories=call.categories,
        )


def raise_uncertain(call: Call) -> NoReturn:
    """Raise ProviderUncertain for a call that may have been billed but has no answer."""
    when = datetime.fromtimestamp(call.started, UTC).strftime("%Y-%m-%d %H:%M")
    most = "" if call.reserved_usd is None else f" with up to ${call.reserved_usd:.4f}"
    raise ProviderUncertain(
        f"the same call was sent on {when} UTC and got no answer ({call.message}); it may have "
        f"been billed{most}. It is repeated only with --retry-uncertain (in Python: "
        "retry_uncertain=True)"
    )
