"""Damage of a print piece by piece: holes, scratches and dust that only the photo has.

A small network sees photo and prior under one light, and answers how likely each pixel is damage:
plain and sharp-edged in the photo where the prior continues smoothly. It was trained by
`benchmarks/fit_damage.py` on photos with simulated damage and freely redrawn priors, so that things
which a prior merely omits or moves are not taken for damage.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from verax import weights
from verax.image import Image, Plane
from verax.image.pixels import luma, peaks
from verax.prints.holes import WHOLE, Box, Flaws, Light, Mask, counted, dilated, ring_of

GRID = 16  # px, multiples of which the network takes
DAMAGE, SURE = 0.5, 0.95  # least answer of each pixel of a piece, and of its largest
MEAN, UNASKED = 0.75, 0.9  # least mean answer of a piece; the same if damage is not known
LEAST = 4  # px of a piece
# response and length, share of the long side, of a place that may be a scratch at a glance; what is
# looked at beside it
OUTLINE, LONG, MARGIN = 2.0, 0.05, 0.02
LITTLE = 0.4  # largest share of the photo at which the quick test saves time
STEP = 0.03  # least contrast of a piece with its surroundings
ROOM = 5  # px around a piece that are looked at
NEARBY = (15, 15)  # px, window of the means that are compared across its edge
RIM, STRIP, THIN = 0.01, 2.5, 0.03  # a strip: off the side, length over depth, depth if thin
ALONG = (0.1, 0.4)  # length of a thin strip and of another, shares of its side
# faint lines, in units of the photo's mean structure around
STROKE, TURNS = 31, 16  # px of a stroke, and its directions
NARROW, WIDE = 1.0, 3.0  # sigmas in px of the band that lines lie in
AROUND, CLIPPED = 0.02, 2.5  # half the window for that mean, share of the long side; largest value
SHADING = 0.0016  # beside a crease, share of the long side
TRACE, LINE, LENGTH = 0.85, 1.25, 0.02  # response along a line, and of its peak; share of long side
BESIDE = 10  # least specks beside lines, in colour
REGION = 60  # least area of a region, px
OUTLINED, BACK = 0.5, 0.35  # share of its outline: least on edges only in the photo, and largest
# near structure only in the prior
FAR_OFF = 2.0  # mean difference from which structure only in the prior, beside it, is ignored
# a print's border: largest depth, share of the side; share of its rows and pixels that differ; px
BORDER, ROWS, FILLED, EDGE = 0.16, 0.4, 0.5, 2
PIECES, DUSTY = 3, 30  # least patches and scratches, or specks, that are damage


def find_pieces(
    photo: Image, prior: Image, valid: Plane, light: Light, *, known: bool, colour: bool = False
) -> Flaws:
    """Damage of a photo, by pieces; `known`: it is a damaged print, and a single piece counts.

    In colour, lines need other damage beside them: captions are lines, reflections are patches.
    """
    lit = next(light.on(prior, WHOLE))
    answer = likelihood(photo, lit) * (valid > 0.99)
    mask = np.zeros(answer.shape, bool)
    for box, own in places(answer, MEAN if known else UNASKED):
        if stands_out(photo[box], lit[box], own) and not is_ground(box, own, mask.shape):
            mask[box] |= own
    patches, lines, specks = counted(mask)
    few = (patches + lines) / PIECES + specks / DUSTY < 1
    if not known and (few or (colour and not (lines and (patches or specks >= BESIDE)))):
        return Flaws(np.zeros_like(mask), 0, 0, 0)
    return Flaws(mask, patches, lines, specks)


def has_line(photo: Image, prior: Image, light: Light, alone: Plane) -> bool:
    """Whether there is a scratch: a quick test that looks at the photo near long places only.

    `alone`: (h, w) response to structure only in the photo, at a small size.
    """
    boxes = long_places(alone, photo.shape)
    answer = np.zeros(photo.shape[:2], np.float32)
    if sum(answer[box].size for box in boxes) > LITTLE * answer.size:
        return True
    for box, lit in zip(boxes, light.on(prior, *boxes), strict=True):
        answer[box] = np.maximum(answer[box], likelihood(photo[box], lit))
    mask = np.zeros(answer.shape, bool)
    for box, own in places(answer, UNASKED):
        mask[box] |= own
    return bool(mask.any()) and counted(mask)[1] > 0


def long_places(answer: Plane, shape: tuple[int, ...]) -> list[Box]:
    """Boxes, on a picture of that shape, around long places only in the photo, at a glance."""
    *_, boxes, _ = cv2.connectedComponentsWithStats((answer > OUTLINE).astype(np.uint8))
    size, scale = np.hypot(*boxes[1:, 2:4].T), max(shape) / max(answer.shape)
    rim = MARGIN * max(shape)

    def across(start: int, length: int) -> slice:
        return slice(max(0, round(start * scale - rim)), round((start + length) * scale + rim))

    return [
        (across(top, height), across(left, width))
        for left, top, width, height, _ in boxes[1:][size > LONG * max(answer.shape)]
    ]


def likelihood(photo: Image, prior: Image) -> Plane:
    """(H, W) how likely each pixel of a photo is damaged; `prior` is in its light, both (H, W,
    3)."""
    both = np.concatenate([np.clip(v, 0, 1) for v in (photo, prior)], axis=2)
    height, width = both.shape[:2]
    whole = np.pad(both, ((0, -height % GRID), (0, -width % GRID), (0, 0)), mode="symmetric")
    planes = np.ascontiguousarray(whole.transpose(2, 0, 1)[None], np.float32)
    answer = weights.session(weights.DAMAGE).run(None, {"input": planes})[0]
    return np.asarray(answer[0, 0, :height, :width], np.float32)


def places(answer: Plane, mean: float) -> Iterator[tuple[Box, Mask]]:
    """Connected places above the threshold, certain somewhere and likely on average; each in a box
    with a margin."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((answer > DAMAGE).astype(np.uint8))
    inside = labels > 0
    tops = peaks(labels[inside], count, answer[inside])
    sums = np.bincount(labels[inside], answer[inside], count)
    for index in range(1, count):
        left, top, width, height, area = boxes[index]
        if area >= LEAST and tops[index] > SURE and sums[index] > mean * area:
            rows = slice(max(0, top - ROOM), top + height + ROOM)
            box = (rows, slice(max(0, left - ROOM), left + width + ROOM))
            yield box, labels[box] == index


