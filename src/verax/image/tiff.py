"""TIFF: tags are read and written here, pixels are coded by libtiff through imagecodecs.

Size, number of pages, sample layout and the length of the file are checked before libtiff decodes
the file."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError
from verax.image import tags
from verax.image.contract import CHANNELS, Metadata, Model, Raw, check_frames, check_pixels, planes
from verax.image.tags import Directory, TagLayout

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS = 254, 255, 256, 257, 258
COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANAR = 259, 262, 274, 277, 284
COLORMAP, TILE_WIDTH, TILE_HEIGHT, INK_SET, EXTRA, FORMAT = 320, 322, 323, 332, 338, 339
XMP, ICC, IPTC, PHOTOSHOP, LAYERS = 700, 34675, 33723, 34377, 37724
# private tags that are not reported as lost: read here, or not about the picture (layer settings of
# Alias, missing value of GDAL, print settings)
LAYOUT = {IPTC, PHOTOSHOP, LAYERS, ICC, 34665, 34853, 40965, 59932, 50341, 42113}

WHITE_IS_ZERO, RGB, PALETTE, INK, YCBCR = 0, 2, 3, 5, 6
MODELS: dict[int, Model] = {0: "grey", 1: "grey", 2: "rgb", 3: "rgb", 5: "cmyk", 6: "rgb"}
FOREIGN = {-1: "no colour model", 4: "a mask", 6: "YCbCr without JPEG", 8: "CIELab"}
FOREIGN |= {9: "ICCLab", 10: "ITULab", 32803: "camera raw (CFA)", 34892: "linear raw"}
JPEG = 7
# Most bytes that one stored byte can expand to: uncompressed, LZW, deflate (two codes), PackBits
EXPANSION = {1: 1, 5: 3000, 8: 1100, 32946: 1100, 32773: 64}
ASSOCIATED, UNASSOCIATED = 1, 2
# tags that describe the picture; all others describe the file's layout
DESCRIPTION = {269, 270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432}
DESCRIPTION |= {40091, 40092, 40093, 40094, 40095, tags.EXIF_IFD, tags.GPS_IFD}
MOST_PAGES, MOST_SAMPLES, LARGEST_TILE = 1000, 8, 1 << 24


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the TIFF file `data`: the file's header and the page's directory of tags."""

    data: bytes
    layout: TagLayout
    directory: Directory

    def numbers(self, tag: int) -> tuple[int, ...]:
        return tags.numbers(self.data, self.directory.entries.get(tag), self.layout)

    def number(self, tag: int, default: int = 0) -> int:
        return (self.numbers(tag) or (default,))[0]

    def raw(self, tag: int) -> bytes | None:
        entry = self.directory.entries.get(tag)
        return self.data[entry.start : entry.start + entry.size] if entry else None


