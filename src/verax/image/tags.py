"""Parsing and writing of TIFF and EXIF tags, and of IPTC with the Photoshop block around it.

A block (a TIFF file or an EXIF block) has a header, then directories of entries. An entry holds its
value or the value's offset. Offsets outside the block are never followed.
Source: TIFF 6.0 (1992), section 2; BigTIFF; EXIF 2.3 (CIPA DC-008).

IPTC IIM is the older form of captions, keywords and credits. Sources: IIM 4.2 (IPTC-NAA, 2014);
Adobe Photoshop file formats, image resources."""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

# bytes per value, by field type
WIDTH = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
WIDTH |= {16: 8, 17: 8, 18: 8}
SHORT, LONG = 3, 4
CODE = {1: "B", 3: "H", 4: "I", 5: "I", 13: "I", 16: "Q", 18: "Q"}  # struct code of unsigned types

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
CHILDREN = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
X_DPI, Y_DPI, RESOLUTION_UNIT = 282, 283, 296
# tags for the picture's width and height in the main, EXIF and interoperability directories
WIDTHS, HEIGHTS = (0x0100, 0xA002, 0x1001), (0x0101, 0xA003, 0x1002)
MOST_ENTRIES = 4096
MOST_VALUES = 1 << 20
PHOTOSHOP = b"Photoshop 3.0\0"
RESOURCE = b"8BIM"
IIM, DIGEST = 0x0404, 0x0425
# Resources about the old file: resolution, thumbnails, digest, version, print and view settings
OLD_FILE = {0x03ED, 0x0409, 0x040C, DIGEST, 0x0421, 0x0406, 0x03F3, 0x03F5, 0x2710, 0x0408}
OLD_FILE |= {0x03F8, 0x040D, 0x0419, 0x0411, 0x0414, 0x041A, 0x041E, 0x0428, 0x0426, 0x0424}
OLD_FILE |= {0x0422, 0x0423}
ORIENTATION, PREVIEW = (2, 131), {(2, 200), (2, 201), (2, 202)}
PLACES = {(2, 26), (2, 27), (2, 90), (2, 92), (2, 95), (2, 100), (2, 101)}

Record = tuple[int, int, bytes]  # record number, data set number, value


@dataclass(frozen=True, slots=True)
class TagLayout:
    """The TIFF header: byte order ("<" or ">"), whether BigTIFF, offset of the first directory."""

    order: str
    big: bool
    first: int


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A TIFF tag: code of its type, number of values, own offset, offset and size of the values."""

    kind: int
    count: int
    position: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory: entries by tag, offset of the next directory (0: none), own start and end.
    `outside` are tags without an entry, as their value would lie behind the end of the block."""

    entries: Mapping[int, TagEntry]
    following: int
    start: int
    end: int  # just behind the pointer to the next directory
    outside: tuple[int, ...] = ()


Block = bytes | bytearray

# by tag: (field type, count, raw value), or a tree for a child directory
Tree = Mapping[int, "tuple[int, int, bytes] | Tree"]


