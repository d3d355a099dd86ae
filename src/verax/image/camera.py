"""Camera raw (DNG, CR2, CR3, NEF, ARW, ORF, RW2, RAF ...), developed by LibRaw through rawpy."""

import struct
from io import BytesIO
from typing import Any

from verax.errors import ImageReadError, missing_extra
from verax.image import tags
from verax.image.header import brands_of
from verax.image.raw import Raw, check_pixels
from verax.image.tags import Layout

PHOTOMETRIC, SUB_DIRECTORIES, DNG_VERSION = 262, 330, 50706
SENSOR = (32803, 34892)  # colour filter array, linear raw
STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
GAMMA = (2.4, 12.92)  # of sRGB, as LibRaw takes it


def is_raw(data: bytes) -> bool:
    """Whether a file holds sensor data, by its structure."""
    if data.startswith(STARTS) or b"crx " in brands_of(data) or data[8:10] == b"CR":
        return True
    try:
        layout = tags.layout_of(data)
        return _has_sensor_data(data, layout, layout.first, depth=0)
    except (ValueError, struct.error):
        return False


def _has_sensor_data(data: bytes, layout: Layout, offset: int, depth: int) -> bool:
    held = tags.directory(data, offset, layout)
    (kind, *_) = tags.numbers(data, held.entries.get(PHOTOMETRIC), layout) or (0,)
    if kind in SENSOR or (DNG_VERSION in held.entries and kind in SENSOR):
        return True
    below = tags.numbers(data, held.entries.get(SUB_DIRECTORIES), layout)[:8] if depth < 1 else ()
    return any(_has_sensor_data(data, layout, child, depth + 1) for child in below)


def read_raw(data: bytes, *, max_pixels: int) -> Raw:
    """A developed picture of 16 bits in sRGB, upright, with the camera's white balance."""
    rawpy = _rawpy()
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
                f"want camera raw that can be developed, LibRaw gave up ({exc}); develop it to TIFF"
            ) from exc
    exif = _description(data)
    return Raw(
        samples,
        top=65535,
        model="rgb",
        bit_depth=16,
        orientation=1,
        exif=exif,
        lost=("the sensor data: it was developed with the camera's white balance",),
    )


def _description(data: bytes) -> bytes | None:
    """EXIF of raw files that are built like TIFF."""
    from verax.image.tiff import DESCRIPTION

    try:
        layout = tags.layout_of(data)
        found = tags.tree(data, layout.first, layout, only=DESCRIPTION)
    except (ValueError, struct.error):
        return None
    return tags.block_of(found, order=layout.order) if found else None


def _rawpy() -> Any:  # noqa: ANN401  # untyped module of an extra
    try:
        import rawpy
    except ImportError as exc:
        raise missing_extra("Developing camera raw", "raw") from exc
    return rawpy
