"""Measure the change of size and proportions, and the global geometry of a generated picture.

The global geometry is one homography, fitted to the displacements of the photo's blocks. Motion
that the homography does not explain is local motion. The uncertainty of the homography is estimated
by a bootstrap that resamples groups of neighbouring blocks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.blocks import REST_PX, Blocks
from verax.deviation.record import Entry, unknown
from verax.geometry import Matrix, Motion, Size, corners, invert, map_points, motion
from verax.geometry.canvas import SAME_ASPECT, centre_matrix
from verax.geometry.register import Registration
from verax.image import Image

BAR_RANGE = 3 / 255  # a row or column that varies less than this is part of a plain bar

# largest half width of a 95 % interval with which a value is reported; the shift's is a share of
# the long side, angles are in degrees
WIDEST = {"shift": 0.02, "scale": 0.02, "rotation": 1.0, "shear": 1.5, "perspective": 0.02}
Floats = NDArray[np.float64]

MIN_BLOCKS = 12
MIN_SPREAD = 0.1  # least standard deviation of the blocks' positions, share of each side
BOOTSTRAPS = 200
HUBER = 1.345


@dataclass(frozen=True, slots=True)
class Global:
    """The global geometry: one homography fitted to the displacements of the blocks.

    Attributes:
        matrix: (3, 3) homography from a point of the photo to the place of the same content in the
            generated picture, both in photo px.
        motion: the homography as shift, scale, rotation, shear, perspective at the photo's centre.
        samples: how uncertain `matrix` is. For each source of error, an array (B, 3, 3) of B
            random homographies, which vary as much as `matrix` may because of this error.
        residual: (N, 2) displacement of each block that the homography does not explain, photo px.
        corner_spread_px: standard deviation of a corner's place over the bootstrap fits, the
            largest of the photo's four corners.
    """

    matrix: Matrix
    motion: Motion
    samples: tuple[Floats, ...]
    residual: Floats
    corner_spread_px: float


def fit_global(blocks: Blocks, size: Size, rng: np.random.Generator) -> Global | str:
    """Fit one homography to the displacements of the blocks.

    Returns the reason (str) if too few blocks were found, or if they lie too close together. `size`
    is the photo's (width, height); `rng` draws the bootstrap samples.
    """
    if len(blocks.points) < MIN_BLOCKS:
        return (
            f"only {len(blocks.points)} of the photo's {blocks.total} blocks were found in the "
            "generated picture"
        )
    if (np.std(blocks.points, axis=0) / np.array(size)).min() < MIN_SPREAD:
        return "the photo's blocks that were found in the generated picture lie too close together"
    unit, normals, sides = _equations(blocks, size)
    weight = blocks.weight.copy()
    for _ in range(10):
        matrix = _solve(normals, sides, weight[None])[0]
        rest = residual_of(blocks, _denormalise(matrix, unit))
        length = np.linalg.norm(rest, axis=1)
        scale = max(1.4826 * float(np.median(length)), 1e-3)
        weight = blocks.weight * np.minimum(1, HUBER * scale / np.maximum(length, 1e-9))
    full = at_rest(_denormalise(matrix, unit), size)
    samples = [_denormalise(m, unit) for m in _bootstrap(blocks, normals, sides, weight, rng)]
    there = np.array([map_points(m, corners(size)) for m in samples])
    spread = float(np.linalg.norm(there.std(axis=0), axis=1).max())
    words = motion(full, size, size)
    return Global(full, words, (np.array(samples),), residual_of(blocks, full), spread)


def at_rest(matrix: Matrix, size: Size) -> Matrix:
    """The identity if `matrix` (photo px to photo px) moves each corner of the photo by less than
    0.02 px; else `matrix`."""
    apart = np.linalg.norm(map_points(matrix, corners(size)) - corners(size), axis=1).max()
    return np.eye(3) if apart < REST_PX else matrix


def _equations(blocks: Blocks, size: Size) -> tuple[Matrix, Floats, Floats]:
    """Linear least-squares equations for the homography from photo to generated picture, per block.

    Returns the (3, 3) matrix from photo px to unit coordinates (the photo's centre is 0, half its
    long side 1), the normal matrices (N, 8, 8) and the right sides (N, 8). To be linear, the
    equations are multiplied by the homography's denominator, which is close to 1. `size` is the
    photo's (width, height).
    """
    half = max(size) / 2
    unit = np.array(
        [
            [1 / half, 0, -(size[0] - 1) / 2 / half],
            [0, 1 / half, -(size[1] - 1) / 2 / half],
            [0, 0, 1],
        ]
    )
    x, y = map_points(unit, blocks.points).T
    u, v = map_points(unit, blocks.points + blocks.moved).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    row_x = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1)
    row_y = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1)
    normals = row_x[:, :, None] * row_x[:, None] + row_y[:, :, None] * row_y[:, None]
    return unit, normals, row_x * u[:, None] + row_y * v[:, None]


def _solve(normals: Floats, sides: Floats, weights: Floats) -> Floats:
    """Fit B homographies in unit coordinates: the photo's centre is 0, half its long side 1.

    Returns (B, 3, 3). `normals` (N, 8, 8) and `sides` (N, 8) are the normal matrix and the right
    side of the least-squares equations of each block; row b of `weights` (B, N) weights the blocks.
    """
    left = np.einsum("bn,nij->bij", weights, normals) + 1e-9 * np.eye(8)
    right = weights @ sides
    entries = np.linalg.solve(left, right[..., None])[..., 0]
    return np.concatenate([entries, np.ones((len(weights), 1))], 1).reshape(-1, 3, 3)


def residual_of(blocks: Blocks, matrix: Matrix) -> Floats:
    """(N, 2) displacement (dx, dy) of each block in photo px that the homography does not
    explain."""
    there = map_points(matrix, blocks.points)
    return np.asarray(blocks.points + blocks.moved - there, np.float64)


def _denormalise(matrix: Matrix, unit: Matrix) -> Matrix:
    full = invert(unit) @ matrix @ unit
    return np.asarray(full / full[2, 2], np.float64)


def _bootstrap(
    blocks: Blocks, normals: Floats, sides: Floats, weight: Floats, rng: np.random.Generator
) -> Floats:
    """Fit 200 homographies, each to groups of blocks that are sampled with replacement.

    Returns (200, 3, 3) in unit coordinates: the photo's centre is 0, half its long side 1.
    `normals` (N, 8, 8) and `sides` (N, 8) are the normal matrix and the right side of the
    least-squares equations of each block, `weight` (N,) its weight.
    """
    names, member = np.unique(blocks.cell, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=BOOTSTRAPS)
    return _solve(normals, sides, counts[:, member] * weight)


def size_of(image: Image) -> Size:
    """The (width, height) of a picture."""
    return image.shape[1], image.shape[0]


def canvas_kind(photo: Image, generated: Image, registration: Registration) -> str:
    """How the generator changed the picture's size and proportions.

    "same" for equal sizes, "resized" for equal proportions; otherwise what the registration found:
    "stretch", "crop", "outpaint" (extended beyond the photo) or "letterbox" (with bars).
    """
    ours, theirs = size_of(photo), size_of(generated)
    if abs(np.log(ours[0] / ours[1] * theirs[1] / theirs[0])) < SAME_ASPECT:
        return "same" if ours == theirs else "resized"
    return registration.canvas


def base_matrix(photo: Image, generated: Image, kind: str) -> Matrix:
    """(3, 3) matrix from generated to photo px that undoes only the change of size and proportions.

    `kind` is this change: "same", "resized", "stretch" (a plain resize of the whole picture), or
    "crop", "outpaint", "letterbox" (equal scales, centred).
    """
    plain = "stretch" if kind in ("same", "resized") else kind
    return centre_matrix(size_of(photo), size_of(generated), plain)


def bars_share(image: Image) -> float:
    """Share of the picture's area in plain black, grey or white bars along its borders; 0 if the
    whole picture is plain."""
    spread = image.max(axis=2) - image.min(axis=2)
    levels = image.mean(axis=2)
    shares = []
    for axis in (0, 1):
        range_ = np.ptp(levels, axis=1 - axis) + spread.max(axis=1 - axis)
        plain = range_ < BAR_RANGE
        if plain.all():
            return 0.0
        first, last = np.argmin(plain), np.argmin(plain[::-1])
        shares.append((first + last) / len(plain))
    return float(1 - (1 - shares[0]) * (1 - shares[1]))


def framing_entries(
    photo: Image, generated: Image, registration: Registration, kind: str
) -> dict[str, Entry]:
    """Measure the framing: both sizes, the aspect ratios, and what was cut off or added.

    `registration` places `generated` on `photo`; `kind` is the generator's change of size and
    proportions, such as "crop". Returns entries by name: "hidden_share" is the share of the photo
    that is cut off, "outpainted_share" that of the generated picture beyond the photo, "bars_share"
    that of plain bars.
    """
    ours, theirs = size_of(photo), size_of(generated)
    entries = {
        "photo_width_px": Entry(ours[0], "px"),
        "photo_height_px": Entry(ours[1], "px"),
        "generated_width_px": Entry(theirs[0], "px"),
        "generated_height_px": Entry(theirs[1], "px"),
        "aspect_change": Entry(theirs[0] / theirs[1] / (ours[0] / ours[1]), "ratio"),
    }
    if not registration.usable:
        note = "the generated picture cannot be placed on the photo"
        return {
            **entries,
            **{n: unknown("share", note) for n in ("hidden_share", "outpainted_share")},
        }
    visible, inside = _overlap(ours, theirs, registration.matrix)
    entries["hidden_share"] = Entry(1 - visible, "share")
    entries["outpainted_share"] = Entry(1 - inside, "share")
    entries["bars_share"] = Entry(bars_share(generated) if kind == "letterbox" else 0.0, "share")
    return entries


def _overlap(photo: Size, prior: Size, matrix: Matrix) -> tuple[float, float]:
    """The share of the photo that the generated picture covers, and the share of the generated
    picture that lies on the photo. `matrix` maps generated to photo px; sizes are (width, height).
    """
    frame = _outline(photo)
    quad = map_points(matrix, _outline(prior))
    common, _ = cv2.intersectConvexConvex(quad.astype(np.float32), frame.astype(np.float32))
    area = abs(cv2.contourArea(quad.astype(np.float32)))
    return min(1.0, common / (photo[0] * photo[1])), min(1.0, common / max(area, 1e-6))


def _outline(size: Size) -> NDArray[np.float64]:
    """(4, 2) outer corners (x, y) of a pixel grid: half a pixel beyond the centres of corner
    pixels."""
    outwards = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return np.asarray(corners(size) + outwards, np.float64)


def geometry_entries(geometry: Global | str, photo: Size, confidence: float) -> dict[str, Entry]:
    """Entries for shift, scale, rotation, shear and perspective of the homography `geometry`.

    They hold at the photo's centre and have 95 % intervals. An entry whose interval is too wide has
    a note instead of a value. All have one if `geometry` is the reason (str) why no homography
    could be fitted. `photo` is (width, height). Every entry with a value gets the `confidence`.
    """
    names = {
        "shift_x_px": ("px", "shift"),
        "shift_y_px": ("px", "shift"),
        "scale_x": ("ratio", "scale"),
        "scale_y": ("ratio", "scale"),
        "rotation_deg": ("deg", "rotation"),
        "shear_deg": ("deg", "shear"),
        "perspective_x": ("ratio", "perspective"),
        "perspective_y": ("ratio", "perspective"),
    }
    if isinstance(geometry, str):
        return {name: unknown(unit, geometry) for name, (unit, _) in names.items()}
    values = _numbers(geometry.motion, photo)
    bounds = [_bounds(samples, photo) for samples in geometry.samples]  # per source of error
    low, high = np.min([b[0] for b in bounds], axis=0), np.max([b[1] for b in bounds], axis=0)
    widest = {**WIDEST, "shift": WIDEST["shift"] * max(photo)}
    entries = {}
    for index, (name, (unit, family)) in enumerate(names.items()):
        interval = float(low[index]), float(high[index])
        if interval[1] - interval[0] > 2 * widest[family]:
            note = f"too uncertain: the 95 % interval is {interval[0]:.3g} to {interval[1]:.3g}"
            entries[name] = unknown(unit, note)
        else:
            entries[name] = Entry(values[index], unit, *interval, confidence=confidence)
    return entries


def _bounds(samples: NDArray[np.float64], photo: Size) -> NDArray[np.float64]:
    """(2, 8) the 2.5 % and 97.5 % quantiles of eight numbers over the homographies `samples`.

    `samples` (B, 3, 3) map photo px to photo px. The numbers are shift x and y (px), scale x and y,
    rotation, shear (degrees), perspective x and y. `photo` is (width, height).
    """
    values = np.array([_numbers(motion(matrix, photo, photo), photo) for matrix in samples])
    return np.asarray(np.quantile(values, (0.025, 0.975), axis=0), np.float64)


def _numbers(words: Motion, photo: Size) -> list[float]:
    return [
        words.shift[0] * photo[0],
        words.shift[1] * photo[1],
        *words.scale,
        words.rotation,
        words.shear,
        *words.perspective,
    ]
