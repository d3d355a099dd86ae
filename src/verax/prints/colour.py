"""Colour a grey or sepia photo with the chroma of its prior; the photo's luma is kept.

A local linear map from the prior's luma to the prior's chroma (guided filter: He, Sun and Tang,
TPAMI 35(6), 2013) is applied to the photo's luma, so that colours change at the photo's edges.
Where the prior shows something else than the photo, its colour is not used; colour spreads into
such places from their surroundings."""

from typing import Literal

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.geometry.register import WarpedPrior
from verax.image import Image, Plane
from verax.image.pixels import LUMA, guided_filter, largest, luma, reduce_to

Toning = Literal["grey", "toned", "colour"]

# a pair of values is a ramp: no effect at the first, full effect at the second
GREYISH = 3.0 / 255  # largest chroma of a grey photo
# a toned print has one chroma for each luma: its tint
STRAY = 10.0 / 255  # largest distance of a toned print's pixel from the tint
OFF = 0.07  # largest share of pixels with a larger distance: stains, stamps, pencil
VIVID, FEW = 28.0 / 255, 0.005  # of a toned print, less than this share of pixels is so far off
COLOURED = 8.0 / 255  # least distance of chroma from the tint in a prior that is in colour
DARKEST, LIT = 0.06, 0.5  # least luma taken for a dark photo's brightest pixels, and their target
BINS = 24  # of luma, for the tint of a print
SIDE = 512  # px, long side at which a photo's toning is judged
RADII = (0.0025, 0.012)  # of the windows, shares of the long side: small things, and flat places
SMOOTH = 4e-4  # regularisation: variance of luma below which chroma does not follow it
SAME = (0.25, 0.6)  # local correlation of luma at which the prior's colour counts
STRUCTURE = 0.02  # least standard deviation of luma that can be compared
PLAIN = 0.4  # correlation that two flat places count as having
MOSTLY = (0.35, 0.6)  # share of the wider surroundings that must agree
CARRIED = 0.024  # share of the long side over which colour is carried to places without evidence
SPREAD = 320  # px, long side at which colour spreads to places without evidence
PULL = 0.002  # weight of the photo's own tint in spreading
REACHED = (0.55, 0.95)  # share of spread colour from which it is used, and used in full
STEP = 0.03  # step of luma between neighbours that separates colours
BEYOND = 2.5  # standard deviations of luma beyond which a local map is not extrapolated


def toning(photo: Image) -> Toning:
    """Whether a photo (H, W, 3) is "grey", "toned" (in one tint, such as sepia) or in "colour". A
    dark photo is brightened first, so that faint colours are recognised."""
    small = reduce_to(photo, SIDE)[::2, ::2]  # a sample suffices for shares
    small = small * np.float32(LIT / np.clip(np.quantile(luma(small), 0.98), DARKEST, LIT))
    y, chroma = split(small)
    if float(np.quantile(largest(np.abs(chroma)), 0.95)) < GREYISH:
        return "grey"
    stray = largest(np.abs(chroma - tone_of(y, chroma, y)))
    toned = (stray > STRAY).mean() < OFF and (stray > VIVID).mean() < FEW
    return "toned" if toned else "colour"


def is_coloured(prior: Image) -> bool:
    """Whether a prior (H, W, 3) is in colour, that is, neither grey nor in one tint."""
    y, chroma = split(reduce_to(prior, SIDE))
    stray = largest(np.abs(chroma - tone_of(y, chroma, y)))
    return float(np.quantile(stray, 0.8)) > COLOURED


def with_colour(photo: Image, restored: Image, warped: WarpedPrior) -> tuple[Image, Plane] | None:
    """Colour the restoration of a grey or toned photo with the chroma of its prior.

    `photo` and `restored` (its restoration) are (H, W, 3); `warped` is the prior on their grid.
    Returns the coloured restoration (H, W, 3), with the luma of `restored`, and the share (H, W), 0
    to 1, of each pixel's chroma that comes from the prior; None if the photo is in colour or the
    prior is not. Where the prior shows another scene than the photo, the photo's tint is kept."""
    if toning(photo) == "colour" or not is_coloured(warped.pixels):
        return None
    y, own = split(photo)
    new = split(restored)[0]
    toned = within_gamut(new, tone_of(new, own, y))
    return colourise(toned, warped.pixels, warped.valid)


def trust_in_colour(trust: NDArray[np.float16], share: Plane) -> NDArray[np.float16]:
    """The trust map `trust` (H, W, 4) changed for chroma of the prior: in each pixel, the fraction
    `share` (H, W) of channel 0, "from the photo", moves to channel 2, "light of the prior"."""
    shares = trust.astype(np.float32)
    more = shares[..., 0] * share
    shares[..., 0] -= more
    shares[..., 2] += more
    return np.asarray(shares, np.float16)


