"""Find the four corners of a print in a photograph (shot) of the print, from its straight edges.

Line segments (LSD, Grompone von Gioi et al., IPOL 2012) are merged into straight lines. Any two
horizontal lines and two vertical ones form an outline; in the best outline, edges run along most of
each side. The sides of the best outline are then fitted to the edges at full size."""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError
from verax.image import Image, to_uint8

Corners = NDArray[np.float64]  # (4, 2) x, y in px: top left, top right, bottom right, bottom left
Point = NDArray[np.float64]  # x, y in px
Line = NDArray[np.float64]  # a, b, c with a x + b y + c = 0 and a^2 + b^2 = 1

WORK = 640  # px, long side at which lines are looked for
SHORT = 0.06  # shortest segment used, share of the long side
LINES = 16  # most lines of each direction that are combined
SAME_PX, SAME_COS = 5.0, 0.9985  # segments this close in place and direction are on one line
EDGE = 0.012  # least step of brightness or colour per px of an edge
COVERED = 0.86  # least share of each side that lies on an edge
WHOLE = 0.97  # least share of all sides together if one side extends past its corner
TAPER = 2.5  # largest ratio of two opposite sides
AREA = (0.1, 0.985)  # least and largest area of the outline, shares of the shot
ON = 0.8  # share of a short stretch beyond a corner that lies on an edge, if the side goes on there
SHARP = 0.06  # step per px of a sharp edge; that of a shadow is softer
KEEN = 0.3  # weight of sharp edges in the score of an outline
LARGE = 0.35  # weight of the outline's area in its score
REACH = 0.012  # distance from a side within which its edge is searched, share of the long side
SAMPLES = 160  # points along a side at which the edge is searched
NEXT = [1, 2, 3, 0]  # index of the next corner
HOW = "give its corners in pixels: --corners x,y x,y x,y x,y"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an outline.

    Attributes:
        share: share of the side's length that lies on an edge.
        sharp: sharpness of the edge, 0 to 1; low for the edge of a shadow.
        before, after: whether the edge goes on past the side's start, or end, unlike a print's.
    """

    share: float
    sharp: float
    before: bool
    after: bool


def find_corners(shot: Image) -> Corners:
    """Find the corners of a print: (4, 2) x, y in px of the shot (H, W, 3), clockwise from top
    left. Raises InputError if no outline of a print is found."""
    scale = min(1.0, WORK / max(shot.shape[:2]))
    size = (round(shot.shape[1] * scale), round(shot.shape[0] * scale))
    small = cv2.resize(shot, size, interpolation=cv2.INTER_AREA)
    outline = best_outline(small)
    if outline is None:
        raise InputError(
            "straighten: expected a shot with all four corners of a print in view, found no print; "
            f"photograph the print from farther away on a plain background, or {HOW}"
        )
    return fit(shot, (outline + 0.5) / scale - 0.5)


def check_corners(corners: Corners, size: tuple[int, int]) -> Corners:
    """Check the corners (4, 2), x, y in px, of a print in a shot of `size` (width, height); returns
    them clockwise from top left. Raises InputError if they lie outside the shot or form no convex
    outline."""
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise InputError(f"--corners: expected four points x,y, got {corners.tolist()}; give four")
    width, height = size
    if (corners < -0.5).any() or (corners > np.array([width, height]) - 0.5).any():
        raise InputError(
            f"--corners: expected corners inside the picture of {width}x{height} px, "
            f"got {' '.join(f'{x:g},{y:g}' for x, y in corners)}; give x,y in px of this picture"
        )
    ring = in_order(corners)
    if not is_outline(ring, least=0.001 * width * height):
        raise InputError(
            f"--corners: expected four points with a convex outline, got {corners.tolist()}; "
            "give the four corners of the print"
        )
    return ring


def in_order(points: Corners) -> Corners:
    """Sort four points (4, 2), x, y in px, clockwise on screen, starting at the top left."""
    middle = points - points.mean(0)
    ring = points[np.argsort(np.arctan2(middle[:, 1], middle[:, 0]))]
    first = int(np.argmin(ring.sum(1)))
    return np.concatenate([ring[first:], ring[:first]])


def is_outline(ring: Corners, *, least: float) -> bool:
    """Whether corners, in clockwise order, form a convex outline of at least `least` square px."""
    sides = ring[NEXT] - ring
    after = sides[NEXT]
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
    return bool((turns > 0).all()) and area_of(ring) >= least


def area_of(ring: Corners) -> float:
    """The area of an outline, in square px."""
    return abs(float(cv2.contourArea(ring.astype(np.float32))))


def best_outline(small: Image) -> Corners | None:
    """The corners (4, 2) of the most likely print, in px of `small`, a reduced copy (h, w, 3) of
    the shot; None if there is no print."""
    gradient = gradients(cv2.GaussianBlur(small, (0, 0), 1.2))
    lines = straight_lines(small)
    level = [line for line in lines if abs(line[1]) >= abs(line[0])][:LINES]
    upright = [line for line in lines if abs(line[1]) < abs(line[0])][:LINES]
    most_xy = np.array(small.shape[1::-1]) - 2
    crossings = {
        (i, j): point
        for i, across in enumerate(level)
        for j, down in enumerate(upright)
        if (point := crossing(across, down)) is not None and (point.clip(1, most_xy) == point).all()
    }
    sides: dict[tuple[str, int, int, int], Side] = {}
    best, most = None, 0.0
    for top, bottom in combinations(range(len(level)), 2):
        for left, right in combinations(range(len(upright)), 2):
            at = ((top, left), (top, right), (bottom, right), (bottom, left))
            if not all(place in crossings for place in at):
                continue
            around = np.array([crossings[place] for place in at])
            ring = ring_of(around, small.shape)
            if ring is None:
                continue
            names = (
                ("level", top, left, right),
                ("upright", right, top, bottom),
                ("level", bottom, right, left),
                ("upright", left, bottom, top),
            )
            for start, end, name in zip(around, around[NEXT], names, strict=True):
                if name not in sides:
                    sides[name] = coverage(start, end, gradient)
                if sides[name].share < COVERED:
                    break
            else:
                score = score_of([sides[name] for name in names], ring, small.shape)
                if score > most:
                    best, most = ring, score
    return best


def ring_of(corners: Corners, shape: tuple[int, ...]) -> Corners | None:
    """The corners, (4, 2) in px, clockwise from top left; None if the outline is smaller than 10 %
    of a shot of `shape` (height, width), larger than 98.5 %, or has very unequal opposite sides."""
    ring = in_order(corners)
    least, most = (share * shape[0] * shape[1] for share in AREA)
    if not is_outline(ring, least=least) or area_of(ring) > most:
        return None
    lengths = np.hypot(*(ring[NEXT] - ring).T)
    taper = np.abs(np.log(lengths[:2] / np.maximum(lengths[2:], 1e-6))).max()
    return ring if taper <= np.log(TAPER) else None


def crossing(first: Line, second: Line) -> Point | None:
    """The point (x, y) where two lines (a, b, c), a x + b y + c = 0, meet; None if parallel."""
    x, y, w = np.cross(first, second)
    return None if abs(w) < 1e-6 else np.array([x / w, y / w])


def score_of(sides: list[Side], ring: Corners, shape: tuple[int, ...]) -> float:
    """Score of an outline in a shot of `shape` (height, width): high if it is large and its `sides`
    lie on sharp edges; 0 if edges go on past more than one corner, or past one of an outline
    that lies only partly on edges. `ring`: (4, 2) corners, clockwise."""
    mean = float(np.mean([side.share for side in sides]))
    through = sum(
        side.before or last.after for side, last in zip(sides, sides[-1:] + sides[:-1], strict=True)
    )
    if through > (mean > WHOLE):
        return 0.0
    mean += KEEN * float(np.mean([side.sharp for side in sides]))
    return mean + LARGE * float(np.sqrt(area_of(ring) / (shape[0] * shape[1])))


def coverage(start: Point, end: Point, gradient: NDArray[np.float32]) -> Side:
    """Measure how much of the side from `start` to `end` lies on an edge; `gradient` (2, H, W, 3)
    is the change of the picture's channels per px, [0] along x and [1] along y."""
    inside = across(start, end, (0.02, 0.98), gradient)
    share = float((inside > EDGE).mean())
    if share < COVERED:
        return Side(share, 0.0, False, False)
    level = max(EDGE, 0.4 * float(np.median(inside)))
    before, after = (across(start, end, part, gradient) for part in ((-0.14, -0.03), (1.03, 1.14)))
    goes_on = [len(part) > 5 and float((part > level).mean()) > ON for part in (before, after)]
    return Side(share, min(1.0, float(np.median(inside)) / SHARP), *goes_on)


