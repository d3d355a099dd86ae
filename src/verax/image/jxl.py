"""JPEG XL: container and header are read here, pixels are coded by libjxl through imagecodecs.

imagecodecs does not say in which colour space the samples are, so the header is read here, too.
Source: ISO/IEC 18181-1:2024, annexes A, D and E; part 2 for the container."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError
from verax.image.contract import Metadata, Raw, check_frames, check_pixels, planes

CODESTREAM = b"\xff\x0a"
SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
FILE_TYPE = b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
MOST_BOX = 1 << 24  # most bytes of decompressed metadata
LINEAR, SRGB = 8, 13
P3, P3_D65, D65, ALPHA, SPOT, CFA = 11, 12, 1, 0, 2, 5
Choice = tuple[tuple[int, int], ...]  # (bits, offset) of the four codings of a number ("U32")
SIDE: Choice = ((9, 1), (13, 1), (18, 1), (30, 1))
ENUM: Choice = ((0, 0), (0, 1), (4, 2), (6, 18))
DEPTH: Choice = ((0, 8), (0, 10), (0, 12), (6, 1))
FLOAT: Choice = ((0, 32), (0, 16), (0, 24), (6, 1))
EXTRA: Choice = ((0, 0), (0, 1), (4, 2), (12, 1))
SHIFT: Choice = ((0, 0), (0, 3), (0, 4), (3, 1))
NAME: Choice = ((0, 0), (4, 0), (5, 16), (10, 48))


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """The header of a JPEG XL codestream (the coded picture without container); size upright.

    `primaries`, `transfer`: H.273 codes, both 2 if `profile`, that is, if an ICC profile or
    chromaticities are used. `bits`: per sample. `extra`: types of the channels other than colour
    (0: alpha). `transfer_end`: bits from the signature to the end of the transfer code; 0: there is
    none."""

    width: int
    height: int
    bits: int = 8
    floating: bool = False
    animated: bool = False
    primaries: int = 1
    transfer: int = 13
    transfer_end: int = 0
    profile: bool = False
    extra: tuple[int, ...] = ()
    premultiplied: bool = False


class Bits:
    """A reader of numbers from a bit stream, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.remaining = int.from_bytes(data, "little"), 8 * len(data)
        self.total = self.remaining

    def take(self, count: int) -> int:
        if count > self.remaining:
            raise ValueError("expected a JPEG XL header, got one cut short; get another copy")
        bits = self.value & ((1 << count) - 1)
        self.value >>= count
        self.remaining -= count
        return bits

    def flag(self) -> bool:
        return self.take(1) == 1

    def choose(self, ways: Choice) -> int:
        bits, offset = ways[self.take(2)]
        return offset + self.take(bits)


def header_of(codestream: bytes) -> JxlHeader:
    """Read the header of a codestream (JPEG XL without container); ValueError if cut short."""
    bits = Bits(codestream[2:2048])
    width, height = _size(bits)
    if bits.flag():
        return JxlHeader(width, height)
    turned, animated = _extra_fields(bits) if bits.flag() else (False, False)
    depth, floating = _depth(bits)
    bits.flag()  # 16-bit buffers
    channels = [_channel(bits) for _ in range(bits.choose(EXTRA))]
    bits.flag()  # XYB
    primaries, transfer, profile, transfer_end = _colour(bits)
    size = (height, width) if turned else (width, height)
    return JxlHeader(
        *size,
        bits=depth,
        floating=floating,
        animated=animated,
        primaries=primaries,
        transfer=transfer,
        transfer_end=transfer_end,
        profile=profile,
        extra=tuple(kind for kind, _ in channels),
        premultiplied=any(kind == ALPHA and joined for kind, joined in channels),
    )


