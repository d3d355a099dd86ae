"""PNG: chunks are read and pixels decompressed here; libpng undoes filters and pixel layouts.

libpng prints warnings about irregular files, so it gets a new file with the necessary chunks and a
pixel stream of exactly the right length, never interlaced. The stream is decompressed only up to
that length, so a decompression bomb does no harm. Source: PNG specification, third edition (W3C,
2025).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError
from verax.image.colour import check_full_range
from verax.image.contract import Metadata, Raw, check_frames, check_pixels, planes
from verax.image.segments import chunk, first, metadata_chunks, metadata_fields

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}
# (first column, first row, column step, row step) of each pass of Adam7 interlacing
WHOLE = ((0, 0, 1, 1),)
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


@dataclass(frozen=True, slots=True)
class PngHeader:
    width: int
    height: int
    depth: int
    kind: int
    interlaced: int

    def passes(self) -> Iterator[tuple[tuple[int, int, int, int], int, int, int]]:
        """Yield each interlacing pass that has pixels; one pass if the PNG is not interlaced.

        A pass is (first column, first row, column step, row step), number of columns, number of
        rows, and number of bytes in the decompressed pixel stream.
        """
        for steps in PASSES if self.interlaced else WHOLE:
            left, top, across, down = steps
            columns, rows = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if columns > 0 and rows > 0:
                row = 1 + (columns * self.depth * CHANNELS[self.kind] + 7) // 8  # 1: its filter
                yield steps, columns, rows, rows * row


def read_png(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a PNG file to 8-bit samples, or to 16-bit samples if its depth is 16."""
    parts: dict[bytes, list[bytes]] = {}
    for kind, body in _chunks(data):
        parts.setdefault(kind, []).append(body)
    header = _header(parts.get(b"IHDR", [b""])[0])
    check_pixels(header.width, header.height, most=max_pixels)
    if b"acTL" in parts and len(parts[b"acTL"][0]) == 8:
        check_frames(struct.unpack(">I", parts[b"acTL"][0][:4])[0])
    coded = first(parts, b"cICP") or b""
    coded = coded if len(coded) == 4 else b""
    check_full_range(coded)
    samples = _samples(header, parts)
    grey = header.kind in (GREY, GREY_ALPHA)
    return Raw(
        samples,
        top=65535 if header.depth == 16 else 255,
        model="grey" if grey else "rgb",
        bit_depth=16 if header.depth == 16 else 8,
        primaries=coded[0] if coded else 0,
        transfer=coded[1] if coded else 0,
        **metadata_fields(parts),
    )


def salvage_png(data: bytes, *, max_pixels: int) -> tuple[Raw, int]:
    """Decode the intact rows of a truncated PNG; all samples of the other rows are 0.

    Also returns the index of the first missing row, or the height if no row is missing. Raises
    ImageReadError for an interlaced PNG, because in it every row misses pixels.
    """
    parts: dict[bytes, list[bytes]] = {}
    for kind, body in _chunks(data, cut=True):
        parts.setdefault(kind, []).append(body)
    header = _header(parts.get(b"IHDR", [b""])[0])
    check_pixels(header.width, header.height, most=max_pixels)
    if header.interlaced:
        raise ImageReadError(
            "expected a PNG that is not interlaced, to read its intact rows, got an interlaced one "
            "that is cut short; get another copy"
        )
    ((_, _, rows, size),) = header.passes()
    stream = _inflate(parts, size)
    complete_rows = len(stream) * rows // size
    whole = zlib.compress(stream.ljust(size, b"\0"))
    chunks = [(kind, some[0]) for kind, some in parts.items() if kind not in (b"IDAT", b"IEND")]
    body = b"".join(chunk(kind, one) for kind, one in chunks)
    complete = SIGNATURE + body + chunk(b"IDAT", whole) + chunk(b"IEND", b"")
    return read_png(complete, max_pixels=max_pixels), complete_rows


def _inflate(parts: dict[bytes, list[bytes]], most: int) -> bytes:
    """Decompress the pixel stream of a PNG as far as it is intact, to at most `most` bytes.

    `parts`: the bodies of the chunks by type.
    """
    inflate, stream = zlib.decompressobj(), b""
    for body in parts.get(b"IDAT", []):
        try:
            stream += inflate.decompress(body, most - len(stream)) if len(stream) < most else b""
        except zlib.error:
            break
    return stream


