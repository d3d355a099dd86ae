"""Find the blocks of the photo in the generated picture, and measure how far each one moved.

The registration gives the approximate place of each photo pixel. Dense Lucas-Kanade steps on
channels of gradient orientation then measure how far each block still is from there.

Displacements are in photo px and point from the place in the photo to that in the generated
picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.geometry import Matrix, Size, invert, map_points
from verax.geometry.features import coherence, log_luminance, orientation
from verax.geometry.register import Registration, WarpedPrior
from verax.image import Image
from verax.image.pixels import blur, luma, wide_blur

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

BLOCKS_ALONG = 20  # blocks on the long side
SMOOTH = 0.8  # px, sigma before orientation is computed: less is noisier, more blurs across blocks
ROUNDS = 3
LARGEST_RESIDUAL = 0.01  # largest residual displacement, share of the long side
MIN_COHERENCE = 0.5
WORSE = 3.0  # 1 - coherence, as a multiple of the median block's; a larger value is a false match
LEAST_LACK = 0.1  # 1 - coherence that is always accepted
LEAST_ALIKE, WELL_ALIKE = 0.3, 0.6  # coherence from which the flow counts for aligning, and fully
LEAST_SHOWN = 0.5  # least share of a window that the generated picture covers
CELL = 3  # blocks per side of a bootstrap cell; neighbouring blocks share windows, so they are
# resampled together
REST_PX = 0.02  # photo px: smaller displacements are set to zero
STANDS_FOR = 3.0  # distance, in blocks, up to which a found block represents others
LEAST_HELD, WELL_HELD = 0.05, 0.3  # smaller eigenvalue of the structure tensor over the mean trace,
# from which a block can be measured, and with full weight


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks (small square parts) of the photo that were found in the generated picture.

    Attributes:
        points: (N, 2) centres in photo px.
        moved: (N, 2) displacement (dx, dy), photo px, from the photo to the generated picture after
            the change of size and proportions is undone.
        weight: (N,) confidence in [0, 1].
        cell: (N,) index of the group of neighbouring blocks that the bootstrap resamples together.
        total: number of blocks in the photo, found or not.
        measurable: number of the photo's blocks with enough structure to measure motion.
        share: (N,) share of the scene that is nearer to this block than to any other that was
            found; sums to 1.
    """

    points: Floats
    moved: Floats
    weight: Floats
    cell: NDArray[np.intp]
    total: int
    measurable: int
    share: Floats


@dataclass(frozen=True, slots=True)
class ResidualFlow:
    """Displacement that remains between the photo and the registered generated picture.

    Both pictures are reduced to one grid with a long side of at most 640 px; lengths are px of it.

    Attributes:
        flow: (h, w, 2) displacement (dx, dy) from the photo to the registered generated picture.
        weight: (h, w) confidence in [0, 1] that the content moved by the flow.
        alike: (h, w) agreement of the two pictures after displacement by the flow, in [0, 1]. High
            values show that the flow aligns them; along edges it may still not be the true motion.
        determined: (h, w) how well the photo's structure determines motion, in [0, 1].
        usual: (h, w) bool, False where the pictures agree clearly less than in most places.
    """

    flow: Map
    weight: Map
    alike: Map
    determined: Map
    usual: NDArray[np.bool_]

    @property
    def sure_flow(self) -> Map:
        """(h, w, 2) the flow (dx, dy) from photo to generated picture, near 0 where uncertain."""
        return _fade(self.flow, self.weight)

    @property
    def aligning_flow(self) -> Map:
        """(h, w, 2) the flow (dx, dy) where it aligns photo and generated picture, else near 0."""
        return _fade(self.flow, self.alike)


def _fade(flow: Map, weight: Map) -> Map:
    window = _window(weight)
    around = blur(weight, window)[..., None]
    return np.asarray(blur(flow * weight[..., None], window) / np.maximum(around, 0.1), np.float32)


