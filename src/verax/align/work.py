"""One pair: register the edit onto the photo, crop both to what both show, write, say why."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax import image as images
from verax.align.tables import Pair
from verax.errors import InputError
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import Image, Plane

SEEN = 0.999  # share of a pixel that the edit must show
MASK_PX = 256  # long side of the mask in which the rectangle is sought
PER_FOLDER = 1000
Box = tuple[int, int, int, int]  # left, top, right, bottom in px, right and bottom exclusive


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every pair.

    Attributes:
        size: long side in px to which larger pictures are reduced first; 0 keeps them.
        min_share: of the photo that the crop must hold, else the pair is not written.
        roughly: write pairs that lie only roughly on each other, too.
        suffix: of the written files.
    """

    size: int = 0
    min_share: float = 0.25
    roughly: bool = False
    suffix: str = ".png"


def align(pair: Pair, *, folder: Path, options: Options) -> dict[str, Any]:
    """The pair's row, its pictures written. What goes wrong with one pair is said in its row."""
    cv2.setNumThreads(1)  # workers share the cores between pairs
    row: dict[str, Any] = {
        "index": pair.index,
        "name": pair.name,
        "photo": str(pair.photo),
        "edited": str(pair.edited),
    }
    try:
        photo, edited = (
            _opened(side.read(), str(side), options.size) for side in (pair.photo, pair.edited)
        )
        return row | _aligned(pair, photo, edited, folder, options)
    except InputError as exc:
        return row | {"verdict": "unreadable", "reason": str(exc)}


def _opened(data: bytes, name: str, size: int) -> Image:
    pixels = images.decode(data, name=name).pixels
    images.check_size(pixels, name=name)
    height, width = pixels.shape[:2]
    scale = size / max(height, width) if size else 1.0
    if scale >= 1.0:
        return pixels
    small = max(16, round(width * scale)), max(16, round(height * scale))
    reduced = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(reduced, 0, 1), np.float32)


def _aligned(
    pair: Pair, photo: Image, edited: Image, folder: Path, options: Options
) -> dict[str, Any]:
    found = register(photo, edited)
    facts = {"verdict": found.placed, "reason": found.reason, **figures(found)}
    if found.placed != "exactly" and not (found.placed == "roughly" and options.roughly):
        return facts
    warped: Warped = apply(found, edited, size=(photo.shape[1], photo.shape[0]))
    left, top, right, bottom = box = seen_box(warped.valid)
    share = (right - left) * (bottom - top) / warped.valid.size
    if share < options.min_share or min(right - left, bottom - top) < images.MIN_SIDE:
        return facts | {
            "verdict": "too_small",
            "reason": f"photo and edit share a rectangle of {share:.0%} of the photo, "
            f"want {options.min_share:.0%}",
        }
    place = f"{pair.index // PER_FOLDER:05d}"
    (folder / place).mkdir(parents=True, exist_ok=True)
    files = {}
    for side, pixels in (("photo", photo), ("edited", warped.pixels)):
        files[f"{side}_file"] = f"{place}/{pair.index:08d}.{side}{options.suffix}"
        crop = np.ascontiguousarray(pixels[top:bottom, left:right])
        images.write(folder / files[f"{side}_file"], crop)
    width, height = right - left, bottom - top
    return facts | files | {"box": json.dumps(box), "width": width, "height": height}


def figures(found: Registration) -> dict[str, Any]:
    """What a registration says, rounded, so that every machine writes the same row."""
    return {
        "score": round(found.score, 4),
        "p_value": float(f"{found.p_value:.3g}"),
        "coverage": round(found.coverage, 4),
        "confidence": round(float(found.confidence.mean()), 4),
        "canvas": found.canvas,
        "matrix": json.dumps([[round(float(v), 6) for v in row] for row in found.matrix]),
    }


def seen_box(valid: Plane) -> Box:
    """The largest upright rectangle that the edit shows whole.

    Sought in a reduced mask, of which a cell counts only where all of its pixels are seen.
    """
    height, width = valid.shape
    step = -(-max(height, width) // MASK_PX)
    rows, columns = -(-height // step), -(-width // step)
    spare = ((0, rows * step - height), (0, columns * step - width))
    whole = np.pad(valid >= SEEN, spare, constant_values=True)
    mask = whole.reshape(rows, step, columns, step).min(axis=(1, 3))
    left, top, right, bottom = _largest_rectangle(mask.astype(bool))
    return left * step, top * step, min(right * step, width), min(bottom * step, height)


def _largest_rectangle(mask: NDArray[np.bool_]) -> Box:
    """By the histogram of heights above every row, with a stack: each cell is seen twice."""
    best: Box = (0, 0, 0, 0)
    area = 0
    heights = [0] * mask.shape[1]
    for row in range(mask.shape[0]):
        heights = [
            h + 1 if seen else 0 for h, seen in zip(heights, mask[row].tolist(), strict=True)
        ]
        stack: list[tuple[int, int]] = []  # (first column, height)
        for column, height in enumerate([*heights, 0]):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if tall * (column - start) > area:
                    area = tall * (column - start)
                    best = (start, row + 1 - tall, column, row + 1)
            stack.append((start, height))
    return best
