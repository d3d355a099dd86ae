"""The command `verax bench run`: makes a plan from options, a preset or a file, and runs it."""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli.bench_results import compare, export, progress_bar, report, score, show
from verax.cli.paid import PANEL, Terms, group_options
from verax.cli.prior_calls import POLL_S, Batching, open_bench_calls
from verax.errors import SettingsError, choose, quantity

if TYPE_CHECKING:
    from verax.bench.plan import Plan, Preset
    from verax.bench.work import Digests, Work
    from verax.datasets import Dataset

Words = list[str] | None
app = typer.Typer(
    name="bench",
    help="Benchmarks: run methods on datasets with priors, score and compare the results.",
    no_args_is_help=True,
)
for command in (score, report, compare, export):
    app.command()(command)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The options of `verax bench run` that say what to run; None: not set by the user."""

    datasets: Annotated[
        Words,
        typer.Option(
            "--dataset",
            help="Folder with input/ target/ generated/, manifest CSV, or name in verax data list.",
        ),
    ] = None
    tasks: Annotated[
        Words,
        typer.Option("--task", help="Use photos with this fault; in a plain folder, all have it."),
    ] = None
    methods: Annotated[
        Words, typer.Option("--method", help="How to make outputs; see verax bench methods.")
    ] = None
    splits: Annotated[
        Words,
        typer.Option("--split", help="Splits to use; default: test, unpaired, and unnamed ones."),
    ] = None
    priors: Annotated[
        Words, typer.Option("--prior", help="Where priors come from; see verax bench methods.")
    ] = None
    degradations: Annotated[
        Words, typer.Option("--degrade", help="Degrade clean pictures by TASK:SEVERITY (0 to 1).")
    ] = None
    metrics: Annotated[
        Words, typer.Option("--metric", help="Metrics to compute; see verax metrics.")
    ] = None
    limit: Annotated[
        int | None, typer.Option(help="At most this many pictures per dataset and task; 0: all.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None
    prompts: Annotated[
        Words,
        typer.Option(
            "--prompt", rich_help_panel=PANEL, help="Wording of prompts; see verax names wordings."
        ),
    ] = None
    repeats: Annotated[
        int | None, typer.Option(rich_help_panel=PANEL, help="Priors to request per picture.")
    ] = None
    quality: Annotated[
        str | None, typer.Option(rich_help_panel=PANEL, help="Quality of priors: low, high ...")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `verax bench run` that say where results go and how they are computed."""

    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the run; a stopped one is continued.")
    ]
    engine: Annotated[str, typer.Option(help="Run by threads, processes or ray.")] = "threads"
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, for --engine ray.")
    ] = None
    workers: Annotated[int, typer.Option(help="Number of workers; 0: one per core.")] = 0
    deviation: Annotated[
        bool, typer.Option("--deviation", help="Also measure what each output changed.")
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
@group_options
def run(
    *,
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="PLAN.toml", help="File that says what to run.")
    ] = None,
    preset: Annotated[str, typer.Option(help="A ready-made plan; see verax bench presets.")] = "",
    flags: PlanOptions,
    running: RunOptions,
    terms: Terms,
) -> None:
    """Run the benchmark that a plan file, a preset or options define, or continue a stopped one."""
    from verax.bench.engines import default_workers
    from verax.bench.plan import preset as preset_of
    from verax.bench.runner import run as run_plan

    choice = preset_of(preset) if preset else None
    plan = read_plan(plan_file, flags, choice)
    deviation = running.deviation or bool(choice and choice.deviation)
    needs = choice.needs if choice else ""
    works, digests = announced_works(plan, running.output, deviation=deviation, needs=needs)
    calling = any(work.call_key for work in works)
    check_options(running, terms, calling=calling)
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
    if calling:
        batching = Batching(running.batch, running.batch_poll)
        with open_bench_calls(terms, batching, running.output) as prior_calls:
            if not prior_calls.announce(works, digests):
                return
            with progress_bar() as tell:
                summary = go(source=prior_calls, tell=tell)
    elif terms.dry_run:
        return
    else:
        with progress_bar() as tell:
            summary = go(tell=tell)
    show(summary, running.output, as_json=running.as_json)


