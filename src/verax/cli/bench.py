"""verax bench: run a benchmark, score it again."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.cli import bench_results
from verax.cli.asked import Batching
from verax.cli.bench_asked import bench_asker
from verax.cli.bench_progress import progress_bar, show
from verax.cli.paid import BaseUrl, Gateway, LocalOnly, MaxCost, RetryUncertain, Terms
from verax.errors import SettingsError, choose

if TYPE_CHECKING:
    from verax.bench.plan import Plan, Preset
    from verax.bench.work import Digests, Work
    from verax.datasets import Dataset

app = typer.Typer(
    help="Benchmarks: datasets x methods x priors, resumable, with every outcome counted.",
    no_args_is_help=True,
)
app.command()(bench_results.report)
app.command()(bench_results.compare)
app.command()(bench_results.export)


@app.command()
def run(
    plan_file: Path | None = typer.Argument(None, metavar="[PLAN.toml]", help="A plan as TOML."),
    preset: str = typer.Option("", help="A plan by name; see verax bench presets."),
    dataset: list[str] = typer.Option(
        [], help="Folder with input/ target/ generated/, manifest CSV, or a name of the catalog."
    ),
    task: list[str] = typer.Option([], help="Only items of this task; folders take it as theirs."),
    method: list[str] = typer.Option([], help="identity, dcp, tone, full, raw-prior, ..."),
    split: list[str] = typer.Option([], help="Splits to use; by default test, unpaired, unnamed."),
    prior: list[str] = typer.Option([], help="auto, files, simulated, foreign, oracle, none ..."),
    degrade: list[str] = typer.Option([], help="TASK:SEVERITY, for items without a photo."),
    metric: list[str] = typer.Option([], help="Metrics to score; see verax metrics."),
    prompt: list[str] = typer.Option([], help="Prompts by name, where a provider is asked."),
    repeats: int = typer.Option(1, help="How often a provider is asked for each picture."),
    limit: int = typer.Option(0, help="At most so many items per dataset and task; 0 is all."),
    seed: int = typer.Option(0, help="Everything random follows from it."),
    output: Path = typer.Option(..., "-o", "--output", help="Run folder; an old one is resumed."),
    engine: str = typer.Option("threads", help="threads, processes or ray."),
    address: str | None = typer.Option(None, help="Ray cluster to use, with --engine ray."),
    deviation: bool = typer.Option(
        False, "--deviation", help="Also measure what each output changed against its photo."
    ),
    workers: int = typer.Option(0, help="Workers; 0 is one per core."),
    quality: str = typer.Option("", help="Quality of the pictures that a provider makes."),
    batch: bool = typer.Option(False, "--batch", help="Ask through the Batch API: slow, cheaper."),
    batch_poll: float = typer.Option(30.0, help="Seconds between looks at a batch."),
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    retry_uncertain: RetryUncertain = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done, do nothing."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Run a plan, or go on with it where it stopped."""
    from verax.bench.engines import default_workers
    from verax.bench.plan import preset as preset_of
    from verax.bench.runner import run as run_plan

    flags: dict[str, Any] = {
        "datasets": tuple(dataset),
        "methods": tuple(method),
        "tasks": tuple(task),
        "priors": tuple(prior),
        "splits": tuple(split),
        "degradations": tuple(degrade),
        "metrics": tuple(metric),
        "prompts": tuple(prompt),
        "repeats": repeats,
        "limit": limit,
        "seed": seed,
        "quality": quality,
    }
    chosen = preset_of(preset) if preset else None
    plan = read_plan(plan_file, flags, chosen)
    deviation = deviation or bool(chosen and chosen.deviation)
    works, digests = announced_works(plan, output, deviation=deviation)
    if address and engine != "ray":
        raise SettingsError(f"--address goes with --engine ray, not with {engine}")
    go = partial(
        run_plan,
        plan,
        works,
        output,
        engine=engine,
        workers=workers or default_workers(),
        address=address,
        deviation=deviation,
        digests=digests,
    )
    terms = Terms(
        gateway, base_url, local_only, max_cost, dry_run=dry_run, retry_uncertain=retry_uncertain
    )
    if any(work.question for work in works):
        with bench_asker(terms, Batching(batch, batch_poll), output) as asker:
            if not asker.announce(works):
                return
            with progress_bar() as tell:
                summary = go(ask=asker.ask, tell=tell)
        show(summary, output, as_json=as_json)
    elif not dry_run:
        with progress_bar() as tell:
            summary = go(tell=tell)
        show(summary, output, as_json=as_json)


