"""Tiles of one size with overlap, and the padding that a network's size rule asks for."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE = 576  # px, at most
OVERLAP = 32  # px cut from each inner side of a tile
GRID = 16  # px: a network reads its input in blocks, tiles must not shift them


def tiles(
    height: int, width: int, *, tile: int = TILE, overlap: int = OVERLAP
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """(what is read, what is kept) per tile; the kept parts cover the picture exactly once."""
    for top in _spans(height, tile, overlap):
        for left in _spans(width, tile, overlap):
            yield (top[0], left[0]), (top[1], left[1])


def _spans(length: int, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """Spans of about one length, at most `tile` px, all starting on the networks' grid."""
    if length <= tile:
        return [(slice(0, length), slice(0, length))]
    count = math.ceil((length - 2 * overlap) / (tile - 2 * overlap))
    tile = _on_grid(math.ceil((length + 2 * overlap * (count - 1)) / count))
    last = _on_grid(length - tile)
    starts = [min(k * (tile - 2 * overlap), last) for k in range(count)]
    edges = [0, *(start + overlap for start in starts[1:]), length]
    return [
        (slice(start, min(start + tile, length)), slice(edges[k], edges[k + 1]))
        for k, start in enumerate(starts)
    ]


def _on_grid(length: int) -> int:
    """The next multiple of GRID."""
    return -(-length // GRID) * GRID


def kept(outer: tuple[slice, slice], inner: tuple[slice, slice]) -> tuple[slice, ...]:
    """Where in a tile that was read the part lies that is kept."""
    pairs = zip(inner, outer, strict=True)
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in pairs)


def padded(inputs: Floats, multiple: int) -> Floats:
    """(1, C, H, W), mirrored at the right and bottom up to the size rule."""
    height, width = inputs.shape[1:]
    rows, columns = (_mirrored(length, multiple) for length in (height, width))
    return np.ascontiguousarray(inputs[None, :, rows][..., columns])


def _mirrored(length: int, multiple: int) -> NDArray[np.intp]:
    """Indices 0..length-1, and back again until the size rule is met."""
    there = np.arange(length)
    there_and_back = np.concatenate([there, there[::-1]])
    return np.resize(there_and_back, length + -length % multiple).astype(np.intp)


def centre(length: int, side: int) -> slice:
    start = max(0, (length - side) // 2)
    return slice(start, min(length, start + side))
