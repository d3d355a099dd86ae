"""verax restore: photo and prior in, restoration out."""

from dataclasses import replace

from verax.cli import pairing
from verax.cli.grouped import grouped
from verax.cli.paid import Terms
from verax.cli.restore_jobs import (
    Options,
    ask_and_run,
    plan,
    run_jobs,
    second_as_prior,
    still_to_do,
)
from verax.cli.restore_options import POLL_S, Ask, Choices, Files, Photos
from verax.errors import InputError, choose


@grouped
def restore(photos: Photos, files: Files, choices: Choices, ask: Ask, terms: Terms) -> None:
    """Restore photos, each with a prior where there is one.

    With --model, --task, --prompt, --gateway, --base-url or --batch a service is asked for priors.
    """
    from verax.cli.asked import Batching
    from verax.priors.generated import Wishes

    prior, registration = files.prior, None
    paying = any((ask.model, ask.prompt, terms.gateway, terms.base_url, ask.batch, terms.dry_run))
    if not paying and prior is None:
        photos, prior, registration = second_as_prior(photos, accept=choices.accept_prior)
    asking = paying or (ask.task != "auto" and prior is None)
    check_options(ask, terms, asking=asking)
    if choices.accept_prior and prior is None and not asking:
        raise InputError("--accept-prior: there is no prior; add it as a second picture or --prior")
    if files.recursive and not any(photo.is_dir() for photo in photos):
        raise InputError("--recursive takes the folders below a folder; name a folder of photos")
    paths, several = pairing.expand(photos, recursive=files.recursive)
    if prior is not None and asking and not several:
        raise InputError("--prior is at hand, so no service need be asked: leave one of them out")
    jobs = plan(
        paths, several=several, prior=prior, output=files.output, report=files.report,
        recursive=files.recursive,
    )  # fmt: skip
    if registration is not None:
        jobs = [replace(jobs[0], registration=registration)]
    options = options_of(choices, ask.task, several=several)
    jobs = still_to_do(jobs, options)
    if not asking:
        run_jobs(jobs, options)
        return
    wishes = Wishes(
        model=ask.model or "",
        prompt=ask.prompt,
        task=ask.task,
        quality=ask.quality,
        moderation=ask.moderation,
    )
    ask_and_run(jobs, options, wishes, terms, Batching(ask.batch, ask.batch_poll))


def check_options(ask: Ask, terms: Terms, *, asking: bool) -> None:
    """Raises InputError for options that say nothing without another."""
    paid = {
        "--quality": ask.quality,
        "--moderation": ask.moderation,
        "--max-cost": terms.max_cost,
        "--run": terms.run,
        "--retry-uncertain": terms.retry_uncertain,
    }
    given = [name for name, value in paid.items() if value]
    if given and not asking:
        raise InputError(f"{' and '.join(given)}: no service is asked; add --model")
    if ask.batch_poll != POLL_S and not ask.batch:
        raise InputError("--batch-poll goes with --batch")


def checked_task(task: str) -> str:
    """What the prior was asked for; "" where the pair has to tell. Raises UnknownNameError."""
    from verax import catalog

    return "" if task == "auto" else choose({n: n for n in catalog.tasks()}, task, kind="task")


def options_of(choices: Choices, task: str, *, several: bool) -> Options:
    """The options of a call, checked before any work is done."""
    from verax.making import credentials_of
    from verax.pipeline import check_exposure
    from verax.prints.enlarge import larger_size
    from verax.settings import load

    if not 0.0 <= choices.fidelity <= 1.0:
        raise InputError(f"--fidelity: want a number from 0 to 1, got {choices.fidelity}")
    check_exposure(choices.exposure)
    if choices.scale:
        larger_size((1, 1), choices.scale)
    task, credentials = checked_task(task), credentials_of(load())
    return Options(choices=choices, task=task, several=several, credentials=credentials)
