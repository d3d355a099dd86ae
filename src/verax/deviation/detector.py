"""Changed objects through a detector that the caller brings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from verax.deviation.record import ObjectChange, ObjectKind
from verax.image import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive
SAME_PLACE = 0.5  # overlap (intersection over union) of one thing in both pictures
NEAR = 0.25  # a thing of one label that moved no further than this share of the diagonal is one


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in one picture."""

    label: str
    box: Box
    score: float


Detect = Callable[[Image], Sequence[Detection]]


def by_detector(detect: Detect) -> Callable[[Image, Image], tuple[ObjectChange, ...]]:
    """A finder for `measure`: things of one label are matched, nearest first."""

    def find(photo: Image, prior: Image) -> tuple[ObjectChange, ...]:
        area = photo.shape[0] * photo.shape[1]
        diagonal = float(np.hypot(*photo.shape[:2]))
        before, after = list(detect(photo)), list(detect(prior))
        changes = []
        for one, other in _matched(before, after, NEAR * diagonal):
            before.remove(one)
            after.remove(other)
            if _overlap(one.box, other.box) < SAME_PLACE:
                changes.append(_change("moved", one, area, _step(one.box, other.box)))
        changes += [_change("vanished", thing, area) for thing in before]
        changes += [_change("appeared", thing, area) for thing in after]
        return tuple(sorted(changes, key=lambda change: -change.area))

    return find


def _matched(
    before: Sequence[Detection], after: Sequence[Detection], reach: float
) -> list[tuple[Detection, Detection]]:
    """Pairs of one label, nearest first, each thing once."""
    apart = sorted(
        (float(np.hypot(*_step(one.box, other.box))), i, j)
        for i, one in enumerate(before)
        for j, other in enumerate(after)
        if one.label == other.label
    )
    pairs: list[tuple[int, int]] = []
    for distance, i, j in apart:
        if distance <= reach and all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return [(before[i], after[j]) for i, j in pairs]


def _step(one: Box, other: Box) -> tuple[float, float]:
    """From the centre of one box to that of the other."""
    return (
        (other[0] + other[2] - one[0] - one[2]) / 2,
        (other[1] + other[3] - one[1] - one[3]) / 2,
    )


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _change(
    kind: ObjectKind, thing: Detection, area: int, shift: tuple[float, float] | None = None
) -> ObjectChange:
    return ObjectChange(kind, thing.box, _area(thing.box) / area, thing.score, shift)
