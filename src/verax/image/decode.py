"""Decoding of a file's bytes to a photo that is upright and in sRGB.

EXIF is edited in place and never rebuilt, because maker notes hold absolute offsets that would
become wrong. An EXIF block that cannot be parsed is dropped, because its orientation cannot be
corrected.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError, VeraxError
from verax.image import colour, tags, turning, xmp
from verax.image.codecs import is_raw, read_avif, read_bmp, read_gif, read_heif, read_raw, read_webp
from verax.image.contract import (
    CHANNELS,
    Metadata,
    Photo,
    Plane,
    Raw,
    StoredSamples,
    check_image,
    one_line,
    plausible_dpi,
)
from verax.image.header import READABLE, TITLES, format_of_bytes, kind_of
from verax.image.jpeg import read_jpeg
from verax.image.jxl import read_jxl
from verax.image.places import EXIF_MARK
from verax.image.png import read_png
from verax.image.tiff import read_tiff

MAX_PIXELS = 200_000_000  # 2.4 GB as float32; the largest cameras make 150 megapixels

ORIENTATION = 0x0112
SUBJECTS = (0x9214, 0xA214)  # SubjectArea and SubjectLocation
RESOLUTIONS = (tags.X_DPI, tags.Y_DPI), (0xA20E, 0xA20F)
# pairs of tags whose values are swapped when the picture is turned by a quarter
EXCHANGED = (*zip(tags.WIDTHS, tags.HEIGHTS, strict=True), *RESOLUTIONS)
THUMBNAIL_START, THUMBNAIL_SIZE = 0x0201, 0x0202

READERS: dict[str, Callable[..., Raw]] = {
    "png": read_png,
    "jpeg": read_jpeg,
    "webp": read_webp,
    "tiff": read_tiff,
    "avif": read_avif,
    "heif": read_heif,
    "bmp": read_bmp,
    "jxl": read_jxl,
    "gif": read_gif,
    "raw": read_raw,
}


def decode(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode the bytes of a picture file to a photo.

    The formats are PNG, JPEG, WebP, TIFF, AVIF, HEIC, JPEG XL, BMP, GIF and camera raw. `name` is
    used in error messages. Raises ImageReadError if the bytes are not one complete still picture or
    if their header states more than `max_pixels`; MissingExtraError for HEIC without the extra
    `heic`, or camera raw without the extra `raw`.
    """
    name = one_line(name)
    format = format_of_bytes(data)
    if not format:
        raise ImageReadError(f"{name}: expected a {READABLE} picture, got {kind_of(data)}")
    if format == "tiff" and is_raw(data):
        format = "raw"
    try:
        raw = READERS[format](data, max_pixels=max_pixels)
        return photo_of(raw, format, name, hashlib.sha256(data).hexdigest())[0]
    except ImageReadError as exc:
        raise ImageReadError(f"{name}: {exc}") from exc
    except VeraxError:
        raise
    except Exception as exc:  # decoders raise anything on damaged data
        raise ImageReadError(
            f"{name}: expected a complete {TITLES[format]} file, got one that cannot be decoded "
            f"({one_line(exc) or type(exc).__name__}); it is damaged or cut short: get it again"
            f"{', or read its intact part with --salvage' if format in ('jpeg', 'png') else ''}"
        ) from exc


