"""Colour for a photo without its own: the photo's luma, the prior's chroma.

Chroma follows the photo's luma: a local line from the prior's luma to its chroma (the guided
filter of He, Sun and Tang, TPAMI 35(6), 2013) is read off at the photo's, so that it changes where
the photo does. Where the prior shows another thing its colour is not evidence; it comes from
places around that the two share.
"""

from typing import Literal

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.geometry.register import Warped
from verax.image import Image, Plane
from verax.image.pixels import LUMA, guided_filter, largest, luma

Toning = Literal["grey", "toned", "colour"]

GREYISH = 3.0 / 255  # chroma below which a photo is grey
STRAY = 10.0 / 255  # chroma that a toned print may have off the tone of its luma
OFF = 0.07  # share of the pixels that may stray farther: stains, stamps, pencil
VIVID, FEW = 28.0 / 255, 0.005  # chroma off its tone that hardly a pixel of a print has
COLOURED = 8.0 / 255  # chroma off its own tone from which a prior is in colour
DARKEST, LIT = 0.06, 0.5  # brightest places of a dark photo: at least, and as they should be
BINS = 24  # of luma, for the tone of a print
SIDE = 512  # px, long side at which a photo's toning is judged
RADIUS = 0.012  # of the windows, share of the long side
SMOOTH = 4e-4  # variance of luma below which chroma is not tied to it
SAME = (0.25, 0.6)  # local correlation of luma from which colour counts, and counts in full
STRUCTURE = 0.02  # deviation of luma below which there is nothing to compare
MOSTLY = (0.35, 0.6)  # share of the wider surroundings that have to be alike too
CARRIED = 2.0  # radii over which colour is carried to places without evidence
SPREAD = 320  # px, long side at which colour spreads to places without evidence
PULL, DOUBT = 0.01, 0.015  # to the photo's own tone there, and more where hardly anything is alike
STEP = 0.02  # of luma between neighbours that parts colours
BEYOND = 2.5  # deviations of luma past which a local line is not read off


def toning(photo: Image) -> Toning:
    """Whether a photo is grey, of one tone as sepia prints are, or in colour.

    Judged as bright as it should be: the colours of a dark photo are faint, but they are there.
    """
    small = shrink(photo, SIDE)
    small = small * np.float32(LIT / np.clip(np.quantile(luma(small), 0.98), DARKEST, LIT))
    y, chroma = split(small)
    if float(np.quantile(largest(np.abs(chroma)), 0.95)) < GREYISH:
        return "grey"
    stray = largest(np.abs(chroma - tone_of(y, chroma, y)))
    toned = (stray > STRAY).mean() < OFF and (stray > VIVID).mean() < FEW
    return "toned" if toned else "colour"


def is_coloured(prior: Image) -> bool:
    """Whether a prior shows colours, not only a tone."""
    y, chroma = split(shrink(prior, SIDE))
    stray = largest(np.abs(chroma - tone_of(y, chroma, y)))
    return float(np.quantile(stray, 0.8)) > COLOURED


def with_colour(photo: Image, restored: Image, warped: Warped) -> tuple[Image, Plane] | None:
    """A restoration under the colours of its prior where the photo has none; else None.

    The luma (H, W) of `restored` stays. Where the prior shows another thing the photo's own tone
    stands. Comes with the share of each pixel's colour that is the prior's.
    """
    if toning(photo) == "colour" or not is_coloured(warped.pixels):
        return None
    y, own = split(photo)
    new = split(restored)[0]
    toned = within_gamut(new, tone_of(new, own, y))
    return colourise(toned, warped.pixels, warped.valid)


def trust_in_colour(trust: NDArray[np.float16], share: Plane) -> NDArray[np.float16]:
    """A trust map (H, W, 4) where a share (H, W) of each pixel's colour is the prior's.

    What was the photo's own alone is so under light of the prior; structure that both confirm is
    still that.
    """
    shares = trust.astype(np.float32)
    more = shares[..., 0] * share
    shares[..., 0] -= more
    shares[..., 2] += more
    return np.asarray(shares, np.float16)


def in_one_tone(photo: Image, restored: Image, prior: Image) -> Image | None:
    """A restoration of a toned print in the one tone of its prior; None where either has more.

    Sepia that a prior took away is gone from the whole print, border and stains included, where
    the prior shows nothing to fit colours to.
    """
    if toning(photo) != "toned" or toning(prior) == "colour":
        return None
    levels, (y, chroma) = luma(restored), split(shrink(prior, SIDE))
    return within_gamut(levels, tone_of(levels, chroma, y))


