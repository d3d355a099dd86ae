"""What the test service knows, and the orders it takes.

A script is a list of steps, one taken by each request for pictures; when it is used up, requests
succeed. Steps (`parse_step` is the whole list):

    ok                     answer as asked
    429  429:2  429:ms=50  429:date=2  429:absurd  429:text  429:ahead=2  429:quota
                           too many requests: without Retry-After, in seconds, retry-after-ms,
                           as an HTTP date, 99999 seconds, not a number, as a date by a clock
                           that is five minutes ahead; an account without money
    500  502  503  409  408  401  400
                           that status; nothing billed
    html                   502 with a proxy's HTML page
    refuse:input           moderation before painting; not billed
    refuse:output          moderation after painting; billed
    cut-early  cut         drop the line before billing; after billing, before the first byte
    timeout:30             bill, then stay silent for that many seconds and drop the line
    slow:0.5               bill, wait, answer (a stream sends comments meanwhile)
    half                   bill, then only half of the body
    size:640x480           another size than asked for
    jpeg                   JPEG bytes although PNG was asked for
    truncated              a picture file that ends too early, in a whole answer
    no-usage               an answer without usage
    billed:502, link ...   a billed answer that goes wrong: see `verax.testservice.faults`

Billed means: written to the ledger and synced before the first byte of the answer.
"""

import threading
from pathlib import Path
from typing import Any

from verax.testservice import billing, faults

STATUSES = {"400", "401", "408", "409", "500", "502", "503"}
STEPS = {"ok", "html", "refuse", "cut", "cut-early", "timeout", "slow", "half", "size", "jpeg"}
STEPS |= {"truncated", "no-usage", "429"} | faults.STEPS
AHEAD_S = 300.0  # of the clock of 429:ahead


def parse_step(step: str) -> tuple[str, str]:
    """("429", "ms=50") from "429:ms=50"."""
    name, _, detail = step.partition(":")
    if name not in STEPS and name not in STATUSES:
        raise ValueError(f"unknown step {step!r}. Known: {', '.join(sorted(STEPS | STATUSES))}")
    return name, detail


class State:
    """Everything the service knows, shared by its threads.

    Args:
        ledger: file of the billed calls.
        delay_s: seconds before each answer.
        today: the day by which models have ended, ISO.
        keyed: whether a key is wanted.
        fail_every: every so many-th call is billed and then answered with 502; 0: none.
    """

    def __init__(
        self,
        ledger: Path,
        *,
        delay_s: float = 0.0,
        today: str = "2026-11-20",
        keyed: bool = True,
        fail_every: int = 0,
    ) -> None:
        self.ledger = billing.Ledger(ledger)
        self.delay_s = delay_s
        self.today = today
        self.keyed = keyed
        self.fail_every, self.calls = fail_every, 0
        self.lock = threading.Lock()
        self.steps: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.files_ever = 0
        self.batches: dict[str, dict[str, Any]] = {}
        self.batch_plan: dict[str, Any] = {}
        self.linked: list[faults.Linked] = []
        self.under_way = 0
        self.most_under_way = 0

    def set_script(self, steps: list[str]) -> None:
        for step in steps:
            parse_step(step)
        with self.lock:
            self.steps = list(steps)

    def next_step(self) -> tuple[str, str]:
        with self.lock:
            self.calls += 1
            if self.steps:
                return parse_step(self.steps.pop(0))
            fails = self.fail_every and self.calls % self.fail_every == 0
            return ("billed", "502") if fails else ("ok", "")

    def note(self, entry: dict[str, Any]) -> None:
        with self.lock:
            self.requests.append(entry)
