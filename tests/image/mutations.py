"""Small seed files of every format, and seeded ways to break them."""

import io

import imagecodecs
import numpy as np
import tifffile
from handmade import interlaced
from PIL import Image as PillowImage

from verax.image import Metadata, Photo, encode, from_uint8

XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,8.5N"/></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)


def _exif():
    exif = PillowImage.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.0)})
    exif.get_ifd(0x8769)[0x927C] = b"maker note" * 5
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _pillow(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _tiff(levels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, **options)
    return buffer.getvalue()


def seeds():
    """Valid files by name, 1 to 5 kB each."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    levels = np.asarray(PillowImage.fromarray(coarse).resize((48, 32)))
    deep = levels.astype(np.uint16) * 257
    picture = PillowImage.fromarray(levels)
    pixels = from_uint8(levels)
    full = Metadata(
        icc=bytes(imagecodecs.cms_profile("adobergb")), exif=_exif(), xmp=XMP, dpi=(300.0, 300.0)
    )
    alpha = np.ascontiguousarray(pixels[..., 0])

    def ours(format, **as_it_came):
        return encode(pixels, format=format, like=Photo(pixels, **as_it_came))

    return {
        "png-8": ours("png", metadata=full),
        "png-16-alpha": ours("png", metadata=full, bit_depth=16, alpha=alpha),
        "png-palette": _pillow(picture.quantize(30), "PNG", transparency=3),
        "png-interlaced": interlaced(levels),
        "png-1-bit": _pillow(picture.convert("1"), "PNG"),
        "jpeg": ours("jpeg", metadata=full),
        "jpeg-cmyk": ours("jpeg", color="cmyk"),
        "jpeg-progressive": _pillow(picture, "JPEG", progressive=True),
        "tiff-16": ours("tiff", metadata=full, bit_depth=16),
        "tiff-lzw-tiles": _tiff(deep, photometric="rgb", compression="lzw", tile=(16, 16)),
        "tiff-big": _tiff(deep, photometric="rgb", bigtiff=True, byteorder=">"),
        "tiff-cmyk": ours("tiff", color="cmyk"),
        "tiff-jpeg": _pillow(picture, "TIFF", compression="jpeg"),
        "tiff-g4": _pillow(picture.convert("1"), "TIFF", compression="group4"),
        "jxl": ours("jxl", metadata=full, alpha=alpha),
        "jxl-16": ours("jxl", bit_depth=16),
        "gif": _pillow(picture.quantize(64), "GIF"),
        "bmp": ours("bmp", metadata=full),
        "bmp-palette": _pillow(picture.quantize(40), "BMP"),
        "webp": ours("webp", metadata=full, alpha=alpha),
        "webp-lossy": _pillow(picture, "WEBP"),
        "avif": ours("avif", metadata=full),
        "avif-10": ours("avif", metadata=full, bit_depth=10),
        "heif": ours("heif", metadata=full, alpha=alpha),
        "heif-12": ours("heif", bit_depth=12),
    }


def mutate(data, rng):
    """One of: cut short, bits flipped, header bytes overwritten, a run replaced, bytes inserted."""
    broken = bytearray(data)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(broken[: rng.integers(len(broken))])
    if kind == 1:
        for _ in range(rng.integers(1, 9)):
            broken[rng.integers(len(broken))] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for _ in range(rng.integers(1, 6)):
            place = rng.integers(min(len(broken), 400))
            broken[place] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    elif kind == 3:
        place = int(rng.integers(len(broken)))
        size = min(int(rng.integers(1, 60)), len(broken) - place)
        broken[place : place + size] = rng.bytes(size)
    else:
        place = int(rng.integers(len(broken)))
        broken[place:place] = rng.bytes(int(rng.integers(1, 30)))
    return bytes(broken)
