"""verax restore: photo and prior in, restoration out."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli import pairing
from verax.cli.paid import (
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
from verax.errors import InputError, VeraxError

if TYPE_CHECKING:
    from verax.cli.asked import Asker, Batching
    from verax.making import Made, Opened
    from verax.priors.generated import GeneratedPrior, Wishes
    from verax.provenance.signing import Credentials

Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO...", help="Photo, folder or glob.", show_default=False),
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
Restorer = Annotated[
    str | None,
    typer.Option(help="Makes the base without a prior: a name (see the docs) or a weights file."),
]
Fidelity = Annotated[
    float, typer.Option(help="1: only what the photo supports. 0: the registered prior itself.")
]
FusionMode = Annotated[
    str | None,
    typer.Option(help="How the prior is used: auto, network, or tone (its colours alone: faster)."),
]
Report = Annotated[Path | None, typer.Option(help="Folder for the sheet (PNG) and the JSON.")]
DropGps = Annotated[bool, typer.Option("--drop-gps", help="Leave out where it was taken.")]
Task = Annotated[str, typer.Option(help="What to ask for: dehaze, derain ... or auto.")]
Prompt = Annotated[str, typer.Option(help="What to ask for, in your own words.")]
Quality = Annotated[str | None, typer.Option(help="low, medium, high ...; see verax models.")]
Moderation = Annotated[str | None, typer.Option(help="auto or low.")]
InBatch = Annotated[bool, typer.Option("--batch", help="Ask for half the price, within 24 hours.")]
BatchPoll = Annotated[float, typer.Option(help="Seconds between looks at a batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per photo.")]


@dataclass(frozen=True, slots=True)
class Job:
    """One photo of a call: where it comes from and where its results go."""

    photo: Path
    prior: Path | None
    output: Path
    report: Path | None


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every photo of a call."""

    restorer: str
    fidelity: float
    fusion: str
    drop_gps: bool
    as_json: bool
    credentials: "Credentials | None" = None


def restore(
    photos: Photos,
    prior: PriorFile = None,
    output: Output = None,
    restorer: Restorer = None,
    fidelity: Fidelity = 1.0,
    fusion: FusionMode = None,
    report: Report = None,
    drop_gps: DropGps = False,
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
    batch_poll: BatchPoll = 30.0,
    as_json: AsJson = False,
) -> None:
    """Restore photos, each with a prior where there is one.

    With --model, --task, --prompt, --gateway, --base-url or --batch a service is asked for priors.
    """
    from verax.cli.asked import Batching
    from verax.priors.generated import Wishes

    paths, several = pairing.expand(photos)
    jobs = plan(paths, several=several, prior=prior, output=output, report=report)
    options = options_of(restorer, fidelity, fusion, drop_gps=drop_gps, as_json=as_json)
    if not any((model, prompt, task != "auto", gateway, base_url, batch, dry_run)):
        run_jobs(jobs, options, None, several=several)
        return
    wishes = Wishes(
        model=model or "", prompt=prompt, task=task, quality=quality, moderation=moderation
    )
    terms = Terms(gateway, base_url, local_only, max_cost, run, dry_run, retry_uncertain)
    ask_and_run(jobs, options, wishes, terms, Batching(batch, batch_poll), several=several)


def options_of(
    restorer: str | None, fidelity: float, fusion: str | None, *, drop_gps: bool, as_json: bool
) -> Options:
    """The options of a call, checked before any work is done."""
    from verax import pipeline
    from verax.making import credentials_of
    from verax.settings import load

    if not 0.0 <= fidelity <= 1.0:
        raise InputError(f"--fidelity: want a number from 0 to 1, got {fidelity}")
    restorer, fusion = restorer or pipeline.DEFAULT_RESTORER, fusion or pipeline.DEFAULT_FUSION
    return Options(restorer, fidelity, fusion, drop_gps, as_json, credentials_of(load()))


def ask_and_run(
    jobs: list[Job],
    options: Options,
    wishes: "Wishes",
    terms: Terms,
    batching: "Batching",
    *,
    several: bool,
) -> None:
    """Ask a service for every prior that is not given, then restore; on a dry run neither."""
    from verax import image as images
    from verax.cli.asked import asker

    for job in jobs:
        images.check_target(job.output)
    with asker(terms, wishes, batching) as service:
        if service.fetch([job.photo for job in jobs if job.prior is None]):
            run_jobs(jobs, options, service, several=several)


def run_jobs(jobs: list[Job], options: Options, service: "Asker | None", *, several: bool) -> None:
    """One photo with its story, or many with a summary."""
    if several:
        run_all(jobs, options, service)
    else:
        tell(run_job(jobs[0], options, service), as_json=options.as_json)


