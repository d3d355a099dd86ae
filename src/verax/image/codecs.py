"""Readers and writers of WebP, AVIF, HEIC and BMP, and readers of GIF and camera raw.

They use Pillow, libavif, libheif and LibRaw. Pillow's format classes are called directly, because
`PIL.Image.open` would also try all other formats, and has its own limit on the number of pixels."""

import struct
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from verax.errors import ImageReadError, OutputError, missing_extra
from verax.image import tags
from verax.image.contract import Depth, Metadata, Raw, check_frames, check_pixels, one_line, planes
from verax.image.jpeg import quiet
from verax.image.places import EXIF_MARK
from verax.image.segments import brands_of
from verax.image.tags import TagLayout

SEQUENCES = (b"msf1", b"hevc", b"hevs")  # HEIF brands of image sequences
PHOTOMETRIC, SUB_DIRECTORIES, DNG_VERSION = 262, 330, 50706
SENSOR = (32803, 34892)  # values of PHOTOMETRIC: colour filter array, linear raw
STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
GAMMA = (2.4, 12.92)  # power and slope of the sRGB curve, as LibRaw takes them


def read_bmp(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a BMP file of at most `max_pixels` pixels to 8-bit grey, RGB or RGBA samples."""
    picture = BmpImageFile(BytesIO(data))
    check_pixels(*picture.size, most=max_pixels)
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(picture.mode, "RGB")
    samples = planes(np.asarray(picture.convert(mode)))
    return Raw(
        samples,
        top=255,
        model="grey" if mode == "L" else "rgb",
        dpi=picture.info.get("dpi"),
    )


def read_gif(data: bytes, *, max_pixels: int) -> Raw:
    """Decode the first frame of a GIF to 8-bit samples; `lost` in the result names the others,
    such as "3 further frames"."""
    with quiet():
        picture = GifImageFile(BytesIO(data))
    check_pixels(*picture.size, most=max_pixels)
    frames = getattr(picture, "n_frames", 1)
    picture.seek(0)
    clear = "transparency" in picture.info
    mode = "RGBA" if clear else "L" if picture.mode == "L" else "RGB"
    samples = planes(np.asarray(picture.convert(mode)))
    comment = picture.info.get("comment")
    return Raw(
        samples,
        top=255,
        model="grey" if mode == "L" else "rgb",
        comment=comment if isinstance(comment, bytes) else None,
        lost=(f"{frames - 1} further frames",) if frames > 1 else (),
    )


def read_webp(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a still WebP file to 8-bit samples; raises ImageReadError if it is animated."""
    picture = WebPImageFile(BytesIO(data))
    check_pixels(*picture.size, most=max_pixels)
    check_frames(getattr(picture, "n_frames", 1))
    return _code(picture, np.asarray(picture), 8)


def read_avif(data: bytes, *, max_pixels: int) -> Raw:
    """Decode a still AVIF file to samples of the file's own depth: 8, 10 or 12 bits."""
    with quiet():
        picture = AvifImageFile(BytesIO(data))
    check_pixels(*picture.size, most=max_pixels)
    check_frames(getattr(picture, "n_frames", 1))
    primaries, transfer = _coded_colour(data)
    samples = imagecodecs.avif_decode(data)
    depth: Depth = 8 if samples.dtype == np.uint8 else _avif_depth(data)
    lost = ("a gain map (HDR)",) if b"tmap" in brands_of(data) else ()
    coded = _code(picture, samples, depth)
    return replace(coded, primaries=primaries, transfer=transfer, lost=lost)


def _avif_depth(data: bytes) -> Depth:
    """Bits per sample, 10 or 12, of the bytes of an AVIF file that is known to have more than 8."""
    place = data.find(b"av1C")
    return 12 if data[place + 6] & 0x20 else 10  # the flag `twelve_bit` in the third byte


def _coded_colour(data: bytes) -> tuple[int, int]:
    """The H.273 codes (primaries, transfer) in an AVIF file's nclx box; (0, 0) if it has none."""
    place = data.find(b"colrnclx")
    if place < 0 or place + 12 > len(data):
        return 0, 0
    return struct.unpack_from(">HH", data, place + 8)


def _code(picture: ImageFile, samples: NDArray[Any], depth: Depth) -> Raw:
    samples = planes(samples)
    return Raw(
        samples,
        top=2**depth - 1,
        model="grey" if samples.shape[2] < 3 else "rgb",
        bit_depth=depth,
        icc=picture.info.get("icc_profile"),
        exif=picture.info.get("exif"),
        xmp=picture.info.get("xmp"),
    )


def read_heif(data: bytes, *, max_pixels: int) -> Raw:
    """Decode the main picture of a HEIC file, upright, to samples of 8, 10 or 12 bits."""
    heif = _of_extra("pillow_heif", "heic", "Reading HEIC")
    container = heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if data[8:12] in SEQUENCES:
        raise ImageReadError("expected a still picture, got a HEIC sequence; save a frame as PNG")
    picture = container[container.primary_index]
    check_pixels(*picture.size, most=max_pixels)
    coded = picture.info.get("nclx_profile", {})
    samples = planes(np.asarray(picture))
    bits = 8 if samples.dtype == np.uint8 else int(picture.info["bit_depth"])
    xmp = picture.info.get("xmp")
    return Raw(
        samples,
        top=2**bits - 1,
        model="grey" if samples.shape[2] < 3 else "rgb",
        bit_depth=8 if bits <= 8 else 10 if bits <= 10 else 12,
        premultiplied=picture.premultiplied_alpha,
        orientation=1,  # libheif has applied the container's rotation; EXIF orientation is ignored
        primaries=coded.get("color_primaries", 0),
        transfer=coded.get("transfer_characteristics", 0),
        lost=_companions(picture, data),
        icc=picture.info.get("icc_profile"),
        exif=picture.info.get("exif"),
        xmp=bytes(xmp) if xmp else None,
    )


def _companions(picture: Any, data: bytes) -> tuple[str, ...]:  # noqa: ANN401  # untyped
    """Which of "a gain map (HDR)" and "a depth map" the HEIC file `data` holds beside `picture`."""
    kinds = " ".join(str(kind) for kind in picture.info.get("aux", {})).lower()
    parts = []
    if "gainmap" in kinds or b"tmap" in brands_of(data) or b"hdrgainmap" in data[:65536]:
        parts.append("a gain map (HDR)")
    if picture.info.get("depth_images") or "depth" in kinds:
        parts.append("a depth map")
    return tuple(parts)


def _of_extra(module: str, extra: str, task: str) -> Any:  # noqa: ANN401  # untyped modules
    try:
        return import_module(module)
    except ImportError as exc:
        raise missing_extra(task, extra) from exc


def write_bmp(samples: NDArray[Any], metadata: Metadata) -> bytes:
    """The bytes of a BMP file of 8-bit grey or RGB levels (H, W, C); stores only `metadata.dpi`."""
    options = {"dpi": metadata.dpi} if metadata.dpi else {}
    return _save(samples, "BMP", **options)


def write_webp(samples: NDArray[Any], metadata: Metadata) -> bytes:
    """The bytes of a lossless WebP file of (H, W, C) 8-bit RGB or RGBA levels, with metadata.

    Colour under alpha 0 is kept. Lossy WebP is never written: it halves the resolution of colour,
    which changes red edges by up to 100 of 255 levels.
    """
    speed = {"quality": 0, "method": 0}  # a quick search: larger files, the same pixels
    return _save(samples, "WEBP", lossless=True, exact=True, **speed, **_options(metadata))


def write_avif(samples: NDArray[Any], depth: Depth, metadata: Metadata, *, quality: int) -> bytes:
    """The bytes of an AVIF file of (H, W, C) RGB(A) levels of 8, 10 or 12 bits; quality 1..100."""
    if depth == 8:
        options = _options(metadata)
        return _save(samples, "AVIF", quality=quality, subsampling="4:4:4", **options)
    import cv2  # the only encoder here that writes more than 8 bits and metadata

    kinds = {"exif": cv2.IMAGE_METADATA_EXIF, "xmp": cv2.IMAGE_METADATA_XMP}
    kinds["icc"] = cv2.IMAGE_METADATA_ICCP
    bodies = {kinds[name]: getattr(metadata, name) for name in kinds if getattr(metadata, name)}
    order = [2, 1, 0, 3][: samples.shape[2]]
    done, coded = cv2.imencodeWithMetadata(
        ".avif",
        np.ascontiguousarray(samples[..., order]),
        list(bodies),
        [np.frombuffer(body, np.uint8) for body in bodies.values()],
        [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, quality],
    )
    if not done:
        raise OutputError(f"OpenCV could not encode {depth}-bit AVIF; write PNG or TIFF instead")
    return bytes(coded)


def write_heif(samples: NDArray[Any], depth: Depth, metadata: Metadata, *, quality: int) -> bytes:
    """The bytes of a HEIC file of (H, W, C) RGB(A) levels of 8, 10 or 12 bits; quality 1..100.

    Colour is stored at half resolution (4:2:0), because many viewers cannot show anything else.
    """
    heif = _of_extra("pillow_heif", "heic", "Writing HEIC")
    mode = "RGB" if samples.shape[2] == 3 else "RGBA"
    buffer = BytesIO()
    heif.encode(
        mode if depth == 8 else f"{mode};{depth}",
        (samples.shape[1], samples.shape[0]),
        samples.tobytes(),
        buffer,
        quality=quality,
        chroma=420,
        bit_depth=depth,
        **_options(metadata),
    )
    return buffer.getvalue()


def _options(metadata: Metadata) -> dict[str, Any]:
    options = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp}
    if metadata.exif:
        options["exif"] = EXIF_MARK + metadata.exif
    return {name: body for name, body in options.items() if body}


