"""Find single damaged pieces of a print: holes, scratches and dust that only the photo has.

A small network gets photo and prior under the same light, and estimates how likely each pixel is
damaged. Damage is plain and sharp-edged in the photo, where the prior continues smoothly. The
network was trained by `benchmarks/fit_damage.py` on photos with simulated damage and freely redrawn
priors, so that objects which a prior merely omits or moves are not taken for damage.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from verax import weights
from verax.image import Image, Plane
from verax.image.pixels import luma, peaks
from verax.prints.holes import WHOLE, Box, Flaws, Light, Mask, count, dilate

GRID = 16  # px: sides of the network's input are multiples of this
DAMAGE, SURE = 0.5, 0.95  # least likelihood of every pixel of a piece, and of its most likely one
MEAN, UNASKED = 0.75, 0.9  # least mean likelihood of a piece; UNASKED: damage is not known
LEAST = 4  # px, least area of a piece
# a place that may be a scratch, in the reduced pair: least response, least length, and the margin
# around it that is examined; both shares of the long side
OUTLINE, LONG, MARGIN = 2.0, 0.05, 0.02
LITTLE = 0.4  # largest share of the photo at which the quick test saves time
STEP = 0.03  # least contrast of a piece with its surroundings
ROOM = 5  # px around a piece that are examined
NEARBY = (15, 15)  # px, window of the means that are compared across the edge of a piece
RIM, STRIP, THIN = 0.01, 2.5, 0.03  # a strip along a side of the picture: largest distance from the
# side, least ratio of length to depth, and largest depth of a thin strip (shares of the long side)
ALONG = (0.1, 0.4)  # least length of a strip, thin or not, as a share of the side
# faint lines; responses are in units of the mean structure around
STROKE, TURNS = 31, 16  # px, length of a stroke; number of its directions
NARROW, WIDE = 1.0, 3.0  # sigmas in px of the frequency band of lines
AROUND, CLIPPED = 0.02, 2.5  # half the window of that mean, share of the long side; largest value
SHADING = 0.0016  # width of the shading beside a crease, share of the long side
TRACE, LINE, LENGTH = 0.85, 1.25, 0.02  # least response along a line, least peak, and least length
BESIDE = 10  # least specks beside lines in a colour photo
REGION = 60  # px, least area of a region
OUTLINED, BACK = 0.5, 0.35  # shares of a region's outline: least on edges that only the photo has,
# largest near structure that only the prior has
FAR_OFF = 2.0  # mean difference of a region from which structure only in the prior is ignored
# a print's border: largest depth, share of the side; least share of rows that differ; least share
# of differing pixels in such a row; px added
BORDER, ROWS, FILLED, EDGE = 0.16, 0.4, 0.5, 2
PIECES, DUSTY = 3, 30  # least number of patches and lines together, or of specks, that are damage


def find_pieces(
    photo: Image, prior: Image, valid: Plane, light: Light, *, known: bool, colour: bool = False
) -> Flaws:
    """Find single damaged pieces of a photo (H, W, 3) by its registered prior (H, W, 3).

    Args:
        valid: (H, W) share of each pixel that the prior covers, 0 to 1.
        light: correction from the prior's light to the photo's.
        known: the photo is known to be a damaged print, so a single piece is reported; otherwise
            pieces are reported only if (patches + lines) / 3 + specks / 30 is at least 1, else
            the result is without damage.
        colour: the photo is in colour. Unless `known`, pieces are then reported only if they
            include a line, and also a patch or at least ten specks, since captions look like lines
            and reflections like patches.
    """
    lit = next(light.on(prior, WHOLE))
    answer = likelihood(photo, lit) * (valid > 0.99)
    mask = np.zeros(answer.shape, bool)
    for box, own in places(answer, MEAN if known else UNASKED):
        if stands_out(photo[box], lit[box], own) and not is_ground(box, own, mask.shape):
            mask[box] |= own
    patches, lines, specks = count(mask)
    few = (patches + lines) / PIECES + specks / DUSTY < 1
    if not known and (few or (colour and not (lines and (patches or specks >= BESIDE)))):
        return Flaws(np.zeros_like(mask), 0, 0, 0)
    return Flaws(mask, patches, lines, specks)


def has_line(photo: Image, prior: Image, light: Light, alone: Plane) -> bool:
    """Whether the photo probably has a scratch, by a quick test that examines only parts of it.

    Only the long places in `alone` are examined. If they make up much of the photo, the answer is
    True without a test.

    Args:
        photo: (H, W, 3).
        prior: (H, W, 3) registered, in its own light.
        light: correction from the prior's light to the photo's, which is applied here.
        alone: (h, w) response to structure that only the photo has, in a small copy of the photo.
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
    return bool(mask.any()) and count(mask)[1] > 0