def _chunks(data: bytes, *, cut: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each chunk of the PNG file `data`.

    `cut`: accept a file that ends within a chunk or before the last chunk (IEND).
    """
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + size]
        position += 12 + size
        if position > len(data):
            break
        yield kind, body
        if kind == b"IEND":
            return
    if not cut:
        raise ImageReadError(
            f"expected a complete PNG file, got one cut short after {len(data)} bytes; "
            "get another copy, or read the intact part with --salvage"
        )
    if position > len(data):
        yield kind, body


def _header(body: bytes) -> PngHeader:
    if len(body) == 13:
        width, height, depth, kind, *methods = struct.unpack(">IIBBBBB", body)
        known = depth in DEPTHS.get(kind, (8, 16)) and kind in CHANNELS
        if known and methods[:2] == [0, 0] and methods[2] in (0, 1):
            return PngHeader(width, height, depth, kind, methods[2])
    raise ImageReadError("expected a valid PNG header, got a damaged one; get another copy")


def _samples(header: PngHeader, parts: dict[bytes, list[bytes]]) -> NDArray[Any]:
    """Decode a PNG to levels (H, W, C); `parts` are the bodies of its chunks by type.

    Each pass of an interlaced PNG is decoded as a separate picture.
    """
    stream, around = _stream(header, parts), _around(header, parts)
    decoded, start = [], 0
    for steps, columns, rows, size in header.passes():
        ihdr = struct.pack(">IIBBBBB", columns, rows, header.depth, header.kind, 0, 0, 0)
        idat = zlib.compress(stream[start : start + size], 0)
        chunks = [(b"IHDR", ihdr), *around, (b"IDAT", idat), (b"IEND", b"")]
        file = SIGNATURE + b"".join(chunk(kind, body) for kind, body in chunks)
        decoded.append((steps, planes(imagecodecs.png_decode(file))))
        start += size
    first = decoded[0][1]
    if not header.interlaced:
        return first
    samples = np.empty((header.height, header.width, first.shape[2]), first.dtype)
    for (left, top, across, down), part in decoded:
        samples[top::down, left::across] = part
    return samples


def _stream(header: PngHeader, parts: dict[bytes, list[bytes]]) -> bytes:
    """The decompressed pixel stream of a PNG. Raises ImageReadError if it is too short.

    `parts`: the bodies of the chunks by type.
    """
    length = sum(size for *_, size in header.passes())
    stream = zlib.decompressobj().decompress(b"".join(parts.get(b"IDAT", [])), length)
    if len(stream) < length:
        raise ImageReadError(
            f"expected {length} bytes of pixels, got {len(stream)}; the file is damaged or cut "
            "short: get another copy, or read the intact part with --salvage"
        )
    return stream


def _around(header: PngHeader, parts: dict[bytes, list[bytes]]) -> list[tuple[bytes, bytes]]:
    """The palette and transparency chunks (type, body), repaired so that libpng does not warn.

    `parts`: the bodies of all chunks of the PNG by type.
    """
    chunks = []
    if header.kind == PALETTE:
        chunks.append((b"PLTE", _palette(header, parts)))
    if transparent := _transparency(header, parts):
        chunks.append((b"tRNS", transparent))
    return chunks


def _palette(header: PngHeader, parts: dict[bytes, list[bytes]]) -> bytes:
    """The palette as RGB bytes, with black for indices that it lacks but the bit depth allows.

    `parts`: the bodies of the chunks by type. Raises ImageReadError if the palette is damaged.
    """
    palette = first(parts, b"PLTE") or b""
    if not palette or len(palette) % 3:
        raise ImageReadError(
            "expected a PNG with a valid palette, got a damaged palette; get another copy"
        )
    size = 3 * 2**header.depth
    return palette[:size].ljust(size, b"\0")


def _transparency(header: PngHeader, parts: dict[bytes, list[bytes]]) -> bytes | None:
    body = first(parts, b"tRNS")
    if body is None:
        return None
    if header.kind == PALETTE:
        return body[: 2**header.depth] or None
    fits = len(body) == {GREY: 2, RGB: 6}.get(header.kind)
    return body if fits else None


def write_png(
    samples: "np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]", metadata: Metadata
) -> bytes:
    """The bytes of a PNG file of (H, W, C) 8- or 16-bit levels, C = 1..4, with metadata."""
    # level, strategy and filter of OpenCV: ten times the speed of zlib's default on photos
    plain = imagecodecs.png_encode(
        samples.squeeze(2) if samples.shape[2] == 1 else samples, 1, strategy=3, filter=16
    )
    end = len(SIGNATURE) + 25  # behind IHDR
    return bytes(plain[:end]) + b"".join(metadata_chunks(metadata)) + bytes(plain[end:])
