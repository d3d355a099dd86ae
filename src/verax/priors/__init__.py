"""Candidates put in order, best first, by any number of judges; nothing is thrown away.

Edits are judged by fidelity and quality, generations by quality and agreement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verax.errors import VeraxError
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


COMPARED_PX = 256  # side at which two pictures of any size are compared


def edit_judges(photo: Image) -> dict[str, Judge]:
    """Naturalness, and the share of a candidate's edges that the photo has too."""

    def fidelity(candidate: Image) -> float:
        return _score("edge_precision", resized(candidate, (photo.shape[1], photo.shape[0])), photo)

    return {"quality": quality, "fidelity": fidelity}


def text_judges(like: Image | None) -> dict[str, Judge]:
    """Naturalness, and agreement with a picture where one is given."""
    if like is None:
        return {"quality": quality}
    small = resized(like, (COMPARED_PX, COMPARED_PX))

    def agreement(candidate: Image) -> float:
        return _score("ms_ssim", resized(candidate, (COMPARED_PX, COMPARED_PX)), small)

    return {"quality": quality, "agreement": agreement}


def quality(candidate: Image) -> float:
    """Naturalness: minus NIQE, so that higher is better."""
    return -_score("niqe", candidate)


def resized(picture: Image, size: tuple[int, int]) -> Image:
    """The picture at (width, height), by area where it shrinks."""
    from verax.image.pixels import resize_picture  # loads OpenCV

    return resize_picture(picture, size)


def _score(name: str, picture: Image, reference: Image | None = None) -> float:
    """A metric's value; not a number where the picture is too small for it."""
    from verax.metrics import score

    try:
        return score(picture, reference, [name])[0].value
    except VeraxError:
        return float("nan")
