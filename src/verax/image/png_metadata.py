"""What the chunks of a PNG file say beside its pixels: profile, EXIF, XMP, IPTC, texts, resolution.

Sources: PNG specification, third edition (W3C, 2025); for IPTC and older EXIF the text chunks that
ImageMagick and ExifTool write ("Raw profile type").
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from verax.image import iptc
from verax.image.contract import Metadata
from verax.image.places import EXIF_MARK

Parts = dict[bytes, list[bytes]]  # bodies by kind of chunk

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_PROFILE = b"Raw profile type "
PROFILES = {b"exif": b"exif", b"app1": b"xmp", b"xmp": b"xmp", b"iptc": b"iptc", b"8bim": b"iptc"}
COLOUR = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Read above, about the old file's coding (tIME, bKGD, hIST ...), or named elsewhere (caBX: C2PA)
KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"eXIf", *COLOUR, *TEXTS}
KNOWN |= {b"tIME", b"bKGD", b"hIST", b"sBIT", b"sPLT", b"caBX", b"acTL", b"fcTL", b"fdAT"}
MOST_METADATA = 1 << 24  # bytes of one inflated profile or packet
INCH = 0.0254  # metres


def first(parts: Parts, kind: bytes) -> bytes | None:
    return parts[kind][0] if kind in parts else None


def _inflate(body: bytes) -> bytes | None:
    try:
        inflate = zlib.decompressobj()
        inflated = inflate.decompress(body, MOST_METADATA)
    except zlib.error:
        return None
    return inflated if inflate.eof else None


def described(parts: Parts) -> dict[str, Any]:
    """What the chunks say beside the pixels, as fields of `verax.image.raw.Raw`."""
    texts, profiles = _texts(parts)
    return {
        "icc": _profile(parts),
        "exif": first(parts, b"eXIf") or profiles.get(b"exif"),
        "xmp": _xmp(parts) or profiles.get(b"xmp"),
        "dpi": _dpi(parts),
        "iptc": profiles.get(b"iptc"),
        "texts": tuple((kind, body) for kind, body in texts if not _is_packet(kind, body)),
        "colour": tuple((kind, parts[kind][0]) for kind in COLOUR if kind in parts),
        "lost": tuple(f"a chunk {kind.decode('latin-1')}" for kind in parts if kind not in KNOWN),
    }


def _profile(parts: Parts) -> bytes | None:
    body = first(parts, b"iCCP") or b""
    _, found, rest = body.partition(b"\0")
    return _inflate(rest[1:]) if found and rest[:1] == b"\0" else None


def _xmp(parts: Parts) -> bytes | None:
    for body in parts.get(b"iTXt", []):
        keyword, found, rest = body.partition(b"\0")
        if found and keyword == XMP_KEYWORD and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            return _inflate(text) if rest[0] else text
    return None


def _is_packet(kind: bytes, body: bytes) -> bool:
    return kind == b"iTXt" and body.startswith(XMP_KEYWORD + b"\0")


def _texts(
    parts: Parts,
) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """Text chunks, and the EXIF, XMP and IPTC that ImageMagick and ExifTool write as texts."""
    texts, profiles = [], {}
    for kind in TEXTS:
        for body in parts.get(kind, []):
            keyword, _, rest = body.partition(b"\0")
            name = keyword.removeprefix(RAW_PROFILE).lower()
            if not keyword.startswith(RAW_PROFILE) or name not in PROFILES:
                texts.append((kind, body))
                continue
            held = _raw_profile((_inflate(rest[1:]) or b"") if kind == b"zTXt" else rest)
            if name == b"app1" and held.startswith(EXIF_MARK):
                profiles[b"exif"] = held.removeprefix(EXIF_MARK)
            elif name in (b"iptc", b"8bim"):
                block = iptc.in_photoshop(held)[0] or held
                profiles[b"iptc"] = block
            else:
                profiles[PROFILES[name]] = held.removeprefix(EXIF_MARK)
    return texts, profiles


def _raw_profile(text: bytes) -> bytes:
    """A profile in hexadecimal: a line with its name, one with its length, then digits."""
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
    """The chunks that go before the pixels."""
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
        block = iptc.photoshop(metadata.iptc)
        text = b"\niptc\n%8d\n%s\n" % (len(block), block.hex().encode())
        yield chunk(b"zTXt", RAW_PROFILE + b"iptc\0\0" + zlib.compress(text))
    for kind, body in metadata.texts:
        yield chunk(kind, body)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A whole chunk."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