def across(
    start: Point, end: Point, part: tuple[float, float], gradient: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Strength (N,) of the picture's `gradient` (2, H, W, 3; along x, along y) across the side from
    `start` to `end`, at N points of a `part` of it: (0, 1) is the whole side, (1, 1.1) a tenth of
    it beyond `end`. The strength is the largest of the channels, and of 3 px across."""
    length = float(np.hypot(*(end - start)))
    along = (end - start) / max(length, 1e-6)
    normal = np.array([-along[1], along[0]])
    count = max(8, int(length * (part[1] - part[0]) / 2))
    places = start + np.linspace(*part, count)[:, None] * (end - start)
    height, width = gradient.shape[1:3]
    inside = ((places > 1) & (places < np.array([width, height]) - 2)).all(1)
    places = places[inside]
    strongest = np.zeros(len(places))
    for offset in (-1.0, 0.0, 1.0):
        x, y = np.rint(places + offset * normal).astype(int).T
        step = gradient[0, y, x] * normal[0] + gradient[1, y, x] * normal[1]
        strongest = np.maximum(strongest, np.abs(step).max(-1))
    return strongest


def gradients(image: Image) -> NDArray[np.float32]:
    """The change of a picture (H, W, 3) per px: (2, H, W, 3), [0] along x and [1] along y."""
    return np.stack([cv2.Sobel(image, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0)])


def straight_lines(small: Image) -> list[Line]:
    """The straight lines (a, b, c), a x + b y + c = 0, in a picture (h, w, 3); those with the
    greatest total length of segments first."""
    detector = cv2.createLineSegmentDetector()
    least = SHORT * max(small.shape[:2])
    pieces: list[tuple[float, NDArray[np.float64]]] = []
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    planes = (lab[..., 0] / 100, lab[..., 1] / 100 + 0.5, lab[..., 2] / 100 + 0.5)
    for plane in planes:
        segments = detector.detect(to_uint8(cv2.GaussianBlur(plane, (0, 0), 1.0)))[0]
        for segment in [] if segments is None else segments.reshape(-1, 4):
            length = float(np.hypot(*(segment[2:] - segment[:2])))
            if length >= least:
                pieces.append((length, segment.astype(np.float64)))
    return merge(pieces)


def merge(segments: list[tuple[float, NDArray[np.float64]]]) -> list[Line]:
    """Merge segments (length, [x1, y1, x2, y2]), in px, that lie on one line; returns the lines
    (a, b, c), a x + b y + c = 0, those with the greatest total length of segments first."""
    groups: list[tuple[float, Line]] = []
    for length, segment in sorted(segments, key=lambda item: -item[0]):
        ends = segment.reshape(2, 2)
        for index, (total, line) in enumerate(groups):
            if belongs(ends, line):
                groups[index] = (total + length, line)
                break
        else:
            groups.append((length, line_through(*ends)))
    return [line for _, line in sorted(groups, key=lambda item: -item[0])]


def belongs(ends: NDArray[np.float64], line: Line) -> bool:
    along = (ends[1] - ends[0]) / max(float(np.hypot(*(ends[1] - ends[0]))), 1e-6)
    parallel = abs(along[0] * -line[1] + along[1] * line[0]) > SAME_COS
    return bool(parallel and (np.abs(ends @ line[:2] + line[2]) < SAME_PX / 2).all())


def line_through(first: Point, second: Point) -> Line:
    along = (second - first) / np.hypot(*(second - first))
    return np.array([-along[1], along[0], along[1] * first[0] - along[0] * first[1]])


def fit(shot: Image, ring: Corners) -> Corners:
    """Move all sides of the outline `ring`, (4, 2) in px of the shot, to the strongest edges
    nearby. Returns the new corners in the same order, or `ring` if a corner would move too far."""
    reach = max(3.0, REACH * max(shot.shape[:2]))
    lines = [fit_side(shot, *ends, reach) for ends in zip(ring, ring[NEXT], strict=True)]
    moved = [crossing(lines[side - 1], lines[side]) for side in range(4)]
    pairs = zip(moved, ring, strict=True)
    if not all(m is not None and np.hypot(*(m - r)) < 3 * reach for m, r in pairs):
        return ring
    height, width = shot.shape[:2]
    return np.asarray(np.clip(np.array(moved), -0.5, np.array([width, height]) - 0.5), np.float64)


def fit_side(shot: Image, start: Point, end: Point, reach: float) -> Line:
    """The line (a, b, c), a x + b y + c = 0, along the strongest edge within `reach` px of the side
    from `start` to `end` of an outline in the shot."""
    along = (end - start) / np.hypot(*(end - start))
    normal = np.array([-along[1], along[0]])
    places = start + np.linspace(0.06, 0.94, SAMPLES)[:, None] * (end - start)
    step = max(0.5, reach / 24)
    offsets = np.arange(-reach, reach + step, step)
    x, y = (places[:, None] + offsets[:, None] * normal).transpose(2, 0, 1).astype(np.float32)
    profiles = cv2.remap(shot, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    change = np.diff(cv2.GaussianBlur(profiles, (0, 0), sigmaX=1.0, sigmaY=1.5), axis=1)
    weight = np.abs(change).sum(2) * np.exp(-(((offsets[:-1] + step / 2) / (0.7 * reach)) ** 2))
    at = offsets[np.argmax(weight, axis=1)] + step / 2
    points = (places + at[:, None] * normal).astype(np.float32)
    good = weight.max(1) > 0.3 * np.median(weight.max(1))
    vx, vy, px, py = cv2.fitLine(points[good], cv2.DIST_HUBER, 0, 0.01, 0.01).ravel()
    return line_through(np.array([px, py], np.float64), np.array([px + vx, py + vy], np.float64))
