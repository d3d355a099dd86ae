"""Damage of a print piece by piece: flat, sharp-edged marks that only the photo has.

Patches and specks differ from everything that the prior shows within a few pixels, so that a small
misplacement is no damage. Lines respond to an oriented line filter in the photo but not in the
prior. Each piece has one tone and a step to its surroundings, and the prior is smooth at its place.
"""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane
from verax.image.pixels import peaks
from verax.prints.holes import Flaws, Mask, relight, ring_of

Box = tuple[slice, slice]
Spot = tuple[Box, Mask]
Spots = dict[str, list[Spot]]

SHIFT = 2  # px, largest misplacement of the prior
FAINT, CLEAR = 0.055, 0.13  # hysteresis: excess over the prior of a pixel, and of a piece's peak
NOISY, CAP = 3.5, 0.15  # both at least this multiple of the mean excess around, which is capped
AROUND = 0.12  # side of the window for that mean, share of the long side
SHOWN = 0.3  # largest ratio of the prior's step to the photo's
APART = 1.6  # least ratio of the step to the deviation of photo from prior around it
PLAIN = 0.035  # largest deviation inside a patch of bare paper or background
BARE, SURE = 0.08, 2.5  # its least step, and multiple of the deviation of photo from prior
TEXTURED = 0.07  # deviation of the prior there from which the latter limit is lower, too
PAPER, GROUND, GREY = 0.7, 0.25, 0.16  # darkest paper, lightest background, most chroma of both
SLIM = 0.008  # half the width of a wide part, share of the long side
LARGE = 0.0006  # least area of a patch, share of the picture
QUIET, SMALL = 0.2, 0.03  # a speck: largest deviation around over its step; largest share of side
EDGE = 0.5  # share of the step from which pixels of a soft edge belong to the piece
LINE = 0.03  # least step of a line
SCRATCH = 0.08  # least length of a line that counts, share of the long side
PIECES, DUSTY = 3, 30  # least number of patches and such lines, and of specks, to be damage
EASE = 0.6  # factor on the limits of lines in a photo known to be a damaged print
RAINY = 60  # more lines than this are rain or a fence, not scratches
WORK = 1100  # px, longest side at which lines are looked for
TURNS, REACH, WIDTH = 12, 12, 1.3  # directions of a line filter; half its length and sigma, px
NEAR, FAR = 3.5, 7.0  # px, distance of its sides
LINE_FAINT, LINE_CLEAR = 0.035, 0.07  # hysteresis: response of a pixel in a line, and of its peak
CREST = 0.7  # share of the largest response nearby from which a pixel is on the line
LINE_SHOWN = 1.5  # least ratio of the response to the prior's nearby
LINE_SHIFT = 4  # px, what is nearby
LONG, WIDE = 0.05, 4.5  # a line: least length, share of the long side; largest mean width, px
# a strip: distance from the side, length over depth, depth; shares of the side
RIM, STRIP, THIN = 0.01, 2.5, 0.03
ALONG = (0.1, 0.4)  # length of a thin strip and of another, shares of its side
ONE_WAY = 3.0  # least ratio of damage in the photo to what the same rules find in the prior


def find_pieces(photo: Image, prior: Image, valid: Plane, *, known: bool) -> Flaws:
    """Damage of a photo, by pieces; `known`: it is a damaged print, so a single piece counts."""
    y, lit = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), relight(photo, prior, valid > 0.5)
    none = Flaws(np.zeros(y.shape, bool), 0, 0, 0)
    parts = alone(photo, lit, valid, ease=EASE if known else 1.0)
    if len(parts["line"]) > RAINY:
        parts["line"] = []
    if not known and is_damaged(parts, y.shape):  # what a prior adds tells how freely it was drawn
        back = alone(lit, photo, valid)
        for kind, own in parts.items():
            here, there = (sum(int(spot.sum()) for _, spot in part) for part in (own, back[kind]))
            parts[kind] = own if here > ONE_WAY * there else []
    if not known and not is_damaged(parts, y.shape):
        return none
    mask = none.mask
    for box, spot in (spot for kind in parts.values() for spot in kind):
        mask[box] |= with_edge(y[box], spot)
    return Flaws(mask, len(parts["patch"]), len(parts["line"]), len(parts["speck"]))


