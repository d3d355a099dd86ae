"""verax edit, verax generate: ask a generator, keep every candidate, best first."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from verax.cli.candidates import Candidate, arrived, tell, write_all
from verax.cli.paid import (
    BaseUrl,
    Counter,
    DryRun,
    Gateway,
    LocalOnly,
    MaxCost,
    Model,
    RetryUncertain,
    Run,
    Terms,
    counter_of,
)

if TYPE_CHECKING:
    from verax.image import Image, Photo
    from verax.priors.generated import Asking, Wishes
    from verax.priors.session import Session
    from verax.providers.requests import GenerateRequest

R = TypeVar("R", bound="GenerateRequest")
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Result file.")]
Quality = Annotated[str | None, typer.Option(help="low, medium, high ...; see: verax models.")]
Complexity = Annotated[str | None, typer.Option(help="Planning effort: low, medium or high.")]
Background = Annotated[str | None, typer.Option(help="transparent, opaque or auto.")]
Moderation = Annotated[str | None, typer.Option(help="auto, or low for less strict filtering.")]
Format = Annotated[str | None, typer.Option("--format", help="png, jpeg or webp.")]
Compression = Annotated[int | None, typer.Option(help="0..100 for jpeg and webp.")]
Pictures = Annotated[int, typer.Option("--n", help="Pictures per call.", min=1, max=10)]
BestOf = Annotated[int, typer.Option("--best-of", help="Ask this often and rank.", min=1, max=50)]
Again = Annotated[int, typer.Option("--again", help="The same once more: 1, 2, 3 ...", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True, slots=True)
class Guides:
    """Files that travel with an edit beside the photo."""

    mask: Path | None
    markup: Path | None
    references: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Turning:
    """How an edit goes on from earlier ones."""

    session: Path | None
    from_last: bool
    reject_last: bool


@dataclass(frozen=True, slots=True)
class Result:
    """Where candidates go, and in which form."""

    target: Path
    best_of: int
    as_generated: bool
    as_json: bool


def edit(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    instruction: Annotated[str, typer.Argument(help="What to change.")],
    output: Output = None,
    model: Model = None,
    quality: Quality = None,
    complexity: Complexity = None,
    background: Background = None,
    moderation: Moderation = None,
    output_format: Format = None,
    compression: Compression = None,
    input_fidelity: Annotated[
        str | None, typer.Option(help="high or low, for the models that still take it.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Where to edit: transparent places, or white ones.")
    ] = None,
    markup: Annotated[
        Path | None, typer.Option(help="PNG with arrows or circles on a transparent ground.")
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(help="A further picture to send along; repeatable.")
    ] = None,
    n: Pictures = 1,
    best_of: BestOf = 1,
    again: Again = 0,
    session: Annotated[
        Path | None, typer.Option(help="File of the turns; default: beside the result.")
    ] = None,
    from_last: Annotated[
        bool, typer.Option("--from-last", help="Ask of the last output, not of the original.")
    ] = False,
    reject_last: Annotated[
        bool, typer.Option("--reject-last", help="First take the last accepted turn back.")
    ] = False,
    as_generated: Annotated[
        bool, typer.Option("--as-generated", help="Write the files exactly as they came.")
    ] = False,
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    run: Run = None,
    dry_run: DryRun = False,
    retry_uncertain: RetryUncertain = False,
    as_json: AsJson = False,
) -> None:
    """Edit a photo in words. Further turns build on the original and the accepted turns."""
    from verax.priors.generated import Wishes

    wishes = Wishes(
        model=model or "",
        prompt=instruction,
        quality=quality,
        complexity=complexity,
        background=background,
        moderation=moderation,
        output_format=output_format,
        output_compression=compression,
        input_fidelity=input_fidelity,
        n=n,
        repeat_index=again,
    )
    target = output or photo.with_name(f"{photo.stem}_edited.png")
    run_edit(
        photo,
        wishes,
        Guides(mask, markup, tuple(reference or ())),
        Turning(session, from_last, reject_last),
        Result(target, best_of, as_generated, as_json),
        Terms(gateway, base_url, local_only, max_cost, run, dry_run, retry_uncertain),
    )


def run_edit(
    photo: Path, wishes: "Wishes", guides: Guides, turning: Turning, result: Result, terms: Terms
) -> None:
    """One turn: plan, ask, rank, write, note the turn."""
    from verax import image as images
    from verax import making
    from verax.priors import session as turns
    from verax.priors.ranking import edit_judges

    images.check_target(result.target)
    opened = making.opened(photo)
    original = opened.photo
    file = turning.session or result.target.with_name(f"{result.target.stem}.session.json")
    state = turns.load(file, photo=photo, sha256=original.sha256)
    state = turns.last_rejected(state) if turning.reject_last else state
    state = turns.reopened(state, wishes.prompt)
    source, prompt = turn_source(state, original, wishes.prompt, from_last=turning.from_last)
    with counter_of(terms) as counter:
        credentials = making.credentials_of(counter.desk.settings)
        asking = plan_edit(counter, source, replace(wishes, prompt=prompt), guides)
        found = ask_edits(counter, source, asking, result.best_of)
    if not found:
        return
    as_came = result.as_generated or wishes.background == "transparent"  # alpha is kept as it came
    model = asking.request.model
    origin = making.Origin(opened, system=model, credentials=credentials)
    state = turns.set_aside(state, result.target)
    turns.save(file, state)
    files, best = write_all(
        result.target, found, edit_judges(source.pixels), origin=None if as_came else origin
    )
    turn = turns.Turn(
        instruction=wishes.prompt,
        source="last" if turning.from_last else "original",
        prompt=prompt,
        model=model,
        fingerprint=best[0].fingerprint,
        output=str(files[0].resolve()),
    )
    turns.save(file, turns.added(state, turn))
    tell(files, best, as_json=result.as_json)


def turn_source(
    state: "Session", original: "Photo", instruction: str, *, from_last: bool
) -> "tuple[Photo, str]":
    """What is asked of, and in which words."""
    from verax import image as images
    from verax.priors import session as turns

    if not from_last:
        return original, turns.prompt(state, instruction)
    return images.read(turns.last_output(state)), instruction


def plan_edit(counter: Counter, source: "Photo", wishes: "Wishes", guides: Guides) -> "Asking":
    """The request of an edit, with its guides read from their files."""
    from verax import image as images
    from verax.priors import generated

    model = wishes.model or counter.desk.settings.model or generated.DEFAULT_MODEL
    return generated.plan(
        source,
        counter.desk.client,
        replace(wishes, model=model),
        mask=None if guides.mask is None else generated.mask_plane(images.read(guides.mask)),
        markup=None if guides.markup is None else images.read(guides.markup),
        references=tuple(images.read(path) for path in guides.references),
    )


def ask_edits(counter: Counter, source: "Photo", asking: "Asking", count: int) -> list[Candidate]:
    """Every candidate of `count` calls; none on a dry run."""
    from verax.priors.generated import on_grid, receive

    every = repeats(asking.request, count)
    if not counter.announce(every, asking.notices):
        return []
    found = []
    for request, answer in arrived(every, counter.desk.call_all(every)):
        again = replace(asking, request=request)
        for index, image in enumerate(answer.images):
            prior = on_grid(receive(again, answer, index=index), source)
            found.append(Candidate(image, prior.pixels, prior.notices, request.fingerprint()))
    return found


def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Output = None,
    model: Model = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT, or auto.")] = "",
    aspect: Annotated[str, typer.Option(help="WIDTH:HEIGHT such as 16:9.")] = "",
    quality: Quality = None,
    complexity: Complexity = None,
    background: Background = None,
    moderation: Moderation = None,
    output_format: Format = None,
    compression: Compression = None,
    n: Pictures = 1,
    best_of: BestOf = 1,
    again: Again = 0,
    agree_with: Annotated[
        Path | None, typer.Option(help="Rank by agreement with this picture as well.")
    ] = None,
    gateway: Gateway = None,
    base_url: BaseUrl = None,
    local_only: LocalOnly = False,
    max_cost: MaxCost = None,
    run: Run = None,
    dry_run: DryRun = False,
    retry_uncertain: RetryUncertain = False,
    as_json: AsJson = False,
) -> None:
    """Make a picture from words, at any legal size or aspect ratio."""
    from verax import image as images
    from verax.providers.requests import GenerateRequest

    wished = GenerateRequest(
        model=model or "",
        prompt=prompt,
        quality=quality,
        complexity=complexity,
        background=background,
        moderation=moderation,
        output_format=output_format,
        output_compression=compression,
        n=n,
        repeat_index=again,
    )
    like = images.read(agree_with).pixels if agree_with is not None else None
    target = output or Path(f"generated.{output_format or 'png'}")
    run_generate(
        wished,
        (size, aspect),
        like,
        Result(target, best_of, as_generated=True, as_json=as_json),
        Terms(gateway, base_url, local_only, max_cost, run, dry_run, retry_uncertain),
    )


def run_generate(
    wished: "GenerateRequest",
    shape: tuple[str, str],
    like: "Image | None",
    result: Result,
    terms: Terms,
) -> None:
    """Plan, ask, rank, write."""
    from verax import image as images
    from verax.priors.ranking import text_judges

    images.check_target(result.target)
    with counter_of(terms) as counter:
        request, notices = plan_generation(counter, wished, shape)
        every = repeats(request, result.best_of)
        if not counter.announce(every, notices):
            return
        found = [
            Candidate(image, image.decoded().pixels, answer.notices, one.fingerprint())
            for one, answer in arrived(every, counter.desk.call_all(every))
            for image in answer.images
        ]
    files, best = write_all(result.target, found, text_judges(like), origin=None)
    tell(files, best, as_json=result.as_json)


def plan_generation(
    counter: Counter, wished: "GenerateRequest", shape: tuple[str, str]
) -> "tuple[GenerateRequest, tuple[str, ...]]":
    """The request with model, legal size and the model's usual quality."""
    from verax.priors.generated import DEFAULT_MODEL
    from verax.providers.rules import text_size

    name = wished.model or counter.desk.settings.model or DEFAULT_MODEL
    model = counter.desk.client.model(name)
    size, aspect = shape
    request = replace(wished, model=name, size=text_size(model.sizes, size=size, aspect=aspect))
    if request.quality is None and model.default_quality:
        usual = frozenset({"quality"})
        request = replace(request, quality=model.default_quality, optional=usual)
    return counter.desk.client.prepare(request)


def repeats(request: R, count: int) -> list[R]:
    """The request `count` times, each wanted anew."""
    first = request.repeat_index
    return [replace(request, repeat_index=first + index) for index in range(count)]
