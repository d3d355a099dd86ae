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

from verax.cli.paid import Counter, Terms, counter_of
from verax.errors import ProviderError, VeraxError

if TYPE_CHECKING:
    from verax.making import Opened
    from verax.priors.generated import Asking, GeneratedPrior, Wishes
    from verax.providers.batch_table import Batch
    from verax.providers.requests import ImagesAnswer

AT_ONCE = 100  # photos that are planned, announced and asked for together
HELD_PIXELS = 64_000_000  # of photos and answers held from asking to restoring: 768 MB


@dataclass(frozen=True, slots=True)
class Batching:
    """Whether to go through the Batch API, and how often to look whether it has ended."""

    wanted: bool = False
    poll_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Planned:
    """What was asked for one photo: the key of its answer, and the asking without its pictures."""

    fingerprint: str
    asking: "Asking"


@dataclass(frozen=True)
class Asker:
    """A service that makes priors, with the journal in front of it."""

    counter: Counter
    wishes: "Wishes"
    batching: Batching
    failed: dict[Path, VeraxError] = field(default_factory=dict)
    opened: "dict[Path, Opened]" = field(default_factory=dict)
    answers: "dict[Path, ImagesAnswer]" = field(default_factory=dict)
    planned: "dict[Path, Planned]" = field(default_factory=dict)

    def fetch(self, photos: Sequence[Path]) -> bool:
        """Get every answer into the journal; False on a dry run.

        What went wrong with one photo waits in `failed` until that photo's turn.
        """
        batches = self.counter.desk.batches() if self.batching.wanted else None
        go_on = True
        for start in range(0, len(photos), AT_ONCE):
            asked = list(self._asked(photos[start : start + AT_ONCE]))
            requests = [asking.request for _, asking in asked]
            notices = [notice for _, asking in asked for notice in asking.notices]
            go_on = not asked or self.counter.announce(requests, notices)
            if not go_on or not asked:
                continue
            if batches is not None:
                batches.submit(requests)
                continue
            answers = self.counter.desk.call_all(requests)
            for (path, _), answer in zip(asked, answers, strict=True):
                if isinstance(answer, VeraxError):
                    self.failed[path] = answer
                elif self._has_room(answer.decoded_pixels):
                    self.answers[path] = answer
        if batches is not None and go_on:
            batches.run([], poll_s=self.batching.poll_s, report=told)
        return go_on

    def prior(self, path: Path) -> "GeneratedPrior":
        """The stored answer to this photo's request. Raises what its call raised."""
        from verax.priors.generated import receive

        if path in self.failed:
            raise self.failed[path]
        plan, desk = self.planned[path], self.counter.desk
        answer = self.answers.pop(path, None)
        if answer is None:
            fetch = desk.client.transport.fetch
            answer = desk.journal.answer_to(plan.fingerprint, plan.asking.request, fetch)
        if answer is not None:
            return receive(plan.asking, answer)
        last = desk.journal.records.newest(plan.fingerprint)
        why = f"{last.state}: {last.message}" if last else "it was not asked for"
        raise ProviderError(f"no prior for {path.name}; {why}")

    def photo(self, path: Path) -> "Opened | None":
        """The photo as it was opened to ask for its prior; None where it was let go since."""
        return self.opened.pop(path, None)

    def _has_room(self, pixels: int) -> bool:
        """Whether so many decoded pixels more may be held until the restoring."""
        photos = sum(one.photo.width * one.photo.height for one in self.opened.values())
        return photos + pixels + sum(a.decoded_pixels for a in self.answers.values()) <= HELD_PIXELS

    def _asked(self, photos: Sequence[Path]) -> "Iterator[tuple[Path, Asking]]":
        """What is asked for each photo; each is looked at, encoded and hashed once."""
        for path in photos:
            try:
                asking = self._plan(path)
            except VeraxError as exc:
                if len(photos) == 1:
                    raise
                self.failed[path] = exc
                continue
            light = replace(asking, request=replace(asking.request, images=(), mask=None))
            self.planned[path] = Planned(asking.request.fingerprint(), light)
            yield path, asking

    def _plan(self, path: Path) -> "Asking":
        from verax import making
        from verax.priors import generated
        from verax.providers.batch_table import plain

        desk = self.counter.desk
        model = self.wishes.model or desk.settings.model or generated.DEFAULT_MODEL
        wishes = replace(self.wishes, model=model)
        opened = making.opened(path)
        asking = generated.plan(opened.photo, desk.client, wishes)
        if self._has_room(opened.photo.width * opened.photo.height):
            self.opened[path] = opened
        return replace(asking, request=plain(asking.request)) if self.batching.wanted else asking


@contextmanager
def asker(terms: Terms, wishes: "Wishes", batching: Batching) -> Iterator[Asker]:
    """An asker with its journal open."""
    with counter_of(terms) as counter:
        if batching.wanted:
            counter = replace(counter, desk=counter.desk.batched())
        yield Asker(counter, wishes, batching)


def opened_answer(asked: "GeneratedPrior") -> "Opened":
    """The prior that a service gave, with its file as it came."""
    from verax import image as images
    from verax.making import Opened
    from verax.provenance.signing import SourceFile

    source = SourceFile(asked.data, "the generated picture")
    return Opened(images.from_array(asked.pixels, name="the generated picture"), source)


def told(batch: "Batch") -> None:
    print(f"batch {batch.service_id}: {batch.status}", file=sys.stderr)
