"""Objects that appeared, vanished, moved or were replaced; without a detector.

The photo's colours are brought to the prior's by one polynomial and a smooth correction, both
fitted robustly, so that light and colour do not count. What then differs by more than a few px of
misplacement can explain, over a connected region, is a changed region. A thing that moved leaves
two, joined by one displacement; of the others, whose outline they follow says whether something
came or went.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.compare import AlignedPair, Map
from verax.deviation.record import ObjectChange, ObjectKind
from verax.deviation.regions import (
    Mask,
    Regions,
    changed_regions,
    gradients,
    is_a_thing,
    same_structure,
)
from verax.image.pixels import blur, resize

MOST_MOVED = 5
PART_OF = 0.5  # share of a region that belongs to something that moved
ONE_THING = 0.02  # gap between regions of one kind that are one thing, share of the long side
MARGIN = 0.02  # around changed regions that other entries leave out, share of the long side
COARSE = 3  # px of the regions per px at which displacements are sought
MOST_PIXELS = 1500  # compared with each other
NEAREST = 0.035  # a thing moved at least this share of the long side
EXPLAINED = 0.63  # of the change at a thing's new place, by the content of its old place
WORTH = 0.12  # of all change: less is chance
DECIDED = 0.1  # log ratio of how far a region stands out in both pictures


def find_objects(
    pair: AlignedPair, photo_size: tuple[int, int]
) -> tuple[tuple[ObjectChange, ...], Mask]:
    """Changed regions, largest first, and their mask on the pair's grid."""
    regions = changed_regions(pair)
    height, width = regions.labels.shape
    ratio = photo_size[0] / width, photo_size[1] / height
    masks = [regions.labels == label for label in range(1, int(regions.labels.max()) + 1)]
    masks = [m for m in masks if is_a_thing(regions, m) and not same_structure(regions, m)]
    changed = np.any(masks, axis=0) if masks else np.zeros((height, width), bool)
    changes, masks = _moved(regions, masks, ratio)
    kinds: dict[ObjectKind, Mask] = {}
    for mask in masks:
        kind = came_or_went(regions, mask)
        kinds[kind] = kinds.get(kind, np.zeros_like(mask)) | mask
    for kind, together in kinds.items():
        changes += [_describe(regions, m, m, kind, None, ratio) for m in _things(together)]
    on_pair = cv2.resize(
        _grown(changed, MARGIN), pair.overlap.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    return tuple(sorted(changes, key=lambda change: -change.area)), on_pair > 0


def _moved(
    regions: Regions, masks: list[Mask], ratio: tuple[float, float]
) -> tuple[list[ObjectChange], list[Mask]]:
    """Things that moved, the most telling first, and the regions that they leave unexplained."""
    changes = []
    for _ in range(MOST_MOVED):
        moved = find_moved(regions, np.any(masks, axis=0)) if masks else None
        if moved is None:
            break
        both = moved.before | moved.after
        if not moved.before.any():
            break
        rest = [
            mask
            for mask in masks
            if (mask & _grown(both, ONE_THING / 2)).sum() < PART_OF * mask.sum()
        ]
        if len(rest) == len(masks):
            break
        changes.append(_describe(regions, moved.before, both, "moved", moved.shift, ratio))
        masks = rest
    return changes, masks


def _things(together: Mask) -> list[Mask]:
    """Regions of one kind, those side by side as one."""
    count, labels = cv2.connectedComponents(_grown(together, ONE_THING / 2), connectivity=8)
    return [(labels == label) & together for label in range(1, count)]


def _grown(mask: Mask, share: float) -> cv2.typing.MatLike:
    reach = 2 * round(share * max(mask.shape)) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8))


