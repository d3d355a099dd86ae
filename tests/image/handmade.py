"""PNG files put together by hand, for what no encoder at hand writes."""

import struct
import zlib


def chunk(kind, body):
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced(levels, palette=None):
    """An Adam7 file written by the book: seven reduced pictures, no row filter."""
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    steps += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    stream = b""
    for left, top, across, down in steps:
        part = levels[top::down, left::across]
        for row in part if part.size else []:
            stream += b"\0" + row.astype(levels.dtype.newbyteorder(">")).tobytes()
    kind = 3 if palette is not None else {1: 0, 2: 4, 3: 2, 4: 6}[levels.shape[2]]
    depth = 8 * levels.dtype.itemsize
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], depth, kind, 0, 0, 1)
    table = chunk(b"PLTE", palette.tobytes()) if palette is not None else b""
    body = chunk(b"IHDR", header) + table + chunk(b"IDAT", zlib.compress(stream))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