def alone(photo: Image, prior: Image, valid: Plane, *, ease: float = 1.0) -> Spots:
    """Pieces that only the first picture has, by kind: "patch", "speck" and "line"; `ease` below 1
    accepts fainter and shorter lines."""
    y, p = (cv2.cvtColor(np.clip(v, 0, 1), cv2.COLOR_RGB2GRAY) for v in (photo, prior))
    excess = strongest(beyond(photo, prior)) * (valid > 0.99)
    window = max(3, round(AROUND * max(y.shape)))
    counts = np.asarray(np.abs(excess) < CAP, np.float32)
    usual, share = (cv2.blur(v, (window, window)) for v in (np.abs(excess) * counts, counts))
    level = np.maximum(ease * FAINT, NOISY * usual / np.maximum(share, 0.05))
    parts: Spots = {"patch": [], "speck": [], "line": []}
    for part in (excess / level, -excess / level):
        for box, own in apart(spots(part, 1.0, max(CLEAR / FAINT, 2.0)), y.shape):
            kind = kind_of(photo[box], prior[box], own, y.shape, ease)
            if kind and not is_ground(box, own, y.shape):
                parts[kind].append((box, own))
    for own in line_spots(y, p, valid > 0.99, ease):
        box = box_around(*cv2.boundingRect(own.astype(np.uint8)), room=10)
        if stands_alone(y[box], p[box], own[box], least=ease * LINE):
            parts["line"].append((box, own[box]))
    return parts


def apart(whole: list[Spot], size: tuple[int, ...]) -> list[Spot]:
    """Spots; of large ones also their wide parts, since a scratch that ends in a hole has another
    tone than the hole."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(SLIM * max(size)) + 1,) * 2)
    pieces = list(whole)
    for box, own in whole:
        if own.sum() < LARGE * size[0] * size[1]:
            continue
        wide = cv2.morphologyEx(own.astype(np.uint8), cv2.MORPH_OPEN, disc)
        count, labels = cv2.connectedComponents(wide)
        pieces += [(box, labels == index) for index in range(1, count)]
    return pieces


def is_damaged(parts: Spots, size: tuple[int, ...]) -> bool:
    """Whether there is enough for damage: several patches and scratches, much dust, or both.

    A generator leaves out a flat thing here and there in undamaged photos, too.
    """
    lengths = [float(np.hypot(*own.shape)) / max(size) for _, own in parts["line"]]
    pieces = len(parts["patch"]) + sum(length > SCRATCH for length in lengths)
    return pieces / PIECES + len(parts["speck"]) / DUSTY >= 1


def spots(part: Plane, level: float, peak: float) -> list[Spot]:
    """Connected places above `level` whose maximum exceeds `peak`, each in a box with a margin."""
    places = []
    labels, pieces = connected(part > level, part, peak)
    for index, (left, top, width, height, _) in pieces:
        box = box_around(left, top, width, height, room=6 + max(width, height) // 8)
        places.append((box, labels[box] == index))
    return places


def connected(
    where: Mask, answer: Plane, peak: float
) -> tuple[NDArray[np.int32], list[tuple[int, list[int]]]]:
    """Labels (H, W) of connected places, and those whose response exceeds `peak`: label and (left,
    top, width, height, area)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(where.astype(np.uint8))
    labels = np.asarray(labels, np.int32)
    passing = np.flatnonzero(peaks(labels, count, answer)[1:] > peak) + 1
    return labels, [(int(index), stats[index].tolist()) for index in passing]


