"""Priors that a benchmark run asks a service for: announced first, then asked item by item.

The journal lies in between, so no answer is paid twice however often a run is stopped.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from verax.cli.asked import AT_ONCE, Batching, told
from verax.cli.paid import Counter, Terms, counter_of

if TYPE_CHECKING:
    from verax.bench.stages import Prior
    from verax.bench.work import Work
    from verax.image import Image
    from verax.priors.generated import Asking
    from verax.providers.requests import EditRequest


@dataclass(frozen=True)
class BenchAsker:
    """A service for the priors of a run."""

    counter: Counter
    batching: Batching

    def announce(self, works: "Sequence[Work]") -> bool:
        """Say what leaves and what it costs, and send batches off; False on a dry run."""
        from verax.bench.stages import photo_of

        distinct = iter({work.question: work for work in works if work.question}.values())
        go_on = True
        while several := list(islice(distinct, AT_ONCE)):
            planned = [self._plan(photo_of(work), work) for work in several]
            requests = [asking.request for asking in planned]
            notices = [notice for asking in planned for notice in asking.notices]
            go_on = self.counter.announce(requests, notices)
            if go_on and self.batching.wanted:
                self._send(requests)
        return go_on

    def ask(self, photo: "Image", work: "Work") -> "Prior":
        """The prior of one item, stored or asked for. Raises what the call raises."""
        from verax.bench.stages import Prior
        from verax.priors.generated import receive
        from verax.provenance import has_manifest

        asking = self._plan(photo, work)
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
        """How long the call took; None through a batch, whose time says nothing."""
        journal = self.counter.desk.journal
        call = journal.records.newest(asking.request.fingerprint())
        if call is None or call.ended is None or self.batching.wanted:
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
        return replace(asking, request=plain(asking.request)) if self.batching.wanted else asking

    def _send(self, requests: "list[EditRequest]") -> None:
        batches = self.counter.desk.batches()
        batches.run(requests, poll_s=self.batching.poll_s, report=told)


@contextmanager
def bench_asker(terms: Terms, batching: Batching, folder: Path) -> Iterator[BenchAsker]:
    """An asker whose calls count for the run folder, however often the run is begun again."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    run = terms.run or f"bench-{folder.name}-{name}"
    with counter_of(replace(terms, run=run)) as counter:
        if batching.wanted:
            counter = replace(counter, desk=counter.desk.batched())
        yield BenchAsker(counter, batching)
