"""Pictures for the report: overlay, motion field, edges, object boxes. All (H, W, 3) in [0, 1]."""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.edges import unsupported_edges
from verax.deviation.look import Look
from verax.deviation.pair import Pair
from verax.deviation.record import ObjectChange, ObjectKind
from verax.image import Image
from verax.metrics.gradient import luma

RED, BLUE = (0.90, 0.10, 0.12), (0.05, 0.30, 0.95)
COLOURS: dict[ObjectKind, tuple[float, float, float]] = {
    "appeared": RED,
    "vanished": BLUE,
    "moved": (0.95, 0.75, 0.0),
    "replaced": (0.75, 0.1, 0.85),
}
ARROW_SHARE = 0.06  # of the long side: length of the arrow of the 95th percentile


def overlay(pair: Pair) -> Image:
    """Photo in red, registered prior in green and blue: grey where both agree."""
    photo, prior = luma(pair.photo), luma(pair.prior)
    low, high = np.quantile(photo[pair.seen], (0.02, 0.98)) if pair.seen.any() else (0.0, 1.0)
    floor, top = np.quantile(prior[pair.seen], (0.02, 0.98)) if pair.seen.any() else (0.0, 1.0)
    matched = (prior - floor) / max(top - floor, 1e-3)
    spread = (photo - low) / max(high - low, 1e-3)
    shown = np.where(pair.seen, matched, 0)
    return np.asarray(np.clip(np.dstack([spread, shown, shown]), 0, 1), np.float32)


def motion_field(seen: Look) -> Image:
    """Arrows from where blocks of the photo were to where they went, enlarged; on the photo."""
    picture = _faint(seen.pair)
    points = seen.blocks.points * seen.pair.scale
    moved = seen.blocks.moved * seen.pair.scale
    length = np.linalg.norm(moved, axis=1)
    longest = max(float(np.quantile(length, 0.95)), 0.25) if len(length) else 1.0
    factor = ARROW_SHARE * max(picture.shape) / longest
    for start, step in zip(points, moved, strict=True):
        end = start + factor * step
        cv2.arrowedLine(picture, _px(start), _px(end), RED, 1, cv2.LINE_AA, tipLength=0.3)
    text = f"arrows enlarged {factor:.1f} times; {len(points)} of {seen.blocks.asked} blocks"
    return _caption(picture, text)


def edge_picture(pair: Pair) -> Image:
    """Edges the prior invented in red, edges of the photo it lost in blue."""
    picture = _faint(pair)
    invented, lost = unsupported_edges(pair)
    for edges, colour in ((lost, BLUE), (invented, RED)):
        picture[cv2.dilate(edges.astype(np.uint8), np.ones((2, 2), np.uint8)) > 0] = colour
    return _caption(picture, "red: invented, blue: lost")


def object_picture(pair: Pair, objects: tuple[ObjectChange, ...]) -> Image:
    """Photo and registered prior side by side with a box around every changed object."""
    sides = [np.ascontiguousarray(p) for p in (pair.photo.copy(), pair.prior.copy())]
    for change in objects:
        left, top, right, bottom = (round(v * pair.scale) for v in change.box)
        for side in sides:
            cv2.rectangle(side, (left, top), (right, bottom), COLOURS[change.kind], 2)
            place = (left + 2, max(12, top - 4))
            cv2.putText(
                side, change.kind, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, COLOURS[change.kind], 1
            )
    gap = np.ones((pair.photo.shape[0], 6, 3), np.float32)
    return np.asarray(np.hstack([sides[0], gap, sides[1]]), np.float32)


def _faint(pair: Pair) -> Image:
    grey = 0.35 + 0.6 * luma(pair.photo)
    return np.ascontiguousarray(np.clip(np.dstack([grey] * 3), 0, 1), np.float32)


def _px(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _caption(picture: Image, text: str) -> Image:
    strip = np.ones((22, picture.shape[1], 3), np.float32)
    cv2.putText(strip, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(np.vstack([picture, strip]), np.float32)
