"""The canvas: sizes, shape, and which part of the scene the generated picture shows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.motion import Global, baseline
from verax.deviation.record import Entry, unknown
from verax.geometry import (
    Matrix,
    Motion,
    Size,
    corners,
    map_points,
    motion,
)
from verax.geometry.canvas import SAME_ASPECT
from verax.geometry.register import Registration
from verax.image import Image

BAR_RANGE = 3 / 255  # rows that vary less than this are plain

WIDEST = {"shift": 0.02, "scale": 0.02, "rotation": 1.0, "shear": 1.5, "perspective": 0.02}


def size_of(image: Image) -> Size:
    """(width, height)."""
    return image.shape[1], image.shape[0]


def canvas_kind(photo: Image, generated: Image, registration: Registration) -> str:
    """How the canvas came about, in the registration's words; one of the same shape is none."""
    ours, theirs = size_of(photo), size_of(generated)
    if abs(np.log(ours[0] / ours[1] * theirs[1] / theirs[0])) < SAME_ASPECT:
        return "same" if ours == theirs else "resized"
    return registration.canvas


def base_matrix(photo: Image, generated: Image, kind: str) -> Matrix:
    """Prior px to photo px if nothing but the canvas had changed."""
    plain = "stretch" if kind in ("same", "resized") else kind
    return baseline(size_of(photo), size_of(generated), plain)


def bars_share(image: Image) -> float:
    """Share of the picture in plain bars along its borders."""
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
    """Sizes, change of shape, and the shares shown, invented outside, and in bars."""
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
    shown, inside = _overlap(ours, theirs, registration.matrix)
    entries["hidden_share"] = Entry(1 - shown, "share")
    entries["outpainted_share"] = Entry(1 - inside, "share")
    entries["bars_share"] = Entry(bars_share(generated) if kind == "letterbox" else 0.0, "share")
    return entries


def _overlap(photo: Size, prior: Size, matrix: Matrix) -> tuple[float, float]:
    """Share of the photo that the prior shows, and share of the prior that lies on the photo."""
    frame = _outline(photo)
    quad = map_points(matrix, _outline(prior))
    common, _ = cv2.intersectConvexConvex(quad.astype(np.float32), frame.astype(np.float32))
    area = abs(cv2.contourArea(quad.astype(np.float32)))
    return min(1.0, common / (photo[0] * photo[1])), min(1.0, common / max(area, 1e-6))


def _outline(size: Size) -> NDArray[np.float64]:
    """Outer corners of a pixel grid, not the centres of its corner pixels."""
    outwards = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return np.asarray(corners(size) + outwards, np.float64)


def geometry_entries(found: Global | str, photo: Size, confidence: float) -> dict[str, Entry]:
    """The global geometry at the photo's centre with bootstrap intervals, or why it is unknown."""
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
    if isinstance(found, str):
        return {name: unknown(unit, found) for name, (unit, _) in names.items()}
    values = _numbers(found.motion, photo)
    bounds = [_bounds(drawn, photo) for drawn in found.drawn]  # each cause of error has its own
    low, high = np.min([b[0] for b in bounds], axis=0), np.max([b[1] for b in bounds], axis=0)
    widest = {**WIDEST, "shift": WIDEST["shift"] * max(photo)}
    entries = {}
    for index, (name, (unit, family)) in enumerate(names.items()):
        interval = float(low[index]), float(high[index])
        if interval[1] - interval[0] > 2 * widest[family]:
            note = f"the interval {interval[0]:.3g}..{interval[1]:.3g} is too wide to tell"
            entries[name] = unknown(unit, note)
        else:
            entries[name] = Entry(values[index], unit, *interval, confidence=confidence)
    return entries


def _bounds(drawn: NDArray[np.float64], photo: Size) -> NDArray[np.float64]:
    """Below and above which 2.5 % of the matrices lie each, (2, entries)."""
    values = np.array([_numbers(motion(matrix, photo, photo), photo) for matrix in drawn])
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
