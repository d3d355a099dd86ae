"""Priors from a service.

`verax restore` requests all of them before it restores, `verax bench run` one with each item; both
announce the cost first. Answers are stored in the journal: a stopped run continues without paying
again, and a folder needs no more memory than a few photos.
"""

import hashlib
import sys
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from verax.cli.paid import Counter, Terms, counter_of
from verax.errors import ProviderError, VeraxError

if TYPE_CHECKING:
    from verax.bench.stages import Prior
    from verax.bench.work import Digests, Work
    from verax.image import Image
    from verax.making import Opened
    from verax.priors.generated import Asking, GeneratedPrior, Wishes
    from verax.providers import ImagesAnswer
    from verax.providers.batch_table import Batch

AT_ONCE = 100  # photos that are planned, announced and requested together
HELD_PIXELS = 64_000_000  # of photos and answers held from request to restoration: 768 MB


@dataclass(frozen=True, slots=True)
class Batching:
    """Whether to use the Batch API, and how often to check whether it has ended."""

    on: bool = False
    poll_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned request for one photo: the key of its answer, and the request without pictures."""

    fingerprint: str
    asking: "Asking"


@dataclass(frozen=True)
class Asker:
    """A service that makes priors, with the journal in front of it."""

    counter: Counter
    wishes: "Wishes"
    batching: Batching
    failed: dict[Path, VeraxError] = field(default_factory=dict)
    photos: "dict[Path, Opened]" = field(default_factory=dict)
    answers: "dict[Path, ImagesAnswer]" = field(default_factory=dict)
    planned: "dict[Path, Planned]" = field(default_factory=dict)

    def fetch(self, photos: Sequence[Path]) -> bool:
        """Request every prior; the answers go into the journal. Returns False on a dry run.

        Errors with single photos are kept in `failed` until their turn.
        """
        batches = self.counter.batches() if self.batching.on else None
        go_on = True
        for start in range(0, len(photos), AT_ONCE):
            batch = list(self._requests_of(photos[start : start + AT_ONCE]))
            requests = [asking.request for _, asking in batch]
            notices = [notice for _, asking in batch for notice in asking.notices]
            go_on = not batch or self.counter.announce(requests, notices)
            if not go_on or not batch:
                continue
            if batches is not None:
                batches.submit(requests)
                continue
            answers = self.counter.desk.call_all(requests)
            for (path, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, VeraxError):
                    self.failed[path] = answer
                elif self._has_room(answer.decoded_pixels):
                    self.answers[path] = answer
        if batches is not None and go_on:
            batches.run([], poll_s=self.batching.poll_s, report=print_status)
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
        why = f"{last.state}: {last.message}" if last else "it was not requested"
        raise ProviderError(f"no prior for {path.name}; {why}")

    def photo(self, path: Path) -> "Opened | None":
        """The photo as decoded for its request; None where it is no longer held."""
        return self.photos.pop(path, None)

    def _has_room(self, pixels: int) -> bool:
        """Whether so many decoded pixels more may be held until the restoration."""
        photos = sum(one.photo.width * one.photo.height for one in self.photos.values())
        return photos + pixels + sum(a.decoded_pixels for a in self.answers.values()) <= HELD_PIXELS

    def _requests_of(self, photos: Sequence[Path]) -> "Iterator[tuple[Path, Asking]]":
        """The request for each photo; each photo is diagnosed, encoded and hashed once."""
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
        photo = making.opened(path)
        asking = generated.plan(photo.photo, desk.client, wishes)
        if self._has_room(photo.photo.width * photo.photo.height):
            self.photos[path] = photo
        return replace(asking, request=plain(asking.request)) if self.batching.on else asking


@contextmanager
def asker(terms: Terms, wishes: "Wishes", batching: Batching) -> Iterator[Asker]:
    """A context with an Asker whose journal is open."""
    with counter_of(terms) as counter:
        if batching.on:
            counter = replace(counter, desk=counter.desk.batched())
        yield Asker(counter, wishes, batching)


def opened_answer(prior: "GeneratedPrior") -> "Opened":
    """The prior that a service made, with its file unchanged."""
    from verax import image as images
    from verax.making import Opened
    from verax.provenance import SourceFile

    source = SourceFile(prior.data, "the generated picture")
    return Opened(images.from_array(prior.pixels, name="the generated picture"), source)


def print_status(batch: "Batch") -> None:
    print(f"batch {batch.service_id}: {batch.status}", file=sys.stderr)


@dataclass(slots=True)
class Question:
    """One call to a service, held until every method that shares it has the prior."""

    photo: "Image"
    asking: "Asking"
    uses: int
    prior: "Prior | None" = None
    lock: Lock = field(default_factory=Lock)

    @property
    def pixels(self) -> int:
        images = (self.photo, None if self.prior is None else self.prior.pixels)
        return sum(image.shape[0] * image.shape[1] for image in images if image is not None)


@dataclass(frozen=True)
class BenchAsker:
    """A service for the priors of a benchmark run.

    To announce the cost, photos are read, encoded and hashed. Within HELD_PIXELS, the result is
    kept for the call, and the answer for other methods that share it.
    """

    counter: Counter
    batching: Batching
    questions: dict[object, Question] = field(default_factory=dict)

    def announce(self, works: "Sequence[Work]", files: "Digests") -> bool:
        """Print what is sent and its cost, and submit batches. Returns False on a dry run."""
        uses: Tally[object] = Tally(work.question for work in works if work.question)
        distinct = iter({work.question: work for work in works if work.question}.values())
        go_on = True
        while several := list(islice(distinct, AT_ONCE)):
            planned = [self._planned(work, files, uses[work.question]) for work in several]
            requests = [asking.request for asking in planned]
            notices = [notice for asking in planned for notice in asking.notices]
            go_on = self.counter.announce(requests, notices)
            if go_on and self.batching.on:
                batches = self.counter.batches()
                batches.run(requests, poll_s=self.batching.poll_s, report=print_status)
        files.contents.clear()
        return go_on

    def _planned(self, work: "Work", files: "Digests", uses: int) -> "Asking":
        from verax.bench.stages import photo_of

        photo = photo_of(work, files.data(work.photo))
        question = Question(photo, self._plan(photo, work), uses)
        if self._has_room(question.pixels):
            self.questions[work.question] = question
        return question.asking

    def _has_room(self, pixels: int) -> bool:
        return sum(one.pixels for one in [*self.questions.values()]) + pixels <= HELD_PIXELS

    def photo(self, work: "Work") -> "Image":
        """The photo of a work item, degraded where the plan says so."""
        from verax.bench.stages import photo_of

        question = self.questions.get(work.question)
        return photo_of(work) if question is None else question.photo

    def prior(self, photo: "Image", work: "Work") -> "Prior":
        """The prior of one item, stored or requested. Raises what the call raises."""
        question = self.questions.get(work.question)
        if question is None:
            return self._ask(self._plan(photo, work))
        with question.lock:  # methods that share a call wait for one answer
            question.uses -= 1
            if question.uses < 1:
                self.questions.pop(work.question, None)
            if question.prior is not None:
                return replace(question.prior, cost_usd=0.0)  # paid by the first method
            prior = self._ask(question.asking)
            if prior.pixels is not None and self._has_room(prior.pixels[..., 0].size):
                question.prior = prior
            return prior

    def _ask(self, asking: "Asking") -> "Prior":
        from verax.bench.stages import Prior
        from verax.priors.generated import receive
        from verax.provenance import has_manifest

        answer = self.counter.desk.call(asking.request)
        came = (answer.images[0].width, answer.images[0].height)
        prior = receive(asking, answer)
        return Prior(
            prior.pixels,
            answer.counted_usd,
            came != asking.canvas.size,
            hashlib.sha256(prior.data).hexdigest(),
            has_manifest(prior.data),
            self._seconds(asking),
            answer.model,
        )

    def _seconds(self, asking: "Asking") -> float | None:
        """How long the call took; None for a batch, whose duration says nothing."""
        journal = self.counter.desk.journal
        call = journal.records.newest(asking.request.fingerprint())
        if call is None or call.ended is None or self.batching.on:
            return None
        return call.ended - call.started

    def _plan(self, photo: "Image", work: "Work") -> "Asking":
        from verax.bench.work import PROMPT_TASKS
        from verax.catalog import tasks
        from verax.image import Photo
        from verax.priors import generated
        from verax.providers.batch_table import plain

        wishes = generated.Wishes(
            model=work.model,
            task=PROMPT_TASKS.get(work.task, work.task if work.task in tasks() else "auto"),
            wording=work.prompt,
            quality=work.quality or None,
            repeat_index=work.repeat,
        )
        asking = generated.plan(Photo(photo), self.counter.desk.client, wishes)
        return replace(asking, request=plain(asking.request)) if self.batching.on else asking


@contextmanager
def bench_asker(terms: Terms, batching: Batching, folder: Path) -> Iterator[BenchAsker]:
    """An asker whose calls count for the run folder, however often the run is restarted."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    run = terms.run or f"bench-{folder.name}-{name}"
    with counter_of(replace(terms, run=run)) as counter:
        if batching.on:
            counter = replace(counter, desk=counter.desk.batched())
        yield BenchAsker(counter, batching)
