"""Find regions whose content changed between a photo and its registered prior (generated picture).

Differences that a change of light or colour, or a misplacement of a few px, explains do not count.
"""

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
SOFT_PX = 1.2  # sigma by which both pictures are smoothed first
TOLERANCE_PX = 2  # largest misplacement that is no change of content
LEAST_DELTA_E = 5.0  # least colour difference of a change
SIGMAS = 5.0  # the same in robust standard deviations of the difference over the picture
FAINT = 0.6  # hysteresis: share of the threshold for pixels connected to a clear change
SEED = 0.0015  # least area above the full threshold, share of the picture
MIN_AREA = 0.003  # least area of a region, share of the picture
JOIN = 0.012  # gaps closed between parts of one region, share of the long side
ONE_THING = 0.02  # largest gap between regions of one kind that are joined, share of the long side
CLEAR = 0.35  # weaker pixels, as share of a region's largest strength, are not part of the region
ASIDE_PX = 3  # largest displacement at which gradients are compared
FAINT_GRADIENT = 0.7  # Lab units per px: weaker gradients agree
SAME_EDGES = 0.75  # least agreement of gradients for the same structure
SAME_REVEALED = 0.36  # the same if the prior shows the whole neighbourhood more clearly
REVEALED, CLEARER = 1.5, 1.2  # least ratio of gradient energy, prior over photo, for that: in the
# region, and around it
UNSEEN_GRADIENT = 0.3  # Lab units per px: gradients this weak are not visible
THICK_PX, THICK = 5, 0.8  # least share of an object that discs of this width inside it cover
CALMER = 0.8  # gradient energy around a region, prior over photo; less: streaks, noise were removed
DECIDED = 0.1  # least log ratio of a region's prominence, prior over photo, to name a kind
LEAST_STRENGTH = 1.0  # least mean strength of an object; inserted objects have 1.5 and more
STRONG = 3.0  # the same where streaks or noise were removed all around

Mask = NDArray[np.bool_]
SMOOTH = 0.12  # sigma of the smooth colour correction, share of the long side
ROUNDS = 5  # of the robust fit of colours
LEVELS = 9  # levels of lightness in the colour correction


@dataclass(frozen=True, slots=True)
class Regions:
    """The changed regions of a pair, on a grid with a long side of at most 288 px.

    Attributes:
        labels: (h, w) number of the region from 1, 0 where nothing changed.
        strength: (h, w) colour difference that light and misplacement do not explain, as a multiple
            of the least difference that counts as a change.
        expected: (h, w, 3) Lab, the photo with its colours matched to the prior's.
        prior: (h, w, 3) Lab, the registered prior.
    """

    labels: NDArray[np.int32]
    strength: Map
    expected: Map
    prior: Map


def changed_regions(pair: AlignedPair) -> Regions:
    """Find the regions that changed by more than new light or colour and a shift by 2 px
    explain."""
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
    """(h, w) distance of two Lab pictures (h, w, 3) that no misplacement by up to 2 px explains."""
    lengths = (np.linalg.norm(_beyond(*both), axis=2) for both in ((one, other), (other, one)))
    return np.asarray(np.maximum(*lengths), np.float32)


def _beyond(one: Map, other: Map) -> Map:
    """(h, w, 3) how far each Lab value of `one` is above the largest or below the smallest value of
    `other` within 2 px; 0 between them."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE_PX + 1,) * 2)
    above = one - cv2.dilate(other, kernel)
    below = cv2.erode(other, kernel) - one
    return np.asarray(np.maximum(np.maximum(above, below), 0), np.float32)


def _regions(strength: Map, size: tuple[int, int]) -> NDArray[np.int32]:
    """Number the connected regions that changed: (h, w), from 1; 0 elsewhere.

    `strength` (h, w) is the colour difference, 1 the least that counts. A region may include weaker
    pixels beside these. Gaps are closed, small regions removed. `size`: (width, height) of it.
    """
    gap = max(3, 2 * round(JOIN * max(size)) + 1)
    coarse = _components(strength > FAINT, gap)
    sharp = np.zeros(strength.shape, bool)
    for label in range(1, int(coarse.max()) + 1):
        # beside a clear change, a small error of the colour match is not part of the region
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
    """Whether photo and prior show the same structure in and around the region `mask`.

    A region that only changed colour keeps its edges, and slightly displaced edges count as equal.
    Gradients too weak to be visible count as agreement. Less agreement is required if the prior
    shows region and surroundings more clearly, because haze or darkness hid structure in the photo.
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
    """Whether a changed region (a mask) is thick and strong enough to be an object.

    Lines and streaks are measured as edges instead. A weak region is usually a remainder of removed
    glow or haze. A weak region among removed rain or noise is part of the rain or noise.
    """
    if float(regions.strength[mask].mean()) < LEAST_STRENGTH:
        return False
    core = (mask & (regions.strength > FAINT)).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THICK_PX, THICK_PX))
    thick = cv2.morphologyEx(core, cv2.MORPH_OPEN, disc)
    if int(thick.sum()) < THICK * int(core.sum()):
        return False
    photo, prior = gradients(regions.expected), gradients(regions.prior)
    calmer = _clearer(photo, prior, _surroundings(regions, mask))
    return calmer > CALMER or float(regions.strength[mask].mean()) > STRONG


