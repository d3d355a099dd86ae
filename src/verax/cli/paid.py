"""What every verb that asks a service shares: options, estimate, announcement, call."""

import math
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verax.errors import InputError, VeraxError

if TYPE_CHECKING:
    from verax.providers.budget import Budget, Estimate, Pace
    from verax.providers.images_api import Client
    from verax.providers.journal import Journal
    from verax.providers.requests import ImagesAnswer, Request
    from verax.settings import Settings

PANEL = "Paid service"
Model = Annotated[
    str | None,
    typer.Option("--model", rich_help_panel=PANEL, help="Ask this model; see: verax models."),
]
Gateway = Annotated[
    str | None,
    typer.Option(rich_help_panel=PANEL, help="Whom to ask; see: verax models --gateways."),
]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", rich_help_panel=PANEL, help="Another address to ask.")
]
LocalOnly = Annotated[
    bool,
    typer.Option(
        "--local-only", rich_help_panel=PANEL, help="Refuse every address beyond this machine."
    ),
]


def dollars(text: str) -> float:
    """US dollars, or "any": no limit, said out loud."""
    return math.inf if text == "any" else float(text)


MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        parser=dollars,
        metavar="USD",
        rich_help_panel=PANEL,
        help="US dollars that this run may cost at most; 'any' where no price is known.",
    ),
]
Run = Annotated[
    str | None,
    typer.Option("--run", rich_help_panel=PANEL, help="Runs of one name share their --max-cost."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", rich_help_panel=PANEL, help="Print the estimate and ask nobody."),
]
RetryUncertain = Annotated[
    bool,
    typer.Option(
        "--retry-uncertain",
        rich_help_panel=PANEL,
        help="Repeat calls that may have been billed already.",
    ),
]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the paid options of a call say."""

    gateway: str | None = None
    base_url: str | None = None
    local_only: bool = False
    max_cost: float | None = None
    run: str | None = None
    dry_run: bool = False
    retry_uncertain: bool = False


@dataclass(frozen=True)
class Desk:
    """A service with the journal in front of it; ask through `call` and nothing is paid twice."""

    settings: "Settings"
    client: "Client"
    budget: "Budget"
    pace: "Pace"
    terms: Terms
    journal: "Journal | None" = None  # none on a dry run

    def call(self, request: "Request") -> "ImagesAnswer":
        """The stored answer, or that of one call."""
        assert self.journal is not None
        return self.journal.call(
            request,
            self.client.send,
            budget=self.budget,
            retry_uncertain=self.terms.retry_uncertain,
            pace=self.pace,
            fetch=self.client.transport.fetch,
        )

    def call_all(self, requests: Sequence["Request"]) -> "list[ImagesAnswer | VeraxError]":
        """Every answer, in order, or why there is none; some calls at once."""

        def one(request: "Request") -> "ImagesAnswer | VeraxError":
            try:
                return self.call(request)
            except VeraxError as exc:
                return exc

        with ThreadPoolExecutor(self.settings.concurrency) as threads:
            return list(threads.map(one, requests))

    def estimate(self, requests: Sequence["Request"]) -> "Estimate":
        """What the requests cost, however many of them are stored."""
        from verax.providers.budget import total

        return total([self.budget.tariff.estimate(request) for request in requests])

    def announce(self, requests: Sequence["Request"], notices: Sequence[str] = ()) -> bool:
        """Say what leaves, to whom, and what it costs; whether to go on and ask."""
        for notice in dict.fromkeys(notices):
            print(f"note: {notice}", file=sys.stderr)
        open_ones = self._open(requests)
        stored = len(requests) - len(open_ones)
        if stored:
            print(f"{stored} of {len(requests)} answers are stored already", file=sys.stderr)
        price = priced(self.estimate(open_ones)) if open_ones else "nothing"
        if open_ones:
            print(self.client.leaving(*open_ones), file=sys.stderr)
        if self.terms.dry_run:
            print(f"dry run: {len(open_ones)} calls would cost {price}; nothing was sent")
            return False
        if open_ones:
            self.client.require_key()
            self._require_price(open_ones)
            print(f"Expected cost: {price}", file=sys.stderr)
        return True

    def _require_price(self, requests: Sequence["Request"]) -> None:
        """Raises InputError where a price is not known and nobody said that it may cost anything."""
        said = self.terms.max_cost if self.terms.max_cost is not None else self.settings.max_cost
        if said is not None or self.client.gateway.name == "custom":
            return
        for request in requests:
            if self.budget.tariff.price(request) is None:
                near = get_close_matches(request.model.rpartition("/")[2], self.client.known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else "."
                raise InputError(
                    f"no price is known for {request.model!r} at {self.client.gateway.name}{hint} "
                    "To ask all the same, whatever it costs: --max-cost any"
                )

    def _open(self, requests: Sequence["Request"]) -> "list[Request]":
        """The requests whose answers are not stored."""
        journal = self.journal
        if journal is None:
            return list(requests)
        return [request for request in requests if not journal.has(request)]


@contextmanager
def desk(terms: Terms) -> Iterator[Desk]:
    """The service that options, environment and config file name, with its journal open."""
    from verax.providers.budget import Budget, Pace, load_tariff
    from verax.providers.images_api import connect
    from verax.providers.journal import Journal

    settings, now = configured(terms), datetime.now(UTC)
    client = connect(settings, today=now.date())
    limit = settings.max_cost if terms.max_cost is None else terms.max_cost
    budget = Budget(
        load_tariff(changes=settings.home),
        terms.run or f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}",
        limit if limit is None or math.isfinite(limit) else None,
    )
    pace = Pace(settings.images_per_minute, settings.concurrency)
    folder = journal_folder(settings)
    try:
        if terms.dry_run and not folder.exists():
            yield Desk(settings, client, budget, pace, terms)
        else:
            with Journal(folder) as journal:
                yield Desk(settings, client, budget, pace, terms, journal)
    finally:
        client.transport.close()


def configured(terms: Terms) -> "Settings":
    """Settings of the environment and config file, with what the options say on top."""
    from verax.settings import load

    settings = load()
    if terms.gateway:
        settings = replace(settings, gateway=terms.gateway)
    if terms.base_url:
        settings = replace(settings, base_url=terms.base_url)
    return replace(settings, local_only=settings.local_only or terms.local_only)


def journal_folder(settings: "Settings") -> Path:
    return settings.home / "journal"


def priced(estimate: "Estimate") -> str:
    """The estimate in words."""
    if estimate.expected_usd is None or estimate.high_usd is None:
        return "an unknown amount: the catalog has no price for this model here"
    return f"${estimate.expected_usd:.4f}, at most ${estimate.high_usd:.4f}"
