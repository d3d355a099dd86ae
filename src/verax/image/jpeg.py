"""JPEG: pixels are coded by libjpeg through Pillow; metadata and truncation are handled here.

libjpeg silently fills the missing part of a truncated file. Truncation is found by decoding the
file again with filler bytes behind the last scan: a complete scan ignores them, a truncated one
decodes them to other pixels.
"""

import struct
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile

from verax.errors import ImageReadError
from verax.image import tags
from verax.image.contract import Metadata, Model, Raw, check_pixels, planes
from verax.image.places import EXIF_MARK
from verax.image.segments import (
    APP13,
    COMMENT,
    SOS,
    Segments,
    behind,
    layout_of,
    metadata_segments,
    packet_of,
    unknown_blocks,
)

PIXELS_PER_BYTE = 2048  # most pixels that a byte of JPEG can code
SCAN_PIXELS = 2e10  # most scans times pixels in a progressive JPEG: minutes of decoding
MODES: dict[str, Model] = {"L": "grey", "RGB": "rgb", "CMYK": "cmyk"}
HUFFMAN, PROGRESSIVE = (0xC0, 0xC1, 0xC2), 0xC2
FILLER = bytes(range(1, 255)) * 4
RESTARTS = b"".join(FILLER[:64] + bytes((0xFF, 0xD0 + number)) for number in range(8)) + FILLER

