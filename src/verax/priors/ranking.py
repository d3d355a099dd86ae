"""Candidates put in order, best first, by any number of judges. Nothing is thrown away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verax.image import Image

Judge = Callable[[Image], float]  # a picture -> a score, higher is better


@dataclass(frozen=True, slots=True)
class Ranking:
    """Indices of the candidates, best first, and what each judge gave, by candidate."""

    order: tuple[int, ...]
    scores: tuple[Mapping[str, float], ...]


def rank(candidates: Sequence[Image], judges: Mapping[str, Judge]) -> Ranking:
    """Order candidates by the mean of their places before each judge; ties keep their order.

    Places are counted rather than scores added, because scores of different judges have different
    units. A score that is not a number is the last place. Equal scores share a place.
    """
    scores = tuple(
        {name: float(judge(picture)) for name, judge in judges.items()} for picture in candidates
    )
    places = np.zeros(len(scores))
    for name in judges:
        given = np.array([-np.inf if np.isnan(s[name]) else s[name] for s in scores])
        places += (given[None, :] > given[:, None]).sum(axis=1)
    order = np.argsort(places, kind="stable")
    return Ranking(tuple(int(index) for index in order), scores)
