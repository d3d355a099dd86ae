"""Scratches: thin lines of one tone in the photo that its prior does not show."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Plane

Mask = NDArray[np.bool_]

WORK = 1100  # px, long side at most while lines are looked for
TURNS = 12  # directions
REACH = 12  # px, half the length of a filter
WIDTH = 1.3  # px, of a line: Gaussian deviation across
NEAR, FAR = 3.5, 7.0  # px, where its sides are looked at
FAINT, CLEAR = 0.035, 0.07  # answer that belongs to a line, and that starts one
CREST = 0.7  # share of the best answer nearby from which a place is on the line
SHOWN = 1.5  # times the prior's own answer nearby that a line has to pass
SHIFT = 4  # px, how far off the prior may show it
LONG = 0.05  # least length, share of the long side
WIDE = 4.5  # px of a crest per px of its length, at most


def line_spots(y: Plane, p: Plane, known: Mask, ease: float = 1.0) -> list[Mask]:
    """(H, W) masks of lines in luma `y` that `p` lacks; `ease` below 1 takes fainter ones."""
    scale = min(1.0, WORK / max(y.shape))
    size = (round(y.shape[1] * scale), round(y.shape[0] * scale))
    small = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (y, p)]
    seen = cv2.resize(known.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    found = []
    for answer in answers(*small):
        for own in long_spots(answer * seen, ease):
            wide = cv2.resize(own.astype(np.uint8), y.shape[::-1], interpolation=cv2.INTER_NEAREST)
            found.append(wide > 0)
    return found


def answers(y: Plane, p: Plane) -> tuple[Plane, Plane]:
    """What bright and dark lines of the photo answer beyond the prior, the best of all turns."""
    around = np.ones((2 * SHIFT + 1,) * 2, np.uint8)

    def beyond(turn: int) -> list[Plane]:
        filters = line_filters(np.pi * turn / TURNS)
        own, shown = (ridges(plane, filters) for plane in (y, p))
        return [
            np.asarray(mine - SHOWN * cv2.dilate(others, around), np.float32)
            for mine, others in zip(own, shown, strict=True)
        ]

    bright, dark = np.zeros_like(y), np.zeros_like(y)
    with ThreadPoolExecutor(2) as pool:
        for one, two in pool.map(beyond, range(TURNS)):
            np.maximum(bright, one, out=bright)
            np.maximum(dark, two, out=dark)
    return bright, dark


def ridges(plane: Plane, filters: tuple[Plane, Plane]) -> tuple[Plane, Plane]:
    """How far a line stands above both its sides, and how far below both."""
    left, right = (cv2.filter2D(plane, -1, kernel) for kernel in filters)
    return np.maximum(np.minimum(left, right), 0), np.maximum(-np.maximum(left, right), 0)


def line_filters(angle: float) -> tuple[Plane, Plane]:
    """A ridge less its left side, and less its right side; each answers a line with its step."""
    side = np.arange(-REACH, REACH + 1, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = -np.sin(angle) * x + np.cos(angle) * y
    window = np.clip(REACH + 0.5 - np.hypot(along, across), 0, 1)
    centre = np.exp(-((across / WIDTH) ** 2) / 2) * window
    flanks = [window * ((sign * across > NEAR) & (sign * across < FAR)) for sign in (1, -1)]
    left, right = (
        np.asarray(centre / centre.sum() - flank / flank.sum(), np.float32) for flank in flanks
    )
    return left, right


def long_spots(answer: Plane, ease: float) -> list[Mask]:
    """Crests of an answer that are long and slender."""
    crest = (answer > ease * FAINT) & (
        answer > CREST * cv2.dilate(answer, np.ones((7, 7), np.uint8))
    )
    count, labels, stats, _ = cv2.connectedComponentsWithStats(crest.astype(np.uint8))
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels.ravel(), answer.ravel())
    found = []
    for index in np.flatnonzero(peaks[1:] > ease * CLEAR) + 1:
        _, _, width, height, area = (int(value) for value in stats[index])
        length = float(np.hypot(width, height))
        if length >= ease * LONG * max(answer.shape) and area <= WIDE * length:
            found.append(labels == index)
    return found
