"""Old paper prints. This module straightens a photograph (shot) of a print: it removes perspective,
background and paper border."""

from dataclasses import replace

import cv2
import numpy as np

from verax.errors import InputError
from verax.image import Image, Photo, Plane
from verax.prints.corners import Corners, check_corners, find_corners

Box = tuple[int, int, int, int]  # left, top, right, bottom in px, right and bottom exclusive

LENSES = (0.5, 4.0)  # plausible focal lengths, in diagonals of the shot
STRETCH = 1.4  # largest ratio between the aspect ratio by perspective and that by lengths of sides
PAPER = 0.09  # largest difference of a border pixel from the paper colour beside it
UNEVEN = 0.25  # largest difference in paper colour between sides, under uneven light
FILLED = 0.85  # least share of paper in a row of the border
BORDER = 0.16  # widest border, share of the side
SKIPPED = 0.006  # rows at the very edge that may show background, share of the side
LEAST = 16  # least side of the straightened print, px


def flatten(shot: Image, corners: Corners) -> Image:
    """Cut the print out of a shot (H, W, 3) and remove the perspective.

    `corners`: (4, 2) x, y of the print's corners in px of the shot, clockwise from top left.
    Returns the print (h, w, 3) at about the resolution that it has in the shot. Raises InputError
    if a side of the result would be less than 16 px.
    """
    size = (shot.shape[1], shot.shape[0])
    top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    ratio = shape_of(corners, size)
    width = max(top, bottom, ratio * max(left, right))
    target = (round(float(width)), round(float(width / ratio)))
    if min(target) < LEAST:
        raise InputError(
            f"straighten: expected a print of at least {LEAST} px on each side, got "
            f"{target[0]}x{target[1]} px; give the print's corners in px of the shot: "
            "--corners x,y x,y x,y x,y"
        )
    edges = np.array([[0, 0], [target[0], 0], target, [0, target[1]]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), edges)
    flat = cv2.warpPerspective(
        shot, matrix, target, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.clip(flat, 0, 1), np.float32)


def shape_of(corners: Corners, size: tuple[int, int]) -> float:
    """The real aspect ratio (width over height) of a print, from its corners in a shot.

    It is computed from the perspective, assuming that the optical axis is at the centre of the shot
    (Zhang and He, "Whiteboard scanning", 2007). If there is too little perspective for that, it is
    the ratio of the mean lengths of opposite sides.

    Args:
        corners: (4, 2) x, y in px of the shot, clockwise from top left.
        size: (width, height) of the shot.
    """
    top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    plain = float((top + bottom) / (left + right))
    centre = np.array([size[0] - 1, size[1] - 1]) / 2
    a, b, d, c = (np.array([x, y, 1.0]) for x, y in corners - centre)  # c, d: lower left, right
    try:
        with np.errstate(divide="raise", invalid="raise"):
            k2 = np.cross(a, d) @ c / (np.cross(b, d) @ c)
            k3 = np.cross(a, d) @ b / (np.cross(c, d) @ b)
            across, down = k2 * b - a, k3 * c - a
            focal = -(across[0] * down[0] + across[1] * down[1]) / (across[2] * down[2])
    except (ZeroDivisionError, FloatingPointError):
        return plain
    diagonal = float(np.hypot(*size))
    if not (LENSES[0] * diagonal) ** 2 < focal < (LENSES[1] * diagonal) ** 2:
        return plain
    lens = np.array([1 / focal, 1 / focal, 1.0])
    ratio = float(np.sqrt((across**2 @ lens) / (down**2 @ lens)))
    return ratio if 1 / STRETCH < ratio / plain < STRETCH else plain


def inside_border(flat: Image) -> Box:
    """Find the picture inside the plain paper border of a straightened print (H, W, 3).

    Returns (left, top, right, bottom) in px; right and bottom are exclusive. A border is paper of
    about one colour along at least three sides, with a clear edge towards the picture. Without a
    border the box of the whole print is returned.
    """
    height, width = flat.shape[:2]
    sides = [np.rot90(flat, turns) for turns in range(4)]  # at the top: upper, right, lower, left
    papers = np.array([np.median(paper_along(side), axis=0) for side in sides])
    alike = np.abs(papers - np.median(papers, axis=0)).max(1) < UNEVEN
    depths = [border_depth(side) if same else 0 for side, same in zip(sides, alike, strict=True)]
    if sum(depth > 0 for depth in depths) < 3:
        return (0, 0, width, height)
    top, right, bottom, left = depths
    return (left, top, width - right, height - bottom)


def paper_along(flat: Image) -> Plane:
    """The RGB colour of the paper at the upper edge of a straightened print (H, W, 3).

    Returns (W, 3): for each column the median of a few rows near the edge, smoothed along the edge.
    """
    skip = max(2, round(SKIPPED * flat.shape[0]))
    edge = np.median(flat[skip : 3 * skip], axis=0)[None]
    return np.asarray(cv2.blur(edge, (max(3, flat.shape[1] // 12), 1))[0], np.float32)


def border_depth(flat: Image) -> int:
    """The number of rows of paper border at the upper edge of a straightened print (H, W, 3).

    0 if there is no border, or if it does not end within 16 % of the height.
    """
    height, width = flat.shape[:2]
    middle = slice(width // 8, width - width // 8)
    stray = np.abs(flat[:, middle] - paper_along(flat)[middle]).max(2)
    share = (stray < PAPER).mean(1)
    skip, reach = max(2, round(SKIPPED * height)), round(BORDER * height)
    rows = np.flatnonzero(share[skip:reach] < FILLED)
    if len(rows) == 0 or rows[0] < skip:
        return 0
    end = skip + int(rows[0])
    after = share[end + skip : end + skip + max(2, height // 50)]
    return end + skip // 2 if len(after) and after.mean() < FILLED * 0.7 else 0


def straighten(shot: Photo, corners: Corners | None = None, *, border: bool = False) -> Photo:
    """Straighten a photograph (shot) of a print; returns the print alone, without perspective.

    The result has the shot's metadata, but no alpha.

    Args:
        corners: (4, 2) x, y of the print's corners in px of the shot, in any order; None: detect
            them.
        border: True: keep the print's plain paper border; False: crop it.

    Raises InputError if the corners are not those of a print, or cannot be detected.
    """
    if corners is None:
        corners = find_corners(shot.pixels)
    else:
        corners = check_corners(corners, (shot.width, shot.height))
    flat = flatten(shot.pixels, corners)
    left, top, right, bottom = (0, 0, flat.shape[1], flat.shape[0])
    if not border:
        left, top, right, bottom = inside_border(flat)
    pixels = np.ascontiguousarray(flat[top:bottom, left:right])
    return replace(shot, pixels=pixels, alpha=None)


def corners_of(text: str) -> Corners:
    """Parse the text 'x,y x,y x,y x,y' to four points, (4, 2) x, y. Raises InputError for any other
    text."""
    try:
        points = [[float(value) for value in point.split(",")] for point in text.split()]
        return np.array(points, np.float64).reshape(4, 2)
    except ValueError as exc:
        raise InputError(
            f"--corners: expected 'x,y x,y x,y x,y' in pixels, got {text!r}; give four corners"
        ) from exc