def read_tiff(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a TIFF or BigTIFF file; raises ImageReadError unless it has one full-size page."""
    index, page = main_page(data)
    check_pixels(page.number(WIDTH), page.number(HEIGHT), most=max_pixels)
    bits = _check_samples(page)
    _check_space(page, bits)
    samples, alpha = _channels(page, _decode(page, index))
    photometric = page.number(PHOTOMETRIC)
    top = 255 if photometric == PALETTE else 2**bits - 1
    if photometric == WHITE_IS_ZERO:
        samples[..., :1] = top - samples[..., :1]
    return Raw(
        samples,
        top=top,
        model=MODELS[photometric],
        bit_depth=16 if top > 255 else 8,
        premultiplied=alpha == ASSOCIATED,
        orientation=page.number(ORIENTATION, 1),
        icc=page.raw(ICC),
        exif=_description(page),
        xmp=page.raw(XMP),
        iptc=_iim(page),
        lost=_dropped_content(page, samples.shape[2]),
        dpi=tags.dpi(data, page.directory, page.layout),
    )


def main_page(data: bytes) -> tuple[int, Page]:
    """The full-size page (no thumbnail, pyramid level or mask) of the TIFF file `data`.

    Returns its index, from 0 for the first page of any kind, and the page. Raises ImageReadError if
    there is no such page, or more than one."""
    layout = tags.layout_of(data)
    full: list[tuple[int, Page]] = []
    offset, offsets = layout.first, set[int]()
    while offset and offset not in offsets and len(offsets) < MOST_PAGES:
        offsets.add(offset)
        page = Page(data, layout, tags.directory(data, offset, layout))
        if not page.number(SUBFILE) & 5 and page.number(OLD_SUBFILE, 1) != 2:
            full.append((len(offsets) - 1, page))
        offset = page.directory.following
    check_frames(len(full))
    if not full:
        raise ImageReadError(
            "expected a TIFF file with a full-size picture, got one with previews only; "
            "if it is camera raw, develop it to TIFF or PNG"
        )
    return full[0]


def _check_samples(page: Page) -> int:
    """Bits per sample of a page. Raises ImageReadError for unsupported samples or colour models."""
    photometric, method = page.number(PHOTOMETRIC, -1), page.number(COMPRESSION, 1)
    plain_ycbcr = photometric == YCBCR and method != JPEG
    if photometric not in MODELS or plain_ycbcr or page.number(INK_SET, 1) != 1:
        kind = FOREIGN.get(photometric, f"another colour model ({photometric})")
        raise ImageReadError(
            f"expected a TIFF in grey, RGB, palette or CMYK, got {kind}; convert it to RGB"
        )
    depths = set(page.numbers(BITS)) or {1}
    formats = set(page.numbers(FORMAT)) or {1}
    if len(depths) > 1 or not depths <= {1, 2, 4, 8, 16} or not formats <= {1, 4}:
        kind = "floating point" if 3 in formats else "signed" if 2 in formats else "unsigned"
        raise ImageReadError(
            f"expected unsigned samples of 1, 2, 4, 8 or 16 bits, got {kind} samples of "
            f"{', '.join(map(str, sorted(depths)))} bits; convert the picture to 16 bits"
        )
    return depths.pop()


def _check_space(page: Page, bits: int) -> None:
    """Raise ImageReadError if the file is too short for the picture that its tags describe.

    `bits`: per sample. libtiff would allocate memory for the whole picture before it notices.
    """
    outside = [*page.directory.outside, *_outside_below(page)]
    if outside:
        tags = ", ".join(map(str, outside[:5]))
        raise ImageReadError(
            f"expected a complete TIFF file, got one of {len(page.data)} bytes in which the values "
            f"of tags {tags} lie behind its end; it is damaged or cut short: get another copy"
        )
    width, height, samples = page.number(WIDTH), page.number(HEIGHT), page.number(SAMPLES, 1)
    size = width * height * samples * bits // 8
    most = EXPANSION.get(page.number(COMPRESSION, 1), size) * len(page.data)
    tile = page.number(TILE_WIDTH) * page.number(TILE_HEIGHT)
    if size > most or tile > max(4 * width * height, LARGEST_TILE) or samples > MOST_SAMPLES:
        raise ImageReadError(
            f"expected {width}x{height} px of {samples} samples, as the tags say, got a file of "
            f"{len(page.data)} bytes, which cannot hold them; it is damaged or cut short: get "
            "another copy"
        )


def _outside_below(page: Page) -> list[int]:
    """Tags of the EXIF and GPS directories whose values lie behind the end of the file.

    If such a directory cannot be read, the tag that points at it is in the result, too."""
    outside: list[int] = []
    for pointer in (tags.EXIF_IFD, tags.GPS_IFD):
        for start in page.numbers(pointer)[:1]:
            try:
                outside += tags.directory(page.data, start, page.layout).outside
            except (ValueError, struct.error):
                outside.append(pointer)
    return outside


def _decode(page: Page, index: int) -> NDArray[Any]:
    """Decode a page (`index` counts from 0) to its samples (H, W, C), without colour conversion."""
    data = page.data
    if page.number(PHOTOMETRIC) == INK:
        # libtiff would convert CMYK without the profile, so the colour model is hidden from it
        patched = bytearray(data)
        start = page.directory.entries[PHOTOMETRIC].start
        struct.pack_into(f"{page.layout.order}H", patched, start, RGB)
        data = bytes(patched)
    samples = planes(imagecodecs.tiff_decode(data, index))
    if page.number(PLANAR, 1) == 2 and page.number(SAMPLES, 1) > 1:
        samples = np.moveaxis(samples, 0, 2)
    if samples.shape[:2] != (page.number(HEIGHT), page.number(WIDTH)):
        raise ImageReadError(
            f"expected {page.number(WIDTH)}x{page.number(HEIGHT)} px, as the tags say, got "
            f"{samples.shape[1]}x{samples.shape[0]} px; save the picture as an ordinary TIFF or PNG"
        )
    return samples.astype(np.uint8) if samples.dtype == np.bool_ else samples


def _channels(page: Page, samples: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Select the colour channels and one alpha channel, if any, of decoded samples (H, W, C).

    Returns samples (H, W, c), and the kind of alpha: 0 none, 1 premultiplied, 2 straight."""
    if page.number(PHOTOMETRIC) == PALETTE:
        return _look_up(page, samples[..., 0]), 0
    count = CHANNELS[MODELS[page.number(PHOTOMETRIC)]]
    if samples.shape[2] < count:
        raise ImageReadError(
            f"expected {count} samples per pixel or more for its colour model, got "
            f"{samples.shape[2]}; the file is damaged: get another copy"
        )
    if samples.shape[2] == count:
        return samples, 0
    alpha = page.number(EXTRA, UNASSOCIATED)  # some writers forget to name it
    if alpha in (ASSOCIATED, UNASSOCIATED):
        return samples[..., : count + 1], alpha
    return samples[..., :count], 0


def _look_up(page: Page, indices: NDArray[Any]) -> NDArray[np.uint16]:
    """Replace palette indices (H, W) by their RGB levels 0..255 (H, W, 3). Palettes hold 16-bit
    levels, but some writers store 8-bit levels in them."""
    table = np.array(page.numbers(COLORMAP), np.uint16)
    if table.size % 3 or table.size // 3 <= int(indices.max()):
        raise ImageReadError(
            f"expected a palette with an entry for index {int(indices.max())}, got "
            f"{table.size // 3} entries; the file is damaged: get another copy"
        )
    if table.max() > 255:
        table >>= 8
    return np.take(table.reshape(3, -1).T, indices, axis=0)


def _iim(page: Page) -> bytes | None:
    """The IPTC IIM of a page, from its own tag or else its Photoshop block; None if it has none."""
    own = page.raw(IPTC) or b""
    return own if own.strip(b"\0") else tags.in_photoshop(page.raw(PHOTOSHOP) or b"")[0]


def _dropped_content(page: Page, channels: int) -> tuple[str, ...]:
    """What a page holds and is not kept, in words; `channels`: how many channels are kept."""
    parts = ["Photoshop layers"] if page.raw(LAYERS) else []
    if tags.in_photoshop(page.raw(PHOTOSHOP) or b"")[1]:
        parts.append("Photoshop resources such as paths")
    if page.number(PHOTOMETRIC) != PALETTE and channels < page.number(SAMPLES, 1):
        parts.append(f"{page.number(SAMPLES, 1) - channels} further channels")
    known = LAYOUT | DESCRIPTION
    private = [str(tag) for tag in page.directory.entries if tag >= 32768 and tag not in known]
    return (*parts, *([f"TIFF tags {', '.join(private[:8])}"] if private else []))


def _description(page: Page) -> bytes | None:
    """The tags that describe the picture, as an EXIF block; None if there are none."""
    layout = page.layout
    try:
        tree = tags.tree(page.data, page.directory.start, layout, only=DESCRIPTION)
    except (ValueError, struct.error):
        return None
    return tags.block_of(tree, order=layout.order) if tree else None


def write_tiff(samples: NDArray[Any], model: Model, metadata: Metadata) -> bytes:
    """The bytes of a deflate-compressed TIFF of (H, W, C) 8- or 16-bit levels, with metadata."""
    layout, described = _picture_tags(metadata.exif)
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
    if metadata.iptc:
        described[IPTC] = (7, len(metadata.iptc), metadata.iptc)
    return _with_tags(bytes(plain), described) if described else bytes(plain)


def _picture_tags(exif: bytes | None) -> tuple[TagLayout, dict[int, Any]]:
    """The header of an EXIF block, and the tags in it that describe the picture.

    The tags are (field type, count, raw value), in the byte order that the header states. Without a
    usable block, the byte order is little endian and there are no tags.
    """
    try:
        layout = tags.layout_of(exif or b"")
        return layout, dict(tags.tree(exif or b"", layout.first, layout, only=DESCRIPTION))
    except (ValueError, struct.error):
        return TagLayout("<", False, 8), {}


def _with_tags(plain: bytes, described: Mapping[int, Any]) -> bytes:
    """The TIFF file `plain`, and behind it a new directory of its old tags and those in
    `described`: by tag (field type, count, raw value)."""
    layout = tags.layout_of(plain)
    merged = {**tags.tree(plain, layout.first, layout), **described}
    base = len(plain) + len(plain) % 2
    head = plain[:4] + struct.pack(f"{layout.order}I", base) + plain[8:]
    return head.ljust(base, b"\0") + tags.serialise(merged, order=layout.order, base=base)
