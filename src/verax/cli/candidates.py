"""The candidates of `verax edit` and `verax generate`: collected, ranked, written, listed."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from verax.errors import VeraxError

if TYPE_CHECKING:
    from verax.image import Image
    from verax.making import Origin
    from verax.priors import Judge
    from verax.providers import GeneratedImage, GenerateRequest, ImagesAnswer

R = TypeVar("R", bound="GenerateRequest")
MEANINGS = {  # of the scores; the best candidate has the best mean place in all of them
    "quality": "naturalness, minus the NIQE of the picture; higher is better, -3 to -5 is usual",
    "fidelity": "share of the picture's edges that the photo has too, 0 to 1; higher is better",
    "agreement": "MS-SSIM to the picture of --agree-with, up to 1; higher is better",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One returned picture: the file as it came, the pixels on the photo's grid, its scores."""

    image: "GeneratedImage"
    pixels: "Image"
    notices: tuple[str, ...]
    fingerprint: str
    scores: Mapping[str, float | None] = field(default_factory=dict)


def answers_of(
    requests: Sequence[R], answers: "Sequence[ImagesAnswer | VeraxError]"
) -> "Iterator[tuple[R, ImagesAnswer]]":
    """The calls that were answered. Prints the errors of the others; raises one if all failed."""
    failed = [answer for answer in answers if isinstance(answer, VeraxError)]
    if len(failed) == len(answers):
        raise failed[0]
    for error in failed:
        print(f"failed: {error}", file=sys.stderr)
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, VeraxError):
            yield request, answer


def write_all(
    target: Path,
    candidates: Sequence[Candidate],
    judges: "Mapping[str, Judge]",
    *,
    origin: "Origin | None",
) -> tuple[list[Path], list[Candidate]]:
    """Write every candidate, best first: the best to `target`, the others beside it, numbered.

    With `origin` the pixels are written as that photo came and sealed, else the files exactly as
    they came, with the suffix of their real format.
    """
    from verax.priors import rank

    ranking = rank([c.pixels for c in candidates], judges if len(candidates) > 1 else {})
    best = [replace(candidates[i], scores=_plain(ranking.scores[i])) for i in ranking.order]
    files = []
    for number, candidate in enumerate(best, 1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        if origin is None:
            files.append(write_as_it_came(path, candidate.image))
        else:
            files.append(path)
            lost = write_like(path, candidate, origin)
            best[number - 1] = replace(candidate, notices=(*candidate.notices, *lost))
    return files, best


def write_as_it_came(path: Path, picture: "GeneratedImage") -> Path:
    """Write the file's own bytes; its path, with the suffix of its real format."""
    from verax import image as images

    suffix = picture.media_type.removeprefix("image/")
    path = path if images.format_of(path) == suffix else path.with_suffix(f".{suffix}")
    images.replace_file(path, picture.data)
    return path


def write_like(path: Path, candidate: Candidate, origin: "Origin") -> tuple[str, ...]:
    """Write the pixels as the photo came, marked and signed; what is lost, in words."""
    from verax import making
    from verax.provenance import SourceFile

    prior = SourceFile(candidate.image.data, "the generated picture")
    lost, statement = making.write(path, candidate.pixels, replace(origin, prior=prior))
    return (*lost, f"what it was is written in {statement}") if statement else lost


def tell(files: Sequence[Path], best: Sequence[Candidate], *, as_json: bool) -> None:
    """The files, best first, for programs or for people."""
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
    """Rounded, and None for what is not a number, so that JSON can hold it."""
    return {name: round(v, 4) if v == v else None for name, v in scores.items()}