def _size(bits: Bits) -> tuple[int, int]:
    small = bits.flag()
    height = 8 * (bits.take(5) + 1) if small else bits.choose(SIDE)
    ratio = bits.take(3)
    if ratio:
        across, down = RATIOS[ratio - 1]
        return height * across // down, height
    return (8 * (bits.take(5) + 1) if small else bits.choose(SIDE)), height


def _extra_fields(bits: Bits) -> tuple[bool, bool]:
    """Read the optional fields of a header; returns whether width and height are swapped to show
    the picture upright, and whether it is animated."""
    turned = bits.take(3) >= 4
    if bits.flag():
        _size(bits)
    if bits.flag():
        _preview(bits)
    animated = bits.flag()
    if animated:
        bits.choose(((0, 100), (0, 1000), (10, 1), (30, 1)))
        bits.choose(((0, 1), (0, 1001), (8, 1), (10, 1)))
        bits.choose(((0, 0), (3, 0), (16, 0), (32, 0)))
        bits.flag()
    return turned, animated


def _preview(bits: Bits) -> None:
    eighths: Choice = ((0, 16), (0, 32), (5, 1), (9, 33))
    side: Choice = eighths if bits.flag() else ((6, 1), (8, 65), (10, 321), (12, 1345))
    bits.choose(side)
    if not bits.take(3):
        bits.choose(side)


def _depth(bits: Bits) -> tuple[int, bool]:
    if bits.flag():
        depth = bits.choose(FLOAT)
        bits.take(4)
        return depth, True
    return bits.choose(DEPTH), False


def _channel(bits: Bits) -> tuple[int, bool]:
    """Read an extra channel; returns its type (0: alpha), and whether it is premultiplied alpha."""
    if bits.flag():
        return ALPHA, False
    kind = bits.choose(ENUM)
    _depth(bits)
    bits.choose(SHIFT)
    bits.take(8 * bits.choose(NAME))
    joined = kind == ALPHA and bits.flag()
    if kind == SPOT:
        bits.take(64)
    if kind == CFA:
        bits.choose(((0, 1), (2, 0), (4, 3), (8, 19)))
    return kind, joined


def _colour(bits: Bits) -> tuple[int, int, bool, int]:
    """Read the colour fields. Returns the H.273 codes of primaries and transfer; whether a profile
    or chromaticities are used instead (both codes are then 2); and the position in bits where the
    transfer code ends, or 0 if the header has none."""
    if bits.flag():
        return 1, 13, False, 0
    by_profile, space = bits.flag(), bits.choose(ENUM)
    if by_profile or space == 2:
        return 2, 2, True, 0
    white = bits.choose(ENUM)
    if white == 2:
        return 2, 2, True, 0
    primaries = bits.choose(ENUM) if space != 1 else 1
    if primaries == 2 or bits.flag():
        return 2, 2, True, 0
    transfer = bits.choose(ENUM)
    primaries = P3_D65 if primaries == P3 and white == D65 else primaries
    return primaries, transfer, False, bits.total - bits.remaining


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each box of a JPEG XL container; compressed boxes are decompressed."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1 and position + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = position + size if size else len(data)
        if end < start or end > len(data):
            raise ImageReadError(
                f"expected a complete JPEG XL file, got one cut short after {len(data)} bytes; "
                "get another copy"
            )
        body = data[start:end]
        if kind == b"brob":
            kind, body = body[:4], _inflate(body[4:])
        yield kind, body
        position = end


def _inflate(body: bytes) -> bytes:
    """Decompress a Brotli stream. Raises ImageReadError if it is damaged or larger than 16 MB."""
    try:
        return bytes(imagecodecs.brotli_decode(body, out=MOST_BOX))
    except imagecodecs.BrotliError as exc:
        most = MOST_BOX >> 20
        raise ImageReadError(
            f"expected at most {most} MB of metadata in a JPEG XL file, got more or damaged data; "
            "save the picture without metadata"
        ) from exc


