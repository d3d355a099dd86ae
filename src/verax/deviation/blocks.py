"""The places of the photo's blocks in the generated picture.

A registration gives the rough place of each photo pixel; a dense Lucas-Kanade step on orientation
channels then measures the residual displacement per block.

All displacements are of content in the generated picture, in photo px.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.geometry import Matrix, Size, invert, map_points
from verax.geometry.features import coherence, log_luminance, orientation
from verax.geometry.register import Registration, Warped
from verax.image import Image
from verax.image.pixels import blur, luma, wide_blur

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

BLOCKS_ALONG = 20  # blocks on the long side
SMOOTH = 0.8  # px: less is noisier, more lets replaced texture affect the blocks
ROUNDS = 3
LARGEST_LEFTOVER = 0.01  # largest residual displacement, share of the long side
MIN_COHERENCE = 0.5
WORSE = 3.0  # largest lack of coherence, as a multiple of the median block's; more is a false match
LEAST_LACK = 0.1  # lack of coherence that is always accepted
LEAST_ALIKE, WELL_ALIKE = 0.3, 0.6  # ramp: coherence at which the pictures can be aligned
LEAST_SHOWN = 0.5  # least share of a window that is covered
CELL = (
    3  # blocks per side of a bootstrap cell: neighbours share windows, so they are drawn together
)
REST_PX = 0.02  # photo px: least measurable displacement
STANDS_FOR = 3.0  # distance, in blocks, up to which a found block represents others
LEAST_HELD, WELL_HELD = 0.05, 0.3  # ramp: smaller eigenvalue over the picture's mean trace


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of the photo that were found in the generated picture.

    Attributes:
        points: (N, 2) centres in photo px.
        moved: (N, 2) displacement (dx, dy) of their content in the generated picture.
        weight: (N,) confidence, 0..1.
        cell: (N,) number of the bootstrap cell.
        total: number of blocks in the photo.
        able: number of them with enough structure to measure motion.
        share: (N,) share of the scene that is closest to each block, sums to 1.
    """

    points: Floats
    moved: Floats
    weight: Floats
    cell: NDArray[np.intp]
    total: int
    able: int
    share: Floats


@dataclass(frozen=True, slots=True)
class Leftover:
    """The residual displacement after registration, on the working grid, in working px.

    Attributes:
        flow: (h, w, 2) from a photo pixel to its place in the registered prior.
        weight: (h, w) confidence in [0, 1] that content moved by the flow.
        alike: (h, w) how well both agree along the flow, in [0, 1]. That is enough for aligning,
            but not for motion, which is ambiguous along edges.
        held: (h, w) how well the photo's structure determines motion, in [0, 1].
        usual: (h, w) whether both agree as well as in most of the picture.
    """

    flow: Map
    weight: Map
    alike: Map
    held: Map
    usual: NDArray[np.bool_]

    @property
    def sure_flow(self) -> Map:
        """The flow where motion is certain, faded to zero elsewhere."""
        return _faded(self.flow, self.weight)

    @property
    def aligning_flow(self) -> Map:
        """The flow wherever it aligns the pictures, faded to zero elsewhere."""
        return _faded(self.flow, self.alike)


def _faded(flow: Map, weight: Map) -> Map:
    window = _window(weight)
    around = blur(weight, window)[..., None]
    return np.asarray(blur(flow * weight[..., None], window) / np.maximum(around, 0.1), np.float32)


