"""Edges and keypoints: what the prior invented, what it lost.

An edge of one picture is supported when the other has a gradient across it, nearby, above its
own noise and not faint against its own neighbourhood. Both thresholds come from the pictures, so
haze and darkness do not turn faint support into none. In dense texture anything is supported by
chance; the same test against displaced pictures measures that chance and takes it out.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.pair import Map, Pair, broad, noise_level
from verax.deviation.record import Entry, unknown
from verax.image.pixels import blur

SIGMA_PX = 1.2
TOLERANCE_PX = 2
NOISE_SIGMAS = 3.0
STRONG, FAINT = 1.0, 0.35  # gradient over its local root mean square: an edge, a support
LEAST_CHANGE = 0.004  # luma per px below which 8-bit pictures show nothing
NEIGHBOURHOOD = 0.03  # sigma as a share of the long side
REGION = 0.2
CHANCE_RADIUS_PX = 9
MIN_EDGES = 200
KEYPOINTS = 400
KEYPOINT_APART_PX = 7


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gaussian gradient of a luma plane: components, length, local rms, deviation due to noise."""

    x: Map
    y: Map
    length: Map
    around: Map
    noise: float


def gradient(plane: Map) -> Gradient:
    """The gradient with what it is to be judged by."""
    smooth = blur(plane, SIGMA_PX)
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    # white noise of deviation s gives a Gaussian derivative of deviation s / (sqrt(8 pi) sigma^2);
    # the Sobel mask smooths a little more
    noise = noise_level(plane) / (np.sqrt(8 * np.pi) * (SIGMA_PX**2 + 0.5))
    length = cv2.magnitude(x, y)
    around = np.sqrt(broad(length * length, NEIGHBOURHOOD * max(plane.shape)))
    return Gradient(x, y, length, around, noise)


def edge_entries(pair: Pair, exclude: NDArray[np.bool_]) -> dict[str, Entry]:
    """Shares of invented and of lost edges; pixels in `exclude` are left to other entries."""
    photo, prior = (gradient(plane) for plane in pair.luma)
    asked = pair.seen & ~exclude
    gain = _regional_gain(photo, prior)
    told = gain * prior.length > NOISE_SIGMAS * photo.noise  # the photo would show it
    invented = _unsupported(prior, photo, asked & told)
    lost = _unsupported(photo, prior, asked)
    return {
        "invented_edges": _entry(invented, "the photo is too noisy or faint to show edges"),
        "lost_edges": _entry(lost, "the photo shows too few edges"),
    }


def unsupported_edges(pair: Pair) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Maps of invented and of lost edge pixels, for pictures."""
    photo, prior = (gradient(plane) for plane in pair.luma)
    told = _regional_gain(photo, prior) * prior.length > NOISE_SIGMAS * photo.noise
    invented = edge_pixels(prior) & pair.seen & told & ~_support(prior, photo)
    return invented, edge_pixels(photo) & pair.seen & ~_support(photo, prior)


def _regional_gain(photo: Gradient, prior: Gradient) -> Map:
    """How strong the photo's edges are against the prior's, over large regions."""
    window = REGION * max(photo.length.shape)
    visible = np.maximum(broad(photo.length**2, window) - 2 * photo.noise**2, 0)
    return np.asarray(np.sqrt(visible / (broad(prior.length**2, window) + 1e-12)), np.float32)


def edge_pixels(g: Gradient) -> NDArray[np.bool_]:
    """Ridges of the gradient above noise and above the neighbourhood."""
    strongest = np.maximum(NOISE_SIGMAS * g.noise, LEAST_CHANGE)
    ridge = g.length >= np.maximum(*_beside(g))
    return np.asarray(ridge & (g.length > strongest) & (g.length > STRONG * g.around))


def _beside(g: Gradient) -> tuple[Map, Map]:
    """Gradient length one pixel to either side, across the edge."""
    length = np.maximum(g.length, 1e-9)
    y, x = (c.astype(np.float32) for c in np.mgrid[: g.x.shape[0], : g.x.shape[1]])
    dx, dy = g.x / length, g.y / length
    one, two = (
        cv2.remap(g.length, x + s * dx, y + s * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for s in (1, -1)
    )
    return one, two


def _support(
    edges: Gradient, other: Gradient, shift: tuple[int, int] = (0, 0)
) -> NDArray[np.bool_]:
    """Where `other`, displaced by `shift`, has a gradient across the edges' direction nearby."""
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


def _unsupported(
    edges: Gradient, other: Gradient, asked: NDArray[np.bool_]
) -> tuple[float, float, int]:
    """Unsupported edges, edges that could have been told, edges asked."""
    here = edge_pixels(edges) & asked
    count = int(here.sum())
    if count < MIN_EDGES:
        return 0.0, 0.0, count
    missing = float((here & ~_support(edges, other)).sum())
    far = CHANCE_RADIUS_PX
    chance = [
        float((here & _support(edges, other, shift)).sum())
        for shift in ((far, 0), (-far, 0), (0, far), (0, -far))
    ]
    return missing, count - float(np.mean(chance)), count


def _entry(counts: tuple[float, float, int], note: str) -> Entry:
    missing, told, count = counts
    if count < MIN_EDGES or told < 0.1 * count:
        return unknown("share", note)
    value = min(1.0, missing / told)
    deviation = float(np.sqrt(max(value * (1 - value), 1e-6) / (told / 10)))  # edges come in runs
    low, high = max(0.0, value - 1.96 * deviation), min(1.0, value + 1.96 * deviation)
    return Entry(value, "share", low, high, confidence=told / count)


def keypoint_entries(pair: Pair, exclude: NDArray[np.bool_]) -> dict[str, Entry]:
    """Share of the photo's corners with no corner of the prior within 1, 2 and 4 px."""
    photo = _corners(pair.luma[0], pair.seen & ~exclude, KEYPOINTS, 0.02, KEYPOINT_APART_PX)
    # many more are allowed in the prior: which corner ranks where is not the question
    prior = _corners(pair.luma[1], pair.seen, 6 * KEYPOINTS, 0.002, 2)
    names = {t: f"keypoints_lost_{t}px" for t in (1, 2, 4)}
    if len(photo) < 20 or len(prior) < 20:
        note = "one of the pictures has too few corners"
        return {name: unknown("share", note) for name in names.values()}
    apart = np.linalg.norm(photo[:, None] - prior[None], axis=2).min(axis=1)
    reach = {t: t * max(1.0, pair.scale) for t in names}
    return {
        name: Entry(float(np.mean(apart > reach[t])), "share", confidence=min(1, len(photo) / 100))
        for t, name in names.items()
    }


def _corners(
    plane: Map, seen: NDArray[np.bool_], count: int, quality: float, apart_px: int
) -> NDArray[np.float32]:
    """(N, 2) corners of the locally normalised picture, strongest first."""
    window = NEIGHBOURHOOD * max(plane.shape)
    centred = blur(plane, 1.0) - broad(plane, window)
    around = np.sqrt(broad(centred * centred, window))
    flat = 2 * noise_level(plane) + 0.01
    found = cv2.goodFeaturesToTrack(
        np.asarray(centred / (around + flat), np.float32),
        count,
        quality,
        apart_px,
        mask=seen.astype(np.uint8),
    )
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2)
