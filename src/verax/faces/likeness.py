"""Decide whether a face in a restoration, or in a prior, is still the photo's face.

People are recognised by features of about 1/30 to 1/8 of the face's width. In those octaves
(spatial frequency bands) the two faces are correlated at the best small shift, and the correlation
is corrected for the photo's noise. A degraded face correlates with its restoration, but not with
another person's face or a redrawn one. The threshold was calibrated on degraded copies of photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.faces import Face
from verax.image import Image, Plane
from verax.image.pixels import noise_response

Verdict = Literal["same", "another", "cannot be told"]

SIDE = 96  # px: largest width at which faces are compared
LEAST = 32  # px: least width of a face in the photo that can be judged
OCTAVES = ((2 / 96, 0.3), (4 / 96, 0.7))  # sigma of the finer blur in face widths, and weight
SAME = 0.91  # least correlation of the same face
REACH = 0.03  # largest shift between the faces, face widths
ROOM = 0.15  # margin around the face, face widths
SOFT = 0.15  # width of the soft edge of a face's outline, face widths
WHITE = 1.4826  # standard deviation over median absolute deviation, for white noise
NOISY = 0.5  # largest share of noise in the energy of a usable octave of the photo
SHOWN = 0.5  # least share of a face outside the photo's holes
FAINT = 1.0 / 255  # least standard deviation of luma in a usable octave of the photo

ANOTHER = (
    "%d of %d faces in the restoration no longer look like the photo's: check them, or raise "
    "--fidelity"
)
REDRAWN = (
    "%d of %d faces look different in the prior; there, the restoration uses only what the photo "
    "confirms"
)


@dataclass(frozen=True, slots=True)
class Likeness:
    """Whether a picture shows the photo's face.

    Attributes:
        verdict: "same", "another" (face), or "cannot be told" (too small, noisy or damaged).
        value: correlation of structure, about 1 for the same face; None if it cannot be told.
    """

    verdict: Verdict
    value: float | None = None

    def record(self) -> dict[str, Any]:
        """The verdict and the correlation as a JSON object."""
        value = None if self.value is None else round(self.value, 3)
        return {"verdict": self.verdict, "likeness": value}


@dataclass(frozen=True, slots=True)
class FaceCheck:
    """A face of the photo, compared with the restoration and with the prior.

    Attributes:
        face: the face, in px of the photo.
        restoration: whether the restoration shows the same face.
        prior: whether the prior shows the same face.
        generated: share of the face in the restoration that was taken from the prior, in [0, 1].
    """

    face: Face
    restoration: Likeness
    prior: Likeness
    generated: float

    def record(self) -> dict[str, Any]:
        """The check as a JSON object; "box" is (left, top, right, bottom) in px of the photo."""
        return {
            "box": [round(value, 1) for value in self.face.box],
            "restoration": self.restoration.record(),
            "prior": self.prior.record(),
            "generated": round(self.generated, 4),
        }


def check_faces(
    photo: Image,
    faces: Sequence[Face],
    restored: Image,
    prior: Image,
    generated: Plane,
    filled: NDArray[np.bool_],
) -> tuple[FaceCheck, ...]:
    """Compare every face of the photo with the restoration and with the registered prior.

    Args:
        photo, restored, prior: (H, W, 3) on the photo's grid.
        faces: those found in the photo.
        generated: (H, W) share (0 to 1) of each restored pixel that was taken from the prior.
        filled: (H, W) bool, holes of the photo, which are not compared.
    """
    checks = []
    for face in faces:
        rows, columns = around(face, 0.0)
        own = outline((face,), photo.shape[:2])[rows, columns]
        share = float((generated[rows, columns] * own).sum() / max(float(own.sum()), 1e-6))
        of_result, of_prior = (likeness(photo, x, face, filled) for x in (restored, prior))
        checks.append(FaceCheck(face, of_result, of_prior, share))
    return tuple(checks)


def notes_on(checks: Sequence[FaceCheck]) -> tuple[str, ...]:
    """At most one note for the user, in words: that faces of the restoration look like other
    people; else that faces of the prior do; else none: ()."""
    notes = []
    other = sum(check.restoration.verdict == "another" for check in checks)
    redrawn = sum(check.prior.verdict == "another" for check in checks)
    if other:
        notes.append(ANOTHER % (other, len(checks)))
    elif redrawn:
        notes.append(REDRAWN % (redrawn, len(checks)))
    return tuple(notes)


def outline(faces: Sequence[Face], shape: tuple[int, ...]) -> Plane:
    """(H, W) mask: 1 inside faces, soft at their edges, 0 elsewhere; (1, 1) if there are no faces.

    `shape` is the shape of the picture, (H, W) or (H, W, 3).
    """
    if not faces:
        return np.zeros((1, 1), np.float32)
    inside = np.zeros(shape[:2], np.float32)
    for face in faces:
        rows, columns = around(face, ROOM)
        part = inside[rows, columns]
        distance = from_middle(face, part.shape, (columns.start, rows.start), 1.0)
        np.maximum(part, np.clip((0.5 + SOFT - distance) / SOFT, 0, 1), out=part)
    return inside


def around(face: Face, room: float) -> tuple[slice, slice]:
    """Slices (rows, columns) that cut a face's box, with a margin of `room` face widths, out of
    the picture in which the face was found. They start at 0 or later, but may end beyond it."""
    left, top, right, bottom = face.box
    room *= face.width
    return (
        slice(max(0, int(top - room)), max(1, int(np.ceil(bottom + room)))),
        slice(max(0, int(left - room)), max(1, int(np.ceil(right + room)))),
    )


def from_middle(face: Face, shape: tuple[int, ...], start: tuple[int, int], scale: float) -> Plane:
    """(h, w) distance of each pixel from the face's centre: 0.5 on the ellipse that fills the box.

    Distances along x are divided by the width of the face's box, those along y by its height.

    Args:
        shape: (h, w) of a region of the photo after it was resized by `scale`.
        start: (x, y) of the region's top left pixel in the photo.
        scale: px of the resized region per px of the photo.
    """
    left, top, right, bottom = face.box
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / np.float32(scale)
    across = (x + start[0] - (left + right) / 2) / (right - left)
    down = (y + start[1] - (top + bottom) / 2) / (bottom - top)
    return np.asarray(np.hypot(across, down), np.float32)


def likeness(
    photo: Image, picture: Image, face: Face, filled: NDArray[np.bool_] | None = None
) -> Likeness:
    """Whether a picture on the photo's grid shows the same face as the photo; both (H, W, 3).

    `face` is a face of the photo. `filled` (H, W) bool marks holes of the photo, which are not
    compared; None: there are none.
    """
    if face.width < LEAST:
        return Likeness("cannot be told")
    own, its, inside, width = same_size(photo, picture, face)
    if filled is not None:
        hole = filled[around(face, ROOM)].astype(np.float32)
        whole = float(inside.sum())
        inside = inside * (1 - cv2.resize(hole, inside.shape[::-1], interpolation=cv2.INTER_AREA))
        if inside.sum() < SHOWN * whole:
            return Likeness("cannot be told")
    noise = noise_of(own)
    correlations, weights = [], []
    for sigma, weight in OCTAVES:
        correlation = alike(own, its, inside, (sigma * width, REACH * width), noise)
        if correlation is not None:
            correlations.append(correlation)
            weights.append(weight)
    if not correlations:
        return Likeness("cannot be told")
    value = float(np.average(correlations, weights=weights))
    return Likeness("same" if value >= SAME else "another", value)


def same_size(photo: Image, picture: Image, face: Face) -> tuple[Plane, Plane, Plane, float]:
    """Cut the face out of both pictures (H, W, 3), and reduce it to a width of at most 96 px.

    `face` is in px of the photo. Returns three planes (h, w) and a number: the face's luma (0 to 1)
    in the photo, that in the picture, its mask (1 in the ellipse that fills the box, 0 outside),
    and its width in px after the reduction.
    """
    rows, columns = around(face, ROOM)
    scale = min(1.0, SIDE / face.width)
    planes = []
    for image in (photo, picture):
        grey = cv2.cvtColor(image[rows, columns], cv2.COLOR_RGB2GRAY)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        planes.append(np.asarray(grey, np.float32))
    distance = from_middle(face, planes[0].shape, (columns.start, rows.start), scale)
    inside = np.asarray(distance < 0.5, np.float32)
    return planes[0], planes[1], inside, face.width * scale


def alike(
    own: Plane, its: Plane, inside: Plane, scales: tuple[float, float], noise: float
) -> float | None:
    """Correlation of two faces in one octave (frequency band), corrected for the photo's noise.

    The faces are compared at the best small shift; 1 is the most. None if the photo's octave is too
    faint or too noisy.

    Args:
        own, its: (h, w) luma, 0 to 1, of the face in the photo and in the other picture.
        inside: (h, w) 1 inside the face, 0 outside.
        scales: two lengths in px: the sigma of the finer of the two blurs whose difference is the
            octave, and the largest shift.
        noise: standard deviation of the noise in `own`.
    """
    sigma, reach = scales
    mine, theirs = (octave(plane, sigma) for plane in (own, its))
    energy = float((mine**2 * inside).sum() / max(inside.sum(), 1))
    lost = noise**2 * through(sigma) / max(energy, 1e-12)
    if lost > NOISY or energy < FAINT**2:
        return None
    best = -1.0
    steps = int(np.ceil(reach))
    for dy in range(-steps, steps + 1):
        for dx in range(-steps, steps + 1):
            moved = np.roll(theirs, (dy, dx), (0, 1))
            both, its_energy = ((mine * moved * inside).sum(), (moved**2 * inside).sum())
            value = float(both / np.sqrt(energy * inside.sum() * its_energy + 1e-12))
            best = max(best, value)
    return min(1.0, best / float(np.sqrt(1 - lost)))


def octave(plane: Plane, sigma: float) -> Plane:
    """The frequency band between Gaussian blurs of `sigma` and 2 `sigma` px."""
    fine, coarse = (cv2.GaussianBlur(plane, (0, 0), s) for s in (sigma, 2 * sigma))
    return np.asarray(fine - coarse, np.float32)


def through(sigma: float) -> float:
    """Share of the variance of white noise that is left in the frequency band between Gaussian
    blurs of `sigma` and 2 `sigma` px."""
    # blurring by sigma s leaves 1 / (4 pi s^2); the product of blurs by s and 2 s counts as a blur
    # by sqrt((s^2 + 4 s^2) / 2)
    return (1 + 1 / 4 - 2 * 2 / 5) / (4 * np.pi * sigma**2)


def noise_of(plane: Plane) -> float:
    """Standard deviation of the white noise in a plane, estimated by Immerkaer's mask (1996)."""
    return WHITE * float(np.median(noise_response(plane)[1:-1, 1:-1]))
