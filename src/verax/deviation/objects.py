"""Find objects that a generated picture (the prior) added, removed, moved or replaced.

The photo's colours are first matched to those of the registered prior, so that changes of light and
colour do not count. A connected region counts as changed if it then still differs by more than a
misplacement of a few px can explain. An object that moved leaves two changed regions, related by
one displacement. Any other region is decided by the picture in which it stands out more: the prior
(something appeared) or the photo (something vanished).

`by_detector` uses an object detector instead; `text_entry` compares words that `tesseract` reads.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.compare import AlignedPair, Map
from verax.deviation.record import Entry, ObjectChange, ObjectKind, unknown
from verax.deviation.regions import (
    ONE_THING,
    Mask,
    Regions,
    came_or_went,
    changed_regions,
    dilate,
    is_a_thing,
    same_structure,
    side_by_side,
)
from verax.errors import InputError
from verax.image import Image, to_uint8
from verax.image.pixels import resize

MOST_MOVED = 5
PART_OF = 0.5  # share of a region that a moved object must explain for the region to be part of it
MARGIN = 0.02  # around changed regions, left out of other entries, share of the long side
COARSE = 3  # px of the regions' grid per px of the coarse grid, where displacements are searched
MOST_PIXELS = 1500  # most changed pixels of that grid for which displacements are searched
NEAREST = 0.035  # least displacement of a moved object, share of the long side
EXPLAINED = 0.63  # least share of the change at the new place that the old content explains
WORTH = 0.12  # least share of all change that a displacement explains; less may be chance
LEAST_CONFIDENCE, LEAST_LETTERS = 60.0, 3  # for a word read by tesseract to count
TIMEOUT_S = 60.0
WANTED_SIDE_PX = 1600  # small print is enlarged first
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive
SAME_PLACE = 0.5  # intersection over union from which an object has not moved
NEAR = 0.25  # largest distance of two detections of one object, share of the diagonal


def find_objects(
    pair: AlignedPair, photo_size: tuple[int, int]
) -> tuple[tuple[ObjectChange, ...], Mask]:
    """Find the changed objects. Returns them, largest first, in px of the full photo, whose size is
    `photo_size` (width, height), and a mask (h, w) of them with a margin, on the grid of `pair`."""
    regions = changed_regions(pair)
    height, width = regions.labels.shape
    ratio = photo_size[0] / width, photo_size[1] / height
    masks = [regions.labels == label for label in range(1, int(regions.labels.max()) + 1)]
    masks = [m for m in masks if is_a_thing(regions, m) and not same_structure(regions, m)]
    changed = np.any(masks, axis=0) if masks else np.zeros((height, width), bool)
    changes, masks = _moved_objects(regions, masks, ratio)
    kinds: dict[ObjectKind, Mask] = {}
    for mask in masks:
        kind = came_or_went(regions, mask)
        kinds[kind] = kinds.get(kind, np.zeros_like(mask)) | mask
    for kind, together in kinds.items():
        changes += [_describe(regions, m, m, kind, None, ratio) for m in side_by_side(together)]
    size = pair.overlap.shape[::-1]
    on_pair = cv2.resize(dilate(changed, MARGIN), size, interpolation=cv2.INTER_NEAREST)
    return tuple(sorted(changes, key=lambda change: -change.area)), on_pair > 0


def _moved_objects(
    regions: Regions, masks: list[Mask], ratio: tuple[float, float]
) -> tuple[list[ObjectChange], list[Mask]]:
    """Find at most 5 moved objects among the changed regions (one mask each). Returns them, and the
    masks of regions that no moved object explains. `ratio`: photo px per mask px, along x and y."""
    changes = []
    for _ in range(MOST_MOVED):
        moved = find_moved(regions, np.any(masks, axis=0)) if masks else None
        if moved is None or not moved.before.any():
            break
        both = moved.before | moved.after
        near = dilate(both, ONE_THING / 2)
        rest = [mask for mask in masks if (mask & near).sum() < PART_OF * mask.sum()]
        if len(rest) == len(masks):
            break
        changes.append(_describe(regions, moved.before, both, "moved", moved.shift, ratio))
        masks = rest
    return changes, masks


def _describe(
    regions: Regions,
    mask: Mask,
    whole: Mask,
    kind: ObjectKind,
    shift: tuple[int, int] | None,
    ratio: tuple[float, float],
) -> ObjectChange:
    """Describe a change: its box surrounds `mask`, its area and score are those of `whole`.

    `mask` is the old place of a moved object, `whole` its old and new place; for other kinds both
    are the region. `shift` is (dx, dy) from the old place to the new in mask px, None for other
    kinds; `ratio` is photo px per mask px, along x and y.
    """
    ys, xs = np.nonzero(mask)
    edges = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    left, top, right, bottom = (round(int(e) * r) for e, r in zip(edges, ratio * 2, strict=True))
    score = 1 - float(np.exp(-float(np.mean(regions.strength[whole]))))
    shift_px = None if shift is None else (shift[0] * ratio[0], shift[1] * ratio[1])
    return ObjectChange(kind, (left, top, right, bottom), float(whole.mean()), score, shift_px)


@dataclass(frozen=True, slots=True)
class MovedObject:
    """A moved object: masks (h, w) of its old and new place; (dx, dy) from old to new, mask px."""

    before: Mask
    after: Mask
    shift: tuple[int, int]


def find_moved(regions: Regions, changed: Mask) -> MovedObject | None:
    """Find the object whose displacement explains most of the change in the mask `changed`.

    Every changed pixel of the prior is compared with every changed pixel of the photo. Each pair
    votes for the displacement between them, weighted by the colour difference that it explains. The
    old place must have changed, too; otherwise the object was copied, not moved. None if no
    displacement explains enough.
    """
    places, old, new = _coarse(regions, changed)
    if len(places) < 2 or len(places) > MOST_PIXELS:
        return None
    stay = np.linalg.norm(new - old, axis=1)
    explained = np.maximum(0, stay[:, None] - np.linalg.norm(new[:, None] - old[None], axis=2))
    reach = max(changed.shape) // COARSE
    step = places[:, None] - places[None]  # from a place in the photo to one in the prior
    side = 2 * reach + 1
    vote = (step[..., 1] + reach) * side + step[..., 0] + reach
    gain = np.bincount(vote.ravel(), explained.ravel(), side * side)
    all_stay = np.broadcast_to(stay[:, None], vote.shape)
    possible = np.bincount(vote.ravel(), all_stay.ravel(), side * side)
    y, x = np.divmod(np.arange(side * side), side)
    gain[np.hypot(x - reach, y - reach) < NEAREST * reach] = 0
    best = int(gain.argmax())
    if gain[best] < max(EXPLAINED * possible[best], WORTH * float(stay.sum())) or gain[best] <= 0:
        return None
    return _whole_thing(regions, changed, (int(x[best] - reach), int(y[best] - reach)))


def _whole_thing(regions: Regions, changed: Mask, shift: tuple[int, int]) -> MovedObject:
    """Find all of the object that moved by `shift`: all changed pixels that this shift explains.
    `shift` is (dx, dy) from photo to prior, in px of a grid 3 times as coarse as `changed`."""
    size = changed.shape[1] // COARSE, changed.shape[0] // COARSE
    old, new = (resize(lab, size) for lab in (regions.expected, regions.prior))
    there = resize(changed.astype(np.float32), size) > 0.5
    stay = there * np.linalg.norm(new - old, axis=2)
    back = -shift[0], -shift[1]
    after = np.linalg.norm(new - _displace(old, shift), axis=2) < 0.5 * stay
    before = np.linalg.norm(old - _displace(new, back), axis=2) < 0.5 * stay
    before |= _displace(after.astype(np.float32), back) > 0
    after |= _displace(before.astype(np.float32), shift) > 0
    fine = (shift[0] * COARSE, shift[1] * COARSE)
    return MovedObject(_fine(before, changed), _fine(after, changed), fine)


def _displace(array: Map, shift: tuple[int, int]) -> Map:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    return np.asarray(cv2.warpAffine(array, matrix, array.shape[1::-1]), np.float32)


def _coarse(regions: Regions, changed: Mask) -> tuple[NDArray[np.intp], Map, Map]:
    """The N pixels of the mask `changed` on a grid 3 times as coarse: their x and y (N, 2), Lab
    colours in the photo, matched to the prior's light (N, 3), and Lab colours in the prior (N, 3).
    """
    size = changed.shape[1] // COARSE, changed.shape[0] // COARSE
    there = resize(changed.astype(np.float32), size) > 0.5
    y, x = np.nonzero(there)
    old, new = (resize(lab, size)[y, x] for lab in (regions.expected, regions.prior))
    return np.stack([x, y], 1), old, new


def _fine(coarse: Mask, changed: Mask) -> Mask:
    """Close gaps and remove specks in the mask `coarse`; enlarge it to the size of `changed`."""
    closed = cv2.morphologyEx(coarse.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return np.asarray(cv2.resize(closed, changed.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected object: its label, box (left, top, right, bottom) in px, and score in [0, 1]."""

    label: str
    box: Box
    score: float


