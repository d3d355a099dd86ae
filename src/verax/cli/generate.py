"""The commands `verax edit` and `generate`, which request pictures, rank and write them all."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verax.cli.paid import CallOptions, Guides, PaidCalls, Picture, Terms, group_options, paid_calls

if TYPE_CHECKING:
    from verax.image import Image, Photo
    from verax.making import Origin
    from verax.priors import Judge, Session
    from verax.priors.generated import Draft, PriorOptions
    from verax.providers import GeneratedImage, GenerateRequest

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Result file (the best).")]

MEANINGS = {  # meaning of each score; the best candidate has the best mean rank over all
    "quality": "naturalness, minus the NIQE of the picture; higher is better, -3 to -5 is usual",
    "fidelity": "share of the picture's edges that the photo has too, 0 to 1; higher is better",
    "agreement": "MS-SSIM to the picture of --agree-with, up to 1; higher is better",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOptions:
    """The options of `verax edit` for repeated edits (turns) of one photo."""

    session: Annotated[
        Path | None,
        typer.Option(help="File with the edits so far; default: beside the result."),
    ] = None
    from_last: Annotated[
        bool, typer.Option("--from-last", help="Edit the last result, not the original photo.")
    ] = False
    reject_last: Annotated[
        bool, typer.Option("--reject-last", help="First discard the last edit.")
    ] = False
    as_generated: Annotated[
        bool, typer.Option("--as-generated", help="Write the files as the service sent them.")
    ] = False


@group_options
def edit(
    *,
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    instruction: Annotated[str, typer.Argument(help="What to change.")],
    output: Output = None,
    picture: Picture,
    guides: Guides,
    turning: TurnOptions,
    choosing: CallOptions,
    terms: Terms,
) -> None:
    """Edit a photo by an instruction. A further edit also sends the earlier instructions."""
    from verax import image as images
    from verax import making
    from verax.priors import Turn, edit_judges, load_session
    from verax.priors.generated import PriorOptions

    target = output or photo.with_name(f"{photo.stem}_edited.png")
    images.check_target(target)
    original = making.open_picture(photo)
    file = turning.session or target.with_name(f"{target.stem}.session.json")
    session = load_session(file, photo=photo, sha256=original.photo.sha256)
    session = session.reject_last() if turning.reject_last else session
    session = session.reopen(instruction)
    source, prompt = turn_source(session, original.photo, instruction, from_last=turning.from_last)
    choices = PriorOptions(**picture.fields(), prompt=prompt, input_fidelity=guides.input_fidelity)
    with paid_calls(terms) as calls:
        credentials = making.credentials_of(calls.desk.settings)
        draft = plan_edit(calls, source, choices, guides)
        candidates = ask_edits(calls, source, draft, choosing.best_of)
    if not candidates:
        return
    unchanged = turning.as_generated or picture.background == "transparent"  # keeps its alpha
    origin = making.Origin(original, system=draft.request.model, credentials=credentials)
    session = session.set_aside(target)
    session.save(file)
    files, best = write_all(
        target, candidates, edit_judges(source.pixels), origin=None if unchanged else origin
    )
    turn = Turn(
        instruction=instruction,
        source="last" if turning.from_last else "original",
        prompt=prompt,
        model=draft.request.model,
        fingerprint=best[0].fingerprint,
        output=str(files[0].resolve()),
    )
    session.add(turn).save(file)
    tell(files, best, as_json=choosing.as_json)


def turn_source(
    session: "Session", original: "Photo", instruction: str, *, from_last: bool
) -> "tuple[Photo, str]":
    """(picture to send, prompt): the original photo with all instructions of the session, the new
    one last; or, with `from_last`, the last result with `instruction` alone."""
    from verax import image as images

    if not from_last:
        return original, session.prompt(instruction)
    return images.read(session.last_output()), instruction


def plan_edit(calls: PaidCalls, photo: "Photo", choices: "PriorOptions", guides: Guides) -> "Draft":
    """The unsent request to edit `photo`, by the options `choices` and the files in `guides`."""
    from verax import image as images
    from verax.priors import generated

    model = choices.model or calls.desk.settings.model or generated.DEFAULT_MODEL
    return generated.plan(
        photo,
        calls.desk.client,
        replace(choices, model=model),
        mask=None if guides.mask is None else generated.mask_plane(images.read(guides.mask)),
        markup=None if guides.markup is None else images.read(guides.markup),
        references=tuple(images.read(path) for path in guides.reference or ()),
    )


def ask_edits(calls: PaidCalls, source: "Photo", draft: "Draft", count: int) -> "list[Candidate]":
    """The pictures from `count` calls of a request, on the grid of `source`; [] on a dry run."""
    from verax.priors.generated import on_grid, receive

    candidates = []
    for request, answer in calls.ask(draft.request, count, draft.notices):
        again = replace(draft, request=request)
        for index, image in enumerate(answer.images):
            prior = on_grid(receive(again, answer, index=index), source)
            candidates.append(Candidate(image, prior.pixels, prior.notices, request.fingerprint()))
    return candidates


@group_options
def generate(
    *,
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Output = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in px, or auto.")] = "",
    aspect: Annotated[str, typer.Option(help="WIDTH:HEIGHT such as 16:9.")] = "",
    agree_with: Annotated[
        Path | None, typer.Option(help="Rank by similarity to this picture as well.")
    ] = None,
    picture: Picture,
    choosing: CallOptions,
    terms: Terms,
) -> None:
    """Generate a picture from text, in any size or aspect ratio that the model accepts."""
    from verax import image as images
    from verax.priors import text_judges
    from verax.providers import GenerateRequest

    like = images.read(agree_with).pixels if agree_with is not None else None
    target = output or Path(f"generated.{picture.output_format or 'png'}")
    images.check_target(target)
    with paid_calls(terms) as calls:
        basis = GenerateRequest(**picture.fields(), prompt=prompt)
        request, notices = plan_generation(calls, basis, (size, aspect))
        candidates = [
            Candidate(image, image.decode().pixels, answer.notices, one.fingerprint())
            for one, answer in calls.ask(request, choosing.best_of, notices)
            for image in answer.images
        ]
    if not candidates:
        return
    if output is None and target.exists():
        print(
            f"note: the existing file {target} is replaced; -o writes to another; paid pictures "
            "stay in `verax journal`",
            file=sys.stderr,
        )
    files, best = write_all(target, candidates, text_judges(like), origin=None)
    tell(files, best, as_json=choosing.as_json)


def plan_generation(
    calls: PaidCalls, basis: "GenerateRequest", shape: tuple[str, str]
) -> "tuple[GenerateRequest, tuple[str, ...]]":
    """(request, notices): `basis` with model, size and quality filled in, ready to be sent, and
    sentences for the user. `shape`: values of the options (--size, --aspect), "" if not set."""
    from verax.priors.generated import DEFAULT_MODEL
    from verax.providers.rules import text_size

    name = basis.model or calls.desk.settings.model or DEFAULT_MODEL
    model = calls.desk.client.model(name)
    size, aspect = shape
    request = replace(basis, model=name, size=text_size(model.sizes, size=size, aspect=aspect))
    if request.quality is None and model.default_quality:
        usual = frozenset({"quality"})
        request = replace(request, quality=model.default_quality, optional=usual)
    return calls.desk.client.prepare(request)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture that a service returned.

    `image` is the file as received, `pixels` are on the photo's grid if there is a photo;
    `fingerprint` is the key of its request in the journal, `notices` are sentences for the user.
    `scores` by name, higher is better: "quality" (negative NIQE), "fidelity" (share of its edges
    that the photo has), "agreement" (MS-SSIM with a given picture); None if not computable.
    """

    image: "GeneratedImage"
    pixels: "Image"
    notices: tuple[str, ...]
    fingerprint: str
    scores: Mapping[str, float | None] = field(default_factory=dict)


