"""Format and size of a picture file without decoding it; the tables of suffixes and signatures."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image as PillowImage
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from verax.errors import ImageReadError, InputError, missing_extra
from verax.image.contract import one_line
from verax.image.segments import brands_of

HEAD = 4096  # bytes at the start of a file from which its format is recognised

TITLES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "tiff": "TIFF", "avif": "AVIF"}
TITLES |= {"heif": "HEIC", "bmp": "BMP", "jxl": "JPEG XL", "gif": "GIF", "raw": "camera raw"}
READABLE = "PNG, JPEG, WebP, TIFF, AVIF, HEIC, JPEG XL, BMP, GIF or camera raw"
MEDIA_TYPES = {name: f"image/{name}" for name in TITLES if name != "raw"}

SUFFIXES = {  # of the formats that can be written; the first suffix of a format is the usual one
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "avif",
    ".heic": "heif",
    ".heif": "heif",
    ".jxl": "jxl",
    ".bmp": "bmp",
}
READ_ONLY = {".gif": "gif"} | dict.fromkeys(
    (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"), "raw"
)

STARTS = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\xff\x0a": "jxl",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": "jxl",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
    b"FUJIFILMCCD-RAW": "raw",
    b"IIU\0": "raw",
    b"IIRO": "raw",
    b"IIRS": "raw",
    b"MMOR": "raw",
}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
HEIF_BRANDS |= {b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
OTHERS = {  # formats that are not read, by their first bytes, to be named in the error message
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop document",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000",
    b"<svg": "an SVG",
    b"<?xml": "an XML or SVG",
    b"PK\x03\x04": "a ZIP",
    b"\x1f\x8b": "a gzip",
}
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF tag; its values that swap width and height


@dataclass(frozen=True, slots=True)
class Header:
    """Format of a picture file, such as "jpeg"; width and height in px of the upright picture."""

    format: str
    width: int
    height: int


def is_picture_name(path: Path | str) -> bool:
    """Whether a file name has a picture's suffix and does not begin with a dot (a hidden file)."""
    path = Path(path)
    return path.suffix.lower() in {**SUFFIXES, **READ_ONLY} and not path.name.startswith(".")


def usual_suffix(format: str) -> str:
    """The usual suffix of a format: ".jpg" for "jpeg"; ".png" if the format cannot be written."""
    return next((suffix for suffix, one in SUFFIXES.items() if one == format), ".png")


def format_of_bytes(head: bytes) -> str:
    """The format, such as "jpeg", by `head`, a file's first bytes; "" if it is unknown."""
    for start, format in STARTS.items():
        if head.startswith(start):
            return format
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    brands = brands_of(head)
    if b"crx " in brands:
        return "raw"
    return "avif" if brands & AVIF_BRANDS else "heif" if brands & HEIF_BRANDS else ""


def format_of_file(path: Path) -> str:
    """The format, such as "jpeg", by the first bytes of a file; "" if unknown or not readable."""
    try:
        with path.open("rb") as file:
            return format_of_bytes(file.read(HEAD))
    except OSError:
        return ""


def kind_of(head: bytes) -> str:
    """What a file is whose format is not read, by its first bytes, and what to do, for messages:
    such as "a ZIP file; save it as PNG or JPEG"."""
    if not head:
        return "an empty file; get another copy"
    for start, kind in OTHERS.items():
        if head.startswith(start):
            return f"{kind} file; save it as PNG or JPEG"
    if head[:512].isascii() and b"\0" not in head[:512]:
        return "a text file; check the path"
    return "a file of another kind; save the picture as PNG or JPEG"


def header_of(file: Path | bytes | BinaryIO) -> Header:
    """Read the format and upright size of a picture file without decoding its pixels.

    `file`: a path, the file's bytes, or a file opened for reading bytes. Raises ImageReadError if
    it is not a picture or its header is damaged."""
    name = one_line(file) if isinstance(file, Path) else "the picture"
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return _header(opened, name)
        return _header(BytesIO(file) if isinstance(file, bytes) else file, name)
    except InputError:
        raise
    except Exception as exc:  # header readers raise anything for what is no picture
        raise ImageReadError(
            f"{name}: expected a {READABLE} picture, got a file whose header cannot be read "
            f"({one_line(exc) or type(exc).__name__}); get another copy"
        ) from exc


def format_and_exif(path: Path) -> tuple[str, PillowImage.Exif]:
    """Read the format and the EXIF tags of a picture file, without decoding its pixels.

    Raises ImageReadError if the file is not a picture or its header is damaged.
    """
    format = header_of(path).format
    with path.open("rb") as file:
        return format, EXIF.get(format, _exif_by_pillow)(file, format)