def layout_of(block: Block) -> TagLayout:
    """Read the header of a TIFF file or EXIF block. Raises ValueError if it has none."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 8:
        raise ValueError("expected a TIFF header (II or MM), got other data; get another copy")
    (version,) = struct.unpack_from(f"{order}H", block, 2)
    if version == 42:
        return TagLayout(order, False, struct.unpack_from(f"{order}I", block, 4)[0])
    if version == 43 and len(block) >= 16:
        return TagLayout(order, True, struct.unpack_from(f"{order}Q", block, 8)[0])
    raise ValueError(f"expected TIFF version 42 or 43, got {version}; get another copy")


def directory(block: Block, offset: int, layout: TagLayout) -> Directory:
    """Read the directory of tags at `offset` of a TIFF file or EXIF block with the header `layout`.
    Raises ValueError if it lies outside the block or is too large."""
    head, body, tail = ("Q", "HHQQ", "Q") if layout.big else ("H", "HHII", "I")
    order, inline = layout.order, 8 if layout.big else 4
    if offset <= 0 or offset + struct.calcsize(order + head) > len(block):
        where = f"in {len(block)} bytes of data, got position {offset}; get another copy"
        raise ValueError(f"expected a position of TIFF or EXIF tags {where}")
    (count,) = struct.unpack_from(order + head, block, offset)
    first, step = offset + struct.calcsize(order + head), struct.calcsize(order + body)
    end = first + count * step
    if count > MOST_ENTRIES or end > len(block):
        raise ValueError(
            f"expected tags that fit into {len(block)} bytes, got {count} tags; get another copy"
        )
    entries, outside = {}, list[int]()
    for position in range(first, end, step):
        tag, kind, number, start = struct.unpack_from(order + body, block, position)
        size = WIDTH.get(kind, 1) * number
        if size <= inline:
            start = position + step - inline
        if start + size <= len(block):
            entries[tag] = TagEntry(kind, number, position, start, size)
        else:
            outside.append(tag)
    if sum(entry.size for entry in entries.values()) > len(block):
        most = f"at most {len(block)} bytes, the size of the data"
        raise ValueError(f"expected tags with values of {most}, got more; get another copy")
    has_next = end + inline <= len(block)
    following = struct.unpack_from(order + tail, block, end)[0] if has_next else 0
    return Directory(entries, following, offset, end + inline if has_next else end, tuple(outside))


def numbers(block: Block, entry: TagEntry | None, layout: TagLayout) -> tuple[int, ...]:
    """The unsigned integers of an entry, for a rational its numerator and denominator; () if the
    entry is None or of another type."""
    if entry is None or entry.kind not in CODE or entry.count > MOST_VALUES:
        return ()
    code = CODE[entry.kind]
    count = entry.size // struct.calcsize(f"={code}")
    return struct.unpack_from(f"{layout.order}{count}{code}", block, entry.start)


def chain(block: bytearray, layout: TagLayout) -> list[Directory]:
    """The main, EXIF and interoperability directories of an EXIF block, as far as they exist."""
    directories = [directory(block, layout.first, layout)]
    for pointer in (EXIF_IFD, INTEROP_IFD):
        child = numbers(block, directories[-1].entries.get(pointer), layout)
        if not child:
            break
        directories.append(directory(block, child[0], layout))
    return directories


def tree(
    block: Block, offset: int, layout: TagLayout, *, only: Collection[int] = (), depth: int = 0
) -> Tree:
    """Read the directory at `offset`, and in it the EXIF, GPS and interoperability directories.

    Returns by tag (field type, count, raw value); for a tag that points at a directory, its tags in
    the same form. `only`: the tags to be read of the outer directory; if empty, all. `depth`: how
    many directories enclose this one, at most two. Field types of BigTIFF are left out."""
    tags: dict[int, tuple[int, int, bytes] | Tree] = {}
    for tag, entry in directory(block, offset, layout).entries.items():
        if only and tag not in only:
            continue
        if tag in CHILDREN:
            child = numbers(block, entry, layout)
            if child and depth < 2:
                tags[tag] = tree(block, child[0], layout, depth=depth + 1)
        elif entry.kind in WIDTH and entry.kind <= 13:
            value = bytes(block[entry.start : entry.start + entry.size])
            tags[tag] = (entry.kind, entry.count, value)
    return tags


def serialise(tags: Tree, *, order: str, base: int) -> bytes:
    """The bytes of a TIFF directory with its values and nested directories, to be stored at the
    offset `base` of a file. `tags`: by tag (field type, count, raw value); `order`: "<" or ">"."""
    end = base + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, Mapping):
            kind, count = LONG, 1
            field = struct.pack(f"{order}I", end + len(values))
            values += serialise(value, order=order, base=end + len(values))
        else:
            kind, count, raw = value
            field = raw.ljust(4, b"\0")
            if len(raw) > 4:
                field = struct.pack(f"{order}I", end + len(values))
                values += raw
        values += b"\0" * (len(values) % 2)  # values begin on even offsets
        entries += struct.pack(f"{order}HHI", tag, kind, count) + field
    head = struct.pack(f"{order}H", len(tags))
    return head + entries + bytes(4) + values  # the four bytes: no directory follows


def block_of(tags: Tree, *, order: str) -> bytes:
    """The bytes of an EXIF block (TIFF header, one directory); arguments as in `serialise`."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HI", 42, 8) + serialise(tags, order=order, base=8)