def _describe(
    regions: Regions,
    mask: Mask,
    whole: Mask,
    kind: ObjectKind,
    shift: tuple[int, int] | None,
    ratio: tuple[float, float],
) -> ObjectChange:
    """The change in photo px: box of `mask`, area and strength of `whole`."""
    ys, xs = np.nonzero(mask)
    box = (
        round(int(xs.min()) * ratio[0]),
        round(int(ys.min()) * ratio[1]),
        round((int(xs.max()) + 1) * ratio[0]),
        round((int(ys.max()) + 1) * ratio[1]),
    )
    strength = float(np.mean(regions.strength[whole]))
    shift_px = None if shift is None else (shift[0] * ratio[0], shift[1] * ratio[1])
    return ObjectChange(kind, box, float(whole.mean()), 1 - float(np.exp(-strength)), shift_px)


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing in another place: where it was, where it is, and (dx, dy) in px of the regions."""

    before: Mask
    after: Mask
    shift: tuple[int, int]


def find_moved(regions: Regions, changed: Mask) -> Moved | None:
    """The displacement that explains most of what changed, if any does.

    Every changed pixel of the prior is compared with every changed pixel of the photo; each pair
    votes for its displacement with what it explains. That the old place must have changed too
    tells a thing that moved from one that was copied, and from a hole filled like its surroundings.
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
    shift = int(x[best] - reach), int(y[best] - reach)
    return _whole_thing(regions, changed, shift)


def _whole_thing(regions: Regions, changed: Mask, shift: tuple[int, int]) -> Moved:
    """All that a displacement (coarse px) explains, seen from its old place and its new one."""
    size = changed.shape[1] // COARSE, changed.shape[0] // COARSE
    old, new = (resize(lab, size) for lab in (regions.expected, regions.prior))
    there = resize(changed.astype(np.float32), size) > 0.5
    stay = there * np.linalg.norm(new - old, axis=2)
    back = -shift[0], -shift[1]
    after = np.linalg.norm(new - _displaced(old, shift), axis=2) < 0.5 * stay
    before = np.linalg.norm(old - _displaced(new, back), axis=2) < 0.5 * stay
    before |= _displaced(after.astype(np.float32), back) > 0
    after |= _displaced(before.astype(np.float32), shift) > 0
    fine = (shift[0] * COARSE, shift[1] * COARSE)
    return Moved(_fine(before, changed), _fine(after, changed), fine)


def _displaced(array: Map, shift: tuple[int, int]) -> Map:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    return np.asarray(cv2.warpAffine(array, matrix, array.shape[1::-1]), np.float32)


def _coarse(regions: Regions, changed: Mask) -> tuple[NDArray[np.intp], Map, Map]:
    """Places (N, 2) of changed pixels at the coarse size, and both pictures' colours there."""
    size = changed.shape[1] // COARSE, changed.shape[0] // COARSE
    there = resize(changed.astype(np.float32), size) > 0.5
    y, x = np.nonzero(there)
    old, new = (resize(lab, size)[y, x] for lab in (regions.expected, regions.prior))
    return np.stack([x, y], 1), old, new


def _fine(coarse: Mask, changed: Mask) -> Mask:
    """A coarse mask on the grid of the regions, small gaps closed."""
    closed = cv2.morphologyEx(coarse.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    large = cv2.resize(closed, changed.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(large > 0)


def came_or_went(regions: Regions, mask: Mask) -> ObjectKind:
    """The picture in which a region stands out shows a thing there.

    It stands out by the contrast of its outline and by how little its surroundings, grown over
    it, resemble it.
    """
    photo, prior = (_stands_out(lab, mask) for lab in (regions.expected, regions.prior))
    balance = float(np.log(prior / photo))
    if abs(balance) < DECIDED:
        return "replaced"
    return "appeared" if balance > 0 else "vanished"


def _stands_out(lab: Map, mask: Mask) -> float:
    """Contrast along a region's outline times distance from its surroundings grown over it."""
    contrast = float(np.linalg.norm(gradients(lab), axis=2)[_outline(mask)].mean())
    outside = (cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0).astype(np.float32)
    reach = max(2.0, 0.4 * float(np.sqrt(mask.sum())))
    grown = blur(lab * outside[..., None], reach) / (blur(outside, reach)[..., None] + 1e-4)
    apart = float(np.sqrt(((lab - grown)[mask] ** 2).sum(axis=1).mean()))
    return (contrast + 0.2) * (apart + 1.0)


def _outline(mask: Mask) -> Mask:
    whole = mask.astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    return np.asarray(cv2.dilate(whole, kernel) != cv2.erode(whole, kernel))