def plan(
    photos: list[Path],
    *,
    several: bool,
    prior: Path | None,
    output: Path | None,
    report: Path | None,
) -> list[Job]:
    """Where each photo's prior is and where its results go."""
    if not several:
        photo = photos[0]
        target = output or photo.with_name(f"{photo.stem}_restored{photo.suffix}")
        if target.is_dir():
            target = target / photo.name
        return [Job(photo, prior, target, report)]
    if prior is not None and not prior.is_dir():
        raise InputError(f"--prior: want a folder for {len(photos)} photos, got the file {prior}")
    if output is not None and output.exists() and not output.is_dir():
        raise InputError(f"--output: want a folder for {len(photos)} photos, got the file {output}")
    priors = pairing.by_stem(prior) if prior is not None else {}
    folder = output if output is not None else photos[0].parent / "restored"
    jobs = [
        Job(p, priors.get(p.stem), folder / p.name, report / p.name if report else None)
        for p in photos
    ]
    targets = [job.output for job in jobs]
    twice = sorted({t.name for t in targets if targets.count(t) > 1})
    if twice:
        raise InputError(f"several photos are called {', '.join(twice)}; restore them one by one")
    folder.mkdir(parents=True, exist_ok=True)
    return jobs


def run_job(job: Job, options: Options, service: "Asker | None" = None) -> dict[str, Any]:
    """Restore one photo, write its files, return its JSON object."""
    from verax import making

    asked = service.prior(job.photo) if service is not None and job.prior is None else None
    order = making.Order(
        photo=job.photo,
        prior=job.prior,
        output=job.output,
        restorer=options.restorer,
        fidelity=options.fidelity,
        fusion=options.fusion,
        system=asked.asking.request.model if asked is not None else "",
        drop_gps=options.drop_gps,
    )
    prior = None if asked is None else opened_answer(asked)
    made = making.make(order, prior=prior, credentials=options.credentials)
    record = {"photo": str(job.photo), "output": str(job.output), **made.record()}
    if asked is not None:
        record["model"] = asked.asking.request.model
        record["fingerprint"] = asked.asking.request.fingerprint()
        record["notes"] += asked.notices
    if made.statement is not None:
        record["notes"].append(f"what it was is written in {made.statement}")
    if job.report is not None:
        write_report(job.report, made, record)
    return record


def opened_answer(asked: "GeneratedPrior") -> "Opened":
    """The prior that a service gave, with its file as it came."""
    from verax import image as images
    from verax.making import Opened
    from verax.provenance.signing import Source

    source = Source(asked.data, "the generated picture")
    return Opened(images.from_array(asked.pixels, name="the generated picture"), source)


def write_report(folder: Path, made: "Made", record: dict[str, Any]) -> None:
    """The sheet as a PNG and the record as JSON."""
    from verax import image as images
    from verax.report.sheet import restoration_sheet

    folder.mkdir(parents=True, exist_ok=True)
    prior = None if made.prior is None else made.prior.photo.pixels
    images.write(folder / "sheet.png", restoration_sheet(made.restoration, prior))
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")


def run_all(jobs: list[Job], options: Options, service: "Asker | None") -> None:
    """Every job, with a progress bar; one bad file never stops the rest."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    failed: list[str] = []
    records: list[dict[str, Any]] = []
    for job in track(jobs, "restoring", console=console, disable=not console.is_terminal):
        try:
            record = run_job(job, options, service)
        except VeraxError as exc:
            failed.append(str(exc))
            record = {"photo": str(job.photo), "output": None, "error": str(exc)}
        else:
            records.append(record)
        if options.as_json:
            print(json.dumps(record, ensure_ascii=False))
    uses = [record["prior"] for record in records]
    print(
        f"{len(records)} of {len(jobs)} restored in {sum(r['seconds'] for r in records):.1f} s: "
        f"prior used {uses.count('used')}, refused {uses.count('refused')}, "
        f"none {uses.count('none')}; written to {jobs[0].output.parent}",
        file=sys.stderr,
    )
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def tell(record: dict[str, Any], *, as_json: bool) -> None:
    """One photo's result, for programs or for people."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    print(f"{record['output']}  {record['width']}x{record['height']}  {record['seconds']:.1f} s")
    if record["registration"] is not None:
        print(f"prior {record['prior']}: {record['registration']['reason']}")
        shares = record["trust"]
        print(
            f"from the photo {shares['photo']:.0%}, tone of the prior {shares['tone']:.0%}, "
            f"texture of the prior {shares['texture']:.0%}"
        )
    for note in record["notes"]:
        print(f"note: {note}")
