"""Restores the photos of one `verax restore`, one after the other, and prints the results.

For one photo a sentence is printed, for many a summary; -v adds figures.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import typer

from verax.cli import pairing
from verax.errors import VeraxError, quantity

if TYPE_CHECKING:
    from verax.cli.pairing import Job
    from verax.cli.prior_calls import PriorCalls
    from verax.making import Order
    from verax.provenance import Credentials

NOT_USED = 3  # exit status of --strict
VISIBLE = 0.005  # smaller shares of a picture are not mentioned
SURE = 0.5  # least certainty of a fault, or of something in front of the scene, to be mentioned
STRUCTURE = ("rain", "noise", "jpeg")  # faults that the base corrects, also with a prior
GIVEN = {
    "light": "light",
    "contrast": "confirmed",
}  # what a prior gave, in words -> its class in the trust map
# a fault, an explanation or a task -> what was removed, or what was done, in words
REMOVED = {
    "haze": "haze", "dehaze": "haze", "a colour cast": "the colour cast", "rain": "rain",
    "derain": "rain", "desnow": "snow", "noise": "noise", "denoise": "noise",
    "jpeg": "compression blocks", "underwater": "the colour of the water", "raindrop": "drops",
    "flare": "flares", "shadow": "shadows", "reflection": "reflections",
    "old_photo": "scratches and stains", "front": "what lay in front of the scene",
}  # fmt: skip
DONE = {
    "darkness": "brightened", "lowlight": "brightened", "missing colour": "colour added",
    "colorize": "colour added", "blur": "sharpened", "motion_deblur": "sharpened",
    "defocus_deblur": "sharpened", "super_resolution": "sharpened",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one command, checked. They hold for all its photos.

    Attributes:
        order: what to do with every photo; the files are filled in for each photo.
        credentials: they sign the results; None: the results stay unsigned.
        several: the command names a folder, a pattern or several photos.
    """

    order: "Order"
    credentials: "Credentials | None" = field(default=None, repr=False)
    several: bool = False
    strict: bool = False
    as_json: bool = False
    verbose: bool = False


def run_jobs(jobs: "list[Job]", options: "Options", service: "PriorCalls | None" = None) -> None:
    """Restore one photo and print a sentence on it, or several and print a summary.

    `service` has the requested priors, if any. An error with a single photo is raised. Otherwise
    typer.Exit: status 1 if a photo failed, 3 if --strict is set and one was restored without prior.
    """
    if not jobs:
        return
    if options.several:
        records = run_all(jobs, options, service)
    else:
        records = [run_job(jobs[0], options, service)]
        tell(records[0], as_json=options.as_json, verbose=options.verbose)
    if any("error" in record for record in records):
        raise typer.Exit(1)
    without = sum(record["prior"] != "used" for record in records)
    if options.strict and without:
        photos = quantity(len(records), "photo")
        print(f"--strict: no prior was used for {without} of {photos}", file=sys.stderr)
        raise typer.Exit(NOT_USED)


def run_all(
    jobs: "list[Job]", options: "Options", service: "PriorCalls | None"
) -> list[dict[str, Any]]:
    """Restore every photo and print a summary. Returns a JSON record for each photo.

    An error with one photo does not stop the others; its record has the message as "error".
    """
    from rich.console import Console
    from rich.progress import track

    from verax.report.sheet import write_index

    new = pairing.make_folders(jobs)
    console = Console(stderr=True)
    records: list[dict[str, Any]] = []
    for job in track(jobs, "restoring", console=console, disable=not console.is_terminal):
        try:
            record = run_job(job, options, service)
        except Exception as exc:  # noqa: BLE001  # one bad file never stops the rest
            why = str(exc) if isinstance(exc, VeraxError) else f"{job.photo}: {exc!r}"
            record = {"photo": str(job.photo), "output": None, "error": why}
        records.append(record)
        tell_one_of_many(record, as_json=options.as_json, verbose=options.verbose)
    for folder in new:
        if not any(folder.iterdir()):
            folder.rmdir()
    reports = [job.report for job in jobs if job.report is not None]
    if reports and any(report.is_dir() for report in reports):
        write_index(pairing.common_folder(reports), list(zip(reports, records, strict=True)))
    tell_all(records, str(pairing.common_folder(job.output for job in jobs)))
    return records