def shrink(image: Image, side: int) -> Image:
    """A picture whose long side has at most so many px."""
    scale = min(1.0, side / max(image.shape[:2]))
    size = (max(3, round(image.shape[1] * scale)), max(3, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def split(image: Image) -> tuple[Plane, NDArray[np.float32]]:
    """Luma (H, W) and chroma (H, W, 3), the rest of each channel."""
    y = luma(image)
    return y, image - y[..., None]


def tone_of(levels: Plane, chroma: NDArray[np.float32], y: Plane) -> NDArray[np.float32]:
    """The chroma that a toned print of luma `y` has at the `levels`: its medians, joined."""
    level = np.clip((y * BINS).astype(np.int16), 0, BINS - 1)
    counts = np.bincount(level.ravel(), minlength=BINS)
    known = np.flatnonzero(counts >= 20)
    if not known.size:
        return np.zeros((*levels.shape, 3), np.float32)
    centres, ends = (known + 0.5) / BINS, np.cumsum(counts)
    by_level = chroma.reshape(-1, 3)[np.argsort(level.ravel(), kind="stable")].T.copy()
    medians = np.array(
        [np.median(by_level[:, ends[bin] - counts[bin] : ends[bin]], axis=1) for bin in known]
    )
    tones = [np.interp(levels, centres, medians[:, channel]) for channel in range(3)]
    return np.asarray(np.stack(tones, axis=2), np.float32)


def colourise(photo: Image, prior: Image, valid: Plane) -> tuple[Image, Plane]:
    """The photo's luma under the prior's chroma, and the share of each pixel that has it.

    Args:
        photo: (H, W, 3) restored; its own chroma is dropped where the prior's comes.
        prior: (H, W, 3) on the photo's grid.
        valid: (H, W) share of the prior that is valid.
    """
    y, own = split(photo)
    p, chroma = split(prior)
    radius = max(2, round(RADIUS * max(y.shape)))
    alike, mostly = evidence(y, p, radius)
    weight = alike * mostly * valid
    matched = matched_luma(p, y, weight)
    guided, known = carry(y, matched, chroma, weight, radius)
    wider, _ = carry(y, matched, chroma, weight, round(CARRIED * radius))
    guided += (1 - known)[..., None] * (wider - guided)
    core = without_rim(weight, radius)[..., None]
    beyond, reach = spread(y, guided, own, core[..., 0], PULL + DOUBT * (1 - mostly))
    return within_gamut(y, core * guided + (1 - core) * beyond), reach


def spread(
    y: Plane, chroma: NDArray[np.float32], own: NDArray[np.float32], weight: Plane, pull: Plane
) -> tuple[NDArray[np.float32], Plane]:
    """Chroma from where it is known to places that no edge of the luma parts from there.

    Neighbours of like luma get like colour (Levin, Lischinski and Weiss, "Colorization using
    optimization", 2004), with a weak `pull` to the photo's own tone. Comes with the share of each
    pixel that is not its own.
    """
    scale = min(1.0, SPREAD / max(y.shape))
    size = (max(2, round(y.shape[1] * scale)), max(2, round(y.shape[0] * scale)))
    grey, belief, hold = (
        cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (y, weight, pull)
    )
    known = cv2.resize(chroma * weight[..., None], size, interpolation=cv2.INTER_AREA)
    plain = cv2.resize(own, size, interpolation=cv2.INTER_AREA)
    target = np.dstack([known + hold[..., None] * plain, belief]).reshape(-1, 4)
    system = likeness_of_neighbours(grey) + scipy.sparse.diags(belief.ravel() + hold.ravel())
    solved = scipy.sparse.linalg.splu(system.tocsc().astype(np.float64)).solve(
        target.astype(np.float64)
    )
    wide = cv2.resize(
        np.asarray(solved.reshape(*grey.shape, 4), np.float32), y.shape[::-1],
        interpolation=cv2.INTER_LINEAR,
    )  # fmt: skip
    radius = max(2, round(1.5 / scale))
    planes = [
        guided_filter(y, np.ascontiguousarray(wide[..., k]), radius, SMOOTH) for k in range(4)
    ]
    return np.dstack(planes[:3]), np.clip(planes[3], 0, 1)


def likeness_of_neighbours(grey: Plane) -> "scipy.sparse.csr_matrix":
    """Laplacian (N, N) of the pixel grid, its weights falling with steps of luma."""
    place = np.arange(grey.size).reshape(grey.shape)
    parts = []
    for one, two in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        alike = np.exp(-(((grey[one] - grey[two]) / STEP) ** 2) / 2).ravel() + 1e-4
        rows = np.concatenate([place[one].ravel(), place[two].ravel()])
        columns = np.concatenate([place[two].ravel(), place[one].ravel()])
        parts.append((np.concatenate([alike, alike]), rows, columns))
    values, rows, columns = (np.concatenate([part[k] for part in parts]) for k in range(3))
    joined = scipy.sparse.coo_matrix(
        (values, (rows, columns)), shape=(grey.size, grey.size)
    ).tocsr()
    return scipy.sparse.diags(np.asarray(joined.sum(1)).ravel()) - joined


def without_rim(weight: Plane, radius: int) -> Plane:
    """Weights without small gaps, and without the rim by which windows reach past an outline."""
    disc, wide = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size,) * 2)
        for size in (radius + 1, 2 * radius + 1)
    )
    core = cv2.erode(cv2.morphologyEx(weight, cv2.MORPH_CLOSE, disc), wide)
    return np.asarray(cv2.GaussianBlur(core, (0, 0), radius / 4), np.float32)


