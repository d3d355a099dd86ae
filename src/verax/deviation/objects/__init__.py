"""Objects that appeared, vanished, moved or were replaced; without a detector.

The photo's colours are brought to the prior's by one polynomial and a smooth correction, both
fitted robustly, so that light and colour do not count. What then differs by more than a few px of
misplacement can explain, over a connected region, is a changed region. A thing that moved leaves
two, joined by one displacement; of the others, whose outline they follow says whether something
came or went.
"""

import cv2
import numpy as np

from verax.deviation.objects.kinds import came_or_went, find_moved
from verax.deviation.objects.regions import (
    Mask,
    Regions,
    changed_regions,
    is_a_thing,
    same_structure,
)
from verax.deviation.pair import Pair
from verax.deviation.record import ObjectChange, ObjectKind

MOST_MOVED = 5
PART_OF = 0.5  # share of a region that belongs to something that moved
ONE_THING = 0.02  # gap between regions of one kind that are one thing, share of the long side
MARGIN = 0.02  # around changed regions that other entries leave out, share of the long side


def find_objects(pair: Pair, photo_size: tuple[int, int]) -> tuple[tuple[ObjectChange, ...], Mask]:
    """Changed regions, largest first, and their mask on the pair's grid."""
    found = changed_regions(pair)
    height, width = found.labels.shape
    ratio = photo_size[0] / width, photo_size[1] / height
    masks = [found.labels == label for label in range(1, int(found.labels.max()) + 1)]
    masks = [m for m in masks if is_a_thing(found, m) and not same_structure(found, m)]
    changed = np.any(masks, axis=0) if masks else np.zeros((height, width), bool)
    changes, masks = _moved(found, masks, ratio)
    kinds: dict[ObjectKind, Mask] = {}
    for mask in masks:
        kind = came_or_went(found, mask)
        kinds[kind] = kinds.get(kind, np.zeros_like(mask)) | mask
    for kind, together in kinds.items():
        changes += [_describe(found, m, m, kind, None, ratio) for m in _things(together)]
    on_pair = cv2.resize(
        _grown(changed, MARGIN), pair.seen.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    return tuple(sorted(changes, key=lambda change: -change.area)), on_pair > 0


def _moved(
    found: Regions, masks: list[Mask], ratio: tuple[float, float]
) -> tuple[list[ObjectChange], list[Mask]]:
    """Things that moved, the most telling first, and the regions that they leave unexplained."""
    changes = []
    for _ in range(MOST_MOVED):
        moved = find_moved(found, np.any(masks, axis=0)) if masks else None
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
        changes.append(_describe(found, moved.before, both, "moved", moved.shift, ratio))
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
    found: Regions,
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
    strength = float(np.mean(found.strength[whole]))
    shift_px = None if shift is None else (shift[0] * ratio[0], shift[1] * ratio[1])
    return ObjectChange(kind, box, float(whole.mean()), 1 - float(np.exp(-strength)), shift_px)
