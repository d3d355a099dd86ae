"""compare(): photo and generated picture, registered and aligned.

The registration is refined and split into global and local motion. `measure`, the ladder and the
pictures all use this one record.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.blocks import (
    Blocks,
    chance_coherence,
    content_at,
    find_blocks,
    find_leftover,
)
from verax.deviation.framing import Global, base_matrix, canvas_kind, fit_global, size_of
from verax.deviation.whole_frame import over_the_frame
from verax.errors import InputError, choose
from verax.geometry import Matrix, Size, compose, invert, map_points, stretch
from verax.geometry.local_fit import resize_field
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import Image, check_image
from verax.image.pixels import luma, resize

Map = NDArray[np.float32]

WORKING_SIDE_PX = 640
CLIPPED_LOW, CLIPPED_HIGH = 1.5 / 255, 253.5 / 255
SEED = 0  # of the bootstrap: the same pictures give the same intervals
PASSES = 3  # of refinement; each measures what remains after the last one's warp
SURE = 0.01  # largest spread of a corner between bootstrap fits, share of the long side
DOUBT_PX = 0.25  # working px: smaller local motion is mostly measurement noise


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """Photo and registered prior, long side at most WORKING_SIDE_PX.

    Attributes:
        photo, prior: (h, w, 3).
        overlap: (h, w) bool, pixels that the prior covers.
        scale: working px per photo px.
    """

    photo: Image
    prior: Image
    overlap: NDArray[np.bool_]
    scale: float

    @property
    def luma(self) -> tuple[Map, Map]:
        return luma(self.photo), luma(self.prior)


def working_size(photo: Image) -> tuple[int, int]:
    """(width, height) of the working grid."""
    height, width = photo.shape[:2]
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    return max(16, round(width * scale)), max(16, round(height * scale))


def pair(photo: Image, aligned: Warped, scale: float) -> AlignedPair:
    """The pair of a photo and a prior that are both on the working grid."""
    overlap = cv2.erode((aligned.valid > 0.99).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    first, second = (np.asarray(np.clip(p, 0, 1), np.float32) for p in (photo, aligned.pixels))
    return AlignedPair(first, second, overlap, scale)


def clipped(image: Image) -> NDArray[np.bool_]:
    """(H, W) bool, pixels clipped to black or white."""
    brightest = image.max(axis=2)
    return np.asarray((brightest >= CLIPPED_HIGH) | (brightest <= CLIPPED_LOW))


@dataclass(frozen=True, slots=True)
class Look:
    """The comparison from which the entries, the ladder and the pictures are made.

    Attributes:
        photo, generated: (H, W, 3), unchanged.
        registration: of `generated` onto `photo`.
        canvas: what the generator did to the canvas, see `Deviation`.
        pair: both on the working grid, aligned as well as possible.
        alignment: the refinement by blocks; None if the generated picture cannot be placed.
    """

    photo: Image
    generated: Image
    registration: Registration
    canvas: str
    pair: AlignedPair
    alignment: "Alignment | None"


@dataclass(frozen=True, slots=True)
class Alignment:
    """A refined registration.

    Attributes:
        blocks: the photo's blocks in the generated picture.
        geometry: the global geometry, or the reason why there is none.
        registration: the original matrix, with a field that aligns the generated picture fully.
    """

    blocks: Blocks
    geometry: Global | str
    registration: Registration


def compare(photo: Image, generated: Image, registration: Registration | None = None) -> Look:
    """Compare two pictures (H, W, 3) of any sizes; registers them if no registration is given.

    A picture that cannot be placed is put where the registration found it, without refinement.
    """
    check_image(photo, name="photo")
    check_image(generated, name="generated")
    registration = registration or register(photo, generated)
    canvas = canvas_kind(photo, generated, registration)
    small = working_size(photo)
    alignment, best = None, registration
    if registration.usable:
        alignment = align(photo, generated, registration, canvas)
        best = alignment.registration
    warped = on_grid(best, generated, size_of(photo), small)
    both = pair(resize(photo, small), warped, small[0] / size_of(photo)[0])
    return Look(photo, generated, registration, canvas, both, alignment)


def align(photo: Image, generated: Image, registration: Registration, canvas: str) -> Alignment:
    """Refine a registration by blocks, fit the global geometry, and align the pictures fully."""
    size, small = size_of(photo), working_size(photo)
    base = base_matrix(photo, generated, canvas)
    reduced = resize(photo, small)
    refined, warped = registration, on_grid(registration, generated, size, small)
    chance = chance_coherence(reduced, warped)
    for _ in range(PASSES):
        leftover, before = find_leftover(reduced, warped, chance), refined
        geometry = fit_global(find_blocks(size, leftover, refined, base), size, _rng())
        doubtful = isinstance(geometry, str) or geometry.corner_spread_px > SURE * max(size)
        matrix = registration.matrix
        if not isinstance(geometry, str) and not doubtful:
            matrix = compose(invert(geometry.matrix), base)
        field = _local_field(size, leftover.sure_flow, before, matrix)
        refined = replace(registration, matrix=matrix, field=field)
        warped = on_grid(refined, generated, size, small)
        if doubtful:  # another pass after a doubtful warp would only confirm it
            break
    blocks = find_blocks(size, leftover, before, base, usual_only=True)
    geometry = fit_global(blocks, size, _rng())
    if not isinstance(geometry, str):
        geometry = over_the_frame(blocks, geometry, size, _rng())
        if not doubtful:
            matrix = compose(invert(geometry.matrix), base)
            field = _local_field(size, leftover.sure_flow, before, matrix)
            refined = replace(registration, matrix=matrix, field=field)
    return Alignment(blocks, geometry, _bent(reduced, generated, refined, size))


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _bent(reduced: Image, generated: Image, registration: Registration, size: Size) -> Registration:
    """The registration with a local field that aligns moved content.

    Otherwise displaced structure would count as changed structure, also along edges, where motion
    is ambiguous, and where its estimate is uncertain.
    """
    for _ in range(PASSES):
        warped = on_grid(registration, generated, size, size_of(reduced))
        flow = find_leftover(reduced, warped, 0.0).aligning_flow
        field = _local_field(size, flow, registration, registration.matrix)
        registration = replace(registration, field=field)
    return registration


def aligned(
    photo: Image, generated: Image, how: str, registration: Registration | None = None
) -> tuple[Image, NDArray[np.bool_]]:
    """The generated picture on the photo's grid, and which pixels it covers.

    `how`: "none" resizes the whole picture, "canvas" undoes the change of canvas, "global" also one
    homography, "local" also local motion. Uncovered pixels repeat the border. Raises InputError for
    "global" and "local" if the picture shows another scene.
    """
    look = compare(photo, generated, registration)
    if how in ("global", "local") and look.alignment is None:
        raise InputError(
            f"the pictures do not show the same scene ({look.registration.reason}); "
            f"align by canvas, or not at all"
        )
    placed = choose(placements(look), how, kind="alignment")
    warped = apply(placed, generated, size=size_of(photo))
    return warped.pixels, warped.valid > 0.5


def placements(look: Look) -> dict[str, Registration]:
    """The placements of the generated picture, with more and more of its deviation undone."""
    photo, generated = look.photo, look.generated
    matrix = base_matrix(photo, generated, look.canvas)
    base = replace(look.registration, matrix=matrix, field=None)
    fine = base if look.alignment is None else look.alignment.registration
    return {
        "none": replace(base, matrix=base_matrix(photo, generated, "stretch")),
        "canvas": base,
        "global": replace(fine, field=None),
        "local": fine,
    }


def on_grid(registration: Registration, generated: Image, photo: Size, size: Size) -> Warped:
    """The registered picture on a smaller or larger copy of the photo's grid."""
    field = registration.field
    there = replace(
        registration,
        matrix=compose(stretch(photo, size), registration.matrix),
        field=None if field is None else resize_field(field, size),
    )
    return apply(there, generated, size=size)


def _local_field(
    photo: Size, flow: NDArray[np.float32], registration: Registration, matrix: Matrix
) -> NDArray[np.float32]:
    """Motion beyond the matrix, (H, W, 2) in photo px; small motion is shrunk to zero.

    `flow` (h, w, 2), in its own px, is the residual displacement after registration.
    """
    height, width = flow.shape[:2]
    ratio = np.array([photo[0] / width, photo[1] / height])
    y, x = (g.ravel().astype(np.float64) for g in np.mgrid[:height, :width])
    points = (np.stack([x, y], 1) + 0.5) * ratio - 0.5
    rest = flow.reshape(-1, 2) * ratio
    # find f with inverse(matrix) @ (p + f) = the place of p in the generated picture
    sources = content_at(points, rest, registration, np.eye(3))
    field = (map_points(matrix, sources) - points).reshape(height, width, 2)
    square = (field**2).sum(axis=2, keepdims=True)
    doubt = (DOUBT_PX * float(ratio.max())) ** 2
    shrunk = np.asarray(field * square / (square + doubt), np.float32)
    return np.asarray(cv2.resize(shrunk, photo, interpolation=cv2.INTER_LINEAR), np.float32)
