"""Measure structure: correlation per octave; edges and corners that the generator added or lost.

Octaves are frequency bands one factor of two wide. Photo and registered prior are correlated in
small windows of each octave, so changes of tone have no effect.

An edge of one picture is supported if the other picture has a gradient of that direction nearby,
above its noise and not weak compared with its neighbourhood. These thresholds adapt to the picture,
so an edge faded by haze or darkness still counts as support. In dense texture, edges are supported
by chance; the same test with displaced pictures estimates that chance, which is subtracted.
"""

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.compare import AlignedPair, Map, clipped_pixels
from verax.deviation.record import Entry, unknown
from verax.image.pixels import blur, noise_level, wide_blur

OCTAVES_PX = (2, 4, 8, 16)  # sigma of the coarser blur of each band, working px
DESCRIBED = 0.5  # least correlation at which the prior still shows the photo's octave
LINEAR_WINDOW_PX = 3.0
FAINT_BAND = 0.01  # standard deviation of luma in a band below which structure is hardly visible
MIN_SEEN = 0.05  # least share of pixels that can be compared
MISALIGNMENT_PX = 0.7  # in the finest octave: displacement at which correlation is searched
AROUND_CLIPPED_PX = 2  # how far a clipped pixel affects the finest band
FLAT = 1e-9  # variance due to rounding
SIGMA_PX = 1.2  # of the Gaussian gradient
TOLERANCE_PX = 2
NOISE_SIGMAS = 3.0
STRONG, FAINT = 1.0, 0.35  # least gradient over its local root mean square: of an edge, of support
LEAST_CHANGE = 0.004  # least luma gradient per px of an edge, as 8-bit pictures are rounded
NEIGHBOURHOOD = 0.03  # sigma of the window of local means, share of the long side
REGION = 0.2  # sigma of large regions, share of the long side
CHANCE_RADIUS_PX = 9  # displacement at which support is due to chance
MIN_EDGES = 200  # least number of edge pixels for a share
KEYPOINTS = 400  # most corners of the photo
KEYPOINT_APART_PX = 7  # least distance between corners of the photo
Mask = NDArray[np.bool_]


def band_entries(pair: AlignedPair, exclude: Mask) -> dict[str, Entry]:
    """Measure how well structure agrees in octaves (frequency bands one factor of two wide).

    Returns "coherence_loss_2px" to "_16px" (1 - correlation), "finest_scale_px" (the finest octave
    that agrees, photo px) and "structure_residual" (share of the prior's structure that the photo's
    does not explain). Pixels in `exclude` (h, w, bool) and clipped pixels are not counted.
    Structure finer than 2 px is not compared, since resampling by the generator changes it anyway.
    """
    names = {octave: f"coherence_loss_{octave}px" for octave in OCTAVES_PX}
    side = 2 * AROUND_CLIPPED_PX + 1
    hidden = (clipped_pixels(pair.photo) | clipped_pixels(pair.prior)).astype(np.uint8)
    hidden = cv2.dilate(hidden, np.ones((side, side), np.uint8))
    overlap = (pair.overlap & ~exclude & (hidden == 0)).astype(np.float32)
    if overlap.mean() < MIN_SEEN:
        note = "the generated picture covers too few pixels that are not clipped to black or white"
        lost = {name: unknown("share", note) for name in names.values()}
        lost["finest_scale_px"] = unknown("px", note)
        return lost | {"structure_residual": unknown("share", note)}
    photo, prior = pair.luma
    floor = noise_level(photo)
    losses = {o: _coherence(photo, prior, overlap, o, floor) for o in OCTAVES_PX}
    entries = {names[o]: loss for o, loss in losses.items()}
    described = [o for o, c in losses.items() if c.value is not None and 1 - c.value >= DESCRIBED]
    none = "the generated picture agrees with the photo in no octave"
    finest = Entry(min(described) / pair.scale, "px") if described else unknown("px", none)
    entries["finest_scale_px"] = finest
    entries["structure_residual"] = _linear_residual(photo, prior, overlap)
    return entries