def box_around(left: int, top: int, width: int, height: int, *, room: int) -> Box:
    rows = slice(max(0, top - room), top + height + room)
    return rows, slice(max(0, left - room), left + width + room)


def beyond(y: Plane, p: Plane) -> Plane:
    """How far each channel lies above (> 0) or below (< 0) the range of the prior nearby."""
    around = np.ones((2 * SHIFT + 1,) * 2, np.uint8)
    return np.asarray(y - np.clip(y, cv2.erode(p, around), cv2.dilate(p, around)), np.float32)


def strongest(values: Image) -> Plane:
    """(H, W) of each pixel the value that is farthest from 0."""
    least, most = values.min(2), values.max(2)
    return np.asarray(np.where(most > -least, most, least), np.float32)


def is_ground(box: Box, own: Mask, size: tuple[int, ...]) -> bool:
    """Whether a spot is a strip along a side of the picture: the background of a print, or its
    border."""
    left, top, width, height = cv2.boundingRect(own.astype(np.uint8))
    top, left, rim = top + box[0].start, left + box[1].start, RIM * max(size)
    for at, depth, length, side in ((top, height, width, 0), (left, width, height, 1)):
        least = ALONG[depth > THIN * max(size)] * size[1 - side]
        if min(at, size[side] - at - depth) < rim and length > max(STRIP * depth, least):
            return True
    return False


def kind_of(photo: Image, prior: Image, own: Mask, size: tuple[int, ...], ease: float) -> str:
    """The kind of a spot: "patch" or "speck"; "" if it is no damage."""
    y, p = (cv2.cvtColor(v, cv2.COLOR_RGB2GRAY) for v in (photo, prior))
    ring = ring_of(own)
    if not ring.any():
        return ""
    step = abs(step_of(y, own, ring))
    if own.sum() >= LARGE * size[0] * size[1]:
        core = cv2.erode(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        bare = bool(core.any()) and is_bare(photo[core], PLAIN / ease)
        return "patch" if bare and is_torn(photo, prior, own, ring, ease) else ""
    if not stands_alone(y, p, own, least=ease * CLEAR):
        return ""
    busy = max(float(y[ring].std()), float(p[ring | own].std()))
    short = max(np.ptp(np.flatnonzero(own.any(axis))) for axis in (0, 1)) < SMALL * max(size)
    return "speck" if short and busy < QUIET * step else ""


def is_torn(photo: Image, prior: Image, own: Mask, ring: Mask, ease: float) -> bool:
    """Whether a spot is a step in the photo, far larger than photo and prior differ around it, and
    not in the prior; in the channel that shows it best."""
    steps = [abs(step_of(photo[..., channel], own, ring)) for channel in range(3)]
    y, p = (v[..., int(np.argmax(steps))] for v in (photo, prior))
    apart = (y - p)[ring]
    usual = 1.48 * float(np.median(np.abs(apart - np.median(apart))))
    step, shown = (step_of(plane, own, ring) for plane in (y, p))
    sure = ease * SURE if float(p[own].std()) > TEXTURED else SURE
    return abs(step) > max(BARE, sure * usual) and shown / step < SHOWN / ease


def step_of(plane: Plane, own: Mask, ring: Mask) -> float:
    """Median of a spot less that of its surroundings."""
    return float(np.median(plane[own])) - float(np.median(plane[ring]))


def is_bare(pixels: NDArray[np.float32], deviation: float) -> bool:
    """Whether pixels (N, 3) are bare paper or the background behind a hole."""
    colour = np.median(pixels, axis=0)
    tone, most = float(colour.mean()), float(np.ptp(colour))
    spread = np.ptp(np.quantile(pixels, (0.16, 0.84), axis=0), axis=0) / 2  # robust to its edge
    return float(spread.max()) < deviation and most < GREY and (tone > PAPER or tone < GROUND)


def stands_alone(y: Plane, p: Plane, own: Mask, *, least: float) -> bool:
    """Whether a spot is a step in the photo and not in the prior."""
    ring = ring_of(own)
    if not ring.any():
        return False
    step, shown = (step_of(plane, own, ring) for plane in (y, p))
    apart = float((y - p)[ring].std())
    return abs(step) > max(least, APART * apart) and shown / step < SHOWN


def with_edge(y: Plane, own: Mask) -> Mask:
    """The spot with the soft edge around it whose tone is closer to the spot's than the ring's."""
    ring = ring_of(own)
    if not ring.any():
        return own
    outside, inside = float(np.median(y[ring])), float(np.median(y[own]))
    near = cv2.dilate(own.astype(np.uint8), np.ones((2 * SHIFT + 1,) * 2, np.uint8)) > 0
    return np.asarray(own | near & ((y - outside) / (inside - outside + 1e-6) > EDGE), bool)


def line_spots(y: Plane, p: Plane, known: Mask, ease: float = 1.0) -> list[Mask]:
    """(H, W) masks of lines in luma `y` that `p` lacks; `ease` below 1 accepts fainter ones."""
    scale = min(1.0, WORK / max(y.shape))
    size = (round(y.shape[1] * scale), round(y.shape[0] * scale))
    small = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (y, p))
    where = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    lines = []
    for answer in answers(*small):
        for own in long_spots(answer * where, ease):
            wide = cv2.resize(own.astype(np.uint8), y.shape[::-1], interpolation=cv2.INTER_NEAREST)
            lines.append(wide > 0)
    return lines


