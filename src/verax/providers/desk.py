"""The door to paid calls: a service with the journal in front of it.

Command line, server, benchmarks and Python programs ask through a desk, so that nothing is paid
twice, no limit is passed and every answer is kept, whoever asks.
"""

import math
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from verax.errors import VeraxError
from verax.providers.batch import Batches
from verax.providers.budget import Budget, Estimate, Pace, load_tariff, total
from verax.providers.images_api import Client, connect
from verax.providers.journal import Journal
from verax.providers.requests import ImagesAnswer, Request
from verax.settings import Settings

DECODED_PIXELS = 32_000_000  # of several answers at a time: 384 MB


@dataclass(frozen=True)
class Desk:
    """One service, ready to be asked; close it at the end, or use it as a context.

    Attributes:
        budget: whom calls count to, and the most they may cost.
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
        held: list[int] = []
        lock = threading.Lock()

        def one(request: Request) -> ImagesAnswer | VeraxError:
            try:
                answer = self.call(request)
            except VeraxError as exc:
                return exc
            with lock:
                held.append(answer.decoded_pixels)
                fits = sum(held) <= DECODED_PIXELS
            return answer if fits else answer.without_pixels()

        with ThreadPoolExecutor(self.settings.concurrency) as threads:
            return list(threads.map(one, requests))

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        """The requests whose answers are not stored."""
        return [request for request in requests if not self.journal.has(request)]

    def estimate(self, requests: Sequence[Request]) -> Estimate:
        """What the requests cost, however many of them are stored."""
        return total([self.budget.tariff.estimate(request) for request in requests])

    def counted_to(self, run: str, max_cost_usd: float | None) -> "Desk":
        """The same desk for another run with a limit of its own."""
        return replace(self, budget=replace(self.budget, run=run, max_cost_usd=max_cost_usd))

    def batched(self) -> "Desk":
        """The same desk at the prices of the Batch API."""
        tariff = load_tariff(changes=self.settings.home, batch=True)
        return replace(self, budget=replace(self.budget, tariff=tariff))

    def batches(self) -> Batches:
        """The batches of this service and journal."""
        return Batches(self.client, self.journal, self.budget, self.retry_uncertain)


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
        run: runs of one name share their limit; "" is a run of its own.
        max_cost_usd: the most that the run may cost; None is the limit of the settings.
        today: by which models have ended.
        folder: of the journal; None is that of the settings.
    """
    now = datetime.now(UTC)
    client = connect(settings, today=today or now.date())
    limit = settings.max_cost if max_cost_usd is None else max_cost_usd
    budget = Budget(
        load_tariff(changes=settings.home),
        run or f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}",
        limit if limit is None or math.isfinite(limit) else None,
    )
    pace = Pace(settings.images_per_minute, settings.concurrency)
    try:
        journal = Journal(folder or journal_folder(settings))
    except BaseException:
        client.transport.close()
        raise
    return Desk(settings, client, journal, budget, pace, retry_uncertain)