def dpi(block: Block, directory: Directory, layout: TagLayout) -> tuple[float, float] | None:
    """The resolution (horizontal, vertical) in dpi that a directory states; None if it does not."""
    entries = directory.entries
    (unit, *_) = numbers(block, entries.get(RESOLUTION_UNIT), layout) or (2,)
    across, down = (numbers(block, entries.get(tag), layout) for tag in (X_DPI, Y_DPI))
    factor = {2: 1.0, 3: 2.54}.get(unit)
    if factor is None or len(across) != 2 or len(down) != 2 or not (across[1] and down[1]):
        return None
    return across[0] / across[1] * factor, down[0] / down[1] * factor


def in_photoshop(block: bytes) -> tuple[bytes | None, bool]:
    """The IPTC IIM in a Photoshop block (None: it has none), and whether it holds more, which is
    lost."""
    iim, others = None, False
    for number, body in _resources(block):
        if number == IIM:
            iim = iim or body
        elif number not in OLD_FILE:
            others = True
    return iim, others


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
    """A Photoshop block, without the prefix "Photoshop 3.0", that holds only this IPTC IIM."""
    head = RESOURCE + struct.pack(">HHI", IIM, 0, len(iim))
    return head + iim + b"\0" * (len(iim) % 2)


def records(iim: bytes) -> list[Record]:
    """Parse IPTC IIM into its data sets (record number, data set number, value), in order. Raises
    ValueError if the block is damaged."""
    sets, position = [], 0
    while position < len(iim) and iim[position : position + 1] == b"\x1c":
        if position + 5 > len(iim):
            raise ValueError(
                f"expected a whole IPTC data set at byte {position}, got a part; get another copy"
            )
        record, number, size = struct.unpack_from(">BBH", iim, position + 1)
        position += 5
        if size & 0x8000:  # the length of the length
            extended = size & 0x7FFF
            size = int.from_bytes(iim[position : position + extended])
            position += extended
        if position + size > len(iim):
            raise ValueError(
                f"expected {size} bytes of IPTC at byte {position}, got fewer; get another copy"
            )
        sets.append((record, number, iim[position : position + size]))
        position += size
    if iim[position:].strip(b"\0"):
        raise ValueError(
            f"expected an IPTC data set at byte {position}, got other data; get another copy"
        )
    return sets


def iim_of(sets: list[Record]) -> bytes:
    """The bytes of IPTC IIM with these data sets (record number, data set number, value)."""
    block = b""
    for record, number, body in sets:
        long = len(body) >= 0x8000
        size = struct.pack(">HI", 0x8004, len(body)) if long else struct.pack(">H", len(body))
        block += struct.pack(">BBB", 0x1C, record, number) + size + body
    return block


def upright(iim: bytes, turn: int) -> bytes | None:
    """Update IPTC IIM for a picture turned by EXIF orientation `turn`: previews are removed, and a
    quarter turn swaps "portrait" and "landscape". None if it is damaged or nothing is left."""
    try:
        sets = records(iim)
    except (ValueError, struct.error):
        return None
    sides = {b"P": b"L", b"L": b"P"} if turn >= 5 else {}
    sets = [
        (record, number, sides.get(body, body) if (record, number) == ORIENTATION else body)
        for record, number, body in sets
        if (record, number) not in PREVIEW
    ]
    return iim_of(sets) or None


def without_places(iim: bytes, is_a_place: Callable[[str], bool]) -> tuple[bytes | None, list[str]]:
    """IPTC IIM without places (None if nothing is left), and the texts of the removed data sets.
    `is_a_place` says whether a text names a place; some data sets always do."""
    sets, removals = list[Record](), list[str]()
    for record, number, body in records(iim):
        text = body.decode("utf-8", "replace")
        if (record, number) in PLACES or is_a_place(text):
            removals.append(text)
        else:
            sets.append((record, number, body))
    return iim_of(sets) or None, removals
