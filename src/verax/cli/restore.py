"""The command `verax restore` and its options."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from verax.cli import pairing
from verax.cli.paid import PANEL, Model, Terms, group_options
from verax.cli.prior_calls import POLL_S, Batching, open_prior_calls
from verax.cli.restore_jobs import Options, run_jobs
from verax.errors import InputError, choose
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY

PRIOR, RESULT = "Prior", "Result"
Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO",
        show_default=False,
        help="Photo, folder or pattern. A second picture of the same scene is its prior.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The options of `verax restore` for input and output files."""

    prior: Annotated[
        Path | None,
        typer.Option(
            "--prior",
            help="The picture that a generator made of the photo; for several, a folder of them.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Result file, or folder for several photos."),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(help="Folder for a report on each photo: sheet.png, trust.png, report.json."),
    ] = None
    recursive: Annotated[
        bool,
        typer.Option("--recursive", help="Include photos in subfolders."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The options of `verax restore` that hold for every photo."""

    fidelity: Annotated[
        float,
        typer.Option(
            rich_help_panel=PRIOR,
            help="1: take only light and what the photo confirms from the prior. 0: take all.",
        ),
    ] = DEFAULT_FIDELITY
    accept_prior: Annotated[
        bool,
        typer.Option(
            "--accept-prior",
            rich_help_panel=PRIOR,
            help="Use the prior even if it cannot be verified that it shows the same scene.",
        ),
    ] = False
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=PRIOR,
            help="Exit with status 3 if a prior is missing or was not used.",
        ),
    ] = False
    restorer: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="Method to restore without a prior: a name in 'verax names restorers', or a file.",
        ),
    ] = None
    drop_gps: Annotated[
        bool,
        typer.Option(
            "--drop-gps",
            rich_help_panel=RESULT,
            help="Leave the place where the photo was taken out of the metadata.",
        ),
    ] = False
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", rich_help_panel=RESULT, help="Skip photos whose result exists."
        ),
    ] = False
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            rich_help_panel=RESULT,
            help="Accept a truncated JPEG or PNG; the missing part is filled from the prior.",
        ),
    ] = False
    only: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="Mask picture: white where the photo may change; the rest stays exactly as it is.",
        ),
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="Mask picture: white where the photo is damaged, to be filled from the prior.",
        ),
    ] = None
    scale: Annotated[
        str,
        typer.Option(
            rich_help_panel=RESULT,
            help="Enlarge 2, 3 or 4 times, or to the prior's size ('prior'). A prior adds detail.",
        ),
    ] = ""
    exposure: Annotated[
        float,
        typer.Option(rich_help_panel=RESULT, help="Brighten by this many stops, -4 (darken) to 4."),
    ] = 0.0
    as_json: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=RESULT, help="Print one JSON object per photo."),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", rich_help_panel=RESULT, help="Also print figures on the result."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The options of `verax restore` for priors that it requests from an image service."""

    model: Model = None
    task: Annotated[
        str,
        typer.Option(rich_help_panel=PANEL, help="The fault to correct; see 'verax names tasks'."),
    ] = "auto"
    prompt: Annotated[
        str, typer.Option(rich_help_panel=PANEL, help="Your own prompt, instead of the task's.")
    ] = ""
    quality: Annotated[
        str | None,
        typer.Option(rich_help_panel=PANEL, help="low, medium, high ...; see 'verax models'."),
    ] = None
    moderation: Annotated[
        str | None,
        typer.Option(rich_help_panel=PANEL, help="Moderation: auto, or low (less strict)."),
    ] = None
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", rich_help_panel=PANEL, help="Use the Batch API: half the price, up to 24 h."
        ),
    ] = False
    batch_poll: Annotated[
        float, typer.Option(rich_help_panel=PANEL, help="Seconds between checks of a batch.")
    ] = POLL_S