Detect = Callable[[Image], Sequence[Detection]]


def by_detector(detect: Detect) -> Callable[[Image, Image], tuple[ObjectChange, ...]]:
    """Turn an object detector into a function that finds changed objects (`finder` of `measure`).
    `detect` lists the objects in one picture, with boxes in its px. Objects of the same label in
    photo and prior count as one if their centres are at most 1/4 of the diagonal apart."""

    def find(photo: Image, prior: Image) -> tuple[ObjectChange, ...]:
        area = photo.shape[0] * photo.shape[1]
        diagonal = float(np.hypot(*photo.shape[:2]))
        before, after = list(detect(photo)), list(detect(prior))
        changes = []
        for one, other in _match(before, after, NEAR * diagonal):
            before.remove(one)
            after.remove(other)
            if _overlap(one.box, other.box) < SAME_PLACE:
                changes.append(_change("moved", one, area, _centre_shift(one.box, other.box)))
        changes += [_change("vanished", thing, area) for thing in before]
        changes += [_change("appeared", thing, area) for thing in after]
        return tuple(sorted(changes, key=lambda change: -change.area))

    return find


def _match(
    before: Sequence[Detection], after: Sequence[Detection], reach: float
) -> list[tuple[Detection, Detection]]:
    """Pairs of a detection of the photo (`before`) and one of the prior (`after`) with the same
    label and centres at most `reach` px apart, each in one pair only."""
    apart = sorted(
        (float(np.hypot(*_centre_shift(one.box, other.box))), i, j)
        for i, one in enumerate(before)
        for j, other in enumerate(after)
        if one.label == other.label
    )
    pairs: list[tuple[int, int]] = []
    for distance, i, j in apart:
        if distance <= reach and all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return [(before[i], after[j]) for i, j in pairs]


