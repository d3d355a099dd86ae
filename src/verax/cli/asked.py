"""Priors that `verax restore --model` asks a service for: first all calls, then the restoring.

The journal lies in between: what was answered is stored, so a run that is stopped anywhere goes on
where it was, and a folder needs no more memory than a few photos.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from verax.cli.paid import Desk, Terms, desk
from verax.errors import ProviderError, VeraxError

if TYPE_CHECKING:
    from verax.priors.generated import Asking, GeneratedPrior, Wishes
    from verax.providers.batch import Batches
    from verax.providers.batch_table import Batch

AT_ONCE = 100  # photos that are planned, announced and asked for together


@dataclass(frozen=True, slots=True)
class Batching:
    """Whether to go through the Batch API, and how often to look whether it has ended."""

    wanted: bool = False
    poll_s: float = 30.0


@dataclass(frozen=True)
class Asker:
    """A service that makes priors, with the journal in front of it."""

    counter: Desk
    wishes: "Wishes"
    batching: Batching
    failed: dict[Path, VeraxError] = field(default_factory=dict)

    def fetch(self, photos: Sequence[Path]) -> bool:
        """Get every answer into the journal; False on a dry run.

        What went wrong with one photo waits in `failed` until that photo's turn.
        """
        batches = self._batches() if self.batching.wanted else None
        go_on = True
        for start in range(0, len(photos), AT_ONCE):
            planned = list(self._planned(photos[start : start + AT_ONCE]))
            requests = [asking.request for _, asking in planned]
            notices = [notice for _, asking in planned for notice in asking.notices]
            go_on = not planned or self.counter.announce(requests, notices)
            if not go_on or not planned:
                continue
            if batches is not None:
                batches.submit(requests)
                continue
            for (path, _), answer in zip(planned, self.counter.call_all(requests), strict=True):
                if isinstance(answer, VeraxError):
                    self.failed[path] = answer
        if batches is not None and go_on:
            batches.run([], poll_s=self.batching.poll_s, report=told)
        return go_on

    def prior(self, path: Path) -> "GeneratedPrior":
        """The stored answer to this photo's request. Raises what its call raised."""
        from verax.priors.generated import receive

        if path in self.failed:
            raise self.failed[path]
        asking, journal = self._plan(path), self.counter.journal
        assert journal is not None
        answer = journal.stored(asking.request, self.counter.client.transport.fetch)
        if answer is not None:
            return receive(asking, answer)
        last = journal.records.newest(asking.request.fingerprint())
        why = f"{last.state}: {last.message}" if last else "it was not asked for"
        raise ProviderError(f"no prior for {path.name}; {why}")

    def _planned(self, photos: Sequence[Path]) -> "Iterator[tuple[Path, Asking]]":
        for path in photos:
            try:
                yield path, self._plan(path)
            except VeraxError as exc:
                if len(photos) == 1:
                    raise
                self.failed[path] = exc

    def _plan(self, path: Path) -> "Asking":
        from verax import image as images
        from verax.priors import generated
        from verax.providers.batch import plain

        settings = self.counter.settings
        model = self.wishes.model or settings.model or generated.DEFAULT_MODEL
        wishes = replace(self.wishes, model=model)
        asking = generated.plan(images.read(path), self.counter.client, wishes)
        return replace(asking, request=plain(asking.request)) if self.batching.wanted else asking

    def _batches(self) -> "Batches | None":
        from verax.providers.batch import Batches

        if self.counter.journal is None:
            return None
        return Batches(
            self.counter.client,
            self.counter.journal,
            self.counter.budget,
            self.counter.terms.retry_uncertain,
        )


@contextmanager
def asker(terms: Terms, wishes: "Wishes", batching: Batching) -> Iterator[Asker]:
    """An asker with its journal open."""
    from verax.providers.budget import load_tariff

    with desk(terms) as counter:
        if batching.wanted:
            tariff = load_tariff(changes=counter.settings.home, batch=True)
            counter = replace(counter, budget=replace(counter.budget, tariff=tariff))
        yield Asker(counter, wishes, batching)


def told(batch: "Batch") -> None:
    print(f"batch {batch.service_id}: {batch.status}", file=sys.stderr)
