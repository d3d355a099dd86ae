"""verax edit, verax generate: ask a generator, keep every candidate, best first."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from verax.cli.candidates import Candidate, answers_of, tell, write_all
from verax.cli.paid import Counter, Model, Terms, counter_of, grouped

if TYPE_CHECKING:
    from verax.image import Photo
    from verax.priors import Session
    from verax.priors.generated import Asking, Wishes
    from verax.providers import GenerateRequest

R = TypeVar("R", bound="GenerateRequest")
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Result file.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What kind of picture is asked for, and how often."""

    model: Model = None
    quality: Annotated[
        str | None, typer.Option(help="low, medium, high ...; see: verax models.")
    ] = None
    complexity: Annotated[
        str | None, typer.Option(help="Planning effort: low, medium or high.")
    ] = None
    background: Annotated[str | None, typer.Option(help="transparent, opaque or auto.")] = None
    moderation: Annotated[
        str | None, typer.Option(help="auto, or low for less strict filtering.")
    ] = None
    output_format: Annotated[str | None, typer.Option("--format", help="png, jpeg or webp.")] = None
    output_compression: Annotated[
        int | None, typer.Option("--compression", help="0..100 for jpeg and webp.")
    ] = None
    n: Annotated[int, typer.Option("--n", help="Pictures per call.", min=1, max=10)] = 1
    repeat_index: Annotated[
        int, typer.Option("--again", help="The same once more: 1, 2, 3 ...", min=0)
    ] = 0

    def fields(self) -> dict[str, Any]:
        """As a request and the wishes for one name them."""
        return asdict(self) | {"model": self.model or ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How often is asked and in which form the answer is told."""

    best_of: Annotated[
        int, typer.Option("--best-of", help="Ask this often and rank.", min=1, max=50)
    ] = 1
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guides:
    """Files that travel with an edit beside the photo."""

    mask: Annotated[
        Path | None, typer.Option(help="Where to edit: transparent places, or white ones.")
    ] = None
    markup: Annotated[
        Path | None, typer.Option(help="PNG with arrows or circles on a transparent ground.")
    ] = None
    reference: Annotated[
        list[Path] | None, typer.Option(help="A further picture to send along; repeatable.")
    ] = None
    input_fidelity: Annotated[
        str | None, typer.Option(help="high or low, for the models that still take it.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turning:
    """How an edit goes on from earlier ones, and what is written."""

    session: Annotated[
        Path | None, typer.Option(help="File of the turns; default: beside the result.")
    ] = None
    from_last: Annotated[
        bool, typer.Option("--from-last", help="Ask of the last output, not of the original.")
    ] = False
    reject_last: Annotated[
        bool, typer.Option("--reject-last", help="First take the last accepted turn back.")
    ] = False
    as_generated: Annotated[
        bool, typer.Option("--as-generated", help="Write the files exactly as they came.")
    ] = False


@grouped
def edit(
    *,
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    instruction: Annotated[str, typer.Argument(help="What to change.")],
    output: Output = None,
    picture: Picture,
    guides: Guides,
    turning: Turning,
    choosing: Choosing,
    terms: Terms,
) -> None:
    """Edit a photo in words. Further turns build on the original and the accepted turns."""
    from verax import image as images
    from verax import making
    from verax.priors import Turn, edit_judges, load_session
    from verax.priors.generated import Wishes

    target = output or photo.with_name(f"{photo.stem}_edited.png")
    images.check_target(target)
    original = making.opened(photo)
    file = turning.session or target.with_name(f"{target.stem}.session.json")
    session = load_session(file, photo=photo, sha256=original.photo.sha256)
    session = session.reject_last() if turning.reject_last else session
    session = session.reopen(instruction)
    source, prompt = turn_source(session, original.photo, instruction, from_last=turning.from_last)
    wishes = Wishes(**picture.fields(), prompt=prompt, input_fidelity=guides.input_fidelity)
    with counter_of(terms) as counter:
        credentials = making.credentials_of(counter.desk.settings)
        asking = plan_edit(counter, source, wishes, guides)
        candidates = ask_edits(counter, source, asking, choosing.best_of)
    if not candidates:
        return
    as_came = turning.as_generated or picture.background == "transparent"  # alpha as it came
    origin = making.Origin(original, system=asking.request.model, credentials=credentials)
    session = session.set_aside(target)
    session.save(file)
    files, best = write_all(
        target, candidates, edit_judges(source.pixels), origin=None if as_came else origin
    )
    turn = Turn(
        instruction=instruction,
        source="last" if turning.from_last else "original",
        prompt=prompt,
        model=asking.request.model,
        fingerprint=best[0].fingerprint,
        output=str(files[0].resolve()),
    )
    session.add(turn).save(file)
    tell(files, best, as_json=choosing.as_json)


def turn_source(
    session: "Session", original: "Photo", instruction: str, *, from_last: bool
) -> "tuple[Photo, str]":
    """The picture to send, and the prompt."""
    from verax import image as images

    if not from_last:
        return original, session.prompt(instruction)
    return images.read(session.last_output()), instruction


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
        references=tuple(images.read(path) for path in guides.reference or ()),
    )


def ask_edits(counter: Counter, source: "Photo", asking: "Asking", count: int) -> list[Candidate]:
    """Every candidate of `count` calls; none on a dry run."""
    from verax.priors.generated import on_grid, receive

    every = repeats(asking.request, count)
    if not counter.announce(every, asking.notices):
        return []
    candidates = []
    for request, answer in answers_of(every, counter.desk.call_all(every)):
        again = replace(asking, request=request)
        for index, image in enumerate(answer.images):
            prior = on_grid(receive(again, answer, index=index), source)
            candidates.append(Candidate(image, prior.pixels, prior.notices, request.fingerprint()))
    return candidates


@grouped
def generate(
    *,
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Output = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT, or auto.")] = "",
    aspect: Annotated[str, typer.Option(help="WIDTH:HEIGHT such as 16:9.")] = "",
    agree_with: Annotated[
        Path | None, typer.Option(help="Rank by agreement with this picture as well.")
    ] = None,
    picture: Picture,
    choosing: Choosing,
    terms: Terms,
) -> None:
    """Make a picture from words, at any legal size or aspect ratio."""
    from verax import image as images
    from verax.priors import text_judges
    from verax.providers import GenerateRequest

    like = images.read(agree_with).pixels if agree_with is not None else None
    target = output or Path(f"generated.{picture.output_format or 'png'}")
    images.check_target(target)
    with counter_of(terms) as counter:
        wished = GenerateRequest(**picture.fields(), prompt=prompt)
        request, notices = plan_generation(counter, wished, (size, aspect))
        every = repeats(request, choosing.best_of)
        if not counter.announce(every, notices):
            return
        candidates = [
            Candidate(image, image.decoded().pixels, answer.notices, one.fingerprint())
            for one, answer in answers_of(every, counter.desk.call_all(every))
            for image in answer.images
        ]
    if output is None and target.exists():
        print(
            f"note: {target} was there and is replaced; -o names another, and "
            "`verax journal` has the pictures that were paid",
            file=sys.stderr,
        )
    files, best = write_all(target, candidates, text_judges(like), origin=None)
    tell(files, best, as_json=choosing.as_json)


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
