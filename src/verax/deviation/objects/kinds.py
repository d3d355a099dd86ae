"""What happened in a changed region: a thing came, went, or moved; without knowing what it is."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.objects.regions import Mask, Regions, gradients
from verax.deviation.pair import Map
from verax.deviation.record import ObjectKind
from verax.image.pixels import blur, resize

COARSE = 3  # px of the regions per px at which displacements are sought
MOST_PIXELS = 1500  # compared with each other
NEAREST = 0.035  # a thing moved at least this share of the long side
EXPLAINED = 0.63  # of the change at a thing's new place, by the content of its old place
WORTH = 0.12  # of all change: less is chance
DECIDED = 0.1  # log ratio of how far a region stands out in both pictures


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing in another place: where it was, where it is, and (dx, dy) in px of the regions."""

    before: Mask
    after: Mask
    shift: tuple[int, int]


def find_moved(found: Regions, changed: Mask) -> Moved | None:
    """The displacement that explains most of what changed, if any does.

    Every changed pixel of the prior is compared with every changed pixel of the photo; each pair
    votes for its displacement with what it explains. That the old place must have changed too
    tells a thing that moved from one that was copied, and from a hole filled like its surroundings.
    """
    places, old, new = _coarse(found, changed)
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
    asked = np.bincount(vote.ravel(), all_stay.ravel(), side * side)
    y, x = np.divmod(np.arange(side * side), side)
    gain[np.hypot(x - reach, y - reach) < NEAREST * reach] = 0
    best = int(gain.argmax())
    if gain[best] < max(EXPLAINED * asked[best], WORTH * float(stay.sum())) or gain[best] <= 0:
        return None
    shift = int(x[best] - reach), int(y[best] - reach)
    return _whole_thing(found, changed, shift)


def _whole_thing(found: Regions, changed: Mask, shift: tuple[int, int]) -> Moved:
    """All that a displacement (coarse px) explains, seen from its old place and its new one."""
    size = changed.shape[1] // COARSE, changed.shape[0] // COARSE
    old, new = (resize(lab, size) for lab in (found.expected, found.prior))
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


def _coarse(found: Regions, changed: Mask) -> tuple[NDArray[np.intp], Map, Map]:
    """Places (N, 2) of changed pixels at the coarse size, and both pictures' colours there."""
    size = changed.shape[1] // COARSE, changed.shape[0] // COARSE
    there = resize(changed.astype(np.float32), size) > 0.5
    y, x = np.nonzero(there)
    old, new = (resize(lab, size)[y, x] for lab in (found.expected, found.prior))
    return np.stack([x, y], 1), old, new


def _fine(coarse: Mask, changed: Mask) -> Mask:
    """A coarse mask on the grid of the regions, small gaps closed."""
    closed = cv2.morphologyEx(coarse.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    large = cv2.resize(closed, changed.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(large > 0)


def came_or_went(found: Regions, mask: Mask) -> ObjectKind:
    """The picture in which a region stands out shows a thing there.

    It stands out by the contrast of its outline and by how little its surroundings, grown over
    it, resemble it.
    """
    photo, prior = (_stands_out(lab, mask) for lab in (found.expected, found.prior))
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
