"""Regions whose content changed: appeared, vanished, moved, replaced; without a detector.

The photo's colours are brought to the prior's by one polynomial and a smooth correction, both
fitted robustly, so that light and colour do not count. What then differs by more than a few px of
misplacement can explain, over a connected region, is a changed region. Whose outline it follows
says whether something came or went; a search for its content says whether it only moved.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from verax.deviation.pair import Map, Pair
from verax.deviation.record import ObjectChange, ObjectKind
from verax.geometry.features import blur, resize
from verax.image import Image

SIDE_PX = 288  # long side at which regions are sought
SOFT_PX = 1.2
SMOOTH = 0.12  # sigma of the smooth tone correction, share of the long side
ROUNDS = 5
LEVELS = 9  # of lightness in the tone correction
TOLERANCE_PX = 2  # misplacement that is no change of content
LEAST_DELTA_E = 5.0
SIGMAS = 5.0
MIN_AREA = 0.003
JOIN = 0.012  # gaps closed between parts of one region, share of the long side
SEARCH = 0.35  # how far content is sought, share of the long side
SAME_CONTENT = 0.8
SAME_STRUCTURE = 0.75
CLEAR = 0.35  # of a region's strongest part
ASIDE_PX = 3
FAINT_GRADIENT = 0.7  # Lab units per px
UNDECIDED = 0.35  # log ratio of how far a region stands out in both pictures
ARRIVED = 0.5  # share of a moved thing's new place that must have changed
MARGIN = 0.02  # around changed regions that other entries leave out, share of the long side

Mask = NDArray[np.bool_]
Detector = Callable[[Image], list[tuple[int, int, int, int, str]]]


@dataclass(frozen=True, slots=True)
class Regions:
    """Changed regions at the working size.

    Attributes:
        labels: (h, w), 0 where nothing changed.
        strength: (h, w) unexplained colour difference over its threshold.
        expected, prior: (h, w, 3) Lab: the photo in the prior's light, and the prior.
    """

    labels: NDArray[np.int32]
    strength: Map
    expected: Map
    prior: Map


def find_objects(pair: Pair, photo_size: tuple[int, int]) -> tuple[tuple[ObjectChange, ...], Mask]:
    """Changed regions, largest first, and their mask on the pair's grid."""
    found = changed_regions(pair)
    height, width = found.labels.shape
    ratio = photo_size[0] / width, photo_size[1] / height
    masks = [found.labels == label for label in range(1, int(found.labels.max()) + 1)]
    masks = [mask for mask in masks if _same_structure(found, mask) < SAME_STRUCTURE]
    changed = np.any(masks, axis=0) if masks else np.zeros((height, width), bool)
    changes, arrived = [], np.zeros((height, width), bool)
    for mask in sorted(masks, key=lambda mask: -int(mask.sum())):
        if (mask & arrived).sum() > 0.5 * mask.sum():
            continue  # where something that moved is now: told with the place it left
        kind, shift = _kind(found, mask, changed)
        if shift is not None:
            arrived |= _displaced(mask, shift)
        changes.append(_describe(found, mask, kind, shift, ratio))
    reach = 2 * round(MARGIN * max(height, width)) + 1
    grown = cv2.dilate(changed.astype(np.uint8), np.ones((reach, reach), np.uint8))
    on_pair = cv2.resize(grown, pair.seen.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return tuple(changes), on_pair


def changed_regions(pair: Pair) -> Regions:
    """Connected regions that tone and small misplacement do not explain."""
    scale = min(1.0, SIDE_PX / max(pair.seen.shape))
    size = (round(pair.seen.shape[1] * scale), round(pair.seen.shape[0] * scale))
    photo, prior = (_lab(resize(p, size)) for p in (pair.photo, pair.prior))
    seen = resize(pair.seen.astype(np.float32), size) > 0.99
    expected = in_the_light_of(photo, prior, seen)
    apart = np.linalg.norm(_beyond(prior, expected), axis=2)
    apart = np.maximum(apart, np.linalg.norm(_beyond(expected, prior), axis=2)) * seen
    typical = float(np.median(apart[seen])) if seen.any() else 0.0
    spread = 1.4826 * float(np.median(np.abs(apart[seen] - typical))) if seen.any() else 0.0
    strength = apart / max(LEAST_DELTA_E, typical + SIGMAS * spread)
    return Regions(_regions(strength, size), np.asarray(strength, np.float32), expected, prior)


def _lab(image: Image) -> Map:
    soft = np.clip(blur(image, SOFT_PX), 0, 1)
    return np.asarray(cv2.cvtColor(soft, cv2.COLOR_RGB2Lab), np.float32)


def in_the_light_of(photo: Map, prior: Map, seen: Mask) -> Map:
    """The photo's Lab colours as the prior would show them, (h, w, 3).

    One polynomial for the picture, then corrections that vary with place and lightness, in rounds
    that leave out what does not fit.
    """
    lightness = photo[..., :1] / 50 - 1
    chroma = photo[..., 1:] / 50
    terms = np.concatenate(
        [
            *(lightness**power for power in range(4)),
            *(chroma, chroma**2, lightness * chroma, chroma[..., :1] * chroma[..., 1:]),
        ],
        axis=2,
    )
    weight = seen.astype(np.float32)
    ridge = 1e-5 * weight.sum() * np.eye(terms.shape[2])
    expected = photo
    for _ in range(ROUNDS):
        x, y = terms[seen].astype(np.float64), prior[seen].astype(np.float64)
        weighted = x * weight[seen][:, None]
        expected = np.asarray(
            terms @ np.linalg.solve(weighted.T @ x + ridge, weighted.T @ y), np.float32
        )
        expected = expected + _by_place_and_lightness(prior - expected, photo[..., 0], weight)
        apart = np.linalg.norm(prior - expected, axis=2)
        scale = max(1.4826 * float(np.median(apart[seen])), 1.0)
        weight = seen * np.clip(1 - (apart / (4 * scale)) ** 2, 0, 1).astype(np.float32) ** 2
    return expected


def _by_place_and_lightness(rest: Map, lightness: Map, weight: Map) -> Map:
    """Weighted mean of `rest` over pixels nearby that are about as light: a bilateral grid."""
    height, width = weight.shape
    cell = max(1, round(SMOOTH * max(height, width) / 4))
    size = (-(-width // cell), -(-height // cell))
    level = np.clip(lightness / 100 * (LEVELS - 1), 0, LEVELS - 1)
    sums = np.zeros((size[1], size[0], LEVELS, 4), np.float32)
    weighted = np.dstack([rest * weight[..., None], weight])
    shares = [np.maximum(1 - np.abs(level - k), 0).astype(np.float32) for k in range(LEVELS)]
    for k, share in enumerate(shares):
        sums[:, :, k] = cv2.resize(weighted * share[..., None], size, interpolation=cv2.INTER_AREA)
    for axis, sigma in enumerate((4.0, 4.0, 0.7)):
        sums = gaussian_filter1d(sums, sigma, axis=axis, mode="nearest")
    means = sums[..., :3] / (sums[..., 3:] + 1e-3)
    result = np.zeros_like(rest)
    for k, share in enumerate(shares):
        field = cv2.resize(np.ascontiguousarray(means[:, :, k]), (width, height))
        result += share[..., None] * field
    return result


def _beyond(one: Map, other: Map) -> Map:
    """How far each channel of `one` lies outside the values of `other` nearby."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE_PX + 1,) * 2)
    above = one - cv2.dilate(other, kernel)
    below = cv2.erode(other, kernel) - one
    return np.asarray(np.maximum(np.maximum(above, below), 0), np.float32)


def _regions(strength: Map, size: tuple[int, int]) -> NDArray[np.int32]:
    """Labels of regions above the threshold, gaps closed, specks left out."""
    gap = max(3, 2 * round(JOIN * max(size)) + 1)
    coarse = _components(strength > 1, gap)
    sharp = np.zeros(strength.shape, bool)
    for label in range(1, int(coarse.max()) + 1):
        # a faint misfit of colour beside a clear change is not part of it
        mask = coarse == label
        sharp |= mask & (strength > max(1.0, CLEAR * float(np.quantile(strength[mask], 0.95))))
    labels = _components(sharp, gap)
    sizes = np.bincount(labels.ravel())
    small = np.flatnonzero(sizes < MIN_AREA * strength.size)
    labels[np.isin(labels, small)] = 0
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def _components(found: Mask, gap: int) -> NDArray[np.int32]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap))
    opened = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel)
    return np.asarray(cv2.connectedComponents(closed, connectivity=8)[1], np.int32)


def _same_structure(found: Regions, mask: Mask) -> float:
    """How far the gradients of both pictures agree in and around a region, -1..1.

    A region that only changed its colour keeps its edges, a misplaced one keeps them a little
    aside; gradients too weak to be seen agree.
    """
    around = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    one, other = _gradients(found.expected), _gradients(found.prior)
    faint = float(around.sum()) * FAINT_GRADIENT**2
    here = one[around]
    size = float((here**2).sum()) + faint
    best = -1.0
    for dy in range(-ASIDE_PX, ASIDE_PX + 1):
        for dx in range(-ASIDE_PX, ASIDE_PX + 1):
            moved = np.roll(other, (dy, dx), (0, 1))[around]
            both = float((here * moved).sum()) + faint
            best = max(best, both / float(np.sqrt(size * (float((moved**2).sum()) + faint))))
    return best


def _describe(
    found: Regions,
    mask: Mask,
    kind: ObjectKind,
    shift: tuple[int, int] | None,
    ratio: tuple[float, float],
) -> ObjectChange:
    left, top, right, bottom = _box(mask)
    box = (
        round(left * ratio[0]),
        round(top * ratio[1]),
        round(right * ratio[0]),
        round(bottom * ratio[1]),
    )
    strength = float(np.mean(found.strength[mask]))
    shift_px = None if shift is None else (shift[0] * ratio[0], shift[1] * ratio[1])
    return ObjectChange(kind, box, float(mask.mean()), 1 - float(np.exp(-strength)), shift_px)


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), right and bottom exclusive."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def _displaced(mask: Mask, shift: tuple[int, int]) -> Mask:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    return np.asarray(cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1]) > 0)


def _kind(found: Regions, mask: Mask, changed: Mask) -> tuple[ObjectKind, tuple[int, int] | None]:
    """What happened in a region.

    The picture in which the region stands out, by its outline and from its surroundings, is the
    one that shows a thing there.
    """
    shift = _found_again(found, mask, changed)
    if shift is not None:
        return "moved", shift
    photo, prior = (_stands_out(lab, mask) for lab in (found.expected, found.prior))
    balance = float(np.log(prior[0] / photo[0]) + np.log(prior[1] / photo[1]))
    if abs(balance) < UNDECIDED:
        return "replaced", None
    return ("appeared" if balance > 0 else "vanished"), None


def _stands_out(lab: Map, mask: Mask) -> tuple[float, float]:
    """Contrast along a region's outline, and distance of its mean colour from its surroundings."""
    kernel = np.ones((9, 9), np.uint8)
    around = (cv2.dilate(mask.astype(np.uint8), kernel) > 0) & ~mask
    apart = float(np.linalg.norm(lab[mask].mean(axis=0) - lab[around].mean(axis=0)))
    return float(_contrast(lab)[_outline(mask)].mean()) + 0.2, apart + 2.0


def _outline(mask: Mask) -> Mask:
    whole = mask.astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    return np.asarray(cv2.dilate(whole, kernel) != cv2.erode(whole, kernel))


def _contrast(lab: Map) -> Map:
    return np.asarray(np.linalg.norm(_gradients(lab), axis=2), np.float32)


def _gradients(lab: Map) -> Map:
    """(h, w, 6) gradients of the three Lab channels, units per px."""
    parts = [cv2.Sobel(lab, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    return np.dstack(parts)


def _found_again(found: Regions, mask: Mask, changed: Mask) -> tuple[int, int] | None:
    """Displacement of the photo's content of a region, where the prior shows it in another
    place that changed too."""
    left, top, right, bottom = _box(mask)
    if right - left < 5 or bottom - top < 5:
        return None
    height, width = mask.shape
    reach = int(SEARCH * max(mask.shape))
    x0, y0 = max(0, left - reach), max(0, top - reach)
    x1, y1 = min(width, right + reach), min(height, bottom + reach)
    piece = found.expected[top:bottom, left:right]
    shape = np.repeat(mask[top:bottom, left:right, None], 3, axis=2).astype(np.float32)
    window = found.prior[y0:y1, x0:x1]
    scores = cv2.matchTemplate(window, piece, cv2.TM_CCOEFF_NORMED, mask=shape)
    scores[~np.isfinite(scores)] = -1
    _, best, _, place = cv2.minMaxLoc(scores)
    shift = place[0] + x0 - left, place[1] + y0 - top
    if best < SAME_CONTENT or max(abs(shift[0]), abs(shift[1])) <= TOLERANCE_PX:
        return None
    there = _displaced(mask, shift)
    return shift if (there & changed).sum() > ARRIVED * there.sum() else None
