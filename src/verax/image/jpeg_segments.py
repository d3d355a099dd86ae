"""The segments of a JPEG file: EXIF, XMP and its extension, IPTC, and what lies behind the picture.

Sources: ITU-T T.81; XMP specification, part 3; CIPA DC-007 (multi-picture format).
"""

import re
import struct
from dataclasses import dataclass

from verax.image import iptc, xmp
from verax.image.contract import Metadata
from verax.image.places import EXIF_MARK

SEGMENT = 65533  # most bytes in one segment
XMP_MARK, EXTENSION_MARK = (
    b"http://ns.adobe.com/xap/1.0/\0",
    b"http://ns.adobe.com/xmp/extension/\0",
)
MOST_EXTENSION = 1 << 24
APP0, APP1, APP13, COMMENT, SOS, EOI = 0xE0, 0xE1, 0xED, 0xFE, 0xDA, 0xD9
KNOWN: tuple[bytes, ...] = (b"JFIF\0", b"JFXX\0", EXIF_MARK, XMP_MARK, EXTENSION_MARK, b"Adobe")
KNOWN += (b"ICC_PROFILE\0", b"MPF\0", iptc.PHOTOSHOP, b"JP", b"http://ns.adobe.com/xap/")
KNOWN += (b"urn:iso:std:iso:ts:21496",)
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a JPEG file: (marker, body) segments, the end of the last scan's bytes,
    the end of the picture, and whether an end marker was there."""

    segments: tuple[tuple[int, bytes], ...]
    scan_end: int
    end: int
    ended: bool

    def of(self, marker: int, mark: bytes = b"") -> list[bytes]:
        """The bodies of these segments, without their mark."""
        return [b[len(mark) :] for m, b in self.segments if m == marker and b.startswith(mark)]


def layout_of(data: bytes) -> Layout:
    """The segments of the first picture in a file."""
    segments: list[tuple[int, bytes]] = []
    position, scan_end = 2, 0
    while found := MARKER.search(data, position):
        start, marker = found.start(), data[found.start() + 1]
        if marker == EOI:
            return Layout(tuple(segments), scan_end or start, start + 2, True)
        size = int.from_bytes(data[start + 2 : start + 4])
        position = start + 2 + max(size, 2)
        segments.append((marker, data[start + 4 : position]))
        if marker == SOS:
            following = MARKER.search(data, position)
            scan_end = following.start() if following else len(data)
            position = scan_end
    return Layout(tuple(segments), scan_end or len(data), len(data), False)


def packet_of(layout: Layout) -> tuple[bytes | None, list[str]]:
    """The packet with its extension, and what was lost of it."""
    packet = next(iter(layout.of(APP1, XMP_MARK)), None)
    pieces: dict[bytes, dict[int, bytes]] = {}
    for body in layout.of(APP1, EXTENSION_MARK):
        if len(body) > 40:
            (offset,) = struct.unpack_from(">I", body, 36)
            pieces.setdefault(body[:32], {})[offset] = body[40:]
    if packet is None or b"HasExtendedXMP" not in packet:
        return packet, ["extended XMP"] if pieces else []
    for name, parts in pieces.items():
        extension = b"".join(body for _, body in sorted(parts.items()))
        if name in packet and len(extension) <= MOST_EXTENSION:
            whole = xmp.merged(packet, extension)
            if whole is not None:
                return whole, []
    return xmp.without_pointer(packet), ["extended XMP, which is damaged"]


def unknown_blocks(layout: Layout) -> list[str]:
    """Application segments that are no part of any standard met here, by name."""
    found = []
    for marker, body in layout.segments:
        if APP0 <= marker < APP0 + 16 and not body.startswith(KNOWN):
            name = re.match(rb"[ -~]{0,20}", body)
            found.append(f"a block APP{marker - APP0} {name[0].decode() if name else ''}".strip())
    return list(dict.fromkeys(found))


def behind(data: bytes, layout: Layout) -> list[str]:
    """What lies behind the picture, and the pictures and gain maps that segments announce."""
    rest = data[layout.end :].strip(b"\0\r\n")
    iso_map = bool(layout.of(0xE2, b"urn:iso:std:iso:ts:21496"))
    found = []
    if iso_map or re.search(rb"hdrgm|HDRGainMap|hdr-gain-map", rest):
        found.append("a gain map (HDR)")
    elif b"\xff\xd8\xff" in rest:
        found.append("further pictures")
    if b"ftyp" in rest:
        found.append("a video")
    if rest and not found:
        found.append(f"{len(rest)} bytes behind the picture")
    return found


def metadata_segments(metadata: Metadata) -> list[tuple[int, bytes]]:
    """EXIF, XMP, IPTC and comment as segments; what does not fit is missing."""
    found: list[tuple[int, bytes]] = []
    if metadata.exif:
        found.append((APP1, EXIF_MARK + metadata.exif))
    found += [(APP1, body) for body in _xmp_segments(metadata.xmp)] if metadata.xmp else []
    if metadata.iptc:
        found.append((APP13, iptc.PHOTOSHOP + iptc.photoshop(metadata.iptc)))
    if metadata.comment:
        found.append((COMMENT, metadata.comment))
    return [(marker, body) for marker, body in found if len(body) <= SEGMENT]


def _xmp_segments(packet: bytes) -> list[bytes]:
    if len(XMP_MARK) + len(packet) <= SEGMENT:
        return [XMP_MARK + packet]
    parts = xmp.split(packet, SEGMENT - len(XMP_MARK))
    if parts is None:
        return []
    main, extension, name = parts
    step = SEGMENT - len(EXTENSION_MARK) - 40
    chunks = [
        EXTENSION_MARK
        + name.encode()
        + struct.pack(">II", len(extension), start)
        + extension[start : start + step]
        for start in range(0, len(extension), step)
    ]
    return [XMP_MARK + main, *chunks]
