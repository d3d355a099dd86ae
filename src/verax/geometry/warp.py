"""The prior seen on the photo's grid, through a matrix and a local field."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry.features import resize
from verax.geometry.transforms import Matrix, Size, compose, corners, invert, map_points, stretch
from verax.image import Plane

STRIP = 1 << 20  # px warped at a time: memory stays flat however large the photo
FINER = 1.5  # a prior with this many px per photo px is averaged down first, against aliasing


def warp(
    picture: NDArray[np.float32], matrix: Matrix, field: NDArray[np.float32] | None, size: Size
) -> tuple[NDArray[np.float32], Plane]:
    """`picture`, (H, W, 3) or (H, W), on a grid of `size`, and the share of each px that it shows.

    Grid pixel p is looked up, cubic, at inverse(matrix) @ (p + field[p]); where the picture shows
    nothing it is mirrored.
    """
    picture, matrix = _averaged(picture, matrix)
    pixels = np.empty((size[1], size[0], *picture.shape[2:]), np.float32)
    valid = np.empty((size[1], size[0]), np.float32)
    for rows, x, y in _lookups(matrix, field, size):
        seen = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        np.clip(seen, 0, 1, out=pixels[rows])
        depth = np.minimum(_depth(x, picture.shape[1]), _depth(y, picture.shape[0]))
        np.clip(depth + 1, 0, 1, out=valid[rows])
    return pixels, valid


def share_seen(matrix: Matrix, source: Size, target: Size) -> float:
    """Share of the target that the source covers, 0..1."""
    outline = map_points(matrix, corners(source)).astype(np.float32)
    area, _ = cv2.intersectConvexConvex(outline, corners(target).astype(np.float32))
    return float(min(1.0, area / max(1, (target[0] - 1) * (target[1] - 1))))


def _averaged(picture: NDArray[np.float32], matrix: Matrix) -> tuple[NDArray[np.float32], Matrix]:
    width, height = picture.shape[1], picture.shape[0]
    finer = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if finer < FINER:
        return picture, matrix
    size = max(1, round(width / finer)), max(1, round(height / finer))
    return resize(picture, size), compose(matrix, stretch(size, (width, height)))


def _lookups(
    matrix: Matrix, field: NDArray[np.float32] | None, size: Size
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Rows of the grid with the places to look them up at, strip by strip."""
    inverse = invert(matrix)
    strip = max(1, STRIP // size[0])
    columns = np.arange(size[0], dtype=np.float64)[None]
    for top in range(0, size[1], strip):
        rows = slice(top, min(top + strip, size[1]))
        x, y = columns, np.arange(rows.start, rows.stop, dtype=np.float64)[:, None]
        if field is not None:
            x, y = x + field[rows, :, 0], y + field[rows, :, 1]
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in inverse)
        w = np.where(w > 1e-9, w, np.inf)  # behind the camera: looked up at the origin
        yield rows, (u / w).astype(np.float32), (v / w).astype(np.float32)


def _depth(position: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """How far inside a side of `length` px a position lies; 0 at the outermost pixel centres."""
    return np.asarray(np.minimum(position, length - 1 - position), np.float32)
