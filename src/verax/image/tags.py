"""Tag directories: the structure that TIFF files and EXIF blocks share.

A block has a header, then directories of entries; an entry holds its value or points at it.
Everything here is bounded by the block: a pointer that leads outside raises ValueError.
Source: TIFF 6.0 (1992), section 2; BigTIFF; EXIF 2.3 (CIPA DC-008).
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

# bytes per value, by field type
WIDTH = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
WIDTH |= {16: 8, 17: 8, 18: 8}
SHORT, LONG, UNDEFINED = 3, 4, 7
CODE = {1: "B", 3: "H", 4: "I", 5: "I", 13: "I", 16: "Q", 18: "Q"}  # unsigned types, read as ints

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
CHILDREN = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
X_DPI, Y_DPI, RESOLUTION_UNIT = 282, 283, 296
MOST_ENTRIES = 4096
MOST_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte order ("<" or ">"), BigTIFF or not, offset of the first directory."""

    order: str
    big: bool
    first: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag: its field type, number of values, where it and its value lie in the block."""

    kind: int
    count: int
    position: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The entries by tag, the offset of the next directory (0: none), and its own extent.

    `outside` are tags whose value would lie behind the end of the block; they are no entries.
    """

    entries: Mapping[int, Entry]
    following: int
    start: int
    end: int  # just behind the pointer to the next directory
    outside: tuple[int, ...] = ()


Block = bytes | bytearray

# What `serialise` writes: field type, count and raw value; or a directory of the same.
Tree = Mapping[int, "tuple[int, int, bytes] | Tree"]


def layout_of(block: Block) -> Layout:
    """Byte order and first directory; ValueError when the header is not one of TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 8:
        raise ValueError("no tag header")
    (version,) = struct.unpack_from(f"{order}H", block, 2)
    if version == 42:
        return Layout(order, False, struct.unpack_from(f"{order}I", block, 4)[0])
    if version == 43 and len(block) >= 16:
        return Layout(order, True, struct.unpack_from(f"{order}Q", block, 8)[0])
    raise ValueError(f"tag header of version {version}")


def directory(block: Block, offset: int, layout: Layout) -> Directory:
    """The directory at `offset`; entries whose value lies outside the block are left out."""
    head, body, tail = ("Q", "HHQQ", "Q") if layout.big else ("H", "HHII", "I")
    order, inline = layout.order, 8 if layout.big else 4
    if offset <= 0 or offset + struct.calcsize(order + head) > len(block):
        raise ValueError(f"tag directory at byte {offset} of {len(block)}")
    (count,) = struct.unpack_from(order + head, block, offset)
    first, step = offset + struct.calcsize(order + head), struct.calcsize(order + body)
    end = first + count * step
    if count > MOST_ENTRIES or end > len(block):
        raise ValueError(f"tag directory of {count} entries in {len(block)} bytes")
    entries, outside = {}, list[int]()
    for position in range(first, end, step):
        tag, kind, number, start = struct.unpack_from(order + body, block, position)
        size = WIDTH.get(kind, 1) * number
        if size <= inline:
            start = position + step - inline
        if start + size <= len(block):
            entries[tag] = Entry(kind, number, position, start, size)
        else:
            outside.append(tag)
    if sum(entry.size for entry in entries.values()) > len(block):
        raise ValueError(f"tag directory at byte {offset} claims more than the whole block")
    has_next = end + inline <= len(block)
    following = struct.unpack_from(order + tail, block, end)[0] if has_next else 0
    return Directory(entries, following, offset, end + inline if has_next else end, tuple(outside))


def numbers(block: Block, entry: Entry | None, layout: Layout) -> tuple[int, ...]:
    """An entry's unsigned whole numbers (a rational gives two each); () when it has none."""
    if entry is None or entry.kind not in CODE or entry.count > MOST_VALUES:
        return ()
    code = CODE[entry.kind]
    count = entry.size // struct.calcsize(f"={code}")
    return struct.unpack_from(f"{layout.order}{count}{code}", block, entry.start)


def tree(block: Block, offset: int, layout: Layout, *, only: Collection[int] | None = None) -> Tree:
    """The tags at `offset` as values, their EXIF, GPS and interoperability children as trees.

    `only` names the tags wanted at the top. Types that only BigTIFF knows are left out.
    """
    return _tree(block, offset, layout, only, depth=0)


def _tree(
    block: Block, offset: int, layout: Layout, only: Collection[int] | None, depth: int
) -> Tree:
    found: dict[int, tuple[int, int, bytes] | Tree] = {}
    for tag, entry in directory(block, offset, layout).entries.items():
        if only is not None and tag not in only:
            continue
        if tag in CHILDREN:
            child = numbers(block, entry, layout)
            if child and depth < 2:
                found[tag] = _tree(block, child[0], layout, None, depth + 1)
        elif entry.kind in WIDTH and entry.kind <= 13:
            value = bytes(block[entry.start : entry.start + entry.size])
            found[tag] = (entry.kind, entry.count, value)
    return found


def serialise(tags: Tree, *, order: str, base: int, following: int = 0) -> bytes:
    """A classic directory with all it points at, to be placed at offset `base` (even)."""
    end = base + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, Mapping):
            kind, count = LONG, 1
            child = serialise(value, order=order, base=end + len(values))
            field = struct.pack(f"{order}I", end + len(values))
            values += child
        else:
            kind, count, raw = value
            field = raw.ljust(4, b"\0")
            if len(raw) > 4:
                field = struct.pack(f"{order}I", end + len(values))
                values += raw
        values += b"\0" * (len(values) % 2)  # values begin on even offsets
        entries += struct.pack(f"{order}HHI", tag, kind, count) + field
    head = struct.pack(f"{order}H", len(tags))
    return head + entries + struct.pack(f"{order}I", following) + values


def block_of(tags: Tree, *, order: str) -> bytes:
    """A whole block (header and directory) of these tags."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HI", 42, 8) + serialise(tags, order=order, base=8)


def dpi(block: Block, held: Directory, layout: Layout) -> tuple[float, float] | None:
    """Dots per inch, horizontal and vertical, that a directory states; None without."""
    entries = held.entries
    (unit, *_) = numbers(block, entries.get(RESOLUTION_UNIT), layout) or (2,)
    across, down = (numbers(block, entries.get(tag), layout) for tag in (X_DPI, Y_DPI))
    factor = {2: 1.0, 3: 2.54}.get(unit)
    if factor is None or len(across) != 2 or len(down) != 2 or not (across[1] and down[1]):
        return None
    return across[0] / across[1] * factor, down[0] / down[1] * factor