def run_job(job: "Job", options: "Options", service: "PriorCalls | None" = None) -> dict[str, Any]:
    """Restore a photo with the prior of `job` or `service`; write its files. Returns its record."""
    from verax import making
    from verax.cli.prior_calls import opened_answer
    from verax.report.sheet import write_report

    answer = service.prior(job.photo) if service is not None and job.prior is None else None
    system = answer.draft.request.model if answer is not None else ""
    order = replace(
        options.order, photo=job.photo, prior=job.prior, output=job.output, system=system
    )
    prior = None if answer is None else opened_answer(answer)
    photo = None if service is None or order.salvage else service.photo(job.photo)
    result = making.make(
        order, photo=photo, prior=prior,
        registration=job.registration, credentials=options.credentials,
    )  # fmt: skip
    record = {
        "photo": str(job.photo), "output": str(job.output), "restorer": order.restorer,
        **result.record(),
    }  # fmt: skip
    if service is not None and answer is not None:
        record["model"] = answer.draft.request.model
        record["fingerprint"] = service.planned[job.photo].fingerprint
        record["notes"] += answer.notices
    if result.statement is not None:
        record["notes"].append(f"how it was made is stated in {result.statement}")
    if job.report is not None:
        write_report(job.report, result, record)
    return record


def tell(record: dict[str, Any], *, as_json: bool, verbose: bool) -> None:
    """Print the record of one photo, as JSON or as sentences."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    print(record["output"])
    print(sentence(record))
    if verbose:
        for line in figures(record):
            print(line)
    for note in record["notes"]:
        print(f"note: {note}")


def sentence(record: dict[str, Any]) -> str:
    """A sentence that says what was done to a photo, given its JSON record."""
    if record["prior"] == "none":
        return _alone(record)
    if record["prior"] == "unused":
        registration = record["registration"]
        known = " If you know that the prior shows the photo's scene, add --accept-prior."
        return (
            f"The prior was left out: {registration['reason']}. The photo is restored without it."
            f"{known if registration['placed'] == 'undecided' else ''}"
        )
    shares, explanation = record["trust"], record["explanation"]
    done = "" if explanation is None else _done(record)
    if not done or shares["photo"] > 1 - VISIBLE:
        return (
            "The prior shows this scene, but no fault of the photo explains what it changed: "
            "hardly anything was taken from it."
        )
    parts = [word for word, kind in GIVEN.items() if shares[kind] >= VISIBLE]
    gift = f" with the {' and '.join(parts)} of the prior" if parts else ""
    some = f"{shares['generated']:.0%}".replace("%", " %")
    share = some if shares["generated"] >= VISIBLE else "less than 1 %"
    where = f", marked in {record['trust_map']}" if record.get("trust_map") else ""
    return f"{done}{gift}; {share} of the detail is the generator's{where}."


def _alone(record: dict[str, Any]) -> str:
    """A sentence on what was done to a photo without a prior, given its JSON record."""
    clean = "nothing in it comes from an image generator"
    restorer = record.get("restorer", "auto")
    if restorer not in ("auto", "network"):
        return f"Restored by {restorer}, without a prior; {clean}."
    kinds = _corrected_faults(record)
    done = _in_words(*([words[k] for k in kinds if k in words] for words in (REMOVED, DONE)))
    if not done:
        return f"No fault found that the embedded networks correct; {clean}."
    if record["unchanged"]:
        why = "what the networks made of it failed the check for noise and changed structure"
        return f"Left unchanged: {why}; {clean}."
    return f"{done} by the embedded networks; {clean}."


def _done(record: dict[str, Any]) -> str:
    """What a prior corrected, by a JSON record, such as "Haze removed, sharpened"; "": nothing."""
    explanation = record["explanation"]
    task, believed = explanation["task"], explanation["believed"].split(", ")
    hazy = "haze" in _corrected_faults(record)
    if "darkness" in believed and not hazy:  # brightening also raises contrast, as for haze
        believed = [cause for cause in believed if cause != "haze"]
    causes = [*believed, *([task] if task else []), *_corrected_faults(record, STRUCTURE)]
    if explanation["front"] >= SURE and record["trust"]["generated"] >= VISIBLE and not task:
        causes.append("front")
    if (record.get("coloured") or 0) >= VISIBLE:
        causes.append("colorize")
    removed = [REMOVED[cause] for cause in causes if cause in REMOVED]
    return _in_words(removed, [DONE[cause] for cause in causes if cause in DONE])


def _corrected_faults(record: dict[str, Any], kinds: Sequence[str] = ()) -> list[str]:
    """The faults in a photo's JSON record, such as "haze", that have a certainty of 0.5 or more;
    with `kinds`, only those of them that are in it."""
    by_kind = record["faults"]["kinds"]
    return [
        k for k, one in by_kind.items() if one["certainty"] >= SURE and (not kinds or k in kinds)
    ]


def _in_words(removed: Sequence[str], done: Sequence[str]) -> str:
    """From ["haze", "noise"] and ["sharpened"]: "Haze and noise removed, sharpened"; [], []: ""."""
    things = list(dict.fromkeys(removed))
    parts = [", ".join(things[:-1]) + (" and " if things[1:] else "") + things[-1] + " removed"] \
        if things else []  # fmt: skip
    text = ", ".join([*parts, *dict.fromkeys(done)])
    return text[:1].upper() + text[1:]


def figures(record: dict[str, Any]) -> list[str]:
    """The lines that -v prints after the sentence: size, time, registration, trust map, faces."""
    lines = [f"{record['width']}x{record['height']}, {record['seconds']:.1f} s"]
    registration, shares = record["registration"], record["trust"]
    if registration is not None:
        lines.append(f"registration: {registration['reason']}")
        lines.append(
            f"p = {registration['p_value']:.3g} (chance that another scene fits as well), covers "
            f"{registration['coverage']:.0%} of the photo, canvas change: {registration['canvas']}"
        )
        lines.append(
            f"from the photo {shares['photo']:.0%}, confirmed by both {shares['confirmed']:.0%}, "
            f"light of the prior {shares['light']:.0%}, generated {shares['generated']:.0%}"
        )
    if record.get("filled"):
        lines.append(f"holes filled from the prior: {record['filled']:.2%} of the picture")
    if record["prior"] == "used":
        lines += [_face(face) for face in record.get("faces", [])] or ["no face found"]
    return lines


def _face(face: dict[str, Any]) -> str:
    """A line on a face: its box in px, whether it is still the same, and its generated share."""
    left, top, right, bottom = (round(value) for value in face["box"])
    verdict = face["restoration"]["verdict"]
    still = verdict if verdict == "cannot be told" else f"{verdict} face as in the photo"
    still = "may be another face than in the photo" if verdict == "another" else still
    return f"face {left},{top} to {right},{bottom}: {still}, {face['generated']:.0%} generated"


def tell_one_of_many(record: dict[str, Any], *, as_json: bool, verbose: bool) -> None:
    """Print the record of one of several photos as JSON or, with `verbose`, its path and figures.

    A prior that was not used is reported on stderr in any case.
    """
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    if "error" in record:
        return
    if record["prior"] == "unused":
        reason = record["registration"]["reason"]
        print(f"prior not used: {record['photo']}: {reason}", file=sys.stderr)
    elif verbose and not as_json:
        print(record["output"])
        print("\n".join(figures(record)))


def tell_all(records: list[dict[str, Any]], folder: str) -> None:
    """Print how many photos were restored into `folder`, how priors were used, and all errors."""
    done = [record for record in records if "error" not in record]
    uses = [record["prior"] for record in done]
    print(
        f"{len(done)} of {len(records)} restored in {sum(r['seconds'] for r in done):.1f} s: "
        f"prior used {uses.count('used')}, not used {uses.count('unused')}, "
        f"none {uses.count('none')}{f'; written to {folder}' if done else ''}",
        file=sys.stderr,
    )
    for record in records:
        if "error" in record:
            print(f"failed: {record['error']}", file=sys.stderr)
