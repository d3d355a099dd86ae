"""IPTC IIM, the older form of captions, keywords and credits, and the Photoshop block around it.

Sources: IIM 4.2 (IPTC-NAA, 2014); Adobe Photoshop file formats, image resources.
"""

import struct
from collections.abc import Callable, Iterator

PHOTOSHOP = b"Photoshop 3.0\0"
RESOURCE = b"8BIM"
IIM, DIGEST = 0x0404, 0x0425
# Resources about the old file: resolution, thumbnails, digest, version, print and view settings
LAYOUT = {0x03ED, 0x0409, 0x040C, DIGEST, 0x0421, 0x0406, 0x03F3, 0x03F5, 0x2710, 0x0408, 0x03F8}
LAYOUT |= {0x040D, 0x0419, 0x0411, 0x0414, 0x041A, 0x041E, 0x0428, 0x0426, 0x0424, 0x0422, 0x0423}
ORIENTATION, PREVIEW = (2, 131), {(2, 200), (2, 201), (2, 202)}
PLACES = {(2, 26), (2, 27), (2, 90), (2, 92), (2, 95), (2, 100), (2, 101)}

Record = tuple[int, int, bytes]  # record number, data set number, value


def in_photoshop(block: bytes) -> tuple[bytes | None, bool]:
    """The IIM inside Photoshop resources; and whether there are others worth a word."""
    found, others = None, False
    for number, body in _resources(block):
        if number == IIM:
            found = found or body
        elif number not in LAYOUT:
            others = True
    return found, others


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while block[position : position + 4] == RESOURCE and position + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, position + 4)
        start = position + 6 + (block[position + 6] + 2 & ~1)  # a name of even length
        if start + 4 > len(block):
            return
        (size,) = struct.unpack_from(">I", block, start)
        yield number, block[start + 4 : start + 4 + size]
        position = start + 4 + (size + 1 & ~1)


def photoshop(iim: bytes) -> bytes:
    """IIM as the one resource of a Photoshop block, without the name of the block."""
    head = RESOURCE + struct.pack(">HHI", IIM, 0, len(iim))
    return head + iim + b"\0" * (len(iim) % 2)


def records(iim: bytes) -> list[Record]:
    """The data sets in order; ValueError for a block that is not IIM to its end."""
    found, position = [], 0
    while position < len(iim) and iim[position : position + 1] == b"\x1c":
        if position + 5 > len(iim):
            raise ValueError("a data set of IPTC is cut short")
        record, number, size = struct.unpack_from(">BBH", iim, position + 1)
        position += 5
        if size & 0x8000:  # the length of the length
            extended = size & 0x7FFF
            size = int.from_bytes(iim[position : position + extended])
            position += extended
        if position + size > len(iim):
            raise ValueError("a data set of IPTC is longer than its block")
        found.append((record, number, iim[position : position + size]))
        position += size
    if iim[position:].strip(b"\0"):
        raise ValueError("a block that is not IPTC")
    return found


def block_of(sets: list[Record]) -> bytes:
    """The data sets as a block."""
    block = b""
    for record, number, body in sets:
        size = (
            struct.pack(">H", len(body))
            if len(body) < 0x8000
            else struct.pack(">HI", 0x8004, len(body))
        )
        block += struct.pack(">BBB", 0x1C, record, number) + size + body
    return block


def upright(iim: bytes, turn: int) -> bytes | None:
    """The block without previews, its orientation told of the turn; None for what is no IIM."""
    try:
        sets = records(iim)
    except (ValueError, struct.error):
        return None
    sides = {b"P": b"L", b"L": b"P"} if turn >= 5 else {}
    kept = [
        (record, number, sides.get(body, body) if (record, number) == ORIENTATION else body)
        for record, number, body in sets
        if (record, number) not in PREVIEW
    ]
    return block_of(kept) or None


def without_places(iim: bytes, is_a_place: Callable[[str], bool]) -> tuple[bytes | None, list[str]]:
    """The block without places, and what they said; `is_a_place` judges a text."""
    kept: list[Record] = []
    gone: list[str] = []
    for record, number, body in records(iim):
        text = body.decode("utf-8", "replace")
        if (record, number) in PLACES or is_a_place(text):
            gone.append(text)
        else:
            kept.append((record, number, body))
    return block_of(kept) or None, gone