def _centre_shift(one: Box, other: Box) -> tuple[float, float]:
    dx, dy = (other[i] + other[i + 2] - one[i] - one[i + 2] for i in (0, 1))
    return dx / 2, dy / 2


def _overlap(one: Box, other: Box) -> float:
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    common = max(0, width) * max(0, height)
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _change(
    kind: ObjectKind, thing: Detection, area: int, shift: tuple[float, float] | None = None
) -> ObjectChange:
    return ObjectChange(kind, thing.box, _area(thing.box) / area, thing.score, shift)


def text_entry(photo: Image, generated: Image) -> Entry:
    """The share (0 to 1) of the words that `tesseract` reads in the photo but not in `generated`;
    no value if it is not installed or reads none in the photo."""
    if shutil.which("tesseract") is None:
        return unknown("share", "the program tesseract, which reads the words, is not installed")
    before, after = words(photo), words(generated)
    if not before:
        return unknown("share", "tesseract can read no words in the photo")
    common, total = (before & after).total(), before.total()
    return Entry(1 - common / total, "share", confidence=min(1.0, total / 10))


def words(image: Image) -> Counter[str]:
    """Words that tesseract reads with confidence (lower case, no punctuation), and their counts."""
    scale = max(1.0, WANTED_SIDE_PX / max(image.shape[:2]))
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    png = cv2.imencode(".png", to_uint8(large)[..., ::-1])[1]
    command = ["tesseract", "stdin", "stdout", "--psm", "11", "tsv"]
    try:
        done = subprocess.run(
            command, input=png.tobytes(), capture_output=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise InputError(f"tesseract failed to read the text ({exc}); leave out --text") from exc
    counts: Counter[str] = Counter()
    for line in done.stdout.decode("utf-8", "replace").splitlines()[1:]:
        columns = line.split("\t")
        word = "".join(c for c in columns[-1].casefold() if c.isalnum())
        certain = len(columns) == 12 and float(columns[10]) >= LEAST_CONFIDENCE
        if certain and len(word) >= LEAST_LETTERS:
            counts[word] += 1
    return counts