def find_blocks(
    photo: Size,
    residual: ResidualFlow,
    registration: Registration,
    base: Matrix,
    *,
    usual_only: bool = False,
) -> Blocks:
    """Find the photo's blocks in the generated picture, where the two agree well enough.

    Args:
        photo: (width, height).
        registration: places the generated picture on the photo.
        residual: displacement that remains after `registration`.
        base: matrix from generated to photo px that undoes only the change of size and proportions;
            displacements are measured relative to it.
        usual_only: drop blocks that agree clearly less than most. For the final registration such
            blocks are false matches; while it is still being refined, they may be true.
    """
    width, height = photo
    size = residual.weight.shape[1], residual.weight.shape[0]
    step = max(size) / BLOCKS_ALONG
    xs = np.arange(step / 2, size[0], step)
    ys = np.arange(step / 2, size[1], step)
    gx, gy = (g.ravel() for g in np.meshgrid(xs, ys))
    column, row = gx.astype(np.intp), gy.astype(np.intp)
    across = 1 + int(len(xs) // CELL)
    cell = (np.arange(len(ys))[:, None] // CELL * across + np.arange(len(xs)) // CELL).ravel()
    sure = residual.weight[row, column] > 0
    if usual_only:
        sure &= residual.usual[row, column]
    ratio = np.array([width / size[0], height / size[1]])
    points = (np.stack([column, row], 1)[sure] + 0.5) * ratio - 0.5
    rest = residual.flow[row, column][sure] * ratio
    moved = content_at(points, rest, registration, base) - points
    moved[np.linalg.norm(moved, axis=1) < REST_PX] = 0
    weight = residual.weight[row, column][sure].astype(np.float64)
    centres = (np.stack([column, row], 1) + 0.5) * ratio - 0.5
    share = _share_of_scene(centres, points, moved, photo)
    measurable = int((residual.determined[row, column] > 0).sum())
    return Blocks(points, moved, weight, cell[sure], len(gx), measurable, share)


def _share_of_scene(centres: Floats, points: Floats, moved: Floats, photo: Size) -> Floats:
    """(N,) share of the photo's blocks that each found block represents; they sum to 1.

    `centres` (M, 2) are those of all blocks of the photo, `points` (N, 2) those of the found
    blocks, `moved` (N, 2) their displacements; all in photo px. Each block is represented by the
    nearest found block, unless that is more than 3 blocks away or its displacement would take the
    block out of the picture. If no block is represented, all shares are 0. `photo` is (width,
    height).
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
    """Find where the content at `points` (N, 2) of the photo is in the generated picture: (N, 2).

    `rest` (N, 2) is the displacement of the points that `registration` does not explain; both are
    in photo px. `base` (3, 3) maps the places from generated px to the unit of the result.
    """
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


def find_residual_flow(photo: Image, warped: WarpedPrior, chance: float) -> ResidualFlow:
    """Measure the displacement that remains between photo and registered generated picture.

    `warped`, the generated picture, has the photo's size, a long side of at most 640 px. `chance`
    is the local correlation, 0 to 1, that unrelated pictures reach; motion at places with less is
    not trusted.
    """
    channels = _channels(photo)
    flow, agreed, overlap = _settle(channels, _channels(warped.pixels), warped.valid)
    inside = (np.abs(flow) < LARGEST_RESIDUAL * max(agreed.shape)).all(axis=2)
    determined = _determined_motion(channels)
    coverage = blur(overlap, _window(agreed))
    floor = max(MIN_COHERENCE, chance)
    sure = np.clip((agreed - floor) / max(1 - floor, 0.05), 0, 1)
    weight = np.asarray(sure * (coverage > 0.9) * inside * determined, np.float32)
    alike = np.clip((agreed - LEAST_ALIKE) / (WELL_ALIKE - LEAST_ALIKE), 0, 1)
    alike = np.asarray(alike * (coverage > LEAST_SHOWN), np.float32)
    usual = np.asarray(agreed >= _usual(agreed[weight > 0]))
    return ResidualFlow(flow, weight, alike, determined, usual)


def _usual(agreed: Map) -> float:
    """The local correlation below which a match is false, given those of all matches (`agreed`).

    Repetitive texture such as grass correlates fairly well at many wrong places. If most matches
    correlate fully, one that correlates only fairly well is therefore false. Below -1 if `agreed`
    is empty.
    """
    lack = 1 - float(np.median(agreed)) if agreed.size else 1.0
    return 1 - max(LEAST_LACK, WORSE * lack)


def _determined_motion(channels: Map) -> Map:
    """(h, w) in [0, 1], how well the structure around a pixel determines motion in both directions.

    `channels` (h, w, C) describe the orientation of edges. Motion along a straight edge cannot be
    measured (aperture problem): the smaller eigenvalue of the structure tensor (Shi and Tomasi,
    CVPR 1994) is near zero there.
    """
    window = _window(channels)
    gx, gy = (cv2.Sobel(channels, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    xx, xy, yy = (
        wide_blur(np.einsum("hwc,hwc->hw", a, b), window) for a, b in ((gx, gx), (gx, gy), (gy, gy))
    )
    smaller = (xx + yy - np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2
    share = smaller / (float((xx + yy).mean()) + 1e-12)
    return np.asarray(np.clip((share - LEAST_HELD) / (WELL_HELD - LEAST_HELD), 0, 1), np.float32)


def chance_coherence(photo: Image, warped: WarpedPrior) -> float:
    """The local correlation (0 to 1) that unrelated pictures exceed by chance in 5 % of places.

    It is measured between the photo and `warped`, the registered generated picture, mirrored here.
    """
    mirrored = np.ascontiguousarray(warped.pixels[:, ::-1])
    _, agreed, _ = _settle(_channels(photo), _channels(mirrored), np.ones_like(warped.valid))
    return float(np.quantile(agreed, 0.95))


def _window(plane: Map) -> float:
    """Sigma in px of the Gaussian window of a block, 1/40 of the long side of `plane`."""
    return float(max(plane.shape[:2])) / BLOCKS_ALONG / 2


def _channels(image: Image) -> Map:
    plane = log_luminance(luma(image), (image.shape[1], image.shape[0]))
    return orientation(plane, window=_window(plane), smooth=SMOOTH)


def _settle(first: Map, second: Map, valid: Map) -> tuple[Map, Map, Map]:
    """Find the optical flow from `first` to `second`, both (h, w, channels), by Lucas-Kanade steps.

    `valid` (h, w) is the share of each pixel of `second` that has data. Returns the flow (h, w, 2)
    as (dx, dy) in px, the local correlation (h, w) of both after displacement by the flow, and
    `valid` at the displaced places (h, w).
    """
    window, limit = _window(first), LARGEST_RESIDUAL * max(first.shape)
    y, x = (g.astype(np.float32) for g in np.mgrid[: first.shape[0], : first.shape[1]])
    flow = np.zeros((*first.shape[:2], 2), np.float32)
    for _ in range(ROUNDS):
        moved = cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        overlap = cv2.remap(valid, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        agreed = np.clip(coherence(first, moved, overlap, window), 0.05, 1)
        flow = np.clip(flow + _step(first, moved, overlap * agreed**2, window), -limit, limit)
    return flow, np.asarray(agreed, np.float32), np.asarray(overlap, np.float32)


def _step(first: Map, moved: Map, weight: Map, window: float) -> Map:
    """One Lucas-Kanade step, (h, w, 2), to be added to the flow; windows have sigma `window` px.

    The flow (dx, dy) in px goes from the first picture to the second. `first` and `moved` (h, w, C)
    are channels of the first, and of the second displaced by the flow so far. `weight` (h, w)
    weights the pixels.
    """
    gx, gy = (
        cv2.Sobel(first, cv2.CV_32F, *axes, scale=1 / 16)
        + cv2.Sobel(moved, cv2.CV_32F, *axes, scale=1 / 16)
        for axes in ((1, 0), (0, 1))
    )
    rest = first - moved
    slopes = ((gx, gx), (gx, gy), (gy, gy), (gx, rest), (gy, rest))
    planes = ((first, moved), (first, first), (moved, moved))
    xx, xy, yy, rx, ry, both, one, two = (
        wide_blur(weight * np.einsum("hwc,hwc->hw", a, b), window) for a, b in (*slopes, *planes)
    )
    damping = 1e-3 * float((xx + yy).mean()) + 1e-9
    xx, yy = xx + damping, yy + damping
    # structure that only one picture has shortens the step: divide by the correlation
    agreed = np.clip(both / np.sqrt(one * two + 1e-12), 0.25, 1)
    below = (xx * yy - xy * xy) * agreed
    step = np.dstack([(yy * rx - xy * ry) / below, (xx * ry - xy * rx) / below])
    return np.asarray(np.clip(step, -2.0, 2.0), np.float32)
