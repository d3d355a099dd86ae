"""Register a generated picture to its photo and align the two as well as possible: `compare`.

The registration is refined, and motion is separated into a global part (one homography) and a local
part. All that is measured or shown of a deviation is computed from the resulting `Look`.
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
    find_residual_flow,
)
from verax.deviation.framing import Global, base_matrix, canvas_kind, fit_global, size_of
from verax.deviation.whole_frame import over_the_frame
from verax.errors import InputError, choose
from verax.geometry import Matrix, Size, compose, invert, map_points, stretch
from verax.geometry.local_fit import resize_field
from verax.geometry.register import Registration, WarpedPrior, apply, register
from verax.image import Image, check_image
from verax.image.pixels import luma, resize

Map = NDArray[np.float32]

WORKING_SIDE_PX = 640
CLIPPED_LOW, CLIPPED_HIGH = 1.5 / 255, 253.5 / 255
SEED = 0  # of the bootstrap: the same pictures give the same intervals
PASSES = 3  # rounds of refinement; each measures what the warp of the round before left
SURE = 0.01  # largest spread of a corner over bootstrap fits that is trusted, share of long side
DOUBT_PX = 0.25  # working px: smaller local motion is mostly measurement noise


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """The photo and the registered generated picture on the working grid.

    The working grid is the photo's, reduced to a long side of at most 640 px.

    Attributes:
        photo: (h, w, 3) sRGB in [0, 1].
        prior: (h, w, 3) sRGB in [0, 1], the generated picture warped onto the photo.
        overlap: (h, w) bool, pixels that the generated picture covers.
        scale: px of the working grid per px of the photo, at most 1 (more for tiny photos).
    """

    photo: Image
    prior: Image
    overlap: NDArray[np.bool_]
    scale: float

    @property
    def luma(self) -> tuple[Map, Map]:
        return luma(self.photo), luma(self.prior)


def working_size(photo: Image) -> tuple[int, int]:
    """(width, height) of the photo after reduction to a long side of at most 640 px."""
    height, width = photo.shape[:2]
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    return max(16, round(width * scale)), max(16, round(height * scale))


def pair(photo: Image, aligned: WarpedPrior, scale: float) -> AlignedPair:
    """Combine a photo and a generated picture, both on one reduced grid of the photo, into a pair.

    `aligned` is the generated picture, warped to this grid; `scale` is px of the reduced grid per
    px of the full-size photo.
    """
    overlap = cv2.erode((aligned.valid > 0.99).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    first, second = (np.asarray(np.clip(p, 0, 1), np.float32) for p in (photo, aligned.pixels))
    return AlignedPair(first, second, overlap, scale)


def clipped_pixels(image: Image) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of an sRGB picture in [0, 1] whose brightest channel is about 1/255 or
    less, or 254/255 or more."""
    brightest = image.max(axis=2)
    return np.asarray((brightest >= CLIPPED_HIGH) | (brightest <= CLIPPED_LOW))


@dataclass(frozen=True, slots=True)
class Look:
    """A photo and a generated picture, compared: result of `compare`.

    Attributes:
        photo, generated: (H, W, 3), as passed in; their sizes may differ.
        registration: places `generated` on `photo`, before refinement.
        canvas: the generator's change of size and proportions: "same", "resized", "stretch",
            "crop", "outpaint" or "letterbox".
        pair: the two pictures with a long side of at most 640 px, aligned as well as possible.
        alignment: the refined registration; None if the generated picture cannot be placed.
    """

    photo: Image
    generated: Image
    registration: Registration
    canvas: str
    pair: AlignedPair
    alignment: "Alignment | None"


@dataclass(frozen=True, slots=True)
class Alignment:
    """A registration that was refined by the displacements of blocks.

    Attributes:
        blocks: the photo's blocks that were found in the generated picture.
        geometry: the homography of the whole frame, or the reason (str) why none can be determined.
        registration: the refined registration; its local field follows content that moved, too.
    """

    blocks: Blocks
    geometry: Global | str
    registration: Registration