def _save(samples: NDArray[Any], format: str, **options: Any) -> bytes:  # noqa: ANN401
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    mode = modes[samples.shape[2]]
    size = (samples.shape[1], samples.shape[0])
    buffer = BytesIO()
    PillowImage.frombytes(mode, size, samples.tobytes()).save(buffer, format, **options)
    return buffer.getvalue()


def is_raw(data: bytes) -> bool:
    """Whether the bytes of a file are camera raw, that is, sensor data to be developed."""
    if data.startswith(STARTS) or b"crx " in brands_of(data) or data[8:10] == b"CR":
        return True
    try:
        layout = tags.layout_of(data)
        return _has_sensor_data(data, layout, layout.first, depth=0)
    except (ValueError, struct.error):
        return False


def _has_sensor_data(data: bytes, layout: TagLayout, offset: int, depth: int) -> bool:
    directory = tags.directory(data, offset, layout)
    (kind, *_) = tags.numbers(data, directory.entries.get(PHOTOMETRIC), layout) or (0,)
    if kind in SENSOR or (DNG_VERSION in directory.entries and kind in SENSOR):
        return True
    below = () if depth else tags.numbers(data, directory.entries.get(SUB_DIRECTORIES), layout)[:8]
    return any(_has_sensor_data(data, layout, child, depth + 1) for child in below)


