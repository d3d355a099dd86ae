"""Matrices between pixel grids, (3, 3) float64 on points (x, y, 1).

The centre of the top-left pixel is (0, 0), so a picture of width w spans -0.5 .. w - 0.5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Size = tuple[int, int]  # (width, height)


def scaled(size: Size, factor: float, least: int = 8) -> Size:
    """A size times a factor, rounded, no side below `least`."""
    return max(least, round(size[0] * factor)), max(least, round(size[1] * factor))


def scaling(x: float, y: float) -> Matrix:
    """The grid of a picture resized by factors x and y: edges map to edges, not centres."""
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]], np.float64)


def stretch(source: Size, target: Size) -> Matrix:
    """Source px to target px where one picture is the other, resized."""
    return scaling(target[0] / source[0], target[1] / source[1])


def shift(x: float, y: float) -> Matrix:
    """A move by (x, y) px."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def invert(matrix: Matrix) -> Matrix:
    """The way back, its last entry 1."""
    inverse = np.linalg.inv(matrix)
    return np.asarray(inverse / inverse[2, 2], np.float64)


def compose(*matrices: Matrix) -> Matrix:
    """The product, left-most applied last, its last entry 1."""
    product = np.linalg.multi_dot(matrices) if len(matrices) > 1 else matrices[0]
    return np.asarray(product / product[2, 2], np.float64)


def map_points(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 2) moved by the matrix."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def corners(size: Size) -> NDArray[np.float64]:
    """Centres of the corner pixels, (4, 2), clockwise from the top left."""
    right, bottom = size[0] - 1, size[1] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)


def corner_errors(estimate: Matrix, truth: Matrix, size: Size) -> NDArray[np.float64]:
    """How far each corner of the target grid lands off, (4,) in target px.

    Both matrices map source px to target px; the corners go back by the truth and forth by the
    estimate.
    """
    there = corners(size)
    landed = map_points(compose(estimate, invert(truth)), there)
    return np.asarray(np.linalg.norm(landed - there, axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class Motion:
    """A matrix between two pictures in words of movement, read at the target's centre.

    Attributes:
        shift: (x, y) as shares of the target's width and height.
        scale: (x, y), 1 = as a plain resize.
        rotation: degrees, positive from x towards y.
        shear: degrees by which the axes are off the right angle.
        perspective: (x, y), change of scale from the centre to the right and lower edge.
    """

    shift: tuple[float, float]
    scale: tuple[float, float]
    rotation: float
    shear: float
    perspective: tuple[float, float]


def motion(matrix: Matrix, source: Size, target: Size) -> Motion:
    """What the matrix does beyond resizing source to target."""
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