def photo_of(raw: Raw, format: str, name: str, sha256: str) -> tuple[Photo, int]:
    """Make an upright sRGB photo of decoded samples; also returns the EXIF orientation (1..8) by
    which they were turned. `name`: the file's name, for messages; `sha256`: hash of its bytes."""
    size = (raw.samples.shape[1], raw.samples.shape[0])
    orientation = raw.orientation if raw.orientation in (None, *TURNS) else 1
    exif, turn = upright_exif(raw.exif, size, orientation) if raw.exif else (None, 1)
    turn = turn if orientation is None else orientation
    channels = CHANNELS[raw.model]
    values = np.divide(raw.samples, np.float32(raw.top), dtype=np.float32)
    alpha = values[..., channels] if values.shape[2] > channels else None
    values = values[..., :channels]
    if raw.premultiplied and alpha is not None:
        values = _straight(values, alpha)
    dpi = plausible_dpi(raw.dpi)
    icc, chunks = _profile(raw)
    pixels = colour.to_srgb(values, raw.model, icc)
    stored = None
    if colour.converts(icc, raw.model) and not raw.premultiplied:
        samples: NDArray[Any] = np.ascontiguousarray(TURNS[turn](raw.samples[..., :channels]))
        stored = StoredSamples(samples, raw.top)
    packet, companions = _packet(raw.xmp, turn, size)
    iim = tags.upright(raw.iptc, turn) if raw.iptc else None
    lost = [*raw.lost, *companions]
    if "a gain map (HDR)" in companions and "further pictures" in lost:
        lost.remove("further pictures")  # the gain map is stored as a further picture
    lost += ["IPTC, which is damaged"] if raw.iptc and iim is None else []
    lost += ["EXIF, which is damaged"] if raw.exif and exif is None else []
    lost += ["a colour profile that cannot be used"] if raw.icc and icc is None else []
    photo = Photo(
        pixels=check_image(np.ascontiguousarray(TURNS[turn](pixels), np.float32)),
        alpha=None if alpha is None else np.ascontiguousarray(TURNS[turn](alpha)),
        bit_depth=raw.bit_depth,
        color=raw.model,
        format=format,
        metadata=Metadata(
            icc=icc,
            exif=exif,
            xmp=packet,
            dpi=dpi[::-1] if dpi and turn >= 5 else dpi,
            iptc=iim,
            comment=raw.comment,
            texts=raw.texts,
            colour=chunks,
        ),
        name=name,
        sha256=sha256,
        lost=tuple(dict.fromkeys(lost)),
        stored=stored,
    )
    return photo, turn