def long_places(answer: Plane, shape: tuple[int, ...]) -> list[Box]:
    """Boxes (rows, columns), with a margin, around the long places of a large response.

    Args:
        answer: (h, w) response in a small copy of a picture; above 2 it is large.
        shape: shape of the whole picture, in px of which the boxes are.
    """
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
    """How likely each pixel of a photo (H, W, 3) is damaged: the network's output (H, W), 0 to 1.

    `prior`: (H, W, 3) registered, with its light matched to the photo's.
    """
    both = np.concatenate([np.clip(v, 0, 1) for v in (photo, prior)], axis=2)
    height, width = both.shape[:2]
    whole = np.pad(both, ((0, -height % GRID), (0, -width % GRID), (0, 0)), mode="symmetric")
    planes = np.ascontiguousarray(whole.transpose(2, 0, 1)[None], np.float32)
    answer = weights.session(weights.DAMAGE).run(None, {"input": planes})[0]
    return np.asarray(answer[0, 0, :height, :width], np.float32)


def places(answer: Plane, mean: float) -> Iterator[tuple[Box, Mask]]:
    """Yield the damaged places in a plane of likelihoods (H, W), 0 to 1: a box (rows, columns) with
    a margin of 5 px, and the mask of the place in the box.

    A place is connected and has at least 4 px; its likelihood is above 0.5 everywhere, above 0.95
    somewhere, and above `mean` on average.
    """
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
    """Whether a place contrasts with its surroundings more in the photo than in the prior.

    If not, the prior added something there. Local means on both sides of the place's edge are
    compared, since a dark scratch may run into a light hole.

    Args:
        photo: (h, w, 3) the place and a few px around it.
        prior: (h, w, 3) the same part of the registered prior, in the photo's light.
        own: (h, w) mask of the place.
    """
    near, far = (cv2.dilate(own.astype(np.uint8), np.ones((k, k), np.uint8)) for k in (5, 9))
    ring = np.asarray((far > 0) & (near == 0), bool)  # 3 to 4 px away from the place
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
    """Means (h, w, 3) of a picture in windows of 15 px, over the pixels in the mask `where` only.

    `picture`: (h, w, 3). `share`: (h, w) share of each window that is in the mask, 0 to 1.
    """
    total = cv2.blur(picture * where[..., None].astype(np.float32), NEARBY)
    return np.asarray(total / np.maximum(share, 1e-4)[..., None], np.float32)


def is_ground(box: Box, own: Mask, size: tuple[int, ...]) -> bool:
    """Whether a place is a strip along a side of the picture, such as the table under the print.

    `own` (h, w) is the mask of the place in `box` (rows, columns); `size` is (height, width) of the
    whole picture.
    """
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
    """Add faint creases and scratches, lines that only the photo has, to the mask (H, W) of wear.

    Returns a new mask (H, W). Gaps in it are closed, and it is dilated to cover the shading beside
    creases.

    Args:
        photo: (H, W, 3).
        lit: (H, W, 3) the registered prior, with its light matched to the photo's.
        inside: (H, W) True where the prior covers the photo.
        less: fraction, 0 to 1, by which the response to lines is lowered: one for all pixels, or
            (H, W).
    """
    own, shown = (
        cv2.GaussianBlur(plane, (0, 0), NARROW) - cv2.GaussianBlur(plane, (0, 0), WIDE)
        for plane in (luma(photo), luma(lit))
    )
    own = np.where(dilate(mask, ROOM), 0, own)
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
    whole = (mask | dilate(certain[labels], 1)).astype(np.uint8)
    rim = round(SHADING * max(own.shape))
    closed = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((4 * rim + 1,) * 2, np.uint8))
    return dilate(closed > 0, rim)


def stroke_response(plane: Plane) -> Plane:
    """For each pixel, the largest absolute mean of the plane (H, W) along a line through the pixel,
    31 px long, in one of 16 directions."""
    half = STROKE // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    best = np.zeros(plane.shape, np.float32)
    for angle in np.arange(TURNS) * np.pi / TURNS:
        along, off = x * np.cos(angle) + y * np.sin(angle), x * np.sin(angle) - y * np.cos(angle)
        stroke = np.clip(1 - np.abs(off), 0, 1) * (np.abs(along) <= half)
        np.maximum(best, np.abs(cv2.filter2D(plane, -1, stroke / stroke.sum())), out=best)
    return best


def strips(off: Mask) -> Mask:
    """Mask (H, W) of the print's border and the background around the print.

    `off` (H, W) is True where photo and prior differ. A side of the picture has a border if they
    differ in more than half of the pixels of many rows, or columns, along it.
    """
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
    """Mask (H, W) of damaged regions: connected, and outlined by edges that only the photo has.

    Args:
        off: (H, W) difference of photo and prior, divided by the threshold above which it counts.
        alone: (H, W) mask of edges that only the photo has.
        back: (H, W) mask of places near structure that only the prior has.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(
        (off > 1).astype(np.uint8), connectivity=4
    )
    edges = dilate(alone, 3)
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