def stands_out(photo: Image, prior: Image, own: Mask) -> bool:
    """Whether a place contrasts with its surroundings more in the photo than in the prior. Where
    the prior added something, it is the other way round.

    Means nearby are compared: a dark scratch may run into a light hole.
    """
    ring = ring_of(own)
    inside, around = (cv2.blur(where.astype(np.float32), NEARBY) for where in (own, ring))
    edge = own & (around > 1e-4)
    if not edge.any():
        return True
    steps = [
        mean_near(v, own, inside)[edge] - mean_near(v, ring, around)[edge] for v in (photo, prior)
    ]
    channel = int(np.argmax(np.abs(steps[0] - steps[1]).mean(0)))
    step, shown = (float(np.abs(each[:, channel]).mean()) for each in steps)
    return step > max(STEP, shown)


def mean_near(picture: Image, where: Mask, share: Plane) -> Image:
    """Local means of a picture over the pixels in `where`, which are a `share` of each window."""
    total = cv2.blur(picture * where[..., None].astype(np.float32), NEARBY)
    return np.asarray(total / np.maximum(share, 1e-4)[..., None], np.float32)


def is_ground(box: Box, own: Mask, size: tuple[int, ...]) -> bool:
    """Whether a place is a strip along a side of the picture: the table under the print, or its
    border."""
    left, top, width, height = cv2.boundingRect(own.astype(np.uint8))
    top, left, rim = top + box[0].start, left + box[1].start, RIM * max(size)
    for at, depth, length, side in ((top, height, width, 0), (left, width, height, 1)):
        least = ALONG[depth > THIN * max(size)] * size[1 - side]
        if min(at, size[side] - at - depth) < rim and length > max(STRIP * depth, least):
            return True
    return False