def write_all(
    target: Path,
    candidates: Sequence[Candidate],
    judges: "Mapping[str, Judge]",
    *,
    origin: "Origin | None",
) -> tuple[list[Path], list[Candidate]]:
    """Rank candidates; write the best to `target`, the others beside it as NAME-2, NAME-3 ...

    Returns (files, candidates), both best first. `judges` are functions that score a picture, by
    name of the score. With `origin`, files get that photo's metadata and, with a key, a signature;
    otherwise they are written as received, with the suffix of their format.
    """
    from verax.priors import rank

    ranking = rank([c.pixels for c in candidates], judges if len(candidates) > 1 else {})
    best = [replace(candidates[i], scores=_plain(ranking.scores[i])) for i in ranking.order]
    files = []
    for number, candidate in enumerate(best, 1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        if origin is None:
            files.append(write_as_received(path, candidate.image))
        else:
            files.append(path)
            lost = write_like(path, candidate, origin)
            best[number - 1] = replace(candidate, notices=(*candidate.notices, *lost))
    return files, best


def write_as_received(path: Path, picture: "GeneratedImage") -> Path:
    """Write the bytes of a picture unchanged; returns the path, with the suffix of their format."""
    from verax import image as images

    suffix = picture.media_type.removeprefix("image/")
    path = path if images.format_of(path) == suffix else path.with_suffix(f".{suffix}")
    images.replace_file(path, picture.data)
    return path


def write_like(path: Path, candidate: Candidate, origin: "Origin") -> tuple[str, ...]:
    """Write pixels with the metadata of the photo in `origin`, marked as generated.

    They are signed if `origin` has a key. Returns sentences for the user, such as on lost metadata.
    """
    from verax import making
    from verax.provenance import SourceFile

    prior = SourceFile(candidate.image.data, "the generated picture")
    lost, statement = making.write(path, candidate.pixels, replace(origin, prior=prior))
    return (*lost, f"how it was made is stated in {statement}") if statement else lost


def tell(files: Sequence[Path], best: Sequence[Candidate], *, as_json: bool) -> None:
    """Print each file with size, scores and notes of its picture in `best`, as text or as JSON."""
    rows = [
        {
            "file": str(path),
            "width": candidate.pixels.shape[1],
            "height": candidate.pixels.shape[0],
            "fingerprint": candidate.fingerprint,
            "scores": dict(candidate.scores),
            "notes": list(candidate.notices),
        }
        for path, candidate in zip(files, best, strict=True)
    ]
    if as_json:
        print(json.dumps({"candidates": rows}, ensure_ascii=False))
        return
    for row, candidate in zip(rows, best, strict=True):
        scores = "  ".join(f"{name} {value}" for name, value in candidate.scores.items())
        print(f"{row['file']}  {row['width']}x{row['height']}  {scores}".rstrip())
    named = {name for candidate in best for name in candidate.scores}
    for name in sorted(named & set(MEANINGS)):
        print(f"{name}: {MEANINGS[name]}", file=sys.stderr)
    for candidate in best:
        for note in candidate.notices:
            print(f"note: {note}", file=sys.stderr)


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    """The scores rounded to four decimals; NaN, which JSON does not have, becomes None."""
    return {name: round(v, 4) if v == v else None for name, v in scores.items()}