def _coherence(photo: Map, prior: Map, overlap: Map, octave: int, noise: float) -> Entry:
    """Measure how much two luma planes differ in one octave: 1 - their mean local correlation.

    The octave is the difference of blurs with sigma `octave` / 2 and `octave` px. Pixels count by
    `overlap` (h, w) and by their structure. The more noise the photo has (standard deviation
    `noise`), the less confidence.
    """
    first, second = (blur(p, octave / 2) - blur(p, octave) for p in (photo, prior))
    agreed, var_a, var_b = local_correlation(first, second, overlap, 4.0 * octave)
    if octave == OCTAVES_PX[0]:
        for dx, dy in product((-MISALIGNMENT_PX, 0, MISALIGNMENT_PX), repeat=2):
            other = _correlation(first, second, overlap, (dx, dy), 4.0 * octave)
            agreed = np.maximum(agreed, other)
    expected = noise * 0.28 / max(octave / 2, 0.5)  # noise left in this band
    power = np.sqrt(var_a * var_b)
    weight = overlap * power / (power + FAINT_BAND**2 + 9 * expected**2)
    total = float(weight.sum())
    if total <= 0:
        return unknown("share", "the pictures have no structure in this octave")
    value = 1 - float((agreed * weight).sum()) / total
    signal = float((np.sqrt(var_a) * overlap).sum() / overlap.sum())
    confidence = signal**2 / (signal**2 + expected**2 + 1e-12)
    if confidence < 0.2:
        return unknown("share", "the photo's noise hides the structure in this octave")
    return Entry(max(0.0, value), "share", confidence=confidence)