def upright_exif(
    exif: bytes, size: tuple[int, int], turn: int | None = None
) -> tuple[bytes | None, int]:
    """Change an EXIF block to fit the upright picture: orientation 1, and no thumbnail.

    Args:
        exif: the block as in the file.
        size: (width, height) of the picture as stored.
        turn: EXIF orientation that the file states outside of this block and that is used instead
            of the block's own; None: there is none.

    Returns the new block, and the orientation (1..8) by which the stored picture must be turned;
    (None, 1) if the block cannot be parsed.
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


def _reset_orientation(block: bytearray, main: tags.Directory, layout: tags.TagLayout) -> int:
    entry = main.entries.get(ORIENTATION)
    (value, *_) = tags.numbers(block, entry, layout) or (1,)
    if entry is None or value not in range(2, 9):
        return 1
    block[entry.position + 2 : entry.position + 12] = struct.pack(
        f"{layout.order}HIHH", tags.SHORT, 1, 1, 0
    )
    return value


def _turn(block: bytearray, layout: tags.TagLayout, turn: int, size: tuple[int, int]) -> None:
    """Turn the subject areas in an EXIF block, and after a quarter turn swap width and height.

    The block is changed in place. `layout` is its header; `turn` is the EXIF orientation, 1..8;
    `size` is (width, height) of the picture before turning.
    """
    for directory in tags.chain(block, layout):
        for tag in SUBJECTS:
            entry = directory.entries.get(tag)
            values = tags.numbers(block, entry, layout)
            if entry is not None and values and entry.kind in (tags.SHORT, tags.LONG):
                moved = turning.subject(values, turn, size)
                code = f"{layout.order}{len(moved)}{tags.CODE[entry.kind]}"
                block[entry.start : entry.start + entry.size] = struct.pack(code, *moved)
        for one, other in EXCHANGED if turn >= 5 else ():
            if one in directory.entries and other in directory.entries:
                wide, high = (directory.entries[tag].position + 2 for tag in (one, other))
                block[wide : wide + 10], block[high : high + 10] = (
                    block[high : high + 10],
                    block[wide : wide + 10],
                )


def _drop_thumbnail(block: bytearray, main: tags.Directory, layout: tags.TagLayout) -> int:
    """Overwrite the thumbnail of an EXIF block and the thumbnail's directory with zeros, in place.

    `main` is the first directory of the block; its pointer to the thumbnail's directory is removed.
    `layout` is the block's header. Returns how many bytes of the block are still needed: fewer than
    before if the thumbnail was at its end.
    """
    end = len(block)
    block[main.end - 4 : main.end] = bytes(4)
    try:
        second = tags.directory(block, main.following, layout)
    except ValueError:
        return end  # the pointer was invalid, so there is nothing to zero
    start = tags.numbers(block, second.entries.get(THUMBNAIL_START), layout)
    size = tags.numbers(block, second.entries.get(THUMBNAIL_SIZE), layout)
    spans = []
    if start and size and start[0] < end:
        stop = min(start[0] + size[0], end)
        spans = [(start[0], stop)]
        end = max(start[0], second.end, main.end) if stop == end else end
    _blank(block, second, main, *spans)
    return end


def _blank(
    block: bytearray, discarded: tags.Directory, retained: tags.Directory, *more: tuple[int, int]
) -> None:
    """Overwrite with zeros, in place: the directory `discarded` of an EXIF block, its values, and
    the bytes from start to end (exclusive) of each of `more` (start, end).

    The block's header and the directory `retained` stay unchanged, even if the discarded directory
    is damaged and points at them.
    """
    head, body = block[:8], block[retained.start : retained.end]
    values = [(entry.start, entry.start + entry.size) for entry in discarded.entries.values()]
    for start, end in [*values, *more, (discarded.start, discarded.end)]:
        block[start:end] = bytes(end - start)
    block[:8], block[retained.start : retained.end] = head, body


def _profile(raw: Raw) -> tuple[bytes | None, tuple[tuple[bytes, bytes], ...]]:
    """The ICC profile of the samples (None: sRGB), and the PNG colour chunks to be written back.

    The chunks are (type, body); formats other than PNG have none. In PNG the first of these chunks
    that the file has decides: cICP, iCCP, sRGB, gAMA with cHRM. In other formats an ICC profile is
    preferred to codes of ITU-T H.273.
    """
    numbered = any(kind == b"cICP" for kind, _ in raw.colour)
    icc = raw.icc if raw.icc and not numbered and colour.usable(raw.icc, raw.model) else None
    if icc is None:
        icc = colour.profile_of_numbers(raw.primaries, raw.transfer, raw.model)
        if icc is None and not numbered:
            icc = colour.profile_of_chunks(raw.colour, raw.model)
        icc = icc if colour.usable(icc, raw.model) else None
    used = numbered or colour.usable(raw.icc, raw.model)
    chunks = tuple((kind, body) for kind, body in raw.colour if used or kind != b"iCCP")
    return icc, chunks


def _packet(
    packet: bytes | None, turn: int, size: tuple[int, int]
) -> tuple[bytes | None, tuple[str, ...]]:
    if not packet:
        return packet, ()
    packet, companions = xmp.without_companions(packet)
    return turning.turn_packet(packet, turn, size) if turn != 1 else packet, companions


def _straight(values: NDArray[np.float32], alpha: Plane) -> NDArray[np.float32]:
    """Divide premultiplied colour (H, W, C) by alpha (H, W), both in [0, 1].

    Where alpha is 0, the colour is unknown and stays 0.
    """
    opacity = np.maximum(alpha, np.float32(1e-6))[..., None]
    return np.minimum(values / opacity, np.float32(1.0))


# by EXIF orientation: the function that turns a stored array upright
TURNS: dict[int, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