def _header(file: BinaryIO, name: str) -> Header:
    head = file.read(HEAD)
    format = format_of_bytes(head)
    if not format:
        raise ImageReadError(f"{name}: expected a {READABLE} picture, got {kind_of(head)}")
    file.seek(0)
    if format == "tiff":
        from verax.image.codecs import is_raw

        whole = file.read()
        format = "raw" if is_raw(whole) else format
        file.seek(0)
    width, height = SIZES.get(format, _size_by_pillow)(file, format)
    if width < 1 or height < 1:
        raise ImageReadError(
            f"{name}: expected a picture of at least 1x1 px, got a header that says "
            f"{width}x{height} px; get another copy"
        )
    return Header(format, width, height)


def _png_size(file: BinaryIO, format: str) -> tuple[int, int]:
    width, height = struct.unpack(">II", file.read(24)[16:])
    return _upright(width, height, _png_exif(file, format))


def _upright(width: int, height: int, exif: PillowImage.Exif) -> tuple[int, int]:
    return (height, width) if exif.get(ORIENTATION, 1) in TURNED else (width, height)


def _png_exif(file: BinaryIO, _: str) -> PillowImage.Exif:
    """The EXIF of a PNG file, even behind the pixels, which Pillow would have to decode first."""
    exif, position = PillowImage.Exif(), 8
    while len(head := _at(file, position, 8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            exif.load(file.read(size))
            break
        position += 12 + size
    return exif


def _at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _tiff_size(file: BinaryIO, _: str) -> tuple[int, int]:
    """(width, height) of a TIFF's full-size page, turned upright; Pillow cannot select the page."""
    from verax.image.tiff import HEIGHT, WIDTH, main_page

    page = main_page(file.read())[1]
    width, height = page.number(WIDTH), page.number(HEIGHT)
    return (height, width) if page.number(ORIENTATION, 1) in TURNED else (width, height)


def _size_by_pillow(file: BinaryIO, format: str) -> tuple[int, int]:
    picture = _open(file, format)
    if format in ("bmp", "gif"):
        return picture.size
    return _upright(*picture.size, picture.getexif())


def _exif_by_pillow(file: BinaryIO, format: str) -> PillowImage.Exif:
    return _open(file, format).getexif()


def _open(file: BinaryIO, format: str) -> ImageFile:
    """Open a file with Pillow's class for its format, without the pixel limit of `Image.open`."""
    return CLASSES[format](file)


def _heif_size(file: BinaryIO, _: str) -> tuple[int, int]:
    width, height = _heif(file).size
    return width, height


def _heif_exif(file: BinaryIO, _: str) -> PillowImage.Exif:
    exif = PillowImage.Exif()
    exif.load(_heif(file).info.get("exif") or b"")
    return exif


def _heif(file: BinaryIO) -> Any:  # noqa: ANN401  # untyped module of an extra
    try:
        import pillow_heif
    except ImportError as exc:
        raise missing_extra("Reading HEIC", "heic") from exc
    return pillow_heif.open_heif(file)


def _jxl_size(file: BinaryIO, _: str) -> tuple[int, int]:
    from verax.image.jxl import size_of

    return size_of(file.read(1 << 20))


def _raw_size(file: BinaryIO, _: str) -> tuple[int, int]:
    try:
        import rawpy
    except ImportError as exc:
        raise missing_extra("Developing camera raw", "raw") from exc
    with rawpy.imread(file) as opened:
        sizes = opened.sizes
        turned = sizes.flip in (5, 6)
        return (sizes.height, sizes.width) if turned else (sizes.width, sizes.height)


def _no_exif(*_: object) -> PillowImage.Exif:
    return PillowImage.Exif()


CLASSES: dict[str, Callable[[BinaryIO], ImageFile]] = {
    "jpeg": JpegImageFile,
    "webp": WebPImageFile,
    "tiff": TiffImageFile,
    "avif": AvifImageFile,
    "bmp": BmpImageFile,
    "gif": GifImageFile,
}
SIZES: dict[str, Callable[[BinaryIO, str], tuple[int, int]]] = {
    "png": _png_size,
    "tiff": _tiff_size,
    "heif": _heif_size,
    "jxl": _jxl_size,
    "raw": _raw_size,
}
EXIF: dict[str, Callable[[BinaryIO, str], PillowImage.Exif]] = {
    "png": _png_exif,
    "heif": _heif_exif,
    "jxl": _no_exif,
    "raw": _no_exif,
}
