"""Metadata in the segments of a JPEG file and the chunks of a PNG file, and data after a JPEG.

Sources: ITU-T T.81; XMP specification, part 3; CIPA DC-007 (multi-picture format); PNG
specification, third edition (W3C, 2025). IPTC, and EXIF in older files, are stored in PNG in the
text chunks that ImageMagick and ExifTool write ("Raw profile type").
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from verax.image import tags, xmp
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
KNOWN += (b"ICC_PROFILE\0", b"MPF\0", tags.PHOTOSHOP, b"JP", b"http://ns.adobe.com/xap/")
KNOWN += (b"urn:iso:std:iso:ts:21496",)
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
Parts = dict[bytes, list[bytes]]  # bodies of PNG chunks, by type of chunk

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_PROFILE = b"Raw profile type "
PROFILES = {b"exif": b"exif", b"app1": b"xmp", b"xmp": b"xmp", b"iptc": b"iptc", b"8bim": b"iptc"}
COLOUR = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# chunks that are not reported as lost: read above, about the old file only (tIME, bKGD, hIST), or
# reported elsewhere (caBX: C2PA)
NAMED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"eXIf", *COLOUR, *TEXTS}
NAMED |= {b"tIME", b"bKGD", b"hIST", b"sBIT", b"sPLT", b"caBX", b"acTL", b"fcTL", b"fdAT"}
MOST_METADATA = 1 << 24  # most bytes of a decompressed profile or packet
INCH = 0.0254  # metres


@dataclass(frozen=True, slots=True)
class Segments:
    """The layout of the first picture in a JPEG file.

    Attributes:
        segments: of each segment, the marker's second byte (such as 0xE1 for APP1) and the body.
        scan_end: offset in the file just behind the data of the last scan.
        end: offset in the file just behind the picture.
        ended: whether the picture ends with an end marker (EOI).
    """

    segments: tuple[tuple[int, bytes], ...]
    scan_end: int
    end: int
    ended: bool

    def of(self, marker: int, mark: bytes = b"") -> list[bytes]:
        """Bodies of segments with this marker that begin with the bytes `mark`, without `mark`."""
        return [b[len(mark) :] for m, b in self.segments if m == marker and b.startswith(mark)]


def layout_of(data: bytes) -> Segments:
    """Find the segments of the first picture in a JPEG file."""
    segments: list[tuple[int, bytes]] = []
    position, scan_end = 2, 0
    while match := MARKER.search(data, position):
        start, marker = match.start(), data[match.start() + 1]
        if marker == EOI:
            return Segments(tuple(segments), scan_end or start, start + 2, True)
        size = int.from_bytes(data[start + 2 : start + 4])
        position = start + 2 + max(size, 2)
        segments.append((marker, data[start + 4 : position]))
        if marker == SOS:
            following = MARKER.search(data, position)
            scan_end = following.start() if following else len(data)
            position = scan_end
    return Segments(tuple(segments), scan_end or len(data), len(data), False)


def packet_of(layout: Segments) -> tuple[bytes | None, list[str]]:
    """The XMP packet of a JPEG file, merged with its extension; None if there is no packet.

    Also returns what is lost, in words: an empty list, or one item that says that extended XMP is
    unused or damaged.
    """
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
            whole = xmp.merge(packet, extension)
            if whole is not None:
                return whole, []
    return xmp.without_pointer(packet), ["extended XMP, which is damaged"]


def unknown_blocks(layout: Segments) -> list[str]:
    """Application segments of a JPEG file that Verax does not keep, such as "a block APP4 name"."""
    names = []
    for marker, body in layout.segments:
        if APP0 <= marker < APP0 + 16 and not body.startswith(KNOWN):
            name = re.match(rb"[ -~]{0,20}", body)
            names.append(f"a block APP{marker - APP0} {name[0].decode() if name else ''}".strip())
    return list(dict.fromkeys(names))


def behind(data: bytes, layout: Segments) -> list[str]:
    """What a JPEG file holds besides its first picture, in words such as "a video".

    `layout` is that of the first picture.
    """
    rest = data[layout.end :].strip(b"\0\r\n")
    iso_map = bool(layout.of(0xE2, b"urn:iso:std:iso:ts:21496"))
    parts = []
    if iso_map or re.search(rb"hdrgm|HDRGainMap|hdr-gain-map", rest):
        parts.append("a gain map (HDR)")
    elif b"\xff\xd8\xff" in rest:
        parts.append("further pictures")
    if b"ftyp" in rest:
        parts.append("a video")
    if rest and not parts:
        parts.append(f"{len(rest)} bytes behind the picture")
    return parts


def metadata_segments(metadata: Metadata) -> list[tuple[int, bytes]]:
    """The JPEG segments (marker, body) of EXIF, XMP, IPTC and comment.

    XMP over 64 kB is split into several segments; other segments over 64 kB are left out.
    """
    segments: list[tuple[int, bytes]] = []
    if metadata.exif:
        segments.append((APP1, EXIF_MARK + metadata.exif))
    segments += [(APP1, body) for body in _xmp_segments(metadata.xmp)] if metadata.xmp else []
    if metadata.iptc:
        segments.append((APP13, tags.PHOTOSHOP + tags.photoshop(metadata.iptc)))
    if metadata.comment:
        segments.append((COMMENT, metadata.comment))
    return [(marker, body) for marker, body in segments if len(body) <= SEGMENT]


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


def first(parts: Parts, kind: bytes) -> bytes | None:
    return parts[kind][0] if kind in parts else None


def _inflate(body: bytes) -> bytes | None:
    try:
        inflate = zlib.decompressobj()
        inflated = inflate.decompress(body, MOST_METADATA)
    except zlib.error:
        return None
    return inflated if inflate.eof else None


def metadata_fields(parts: Parts) -> dict[str, Any]:
    """The metadata in the chunks of a PNG, as keyword arguments for the class `Raw`.

    `parts`: the bodies of the chunks by type.
    """
    texts, profiles = _texts(parts)
    return {
        "icc": _profile(parts),
        "exif": first(parts, b"eXIf") or profiles.get(b"exif"),
        "xmp": _xmp(parts) or profiles.get(b"xmp"),
        "dpi": _dpi(parts),
        "iptc": profiles.get(b"iptc"),
        "texts": tuple((kind, body) for kind, body in texts if not _is_packet(kind, body)),
        "colour": tuple((kind, parts[kind][0]) for kind in COLOUR if kind in parts),
        "lost": tuple(f"a chunk {kind.decode('latin-1')}" for kind in parts if kind not in NAMED),
    }


def _profile(parts: Parts) -> bytes | None:
    body = first(parts, b"iCCP") or b""
    _, separator, rest = body.partition(b"\0")
    return _inflate(rest[1:]) if separator and rest[:1] == b"\0" else None


def _xmp(parts: Parts) -> bytes | None:
    for body in parts.get(b"iTXt", []):
        keyword, separator, rest = body.partition(b"\0")
        if separator and keyword == XMP_KEYWORD and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            return _inflate(text) if rest[0] else text
    return None


def _is_packet(kind: bytes, body: bytes) -> bool:
    return kind == b"iTXt" and body.startswith(XMP_KEYWORD + b"\0")


def _texts(
    parts: Parts,
) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """Split the text chunks of a PNG into texts, and metadata that programs store in text chunks.

    `parts`: the bodies of the chunks by type. Returns the texts as (type, body), and the metadata
    by name: b"exif", b"xmp" or b"iptc".
    """
    texts, profiles = [], {}
    for kind in TEXTS:
        for body in parts.get(kind, []):
            keyword, _, rest = body.partition(b"\0")
            name = keyword.removeprefix(RAW_PROFILE).lower()
            if not keyword.startswith(RAW_PROFILE) or name not in PROFILES:
                texts.append((kind, body))
                continue
            profile = _raw_profile((_inflate(rest[1:]) or b"") if kind == b"zTXt" else rest)
            if name == b"app1" and profile.startswith(EXIF_MARK):
                profiles[b"exif"] = profile.removeprefix(EXIF_MARK)
            elif name in (b"iptc", b"8bim"):
                block = tags.in_photoshop(profile)[0] or profile
                profiles[b"iptc"] = block
            else:
                profiles[PROFILES[name]] = profile.removeprefix(EXIF_MARK)
    return texts, profiles


def _raw_profile(text: bytes) -> bytes:
    """Decode a profile stored as text (name, length, hexadecimal digits); b"" if malformed."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""


