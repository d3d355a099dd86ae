"""EXIF and XMP: turned upright, without thumbnail, and without places when asked.

EXIF is edited in place, never rebuilt: maker notes point at absolute offsets and would break.
A block that cannot be parsed is dropped, because nothing could be promised about it.
"""

import re
import struct
from dataclasses import replace
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from verax.image import tags
from verax.image.contract import Metadata, Photo
from verax.image.tags import Directory, Layout

EXIF_MARK = b"Exif\0\0"  # stands before the block in JPEG, sometimes elsewhere
ORIENTATION, MAKER_NOTE = 0x0112, 0x927C
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003
THUMBNAIL_START, THUMBNAIL_SIZE = 0x0201, 0x0202

MOST_XMP = 1 << 20  # bytes; larger packets hold embedded pictures
PLACES = {"City", "State", "Country", "CountryCode", "Location", "Sublocation", "ProvinceState"}
PLACES |= {"CountryName", "WorldRegion", "LocationCreated", "LocationShown", "LocationName"}


def upright_exif(exif: bytes) -> tuple[bytes | None, int]:
    """The block with orientation 1 and no thumbnail, and the orientation (1..8) it had.

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
    except (ValueError, struct.error):
        return None, 1
    return bytes(block[:end]), orientation


def _reset_orientation(block: bytearray, main: Directory, layout: Layout) -> int:
    entry = main.entries.get(ORIENTATION)
    (value, *_) = tags.numbers(block, entry, layout) or (1,)
    if entry is None or value not in range(2, 9):
        return 1
    block[entry.position + 2 : entry.position + 12] = struct.pack(
        f"{layout.order}HIHH", tags.SHORT, 1, 1, 0
    )
    if value >= 5:
        _swap_sides(block, main, layout)
    return value


def _swap_sides(block: bytearray, main: Directory, layout: Layout) -> None:
    """A quarter turn exchanges the width and the height that EXIF repeats."""
    child = tags.numbers(block, main.entries.get(tags.EXIF_IFD), layout)
    if not child:
        return
    sides = tags.directory(block, child[0], layout).entries
    if PIXEL_WIDTH in sides and PIXEL_HEIGHT in sides:
        wide, high = (sides[tag].position + 2 for tag in (PIXEL_WIDTH, PIXEL_HEIGHT))
        block[wide : wide + 10], block[high : high + 10] = (
            block[high : high + 10],
            block[wide : wide + 10],
        )


def _drop_thumbnail(block: bytearray, main: Directory, layout: Layout) -> int:
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
    head, kept = block[:8], block[stays.start : stays.end]
    values = [(entry.start, entry.start + entry.size) for entry in gone.entries.values()]
    for start, end in [*values, *more, (gone.start, gone.end)]:
        block[start:end] = bytes(end - start)
    block[:8], block[stays.start : stays.end] = head, kept


def plausible_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """The resolution, or None for one that no picture has and some formats cannot state."""
    return dpi if dpi and all(0.01 < value < 1e6 for value in dpi) else None


def without_gps(photo: Photo) -> Photo:
    """The photo without places: no GPS in EXIF, no GPS or place names in XMP.

    Maker notes go too: their layout is private and some cameras write the place there.
    """
    exif, xmp = photo.metadata.exif, photo.metadata.xmp
    return replace(
        photo,
        metadata=Metadata(
            icc=photo.metadata.icc,
            exif=_exif_without_places(exif) if exif else None,
            xmp=_xmp_without_places(xmp) if xmp else None,
            dpi=photo.metadata.dpi,
        ),
    )


def _exif_without_places(exif: bytes) -> bytes | None:
    block = bytearray(exif.removeprefix(EXIF_MARK))
    try:
        layout = tags.layout_of(block)
        main = tags.directory(block, layout.first, layout)
        for child in tags.numbers(block, main.entries.get(tags.EXIF_IFD), layout):
            _remove_all(block, child, MAKER_NOTE, layout)
            _remove_all(block, child, tags.GPS_IFD, layout)
        _remove_all(block, layout.first, tags.GPS_IFD, layout)
    except (ValueError, struct.error):
        return None
    return bytes(block)


def _remove_all(block: bytearray, offset: int, tag: int, layout: Layout) -> None:
    """Take a tag out of the directory at `offset`, as often as it is there, and blank its value."""
    while (held := tags.directory(block, offset, layout)) and tag in held.entries:
        entry = held.entries[tag]
        if tag in tags.CHILDREN:
            for place in tags.numbers(block, entry, layout):
                _blank(block, tags.directory(block, place, layout), held)
        else:
            block[entry.start : entry.start + entry.size] = bytes(entry.size)
        _remove(block, held, tag, layout)


def _remove(block: bytearray, held: Directory, tag: int, layout: Layout) -> None:
    """Take one entry out of a directory; the later ones move up, values stay where they are."""
    gap = held.entries[tag].position
    block[gap : held.end] = block[gap + 12 : held.end] + bytes(12)
    (count,) = struct.unpack_from(f"{layout.order}H", block, held.start)
    struct.pack_into(f"{layout.order}H", block, held.start, count - 1)


def upright_xmp(xmp: bytes) -> bytes:
    """The packet with tiff:Orientation set to 1."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))[2-8]", rb"\g<1>1", xmp)


def _xmp_without_places(xmp: bytes) -> bytes | None:
    """The packet without GPS fields and place names; None when it cannot be read for sure."""
    if len(xmp) > MOST_XMP or b"<!" in xmp.replace(b"<!--", b""):
        return None
    try:
        document = minidom.parseString(xmp)
    except (ExpatError, ValueError, LookupError):
        return None
    for element in document.getElementsByTagName("*"):
        if _names_a_place(element.localName) and element.parentNode:
            element.parentNode.removeChild(element)
        names = list(element.attributes.keys())
        for name in names:
            if _names_a_place(name.split(":")[-1]):
                element.removeAttribute(name)
    cleaned = document.toxml().removeprefix('<?xml version="1.0" ?>').encode()
    return None if b"GPS" in cleaned else cleaned


def _names_a_place(name: str) -> bool:
    return name.startswith("GPS") or name in PLACES
