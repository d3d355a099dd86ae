"""How much of a plan is left before it starts: items, time, disk, calls to a provider."""

from collections.abc import Sequence, Set
from functools import cache
from pathlib import Path

from verax.bench.methods import resolve
from verax.bench.work import Work
from verax.errors import InputError
from verax.image.header import header_of

# seconds of one core per megapixel, measured; a rough guide before a run
SIMULATING_S, SCORE_S, DEVIATION_S = 0.8, 0.15, 4.5


def in_words(
    works: Sequence[Work],
    done: Set[str] = frozenset(),
    *,
    metrics: int = 0,
    deviation: bool = False,
) -> str:
    """How much is left of a plan before it starts: items, time, disk, and what asks a provider.

    The time is of the outputs that are left, their scores by `metrics` metrics and deviations.
    """
    left = [work for work in works if work.key not in done]
    before = (
        f" ({len(works) - len(left)} of {len(works)} are done)" if len(left) < len(works) else ""
    )
    if not left:
        return f"all {len(works)} items are made; only missing scores are left"
    pixels = {photo: _megapixels(photo) for photo in {work.photo for work in left}}
    seconds = sum(
        pixels[work.photo] * (_seconds(work, deviation=deviation) + metrics * SCORE_S)
        for work in left
    )
    asked = len({work.asked for work in left} - {None})
    money = f"{asked} calls to a provider" if asked else "no provider is asked, no cost"
    return (
        f"{len(left)} items over {len(pixels)} pictures{before}; about {_duration(seconds)} of one "
        f"core and {disk_gb(left):.2f} GB of outputs; {money}"
    )


DISK_MB = 2.0  # of a PNG of one megapixel, about


def _seconds(work: Work, *, deviation: bool) -> float:
    """Of one core per megapixel, about; what a provider takes is not in it."""
    simulating = SIMULATING_S if work.prior == "simulated" else 0.0
    measuring = DEVIATION_S if deviation and work.prior != "none" else 0.0
    return resolve(work.method)[0].seconds_per_megapixel + simulating + measuring


def disk_gb(works: Sequence[Work]) -> float:
    """What the outputs of works take, about."""
    return sum(_megapixels(work.photo) for work in works) * DISK_MB / 1000


@cache
def _megapixels(path: str) -> float:
    """Of a picture; 0 for a file that cannot be read, which fails as an item of its own."""
    try:
        header = header_of(Path(path))
        return header.width * header.height / 1e6
    except InputError:
        return 0.0


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
