"""TIFF: tags read and written here, strips and tiles in libtiff through imagecodecs.

The tags are judged before libtiff sees the file: size, pages, sample layout, and whether the
file is long enough to hold what it announces.
"""

import struct
from collections.abc import Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError
from verax.image import tags
from verax.image.contract import Metadata
from verax.image.raw import CHANNELS, Model, Raw, check_frames, check_pixels, planes
from verax.image.tags import Directory, Layout

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = (
    254,
    255,
    256,
    257,
    258,
    259,
    262,
)
ORIENTATION, SAMPLES, PLANAR = 274, 277, 284
COLORMAP, INK_SET, EXTRA, FORMAT, XMP, ICC = 320, 332, 338, 339, 700, 34675

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INK, YCBCR = 0, 1, 2, 3, 5, 6
MODELS: dict[int, Model] = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "rgb"}
FOREIGN = {4: "a mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "camera raw (CFA)"}
FOREIGN |= {32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}
JPEG = 7
# Most bytes a compressed byte can stand for: none, LZW, deflate (two numbers for it), PackBits
EXPANSION = {1: 1, 5: 3000, 8: 1100, 32946: 1100, 32773: 64}
ASSOCIATED, UNASSOCIATED = 1, 2
# What a picture says about itself; the rest of a TIFF directory describes the file's layout
DESCRIPTION = {269, 270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432}
DESCRIPTION |= {40091, 40092, 40093, 40094, 40095, tags.EXIF_IFD, tags.GPS_IFD}
MOST_PAGES = 1000


def read_tiff(data: bytes, *, max_pixels: int) -> Raw:
    """The samples of a TIFF or BigTIFF file with one full-size page."""
    layout = tags.layout_of(data)
    index, page = _only_page(data, layout)
    width, height = (_number(data, page, tag, layout) for tag in (WIDTH, HEIGHT))
    check_pixels(width, height, most=max_pixels)
    photometric = _number(data, page, PHOTOMETRIC, layout, default=-1)
    bits = _check_samples(data, page, layout, photometric)
    samples = _decode(data, index, page, layout, photometric)
    if samples.shape[:2] != (height, width):
        raise ImageReadError(
            f"want {width}x{height} pixels as the tags say, got an array {samples.shape}; "
            "save the picture as an ordinary TIFF or PNG"
        )
    samples, alpha = _channels(data, page, layout, samples, photometric)
    top = 255 if photometric == PALETTE else 2**bits - 1
    if photometric == WHITE_IS_ZERO:
        samples[..., :1] = top - samples[..., :1]
    return Raw(
        samples,
        top=top,
        model=MODELS[photometric],
        bit_depth=16 if bits > 8 else 8,
        premultiplied=alpha == ASSOCIATED,
        orientation=_number(data, page, ORIENTATION, layout, default=1),
        icc=_bytes(data, page, ICC),
        exif=_description(data, page, layout),
        xmp=_bytes(data, page, XMP),
        dpi=tags.dpi(data, page, layout),
    )


def _only_page(data: bytes, layout: Layout) -> tuple[int, Directory]:
    """Index and tags of the one page that is no thumbnail, pyramid level or mask."""
    full: list[tuple[int, Directory]] = []
    offset, seen = layout.first, set[int]()
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        page = tags.directory(data, offset, layout)
        reduced = _number(data, page, SUBFILE, layout, default=0) & 5
        if not reduced and _number(data, page, OLD_SUBFILE, layout, default=1) != 2:
            full.append((len(seen) - 1, page))
        offset = page.following
    check_frames(len(full))
    if not full:
        raise ImageReadError(
            "want a TIFF picture, got a file with previews only (camera raw?); "
            "develop it to TIFF or PNG first"
        )
    return full[0]


def _check_samples(data: bytes, page: Directory, layout: Layout, photometric: int) -> int:
    """Bits per sample, after refusing what is no 1- to 16-bit picture in a known colour model."""
    if photometric not in MODELS or _number(data, page, INK_SET, layout, default=1) != 1:
        kind = FOREIGN.get(photometric, f"photometric {photometric}")
        raise ImageReadError(f"want grey, RGB, palette or CMYK, got {kind}; convert it to RGB")
    depths = set(_numbers(data, page, BITS, layout)) or {1}
    formats = set(_numbers(data, page, FORMAT, layout)) or {1}
    if len(depths) > 1 or not depths <= {1, 2, 4, 8, 12, 16} or not formats <= {1, 4}:
        kind = "floating point" if 3 in formats else "signed" if 2 in formats else "whole"
        raise ImageReadError(
            f"want 8 or 16 bits of whole numbers per sample, got {sorted(depths)} bits, {kind}; "
            "convert it to 16-bit"
        )
    (bits,) = depths
    method = _number(data, page, COMPRESSION, layout, default=1)
    if photometric == YCBCR and method != JPEG:
        raise ImageReadError("want RGB, got YCbCr without JPEG compression; convert it to RGB")
    width, height = (_number(data, page, tag, layout) for tag in (WIDTH, HEIGHT))
    size = width * height * _number(data, page, SAMPLES, layout, default=1) * bits // 8
    if size > EXPANSION.get(method, size) * len(data):
        raise ImageReadError(
            f"want about {size} bytes of pixels, the file has {len(data)}; "
            "it is damaged or cut short: get it again"
        )
    return bits


def _decode(
    data: bytes, index: int, page: Directory, layout: Layout, photometric: int
) -> NDArray[Any]:
    if photometric == INK:
        # libtiff would turn ink into RGB itself, blind to the profile: hide what it is
        patched = bytearray(data)
        struct.pack_into(f"{layout.order}H", patched, page.entries[PHOTOMETRIC].start, RGB)
        data = bytes(patched)
    samples = planes(imagecodecs.tiff_decode(data, index))
    count = _number(data, page, SAMPLES, layout, default=1)
    if _number(data, page, PLANAR, layout, default=1) == 2 and count > 1:
        samples = np.moveaxis(samples, 0, 2)
    return samples


def _channels(
    data: bytes, page: Directory, layout: Layout, samples: NDArray[Any], photometric: int
) -> tuple[NDArray[Any], int]:
    """Colour channels and at most one alpha channel; and the kind of that alpha (0: none)."""
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8)
    if photometric == PALETTE:
        return _look_up(data, page, layout, samples[..., 0]), 0
    wanted = CHANNELS[MODELS[photometric]]
    if samples.shape[2] < wanted:
        raise ImageReadError(f"want {wanted} samples per pixel, got {samples.shape[2]}")
    extra = _numbers(data, page, EXTRA, layout)
    if samples.shape[2] > wanted and EXTRA not in page.entries:
        extra = (UNASSOCIATED,)  # some writers forget to say so
    if extra and samples.shape[2] > wanted and extra[0] in (ASSOCIATED, UNASSOCIATED):
        return samples[..., : wanted + 1], extra[0]
    return samples[..., :wanted], 0