def find_blocks(
    photo: Size,
    leftover: Leftover,
    registration: Registration,
    base: Matrix,
    *,
    usual_only: bool = False,
) -> Blocks:
    """The photo's blocks in the generated picture, where both agree well enough.

    `usual_only` excludes places that agree less well than most; not for refining the registration,
    when true matches may still be among them.
    """
    width, height = photo
    size = leftover.weight.shape[1], leftover.weight.shape[0]
    step = max(size) / BLOCKS_ALONG
    xs = np.arange(step / 2, size[0], step)
    ys = np.arange(step / 2, size[1], step)
    gx, gy = (g.ravel() for g in np.meshgrid(xs, ys))
    column, row = gx.astype(np.intp), gy.astype(np.intp)
    across = 1 + int(len(xs) // CELL)
    cell = (np.arange(len(ys))[:, None] // CELL * across + np.arange(len(xs)) // CELL).ravel()
    sure = leftover.weight[row, column] > 0
    if usual_only:
        sure &= leftover.usual[row, column]
    ratio = np.array([width / size[0], height / size[1]])
    points = (np.stack([column, row], 1)[sure] + 0.5) * ratio - 0.5
    rest = leftover.flow[row, column][sure] * ratio
    moved = content_at(points, rest, registration, base) - points
    moved[np.linalg.norm(moved, axis=1) < REST_PX] = 0
    weight = leftover.weight[row, column][sure].astype(np.float64)
    centres = (np.stack([column, row], 1) + 0.5) * ratio - 0.5
    share = _share_of_scene(centres, points, moved, photo)
    able = int((leftover.held[row, column] > 0).sum())
    return Blocks(points, moved, weight, cell[sure], len(gx), able, share)


def _share_of_scene(centres: Floats, points: Floats, moved: Floats, photo: Size) -> Floats:
    """Share of all blocks, found or not, that each found block represents as the nearest one.

    Blocks far from any found one, and those whose content left the picture, are not represented.
    """
    if len(points) == 0:
        return np.zeros(0)
    apart = np.linalg.norm(centres[:, None] - points[None], axis=2)
    nearest = apart.argmin(axis=1)
    there = centres + moved[nearest]
    inside = ((there >= 0) & (there <= np.array(photo) - 1)).all(axis=1)
    near = apart.min(axis=1) < STANDS_FOR * max(photo) / BLOCKS_ALONG
    count = np.bincount(nearest[inside & near], minlength=len(points))
    return np.asarray(count / max(int(count.sum()), 1), np.float64)


def content_at(points: Floats, rest: Floats, registration: Registration, base: Matrix) -> Floats:
    """Where `points` of the photo lie in the generated picture, at the photo's scale; `rest` is
    their residual displacement."""
    lookup = points + rest
    if registration.field is not None:
        x, y = lookup.T
        local = [
            scipy.ndimage.map_coordinates(
                registration.field[..., axis], (y, x), order=1, mode="nearest"
            )
            for axis in (0, 1)
        ]
        lookup = lookup + np.stack(local, 1)
    return map_points(base, map_points(invert(registration.matrix), lookup))


def find_leftover(photo: Image, warped: Warped, chance: float) -> Leftover:
    """Displacement from photo to registered prior, both on the working grid.

    `chance` is the coherence that pictures of other scenes reach (`chance_coherence`).
    """
    channels = _channels(photo)
    flow, agreed, overlap = _settle(channels, _channels(warped.pixels), warped.valid)
    inside = (np.abs(flow) < LARGEST_LEFTOVER * max(agreed.shape)).all(axis=2)
    held = _held_both_ways(channels)
    coverage = blur(overlap, _window(agreed))
    floor = max(MIN_COHERENCE, chance)
    sure = np.clip((agreed - floor) / max(1 - floor, 0.05), 0, 1)
    weight = np.asarray(sure * (coverage > 0.9) * inside * held, np.float32)
    alike = np.clip((agreed - LEAST_ALIKE) / (WELL_ALIKE - LEAST_ALIKE), 0, 1)
    alike = np.asarray(alike * (coverage > LEAST_SHOWN), np.float32)
    usual = np.asarray(agreed >= _usual(agreed[weight > 0]))
    return Leftover(flow, weight, alike, held, usual)


def _usual(agreed: Map) -> float:
    """The least coherence of a block that is not an outlier in its picture.

    Grass or pebbles agree fairly well at many wrong places. If most blocks agree fully, one that
    agrees only fairly well is at a wrong place.
    """
    lack = 1 - float(np.median(agreed)) if agreed.size else 1.0
    return 1 - max(LEAST_LACK, WORSE * lack)


def _held_both_ways(channels: Map) -> Map:
    """How well each block's structure determines motion in both directions, in [0, 1].

    Along straight edges, and beside the only edge of a window, motion is ambiguous: the smaller
    eigenvalue of the structure tensor (Shi and Tomasi, CVPR 1994) is near zero there.
    """
    window = _window(channels)
    gx, gy = (cv2.Sobel(channels, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    xx, xy, yy = (
        wide_blur(np.einsum("hwc,hwc->hw", a, b), window) for a, b in ((gx, gx), (gx, gy), (gy, gy))
    )
    smaller = (xx + yy - np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2
    share = smaller / (float((xx + yy).mean()) + 1e-12)
    return np.asarray(np.clip((share - LEAST_HELD) / (WELL_HELD - LEAST_HELD), 0, 1), np.float32)


def chance_coherence(photo: Image, warped: Warped) -> float:
    """Coherence that one in twenty blocks reaches by chance, with the mirrored prior."""
    mirrored = np.ascontiguousarray(warped.pixels[:, ::-1])
    _, agreed, _ = _settle(_channels(photo), _channels(mirrored), np.ones_like(warped.valid))
    return float(np.quantile(agreed, 0.95))


def _window(plane: Map) -> float:
    """Sigma of the Gaussian window of a block, in px of the working grid."""
    return float(max(plane.shape[:2])) / BLOCKS_ALONG / 2


def _channels(image: Image) -> Map:
    plane = log_luminance(luma(image), (image.shape[1], image.shape[0]))
    return orientation(plane, window=_window(plane), smooth=SMOOTH)


def _settle(first: Map, second: Map, valid: Map) -> tuple[Map, Map, Map]:
    """Flow from `first` to `second`, (h, w, 2), by iteration; coherence along it, and coverage."""
    window, limit = _window(first), LARGEST_LEFTOVER * max(first.shape)
    y, x = (g.astype(np.float32) for g in np.mgrid[: first.shape[0], : first.shape[1]])
    flow = np.zeros((*first.shape[:2], 2), np.float32)
    for _ in range(ROUNDS):
        moved = cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        overlap = cv2.remap(valid, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        agreed = np.clip(coherence(first, moved, overlap, window), 0.05, 1)
        flow = np.clip(flow + _step(first, moved, overlap * agreed**2, window), -limit, limit)
    return flow, np.asarray(agreed, np.float32), np.asarray(overlap, np.float32)


def _step(first: Map, moved: Map, weight: Map, window: float) -> Map:
    """One Lucas-Kanade step in Gaussian windows, (h, w, 2)."""
    gx, gy = (
        cv2.Sobel(first, cv2.CV_32F, *axes, scale=1 / 16)
        + cv2.Sobel(moved, cv2.CV_32F, *axes, scale=1 / 16)
        for axes in ((1, 0), (0, 1))
    )
    rest = first - moved
    xx, xy, yy, rx, ry, both, one, two = (
        wide_blur(weight * np.einsum("hwc,hwc->hw", a, b), window)
        for a, b in (
            (gx, gx),
            (gx, gy),
            (gy, gy),
            (gx, rest),
            (gy, rest),
            (first, moved),
            (first, first),
            (moved, moved),
        )
    )
    damping = 1e-3 * float((xx + yy).mean()) + 1e-9
    xx, yy = xx + damping, yy + damping
    # uncorrelated structure only shortens the step: make up for it
    agreed = np.clip(both / np.sqrt(one * two + 1e-12), 0.25, 1)
    below = (xx * yy - xy * xy) * agreed
    step = np.dstack([(yy * rx - xy * ry) / below, (xx * ry - xy * rx) / below])
    return np.asarray(np.clip(step, -2.0, 2.0), np.float32)
