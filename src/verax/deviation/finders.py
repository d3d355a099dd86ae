"""What other programs find: written words through tesseract, objects through a detector.

The `tesseract` program is used where it is installed; a detector is brought by the caller.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from verax.deviation.record import Entry, ObjectChange, ObjectKind, unknown
from verax.errors import InputError
from verax.image import Image, to_uint8

LEAST_CONFIDENCE = 60.0
LEAST_LETTERS = 3
TIMEOUT_S = 60.0
WANTED_SIDE_PX = 1600  # small print is enlarged first
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive
SAME_PLACE = 0.5  # overlap (intersection over union) of one thing in both pictures
NEAR = 0.25  # a thing of one label that moved no further than this share of the diagonal is one


def text_entry(photo: Image, generated: Image) -> Entry:
    """Share of the photo's words that the generated picture lost or rewrote."""
    if shutil.which("tesseract") is None:
        return unknown("share", "the tesseract program is not installed")
    before, after = words(photo), words(generated)
    if not before:
        return unknown("share", "no words can be read in the photo")
    common = sum(min(count, after.get(word, 0)) for word, count in before.items())
    total = sum(before.values())
    return Entry(1 - common / total, "share", confidence=min(1.0, total / 10))


def words(image: Image) -> dict[str, int]:
    """Words that tesseract reads with confidence, in small letters, and how often."""
    scale = max(1.0, WANTED_SIDE_PX / max(image.shape[:2]))
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    levels = to_uint8(large)
    _, png = cv2.imencode(".png", levels[..., ::-1])
    try:
        done = subprocess.run(
            ["tesseract", "stdin", "stdout", "--psm", "11", "tsv"],
            input=png.tobytes(),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise InputError(f"tesseract could not read the picture ({exc}); leave out --text") from exc
    counts: dict[str, int] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines()[1:]:
        columns = line.split("\t")
        word = "".join(c for c in columns[-1].casefold() if c.isalnum())
        certain = len(columns) == 12 and float(columns[10]) >= LEAST_CONFIDENCE
        if certain and len(word) >= LEAST_LETTERS:
            counts[word] = counts.get(word, 0) + 1
    return counts


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
