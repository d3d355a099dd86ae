"""EXIF: turned upright, without thumbnail, with the size that the picture has.

EXIF is edited in place, never rebuilt: maker notes point at absolute offsets and would break.
A block that cannot be parsed is dropped, because nothing could be promised about it.
"""

import struct

from verax.image import places, tags, turning
from verax.image.contract import Photo
from verax.image.places import EXIF_MARK
from verax.image.tags import Directory, TagLayout

ORIENTATION = 0x0112
SUBJECTS = (0x9214, 0xA214)  # area and location
# width and height of: the picture, EXIF's and interoperability's word on it; then resolutions
SIZES = (0x0100, 0xA002, 0x1001), (0x0101, 0xA003, 0x1002)
PAIRS = (*zip(*SIZES, strict=True), (tags.X_DPI, tags.Y_DPI), (0xA20E, 0xA20F))
THUMBNAIL_START, THUMBNAIL_SIZE = 0x0201, 0x0202


def upright_exif(
    exif: bytes, size: tuple[int, int], turn: int | None = None
) -> tuple[bytes | None, int]:
    """The block with orientation 1 and no thumbnail, and the orientation (1..8) it had.

    `size` is the (width, height) as stored; `turn` is what the container says, which counts more.
    (None, 1) for a block that cannot be parsed.
    """
    exif = exif.removeprefix(EXIF_MARK)
    try:
        layout = tags.layout_of(exif)
        main = tags.directory(exif, layout.first, layout)
        block, end = bytearray(exif), len(exif)
        if main.following:
            end = _drop_thumbnail(block, main, layout)
        orientation = _reset_orientation(block, main, layout)
        orientation = orientation if turn is None else turn
        if orientation != 1:
            _turn(block, layout, orientation, size)
    except (ValueError, struct.error):
        return None, 1
    return bytes(block[:end]), orientation


def _reset_orientation(block: bytearray, main: Directory, layout: TagLayout) -> int:
    entry = main.entries.get(ORIENTATION)
    (value, *_) = tags.numbers(block, entry, layout) or (1,)
    if entry is None or value not in range(2, 9):
        return 1
    block[entry.position + 2 : entry.position + 12] = struct.pack(
        f"{layout.order}HIHH", tags.SHORT, 1, 1, 0
    )
    return value


def _turn(block: bytearray, layout: TagLayout, turn: int, size: tuple[int, int]) -> None:
    """Subject areas follow the turn; a quarter turn exchanges what is said of the two sides."""
    for directory in _directories(block, layout):
        for tag in SUBJECTS:
            entry = directory.entries.get(tag)
            values = tags.numbers(block, entry, layout)
            if entry is not None and values and entry.kind in (tags.SHORT, tags.LONG):
                moved = turning.subject(values, turn, size)
                code = f"{layout.order}{len(moved)}{tags.CODE[entry.kind]}"
                block[entry.start : entry.start + entry.size] = struct.pack(code, *moved)
        for one, other in PAIRS if turn >= 5 else ():
            if one in directory.entries and other in directory.entries:
                wide, high = (directory.entries[tag].position + 2 for tag in (one, other))
                block[wide : wide + 10], block[high : high + 10] = (
                    block[high : high + 10],
                    block[wide : wide + 10],
                )


def _drop_thumbnail(block: bytearray, main: Directory, layout: TagLayout) -> int:
    """Blank the second directory and its picture; returns where the block may be cut."""
    end = len(block)
    block[main.end - 4 : main.end] = bytes(4)
    try:
        second = tags.directory(block, main.following, layout)
    except ValueError:
        return end  # a pointer into nowhere; it is gone now
    start = tags.numbers(block, second.entries.get(THUMBNAIL_START), layout)
    size = tags.numbers(block, second.entries.get(THUMBNAIL_SIZE), layout)
    spans = []
    if start and size and start[0] < end:
        stop = min(start[0] + size[0], end)
        spans = [(start[0], stop)]
        end = max(start[0], second.end, main.end) if stop == end else end
    _blank(block, second, main, *spans)
    return end


def _blank(block: bytearray, gone: Directory, stays: Directory, *more: tuple[int, int]) -> None:
    """Overwrite a directory and what it points at; the header and one directory stay."""
    head, body = block[:8], block[stays.start : stays.end]
    values = [(entry.start, entry.start + entry.size) for entry in gone.entries.values()]
    for start, end in [*values, *more, (gone.start, gone.end)]:
        block[start:end] = bytes(end - start)
    block[:8], block[stays.start : stays.end] = head, body


def plausible_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """The resolution, or None for one that no picture has and some formats cannot state."""
    return dpi if dpi and all(0.01 < value < 1e6 for value in dpi) else None


def without_gps(photo: Photo) -> Photo:
    """The photo without places: see `verax.image.places`."""
    return places.without_places(photo)


def resized_exif(exif: bytes, size: tuple[int, int]) -> bytes:
    """The block with the size (width, height) that the picture has, where it states one."""
    block = bytearray(exif)
    try:
        layout = tags.layout_of(exif)
        for child in _directories(block, layout):
            for names, side in zip(SIZES, size, strict=True):
                for name in names:
                    _set_number(block, child.entries.get(name), layout, side)
    except (ValueError, struct.error):
        return exif
    return bytes(block)


def _directories(block: bytearray, layout: TagLayout) -> list[Directory]:
    """The main directory, EXIF and interoperability, as far as they are there."""
    directories = [tags.directory(block, layout.first, layout)]
    for pointer in (tags.EXIF_IFD, tags.INTEROP_IFD):
        child = tags.numbers(block, directories[-1].entries.get(pointer), layout)
        if not child:
            break
        directories.append(tags.directory(block, child[0], layout))
    return directories


def _set_number(
    block: bytearray, entry: tags.TagEntry | None, layout: TagLayout, value: int
) -> None:
    if entry is None or entry.count != 1 or entry.kind not in (tags.SHORT, tags.LONG):
        return
    if tags.numbers(block, entry, layout) == (value,):
        return
    field = struct.pack(f"{layout.order}HII", tags.LONG, 1, value)
    block[entry.position + 2 : entry.position + 12] = field