def in_one_tone(photo: Image, restored: Image, prior: Image) -> Image | None:
    """Give the restoration of a print in one tint (such as sepia) the tint or grey of its prior.

    Returns a picture (H, W, 3) with the luma of `restored`; None if `photo` is not in one tint or
    `prior` (of any size) is in colour. All pixels get the prior's tint, including border and
    stains."""
    if toning(photo) != "toned" or toning(prior) == "colour":
        return None
    levels, (y, chroma) = luma(restored), split(reduce_to(prior, SIDE))
    return within_gamut(levels, tone_of(levels, chroma, y))


def split(image: Image) -> tuple[Plane, NDArray[np.float32]]:
    """The luma (H, W) of a picture, and its chroma (H, W, 3): each channel minus the luma."""
    y = luma(image)
    return y, image - y[..., None]


def tone_of(levels: Plane, chroma: NDArray[np.float32], y: Plane) -> NDArray[np.float32]:
    """The chroma (H, W, 3) that a print's tint has at the lumas `levels` (H, W). The tint is the
    median of the print's `chroma` (h, w, 3) in each of 24 bins of the print's luma `y` (h, w)."""
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
    """Give a photo the chroma of its prior; the photo's luma is kept.

    Returns the coloured picture (H, W, 3), and the share (H, W), 0 to 1, of each pixel's chroma
    that comes from the prior; the other chroma is the photo's own.

    Args:
        photo: (H, W, 3) the restored photo, grey or in one tint.
        prior: (H, W, 3) on the photo's grid.
        valid: (H, W) share of each pixel that the prior covers, 0 to 1.
    """
    y, own = split(photo)
    p, chroma = split(prior)
    radii = [max(2, round(share * max(y.shape))) for share in RADII]
    alike, mostly = evidence(y, p, radii[1])
    small = likeness(y, p, radii[0], plain=0.0)[0] * evidence(y, p, radii[0])[1]
    sure, guided = np.zeros_like(y), np.zeros_like(chroma)
    for radius, each in zip(radii, (small, alike), strict=True):
        weight = each * mostly * valid
        core = (1 - sure) * without_rim(weight, radius)
        guided += core[..., None] * from_prior(y, p, chroma, weight, radius)
        sure += core
    beyond, reach = spread(y, guided, own, sure)
    return within_gamut(y, guided + (1 - sure)[..., None] * beyond), reach


def from_prior(
    y: Plane, p: Plane, chroma: NDArray[np.float32], weight: Plane, radius: int
) -> NDArray[np.float32]:
    """Chroma (H, W, 3) for the photo's luma `y`, by local linear maps from luma to chroma.

    The maps are fitted to the prior's luma `p` (first given the histogram of `y`) and its `chroma`,
    in windows of 2 * `radius` + 1 px, or in wider windows where `weight` is low. `weight` (H, W) in
    [0, 1] says how much each pixel counts in the fit."""
    matched = matched_luma(p, y, weight)
    guided, known = carry(y, matched, chroma, weight, radius)
    wider, _ = carry(y, matched, chroma, weight, max(2, round(CARRIED * max(y.shape))))
    return np.asarray(guided + (1 - known)[..., None] * (wider - guided), np.float32)


def spread(
    y: Plane, chroma: NDArray[np.float32], own: NDArray[np.float32], weight: Plane
) -> tuple[NDArray[np.float32], Plane]:
    """Spread chroma from pixels of high `weight` to others, but not across edges of the luma `y`.

    `chroma` (H, W, 3) is already multiplied by `weight` (H, W), 0 to 1; `own` (H, W, 3) is the
    photo's own chroma. It is used where little chroma arrives, which may have leaked across an
    outline. Returns the chroma (H, W, 3) for pixels of low weight, and the share (H, W), 0 to 1, of
    it that is not the photo's own.
    Source: Levin, Lischinski and Weiss, "Colorization using optimization", 2004."""
    scale = min(1.0, SPREAD / max(y.shape))
    size = (max(2, round(y.shape[1] * scale)), max(2, round(y.shape[0] * scale)))
    grey, belief, known, plain = (
        cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (y, weight, chroma, own)
    )
    target = np.dstack([known, belief]).reshape(-1, 4).astype(np.float64)
    system = likeness_of_neighbours(grey) + scipy.sparse.diags(belief.ravel() + PULL)
    solved = scipy.sparse.linalg.splu(system.tocsc().astype(np.float64)).solve(target)
    there = solved.reshape(*grey.shape, 4)
    used = np.clip((there[..., 3:] - REACHED[0]) / (REACHED[1] - REACHED[0]), 0, 1)
    there *= used**2 * (3 - 2 * used)
    there[..., :3] += (1 - there[..., 3:]) * plain
    wide = cv2.resize(np.asarray(there, np.float32), y.shape[::-1], interpolation=cv2.INTER_LINEAR)
    radius = max(2, round(1.5 / scale))
    planes = [
        guided_filter(y, np.ascontiguousarray(wide[..., k]), radius, SMOOTH) for k in range(4)
    ]
    return np.dstack(planes[:3]), np.clip(planes[3], 0, 1)


