"""Damage of a print, found from the pair: what stands in the photo alone, plain and sharp-edged.

Patches and specks lie outside everything that the prior shows nearby, so that a shift of a few
pixels is none; lines answer to a turned line filter in the photo and not in the prior. Each has
one tone, steps out of its surroundings, and the prior goes on smoothly through its place.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane
from verax.prints.lines import line_spots

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]
Spots = dict[str, list[tuple[Box, Mask]]]

MOST = 1600  # px, long side at which damage is looked for
SHIFT = 2  # px, how far the prior may lie off its place
FAINT, CLEAR = 0.055, 0.13  # excess over the prior that belongs to damage, and that starts it
NOISY = 3.5  # and in mean deviations of the photo's own excess around
CAP = 0.15  # excess that counts towards that mean at most
AROUND = 0.12  # side of the window around, share of the long side
TONE = 192  # px, long side of the copy on which the difference in light is taken
SHOWN = 0.3  # step in the prior over the photo's step, from which the prior shows it too
APART = 1.6  # step over the deviation of photo from prior around it, at least
PLAIN = 0.035  # deviation inside a patch of bare paper or ground
BARE = 0.08  # its step out of the surroundings, at least,
SURE = 2.5  # and in deviations of photo from prior around it
PAPER, GROUND, GREY = 0.7, 0.25, 0.16  # lightest ground, darkest paper, most colour of both
LARGE = 0.0006  # area from which a spot is a patch, share of the picture
QUIET = 0.2  # deviation around a speck over its own step, at most
SMALL = 0.03  # longest speck, share of the long side
EDGE = 0.3  # share of the step from which a soft edge belongs to the damage
LINE = 0.03  # least step of a line
SCRATCH = 0.08  # length from which a line counts, share of the long side
PIECES = 3  # patches and such lines that are damage, and no single things left out
DUSTY = 80  # specks that are dust, and not things left out
EASE = 0.6  # of the limits of lines, in a photo that is known to be a damaged print
RAINY = 60  # lines that are rain or a fence, and no scratches
FAITHFUL = 0.55  # correlation of a prior with the photo below which nothing is looked for
ONE_WAY = 3.0  # times as much as the photo lacks of the prior by the same rules


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    Attributes:
        mask: (H, W) where the photo holds nothing.
        patches, lines, specks: how many.
    """

    mask: Mask
    patches: int
    lines: int
    specks: int

    def record(self) -> dict[str, int]:
        """As JSON can hold it."""
        return {"patches": self.patches, "lines": self.lines, "specks": self.specks}


def find_damage(photo: Image, prior: Image, seen: Plane, *, known: bool = False) -> Found:
    """Damage of a photo that its registered prior, (H, W, 3), shows mended.

    Looked for at MOST px a side: what is finer in a larger photo is no damage that people see.

    Args:
        seen: (H, W) share of the prior that is valid.
        known: the photo is known to be a damaged print: a single piece counts.
    """
    scale = max(photo.shape[:2]) / MOST
    if scale <= 1:
        return _found(photo, prior, seen, known=known)
    size = (round(photo.shape[1] / scale), round(photo.shape[0] / scale))
    small = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (photo, prior, seen))
    found = _found(*small, known=known)
    mask = cv2.resize(found.mask.astype(np.float32), photo.shape[1::-1]) > 0.25
    return replace(found, mask=mask)


def _found(photo: Image, prior: Image, seen: Plane, *, known: bool) -> Found:
    lit = relit(photo, prior, seen > 0.5)
    y = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    if faithful(y, cv2.cvtColor(prior, cv2.COLOR_RGB2GRAY)) < FAITHFUL:
        return Found(np.zeros(y.shape, bool), 0, 0, 0)
    found = alone(photo, lit, seen, ease=EASE if known else 1.0)
    if len(found["line"]) > RAINY:
        found["line"] = []
    if not known and is_damaged(found, y.shape):  # what a prior adds tells how freely it was drawn
        back = alone(lit, photo, seen)
        found = {
            kind: own if area_of(own) > ONE_WAY * area_of(back[kind]) else []
            for kind, own in found.items()
        }
    if not known and not is_damaged(found, y.shape):
        return Found(np.zeros(y.shape, bool), 0, 0, 0)
    mask = np.zeros(y.shape, bool)
    for box, own in (spot for kind in found.values() for spot in kind):
        mask[box] |= with_edge(y[box], own)
    return Found(mask, len(found["patch"]), len(found["line"]), len(found["speck"]))


