"""Scores of two folders, matched by name and never by position."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verax.errors import InputError, VeraxError
from verax.image import Image, read
from verax.metrics.protocol import Protocol, Score
from verax.metrics.scoring import DEFAULT_METRICS, score

Align = Callable[[Image, Image], Image]


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a folder: its scores, or why there are none."""

    name: str
    scores: tuple[Score, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FolderScores:
    """All pictures of two folders.

    Attributes:
        rows: every matched name, scored or failed.
        without_reference: names only in the restored folder.
        without_restored: names only in the reference folder.
    """

    rows: tuple[Row, ...]
    without_reference: tuple[str, ...]
    without_restored: tuple[str, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.failure)

    @property
    def complete(self) -> bool:
        """Every picture has its partner and its scores."""
        return not (self.failures or self.without_reference or self.without_restored)

    def means(self) -> dict[str, float]:
        """Mean over the scored pictures, by metric; say beside it how many of how many."""
        scored = [row.scores for row in self.rows if not row.failure]
        return {
            column[0].metric: float(np.mean([s.value for s in column]))
            for column in zip(*scored, strict=True)
        }


def score_folders(
    restored: Mapping[str, Path],
    reference: Mapping[str, Path],
    metrics: Sequence[str] = DEFAULT_METRICS,
    protocol: Protocol = Protocol(),
    align: Align | None = None,
) -> FolderScores:
    """Score every picture that both folders have; a failure is a row, not the end.

    The folders are mappings from name to file. Raises InputError when they share no name.
    """
    common = sorted(restored.keys() & reference.keys())
    if not common:
        raise InputError(
            f"the two folders ({len(restored)} and {len(reference)} pictures) share no name; "
            f"pictures are matched by name without its ending, such as 01.png and 01.jpg"
        )
    rows = [_row(n, restored[n], reference[n], metrics, protocol, align) for n in common]
    return FolderScores(
        tuple(rows),
        tuple(sorted(restored.keys() - reference.keys())),
        tuple(sorted(reference.keys() - restored.keys())),
    )


def _row(
    name: str,
    restored: Path,
    reference: Path,
    metrics: Sequence[str],
    protocol: Protocol,
    align: Align | None,
) -> Row:
    try:
        ours, theirs = read(restored).pixels, read(reference).pixels
        return Row(name, score(align(ours, theirs) if align else ours, theirs, metrics, protocol))
    except VeraxError as exc:
        return Row(name, failure=str(exc))