def read_jxl(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a still JPEG XL file to 8- or 16-bit samples, upright as libjxl returns it."""
    boxes: dict[bytes, bytes] = {}
    codestream = data
    if data.startswith(SIGNATURE):
        parts = b""
        for kind, body in _boxes(data):
            boxes.setdefault(kind, body)
            parts += body if kind == b"jxlc" else body[4:] if kind == b"jxlp" else b""
        codestream = parts
    header = header_of(codestream)
    check_pixels(header.width, header.height, most=max_pixels)
    check_frames(2 if header.animated else 1)
    if header.floating or header.bits > 16 or header.profile:
        numbers = "float" if header.floating else "integer"
        what = "a custom profile" if header.profile else f"{header.bits}-bit {numbers} samples"
        raise ImageReadError(
            f"expected JPEG XL with integers of up to 16 bits in a named colour space, got {what}; "
            "save it as PNG or TIFF first"
        )
    samples = planes(imagecodecs.jpegxl_decode(codestream))
    further = [kind for kind in header.extra if kind != ALPHA]
    exif = boxes.get(b"Exif", b"")
    return Raw(
        samples,
        top=255 if samples.dtype == np.uint8 else 65535,
        model="grey" if samples.shape[2] < 3 else "rgb",
        bit_depth=8 if samples.dtype == np.uint8 else 16,
        premultiplied=header.premultiplied,
        orientation=1,
        primaries=header.primaries,
        transfer=header.transfer,
        exif=exif[4 + int.from_bytes(exif[:4]) :] or None,
        xmp=boxes.get(b"xml "),
        lost=((f"{len(further)} further channels",) if further else ())
        + (("a gain map (HDR)",) if b"jhgm" in boxes else ()),
    )


def size_of(head: bytes) -> tuple[int, int]:
    """(width, height), upright, from the first bytes of a JPEG XL file; ValueError if too few."""
    if not head.startswith(SIGNATURE):
        header = header_of(head)
    else:
        start = min((at for at in (head.find(b"jxlc"), head.find(b"jxlp")) if at >= 0), default=-1)
        begin = head.find(CODESTREAM, start) if start >= 0 else -1
        if begin < 0:
            raise ValueError("expected a picture in the JPEG XL file, found none; get another copy")
        header = header_of(head[begin:])
    return header.width, header.height


def write_jxl(samples: NDArray[Any], metadata: Metadata) -> bytes:
    """Encode 8- or 16-bit levels (H, W, C) to a lossless JPEG XL file, with EXIF and XMP. They are
    in linear light if `metadata.icc` is set (it states that), else in sRGB."""
    plain = samples.squeeze(2) if samples.shape[2] == 1 else samples
    codestream = bytes(imagecodecs.jpegxl_encode(plain, lossless=True, effort=3))
    if codestream.startswith(SIGNATURE):
        codestream = b"".join(b for kind, b in _boxes(codestream) if kind in (b"jxlc",))
    codestream = codestream if metadata.icc else _labelled_srgb(codestream)
    boxes = [(b"Exif", bytes(4) + metadata.exif)] if metadata.exif else []
    boxes += [(b"xml ", metadata.xmp)] if metadata.xmp else []
    if not boxes:
        return codestream
    boxes.append((b"jxlc", codestream))
    framed = (struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in boxes)
    return SIGNATURE + FILE_TYPE + b"".join(framed)


def _labelled_srgb(codestream: bytes) -> bytes:
    """Replace "linear light", which the encoder states for all 16-bit pictures, by "sRGB" in the
    header of a codestream (a JPEG XL picture without container); returns the new codestream."""
    header = header_of(codestream)
    if header.transfer != LINEAR:
        return codestream
    size = 2 + (header.transfer_end + 7) // 8
    head = int.from_bytes(codestream[2:size], "little")
    start = header.transfer_end - 4
    head = head & ~(15 << start) | (SRGB - 2) << start  # stored is the code minus 2, in 4 bits
    return codestream[:2] + head.to_bytes(size - 2, "little") + codestream[size:]
