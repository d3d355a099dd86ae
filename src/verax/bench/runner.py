"""Runs a plan: makes the outputs, then scores them. A run that was stopped can be continued."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from verax import bench
from verax.bench import OutputRow, Record, ScoreRow
from verax.bench.engines import ENGINES, environment
from verax.bench.plan import Plan, as_json, differences, resolve
from verax.bench.stages import PriorSource, deviate, produce, score
from verax.bench.work import Digests, Work
from verax.errors import SettingsError, choose, quantity
from verax.metrics import METRICS

# measured seconds of one core per megapixel, for the estimate before a run
SIMULATING_S, SCORE_S, DEVIATION_S = 0.8, 0.15, 4.5
START_S = 6.0  # from the start of a run to its first output: imports, loading of networks
DISK_MB = 2.0  # about the size of a PNG of one megapixel
FLUSH = 32  # rows per transaction; a crash loses at most these, and the next run repeats them
MOST_REASONS = 5
FLUSH_S = 1.0  # rows are stored after this many seconds, even if there are fewer than FLUSH
T = TypeVar("T")


def extent(
    works: Sequence[Work],
    done: Set[str] = frozenset(),
    *,
    metrics: int = 0,
    deviation: bool = False,
    digests: Digests | None = None,
) -> str:
    """A sentence for the user on the outputs still to be made: number, time, disk space, calls.

    `works` are all outputs of the run, `done` the keys of those that exist. `metrics` is the number
    of metrics by which each output is scored, and `deviation` says whether its deviation is
    measured. `digests` has the sizes of those photos that are known already.
    """
    todo, digests = [work for work in works if work.key not in done], digests or Digests()
    count = len(works)
    before = f" ({count - len(todo)} of {count} are done)" if len(todo) < count else ""
    if not todo:
        return f"{quantity(count, 'item')} complete; only scores may be missing"
    pixels = {work.photo: digests.size_of(work) for work in todo}
    seconds = START_S + sum(
        pixels[work.photo] * (_seconds(work, deviation=deviation) + metrics * SCORE_S)
        for work in todo
    )
    calls = len({work.call_key for work in todo} - {None})
    money = f"{quantity(calls, 'call')} to a provider" if calls else "no provider calls, no cost"
    extent = f"{quantity(len(todo), 'item')} over {quantity(len(pixels), 'picture')}{before}"
    effort = f"{_duration(seconds)} of one core and {disk_gb(todo, digests):.2f} GB of outputs"
    return f"{extent}; about {effort}; {money}"


def _seconds(work: Work, *, deviation: bool) -> float:
    """Estimated seconds on one core, per megapixel of the photo, to make an output. Includes the
    measurement of its deviation with `deviation`, but no provider call and no scores."""
    simulating = SIMULATING_S if work.prior == "simulated" else 0.0
    measuring = DEVIATION_S if deviation and work.prior != "none" else 0.0
    return resolve(work.method)[0].seconds_per_megapixel + simulating + measuring


def disk_gb(works: Sequence[Work], digests: Digests) -> float:
    """About how many GB of disk these outputs take, by the sizes of their photos (`digests`)."""
    return sum(digests.size_of(work) for work in works) * DISK_MB / 1000


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run has done when it ends.

    Attributes:
        items: number of outputs of the whole run, including those made before it was continued.
        outcomes: number of outputs by outcome, such as "restored" or "failed".
        new_outputs, new_scores: how many outputs were made, and how many scored, since the run was
            started or continued.
        cost_usd: of the whole run.
        aside: number of outputs that no longer count, since their inputs or methods changed.
        reasons: number of outputs by "OUTCOME: REASON", for the five most frequent reasons.
    """

    items: int
    outcomes: dict[str, int]
    new_outputs: int
    new_scores: int
    cost_usd: float
    aside: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of a run has come; reported whenever results are stored.

    Attributes:
        stage: "outputs", "scores" or "deviations".
        finished, total: number of outputs made, scored or measured, and to do in all.
        failed: number of outputs, values or deviations that could not be made.
        cost_usd: of the provider calls since the run was started or continued.
    """

    stage: str
    finished: int
    total: int
    failed: int
    cost_usd: float


def run(
    plan: Plan,
    works: Sequence[Work],
    folder: Path,
    *,
    engine: str = "threads",
    workers: int = 1,
    source: PriorSource | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
    address: str | None = None,
    deviation: bool = False,
    digests: Digests | None = None,
) -> RunSummary:
    """Make all outputs and scores of the work items `works` that the run in `folder` lacks.

    May be called again after any interruption. `plan` is stored with the run and names the metrics.
    `engine` is "threads", "processes" or "ray", with `workers` workers; `address` is that of a Ray
    cluster (None: Ray runs here). `source` is the service that makes priors, None if none is used.
    `tell` is called with the progress. With `deviation`, also measures how outputs with a prior
    deviate from their photos. `digests` has the hashes of input files, to be stored with the run.
    """
    if source is not None and engine != "threads":
        raise SettingsError(
            f"expected --engine threads for a run that calls an image service, got {engine}; leave "
            "out --engine"
        )
    go = partial(choose(ENGINES, engine, kind="engine"), workers=workers)
    if address is not None:
        go = partial(go, address=address)
    record = Record(folder)
    try:
        claim(record, plan)
        keys = {work.key for work in works}
        aside = record.keep_only(keys)
        if digests is not None:
            record.set_about("digests", digests.known)
        new_outputs = _make_outputs(record, works, go, source, tell)
        new_scores = _make_scores(record, keys, plan.metrics, go, tell)
        if deviation:
            _measure_deviations(record, keys, go, tell)
        return _summary(record, new_outputs, new_scores, aside)
    finally:
        record.close()


def rescore(
    folder: Path,
    names: Sequence[str],
    *,
    workers: int = 1,
    deviation: bool = False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> int:
    """Score the stored outputs of a run by the metrics `names`. Returns how many were scored.

    No output is made again, no service is called, and the plan stored with the run is not changed.
    With `deviation`, deviations that were not measured yet are measured too. `workers` is the
    number of threads; `tell` is called with the progress.
    """
    for name in names:
        choose(METRICS, name, kind="metric")
    go = partial(ENGINES["threads"], workers=workers)
    record = bench.open_run(folder)
    try:
        keys = {row.key for row in record.outputs()}
        if deviation:
            _measure_deviations(record, keys, go, tell)
        return _make_scores(record, keys, names, go, tell)
    finally:
        record.close()


def claim(record: Record, plan: Plan) -> None:
    """Store the plan of a new run. Raises SettingsError if the folder has a run of another plan."""
    stored, current = record.about("plan"), as_json(plan)
    if stored is None:
        record.set_about("plan", current)
    elif stored != current:
        lines = "; ".join(differences(stored, current))
        raise SettingsError(
            f"{record.folder}: expected a new folder or a run of the same plan, found a run of "
            f"another plan ({lines}); choose another folder"
        )
    for part in (record.outputs_folder, record.photos_folder):
        part.mkdir(parents=True, exist_ok=True)


def _make_outputs(
    record: Record,
    works: Sequence[Work],
    go: Callable[..., Iterator[OutputRow]],
    source: PriorSource | None,
    tell: Callable[[Progress], None],
) -> int:
    done = record.done()
    open_works = [work for work in works if work.key not in done]
    if open_works:
        record.add_environment(environment())
    failed, finished = 0, len(works) - len(open_works)
    new: list[OutputRow] = []
    stage = partial(produce, folder=record.outputs_folder, source=source)
    for rows in _batches(go(stage, open_works)):
        record.add_outputs(rows)
        finished += len(rows)
        failed += sum(row.outcome in ("failed", "refused") for row in rows)
        new += [row for row in rows if row.cost_usd]
        tell(Progress("outputs", finished, len(works), failed, bench.total_cost(new)))
    return len(open_works)


def _make_scores(
    record: Record,
    keys: set[str],
    names: Sequence[str],
    go: Callable[..., Iterator[list[ScoreRow]]],
    tell: Callable[[Progress], None],
) -> int:
    scored = record.score_keys()
    todo = []
    for row in record.outputs():
        missing = tuple(name for name in names if (row.key, name) not in scored)
        if row.key in keys and row.sha256 and missing:
            todo.append((row, record.output_path(row.key), missing))
    finished = failed = 0
    for answers in _batches(go(_score_task, todo)):
        rows = [row for answer in answers for row in answer]
        record.add_scores(rows)
        finished += len(answers)
        failed += sum(row.value is None for row in rows)
        tell(Progress("scores", finished, len(todo), failed, 0.0))
    return len(todo)


def _score_task(task: tuple[OutputRow, Path, tuple[str, ...]]) -> list[ScoreRow]:
    return score(*task)


def _measure_deviations(
    record: Record,
    keys: set[str],
    go: Callable[..., Iterator[tuple[str, str]]],
    tell: Callable[[Progress], None],
) -> None:
    left = keys - {key for key, _ in record.deviations()}
    todo = [
        (row, record.output_path(row.key))
        for row in record.outputs()
        if row.key in left and row.sha256 and row.prior != "none"
    ]
    todo.sort(key=lambda one: one[0].method != "raw-prior")  # generated pictures come first
    finished = failed = 0
    for rows in _batches(go(_deviation_task, todo)):
        record.add_deviations(rows)
        finished += len(rows)
        failed += sum(text.startswith('{"failed"') for _, text in rows)
        tell(Progress("deviations", finished, len(todo), failed, 0.0))


def _deviation_task(task: tuple[OutputRow, Path]) -> tuple[str, str]:
    return deviate(*task)


def _batches(source: Iterable[T]) -> Iterator[list[T]]:
    """Group the items into lists of 32, or fewer if a second has passed since the last list."""
    batch, last = list[T](), time.monotonic()
    for item in source:
        batch.append(item)
        if len(batch) == FLUSH or time.monotonic() - last > FLUSH_S:
            yield batch
            batch, last = [], time.monotonic()
    if batch:
        yield batch


def _summary(record: Record, outputs: int, scores: int, aside: int) -> RunSummary:
    rows = list(record.outputs())
    counts = Counter(row.outcome for row in rows)
    outcomes = {o: counts[o] for o in bench.OUTCOMES}
    every_reason = Counter(f"{row.outcome}: {row.reason}" for row in rows if row.reason)
    reasons = dict(every_reason.most_common(MOST_REASONS))
    return RunSummary(len(rows), outcomes, outputs, scores, bench.total_cost(rows), aside, reasons)
