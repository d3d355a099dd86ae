"""Pictures for the report on a deviation: overlay, motion field, edges and boxes of objects.

All are (H, W, 3) float32 in [0, 1], enlarged so that lines and letters can be read.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.blocks import Blocks
from verax.deviation.compare import AlignedPair, Map
from verax.deviation.record import ObjectChange, ObjectKind
from verax.deviation.structure import unsupported_edges
from verax.image import Image, from_uint8, to_uint8
from verax.image.pixels import luma

Levels = NDArray[np.uint8]  # drawing works on 8 bits
Colour = tuple[int, int, int]

RED, BLUE = (230, 25, 30), (15, 80, 240)
COLOURS: dict[ObjectKind, Colour] = {
    "appeared": RED,
    "vanished": BLUE,
    "moved": (240, 190, 0),
    "replaced": (190, 30, 215),
}
NOT_SHOWN = 0.85  # grey of places that the generated picture does not cover
ARROW_SHARE = 0.06  # length of the arrow at the 95th percentile of motion, share of the long side
FONT = cv2.FONT_HERSHEY_SIMPLEX
LETTERS = 0.45  # size of the font
LINE_PX, CAPTION_MARGIN_PX = 18, 6
LEGIBLE_PX = 560  # smaller pictures are enlarged, so that lines and letters can be read


def overlay(pair: AlignedPair) -> Image:
    """The photo in the red channel, the registered prior in green and blue; grey where they agree.

    Contrast is stretched in both. Green and blue are 0 where the prior does not cover the photo.
    """
    photo, prior = (_stretch(plane, pair.overlap) for plane in pair.luma)
    visible = np.where(pair.overlap, prior, 0)
    return from_uint8(_enlarge(to_uint8(np.dstack([photo, visible, visible])))[0])


def motion_field(pair: AlignedPair, blocks: Blocks) -> Image:
    """The photo in faint grey, with an enlarged arrow for the displacement of each block (square
    part of the photo) in the generated picture."""
    picture, scale = _faint(pair)
    points, moved = (places * pair.scale * scale for places in (blocks.points, blocks.moved))
    length = np.linalg.norm(moved, axis=1)
    longest = max(float(np.quantile(length, 0.95)), 0.25) if len(length) else 1.0
    factor = ARROW_SHARE * max(picture.shape) / longest
    for start, step in zip(points, moved, strict=True):
        end = start + factor * step
        cv2.arrowedLine(picture, _px(start), _px(end), RED, 1, cv2.LINE_AA, tipLength=0.3)
    text = (
        f"{len(points)} of {blocks.total} blocks of the photo found; "
        f"arrows are {factor:.1f} times as long as the motion"
    )
    return _add_caption(picture, text)


def edge_picture(pair: AlignedPair) -> Image:
    """The photo in faint grey; edges only in the prior in red, edges only in the photo in blue."""
    picture, scale = _faint(pair)
    for edges, colour in zip(reversed(unsupported_edges(pair)), (BLUE, RED), strict=True):
        thick = cv2.dilate(edges.astype(np.uint8), np.ones((2, 2), np.uint8))
        large = cv2.resize(thick, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        picture[large > 0] = colour
    return _add_caption(picture, "red: edges that the generator added, blue: edges that it lost")


def object_picture(pair: AlignedPair, objects: tuple[ObjectChange, ...]) -> Image:
    """Photo and registered prior side by side, with a box around every changed object.

    The box of a moved object is at its old place in the photo and at its new place in the prior.
    `objects` are in px of the full photo.
    """
    sides = []
    visible = np.where(pair.overlap[..., None], pair.prior, NOT_SHOWN).astype(np.float32)
    for image, after in ((pair.photo, False), (visible, True)):
        side, scale = _enlarge(to_uint8(image))
        for change in objects:
            dx, dy = change.shift_px if after and change.shift_px else (0.0, 0.0)
            placed = (edge + d for edge, d in zip(change.box, (dx, dy, dx, dy), strict=True))
            left, top, right, bottom = (round(v * pair.scale * scale) for v in placed)
            colour = COLOURS[change.kind]
            _draw_label(side, change.kind, (left, top, right, bottom), colour)
        sides.append(side)
    gap = np.full((sides[0].shape[0], 6, 3), 255, np.uint8)
    return _add_caption(
        np.hstack([sides[0], gap, sides[1]]), "left: photo, right: generated picture, registered"
    )


def _stretch(plane: Map, overlap: NDArray[np.bool_]) -> Map:
    """The luma plane with contrast stretched to [0, 1]: its 2 % and 98 % quantiles in the mask
    `overlap` become 0 and 1."""
    low, high = np.quantile(plane[overlap], (0.02, 0.98)) if overlap.any() else (0.0, 1.0)
    return np.asarray(np.clip((plane - low) / max(float(high - low), 1e-3), 0, 1), np.float32)


def _enlarge(levels: Levels) -> tuple[Levels, int]:
    scale = -(-LEGIBLE_PX // max(levels.shape))
    large = cv2.resize(levels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(large, np.uint8), scale


def _faint(pair: AlignedPair) -> tuple[Levels, int]:
    """The photo in light grey, as background, and the integer factor by which it was enlarged."""
    grey = 0.35 + 0.6 * _stretch(luma(pair.photo), pair.overlap)
    return _enlarge(to_uint8(np.dstack([grey] * 3)))


def _px(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _add_caption(picture: Levels, text: str) -> Image:
    """The picture (8 bits) with the text as a caption below, in lines that fit its width."""
    lines = _wrap(text, picture.shape[1] - 2 * CAPTION_MARGIN_PX)
    strip = np.full((LINE_PX * len(lines) + 6, picture.shape[1], 3), 255, np.uint8)
    for row, line in enumerate(lines):
        place = (CAPTION_MARGIN_PX, LINE_PX * (row + 1) - 2)
        cv2.putText(strip, line, place, FONT, LETTERS, (0, 0, 0), 1, cv2.LINE_AA)
    return from_uint8(np.vstack([picture, strip]))


def _wrap(text: str, width: int) -> list[str]:
    """The text split into lines of at most `width` px, at spaces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, FONT, LETTERS, 1)[0][0])


def _draw_label(picture: Levels, text: str, box: tuple[int, int, int, int], colour: Colour) -> None:
    """Draw a box (left, top, right, bottom) in px into the picture, and the text beside it on a
    patch of the same colour."""
    left, top, right, bottom = box
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)
    width, height = _text_width(text) + 6, LINE_PX
    x = max(0, min(left, picture.shape[1] - width))
    y = top - height if top >= height else min(bottom, picture.shape[0] - height)
    cv2.rectangle(picture, (x, y), (x + width, y + height), colour, -1)
    cv2.putText(picture, text, (x + 3, y + 13), FONT, LETTERS, (255, 255, 255), 1, cv2.LINE_AA)
