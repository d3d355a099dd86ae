"""Claims: whether a call may be made, or was made already, was refused, or is too expensive.

A claim is a record in the journal, committed before anything is sent. This file interprets earlier
records of the same request; `verax.providers.journal` handles the claimed call.
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

BYTES_PER_PIXEL = 4 * 4 / 3  # four channels that do not compress, as base64
AUTO_PIXELS = 8_294_400  # the largest picture a service may choose
WAIT_S = 0.05  # between checks of a call that is in progress elsewhere
ROUNDING_USD = 1e-9


@dataclass(frozen=True)
class Claims:
    """Decides whether a call may be made, and claims it in the records before anything is sent.

    Attributes:
        clock, sleep: seconds since 1970, and waiting for calls in progress elsewhere.
    """

    records: Records
    answers: AnswerStore
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def claim(
        self, request: Request, estimate: Estimate, budget: Budget, retry_uncertain: bool
    ) -> Call | None:
        """A new record; None where the answer has been stored meanwhile."""
        while True:
            with self._transaction():
                last, state = self._state_of(request)
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
                    owner = self.answers.owner
                    return self._begin("started", request, estimate, budget, owner)
            self.sleep(WAIT_S)

    def queue(
        self, requests: Sequence[Request], owner: str, *, budget: Budget, retry_uncertain: bool
    ) -> list[Request]:
        """Claim the requests that may be sent in a batch; not those that are answered, refused,
        uncertain or in progress.

        Raises BudgetExceeded, and claims nothing, if they do not all fit under the limit.
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
                    "other calls of this run are in progress; try again when they end"
                )
            for request, estimate in zip(claimed, estimates, strict=True):
                self._begin("batched", request, estimate, budget, owner)
        return claimed

    def newest(self, fingerprint: str) -> Call | None:
        """The newest record of a request, or None; closed where its process has died meanwhile."""
        last = self.records.last(fingerprint)
        if last is None or last.state != "started":
            return last
        with self.records.change():
            self.answers.settle_one(last)
        return self.records.last(fingerprint)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction that commits changes to other calls even if the claim is refused."""
        no: VeraxError | None = None
        with self.records.change():
            try:
                yield
            except VeraxError as exc:
                no = exc
        if no is not None:
            raise no

    def _state_of(self, request: Request) -> tuple[Call | None, CallState | Literal[""]]:
        """The newest record of a request and its state, "" without one. Inside `change`."""
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
        """Whether a call fits under the limit now; False: maybe after other calls have ended."""
        limit = budget.max_cost_usd
        if limit is None or math.isinf(limit):
            return True
        if estimate.high_usd is None:
            raise BudgetExceeded(
                f"no price is known for {model}, so a cost limit cannot be kept; nothing was "
                "sent. Add the price to the catalog or drop the limit"
            )
        left = limit + ROUNDING_USD - estimate.high_usd
        if self.records.spent(budget.run).most_usd <= left:
            return True
        for call in self.records.select(states=("started",), run=budget.run):
            self.answers.settle_one(call)  # calls of dead processes would never end
        spent = self.records.spent(budget.run)
        if spent.billed_usd + spent.possibly_usd <= left:
            return False
        raise BudgetExceeded(
            f"this call may cost up to ${estimate.high_usd:.4f}; ${spent.billed_usd:.4f} are "
            f"billed so far, another ${spent.possibly_usd:.4f} may be, and the limit is "
            f"${limit:.4f}; nothing was sent. Raise --max-cost (in Python: max_cost_usd) to go on; "
            "answers already paid for are kept"
        )


def is_answered(call: Call | None) -> bool:
    """Whether the answer to a call is stored, readable or not."""
    return call is not None and call.state in ("done", "unusable")


def expected_bytes(request: Request) -> int:
    """Upper bound for the body of an answer, previews of a stream included."""
    size = request.size or "auto"
    pixels = AUTO_PIXELS if size == "auto" else math.prod(parse_size(size))
    pictures = request.n * (1 + (request.partial_images or 0))
    return pictures * int(pixels * BYTES_PER_PIXEL) + 65_536


def raise_refused(call: Call, run: str, retry_uncertain: bool) -> None:
    """Raises ProviderRefused unless a refused call may be repeated: by another run, and if it may
    have been billed, only with `retry_uncertain`."""
    if call.run == run:
        raise ProviderRefused(call.message, stage=call.stage, categories=call.categories)
    if call.stage != "input" and not retry_uncertain:
        raise ProviderRefused(
            f"{call.message}; that may have been billed, so it is repeated only with "
            "--retry-uncertain",
            stage=call.stage,
            categories=call.categories,
        )


def raise_uncertain(call: Call) -> NoReturn:
    when = datetime.fromtimestamp(call.started, UTC).strftime("%Y-%m-%d %H:%M")
    most = "" if call.reserved_usd is None else f" with up to ${call.reserved_usd:.4f}"
    raise ProviderUncertain(
        f"the same call was sent on {when} UTC and got no answer ({call.message}); it may have "
        f"been billed{most}. It is repeated only with --retry-uncertain"
    )
