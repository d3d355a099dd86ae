"""verax bench run: a plan from flags, a preset or a file; announced, run, summarised."""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli import bench_results
from verax.cli.bench_results import progress_bar, show
from verax.cli.paid import PANEL, Terms, grouped
from verax.cli.prior_calls import Batching, bench_asker
from verax.errors import SettingsError, choose, quantity

if TYPE_CHECKING:
    from verax.bench.plan import Plan, Preset
    from verax.bench.work import Digests, Work
    from verax.datasets import Dataset

POLL_S = 30.0
Words = list[str] | None
app = typer.Typer(
    name="bench",
    help="Benchmarks: datasets x methods x priors, resumable, with every outcome counted.",
    no_args_is_help=True,
)
app.command()(bench_results.score)
app.command()(bench_results.report)
app.command()(bench_results.compare)
app.command()(bench_results.export)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The fields of a plan as options; None is not given."""

    datasets: Annotated[
        Words,
        typer.Option(
            "--dataset",
            help="Folder with input/ target/ generated/, manifest CSV, or a name of the catalog.",
        ),
    ] = None
    tasks: Annotated[
        Words, typer.Option("--task", help="Only this task; for a plain folder, its task.")
    ] = None
    methods: Annotated[
        Words, typer.Option("--method", help="Methods: identity, dcp, tone, full, raw-prior ...")
    ] = None
    splits: Annotated[
        Words, typer.Option("--split", help="Splits to use; by default test, unpaired, unnamed.")
    ] = None
    priors: Annotated[
        Words, typer.Option("--prior", help="auto, files, simulated, foreign, oracle, none ...")
    ] = None
    degradations: Annotated[
        Words, typer.Option("--degrade", help="TASK:SEVERITY, for items without a photo.")
    ] = None
    metrics: Annotated[
        Words, typer.Option("--metric", help="Metrics to score; see verax metrics.")
    ] = None
    limit: Annotated[
        int | None, typer.Option(help="Most items per dataset and task; 0 is all.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None
    prompts: Annotated[
        Words,
        typer.Option("--prompt", rich_help_panel=PANEL, help="Prompts of the requests, by name."),
    ] = None
    repeats: Annotated[
        int | None, typer.Option(rich_help_panel=PANEL, help="Calls per picture.")
    ] = None
    quality: Annotated[
        str | None,
        typer.Option(rich_help_panel=PANEL, help="Quality of the pictures: low, high ..."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Output folder and engine of a run."""

    output: Annotated[
        Path, typer.Option("-o", "--output", help="Run folder; an earlier run in it is resumed.")
    ]
    engine: Annotated[str, typer.Option(help="threads, processes or ray.")] = "threads"
    address: Annotated[str | None, typer.Option(help="Ray cluster to use, with --engine ray.")] = (
        None
    )
    workers: Annotated[int, typer.Option(help="Workers; 0 is one per core.")] = 0
    deviation: Annotated[
        bool,
        typer.Option(
            "--deviation", help="Also measure what each output changed against its photo."
        ),
    ] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False
    batch: Annotated[
        bool,
        typer.Option("--batch", rich_help_panel=PANEL, help="Batch API: half price, up to 24 h."),
    ] = False
    batch_poll: Annotated[
        float, typer.Option(rich_help_panel=PANEL, help="Seconds between checks of a batch.")
    ] = POLL_S


@app.command()
@grouped
def run(
    *,
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="PLAN.toml", help="A plan as TOML.")
    ] = None,
    preset: Annotated[str, typer.Option(help="A plan by name; see verax bench presets.")] = "",
    flags: Flags,
    running: Running,
    terms: Terms,
) -> None:
    """Run a plan, or continue a run that was stopped."""
    from verax.bench.engines import default_workers
    from verax.bench.plan import preset as preset_of
    from verax.bench.runner import run as run_plan

    choice = preset_of(preset) if preset else None
    plan = read_plan(plan_file, flags, choice)
    deviation = running.deviation or bool(choice and choice.deviation)
    needs = choice.needs if choice else ""
    works, digests = announced_works(plan, running.output, deviation=deviation, needs=needs)
    asking = any(work.question for work in works)
    check_options(running, terms, asking=asking)
    go = partial(
        run_plan,
        plan,
        works,
        running.output,
        engine=running.engine,
        workers=running.workers or default_workers(),
        address=running.address,
        deviation=deviation,
        digests=digests,
    )
    if asking:
        batching = Batching(running.batch, running.batch_poll)
        with bench_asker(terms, batching, running.output) as asker:
            if not asker.announce(works, digests):
                return
            with progress_bar() as tell:
                summary = go(source=asker, tell=tell)
    elif terms.dry_run:
        return
    else:
        with progress_bar() as tell:
            summary = go(tell=tell)
    show(summary, running.output, as_json=running.as_json)