_one_at_a_time = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings in a `with` block; for one thread at a time, as the filters are global."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_jpeg(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a JPEG file to 8-bit samples; of a file with several pictures, only the first.

    Raises ImageReadError if the file is truncated or larger than `max_pixels`.
    """
    picture = _open(data)
    _check(picture, data, max_pixels)
    layout = layout_of(data)
    with ThreadPoolExecutor(1) as beside:
        again = beside.submit(_decode_filled, data, layout) if _may_end_early(layout) else None
        samples = planes(np.asarray(picture))
    if not (_is_complete(layout) if again is None else np.array_equal(again.result(), samples)):
        raise ImageReadError(
            "expected a complete JPEG file, got one whose pixel data are cut short; get another "
            "copy, or read the intact part with --salvage"
        )
    return _raw(picture, samples, layout, data)


def _open(data: bytes) -> JpegImageFile:
    with quiet():
        return JpegImageFile(BytesIO(data))


def _check(picture: JpegImageFile, data: bytes, max_pixels: int) -> None:
    width, height = picture.size
    check_pixels(width, height, most=max_pixels)
    scans = data.count(b"\xff\xda") if picture.info.get("progressive") else 1
    if width * height > PIXELS_PER_BYTE * len(data) or scans * width * height > SCAN_PIXELS:
        raise ImageReadError(
            f"expected a JPEG file of a plausible size, got {width}x{height} pixels in {len(data)} "
            f"bytes and {scans} scans; the file is damaged: get another copy"
        )
    if picture.mode not in MODES:
        raise ImageReadError(
            f"expected a grey, RGB or CMYK JPEG, got colour model {picture.mode}; convert it to RGB"
        )


def _is_complete(layout: Segments) -> bool:
    """Whether a JPEG file with these segments has scans for all its coefficients.

    The last scan's data may still be cut short. True without any check if the file is not
    Huffman-coded.
    """
    kind, complete = _coverage(layout)
    return complete or kind not in HUFFMAN


def _may_end_early(layout: Segments) -> bool:
    """Whether a JPEG file has the beginning of every scan that it needs.

    If the file was truncated nevertheless, only the data of its last scan are incomplete. False
    if the file is not Huffman-coded.
    """
    kind, complete = _coverage(layout)
    return complete and kind in HUFFMAN


def _coverage(layout: Segments) -> tuple[int, bool]:
    """The kind of the frame, and whether there are scans for all its coefficients.

    The kind is the second byte of the frame header's marker, such as 0xC2 for a progressive JPEG; 0
    if there is no frame header.
    """
    frame = next(((m, b) for m, b in layout.segments if m in (*HUFFMAN, 0xC9, 0xCA)), None)
    if frame is None or len(frame[1]) < 6:
        return 0, False
    kind, body = frame
    components = [body[6 + 3 * index] for index in range(body[5]) if 6 + 3 * index < len(body)]
    missing = {component: np.full(64, 99) for component in components}
    for scan in layout.of(SOS):
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            continue
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        for index in range(count):
            if scan[1 + 2 * index] in missing:
                whole = kind != PROGRESSIVE
                coefficients = slice(0, 64) if whole else slice(first, last + 1)
                missing[scan[1 + 2 * index]][coefficients] = 0 if whole else bits & 15
    return kind, all(not bits.any() for bits in missing.values())


def _decode_filled(data: bytes, layout: Segments) -> NDArray[Any]:
    """Decode the JPEG file `data` with filler bytes behind its last scan, to samples (H, W, C).

    The decoder ignores the filler bytes if the last scan is complete.
    """
    more = RESTARTS if layout.of(0xDD) else FILLER
    end = data[layout.scan_end : layout.end] if layout.ended else b"\xff\xd9"
    return planes(np.asarray(_open(data[: layout.scan_end] + more + end)))


def salvage_jpeg(data: bytes, *, max_pixels: int) -> tuple[Raw, int]:
    """Decode the intact part of a truncated JPEG file to 8-bit samples.

    Returns the samples, and the index of the first missing row, or the height if no row is missing.
    Samples of missing rows have no meaning. In a progressive file with several scans, rows for
    which only the first scans are there do not count as missing.
    """
    layout = layout_of(data)
    ended = data[: layout.scan_end] + b"\xff\xd9"
    picture = _open(ended)
    _check(picture, ended, max_pixels)
    samples = planes(np.asarray(picture))
    rows = samples.shape[0]
    if _coverage(layout)[0] != PROGRESSIVE or len(layout.of(SOS)) == 1:
        changed = (_decode_filled(data, layout) != samples).any(axis=(1, 2))
        if changed.any():
            rows = int(changed.argmax()) // 8 * 8
    return _raw(picture, samples, layout, data), rows


def _raw(picture: JpegImageFile, samples: NDArray[Any], layout: Segments, data: bytes) -> Raw:
    exif = picture.info.get("exif")
    packet, lost = packet_of(layout)
    resources = b"".join(layout.of(APP13, tags.PHOTOSHOP))
    block, others = tags.in_photoshop(resources)
    lost += ["Photoshop resources such as paths"] if others else []
    comments = layout.of(COMMENT)
    return Raw(
        samples,
        top=255,
        model=MODES[picture.mode],
        icc=picture.info.get("icc_profile"),
        exif=exif,
        xmp=packet,
        iptc=block,
        comment=b"\n".join(comments) or None,
        dpi=_jfif_dpi(picture.info) or exif_dpi(exif),
        lost=(*lost, *unknown_blocks(layout), *behind(data, layout)),
    )


def _jfif_dpi(info: dict[Any, Any]) -> tuple[float, float] | None:
    factor = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    if factor is None:
        return None
    across, down = info["jfif_density"]
    return across * factor, down * factor


def exif_dpi(exif: bytes | None) -> tuple[float, float] | None:
    """The resolution (horizontal, vertical) in dpi that an EXIF block states.

    None if there is no block, or if it states no resolution or is damaged.
    """
    block = (exif or b"").removeprefix(EXIF_MARK)
    try:
        layout = tags.layout_of(block)
        return tags.dpi(block, tags.directory(block, layout.first, layout), layout)
    except (ValueError, struct.error):
        return None


def write_jpeg(samples: NDArray[Any], metadata: Metadata, *, quality: int) -> bytes:
    """The bytes of a JPEG file of (H, W, C) 8-bit grey, RGB or CMYK levels; quality 1..100.

    Colour has full resolution (4:4:4). XMP too long for one segment (64 kB) is split into several;
    EXIF, IPTC or a comment that is too long is left out.
    """
    options: dict[str, Any] = {"icc_profile": metadata.icc} if metadata.icc else {}
    if metadata.dpi:
        options["dpi"] = tuple(min(max(round(dpi), 1), 65535) for dpi in metadata.dpi)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[samples.shape[2]]
    buffer = BytesIO()
    size = (samples.shape[1], samples.shape[0])
    picture = PillowImage.frombytes(mode, size, samples.tobytes())
    picture.save(buffer, "JPEG", quality=quality, subsampling=0, **options)
    plain = buffer.getvalue()
    head = 2
    if plain[2:4] == b"\xff\xe0":  # JFIF stays first
        head += 2 + int.from_bytes(plain[4:6])
    added = b"".join(_segment(marker, body) for marker, body in metadata_segments(metadata))
    return plain[:head] + added + plain[head:]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