def compare(photo: Image, generated: Image, registration: Registration | None = None) -> Look:
    """Register a generated picture to its photo and align the two as well as possible.

    Args:
        photo, generated: (H, W, 3) float32 sRGB in [0, 1], of any two sizes.
        registration: places `generated` on `photo`; None: it is computed.

    If the registration does not show that both have the same scene, it is used without refinement.
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
    """Refine a registration by the displacements of blocks, and fit the homography.

    The registration must be usable: placed "exactly" or "roughly". `canvas` is the generator's
    change of size and proportions, such as "crop".
    """
    size, small = size_of(photo), working_size(photo)
    base = base_matrix(photo, generated, canvas)
    reduced = resize(photo, small)
    refined, warped = registration, on_grid(registration, generated, size, small)
    chance = chance_coherence(reduced, warped)
    for _ in range(PASSES):
        residual, before = find_residual_flow(reduced, warped, chance), refined
        geometry = fit_global(find_blocks(size, residual, refined, base), size, _rng())
        doubtful = isinstance(geometry, str) or geometry.corner_spread_px > SURE * max(size)
        matrix = registration.matrix
        if not isinstance(geometry, str) and not doubtful:
            matrix = compose(invert(geometry.matrix), base)
        field = _local_field(size, residual.sure_flow, before, matrix)
        refined = replace(registration, matrix=matrix, field=field)
        warped = on_grid(refined, generated, size, small)
        if doubtful:  # measuring again after a doubtful warp would only confirm the warp
            break
    blocks = find_blocks(size, residual, before, base, usual_only=True)
    geometry = fit_global(blocks, size, _rng())
    if not isinstance(geometry, str):
        geometry = over_the_frame(blocks, geometry, size, _rng())
        if not doubtful:
            matrix = compose(invert(geometry.matrix), base)
            field = _local_field(size, residual.sure_flow, before, matrix)
            refined = replace(registration, matrix=matrix, field=field)
    return Alignment(blocks, geometry, _bend(reduced, generated, refined, size))


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _bend(reduced: Image, generated: Image, registration: Registration, size: Size) -> Registration:
    """Replace the local field by one that aligns all content, even where its motion is uncertain.

    Returns the new registration. Without this alignment, displaced structure would count as changed
    structure.

    Args:
        reduced: the photo, reduced to a long side of at most 640 px.
        generated: the generated picture at full size.
        registration: places `generated` on the photo at full size.
        size: (width, height) of the photo at full size.
    """
    for _ in range(PASSES):
        warped = on_grid(registration, generated, size, size_of(reduced))
        flow = find_residual_flow(reduced, warped, 0.0).aligning_flow
        field = _local_field(size, flow, registration, registration.matrix)
        registration = replace(registration, field=field)
    return registration


def align_generated(
    photo: Image, generated: Image, how: str, registration: Registration | None = None
) -> tuple[Image, NDArray[np.bool_]]:
    """The generated picture on the photo's grid (H, W, 3), and the mask (H, W) of covered pixels.

    `how`: "none" resizes the whole picture, "canvas" undoes a change of size and proportions,
    "global" also undoes one homography, "local" also undoes local motion. `registration` places the
    generated picture on the photo; None: it is computed. Pixels that the generated picture does not
    cover are filled by reflecting it at its border. Raises InputError for "global" and "local" if
    the two pictures cannot be registered.
    """
    look = compare(photo, generated, registration)
    if how in ("global", "local") and look.alignment is None:
        raise InputError(
            f"alignment {how!r} needs two pictures of the same scene, but these do not show the "
            f'same scene ({look.registration.reason}); choose "canvas" or "none"'
        )
    placed = choose(placements(look), how, kind="alignment")
    warped = apply(placed, generated, size=size_of(photo))
    return warped.pixels, warped.valid > 0.5


def placements(look: Look) -> dict[str, Registration]:
    """Four registrations by name, of which each undoes more of the deviation than the one before.

    "none" only resizes the generated picture to the photo, "canvas" undoes the change of size and
    proportions, "global" also one homography, "local" also local motion. If the pictures could not
    be registered, the last two equal "canvas".
    """
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


def on_grid(registration: Registration, generated: Image, photo: Size, size: Size) -> WarpedPrior:
    """Warp the generated picture onto the photo's grid, resized to `size` (width, height).

    `registration` places `generated` on the photo at full size; `photo` is its (width, height).
    """
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
    """(H, W, 2) the displacement (dx, dy) in photo px that remains after warping by `matrix`.

    The content of photo pixel p is in the generated picture at inverse(matrix) @ (p + field[p]).
    Small displacements, which are mostly noise, are shrunk towards zero.

    Args:
        photo: (width, height) of the photo at full size.
        flow: (h, w, 2) displacement (dx, dy), from the photo to the generated picture, that remains
            after `registration`, in px of this (h, w) grid.
        registration: the one with which `flow` was measured.
        matrix: (3, 3), generated to photo px.
    """
    height, width = flow.shape[:2]
    ratio = np.array([photo[0] / width, photo[1] / height])
    y, x = (g.ravel().astype(np.float64) for g in np.mgrid[:height, :width])
    points = (np.stack([x, y], 1) + 0.5) * ratio - 0.5
    rest = flow.reshape(-1, 2) * ratio
    # solve for the field f: inverse(matrix) @ (p + f[p]) is where p lies in the generated picture
    sources = content_at(points, rest, registration, np.eye(3))
    field = (map_points(matrix, sources) - points).reshape(height, width, 2)
    square = (field**2).sum(axis=2, keepdims=True)
    doubt = (DOUBT_PX * float(ratio.max())) ** 2
    shrunk = np.asarray(field * square / (square + doubt), np.float32)
    return np.asarray(cv2.resize(shrunk, photo, interpolation=cv2.INTER_LINEAR), np.float32)
