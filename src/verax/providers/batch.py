"""Many requests through the Batch API: half the price, answers within 24 hours.

A batch is a file with one request a line, all for one model and endpoint: at most 50,000 lines and
200 MB. Each request gets a record in the journal, its pictures are uploaded, and then the batch is
created. Answers are matched to requests by the id in each line, the request's fingerprint.

All state is in the journal's database, so a later process can continue. It gives up a batch that
was not uploaded completely. If the service may have created a batch, it searches the service's list
before it creates the batch again.

A request that fails or expires gets its error in the journal and can be sent again. The uploaded
pictures are deleted at the service when no batch is open.
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
    error_without_answer,
    errors_of,
    plain,
    split,
    status_of,
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
MARK = "verax"  # key in a batch's metadata; the value is the file id of its input file


@dataclass(frozen=True)
class Batches:
    """Sends requests to one service as batches, and stores the answers in the journal.

    Attributes:
        budget: the cost limit and the prices, which should have the discount for batches.
        retry_uncertain: whether to send requests again whose earlier call may have been billed.
        most_lines, most_bytes: most requests, and most bytes of all requests, in one batch.
        sleep: waits the given number of seconds.
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
        """Send the requests that have no stored answer, and wait until every batch has ended.

        `report` is called with each open batch every `poll_s` seconds. If `run` is interrupted,
        call it again. The answer to a request is found in the journal under `plain(request)`.
        """
        self.submit(requests)
        while open_batches := self.collect():
            for batch in open_batches:
                report(batch)
            self.sleep(poll_s)

    def submit(self, requests: Sequence[Request]) -> list[Batch]:
        """Send the requests that may be sent (see `Claims.queue`). Returns the new batches.

        Raises BudgetExceeded, before any upload, if all together may exceed the cost limit.
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
        """Store the answers of the batches that have ended. Returns those that are still open."""
        self._resume()
        pending = [one for one in self.table.open() if not (one.service_id and self._look(one))]
        if not pending:
            Uploads(self.table, self.client.transport).clear()
        return pending

    def _claim(
        self, endpoint: str, requests: Sequence[Request]
    ) -> list[tuple[Batch, list[Request]]]:
        """Record in the journal a new batch with those of the requests that may be sent. Returns
        [(the batch, these requests)], or [] if none may be sent. `endpoint` is the API's path."""
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
        """Upload the pictures and the file with the requests. Returns the batch with its new status
        "creating" and the id of that file."""
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
            return self._with_id(batch, record)
        except ProviderUncertain as exc:
            return self._search_created(batch, exc)
        except ProviderError:
            self._abandon(batch)
            raise

    def _with_id(self, batch: Batch, record: Mapping[str, Any]) -> Batch:
        """The batch with the id and status in `record`, which the service sent; they are stored in
        the journal too. Raises ProviderUncertain if `record` has no id."""
        name = record.get("id")
        if not isinstance(name, str) or not name:
            raise ProviderUncertain(
                "expected the id of the new batch from the service, got none; start the command "
                "again: it looks for the batch at the service first"
            )
        return self.table.change(batch, status=str(record.get("status") or ""), service_id=name)

    def _search_created(self, batch: Batch, why: ProviderUncertain) -> Batch:
        """The batch with its id. It is searched in the service's list, since the service gave no
        clear answer when it was created. Raises `why` if it is not listed; a later call of `submit`
        or `collect` searches again."""
        try:
            record = self._find(batch)
        except ProviderError:
            record = None
        if record is None:
            raise why
        return self._with_id(batch, record)

    def _resume(self) -> None:
        """Finish or give up the batches whose sending was interrupted."""
        for batch in self.table.open():
            if batch.service_id or not self._is_mine(batch):
                continue
            if batch.status == "preparing":
                self._abandon(batch)
            elif (record := self._find(batch)) is not None:
                self._with_id(batch, record)
            else:
                self._create(batch)

    def _is_mine(self, batch: Batch) -> bool:
        """Whether this process owns the batch. If the owner has ended, it takes the batch over."""
        answers = self.journal.answers
        if batch.owner == answers.owner:
            return True
        return not answers.lives(batch.owner) and self.table.adopt(batch, answers.owner)

    def _find(self, batch: Batch) -> Mapping[str, Any] | None:
        """The service's list entry with the batch's input file; None if no entry has this file."""
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
        """Record that a batch was never sent, and that its calls have failed."""
        for call in self._calls(batch):
            self.journal.answers.close_unanswered(call, ProviderBusy("its batch was not sent"))
        self.table.change(batch, status="abandoned", ended=self.journal.answers.now())

    def _look(self, batch: Batch) -> bool:
        """Ask the service whether the batch has ended; if so, download and store its answers."""
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
            self.journal.answers.close_unanswered(call, error_without_answer(status, message))
        self.table.change(batch, status=status, ended=self.journal.answers.now(), message=message)
        return True

    def _take(self, call: Call, line: Mapping[str, Any]) -> None:
        """Store the answer to a call, or its error. `line` is the call's line in a result file."""
        response = line.get("response") or {}
        body = json.dumps(response.get("body") or {"error": line.get("error") or {}}).encode()
        status = status_of(response)
        if 200 <= status < 300:
            self.journal.answers.take(call, body, self.client.transport.fetch)
            return
        code = (line.get("error") or {}).get("code", "")
        if not status:  # the service did not begin the call; not billed
            why = ProviderBusy(f"the batch ended before this call ({code}); send the call again")
            self.journal.answers.close_unanswered(call, why)
            return
        where, clean = self.client.gateway.name, self.client.transport.redact
        why_not = failure(status, {}, body, where=where, clean=clean)
        self.journal.answers.close_unanswered(call, why_not)

    def _lines(self, batch: Batch, file_id: str | None) -> Iterator[Mapping[str, Any]]:
        """Download a result file and yield its lines as JSON objects; none if `file_id` is None. A
        line that is not JSON may hold a paid picture, so the folder `unread` keeps this line."""
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
    """A sender of batches with all parts of `desk`, a desk returned by `with_batch_prices`."""
    return Batches(desk.client, desk.journal, desk.budget, desk.retry_uncertain)
