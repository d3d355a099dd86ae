"""Finds what stood in front of the scene and is missing in the prior: streaks, drops, dust,
scratches, shadows, flares, reflections.

Places where the photo differs from the prior, under the same light, are judged by their shape. Thin
places, and many small ones all over the picture, do not belong to the scene. In a larger place the
photo may show the prior's structure plus a smooth difference: a layer, such as a shadow or a flare.
Other large places stay as in the photo: they may hold a thing that the generator left out."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion.explanation import FRONT_TASKS, Explanation
from verax.fusion.matching import fit_relight
from verax.fusion.planes import Float, luma
from verax.geometry.register import WarpedPrior
from verax.image import Image, Plane
from verax.image.pixels import largest, peaks, reduce_to

WORK = 640  # px: long side at which differences are looked for
LEAST, TYPICAL = 0.035, 2.5  # least difference, and least multiple of the median difference
SURE = 1.8  # the peak of a place is at least so many times the least difference
SMALLEST = 6  # least area of a place, working px
THIN = (0.012, 1.5)  # width of a thin place: share of the long side plus working px
SMALL, AREA = 0.05, 0.004  # width and area of a small one, shares of the long side and its square
MANY, SPREAD = 12, 6  # small places, and sixteenths of the picture they lie in, to count together
MORE = 1.5  # energy of the photo's fine structure over the prior's: the photo shows more
LAYER = 0.6  # least correlation of fine structure in a layer
PLAIN = 6e-5  # least energy of the prior's fine structure for that test
SMOOTH = 0.6  # share of a layer's difference that a blur of sigma SOFT leaves
SOFT = 3.0
BORDER, COARSE = 4, 6.0  # width of a place's border, and scale of its edge, working px
EDGE = 0.85  # least energy at the border that only the photo has, over what only the prior has
INSIDE = 2.5  # working px from its border at which the inside of a place begins
# glare: light added to the scene
ADDED = 0.8  # least share of the difference that is brighter in the photo
HELD, ALIKE = (0.5, 1.5), 0.25  # strength, least correlation of the prior's fine structure
LONG, FAINT = 6.0, 0.2  # a beam: length over width, and its least strength in place of HELD's
BRIGHT = 0.09  # least mean luma added; less is a difference of light
NEAR_BORDER = 1.5  # working px from its border at which the inside begins
AWAY, SHOWN = 8, 0.75  # a thing that moved: largest distance in working px, least correlation
OUTSTANDING, AROUND = 3.0, 8.0  # least multiple of the prior's texture, sigma of its window

OfPlaces = Callable[[Plane], Float]  # values (h, w) -> one number for each label


def mask(toned: Image, warped: WarpedPrior, explanation: Explanation) -> Plane:
    """Where the prior removed something in front of the scene: (h, w), 1 there, else 0, at a size
    whose long side is at most 640 px.

    `toned` is the photo after its light was changed to the prior's; `warped` is the registered
    prior. If `explanation` says that heavy rain hides the scene, or that the user's task was to
    remove things like snow or a flare, every difference counts, whatever its shape."""
    own, other, visible = (reduce_to(x, WORK) for x in (toned, warped.pixels, warped.valid))
    if explanation.buried:
        return differing(own, other, visible)
    matched = fit_relight(other, own, visible)(other)
    return find_removed(own, matched, visible, everything=explanation.task in FRONT_TASKS)


@dataclass(frozen=True, slots=True)
class Places:
    """The connected places where photo and prior differ, each with a label; label 0 is the rest of
    the picture. Arrays other than `labels` have one entry for each label, the first for label 0.
    Lengths are in px of the reduced pictures, whose long side is at most 640 px.

    Attributes:
        labels: (h, w) the label of each pixel.
        width: twice the largest distance of a pixel from the border of its place.
        area: number of pixels.
        peak: largest difference between photo and prior, pixels from 0 to 1.
        more: whether the photo shows more structure there than the prior.
        layer: whether both show the same structure, with a smooth difference, as under a shadow.
        centre: (n, 2) x and y of its centroid, as shares of the width and height of `labels`.
        box: (n, 4) left, top, width and height of its bounding box, counted in `labels`."""

    labels: NDArray[np.int32]
    width: Float
    area: Float
    peak: Float
    more: NDArray[np.bool_]
    layer: NDArray[np.bool_]
    centre: Float
    box: NDArray[np.int32]


def find_removed(photo: Image, prior: Image, valid: Plane, *, everything: bool = False) -> Plane:
    """Where the prior removed something: (h, w), 1 there, else 0, at a size whose long side is at
    most 640 px.

    Args:
        photo: (H, W, 3), under the light that the result will have.
        prior: (H, W, 3) registered, under the same light.
        valid: (H, W) 1 where the prior covers the photo, else 0.
        everything: True if every difference counts, whatever its shape, since the user's task was
            to remove something.
    """
    own, other, visible = (reduce_to(x, WORK) for x in (photo, prior, valid))
    difference = _difference(own, other)
    typical = float(np.median(difference[visible > 0.5])) if (visible > 0.5).any() else 1.0
    least = max(LEAST, TYPICAL * typical)
    places = _places(difference, visible, least, own, other)
    is_removed = (places.peak > SURE * least) & (places.area >= SMALLEST)
    if not everything:
        side = max(visible.shape)
        layers = places.layer & (places.width > THIN[0] * side + THIN[1])
        extra = is_removed & places.more & ~layers
        extra[extra] = ~_is_displaced(places, np.flatnonzero(extra), own, other)
        is_removed &= layers | (extra & _no_part_of_the_scene(places, extra, side))
    is_removed[0] = False
    mask = is_removed[places.labels]
    if not everything:
        mask |= _glare(np.where(luma(own - other) > 0, difference, 0), visible, least, own, other)
    mask = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(mask, np.float32)


def differing(photo: Image, prior: Image, valid: Plane) -> Plane:
    """Where photo and registered prior, under the same light, differ in structure or light,
    whatever the reason: (h, w), 1 there, else 0, at a size whose long side is at most 640 px.
    `valid`: 1 where the prior covers the photo."""
    own, other, visible = (reduce_to(x, WORK) for x in (photo, prior, valid))
    mask = _differing(_difference(own, other), visible, LEAST)
    return np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)), np.float32)


def _difference(own: Image, other: Image) -> Plane:
    """How much two pictures (h, w, 3) differ at each pixel, (h, w): the absolute difference of
    their luma or, if that is more, 0.7 times the largest absolute difference of a channel."""
    off = np.abs(cv2.GaussianBlur(own - other, (0, 0), 0.8))
    return np.asarray(np.maximum(np.abs(luma(own - other)), 0.7 * largest(off)), np.float32)


def _glare(
    brighter: Plane, visible: Plane, least: float, own: Image, other: Image
) -> NDArray[np.bool_]:
    """(h, w) True where the photo shows the prior's scene plus light: flares and reflections.

    `brighter` (h, w): the difference where the photo is brighter than the prior, 0 elsewhere. A
    flare often touches places that differ for other reasons; using only brighter pixels separates
    it from them. `visible` (h, w): how far the prior covers each pixel, in [0, 1]. `least`: least
    difference that counts. `own`, `other`: photo and prior, under the same light."""
    differs = _differing(brighter, visible, least)
    number, labels = cv2.connectedComponents(differs, connectivity=8)
    total, most = _by_label(labels, number)
    depth = cv2.distanceTransform(differs, cv2.DIST_L2, 3)
    inside = (depth > NEAR_BORDER).astype(np.float32)
    one, two = (inside * (luma(x) - cv2.GaussianBlur(luma(x), (0, 0), 2.0)) for x in (own, other))
    mine, its, shared = total(one * one), total(two * two) + np.float32(1e-9), total(one * two)
    off, area = luma(own - other), total(np.ones_like(one))
    size = total(np.abs(off)) + np.float32(1e-9)
    smooth = total(np.abs(cv2.GaussianBlur(off, (0, 0), SOFT))) > SMOOTH * size
    matches = shared > np.where(beams(labels, number), FAINT, HELD[0]) * its
    matches &= shared < HELD[1] * its
    alike = shared > ALIKE * np.sqrt(mine * its)
    is_layer = smooth & matches & alike & (total(off) > ADDED * size) & (its > PLAIN / 2 * area)
    wide = 2 * most(depth) > THIN[0] * max(visible.shape) + THIN[1]  # letters are thin
    is_layer &= (
        wide
        & (total(off) > BRIGHT * area)
        & (most(brighter) > SURE * least)
        & _edge_in_photo(labels, own, other)
    )
    is_layer[0] = False
    return np.asarray(is_layer[labels])


def beams(labels: NDArray[np.int32], number: int) -> NDArray[np.bool_]:
    """(number,) True for labelled places that are long, straight rectangles, like a beam of light:
    more than six times as long as they are wide. `labels` (h, w): the label of each pixel.
    `number`: of labels, with 0, the background, which is False. Computed from second moments."""
    total, _ = _by_label(labels, number)
    area = np.maximum(total(np.ones(labels.shape, np.float32)), 1)
    grid = np.indices(labels.shape, np.float32)
    y, x = (grid[k] - (total(grid[k]) / area)[labels] for k in (0, 1))
    xx, yy, xy = (total(np.asarray(a * b)) / area for a, b in ((x, x), (y, y), (x, y)))
    apart = np.hypot((xx - yy) / 2, xy)
    length, width = (
        np.sqrt(12 * np.maximum((xx + yy) / 2 + sign * apart, 1 / 12)) for sign in (1, -1)
    )
    return np.asarray((length > LONG * width) & (area > 0.5 * length * width))


def _differing(difference: Plane, visible: Plane, least: float) -> NDArray[np.uint8]:
    """(h, w) 1 where `difference` exceeds `least` and the prior covers the photo, else 0; small
    gaps are closed. `visible`: how far the prior covers each pixel, in [0, 1]."""
    differs = ((difference > least) & (visible > 0.9)).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)))


def _places(difference: Plane, visible: Plane, least: float, own: Image, other: Image) -> Places:
    differs = _differing(difference, visible, least)
    number, labels, boxes, centres = cv2.connectedComponentsWithStats(differs, connectivity=8)
    total, most = _by_label(labels, number)
    depth = cv2.distanceTransform(differs, cv2.DIST_L2, 3)
    inside = (depth > INSIDE).astype(np.float32)  # a shadow has an edge of its own at its border
    one, two = (luma(x) - cv2.GaussianBlur(luma(x), (0, 0), 2.0) for x in (own, other))
    mine, its = total(one * one), total(two * two)
    shared_inside, mine_inside, its_inside = (
        total(x * inside) for x in (one * two, one * one, two * two)
    )
    area = np.maximum(boxes[:, cv2.CC_STAT_AREA].astype(np.float32), 1)
    off = luma(own - other)
    smooth = total(np.abs(cv2.GaussianBlur(off, (0, 0), SOFT))) > SMOOTH * total(np.abs(off))
    alike = shared_inside > LAYER * np.sqrt(mine_inside * its_inside)
    layer = smooth & (its / area > PLAIN) & alike & _edge_in_photo(labels, own, other)
    width = 2 * most(depth)
    size = np.array([labels.shape[1], labels.shape[0]])
    centre = (centres / size).astype(np.float32)
    texture = np.sqrt(cv2.GaussianBlur(two * two, (0, 0), AROUND)) + np.float32(0.004)
    more = (mine > MORE * its) & (most(difference / texture) > OUTSTANDING)
    box = boxes[:, :4].astype(np.int32)
    return Places(labels, width, area, most(difference), more, layer, centre, box)


def _by_label(labels: NDArray[np.int32], number: int) -> tuple[OfPlaces, OfPlaces]:
    """Two functions that take values (h, w) and return one number for each label, (number,): the
    first the sum, the second the maximum of the values there. `labels` (h, w): the label of each
    pixel. `number`: of labels, with 0, the background, which gets 0."""
    where = np.flatnonzero(labels)
    marked = labels.ravel()[where]

    def total(values: Plane) -> Float:
        return np.bincount(marked, values.ravel()[where], number).astype(np.float32)

    def most(values: Plane) -> Float:
        return peaks(marked, number, values.ravel()[where])

    return total, most


def _edge_in_photo(labels: NDArray[np.int32], own: Image, other: Image) -> NDArray[np.bool_]:
    """For each label, (n,), whether the border of its place is an edge in the photo (`own`) rather
    than in the prior (`other`); False for label 0, the background. If it is, the place may be a
    layer on the scene, such as a shadow, which only the photo shows. If not, the generator redrew
    the place."""
    outside = (labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[outside == 0]] = labels[outside == 0]
    inner = cv2.erode(1 - outside, np.ones((3, 3), np.uint8)) > 0
    border = (distance <= BORDER) & ~inner
    one, two = (
        cv2.GaussianBlur(luma(x), (0, 0), COARSE / 1.4)
        - cv2.GaussianBlur(luma(x), (0, 0), COARSE * 1.4)
        for x in (own, other)
    )
    mine, its, both = (
        cv2.GaussianBlur(x, (0, 0), 1.5 * COARSE) for x in (one * one, two * two, one * two)
    )
    shared = np.maximum(both, 0) ** 2
    only = (
        np.maximum(mine - shared / (its + 1e-8), 0),
        np.maximum(its - shared / (mine + 1e-8), 0),
    )
    places = owner[nearest][border]
    photo, prior = (np.bincount(places, x[border], int(labels.max()) + 1) for x in only)
    return np.asarray(photo > EDGE * prior + 1e-9)


def _is_displaced(
    places: Places, numbers: NDArray[np.intp], own: Image, other: Image
) -> NDArray[np.bool_]:
    """For each of the labels `numbers`, in their order, whether what the photo (`own`) shows at
    that place is in the prior (`other`), too, at most 8 px away. Then it was moved, not removed."""
    one, two = (luma(x) - cv2.GaussianBlur(luma(x), (0, 0), 2.0) for x in (own, other))
    displaced = np.zeros(len(numbers), bool)
    for index, number in enumerate(numbers):
        left, top, width, height = places.box[number]
        rows = slice(max(0, top - AWAY), top + height + AWAY)
        columns = slice(max(0, left - AWAY), left + width + AWAY)
        place = (places.labels[rows, columns] == number).astype(np.float32)
        place = cv2.dilate(place, np.ones((3, 3), np.uint8))
        around = cv2.copyMakeBorder(two[rows, columns], *(AWAY,) * 4, cv2.BORDER_CONSTANT)
        alike = cv2.matchTemplate(around, one[rows, columns], cv2.TM_CCORR_NORMED, mask=place)
        displaced[index] = np.nan_to_num(alike).max() > SHOWN
    return displaced


def _no_part_of_the_scene(
    places: Places, is_removed: NDArray[np.bool_], side: int
) -> NDArray[np.bool_]:
    """For each label (0, the background, has no meaning), whether its place is too thin to be part
    of the scene. Small places count as well if many that the prior removed lie all over the
    picture. `is_removed`: for each label, whether the prior removed what is there. `side`: the long
    side of the reduced pictures in px."""
    thin = places.width <= THIN[0] * side + THIN[1]
    small = thin | ((places.width <= SMALL * side) & (places.area < AREA * side * side))
    counted = np.flatnonzero(small & is_removed)[1 if small[0] and is_removed[0] else 0 :]
    cells = {(int(4 * x), int(4 * y)) for x, y in places.centre[counted]}
    return small if len(counted) >= MANY and len(cells) >= SPREAD else thin