def _dpi(parts: Parts) -> tuple[float, float] | None:
    body = first(parts, b"pHYs") or b""
    if len(body) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", body)
    return (across * INCH, down * INCH) if unit == 1 and across and down else None


def metadata_chunks(metadata: Metadata) -> Iterator[bytes]:
    """The complete PNG chunks of all metadata, to be written before the pixels."""
    for kind, body in metadata.colour:
        yield chunk(kind, body)
    if metadata.icc and not metadata.colour:
        yield chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        across, down = (round(dpi / INCH) for dpi in metadata.dpi)
        yield chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif:
        yield chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + metadata.xmp)
    if metadata.iptc:
        block = tags.photoshop(metadata.iptc)
        text = b"\niptc\n%8d\n%s\n" % (len(block), block.hex().encode())
        yield chunk(b"zTXt", RAW_PROFILE + b"iptc\0\0" + zlib.compress(text))
    for kind, body in metadata.texts:
        yield chunk(kind, body)


def chunk(kind: bytes, body: bytes) -> bytes:
    """The bytes of a PNG chunk of type `kind`: length, type, body, checksum."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def brands_of(head: bytes) -> set[bytes]:
    """The brands in the header of an ISO media file (AVIF, HEIC, MP4); empty for other files."""
    if head[4:8] != b"ftyp":
        return set()
    size = int.from_bytes(head[:4])
    return {head[8:12]} | {head[at : at + 4] for at in range(16, min(size, 256), 4)}
