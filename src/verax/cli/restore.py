"""verax restore: photo and prior in, restoration out."""

from pathlib import Path
from typing import Annotated

import typer

from verax.cli import pairing
from verax.cli.paid import (
    PANEL,
    BaseUrl,
    DryRun,
    Gateway,
    LocalOnly,
    MaxCost,
    Model,
    RetryUncertain,
    Run,
    Terms,
)
from verax.cli.restore_jobs import (
    Options,
    ask_and_run,
    plan,
    run_jobs,
    second_as_prior,
    still_to_do,
)
from verax.errors import InputError, choose
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY

PRIOR, RESULT = "Prior", "Result"
Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO... [PRIOR]",
        show_default=False,
        help="Photo, folder or pattern. A second picture of the same scene is its prior.",
    ),
]
PriorFile = Annotated[
    Path | None,
    typer.Option(
        "--prior", help="What a generator made of the photo; for several photos a folder, by name."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Result file, or folder for several photos."),
]
Report = Annotated[
    Path | None,
    typer.Option(help="Folder for pictures and figures: sheet.png, trust.png, report.json."),
]
Fidelity = Annotated[
    float,
    typer.Option(
        rich_help_panel=PRIOR,
        help="1: only what the photo confirms, and light. 0: the registered prior itself.",
    ),
]
AcceptPrior = Annotated[
    bool,
    typer.Option(
        "--accept-prior",
        rich_help_panel=PRIOR,
        help="You know that the prior shows this scene: use it where nobody could tell.",
    ),
]
Restorer = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=RESULT,
        help="What restores without a prior: see verax names restorers; or a weights file.",
    ),
]
DropGps = Annotated[
    bool,
    typer.Option("--drop-gps", rich_help_panel=RESULT, help="Leave out where it was taken."),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        rich_help_panel=PRIOR,
        help="Leave with status 3 where a prior is missing or was not used.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=RESULT, help="Print one JSON object per photo."),
]
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", rich_help_panel=RESULT, help="Leave results that are there."),
]
Recursive = Annotated[
    bool,
    typer.Option("--recursive", help="Take the photos of the folders below, too."),
]
Salvage = Annotated[
    bool,
    typer.Option(
        "--salvage",
        rich_help_panel=RESULT,
        help="Take what is left of a photo that is cut short (JPEG, PNG); a prior fills the rest.",
    ),
]
Only = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=RESULT,
        help="Mask picture, white where the photo may change; elsewhere it stays bit for bit.",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=RESULT,
        help="Mask picture, white where the photo holds nothing: filled from the prior.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", rich_help_panel=RESULT, help="Print the figures as well."),
]
Task = Annotated[
    str,
    typer.Option(rich_help_panel=PANEL, help="What is asked for, or was: see verax names tasks."),
]
Prompt = Annotated[
    str, typer.Option(rich_help_panel=PANEL, help="What to ask for, in your own words.")
]
Quality = Annotated[
    str | None, typer.Option(rich_help_panel=PANEL, help="low, medium, high ...; see verax models.")
]
Moderation = Annotated[str | None, typer.Option(rich_help_panel=PANEL, help="auto or low.")]
InBatch = Annotated[
    bool,
    typer.Option("--batch", rich_help_panel=PANEL, help="Ask for half the price, within 24 hours."),
]
BatchPoll = Annotated[
    float, typer.Option(rich_help_panel=PANEL, help="Seconds between looks at a batch.")
]
POLL_S = 30.0


def restore(
    photos: Photos,
    prior: PriorFile = None,
    output: Output = None,
    report: Report = None,
    recursive: Recursive = False,
    fidelity: Fidelity = DEFAULT_FIDELITY,
    accept_prior: AcceptPrior = False,
    strict: Strict = False,
    restorer: Restorer = None,
    drop_gps: DropGps = False,
    skip_existing: SkipExisting = False,
    salvage: Salvage = False,
    only: Only = None,
    mask: Mask = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    model: Model = None,
    task: Task = "auto",
    prompt: Prompt = "",
    quality: Quality = None,
    moderation: Moderation = None,
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    run: Run = None,
    dry_run: DryRun = False,
    retry_uncertain: RetryUncertain = False,
    batch: InBatch = False,
    batch_poll: BatchPoll = POLL_S,
) -> None:
    """Restore photos, each with a prior where there is one.

    With --model, --task, --prompt, --gateway, --base-url or --batch a service is asked for priors.
    """
    from verax.cli.asked import Batching
    from verax.priors.generated import Wishes

    paying = any((model, prompt, gateway, base_url, batch, dry_run))
    if not paying and prior is None:
        photos, prior = second_as_prior(photos)
    asking = paying or (task != "auto" and prior is None)
    check_options(
        asking=asking,
        paid={
            "--quality": quality,
            "--moderation": moderation,
            "--max-cost": max_cost,
            "--run": run,
            "--retry-uncertain": retry_uncertain,
        },
        poll=batch_poll != POLL_S and not batch,
    )
    paths, several = pairing.expand(photos, recursive=recursive)
    if prior is not None and asking and not several:
        raise InputError("--prior is at hand, so no service need be asked: leave one of them out")
    jobs = plan(
        paths, several=several, prior=prior, output=output, report=report, recursive=recursive
    )
    options = options_of(
        restorer, fidelity, task, accept_prior=accept_prior, drop_gps=drop_gps, strict=strict,
        as_json=as_json, verbose=verbose, several=several, skip_existing=skip_existing,
        salvage=salvage, only=only, mask=mask,
    )  # fmt: skip
    jobs = still_to_do(jobs, options)
    if not asking:
        run_jobs(jobs, options)
        return
    wishes = Wishes(
        model=model or "", prompt=prompt, task=task, quality=quality, moderation=moderation
    )
    terms = Terms(gateway, base_url, local_only, max_cost, run, dry_run, retry_uncertain)
    ask_and_run(jobs, options, wishes, terms, Batching(batch, batch_poll))


def check_options(*, asking: bool, paid: dict[str, object], poll: bool) -> None:
    """Raises InputError for options that say nothing without another."""
    if not asking:
        given = [name for name, value in paid.items() if value]
        if given:
            raise InputError(f"{' and '.join(given)}: no service is asked; add --model")
    if poll:
        raise InputError("--batch-poll goes with --batch")


def checked_task(task: str) -> str:
    """What the prior was asked for; "" where the pair has to tell. Raises UnknownNameError."""
    from verax import catalog

    return "" if task == "auto" else choose({n: n for n in catalog.tasks()}, task, kind="task")


def options_of(
    restorer: str | None,
    fidelity: float,
    task: str,
    *,
    only: Path | None = None,
    mask: Path | None = None,
    **flags: bool,
) -> Options:
    """The options of a call, checked before any work is done."""
    from verax.making import credentials_of
    from verax.settings import load

    if not 0.0 <= fidelity <= 1.0:
        raise InputError(f"--fidelity: want a number from 0 to 1, got {fidelity}")
    return Options(
        restorer=restorer or "auto",
        fidelity=fidelity,
        only=only,
        mask=mask,
        task=checked_task(task),
        credentials=credentials_of(load()),
        **flags,
    )