def evidence(y: Plane, p: Plane, radius: int) -> tuple[Plane, Plane]:
    """How far the prior shows the photo's structure, 0..1, in plain places a little; and how far it
    does all around.

    A plain place beside an outline is judged without it, in a smaller window: the outline of hair
    says nothing about the wall behind.
    """
    alike, _ = likeness(y, p, radius)
    near, inside = likeness(y, p, max(2, radius // 2))
    far, _ = likeness(y, p, 4 * radius)
    plain = np.clip(1 - inside / (4 * STRUCTURE**2), 0, 1)
    alike = np.minimum(alike, alike + plain * (np.minimum(near, far) - alike))
    around = cv2.blur(alike, (10 * radius + 1,) * 2)
    mostly = np.clip((around - MOSTLY[0]) / (MOSTLY[1] - MOSTLY[0]), 0, 1)
    return np.asarray(alike, np.float32), np.asarray(mostly, np.float32)


def likeness(y: Plane, p: Plane, radius: int) -> tuple[Plane, Plane]:
    """Correlation of photo and prior in windows, 0..1 in the limits of SAME, and the photo's
    variance in them."""
    side = (2 * radius + 1, 2 * radius + 1)
    my, mp = cv2.blur(y, side), cv2.blur(p, side)
    vy, vp = (np.maximum(cv2.blur(a * a, side) - m * m, 0) for a, m in ((y, my), (p, mp)))
    both = cv2.blur(y * p, side) - my * mp
    floor = STRUCTURE**2
    correlation = (both + 0.4 * floor) / np.sqrt((vy + floor) * (vp + floor))
    return np.clip((correlation - SAME[0]) / (SAME[1] - SAME[0]), 0, 1), vy


def matched_luma(p: Plane, y: Plane, weight: Plane) -> Plane:
    """The prior's luma in the photo's tones: by ranks, over the places that count."""
    use = weight > 0.5
    if use.sum() < 100:
        return p
    steps = np.linspace(0, 1, 65)
    there, here = np.quantile(p[use], steps), np.quantile(y[use], steps)
    return np.asarray(np.interp(p, there, here), np.float32)


def carry(
    y: Plane, p: Plane, chroma: NDArray[np.float32], weight: Plane, radius: int
) -> tuple[NDArray[np.float32], Plane]:
    """Chroma at the photo's luma by the local lines of the prior, and how well they are known."""
    side = (2 * radius + 1, 2 * radius + 1)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, side), np.float32)

    total = np.maximum(mean(weight), 1e-6)
    mp = mean(weight * p) / total
    vp = np.maximum(mean(weight * p * p) / total - mp * mp, 0)
    mc = mean(weight[..., None] * chroma) / total[..., None]
    cov = mean((weight * p)[..., None] * chroma) / total[..., None] - mp[..., None] * mc
    slope = cov / (vp + SMOOTH)[..., None]
    offset = mc - slope * mp[..., None]
    known = np.asarray(np.clip(total / 0.25, 0, 1), np.float32)
    blend = np.maximum(mean(known), 1e-6)[..., None]
    slope, offset = (
        mean(np.asarray(known[..., None] * v, np.float32)) / blend for v in (slope, offset)
    )
    reach = BEYOND * np.sqrt(vp) + STRUCTURE
    place = np.clip(y, mp - reach, mp + reach)
    chroma_there = np.asarray(slope * place[..., None] + offset, np.float32)
    return chroma_there, np.asarray(known, np.float32)


def within_gamut(y: Plane, chroma: NDArray[np.float32]) -> Image:
    """Luma and chroma put together; colours beyond the gamut lose chroma, never luma."""
    chroma = chroma - cv2.transform(chroma, LUMA[None])[..., None]
    room = np.where(chroma > 0, 1 - y[..., None], y[..., None])
    most = np.min(room / np.maximum(np.abs(chroma), 1e-6), axis=2)
    pixels = y[..., None] + np.minimum(most, 1)[..., None] * chroma
    return np.asarray(np.clip(pixels, 0, 1), np.float32)