def answers(y: Plane, p: Plane) -> tuple[Plane, Plane]:
    """Responses to bright and to dark lines of the photo beyond the prior's, best direction."""
    around = np.ones((2 * LINE_SHIFT + 1,) * 2, np.uint8)

    def beyond(turn: int) -> list[Plane]:
        filters = line_filters(np.pi * turn / TURNS)
        own, shown = (ridges(plane, filters) for plane in (y, p))
        return [
            np.asarray(mine - LINE_SHOWN * cv2.dilate(others, around), np.float32)
            for mine, others in zip(own, shown, strict=True)
        ]

    bright, dark = np.zeros_like(y), np.zeros_like(y)
    with ThreadPoolExecutor(2) as pool:
        for one, two in pool.map(beyond, range(TURNS)):
            np.maximum(bright, one, out=bright)
            np.maximum(dark, two, out=dark)
    return bright, dark


def ridges(plane: Plane, filters: tuple[Plane, Plane]) -> tuple[Plane, Plane]:
    """How far a line is above both its sides, and how far below both."""
    left, right = (cv2.filter2D(plane, -1, kernel) for kernel in filters)
    return np.maximum(np.minimum(left, right), 0), np.maximum(-np.maximum(left, right), 0)


def line_filters(angle: float) -> tuple[Plane, Plane]:
    """Two filters: a ridge less its left side, and less its right; each responds with the step."""
    side = np.arange(-REACH, REACH + 1, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = -np.sin(angle) * x + np.cos(angle) * y
    window = np.clip(REACH + 0.5 - np.hypot(along, across), 0, 1)
    centre = np.exp(-((across / WIDTH) ** 2) / 2) * window
    flanks = [window * ((sign * across > NEAR) & (sign * across < FAR)) for sign in (1, -1)]
    left, right = (
        np.asarray(centre / centre.sum() - flank / flank.sum(), np.float32) for flank in flanks
    )
    return left, right


def long_spots(answer: Plane, ease: float) -> list[Mask]:
    """Long and narrow ridges of a response."""
    crest = (answer > ease * LINE_FAINT) & (
        answer > CREST * cv2.dilate(answer, np.ones((7, 7), np.uint8))
    )
    labels, pieces = connected(crest, answer, ease * LINE_CLEAR)
    least = ease * LONG * max(answer.shape)
    return [
        labels == index
        for index, (_, _, width, height, area) in pieces
        if np.hypot(width, height) >= max(least, area / WIDE)
    ]
