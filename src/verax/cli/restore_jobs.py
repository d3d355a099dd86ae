"""The photos of one `verax restore`: which prior belongs to which, and making each file."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.cli import outcome, pairing
from verax.cli.paid import Terms
from verax.cli.restore_options import Choices
from verax.errors import InputError, OutputError, VeraxError
from verax.image.header import READ_ONLY

if TYPE_CHECKING:
    from verax.cli.asked import Asker, Batching
    from verax.geometry.register import Registration
    from verax.making import Made
    from verax.priors.generated import Wishes
    from verax.provenance import Credentials

NOT_USED = 3  # exit status of --strict
WHY = {
    "not": "it shows another scene",
    "undecided": "nobody can tell whether it shows the same scene",
}


@dataclass(frozen=True, slots=True)
class Job:
    """One photo of a call: where it comes from and where its results go.

    `registration` is the prior's, where it had to be found before."""

    photo: Path
    prior: Path | None
    output: Path
    report: Path | None
    registration: "Registration | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What holds for every photo of a call."""

    choices: Choices
    task: str = ""
    several: bool = False
    credentials: "Credentials | None" = field(default=None, repr=False)


def second_as_prior(
    pictures: list[Path], *, accept: bool = False
) -> "tuple[list[Path], Path | None, Registration | None]":
    """Two picture files of one scene are a photo and its prior; anything else is photos.

    Generators write no camera into their files: a second picture with one in it is a photo, unless
    somebody knows better (`accept`).
    """
    from verax import image as images
    from verax.geometry.register import register

    if len(pictures) != 2 or not all(path.is_file() for path in pictures):
        return pictures, None, None
    try:
        photo, other = (images.read(path) for path in pictures)
    except VeraxError:  # said when its turn comes; the other one is restored
        return pictures, None, None
    taken_by = "" if accept else pairing.camera(other)
    names = [path.name for path in pictures]
    first, second = names if len(set(names)) == 2 else map(str, pictures)
    if taken_by or not (found := register(photo.pixels, other.pixels, accept=accept)).usable:
        why = f"a {taken_by} took it" if taken_by else WHY[found.placed]
        print(
            f"note: {second} is restored as a photo of its own, since {why}; "
            "if it is a prior, use --prior",
            file=sys.stderr,
        )
        return pictures, None, None
    print(
        f"note: {second} shows the same scene as {first} and is used as its prior; "
        "if both are photos, name their folder",
        file=sys.stderr,
    )
    return pictures[:1], pictures[1], found


def plan(
    photos: list[Path],
    *,
    several: bool,
    prior: Path | None,
    output: Path | None,
    report: Path | None,
    recursive: bool = False,
) -> list[Job]:
    """Where each photo's prior is and where its results go."""
    if report is not None and report.exists() and not report.is_dir():
        raise InputError(f"--report: want a folder, got the file {report}; name another")
    if not several:
        photo = photos[0]
        target = output or photo.with_name(writable(f"{photo.stem}_restored{photo.suffix}"))
        if target.is_dir():
            target = target / writable(photo.name)
        return [Job(photo, prior, target, report)]
    if prior is not None and not prior.is_dir():
        raise InputError(f"--prior: want a folder for {len(photos)} photos, got the file {prior}")
    if output is not None and output.exists() and not output.is_dir():
        raise InputError(f"--output: want a folder for {len(photos)} photos, got the file {output}")
    root = pairing.common_folder(photos) if recursive else photos[0].parent
    folder = output if output is not None else root / "restored"
    photos = [photo for photo in photos if not (recursive and photo.is_relative_to(folder))]
    places = {p: p.relative_to(root) if recursive else Path(p.name) for p in photos}
    priors = pairing.partners(places, prior, deep=recursive) if prior is not None else {}
    jobs = []
    for photo, place in places.items():
        target = folder / place.with_name(writable(place.name))
        jobs.append(Job(photo, priors.get(photo), target, report / place if report else None))
    without = [job.photo.name for job in jobs if job.prior is None]
    if prior is not None and without:
        shown = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        print(f"note: no prior in {prior} for {len(without)} photos: {shown}", file=sys.stderr)
    targets = [job.output for job in jobs]
    twice = sorted({t.name for t in targets if targets.count(t) > 1})
    if twice:
        raise InputError(f"several photos are called {', '.join(twice)}; restore them one by one")
    return jobs


def writable(name: str) -> str:
    """The name, or one in PNG where pictures of its kind are read but not written."""
    path = Path(name)
    return str(path.with_suffix(".png")) if path.suffix.lower() in READ_ONLY else name


def ask_and_run(
    jobs: list[Job], options: Options, wishes: "Wishes", terms: Terms, batching: "Batching"
) -> None:
    """Ask a service for every prior that is not given, then restore; on a dry run neither."""
    from verax.cli.asked import asker

    check_targets(jobs, options, make=not terms.dry_run)
    with asker(terms, wishes, batching) as service:
        if service.fetch([job.photo for job in jobs if job.prior is None]):
            run_jobs(jobs, options, service)