def check_options(running: Running, terms: Terms, *, asking: bool) -> None:
    """Raises SettingsError for options that have no effect without another."""
    if running.address and running.engine != "ray":
        raise SettingsError(f"--address goes with --engine ray, not with {running.engine}")
    if running.batch_poll != POLL_S and not running.batch:
        raise SettingsError("--batch-poll goes with --batch")
    paid = {
        "--gateway": terms.gateway,
        "--base-url": terms.base_url,
        "--max-cost": terms.max_cost is not None,
        "--run": terms.run,
        "--retry-uncertain": terms.retry_uncertain,
        "--batch": running.batch,
    }
    present = [name for name, value in paid.items() if value]
    if present and not asking:
        raise SettingsError(
            f"{' and '.join(present)}: no service is called for priors; add --prior provider:MODEL"
        )


def announced_works(
    plan: "Plan", output: Path, *, deviation: bool, needs: str = ""
) -> "tuple[list[Work], Digests]":
    """The work of a plan, with remarks on its datasets; prints what is left to do."""
    from verax.bench import finished
    from verax.bench.runner import disk_gb, extent
    from verax.bench.work import Digests, expand
    from verax.store import free_gb

    done, known = finished(output)
    digests = Digests({path: (size, time, sha256) for path, (size, time, sha256) in known.items()})
    datasets = loaded(plan, needs)
    works = expand(plan, datasets, digests=digests)
    notes = [remark for dataset in datasets for remark in dataset.remarks]
    simulated = len({work.photo for work in works if work.prior == "simulated"})
    if simulated:
        notes.append(
            f"the priors of {quantity(simulated, 'picture')} are simulated from their "
            "references, no image generator was used: an upper bound; real ones come with "
            "--prior files or --prior provider:MODEL"
        )
    needed = disk_gb([work for work in works if work.key not in done], digests)
    free = free_gb(output)
    if needed > free:
        notes.append(f"{output} has {free:.1f} GB free, about {needed:.1f} are needed")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    left = extent(works, done, metrics=len(plan.metrics), deviation=deviation, digests=digests)
    print(left, file=sys.stderr)
    return works, digests


def loaded(plan: "Plan", needs: str = "") -> "list[Dataset]":
    """The datasets of a plan. Raises SettingsError that says how to get all missing ones.

    `needs` says in words what the user of a preset has to provide.
    """
    from verax.datasets.registry import load

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
            f"{len(missing)} of {len(plan.datasets)} datasets are missing:{ways}"
            + (f"\nThe others are there: {rest}" if rest else "")
            + (f"\nYou bring {needs}." if needs else "")
        )
    return there


def check_tasks(plan: "Plan") -> None:
    """Raises UnknownNameError for a task that neither Verax nor a dataset of the plan knows."""
    from verax.catalog import tasks as prompt_tasks
    from verax.datasets import registry
    from verax.datasets.registry import load
    from verax.degrade import TASKS
    from verax.settings import load as load_settings

    home = load_settings().home
    known = [*registry.tasks(home), *prompt_tasks(), *TASKS]
    for task in plan.tasks:
        if task not in known:
            own = [item.task for name in plan.datasets for item in load(name, home=home).items]
            choose(dict.fromkeys([*known, *own]), task, kind="task")


def read_plan(file: Path | None, flags: Flags, preset: "Preset | None" = None) -> "Plan":
    """The plan of the file alone, or of the flags over those of the preset."""
    from verax.bench import plan as plans

    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asdict(flags).items()
        if value not in (None, [])
    }
    if file is not None:
        if settings or preset:
            both = ", ".join([*settings, *(["preset"] if preset else [])])
            raise SettingsError(f"{file} and the flags {both}: give one or the other")
        if not file.is_file():
            raise SettingsError(f"{file}: expected a plan file (TOML), found none")
        return plans.from_toml(file.read_text(encoding="utf-8"), name=str(file))
    settings = (preset.fields if preset else {}) | settings
    if not (settings.get("datasets") and settings.get("methods")):
        raise SettingsError("expected a plan file, or --dataset with --method or --preset")
    return plans.check(plans.Plan(**settings))


@app.command("presets")
def list_presets() -> None:
    """List the named plans."""
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
    """List the values of --method and --prior."""
    from verax.bench.plan import METHODS, PRIORS

    for name, method in METHODS.items():
        print(f"--method {name:20}{method.what}")
    for name, what in (PRIORS | {"provider:MODEL": "from a service, see --base-url"}).items():
        print(f"--prior {name:21}{what}")