def faithful(y: Plane, p: Plane) -> float:
    """Median local correlation of coarse structure: a prior that redraws omits by accident."""
    scale = min(1.0, TONE / max(y.shape))
    size = (max(3, round(y.shape[1] * scale)), max(3, round(y.shape[0] * scale)))
    bands = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (y, p)]
    a, b = (cv2.GaussianBlur(v, (0, 0), 2) - cv2.GaussianBlur(v, (0, 0), 4) for v in bands)
    both, own, shown = (cv2.blur(v, (25, 25)) for v in (a * b, a * a, b * b))
    return float(np.median(both / np.sqrt((own + 1e-5) * (shown + 1e-5))))


def alone(photo: Image, prior: Image, seen: Plane, *, ease: float = 1.0) -> Spots:
    """What stands in the first picture alone, by kind: "patch", "speck" and "line"; `ease` below 1
    takes fainter and shorter lines."""
    y, p = (cv2.cvtColor(np.clip(v, 0, 1), cv2.COLOR_RGB2GRAY) for v in (photo, prior))
    excess = beyond(y, p) * (seen > 0.99)
    window = max(3, round(AROUND * max(y.shape)))
    counts = np.asarray(np.abs(excess) < CAP, np.float32)
    usual, share = (cv2.blur(v, (window, window)) for v in (np.abs(excess) * counts, counts))
    level = np.maximum(FAINT, NOISY * usual / np.maximum(share, 0.05))
    found: Spots = {"patch": [], "speck": [], "line": []}
    for part in (excess / level, -excess / level):
        for box, own in spots(part, 1.0, max(CLEAR / FAINT, 2.0)):
            kind = kind_of(photo[box], p[box], own, y.shape)
            if kind:
                found[kind].append((box, own))
    for own in line_spots(y, p, seen > 0.99, ease):
        box = room_around(own)
        if stands_alone(y[box], p[box], own[box], least=ease * LINE):
            found["line"].append((box, own[box]))
    return found


def area_of(spots: list[tuple[Box, Mask]]) -> int:
    return sum(int(own.sum()) for _, own in spots)


def is_damaged(found: Spots, size: tuple[int, ...]) -> bool:
    """Whether it is enough to speak of damage: several patches and scratches, or much dust.

    A generator leaves out a plain thing here and there of sound photos, too.
    """
    lengths = [float(np.hypot(*own.shape)) / max(size) for _, own in found["line"]]
    pieces = len(found["patch"]) + sum(length > SCRATCH for length in lengths)
    return pieces >= PIECES or len(found["speck"]) >= DUSTY