def check_options(running: RunOptions, terms: Terms, *, calling: bool) -> None:
    """Raises SettingsError if a set option has no effect. `calling`: the run calls a service."""
    if running.address and running.engine != "ray":
        raise SettingsError(f"--address needs --engine ray, got {running.engine}; leave it out")
    if running.batch_poll != POLL_S and not running.batch:
        raise SettingsError("--batch-poll has no effect without --batch; add --batch")
    paid = {
        "--gateway": terms.gateway,
        "--base-url": terms.base_url,
        "--max-cost": terms.max_cost is not None,
        "--run": terms.run,
        "--retry-uncertain": terms.retry_uncertain,
        "--batch": running.batch,
    }
    present = [name for name, value in paid.items() if value]
    if present and not calling:
        raise SettingsError(
            f"{' and '.join(present)}: no service is called, so this has no effect; leave it out "
            "or add --prior provider:MODEL"
        )


def announced_works(
    plan: "Plan", output: Path, *, deviation: bool, needs: str = ""
) -> "tuple[list[Work], Digests]":
    """Print what is left to do of the run in folder `output`. Returns (all its work items, hashes
    of its input files). `deviation`: it measures changes, too; `needs`: as in load_datasets."""
    from verax.bench import finished_outputs
    from verax.bench.runner import disk_gb, extent
    from verax.bench.work import Digests, expand
    from verax.store import free_gb

    done, known = finished_outputs(output)
    digests = Digests({path: (size, time, sha256) for path, (size, time, sha256) in known.items()})
    datasets = load_datasets(plan, needs)
    works = expand(plan, datasets, digests=digests)
    notes = [remark for dataset in datasets for remark in dataset.remarks]
    simulated = len({work.photo for work in works if work.prior == "simulated"})
    if simulated:
        notes.append(
            f"the priors of {quantity(simulated, 'picture')} are simulated from their "
            "references; no image generator is used, so results are an upper bound. For real "
            "priors: --prior files or --prior provider:MODEL"
        )
    needed = disk_gb([work for work in works if work.key not in done], digests)
    free = free_gb(output)
    if needed > free:
        notes.append(f"{output}: about {needed:.1f} GB of disk are needed, {free:.1f} GB are free")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    left = extent(works, done, metrics=len(plan.metrics), deviation=deviation, digests=digests)
    print(left, file=sys.stderr)
    return works, digests


def load_datasets(plan: "Plan", needs: str = "") -> "list[Dataset]":
    """The datasets of a plan. Raises SettingsError if some are missing; its message says how to get
    each, and for several also what the plan needs: `needs`, in words that follow "You need"."""
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
            + (f"\nTo run on those that you have: {rest}" if rest else "")
            + (f"\nYou need {needs}." if needs else "")
        )
    return there


def check_tasks(plan: "Plan") -> None:
    """Raises UnknownNameError if neither Verax nor a dataset of the plan knows one of its tasks."""
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


def read_plan(file: Path | None, flags: PlanOptions, preset: "Preset | None" = None) -> "Plan":
    """The plan in `file`; if None, that of the options `flags`, with `preset` for those not set."""
    from verax.bench import plan as plans

    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asdict(flags).items()
        if value not in (None, [])
    }
    if file is not None:
        if settings or preset:
            both = ", ".join([*settings, *(["preset"] if preset else [])])
            raise SettingsError(
                f"expected a plan file or options, got {file} and options for {both}; use only one"
            )
        if not file.is_file():
            raise SettingsError(f"{file}: expected a plan file (TOML), found none; check the path")
        return plans.from_toml(file.read_text(encoding="utf-8"), name=str(file))
    settings = (preset.fields if preset else {}) | settings
    if lack := " and ".join(f"--{n[:-1]}" for n in ("datasets", "methods") if not settings.get(n)):
        raise SettingsError(
            f"expected a plan file, or --dataset and --method (a --preset may set them); add {lack}"
        )
    return plans.check(plans.Plan(**settings))


@app.command("presets")
def list_presets() -> None:
    """List the presets: ready-made plans, and the question that each answers."""
    from verax.bench.plan import presets

    for name, preset in presets().items():
        fields = "; ".join(
            f"{field} {', '.join(value) if isinstance(value, tuple) else value}"
            for field, value in preset.fields.items()
        )
        print(f"{name:14}{preset.about}\n{'':14}{fields}")
        if preset.needs:
            print(f"{'':14}You need {preset.needs}.")


@app.command()
def methods() -> None:
    """List the values of --method (how outputs are made) and --prior (where priors come from)."""
    from verax.bench.plan import METHODS, PRIORS

    for name, method in METHODS.items():
        print(f"--method {name:20}{method.what}")
    for name, what in (PRIORS | {"provider:MODEL": "requested from an image service"}).items():
        print(f"--prior {name:21}{what}")