def with_lines(
    mask: Mask, photo: Image, lit: Image, inside: Mask, less: Plane | np.float32
) -> Mask:
    """Add faint creases and scratches to the mask (H, W) of a worn print: lines only in the photo.

    Gaps are closed, and the edge is moved out past the shading beside a crease. `lit` is the prior
    in the photo's light; `less`, at most (H, W), reduces the response.
    """
    own, shown = (
        cv2.GaussianBlur(plane, (0, 0), NARROW) - cv2.GaussianBlur(plane, (0, 0), WIDE)
        for plane in (luma(photo), luma(lit))
    )
    own = np.where(dilated(mask, ROOM), 0, own)
    window = (2 * round(AROUND * max(own.shape)) + 1,) * 2
    usual = cv2.blur(np.abs(own), window)
    for _ in range(2):
        usual = cv2.blur(np.minimum(np.abs(own), 2 * usual), window)
    usual += np.float32(0.0005)
    its = cv2.dilate(stroke_response(shown / usual), np.ones((9, 9), np.uint8))
    answer = stroke_response(np.clip(own / usual, -CLIPPED, CLIPPED)) / (1 + its) * inside
    answer = np.asarray(answer * (1 - less), np.float32)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((answer > TRACE).astype(np.uint8))
    length = np.hypot(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
    certain = (peaks(labels, count, answer) > LINE) & (length > LENGTH * max(own.shape))
    certain[0] = False
    whole = (mask | dilated(certain[labels], 1)).astype(np.uint8)
    rim = round(SHADING * max(own.shape))
    closed = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((4 * rim + 1,) * 2, np.uint8))
    return dilated(closed > 0, rim)


def stroke_response(plane: Plane) -> Plane:
    """(H, W) largest mean, light or dark, along a straight stroke through each pixel."""
    half = STROKE // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    best = np.zeros(plane.shape, np.float32)
    for angle in np.arange(TURNS) * np.pi / TURNS:
        along, off = x * np.cos(angle) + y * np.sin(angle), x * np.sin(angle) - y * np.cos(angle)
        stroke = np.clip(1 - np.abs(off), 0, 1) * (np.abs(along) <= half)
        np.maximum(best, np.abs(cv2.filter2D(plane, -1, stroke / stroke.sum())), out=best)
    return best


def strips(off: Mask) -> Mask:
    """The border of a print and the background around it: whole rows that differ, along a side of
    the picture."""
    border = np.zeros_like(off)
    for turns in range(4):
        side, out = np.rot90(off, turns), np.rot90(border, turns)
        height, width = side.shape
        share = side[: round(BORDER * height), width // 8 : width - width // 8].mean(1)
        rows = np.flatnonzero(share > FILLED)
        if len(rows) and len(rows) > ROWS * (rows[-1] + 1):
            out[: rows[-1] + 1 + EDGE] = True
    return border


def regions(off: Plane, alone: Mask, back: Mask) -> Mask:
    """Connected places with `off` above 1 whose outline is an edge only in the photo."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(
        (off > 1).astype(np.uint8), connectivity=4
    )
    edges = dilated(alone, 3)
    mask = np.zeros_like(alone)
    for index in range(1, count):
        left, top, width, height, area = boxes[index]
        if area < REGION:
            continue
        box = (slice(max(0, top - 2), top + height + 2), slice(max(0, left - 2), left + width + 2))
        own = cv2.morphologyEx(
            (labels[box] == index).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)
        )
        outline = (own > 0) & (cv2.erode(own, np.ones((3, 3), np.uint8)) == 0)
        if not outline.any() or edges[box][outline].mean() < OUTLINED:
            continue
        plain = float(off[box][own > 0].mean()) > FAR_OFF
        if plain or back[box][outline].mean() < BACK:
            mask[box] |= own > 0
    return mask