def _look_up(
    data: bytes, page: Directory, layout: Layout, indices: NDArray[Any]
) -> NDArray[np.uint16]:
    """8-bit colours of palette indices. Writers store a level times 256, times 257, or plain."""
    table = np.array(_numbers(data, page, COLORMAP, layout), np.uint16)
    if table.size % 3 or table.size // 3 <= int(indices.max()):
        raise ImageReadError("want a palette for all colours, got a shorter one; save it as RGB")
    if table.max() > 255:
        table >>= 8
    return np.take(table.reshape(3, -1).T, indices, axis=0)


def _numbers(data: bytes, page: Directory, tag: int, layout: Layout) -> tuple[int, ...]:
    return tags.numbers(data, page.entries.get(tag), layout)


def _number(data: bytes, page: Directory, tag: int, layout: Layout, *, default: int = 0) -> int:
    return (_numbers(data, page, tag, layout) or (default,))[0]


def _bytes(data: bytes, page: Directory, tag: int) -> bytes | None:
    entry = page.entries.get(tag)
    return bytes(data[entry.start : entry.start + entry.size]) if entry else None


def _description(data: bytes, page: Directory, layout: Layout) -> bytes | None:
    """What the file says about the picture, as an EXIF block."""
    try:
        found = tags.tree(data, page.start, layout, only=DESCRIPTION)
    except (ValueError, struct.error):
        return None
    return tags.block_of(found, order=layout.order) if found else None


def write_tiff(samples: NDArray[Any], model: Model, metadata: Metadata) -> bytes:
    """A deflate-compressed TIFF of (H, W, C) 8- or 16-bit levels with its metadata."""
    layout, described = _described(metadata.exif)
    alpha = samples.shape[2] > CHANNELS[model]
    plain = imagecodecs.tiff_encode(
        samples.squeeze(2) if samples.shape[2] == 1 else samples,
        1,
        compression="deflate",
        predictor=True,
        byteorder=layout.order,
        photometric={"grey": "minisblack", "rgb": "rgb", "cmyk": "separated"}[model],
        extrasample="unassalpha" if alpha else None,
        iccprofile=metadata.icc,
        resolution=metadata.dpi,
        resolutionunit="inch" if metadata.dpi else None,
    )
    if metadata.xmp:
        described[XMP] = (1, len(metadata.xmp), metadata.xmp)
    return _with_tags(bytes(plain), described) if described else bytes(plain)


def _described(exif: bytes | None) -> tuple[Layout, dict[int, Any]]:
    """Byte order and describing tags of an EXIF block; its values keep that order."""
    try:
        layout = tags.layout_of(exif or b"")
        return layout, dict(tags.tree(exif or b"", layout.first, layout, only=DESCRIPTION))
    except (ValueError, struct.error):
        return Layout("<", False, 8), {}


def _with_tags(plain: bytes, described: Mapping[int, Any]) -> bytes:
    """The file with a new directory at its end that adds these tags."""
    layout = tags.layout_of(plain)
    merged = {**tags.tree(plain, layout.first, layout), **described}
    base = len(plain) + len(plain) % 2
    head = plain[:4] + struct.pack(f"{layout.order}I", base) + plain[8:]
    return head.ljust(base, b"\0") + tags.serialise(merged, order=layout.order, base=base)
