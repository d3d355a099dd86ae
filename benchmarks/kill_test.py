"""Kill a run of paid edits again and again: python benchmarks/kill_test.py --kills 100

A run restores a folder of photos with paid calls to the test service, which has its own process.
Each process of the run ("life") is killed with SIGKILL at a random moment, and the run is resumed
until every photo is restored; then another run starts, until all kills are used. Calls that became
uncertain are repeated only after a life has ended by itself and has listed them, with
`--retry-uncertain`. The cost limit starts at half of what the pictures should cost, and is raised
by the most that one call can cost whenever it stops a life. The service bills every fifth call
and then answers 502.

Checked after every life against the ledger of the service: the limit was never passed. At the end:
every photo is restored, and none was paid more often than its uncertain calls explain. Prints a
table and, as last line, one JSON object; exit status 1 when a check fails.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import cv2
import numpy as np

from verax import image as images
from verax import pipeline
from verax.errors import BudgetExceeded, ProviderUncertain
from verax.priors import generated
from verax.providers.budget import load_tariff
from verax.providers.images_api import connect
from verax.providers.journal import Journal, open_desk
from verax.settings import Settings
from verax.store import write_whole

SERVICE = (sys.executable, "-m", "verax", "serve-test", "--port", "0")
TODAY = date(2026, 11, 20)  # the models asked for live on this day
CHOICES = generated.PriorOptions(model="gpt-image-2.6-flare", task="dehaze", quality="low")
RUN = "kill-test"
RESTORED, OVER_LIMIT, UNCERTAIN = 0, 3, 4
THREADS = 3
LONGEST_LIFE_S = 1.0
STUCK_S = 300.0


@dataclass(frozen=True)
class Place:
    """The folders and the service of one run."""

    photos: Path
    restored: Path
    journal: Path
    settings: Settings


@dataclass
class Tally:
    """Results of all runs, summed over their lives. Money in US dollars."""

    runs: int = 0
    lives: int = 0
    kills: int = 0
    pictures: int = 0
    restored: int = 0
    paid_calls: int = 0
    uncertain_listed: int = 0
    paid_again_after_listing: int = 0
    paid_again_without_listing: int = 0
    limit_raised: int = 0
    limit_passed: int = 0
    ledger_usd: float = 0.0
    journal_most_usd: float = 0.0
    limit_usd: float = 0.0

    @property
    def good(self) -> bool:
        whole = self.restored == self.pictures
        honest = self.ledger_usd <= self.journal_most_usd + 1e-9
        return whole and honest and not self.paid_again_without_listing and not self.limit_passed


def live(place: Place, limit_usd: float, retry: bool) -> int:
    """One life of a run: restore the missing photos; the exit status says what stopped it."""
    with open_desk(
        place.settings, run=RUN, max_cost_usd=limit_usd, retry_uncertain=retry, today=TODAY
    ) as desk:

        def one(path: Path) -> int:
            target = place.restored / path.name
            if target.exists():
                return RESTORED
            try:
                photo = images.read(path)
                prior = generated.ask(photo, desk, CHOICES)
                restoration = pipeline.restore(photo, prior.pixels)
                write_whole(target, images.encode(restoration.pixels, format="png"))
            except BudgetExceeded:
                return OVER_LIMIT
            except ProviderUncertain:
                return UNCERTAIN
            return RESTORED

        with ThreadPoolExecutor(THREADS) as pool:
            ends = set(pool.map(one, sorted(place.photos.iterdir())))
    return OVER_LIMIT if OVER_LIMIT in ends else max(ends)


def fork(place: Place, limit_usd: float, retry: bool) -> int:
    """Start a life in a process of its own; return the id of the process."""
    process = os.fork()
    if process:
        return process
    status = 99
    try:
        status = live(place, limit_usd, retry)
    except BaseException as exc:  # noqa: BLE001  # a child must not return into the parent's code
        print(f"a process of the run failed: {exc!r}", file=sys.stderr)
    finally:
        os._exit(status)


def end(process: int, after_s: float | None) -> int | None:
    """Wait for a life; kill it after `after_s` seconds. Its exit status, or None if killed."""
    until = time.monotonic() + (STUCK_S if after_s is None else after_s)
    while time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    if after_s is None:
        raise SystemExit(f"a life did not end within {STUCK_S:.0f} s")
    return None


def paid(ledger: Path) -> list[dict]:
    lines = ledger.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def play(place: Place, ledger: Path, tally: Tally, kills: int, rng: np.random.Generator) -> None:
    """One run from its first life to its last."""
    before = len(paid(ledger))
    expected, most = price_of_one(place)
    limit, retry = expected * len(list(place.photos.iterdir())) / 2, False
    while True:
        kill = tally.kills < kills
        after_s = float(rng.uniform(0.0, LONGEST_LIFE_S)) if kill else None
        ending = end(fork(place, limit, retry), after_s)
        tally.lives += 1
        tally.kills += ending is None
        spent = sum(entry["usd"] for entry in paid(ledger)[before:])
        tally.limit_passed += spent > limit
        if ending == RESTORED:
            break
        if ending == OVER_LIMIT:
            limit += most
            tally.limit_raised += 1
        elif ending is not None and ending != UNCERTAIN:
            raise SystemExit(f"a life ended with status {ending}")
        retry = ending == UNCERTAIN  # asked for once, after a list was shown
    tally.limit_usd += limit
    count(place, paid(ledger)[before:], tally)


def price_of_one(place: Place) -> tuple[float, float]:
    """The expected and the largest cost of one call in US dollars."""
    photo = images.read(next(place.photos.iterdir()))
    draft = generated.plan(photo, connect(place.settings, today=TODAY), CHOICES)
    estimate = load_tariff().estimate(draft.request)
    return estimate.expected_usd or 0.0, estimate.high_usd or 0.0


def count(place: Place, entries: list[dict], tally: Tally) -> None:
    """Compare the ledger of the service with the journal and the folder."""
    with Journal(place.journal) as journal:
        calls = journal.records.select()
        tally.journal_most_usd += journal.cost(RUN).most_usd
    for path in place.photos.iterdir():
        tally.pictures += 1
        tally.restored += readable(place.restored / path.name)
    for sha256 in {call.request["files"][0][1] for call in calls}:
        times = sum(entry["files"][0] == sha256 for entry in entries)
        mine = [call for call in calls if call.request["files"][0][1] == sha256]
        listed = sum(call.state == "uncertain" for call in mine)
        tally.paid_calls += times
        tally.uncertain_listed += listed
        tally.paid_again_after_listing += min(listed, max(0, times - 1))
        tally.paid_again_without_listing += max(0, times - 1 - listed)
    tally.ledger_usd += sum(entry["usd"] for entry in entries)
    tally.runs += 1


def readable(path: Path) -> bool:
    return path.is_file() and images.read(path).width > 0


def photos(folder: Path, pictures: int, edge: int) -> Path:
    """Write `pictures` different small photos; return their folder."""
    folder.mkdir(parents=True)
    for index in range(pictures):
        rng = np.random.default_rng(index)
        coarse = rng.uniform(0.2, 0.9, (edge // 8, edge // 6, 3)).astype(np.float32)
        pixels = np.clip(
            cv2.resize(coarse, (edge * 3 // 2, edge), interpolation=cv2.INTER_CUBIC), 0, 1
        )
        images.write(folder / f"{index:02d}.png", pixels)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--edge", type=int, default=64, help="height of the photos in pixels")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds the service takes")
    parser.add_argument(
        "--fail-every",
        type=int,
        default=5,
        help="every N-th call is billed, but answered with 502; 0: none",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)  # its threads would not survive the forks
    with tempfile.TemporaryDirectory(prefix="verax-kill-test-") as folder:
        tally = run(Path(folder), options)
    report(tally)
    sys.exit(0 if tally.good else 1)


def run(folder: Path, options: argparse.Namespace) -> Tally:
    ledger = folder / "ledger.jsonl"
    command = [*SERVICE, "--ledger", ledger, "--delay", str(options.delay)]
    command += ["--fail-every", str(options.fail_every)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        url = service.stdout.readline().strip()
        tally, rng = Tally(), np.random.default_rng(options.seed)
        source = photos(folder / "photos", options.pictures, options.edge)
        try:
            while tally.kills < options.kills:
                home = folder / f"run-{tally.runs}"
                environ = {"VERAX_API_KEY": "sk-test"}
                settings = Settings(home=home, base_url=url, environ=environ, timeout_s=30.0)
                place = Place(source, home / "restored", home / "journal", settings)
                play(place, ledger, tally, options.kills, rng)
        finally:
            service.kill()
    return tally


def report(tally: Tally) -> None:
    for name, value in asdict(tally).items():
        text = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{name.replace('_', ' '):28} {text}")
    print(f"{'verdict':28} {'good' if tally.good else 'BAD'}")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    print(json.dumps({"benchmark": "kill_test", "when": when, "good": tally.good} | asdict(tally)))


if __name__ == "__main__":
    main()
