"""Requests priors from an image service.

`verax restore` requests all priors before it restores the first photo, `verax bench run` requests
each when it needs it; both print the cost first. Answers are stored in the journal, so that a
stopped command continues without paying again, and only a few photos are in memory at a time.
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

from verax.cli.paid import PaidCalls, Terms, paid_calls
from verax.errors import ProviderError, VeraxError

if TYPE_CHECKING:
    from verax.bench.stages import Prior
    from verax.bench.work import Digests, Work
    from verax.image import Image
    from verax.making import OpenedPicture
    from verax.priors.generated import Draft, GeneratedPrior, PriorOptions
    from verax.providers import ImagesAnswer
    from verax.providers.batch_table import Batch

POLL_S = 30.0  # seconds between two checks of a batch
AT_ONCE = 100  # photos that are planned, announced and requested together
HELD_PIXELS = 64_000_000  # of photos and answers, kept from request to restoration: 768 MB


@dataclass(frozen=True, slots=True)
class Batching:
    """Whether to use the Batch API (`on`), and how many seconds to wait between status checks."""

    on: bool = False
    poll_s: float = POLL_S


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request without its pictures, and its fingerprint, the key of its answer in the journal."""

    fingerprint: str
    draft: "Draft"


@dataclass(frozen=True)
class PriorCalls:
    """Requests priors of many photos by the user's `choices`. By path of photo: `failed` has
    errors, `planned` requests; `photos` (decoded) and `answers` are kept while there is room."""

    calls: PaidCalls
    choices: "PriorOptions"
    batching: Batching
    failed: dict[Path, VeraxError] = field(default_factory=dict)
    photos: "dict[Path, OpenedPicture]" = field(default_factory=dict)
    answers: "dict[Path, ImagesAnswer]" = field(default_factory=dict)
    planned: "dict[Path, PlannedRequest]" = field(default_factory=dict)

    def fetch(self, photos: Sequence[Path]) -> bool:
        """Request all photos' priors; the journal stores them. False on a dry run, else True.

        Errors are raised later, by `prior` for their photo; here if the only photo cannot be sent.
        """
        batches = self.calls.batches() if self.batching.on else None
        go_on = True
        for start in range(0, len(photos), AT_ONCE):
            batch = list(self._requests_of(photos[start : start + AT_ONCE], only=len(photos) == 1))
            requests = [draft.request for _, draft in batch]
            notices = [text for _, draft in batch for text in draft.notices]
            go_on = not batch or self.calls.announce(requests, notices)
            if not go_on or not batch:
                continue
            if batches is not None:
                batches.submit(requests)
                continue
            answers = self.calls.desk.call_all(requests)
            for (path, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, VeraxError):
                    self.failed[path] = answer
                elif self._has_room(answer.decoded_pixels):
                    self.answers[path] = answer
        if batches is not None and go_on:
            batches.run([], poll_s=self.batching.poll_s, report=print_status)
        return go_on

    def prior(self, path: Path) -> "GeneratedPrior":
        """The prior that `fetch` got for a photo. Raises the error of its call if it failed."""
        from verax.priors.generated import receive

        if path in self.failed:
            raise self.failed[path]
        plan, desk = self.planned[path], self.calls.desk
        answer = self.answers.pop(path, None)
        if answer is None:
            fetch = desk.client.transport.fetch
            answer = desk.journal.answer_to(plan.fingerprint, plan.draft.request, fetch)
        if answer is not None:
            return receive(plan.draft, answer)
        last = desk.journal.records.newest(plan.fingerprint)
        why = f"{last.state}: {last.message}" if last else "it was not requested"
        raise ProviderError(f"no prior for {path.name} ({why}); see verax journal list")

    def photo(self, path: Path) -> "OpenedPicture | None":
        """The photo as decoded for its request; None if it was not kept, or was returned before."""
        return self.photos.pop(path, None)

    def _has_room(self, pixels: int) -> bool:
        """Whether `pixels` more decoded pixels fit in memory, where at most 64 million are held."""
        photos = sum(one.photo.width * one.photo.height for one in self.photos.values())
        return photos + pixels + sum(a.decoded_pixels for a in self.answers.values()) <= HELD_PIXELS

    def _requests_of(self, photos: Sequence[Path], *, only: bool) -> "Iterator[tuple[Path, Draft]]":
        """Yields (path, request). Errors go to `failed`, or are raised for the `only` photo."""
        for path in photos:
            try:
                draft = self._plan(path)
            except VeraxError as exc:
                if only:
                    raise
                self.failed[path] = exc
                continue
            light = replace(draft, request=replace(draft.request, images=(), mask=None))
            self.planned[path] = PlannedRequest(draft.request.fingerprint(), light)
            yield path, draft

    def _plan(self, path: Path) -> "Draft":
        from verax import making
        from verax.priors import generated
        from verax.providers.batch_table import plain

        desk = self.calls.desk
        model = self.choices.model or desk.settings.model or generated.DEFAULT_MODEL
        choices = replace(self.choices, model=model)
        photo = making.open_picture(path)
        draft = generated.plan(photo.photo, desk.client, choices)
        if self._has_room(photo.photo.width * photo.photo.height):
            self.photos[path] = photo
        return replace(draft, request=plain(draft.request)) if self.batching.on else draft


@contextmanager
def open_prior_calls(terms: Terms, choices: "PriorOptions", mode: Batching) -> Iterator[PriorCalls]:
    """Yields the object that requests the priors of a `verax restore`; closes the journal after."""
    with paid_calls(terms) as calls:
        if mode.on:
            calls = replace(calls, desk=calls.desk.with_batch_prices())
        yield PriorCalls(calls, choices, mode)