def likeness_of_neighbours(grey: Plane) -> "scipy.sparse.csr_matrix":
    """Graph Laplacian (N, N) of the N = H * W pixels of the luma `grey` (H, W), row by row. Each
    pixel is joined to its four neighbours; the weight is large if their lumas are similar."""
    place = np.arange(grey.size).reshape(grey.shape)
    parts = []
    for one, two in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        alike = np.exp(-(((grey[one] - grey[two]) / STEP) ** 2) / 2).ravel() + 1e-4
        rows = np.concatenate([place[one].ravel(), place[two].ravel()])
        columns = np.concatenate([place[two].ravel(), place[one].ravel()])
        parts.append((np.concatenate([alike, alike]), rows, columns))
    values, rows, columns = (np.concatenate([part[k] for part in parts]) for k in range(3))
    joined = scipy.sparse.csr_matrix((values, (rows, columns)), shape=(grey.size,) * 2)
    return scipy.sparse.diags(np.asarray(joined.sum(1)).ravel()) - joined


def without_rim(weight: Plane, radius: int) -> Plane:
    """Close small gaps in weights (H, W) from 0 to 1, erode them by `radius` px, and blur the
    rim."""
    disc, wide = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size,) * 2)
        for size in (radius + 1, 2 * radius + 1)
    )
    core = cv2.erode(cv2.morphologyEx(weight, cv2.MORPH_CLOSE, disc), wide)
    return np.asarray(cv2.GaussianBlur(core, (0, 0), radius / 4), np.float32)


def evidence(y: Plane, p: Plane, radius: int) -> tuple[Plane, Plane]:
    """How well the prior (luma `p`, (H, W)) shows the structure of the photo (luma `y`, (H, W)).

    Returns two planes (H, W) from 0 to 1: the agreement in windows of 2 * `radius` + 1 px; and
    whether its mean in windows five times as wide is high (0 below 0.35, 1 above 0.6). In flat
    places the agreement is the least of three window sizes, so that it is low even beside an
    outline that both pictures show."""
    alike, _ = likeness(y, p, radius)
    near, inside = likeness(y, p, max(2, radius // 2))
    far, _ = likeness(y, p, 4 * radius)
    plain = np.clip(1 - inside / (4 * STRUCTURE**2), 0, 1)
    alike = np.minimum(alike, alike + plain * (np.minimum(near, far) - alike))
    around = cv2.blur(alike, (10 * radius + 1,) * 2)
    mostly = np.clip((around - MOSTLY[0]) / (MOSTLY[1] - MOSTLY[0]), 0, 1)
    return np.asarray(alike, np.float32), np.asarray(mostly, np.float32)


def likeness(y: Plane, p: Plane, radius: int, plain: float = PLAIN) -> tuple[Plane, Plane]:
    """How well the lumas `y` and `p` (H, W) correlate in windows of 2 * `radius` + 1 px: (H, W), 0
    below a correlation of 0.25, 1 above 0.6, linear in between. `plain`: the correlation that
    windows flat in both lumas count as having. Also returns the variance of `y` in each window."""
    side = (2 * radius + 1, 2 * radius + 1)
    my, mp = cv2.blur(y, side), cv2.blur(p, side)
    vy, vp = (np.maximum(cv2.blur(a * a, side) - m * m, 0) for a, m in ((y, my), (p, mp)))
    both = cv2.blur(y * p, side) - my * mp
    floor = STRUCTURE**2
    correlation = (both + plain * floor) / np.sqrt((vy + floor) * (vp + floor))
    return np.clip((correlation - SAME[0]) / (SAME[1] - SAME[0]), 0, 1), vy


def matched_luma(p: Plane, y: Plane, weight: Plane) -> Plane:
    """The prior's luma `p`, mapped so that its histogram is that of the photo's luma `y`. Both
    histograms are of the pixels with `weight` > 0.5; below 100 such pixels, `p` is unchanged."""
    use = weight > 0.5
    if use.sum() < 100:
        return p
    steps = np.linspace(0, 1, 65)
    there, here = np.quantile(p[use], steps), np.quantile(y[use], steps)
    return np.asarray(np.interp(p, there, here), np.float32)


def carry(
    y: Plane, p: Plane, chroma: NDArray[np.float32], weight: Plane, radius: int
) -> tuple[NDArray[np.float32], Plane]:
    """Fit local linear maps from the prior's luma `p` to its `chroma`, and apply them to luma `y`.

    `weight` (H, W) in [0, 1] says how much each pixel counts in the fit, in windows of 2 * `radius`
    + 1 px. Returns the chroma (H, W, 3), and the maps' certainty (H, W): the mean weight in the
    window, divided by 0.25, at most 1."""
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
    """A picture (H, W, 3) of the luma `y` (H, W) and this `chroma` (H, W, 3): each channel minus
    the luma. Colours outside [0, 1] lose chroma, but never luma."""
    chroma = chroma - cv2.transform(chroma, LUMA[None])[..., None]
    room = np.where(chroma > 0, 1 - y[..., None], y[..., None])
    most = np.min(room / np.maximum(np.abs(chroma), 1e-6), axis=2)
    pixels = y[..., None] + np.minimum(most, 1)[..., None] * chroma
    return np.asarray(np.clip(pixels, 0, 1), np.float32)