def read_raw(data: bytes, *, max_pixels: int) -> Raw:
    """Develop camera raw to a 16-bit sRGB picture, upright, with the camera's white balance."""
    rawpy = _of_extra("rawpy", "raw", "Developing camera raw")
    with rawpy.imread(BytesIO(data)) as opened:
        check_pixels(opened.sizes.width, opened.sizes.height, most=max_pixels)
        try:
            samples = opened.postprocess(
                output_bps=16,
                use_camera_wb=True,
                gamma=GAMMA,
                output_color=rawpy.ColorSpace.sRGB,
            )
        except rawpy.LibRawError as exc:
            raise ImageReadError(
                f"expected camera raw that LibRaw can develop, got an error ({one_line(exc)}); "
                "develop the file to TIFF with another program"
            ) from exc
    return Raw(
        samples,
        top=65535,
        model="rgb",
        bit_depth=16,
        orientation=1,
        exif=_description(data),
        lost=("the raw sensor data (it was developed with the camera's white balance)",),
    )


def _description(data: bytes) -> bytes | None:
    """A new EXIF block of a camera raw file's tags; None if the file is not built like a TIFF."""
    from verax.image.tiff import DESCRIPTION

    try:
        layout = tags.layout_of(data)
        tree = tags.tree(data, layout.first, layout, only=DESCRIPTION)
    except (ValueError, struct.error):
        return None
    return tags.block_of(tree, order=layout.order) if tree else None