def announced_works(plan: "Plan", output: Path, *, deviation: bool) -> "tuple[list[Work], Digests]":
    """The work of a plan, with remarks on its datasets and what is left to do told."""
    from verax.bench.record import finished
    from verax.bench.runner import disk_gb, extent
    from verax.bench.work import Digests, expand
    from verax.store import free_gb

    done, known = finished(output)
    digests = Digests({path: (size, time, sha256) for path, (size, time, sha256) in known.items()})
    datasets = loaded(plan)
    works = expand(plan, datasets, digests=digests)
    notes = [remark for dataset in datasets for remark in dataset.remarks]
    simulated = len({work.photo for work in works if work.prior == "simulated"})
    if simulated:
        notes.append(
            f"the priors of {simulated} pictures are simulated from their references, no image "
            "generator was asked: an upper bound; real ones come with --prior files or "
            "--prior provider:MODEL"
        )
    needed = disk_gb([work for work in works if work.key not in done])
    free = free_gb(output)
    if needed > free:
        notes.append(f"{output} has {free:.1f} GB free, about {needed:.1f} are needed")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(extent(works, done, metrics=len(plan.metrics), deviation=deviation), file=sys.stderr)
    return works, digests


def loaded(plan: "Plan") -> "list[Dataset]":
    """The datasets of a plan. Raises SettingsError that says how to get all that are not here."""
    from verax.datasets import load

    check_tasks(plan)
    there, missing = [], {}
    for name in plan.datasets:
        try:
            there.append(load(name, task=plan.tasks[0] if plan.tasks else ""))
        except SettingsError as exc:
            missing[name] = exc
    if len(missing) == 1 == len(plan.datasets):
        raise missing[plan.datasets[0]]
    if missing:
        ways = "".join(f"\n  {name}: {why}" for name, why in missing.items())
        rest = " ".join(f"--dataset {name}" for name in plan.datasets if name not in missing)
        raise SettingsError(
            f"{len(missing)} of {len(plan.datasets)} datasets are not here:{ways}"
            + (f"\nWith those that are here: {rest}" if rest else "")
        )
    return there


def check_tasks(plan: "Plan") -> None:
    """Raises UnknownNameError for a task that neither Verax nor a dataset of the plan knows."""
    from verax.catalog import tasks as prompt_tasks
    from verax.datasets import load, registry
    from verax.degrade import TASKS
    from verax.settings import load as load_settings

    home = load_settings().home
    known = [*registry.tasks(home), *prompt_tasks(), *TASKS]
    for task in plan.tasks:
        if task not in known:
            own = [item.task for name in plan.datasets for item in load(name, home=home).items]
            choose(dict.fromkeys([*known, *own]), task, kind="task")


def read_plan(file: Path | None, flags: dict[str, Any], preset: "Preset | None" = None) -> "Plan":
    """The plan of the file alone, or of the flags over those of the preset."""
    from verax.bench import plan as plans

    given = {name: value for name, value in flags.items() if value != UNSET.get(name, ())}
    if file is not None:
        if given or preset:
            told = ", ".join([*given, *(["preset"] if preset else [])])
            raise SettingsError(f"{file} and the flags {told}: give one or the other")
        if not file.is_file():
            raise SettingsError(f"{file}: want a plan file (TOML), there is none")
        return plans.from_toml(file.read_text(encoding="utf-8"), name=str(file))
    given = (preset.fields if preset else {}) | given
    if not (given.get("datasets") and given.get("methods")):
        raise SettingsError("want a plan file, or --dataset with --method or --preset")
    return plans.check(plans.Plan(**given))


UNSET = {"repeats": 1, "limit": 0, "seed": 0, "quality": ""}  # flags that were not given


@app.command()
def score(
    folder: Path = bench_results.Run,
    metric: list[str] = typer.Option(..., help="Metrics to add; see verax metrics."),
    deviation: bool = typer.Option(False, "--deviation", help="Also what each output changed."),
    workers: int = typer.Option(0, help="Workers; 0 is one per core."),
) -> None:
    """Score the stored outputs of a run by further metrics; nothing is made or asked anew."""
    from verax.bench.engines import default_workers
    from verax.bench.runner import rescore

    with progress_bar() as tell:
        count = rescore(
            folder, metric, workers=workers or default_workers(), deviation=deviation, tell=tell
        )
    print(f"{count} outputs have new scores")


@app.command("presets")
def list_presets() -> None:
    """List the plans that have a name."""
    from verax.bench.plan import presets

    for name, preset in presets().items():
        fields = "; ".join(
            f"{field} {', '.join(value) if isinstance(value, tuple) else value}"
            for field, value in preset.fields.items()
        )
        print(f"{name:14}{preset.about}\n{'':14}{fields}")
        if preset.needs:
            print(f"{'':14}You bring {preset.needs}.")


@app.command()
def methods() -> None:
    """List what --method and --prior may name."""
    from verax.bench.methods import METHODS
    from verax.bench.plan import PRIORS

    for name, method in METHODS.items():
        print(f"--method {name:20}{method.what}")
    for name, what in (PRIORS | {"provider:MODEL": "asked from a service, see --base-url"}).items():
        print(f"--prior {name:21}{what}")
