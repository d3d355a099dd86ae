"""Many requests through the Batch API: half the price, answers within 24 hours.

Requests are claimed in the journal, their pictures are uploaded as files, and they are sent as
batches of at most 50,000 lines and 200 MB with one model and endpoint each. All state is in the
journal's database, so that any later process can continue: a batch that was never created is
abandoned; one that may have been created is searched for at the service before it is created again;
answers are fetched once and matched by their custom id, the request's fingerprint.

A line that fails or expires is closed in the journal with its error and can be requested again. The
uploaded pictures are deleted at the service after the last batch.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verax.errors import ProviderBusy, ProviderError, ProviderUncertain
from verax.providers import ImageFile, Request
from verax.providers.answers import json_object
from verax.providers.batch_table import (
    MOST_BYTES,
    MOST_LINES,
    Batch,
    BatchTable,
    Uploads,
    errors_of,
    plain,
    split,
    status_of,
    unanswered,
)
from verax.providers.budget import Budget
from verax.providers.dialects import Wire, batch_line
from verax.providers.failures import failure
from verax.providers.images_api import Client
from verax.providers.journal import Desk, Journal
from verax.providers.records import Call
from verax.store import writing

WINDOW = "24h"
POLL_S = 30.0
ENDPOINTS = {"edit": "/v1/images/edits", "generate": "/v1/images/generations"}
ENDED = ("completed", "failed", "expired", "cancelled")
LISTED, MOST_PAGES = 100, 20  # batches per page, and pages, when searching the service for a batch
MARK = "verax"  # names our input file in the metadata of a batch


@dataclass(frozen=True)
class Batches:
    """The batches of one service in one journal.

    Attributes:
        budget: with the tariff of batches (`load_tariff(batch=True)`).
        most_lines, most_bytes: limits of one batch.
    """

    client: Client
    journal: Journal
    budget: Budget
    retry_uncertain: bool = False
    most_lines: int = MOST_LINES
    most_bytes: int = MOST_BYTES
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def table(self) -> BatchTable:
        return BatchTable(self.journal.records, self.client.address)

    def run(
        self,
        requests: Sequence[Request],
        *,
        poll_s: float = POLL_S,
        report: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        """Send requests without a stored answer and wait until every batch has ended.

        May be stopped at any time and called again. The answers are then in the journal, under
        `plain(request)`.
        """
        self.submit(requests)
        while still := self.collect():
            for batch in still:
                report(batch)
            self.sleep(poll_s)

    def submit(self, requests: Sequence[Request]) -> list[Batch]:
        """Send the requests that the journal has no answer to. Returns the new batches.

        Raises BudgetExceeded before anything is uploaded when they do not all fit.
        """
        self.client.require_key()
        self._resume()
        groups: dict[tuple[str, str], list[Request]] = {}
        for request in map(plain, requests):
            groups.setdefault((ENDPOINTS[request.kind], request.model), []).append(request)
        waiting: list[tuple[Batch, list[Request]]] = []
        sent: list[Batch] = []
        try:
            for (endpoint, _), members in groups.items():
                for part in split(members, lines=self.most_lines, size=self.most_bytes):
                    waiting += self._claim(endpoint, part)
            while waiting:
                batch = self._fill(*waiting[0])
                waiting.pop(0)
                sent.append(self._create(batch))
        except BaseException:
            for batch, _ in waiting:
                self._abandon(batch)
            raise
        return sent

    def collect(self) -> list[Batch]:
        """Poll every open batch once and store the answers of ended ones. Returns the others."""
        self._resume()
        still = [one for one in self.table.open() if not (one.service_id and self._look(one))]
        if not still:
            Uploads(self.table, self.client.transport).clear()
        return still

    def _claim(
        self, endpoint: str, requests: Sequence[Request]
    ) -> list[tuple[Batch, list[Request]]]:
        """A new batch with the requests that may be sent; None if there are none."""
        batch = self.table.new(self.journal.answers.owner, endpoint, self.journal.answers.now())
        try:
            claimed = self.journal.claims.queue(
                requests, batch.name, budget=self.budget, retry_uncertain=self.retry_uncertain
            )
        except BaseException:
            self.table.drop(batch)
            raise
        if not claimed:
            self.table.drop(batch)
            return []
        return [(batch, claimed)]

    def _fill(self, batch: Batch, requests: Sequence[Request]) -> Batch:
        """Upload pictures and lines; from here on the batch may exist at the service."""
        uploads, gateway = Uploads(self.table, self.client.transport), self.client.gateway
        data = b"".join(
            batch_line(request, gateway, batch.endpoint, uploads.file_id) for request in requests
        )
        input_file = uploads.send(ImageFile(data, "batch.jsonl", "application/jsonl"), "batch")
        return self.table.change(batch, status="creating", input_file=input_file)

    def _create(self, batch: Batch) -> Batch:
        order = {
            "input_file_id": batch.input_file,
            "endpoint": batch.endpoint,
            "completion_window": WINDOW,
            "metadata": {MARK: batch.input_file},
        }
        try:
            record = json_object(self.client.transport.post(Wire("/batches", json=order)).body)
            return self._created(batch, record)
        except ProviderUncertain as exc:
            return self._created_all_the_same(batch, exc)
        except ProviderError:
            self._abandon(batch)
            raise

    def _created(self, batch: Batch, record: Mapping[str, Any]) -> Batch:
        """Store the service's id of the batch. Raises ProviderUncertain where it gives none."""
        name = record.get("id")
        if not isinstance(name, str) or not name:
            raise ProviderUncertain("the service did not name the batch; it may have been created")
        return self.table.change(batch, status=str(record.get("status") or ""), service_id=name)

    def _created_all_the_same(self, batch: Batch, why: ProviderUncertain) -> Batch:
        """Look for a batch whose creation ended without a clear answer. Raises `why` where none is
        found: the batch stays "creating", and the next start looks again."""
        try:
            record = self._find(batch)
        except ProviderError:
            record = None
        if record is None:
            raise why
        return self._created(batch, record)

    def _resume(self) -> None:
        """Continue where a dead process stopped, or this one after a lost connection."""
        for batch in self.table.open():
            if batch.service_id or not self._is_mine(batch):
                continue
            if batch.status == "preparing":
                self._abandon(batch)
            elif (record := self._find(batch)) is not None:
                self._created(batch, record)
            else:
                self._create(batch)

    def _is_mine(self, batch: Batch) -> bool:
        """Whether this process continues the batch: its own, or one adopted from a dead process."""
        answers = self.journal.answers
        if batch.owner == answers.owner:
            return True
        return not answers.lives(batch.owner) and self.table.adopt(batch, answers.owner)

    def _find(self, batch: Batch) -> Mapping[str, Any] | None:
        """The service's batch of our input file; None if it was not created."""
        after = ""
        for _ in range(MOST_PAGES):
            page = json_object(self.client.transport.get(f"/batches?limit={LISTED}{after}").body)
            listed = [one for one in page.get("data") or () if isinstance(one, dict)]
            for one in listed:
                marks = (one.get("input_file_id"), (one.get("metadata") or {}).get(MARK))
                if batch.input_file in marks and one.get("id"):
                    return one
            if not (page.get("has_more") and listed):
                return None
            after = f"&after={listed[-1].get('id')}"
        return None

    def _abandon(self, batch: Batch) -> None:
        """Close a batch that was never sent, and its calls."""
        for call in self._calls(batch):
            self.journal.answers.close_unanswered(call, ProviderBusy("the batch was not sent"))
        self.table.change(batch, status="abandoned", ended=self.journal.answers.now())

    def _look(self, batch: Batch) -> bool:
        """Whether the batch has ended and its answers are stored."""
        record = json_object(self.client.transport.get(f"/batches/{batch.service_id}").body)
        status = str(record.get("status") or "")
        if status not in ENDED:
            self.table.change(batch, status=status)
            return False
        calls = {call.fingerprint: call for call in self._calls(batch)}
        for name in ("output_file_id", "error_file_id"):
            for line in self._lines(batch, record.get(name)):
                call = calls.pop(str(line.get("custom_id")), None)
                if call is not None:
                    self._take(call, line)
        message = errors_of(record)
        for call in calls.values():
            self.journal.answers.close_unanswered(call, unanswered(status, message))
        self.table.change(batch, status=status, ended=self.journal.answers.now(), message=message)
        return True

    def _take(self, call: Call, line: Mapping[str, Any]) -> None:
        response = line.get("response") or {}
        body = json.dumps(response.get("body") or {"error": line.get("error") or {}}).encode()
        status = status_of(response)
        if 200 <= status < 300:
            self.journal.answers.take(call, body, self.client.transport.fetch)
            return
        code = (line.get("error") or {}).get("code", "")
        if not status:  # expired or cancelled before its turn; not billed
            self.journal.answers.close_unanswered(
                call, ProviderBusy(f"not answered by the batch: {code}")
            )
            return
        clean = self.client.transport.redacted
        where = self.client.gateway.name
        self.journal.answers.close_unanswered(
            call, failure(status, {}, body, where=where, clean=clean)
        )

    def _lines(self, batch: Batch, file_id: str | None) -> Iterator[Mapping[str, Any]]:
        """The lines of a result file, which may be far larger than memory.

        An unreadable line is stored as it is: it may be a picture that was paid for.
        """
        if not file_id:
            return
        with tempfile.TemporaryDirectory(dir=self.journal.folder) as folder:
            target = Path(folder) / "lines.jsonl"
            self.client.transport.download(f"/files/{file_id}/content", target)
            with target.open("rb") as file:
                for line in filter(bytes.strip, file):
                    try:
                        yield json_object(line)
                    except ProviderError:
                        self._keep_unread(batch, line)

    def _keep_unread(self, batch: Batch, line: bytes) -> None:
        path = self.journal.folder / "unread" / f"batch-{batch.id}.jsonl"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(line)

    def _calls(self, batch: Batch) -> list[Call]:
        return self.journal.records.select(states=("batched",), owner=batch.name)


def batches_of(desk: Desk) -> Batches:
    """The batches of a desk's service in its journal."""
    return Batches(desk.client, desk.journal, desk.budget, desk.retry_uncertain)