def _correlation(one: Map, other: Map, overlap: Map, step: tuple[float, float], size: float) -> Map:
    """(h, w) local correlation of two frequency bands, `other` displaced by `step` (dx, dy) px;
    windows have sigma `size` px, `overlap` (h, w) weights the pixels."""
    matrix = np.array([[1, 0, step[0]], [0, 1, step[1]]], np.float32)
    moved = cv2.warpAffine(
        other, matrix, other.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    both, square_a, square_b = (
        wide_blur(a * b * overlap, size) for a, b in ((one, moved), (one, one), (moved, moved))
    )
    return np.asarray(both / np.maximum(np.sqrt(square_a * square_b), FLAT), np.float32)


def _linear_residual(photo: Map, prior: Map, overlap: Map) -> Entry:
    """Share of the prior's local variance that no local linear fit of the photo explains. Both are
    luma planes (h, w); `overlap` (h, w) weights the pixels."""
    first, second = blur(photo, 1.0), blur(prior, 1.0)
    agreed, _, var_b = local_correlation(first, second, overlap, LINEAR_WINDOW_PX)
    weight = var_b * overlap
    total = float(weight.sum())
    if total <= 0:
        return unknown("share", "the generated picture has no structure")
    return Entry(max(0.0, 1 - float((agreed**2 * weight).sum()) / total), "share")


def local_correlation(one: Map, other: Map, overlap: Map, window: float) -> tuple[Map, Map, Map]:
    """Three planes (h, w), from Gaussian windows of sigma `window` px: correlation (-1 to 1; 1
    where a plane is flat), variance of `one`, variance of `other`. `overlap` weights the pixels."""
    weight = np.maximum(wide_blur(overlap, window), 1e-6)
    mean_a, mean_b = (wide_blur(p * overlap, window) / weight for p in (one, other))
    var_a = np.maximum(wide_blur(one * one * overlap, window) / weight - mean_a**2, 0)
    var_b = np.maximum(wide_blur(other * other * overlap, window) / weight - mean_b**2, 0)
    both = wide_blur(one * other * overlap, window) / weight - mean_a * mean_b
    size = np.sqrt(var_a * var_b)
    agreed = np.where(size > FLAT, both / np.maximum(size, FLAT), 1)
    return np.asarray(np.clip(agreed, -1, 1), np.float32), var_a, var_b


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gradient (x, y) of a slightly blurred luma plane, in luma (0 to 1) per px; arrays are (h, w).

    `length` is its magnitude, `around` the root mean square of `length` in the neighbourhood,
    `noise` the standard deviation that the plane's noise causes in `x` and in `y`.
    """

    x: Map
    y: Map
    length: Map
    around: Map
    noise: float


def gradient(plane: Map) -> Gradient:
    smooth = blur(plane, SIGMA_PX)
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    # white noise of deviation s gives a Gaussian derivative of deviation s / (sqrt(8 pi) sigma^2);
    # the Sobel mask smooths a little more
    noise = noise_level(plane) / (np.sqrt(8 * np.pi) * (SIGMA_PX**2 + 0.5))
    length = cv2.magnitude(x, y)
    around = np.sqrt(wide_blur(length * length, NEIGHBOURHOOD * max(plane.shape)))
    return Gradient(x, y, length, around, noise)


def edge_entries(pair: AlignedPair, exclude: Mask) -> dict[str, Entry]:
    """Measure the share of the prior's edges that the photo lacks ("invented_edges"), and of the
    photo's that the prior lacks ("lost_edges"); pixels in `exclude` (h, w, bool) do not count."""
    photo, prior = (gradient(plane) for plane in pair.luma)
    places = pair.overlap & ~exclude
    gain = _regional_gain(photo, prior)
    visible = gain * prior.length > NOISE_SIGMAS * photo.noise  # the photo would show it
    invented = _count_unsupported(prior, photo, places & visible)
    lost = _count_unsupported(photo, prior, places)
    return {
        "invented_edges": _entry(invented, "the photo is too noisy or faint to show edges"),
        "lost_edges": _entry(lost, "the photo shows too few edges"),
    }


def unsupported_edges(pair: AlignedPair) -> tuple[Mask, Mask]:
    """Masks (h, w) of the edge pixels that only the prior has, and that only the photo has."""
    photo, prior = (gradient(plane) for plane in pair.luma)
    visible = _regional_gain(photo, prior) * prior.length > NOISE_SIGMAS * photo.noise
    invented = edge_pixels(prior) & pair.overlap & visible & ~_support(prior, photo)
    return invented, edge_pixels(photo) & pair.overlap & ~_support(photo, prior)


def _regional_gain(photo: Gradient, prior: Gradient) -> Map:
    """(h, w) ratio of gradient strength, photo to prior, in large regions; the photo's noise is
    subtracted."""
    window = REGION * max(photo.length.shape)
    visible = np.maximum(wide_blur(photo.length**2, window) - 2 * photo.noise**2, 0)
    return np.asarray(np.sqrt(visible / (wide_blur(prior.length**2, window) + 1e-12)), np.float32)


def edge_pixels(g: Gradient) -> Mask:
    """(h, w) bool: ridges of the gradient that exceed the noise and their neighbourhood."""
    strongest = np.maximum(NOISE_SIGMAS * g.noise, LEAST_CHANGE)
    ridge = g.length >= np.maximum(*_beside(g))
    return np.asarray(ridge & (g.length > strongest) & (g.length > STRONG * g.around))


def _beside(g: Gradient) -> tuple[Map, Map]:
    """Gradient length 1 px from each pixel in the direction of its gradient, and 1 px opposite."""
    length = np.maximum(g.length, 1e-9)
    y, x = (c.astype(np.float32) for c in np.mgrid[: g.x.shape[0], : g.x.shape[1]])
    dx, dy = g.x / length, g.y / length
    one, two = (
        cv2.remap(g.length, x + s * dx, y + s * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for s in (1, -1)
    )
    return one, two


def _support(edges: Gradient, other: Gradient, shift: tuple[int, int] = (0, 0)) -> Mask:
    """(h, w) bool: where `other`, the gradient of another picture, displaced by `shift` (dx, dy)
    px, is strong within 2 px and has the direction of the gradient `edges`."""
    length = np.maximum(edges.length, 1e-9)
    nx, ny = edges.x / length, edges.y / length
    faint = np.maximum(NOISE_SIGMAS * other.noise, FAINT * other.around)
    supported = np.zeros(length.shape, bool)
    reach = range(-TOLERANCE_PX, TOLERANCE_PX + 1)
    for dy in reach:
        for dx in reach:
            if dx * dx + dy * dy > TOLERANCE_PX**2:
                continue
            places = (shift[1] + dy, shift[0] + dx)
            gx, gy = np.roll(other.x, places, (0, 1)), np.roll(other.y, places, (0, 1))
            supported |= np.abs(gx * nx + gy * ny) >= np.roll(faint, places, (0, 1))
    return supported


def _count_unsupported(edges: Gradient, other: Gradient, places: Mask) -> tuple[float, float, int]:
    """Count the edge pixels of `edges` in the mask `places` that have no support in `other`.

    An edge pixel has support if `other` has a gradient of the same direction within 2 px. Returns
    the number of pixels without support, the number to expect if the pictures were unrelated, and
    the number of all edge pixels. If that is below 200, the first two are 0.
    """
    here = edge_pixels(edges) & places
    count = int(here.sum())
    if count < MIN_EDGES:
        return 0.0, 0.0, count
    missing = float((here & ~_support(edges, other)).sum())
    far = CHANCE_RADIUS_PX
    shifts = ((far, 0), (-far, 0), (0, far), (0, -far))
    chance = [float((here & _support(edges, other, shift)).sum()) for shift in shifts]
    return missing, count - float(np.mean(chance)), count


def _entry(counts: tuple[float, float, int], note: str) -> Entry:
    """The share of edge pixels without support: the first of the `counts` over the second.

    `counts`: pixels without support, those to expect in unrelated pictures, and all edge pixels. If
    there are too few for a share, the entry has no value, only the `note`.
    """
    missing, decidable, count = counts
    if count < MIN_EDGES or decidable < 0.1 * count:
        return unknown("share", note)
    value = min(1.0, missing / decidable)
    # neighbouring edge pixels are not independent: ten count as one
    deviation = float(np.sqrt(max(value * (1 - value), 1e-6) / (decidable / 10)))
    low, high = max(0.0, value - 1.96 * deviation), min(1.0, value + 1.96 * deviation)
    return Entry(value, "share", low, high, confidence=decidable / count)


def keypoint_entries(pair: AlignedPair, exclude: Mask) -> dict[str, Entry]:
    """Measure the share of the photo's corners that have no corner of the prior within 1, 2 and 4
    px of the pair's grid: "keypoints_lost_1px" and so on. Corners in `exclude` (h, w, bool) do not
    count."""
    photo = _corners(pair.luma[0], pair.overlap & ~exclude, KEYPOINTS, 0.02, KEYPOINT_APART_PX)
    # many more corners are taken from the prior, since it may rank corners differently
    prior = _corners(pair.luma[1], pair.overlap, 6 * KEYPOINTS, 0.002, 2)
    names = {t: f"keypoints_lost_{t}px" for t in (1, 2, 4)}
    if len(photo) < 20 or len(prior) < 20:
        note = "photo or generated picture has fewer than 20 corners"
        return {name: unknown("share", note) for name in names.values()}
    apart = np.linalg.norm(photo[:, None] - prior[None], axis=2).min(axis=1)
    reach = {t: t * max(1.0, pair.scale) for t in names}
    return {
        name: Entry(float(np.mean(apart > reach[t])), "share", confidence=min(1, len(photo) / 100))
        for t, name in names.items()
    }


def _corners(plane: Map, overlap: Mask, count: int, quality: float, apart_px: int) -> Map:
    """(N, 2) x, y of at most `count` corners of a luma plane, strongest first, in `overlap` (h, w).

    They are at least `apart_px` apart. `quality`: strength of the weakest corner, as a share of the
    strongest. Local contrast is normalised before corners are searched.
    """
    window = NEIGHBOURHOOD * max(plane.shape)
    centred = blur(plane, 1.0) - wide_blur(plane, window)
    around = np.sqrt(wide_blur(centred * centred, window))
    flat = 2 * noise_level(plane) + 0.01
    even, mask = np.asarray(centred / (around + flat), np.float32), overlap.astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(even, count, quality, apart_px, mask=mask)
    return np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)
