"""Regions whose content changed: differences beyond light, colour and small misplacement."""

from dataclasses import dataclass

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.deviation.compare import AlignedPair, Map
from verax.deviation.record import ObjectKind
from verax.image import Image
from verax.image.pixels import blur, resize

SIDE_PX = 288  # long side at which regions are searched
SOFT_PX = 1.2
TOLERANCE_PX = 2  # largest misplacement that is no change of content
LEAST_DELTA_E = 5.0
SIGMAS = 5.0
FAINT = 0.6  # hysteresis: share of the threshold for pixels connected to a clear change
SEED = 0.0015  # least area of a region above the threshold
MIN_AREA = 0.003
JOIN = 0.012  # gaps closed between parts of one region, share of the long side
ONE_THING = 0.02  # largest gap between regions of one kind that are joined, share of the long side
CLEAR = 0.35  # share of a region's largest strength
ASIDE_PX = 3
FAINT_GRADIENT = 0.7  # Lab units per px
SAME_EDGES = 0.75  # least agreement of gradients for the same structure
SAME_REVEALED = 0.36  # the same if the prior shows the whole neighbourhood more clearly
REVEALED, CLEARER = 1.5, 1.2  # its gradient energy over the photo's, in a region and around it
UNSEEN_GRADIENT = 0.3  # Lab units per px
THICK_PX, THICK = 5, 0.8  # least share of a thing that discs of this width inside it cover
CALMER = 0.8  # gradient energy around a region, prior over photo: streaks or noise were removed
DECIDED = 0.1  # least log ratio of the regions' prominence in both pictures
LEAST_STRENGTH = 1.0  # least mean of a region; objects inserted into photos have 1.5 and more
STRONG = 3.0  # the same where streaks or noise were removed

Mask = NDArray[np.bool_]
SMOOTH = 0.12  # sigma of the smooth tone correction, share of the long side
ROUNDS = 5
LEVELS = 9  # of lightness in the tone correction


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


def changed_regions(pair: AlignedPair) -> Regions:
    """Connected regions that tone and small misplacement do not explain."""
    scale = min(1.0, SIDE_PX / max(pair.overlap.shape))
    size = (round(pair.overlap.shape[1] * scale), round(pair.overlap.shape[0] * scale))
    photo, prior = (_lab(resize(p, size)) for p in (pair.photo, pair.prior))
    overlap = resize(pair.overlap.astype(np.float32), size) > 0.99
    expected = in_the_light_of(photo, prior, overlap)
    # pixels that clip in the prior's light have not changed
    ways = [_apart(prior, colours) for colours in (expected, as_shown(expected))]
    apart = np.asarray(np.minimum(*ways) * overlap, np.float32)
    typical = float(np.median(apart[overlap])) if overlap.any() else 0.0
    spread = 1.4826 * float(np.median(np.abs(apart[overlap] - typical))) if overlap.any() else 0.0
    strength = apart / max(LEAST_DELTA_E, typical + SIGMAS * spread)
    return Regions(_regions(strength, size), np.asarray(strength, np.float32), expected, prior)


def _lab(image: Image) -> Map:
    soft = np.clip(blur(image, SOFT_PX), 0, 1)
    return np.asarray(cv2.cvtColor(soft, cv2.COLOR_RGB2Lab), np.float32)


def _apart(one: Map, other: Map) -> Map:
    """Colour difference beyond a small misplacement of either picture."""
    lengths = (np.linalg.norm(_beyond(*both), axis=2) for both in ((one, other), (other, one)))
    return np.asarray(np.maximum(*lengths), np.float32)