def opened_answer(prior: "GeneratedPrior") -> "OpenedPicture":
    """A service's prior in the form of an opened file: its pixels, and the bytes as received."""
    from verax import image as images
    from verax.making import OpenedPicture
    from verax.provenance import SourceFile

    source = SourceFile(prior.data, "the generated picture")
    return OpenedPicture(images.from_array(prior.pixels, name="the generated picture"), source)


def print_status(batch: "Batch") -> None:
    print(f"batch {batch.service_id}: {batch.status}", file=sys.stderr)


@dataclass(slots=True)
class SharedCall:
    """A call whose prior one or more methods of a run need. `photo`: as sent; `draft`: a request;
    `uses`: how many methods have not got the prior yet; `prior`: None if it is not in memory."""

    photo: "Image"
    draft: "Draft"
    uses: int
    prior: "Prior | None" = None
    lock: Lock = field(default_factory=Lock)

    @property
    def pixels(self) -> int:
        images = (self.photo, None if self.prior is None else self.prior.pixels)
        return sum(image.shape[0] * image.shape[1] for image in images if image is not None)


@dataclass(frozen=True)
class BenchPriorCalls:
    """Requests the priors of a benchmark run from a service. `shared`: by the key of a call, the
    photo and prior that stay in memory for further methods."""

    calls: PaidCalls
    batching: Batching
    shared: dict[object, SharedCall] = field(default_factory=dict)

    def announce(self, works: "Sequence[Work]", files: "Digests") -> bool:
        """Print what `works` send and cost; send batches. Returns False only on a dry run."""
        uses: Tally[object] = Tally(work.call_key for work in works if work.call_key)
        distinct = iter({work.call_key: work for work in works if work.call_key}.values())
        go_on = True
        while several := list(islice(distinct, AT_ONCE)):
            planned = [self._plan_request(work, files, uses[work.call_key]) for work in several]
            requests = [draft.request for draft in planned]
            notices = [notice for draft in planned for notice in draft.notices]
            go_on = self.calls.announce(requests, notices)
            if go_on and self.batching.on:
                batches = self.calls.batches()
                batches.run(requests, poll_s=self.batching.poll_s, report=print_status)
        files.contents.clear()
        return go_on

    def _plan_request(self, work: "Work", files: "Digests", uses: int) -> "Draft":
        from verax.bench.stages import photo_of

        photo = photo_of(work, files.data(work.photo))
        shared = SharedCall(photo, self._plan(photo, work), uses)
        if self._has_room(shared.pixels):
            self.shared[work.call_key] = shared
        return shared.draft

    def _has_room(self, pixels: int) -> bool:
        return sum(one.pixels for one in [*self.shared.values()]) + pixels <= HELD_PIXELS

    def photo(self, work: "Work") -> "Image":
        """The photo of a work item, with the degradation that the item states, if any."""
        from verax.bench.stages import photo_of

        shared = self.shared.get(work.call_key)
        return photo_of(work) if shared is None else shared.photo

    def prior(self, photo: "Image", work: "Work") -> "Prior":
        """The prior of a work item with this photo: from memory (cost 0), journal or paid call."""
        shared = self.shared.get(work.call_key)
        if shared is None:
            return self._ask(self._plan(photo, work))
        with shared.lock:  # methods that share a call wait for one answer
            shared.uses -= 1
            if shared.uses < 1:
                self.shared.pop(work.call_key, None)
            if shared.prior is not None:
                return replace(shared.prior, cost_usd=0.0)  # paid by the first method
            prior = self._ask(shared.draft)
            if prior.pixels is not None and self._has_room(prior.pixels[..., 0].size):
                shared.prior = prior
            return prior

    def _ask(self, draft: "Draft") -> "Prior":
        from verax.bench.stages import Prior
        from verax.priors.generated import receive
        from verax.provenance import has_manifest

        answer = self.calls.desk.call(draft.request)
        came = (answer.images[0].width, answer.images[0].height)
        prior = receive(draft, answer)
        return Prior(
            prior.pixels,
            answer.counted_usd,
            came != draft.canvas.size,
            hashlib.sha256(prior.data).hexdigest(),
            has_manifest(prior.data),
            self._seconds(draft),
            answer.model,
        )

    def _seconds(self, draft: "Draft") -> float | None:
        """How many seconds a request's call took; None if this is not known, as in a batch."""
        journal = self.calls.desk.journal
        call = journal.records.newest(draft.request.fingerprint())
        if call is None or call.ended is None or self.batching.on:
            return None
        return call.ended - call.started

    def _plan(self, photo: "Image", work: "Work") -> "Draft":
        from verax.bench.work import PROMPT_TASKS
        from verax.catalog import tasks
        from verax.image import Photo
        from verax.priors import generated
        from verax.providers.batch_table import plain

        choices = generated.PriorOptions(
            model=work.model,
            task=PROMPT_TASKS.get(work.task, work.task if work.task in tasks() else "auto"),
            wording=work.prompt,
            quality=work.quality or None,
            repeat_index=work.repeat,
        )
        draft = generated.plan(Photo(photo), self.calls.desk.client, choices)
        return replace(draft, request=plain(draft.request)) if self.batching.on else draft


@contextmanager
def open_bench_calls(terms: Terms, batching: Batching, folder: Path) -> Iterator[BenchPriorCalls]:
    """Yields the object that requests the priors of the benchmark run in `folder`. Calls of earlier
    starts of this run count towards its cost limit, too."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    run = terms.run or f"bench-{folder.name}-{name}"
    with paid_calls(replace(terms, run=run)) as calls:
        if batching.on:
            calls = replace(calls, desk=calls.desk.with_batch_prices())
        yield BenchPriorCalls(calls, batching)