@group_options
def restore(photos: Photos, files: Files, choices: Choices, ask: Ask, terms: Terms) -> None:
    """Restore photos, with a prior if there is one.

    --model, --task, --prompt, --gateway, --base-url and --batch request priors from a service.
    """
    prior, registration = files.prior, None
    paying = any((ask.model, ask.prompt, terms.gateway, terms.base_url, ask.batch, terms.dry_run))
    if not paying and prior is None:
        photos, prior, registration = pairing.second_as_prior(photos, accept=choices.accept_prior)
    asking = paying or (ask.task != "auto" and prior is None)
    check_options(ask, terms, asking=asking)
    if choices.accept_prior and prior is None and not asking:
        raise InputError("--accept-prior: there is no prior to accept; name one with --prior")
    if files.recursive and not any(photo.is_dir() for photo in photos):
        raise InputError("--recursive: expected a folder of photos, got none; name a folder")
    paths, several = pairing.expand(photos, recursive=files.recursive)
    if prior is not None and asking and not several:
        raise InputError(
            "expected one prior, got --prior and a request for another (as by --model); leave "
            "one of them out"
        )
    jobs = pairing.plan(
        paths, several=several, prior=prior, output=files.output, report=files.report,
        recursive=files.recursive,
    )  # fmt: skip
    if registration is not None:
        jobs = [replace(jobs[0], registration=registration)]
    options = options_of(choices, ask.task, several=several)
    if choices.skip_existing:
        jobs = pairing.still_to_do(jobs)
    if not asking:
        run_jobs(jobs, options)
        return
    ask_and_run(jobs, options, ask, terms)


def check_options(ask: Ask, terms: Terms, *, asking: bool) -> None:
    """Raises InputError if a set option has no effect. `asking`: the command calls a service."""
    paid = {
        "--quality": ask.quality,
        "--moderation": ask.moderation,
        "--max-cost": terms.max_cost,
        "--run": terms.run,
        "--retry-uncertain": terms.retry_uncertain,
    }
    options = [name for name, value in paid.items() if value]
    if options and not asking:
        raise InputError(
            f"{' and '.join(options)}: no service is called, so this has no effect; add --model "
            "or leave it out"
        )
    if ask.batch_poll != POLL_S and not ask.batch:
        raise InputError("--batch-poll has no effect without --batch; add --batch")


def checked_task(task: str) -> str:
    """The task itself; "" for "auto" (to be detected). Raises UnknownNameError for other names."""
    from verax import catalog

    return "" if task == "auto" else choose({n: n for n in catalog.tasks()}, task, kind="task")


def options_of(choices: Choices, task: str, *, several: bool) -> Options:
    """The options of the command for all photos, checked. Raises InputError for a wrong value.

    `task`: the value of --task; `several`: a folder, a pattern or several photos are named.
    """
    from verax.making import Order, credentials_of
    from verax.prints.enlarge import larger_size
    from verax.restorers.classical import check_exposure
    from verax.settings import load

    if not 0.0 <= choices.fidelity <= 1.0:
        raise InputError(f"--fidelity: expected a number from 0 to 1, got {choices.fidelity}")
    check_exposure(choices.exposure)
    if choices.scale:
        larger_size((1, 1), choices.scale)
    order = Order(
        photo=Path(), output=Path(), restorer=choices.restorer or "auto",
        fidelity=choices.fidelity, task=checked_task(task), accept_prior=choices.accept_prior,
        drop_gps=choices.drop_gps, salvage=choices.salvage, only=choices.only, mask=choices.mask,
        scale=choices.scale, exposure=choices.exposure,
    )  # fmt: skip
    return Options(
        order=order, credentials=credentials_of(load()), several=several,
        strict=choices.strict, as_json=choices.as_json, verbose=choices.verbose,
    )  # fmt: skip


def ask_and_run(jobs: list[pairing.Job], options: Options, ask: Ask, terms: Terms) -> None:
    """Request missing priors from a service, then restore the photos; a dry run prints the cost."""
    from verax.priors.generated import PriorOptions

    choices = PriorOptions(
        model=ask.model or "",
        prompt=ask.prompt,
        task=ask.task,
        quality=ask.quality,
        moderation=ask.moderation,
    )
    batching = Batching(ask.batch, ask.batch_poll)
    pairing.check_targets(jobs, several=options.several, make=not terms.dry_run)
    with open_prior_calls(terms, choices, batching) as service:
        if service.fetch([job.photo for job in jobs if job.prior is None]):
            run_jobs(jobs, options, service)