def _beyond(one: Map, other: Map) -> Map:
    """How far each channel of `one` lies outside the range of `other` nearby."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE_PX + 1,) * 2)
    above = one - cv2.dilate(other, kernel)
    below = cv2.erode(other, kernel) - one
    return np.asarray(np.maximum(np.maximum(above, below), 0), np.float32)


def _regions(strength: Map, size: tuple[int, int]) -> NDArray[np.int32]:
    """Labels of regions above the threshold, with gaps closed and without specks."""
    gap = max(3, 2 * round(JOIN * max(size)) + 1)
    coarse = _components(strength > FAINT, gap)
    sharp = np.zeros(strength.shape, bool)
    for label in range(1, int(coarse.max()) + 1):
        # a small error of the colour match beside a clear change is not part of it
        mask = coarse == label
        if (strength[mask] > 1).sum() >= SEED * strength.size:
            strong = float(np.quantile(strength[mask], 0.95))
            sharp |= mask & (strength > max(FAINT, CLEAR * strong))
    labels = _components(sharp, gap)
    sizes = np.bincount(labels.ravel())
    small = np.flatnonzero(sizes < MIN_AREA * strength.size)
    labels[np.isin(labels, small)] = 0
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def _components(mask: Mask, gap: int) -> NDArray[np.int32]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel)
    return np.asarray(cv2.connectedComponents(closed, connectivity=8)[1], np.int32)


def same_structure(regions: Regions, mask: Mask) -> bool:
    """Whether both pictures show the same structure in and around a region.

    A region that only changed colour keeps its edges; a misplaced one has them slightly moved.
    Gradients too weak to be visible agree. Less agreement is required if the prior shows the
    surroundings more clearly, too: haze or darkness hid structure there.
    """
    around = _wider(mask, 3)
    faint = float(around.sum()) * FAINT_GRADIENT**2
    photo, prior = gradients(regions.expected), gradients(regions.prior)
    slopes = gradients(as_shown(regions.expected))
    edges = max(_agreement(one, prior, around, faint) for one in (photo, slopes))
    if edges > SAME_EDGES or edges < SAME_REVEALED:
        return edges > SAME_EDGES
    if _clearer(photo, prior, around) < REVEALED:
        return False
    return _clearer(photo, prior, _surroundings(regions, mask)) > CLEARER


def is_a_thing(regions: Regions, mask: Mask) -> bool:
    """Whether a region is thick and strong enough to be a thing.

    Lines and streaks are no things; they are measured as edges. A mean below the threshold is the
    remainder of removed glow or haze. Where rain or noise was removed all around, a faint region is
    part of that.
    """
    if float(regions.strength[mask].mean()) < LEAST_STRENGTH:
        return False
    core = (mask & (regions.strength > FAINT)).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THICK_PX, THICK_PX))
    thick = cv2.morphologyEx(core, cv2.MORPH_OPEN, disc)
    if int(thick.sum()) < THICK * int(core.sum()):
        return False
    calmer = _clearer(
        gradients(regions.expected), gradients(regions.prior), _surroundings(regions, mask)
    )
    return calmer > CALMER or float(regions.strength[mask].mean()) > STRONG


def _surroundings(regions: Regions, mask: Mask) -> Mask:
    """The surroundings of a region, a few px away from it and outside all regions."""
    outside = _wider(mask, 4 + round(0.25 * float(np.sqrt(mask.sum()))))
    return np.asarray(outside & ~_wider(mask, 3) & (regions.labels == 0))


def _wider(mask: Mask, reach: int) -> Mask:
    side = 2 * reach + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def side_by_side(together: Mask) -> list[Mask]:
    """Regions of one kind, with neighbours joined."""
    count, labels = cv2.connectedComponents(grown(together, ONE_THING / 2), connectivity=8)
    return [(labels == label) & together for label in range(1, count)]


def grown(mask: Mask, share: float) -> cv2.typing.MatLike:
    """The mask dilated by a share of its long side, as 0 and 1."""
    reach = 2 * round(share * max(mask.shape)) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8))


def _clearer(photo: Map, prior: Map, where: Mask) -> float:
    """Ratio of the gradient energy of the prior to the photo's."""
    unseen = float(where.sum()) * UNSEEN_GRADIENT**2 + 1e-9
    return (float((prior[where] ** 2).sum()) + unseen) / (float((photo[where] ** 2).sum()) + unseen)


def _agreement(one: Map, other: Map, around: Mask, faint: float) -> float:
    """Best correlation over small displacements, -1..1."""
    here, best = one[around], -1.0
    size = float((here**2).sum()) + faint
    reach = range(-ASIDE_PX, ASIDE_PX + 1)
    for dy in reach:
        for dx in reach:
            moved = np.roll(other, (dy, dx), (0, 1))[around]
            both = float((here * moved).sum()) + faint
            best = max(best, both / float(np.sqrt(size * (float((moved**2).sum()) + faint))))
    return best


def came_or_went(regions: Regions, mask: Mask) -> ObjectKind:
    """Whether a thing appeared or vanished: it is where the region is more distinct.

    Distinctness is the contrast of its outline and its difference from its surroundings.
    """
    photo, prior = (_stands_out(lab, mask) for lab in (regions.expected, regions.prior))
    balance = float(np.log(prior / photo))
    if abs(balance) < DECIDED:
        return "replaced"
    return "appeared" if balance > 0 else "vanished"


def _stands_out(lab: Map, mask: Mask) -> float:
    """Contrast along a region's outline times its difference from its surroundings."""
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


def gradients(lab: Map) -> Map:
    """(h, w, 6) gradients of the three Lab channels, units per px."""
    parts = [cv2.Sobel(lab, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    return np.dstack(parts)


def in_the_light_of(photo: Map, prior: Map, overlap: NDArray[np.bool_]) -> Map:
    """The photo's Lab colours in the prior's light, (h, w, 3).

    One polynomial for the picture, then corrections that vary with place and lightness, in rounds
    that exclude outliers.
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
    weight = overlap.astype(np.float32)
    ridge = 1e-5 * weight.sum() * np.eye(terms.shape[2])
    expected = photo
    for _ in range(ROUNDS):
        x, y = terms[overlap].astype(np.float64), prior[overlap].astype(np.float64)
        weighted = x * weight[overlap][:, None]
        expected = np.asarray(
            terms @ np.linalg.solve(weighted.T @ x + ridge, weighted.T @ y), np.float32
        )
        expected = expected + _by_place_and_lightness(prior - expected, photo[..., 0], weight)
        apart = np.linalg.norm(prior - expected, axis=2)
        scale = max(1.4826 * float(np.median(apart[overlap])), 1.0)
        weight = overlap * np.clip(1 - (apart / (4 * scale)) ** 2, 0, 1).astype(np.float32) ** 2
    return expected


def as_shown(lab: Map) -> Map:
    """The colours clipped to the gamut of sRGB."""
    colours = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2Lab), np.float32)


def _by_place_and_lightness(rest: Map, lightness: Map, weight: Map) -> Map:
    """Weighted mean of `rest` over nearby pixels of similar lightness, by a bilateral grid."""
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
        sums = scipy.ndimage.gaussian_filter1d(sums, sigma, axis=axis, mode="nearest")
    means = sums[..., :3] / (sums[..., 3:] + 1e-3)
    result = np.zeros_like(rest)
    for k, share in enumerate(shares):
        field = cv2.resize(np.ascontiguousarray(means[:, :, k]), (width, height))
        result += share[..., None] * field
    return result