def spots(part: Plane, level: float, peak: float) -> list[tuple[Box, Mask]]:
    """Connected places above `level` that reach `peak`, each in a box with room around it."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((part > level).astype(np.uint8))
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels.ravel(), part.ravel())
    found = []
    for index in np.flatnonzero(peaks[1:] > peak) + 1:
        left, top, width, height = (int(value) for value in stats[index, :4])
        room = 6 + max(width, height) // 8
        rows = slice(max(0, top - room), top + height + room)
        columns = slice(max(0, left - room), left + width + room)
        found.append(((rows, columns), labels[rows, columns] == index))
    return found


def room_around(own: Mask, room: int = 10) -> Box:
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    return (
        slice(max(0, int(rows[0]) - room), int(rows[-1]) + room + 1),
        slice(max(0, int(columns[0]) - room), int(columns[-1]) + room + 1),
    )


def relit(photo: Image, prior: Image, known: Mask) -> Image:
    """The prior in the photo's light: a gain per channel, and the local difference, by medians."""
    scale = min(1.0, TONE / max(photo.shape[:2]))
    size = (max(3, round(photo.shape[1] * scale)), max(3, round(photo.shape[0] * scale)))
    y, p = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (photo, prior))
    share = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    share = share if share.any() else np.ones_like(share)
    gain = np.ones(3, np.float32)
    for channel in range(3):
        own, shown = (np.ptp(np.quantile(v[share][:, channel], (0.1, 0.9))) for v in (y, p))
        gain[channel] = np.clip(own / max(float(shown), 0.02), 0.4, 2.5)
    difference = y - gain * p
    middle = np.median(difference[share], axis=0)
    difference = np.where(share[..., None], difference, middle).astype(np.float32)
    window = min(max(3, min(size) // 6), 31) // 2 * 2 + 1
    levels = np.clip((difference / 4 + 0.5) * 255, 0, 255).astype(np.uint8)
    local = (cv2.medianBlur(levels, window).astype(np.float32) / 255 - 0.5) * 4
    local = cv2.GaussianBlur(local, (0, 0), window / 3)
    wide = cv2.resize(local, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(gain * prior + wide, np.float32)


def beyond(y: Plane, p: Plane) -> Plane:
    """How far the photo's luma lies above (or, below zero, under) all the prior shows near."""
    around = np.ones((2 * SHIFT + 1,) * 2, np.uint8)
    return np.asarray(y - np.clip(y, cv2.erode(p, around), cv2.dilate(p, around)), np.float32)


def kind_of(photo: Image, p: Plane, own: Mask, size: tuple[int, ...]) -> str:
    """ "patch" or "speck"; "" for what is no damage."""
    y = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    ring = ring_of(own)
    if not ring.any():
        return ""
    step = abs(float(np.median(y[own])) - float(np.median(y[ring])))
    if own.sum() >= LARGE * size[0] * size[1]:
        core = cv2.erode(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        return "patch" if core.any() and is_bare(photo[core]) and is_torn(y, p, own, ring) else ""
    if not stands_alone(y, p, own, least=CLEAR):
        return ""
    busy = max(float(y[ring].std()), float(p[ring | own].std()))
    short = max(np.ptp(np.flatnonzero(own.any(axis))) for axis in (0, 1)) < SMALL * max(size)
    return "speck" if short and busy < QUIET * step else ""


def is_torn(y: Plane, p: Plane, own: Mask, ring: Mask) -> bool:
    """Whether the photo steps out of its surroundings in a spot, by far more than it parts from
    the prior around it, and the prior goes on through it."""
    apart = (y - p)[ring]
    usual = 1.48 * float(np.median(np.abs(apart - np.median(apart))))
    step = float(np.median(y[own])) - float(np.median(y[ring]))
    shown = float(np.median(p[own])) - float(np.median(p[ring]))
    return abs(step) > max(BARE, SURE * usual) and shown / step < SHOWN


def is_bare(pixels: NDArray[np.float32]) -> bool:
    """Whether (N, 3) pixels are plain paper or the ground behind a hole."""
    colour = np.median(pixels, axis=0)
    tone, most = float(colour.mean()), float(np.ptp(colour))
    spread = np.ptp(np.quantile(pixels, (0.16, 0.84), axis=0), axis=0) / 2  # blind to its edge
    plain = float(spread.max()) < PLAIN
    return plain and most < GREY and (tone > PAPER or tone < GROUND)


def ring_of(own: Mask) -> Mask:
    """The surroundings of a spot, 2 to 4 px off it."""
    near, far = (cv2.dilate(own.astype(np.uint8), np.ones((k, k), np.uint8)) for k in (5, 9))
    return np.asarray((far > 0) & (near == 0), bool)


def stands_alone(y: Plane, p: Plane, own: Mask, *, least: float) -> bool:
    """Whether the photo steps out of its surroundings in a spot, and the prior does not."""
    ring = ring_of(own)
    if not ring.any():
        return False
    step = float(np.median(y[own])) - float(np.median(y[ring]))
    shown = float(np.median(p[own])) - float(np.median(p[ring]))
    apart = float((y - p)[ring].std())
    return abs(step) > max(least, APART * apart) and shown / step < SHOWN


def with_edge(y: Plane, own: Mask) -> Mask:
    """The spot and the soft edge around it, which is still nearer its tone than the ring's."""
    ring = ring_of(own)
    if not ring.any():
        return own
    outside, inside = float(np.median(y[ring])), float(np.median(y[own]))
    near = cv2.dilate(own.astype(np.uint8), np.ones((2 * SHIFT + 1,) * 2, np.uint8)) > 0
    return np.asarray(own | near & ((y - outside) / (inside - outside + 1e-6) > EDGE), bool)
