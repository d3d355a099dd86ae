"""verax restore, verax register: photo and prior in, restoration out."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    signing,
)
from verax.errors import InputError, VeraxError

if TYPE_CHECKING:
    from verax.cli.asked import Asker
    from verax.image import Image, Photo
    from verax.pipeline import Restoration
    from verax.priors.generated import GeneratedPrior
    from verax.provenance.signing import Credentials


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
    credentials: "Credentials | None" = None


def restore(
    photos: list[Path] = typer.Argument(..., metavar="PHOTO...", help="Photo, folder or glob."),
    prior: Path | None = typer.Option(
        None, help="What a generator made of the photo; for several photos a folder, by name."
    ),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Result file, or folder for several photos."
    ),
    restorer: str | None = typer.Option(
        None, help="Makes the base without a prior: a name (see the docs) or a weights file."
    ),
    fidelity: float = typer.Option(
        1.0, help="1: only what the photo supports. 0: the registered prior itself."
    ),
    fusion: str | None = typer.Option(
        None, help="How the prior is used: auto, network, or tone (its colours alone: faster)."
    ),
    report: Path | None = typer.Option(None, help="Folder for the sheet (PNG) and the JSON."),
    drop_gps: bool = typer.Option(False, "--drop-gps", help="Leave out where it was taken."),
    model: Model = None,
    task: str = typer.Option("auto", help="What to ask for: dehaze, derain ... or auto."),
    prompt: str = typer.Option("", help="What to ask for, in your own words."),
    quality: str | None = typer.Option(None, help="low, medium, high ...; see verax models."),
    moderation: str | None = typer.Option(None, help="auto or low."),
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    run: Run = None,
    dry_run: DryRun = False,
    retry_uncertain: RetryUncertain = False,
    batch: bool = typer.Option(False, "--batch", help="Ask for half the price, within 24 hours."),
    batch_poll: float = typer.Option(30.0, help="Seconds between looks at a batch."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object per photo."),
) -> None:
    """Restore photos, each with a prior where there is one.

    With --model, --task, --prompt, --gateway, --base-url or --batch a service is asked for priors.
    """
    from verax import image as images
    from verax import pipeline
    from verax.cli.asked import Batching, asker
    from verax.priors.generated import Wishes
    from verax.settings import load

    if not 0.0 <= fidelity <= 1.0:
        raise InputError(f"--fidelity: want a number from 0 to 1, got {fidelity}")
    paths, several = pairing.expand(photos)
    jobs = plan(paths, several=several, prior=prior, output=output, report=report)
    options = Options(
        restorer or pipeline.DEFAULT_RESTORER,
        fidelity,
        fusion or pipeline.DEFAULT_FUSION,
        drop_gps,
        signing(load()),
    )
    if not any((model, prompt, task != "auto", gateway, base_url, batch, dry_run)):
        run_jobs(jobs, options, None, several=several, as_json=as_json)
        return
    wishes = Wishes(
        model=model or "", prompt=prompt, task=task, quality=quality, moderation=moderation
    )
    terms = Terms(gateway, base_url, local_only, max_cost, run, dry_run, retry_uncertain)
    for job in jobs:
        images.check_target(job.output)
    with asker(terms, wishes, Batching(batch, batch_poll)) as service:
        if service.fetch([job.photo for job in jobs if job.prior is None]):
            run_jobs(jobs, options, service, several=several, as_json=as_json)


def run_jobs(
    jobs: list[Job], options: Options, service: "Asker | None", *, several: bool, as_json: bool
) -> None:
    """One photo with its story, or many with a summary."""
    if several:
        run_all(jobs, options, service, as_json=as_json)
    else:
        tell(run_job(jobs[0], options, service), as_json=as_json)


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
    from verax import image as images
    from verax import pipeline

    for source in (job.photo, job.prior):
        if source is not None and job.output.exists() and job.output.samefile(source):
            raise InputError(f"{job.output}: the result would replace {source}; choose another -o")
    asked = service.prior(job.photo) if service is not None and job.prior is None else None
    prior: Photo | Image | None = asked.pixels if asked is not None else None
    if job.prior is not None:
        prior = images.read(job.prior)
    result = pipeline.restore(
        images.read(job.photo),
        prior,
        restorer=options.restorer,
        fidelity=options.fidelity,
        fusion=options.fusion,
    )
    lost = write_result(job, options, result, asked)
    record = {"photo": str(job.photo), "output": str(job.output), **pipeline.record(result)}
    if asked is not None:
        record["model"] = asked.asking.request.model
        record["fingerprint"] = asked.asking.request.fingerprint()
        record["notes"] += asked.notices
    record["notes"] += lost
    if job.report is not None:
        pixels = prior.pixels if isinstance(prior, images.Photo) else prior
        write_report(job.report, result, pixels, record)
    return record


def write_result(
    job: Job, options: Options, result: "Restoration", asked: "GeneratedPrior | None"
) -> tuple[str, ...]:
    """Write the restoration with a word on its making, signed where the user can; what is lost."""
    from verax import image as images
    from verax.provenance.signing import Source
    from verax.provenance.statement import marked, seal

    used = result.prior == "used"
    system = asked.asking.request.model if asked is not None else ""
    like = marked(result.photo, prior=used, system=system)
    images.write(job.output, result.pixels, like=like, drop_gps=options.drop_gps)
    prior = None
    if used and asked is not None:
        prior = Source(asked.data, "the generated picture")
    elif used and job.prior is not None:
        prior = Source(job.prior.read_bytes(), job.prior.name)
    photo = Source(job.photo.read_bytes(), job.photo.name)
    return seal(job.output, photo, prior, credentials=options.credentials)


def write_report(
    folder: Path, result: "Restoration", prior: "Image | None", record: dict[str, Any]
) -> None:
    """The sheet as a PNG and the record as JSON."""
    from verax import image as images
    from verax.report.sheet import restoration_sheet

    folder.mkdir(parents=True, exist_ok=True)
    images.write(folder / "sheet.png", restoration_sheet(result, prior))
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")


def run_all(jobs: list[Job], options: Options, service: "Asker | None", *, as_json: bool) -> None:
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
        if as_json:
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


def register(
    photo: Path = typer.Argument(..., help="The photo."),
    prior: Path = typer.Argument(..., help="What a generator made of it."),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Write the prior on the photo's grid to this file."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find where a prior lies on a photo, and whether it shows the same scene."""
    from verax import image as images
    from verax import pipeline
    from verax.geometry import register as registration

    fixed, moving = images.read(photo), images.read(prior)
    found = registration.register(fixed.pixels, moving.pixels)
    if output is not None:
        warped = registration.apply(found, moving.pixels, size=(fixed.width, fixed.height))
        images.write(output, warped.pixels)
    record = {
        "photo": str(photo),
        "prior": str(prior),
        "width": fixed.width,
        "height": fixed.height,
        **pipeline.registration_record(found),
    }
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(f"{'accepted' if found.accepted else found.outcome}: {found.reason}")
        print(f"p = {found.p_value:.3g}, coverage {found.coverage:.0%}, canvas {found.canvas}")
        for row in record["matrix"]:
            print("  " + "  ".join(f"{value:12.6f}" for value in row))
