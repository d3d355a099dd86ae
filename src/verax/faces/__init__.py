"""Detect faces with CenterFace (Xu et al., "CenterFace: joint face detection and alignment using
face as point", 2019).

The network is part of the package; nothing is downloaded. Its origin and licence are in
`verax/weights/README.md`. `likeness` decides whether a face of the photo is still the same in its
restoration.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax import weights
from verax.image import Image

Floats = NDArray[np.float32]

SIDE = 1152  # px, longest side of the network's input
GRID = 32  # px: sides of the network's input are multiples of this
STRIDE = 4  # px of the network's input per cell of its output
SURE = 0.6  # least score of a face
OVERLAP = 0.3  # intersection over union from which two boxes are the same face


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face.

    Attributes:
        box: (left, top, right, bottom) in px of the picture, without hair and ears.
        points: five (x, y) in px: both eyes, the nose and both corners of the mouth.
        score: confidence of the detector, 0.6 to 1.
    """

    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]
    score: float

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]


def find_faces(picture: Image) -> tuple[Face, ...]:
    """Detect the faces in a picture (H, W, 3), highest score first, each face once."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = tuple(-(-round(side * scale) // GRID) * GRID for side in (width, height))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    planes = np.ascontiguousarray(small.transpose(2, 0, 1)[None]) * np.float32(255)
    heat, log_size, offset, points = (
        np.asarray(answer[0], np.float32)
        for answer in weights.session(weights.FACES).run(None, {"input": planes})
    )
    step = np.array([STRIDE * width / size[0], STRIDE * height / size[1]])
    faces = [
        face_at(row, column, float(heat[0, row, column]), (log_size, offset, points), step)
        for row, column in np.argwhere(heat[0] > SURE)
    ]
    apart: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face, other) < OVERLAP for other in apart):
            apart.append(face)
    return tuple(apart)


def face_at(
    row: int, column: int, score: float, answers: tuple[Floats, ...], step: NDArray[np.float64]
) -> Face:
    """The face, in px of the picture, whose centre is in cell (row, column) of the outputs.

    Args:
        score: confidence of the face, 0 to 1.
        answers: three outputs of the network, with y before x: (2, h, w) natural logarithm of the
            box's height and width in cells; (2, h, w) offset of the box's centre from the cell's
            centre, in cells; (10, h, w) five points from the box's top left, as shares of its
            sides.
        step: (2,) px of the picture per cell, along x and y.
    """
    log_size, offset, points = (answer[:, row, column] for answer in answers)
    size = np.exp(log_size[::-1]) * step
    middle = (np.array([column, row]) + offset[::-1] + 0.5) * step
    corner = middle - size / 2
    places = points.reshape(5, 2)[:, ::-1] * size + corner
    left, top, right, bottom = (float(v) for v in (*corner, *(corner + size)))
    return Face((left, top, right, bottom), tuple((float(x), float(y)) for x, y in places), score)


def overlap(face: Face, other: Face) -> float:
    """Intersection over union of the boxes of two faces, 0 to 1."""
    (a, b, c, d), (e, f, g, h) = face.box, other.box
    shared = max(0.0, min(c, g) - max(a, e)) * max(0.0, min(d, h) - max(b, f))
    return shared / ((c - a) * (d - b) + (g - e) * (h - f) - shared)