def check_targets(jobs: Sequence[Job], options: Options, *, make: bool) -> None:
    """Raises OutputError for results that cannot be written, before anything is paid or done.

    `make` makes the folder of several results; without it nothing is left on disk.
    """
    from verax import image as images

    if options.several and make:
        make_folders(jobs)
    for job in jobs:
        if job.output.parent.is_dir() or not options.several:
            images.check_target(job.output)
        else:
            images.format_of(job.output)


def still_to_do(jobs: list[Job], options: Options) -> list[Job]:
    """The jobs whose result is not there yet, where --skip-existing asks for it."""
    left = [job for job in jobs if not (options.choices.skip_existing and job.output.is_file())]
    if len(left) < len(jobs):
        print(f"note: {len(jobs) - len(left)} results are there and stay", file=sys.stderr)
    return left


def run_jobs(jobs: list[Job], options: Options, service: "Asker | None" = None) -> None:
    """One photo with its story, or many with a summary. Raises typer.Exit where --strict asks."""
    if not jobs:
        return
    if options.several:
        records = run_all(jobs, options, service)
    else:
        records = [run_job(jobs[0], options, service)]
        outcome.tell(records[0], as_json=options.choices.as_json, verbose=options.choices.verbose)
    if any("error" in record for record in records):
        raise typer.Exit(1)
    if options.choices.strict and any(record["prior"] != "used" for record in records):
        raise typer.Exit(NOT_USED)


def make_folders(jobs: Sequence[Job]) -> list[Path]:
    """Make the folders that several results go to; those that were not there."""
    new = [f for f in dict.fromkeys(job.output.parent for job in jobs) if not f.is_dir()]
    for folder in new:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{folder}: want to make this folder: {exc.strerror}") from exc
    return new


def run_all(jobs: list[Job], options: Options, service: "Asker | None") -> list[dict[str, Any]]:
    """Every job, with a progress bar; one bad file never stops the rest."""
    from rich.console import Console
    from rich.progress import track

    from verax.report.sheet import write_index

    new = make_folders(jobs)
    console = Console(stderr=True)
    records: list[dict[str, Any]] = []
    for job in track(jobs, "restoring", console=console, disable=not console.is_terminal):
        try:
            record = run_job(job, options, service)
        except Exception as exc:  # noqa: BLE001  # one bad file never stops the rest
            why = str(exc) if isinstance(exc, VeraxError) else f"{job.photo}: {exc!r}"
            record = {"photo": str(job.photo), "output": None, "error": why}
        records.append(record)
        outcome.tell_one_of_many(
            record, as_json=options.choices.as_json, verbose=options.choices.verbose
        )
    for folder in new:
        if not any(folder.iterdir()):
            folder.rmdir()
    reports = [job.report for job in jobs if job.report is not None]
    if reports and any(report.is_dir() for report in reports):
        write_index(pairing.common_folder(reports), list(zip(reports, records, strict=True)))
    outcome.tell_all(records, str(pairing.common_folder(job.output for job in jobs)))
    return records


def run_job(job: Job, options: Options, service: "Asker | None" = None) -> dict[str, Any]:
    """Restore one photo, write its files, return its JSON object."""
    from verax import making
    from verax.cli.asked import opened_answer

    choices = options.choices
    asked = service.prior(job.photo) if service is not None and job.prior is None else None
    order = making.Order(
        photo=job.photo,
        prior=job.prior,
        output=job.output,
        restorer=choices.restorer or "auto",
        fidelity=choices.fidelity,
        task=options.task,
        accept_prior=choices.accept_prior,
        system=asked.asking.request.model if asked is not None else "",
        drop_gps=choices.drop_gps,
        salvage=choices.salvage,
        only=choices.only,
        mask=choices.mask,
        scale=choices.scale,
        exposure=choices.exposure,
    )
    prior = None if asked is None else opened_answer(asked)
    photo = None if service is None or choices.salvage else service.photo(job.photo)
    made = making.make(
        order, photo=photo, prior=prior,
        registration=job.registration, credentials=options.credentials,
    )  # fmt: skip
    record = {
        "photo": str(job.photo), "output": str(job.output), "restorer": order.restorer,
        **made.record(),
    }  # fmt: skip
    if service is not None and asked is not None:
        record["model"] = asked.asking.request.model
        record["fingerprint"] = service.planned[job.photo].fingerprint
        record["notes"] += asked.notices
    if made.statement is not None:
        record["notes"].append(f"what it was is written in {made.statement}")
    if job.report is not None:
        write_report(job.report, made, record)
    return record


def write_report(folder: Path, made: "Made", record: dict[str, Any]) -> None:
    """The sheet and the trust map as PNG, the record as JSON."""
    from verax import image as images
    from verax.report.faces import faces_sheet
    from verax.report.sheet import restoration_sheet, trust_picture

    folder.mkdir(parents=True, exist_ok=True)
    prior = None if made.prior is None else made.prior.photo.pixels
    images.write(folder / "sheet.png", restoration_sheet(made.restoration, prior))
    if prior is not None:
        images.write(folder / "trust.png", trust_picture(made.restoration.trust))
        record["trust_map"] = str(folder / "trust.png")
    strip = faces_sheet(made.restoration)
    if strip is not None:
        images.write(folder / "faces.png", strip)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8", errors="backslashreplace")