def _surroundings(regions: Regions, mask: Mask) -> Mask:
    """Mask of a ring around a region, a few px away from it and outside all changed regions."""
    outside = _wider(mask, 4 + round(0.25 * float(np.sqrt(mask.sum()))))
    return np.asarray(outside & ~_wider(mask, 3) & (regions.labels == 0))


def _wider(mask: Mask, reach: int) -> Mask:
    side = 2 * reach + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def side_by_side(together: Mask) -> list[Mask]:
    """Split a mask into its regions; regions at most 2 % of the long side apart count as one."""
    count, labels = cv2.connectedComponents(dilate(together, ONE_THING / 2), connectivity=8)
    return [(labels == label) & together for label in range(1, count)]


def dilate(mask: Mask, share: float) -> cv2.typing.MatLike:
    """The mask dilated by `share` of its long side in each direction, as uint8 with 0 and 1."""
    reach = 2 * round(share * max(mask.shape)) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8))


def _clearer(photo: Map, prior: Map, where: Mask) -> float:
    """Gradient energy (sum of squares) in the mask `where`, the prior's divided by the photo's;
    both are gradients (h, w, 6) of Lab pictures."""
    unseen = float(where.sum()) * UNSEEN_GRADIENT**2 + 1e-9
    return (float((prior[where] ** 2).sum()) + unseen) / (float((photo[where] ** 2).sum()) + unseen)


def _agreement(one: Map, other: Map, around: Mask, faint: float) -> float:
    """Highest correlation, in [-1, 1], of two gradient arrays (h, w, 6) in the mask `around`, when
    `other` is displaced by up to 3 px. `faint` is added to the sums of squares and of products, so
    that places without gradients agree."""
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
    """Whether the object in a region appeared, vanished or was replaced.

    The object is in the picture in which the region stands out more; "replaced" if about equally.
    """
    photo, prior = (_stands_out(lab, mask) for lab in (regions.expected, regions.prior))
    balance = float(np.log(prior / photo))
    if abs(balance) < DECIDED:
        return "replaced"
    return "appeared" if balance > 0 else "vanished"


def _stands_out(lab: Map, mask: Mask) -> float:
    """How much a region of a Lab picture stands out: the gradient along its outline, times its
    colour difference from its surroundings."""
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
    """(h, w, 6) gradients of the three Lab channels along x, then along y, in Lab units per px."""
    parts = [cv2.Sobel(lab, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    return np.dstack(parts)


def in_the_light_of(photo: Map, prior: Map, overlap: NDArray[np.bool_]) -> Map:
    """(h, w, 3) the photo's Lab colours, matched to the colours of the prior, both (h, w, 3).

    One polynomial is fitted to all pixels in the mask `overlap`, then a correction that varies with
    place and lightness. Both are fitted repeatedly; outliers such as changed objects weigh less.
    """
    lightness = photo[..., :1] / 50 - 1
    chroma = photo[..., 1:] / 50
    powers = [lightness**power for power in range(4)]
    products = (chroma, chroma**2, lightness * chroma, chroma[..., :1] * chroma[..., 1:])
    terms = np.concatenate([*powers, *products], axis=2)
    weight = overlap.astype(np.float32)
    ridge = 1e-5 * weight.sum() * np.eye(terms.shape[2])
    expected = photo
    for _ in range(ROUNDS):
        x, y = terms[overlap].astype(np.float64), prior[overlap].astype(np.float64)
        weighted = x * weight[overlap][:, None]
        factors = np.linalg.solve(weighted.T @ x + ridge, weighted.T @ y)
        expected = np.asarray(terms @ factors, np.float32)
        expected = expected + _by_place_and_lightness(prior - expected, photo[..., 0], weight)
        apart = np.linalg.norm(prior - expected, axis=2)
        scale = max(1.4826 * float(np.median(apart[overlap])), 1.0)
        weight = overlap * np.clip(1 - (apart / (4 * scale)) ** 2, 0, 1).astype(np.float32) ** 2
    return expected


def as_shown(lab: Map) -> Map:
    """The Lab colours clipped to the gamut of sRGB, as a screen would show them."""
    colours = np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2Lab), np.float32)


def _by_place_and_lightness(difference: Map, lightness: Map, weight: Map) -> Map:
    """Mean of the colour `difference` (h, w, 3) over near pixels of similar `lightness` (h, w; the
    photo's, 0 to 100), weighted by `weight` (h, w). Returns (h, w, 3)."""
    height, width = weight.shape
    cell = max(1, round(SMOOTH * max(height, width) / 4))
    size = (-(-width // cell), -(-height // cell))
    level = np.clip(lightness / 100 * (LEVELS - 1), 0, LEVELS - 1)
    sums = np.zeros((size[1], size[0], LEVELS, 4), np.float32)
    weighted = np.dstack([difference * weight[..., None], weight])
    shares = [np.maximum(1 - np.abs(level - k), 0).astype(np.float32) for k in range(LEVELS)]
    for k, share in enumerate(shares):
        sums[:, :, k] = cv2.resize(weighted * share[..., None], size, interpolation=cv2.INTER_AREA)
    for axis, sigma in enumerate((4.0, 4.0, 0.7)):
        sums = scipy.ndimage.gaussian_filter1d(sums, sigma, axis=axis, mode="nearest")
    means = sums[..., :3] / (sums[..., 3:] + 1e-3)
    result = np.zeros_like(difference)
    for k, share in enumerate(shares):
        field = cv2.resize(np.ascontiguousarray(means[:, :, k]), (width, height))
        result += share[..., None] * field
    return result
