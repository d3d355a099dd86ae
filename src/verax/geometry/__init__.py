"""Geometry: transforms between pixel grids as matrices, and warping a picture by a matrix.

Matrices are (3, 3) float64 and map points (x, y, 1). The centre of the top-left pixel is (0, 0), so
a picture of width w spans -0.5 to w - 0.5.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Plane
from verax.image.pixels import by_stripes, resize

Matrix = NDArray[np.float64]
Size = tuple[int, int]  # (width, height)

FINER = 1.5  # source px per target px from which `warp` reduces the source first, against aliasing


def scale_size(size: Size, factor: float, least: int = 8) -> Size:
    """A size (width, height) times a factor, rounded, with no side below `least` px."""
    return max(least, round(size[0] * factor)), max(least, round(size[1] * factor))


def scaling(x: float, y: float) -> Matrix:
    """The matrix of a resize by factors x and y, which maps picture borders to picture borders."""
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]], np.float64)


def stretch(source: Size, target: Size) -> Matrix:
    """The matrix of a plain resize from size `source` to size `target` (width, height)."""
    return scaling(target[0] / source[0], target[1] / source[1])


def shift(x: float, y: float) -> Matrix:
    """The matrix of a shift by (x, y) px."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def invert(matrix: Matrix) -> Matrix:
    """The inverse matrix, scaled so that its bottom-right entry is 1."""
    inverse = np.linalg.inv(matrix)
    return np.asarray(inverse / inverse[2, 2], np.float64)


def compose(*matrices: Matrix) -> Matrix:
    """The product of matrices; the last one acts first. It is scaled so that its bottom-right entry
    is 1."""
    product = np.linalg.multi_dot(matrices) if len(matrices) > 1 else matrices[0]
    return np.asarray(product / product[2, 2], np.float64)


def map_points(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map points (x, y), an array (N, 2), by the matrix; returns (N, 2)."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def corners(size: Size) -> NDArray[np.float64]:
    """The centres (x, y) of the four corner pixels, (4, 2), clockwise from the top left."""
    right, bottom = size[0] - 1, size[1] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)


def corner_errors(estimate: Matrix, truth: Matrix, size: Size) -> NDArray[np.float64]:
    """The error in target px of an estimated matrix at the four corners of the target grid, (4,).

    Both matrices map source px to target px; `size` is (width, height) of the target. Each corner
    is mapped to the source by the inverse of `truth`, then back by `estimate`. The order is
    clockwise from the top left.
    """
    true_corners = corners(size)
    mapped = map_points(compose(estimate, invert(truth)), true_corners)
    return np.asarray(np.linalg.norm(mapped - true_corners, axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class Motion:
    """The parts of a transform, relative to a plain resize, at the centre of the target grid.

    Attributes:
        shift: (x, y) by which the content moves, as fractions of the target's width and height;
            positive to the right and down.
        scale: (x, y), 1.0 for a plain resize; more: the content is larger.
        rotation: degrees, positive clockwise (from the x axis towards the y axis, which is down).
        shear: degrees by which the angle between the axes differs from 90.
        perspective: (x, y), relative change of scale from the centre to the right and lower border.
    """

    shift: tuple[float, float]
    scale: tuple[float, float]
    rotation: float
    shear: float
    perspective: tuple[float, float]


def motion(matrix: Matrix, source: Size, target: Size) -> Motion:
    """Decompose a matrix from source px to target px, relative to a plain resize of the picture.

    `source` and `target` are (width, height).
    """
    width, height = target
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    beyond = compose(
        shift(*-centre), matrix, invert(stretch(source, target)), shift(*centre)
    )  # target px to target px, centre at the origin
    linear = beyond[:2, :2] - np.outer(beyond[:2, 2], beyond[2, :2])
    x_axis, y_axis = linear[:, 0], linear[:, 1]
    turn_x = np.arctan2(x_axis[1], x_axis[0])
    turn_y = np.arctan2(-y_axis[0], y_axis[1])
    return Motion(
        (float(beyond[0, 2] / width), float(beyond[1, 2] / height)),
        (float(np.hypot(*x_axis)), float(np.hypot(*y_axis))),
        float(np.degrees(turn_x + turn_y) / 2),
        float(np.degrees(turn_y - turn_x)),
        (float(-beyond[2, 0] * width / 2), float(-beyond[2, 1] * height / 2)),
    )


def warp(
    picture: NDArray[np.float32], matrix: Matrix, field: NDArray[np.float32] | None, size: Size
) -> tuple[NDArray[np.float32], Plane]:
    """Warp `picture`, (H, W, 3) or (H, W) in [0, 1], to a target grid of `size` (width, height).

    `matrix` maps picture px to target px. Target pixel p is sampled (cubic) from the picture at
    inverse(matrix) @ (p + field[p]), with reflection outside. `field` (H, W, 2) is in target px;
    None means zero.

    Returns the target pixels, and for each the fraction in [0, 1] that the picture covers.
    """
    picture, matrix = _average(picture, matrix)
    pixels = np.empty((size[1], size[0], *picture.shape[2:]), np.float32)
    valid = np.empty((size[1], size[0]), np.float32)
    inverse = invert(matrix)

    def strip(rows: slice) -> None:
        x, y = _lookups(inverse, None if field is None else field[rows], rows, size[0])
        part = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        np.clip(part, 0, 1, out=pixels[rows])
        depth = np.minimum(_depth(x, picture.shape[1]), _depth(y, picture.shape[0]))
        np.clip(depth + 1, 0, 1, out=valid[rows])

    by_stripes(strip, valid.shape)
    return pixels, valid


def share_seen(matrix: Matrix, source: Size, target: Size) -> float:
    """The fraction in [0, 1] of the target that the source covers.

    `matrix` maps source px to target px; `source` and `target` are (width, height).
    """
    outline = map_points(matrix, corners(source)).astype(np.float32)
    area, _ = cv2.intersectConvexConvex(outline, corners(target).astype(np.float32))
    return float(min(1.0, area / max(1, (target[0] - 1) * (target[1] - 1))))


def _average(picture: NDArray[np.float32], matrix: Matrix) -> tuple[NDArray[np.float32], Matrix]:
    width, height = picture.shape[1], picture.shape[0]
    finer = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if finer < FINER:
        return picture, matrix
    size = max(1, round(width / finer)), max(1, round(height / finer))
    return resize(picture, size), compose(matrix, stretch(size, (width, height)))


def _lookups(
    inverse: Matrix, field: NDArray[np.float32] | None, rows: slice, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The coordinates x and y in the source at which each pixel of some target rows is sampled.

    `rows` are the target rows, `width` is the target's; both results are (number of rows, width).
    `inverse` (3, 3) maps target px to source px. `field` (number of rows, width, 2), (dx, dy) in
    px, is added to the target px first; None: nothing is added.
    """
    x, y = np.arange(width, dtype=np.float64)[None], np.arange(rows.start, rows.stop)[:, None]
    if field is not None:
        x, y = x + field[..., 0], y + field[..., 1]
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in inverse)
    w = np.where(w > 1e-9, w, np.inf)  # points behind the camera are sampled at (0, 0)
    return (u / w).astype(np.float32), (v / w).astype(np.float32)


def _depth(position: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """How far inside a row of `length` pixels each position (px) is: its distance in px from the
    centre of the nearer end pixel, negative outside the row."""
    return np.asarray(np.minimum(position, length - 1 - position), np.float32)
