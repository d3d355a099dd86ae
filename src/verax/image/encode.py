"""From a picture to a file's bytes: as the photo came, as far as the format can hold it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError, OutputError, SizeMismatchError, UnknownNameError
from verax.image import colour
from verax.image.codecs import write_avif, write_bmp, write_heif, write_jpeg, write_webp
from verax.image.contract import (
    Image,
    Metadata,
    Photo,
    Plane,
    check_image,
    check_plane,
    to_uint8,
    to_uint16,
)
from verax.image.metadata import plausible_dpi, without_gps
from verax.image.png import write_png
from verax.image.raw import Depth, Model, one_line
from verax.image.tiff import write_tiff

QUALITY = 95  # of JPEG, AVIF and HEIC, 1..100; at 95 they err by about one grey level


@dataclass(frozen=True, slots=True)
class Ability:
    """What a format can hold."""

    depths: tuple[Depth, ...]
    models: tuple[Model, ...]
    alpha: bool = True
    icc: bool = True


ABILITIES = {
    "png": Ability((8, 16), ("rgb", "grey")),
    "jpeg": Ability((8,), ("rgb", "grey", "cmyk"), alpha=False),
    "webp": Ability((8,), ("rgb",)),
    "tiff": Ability((8, 16), ("rgb", "grey", "cmyk")),
    "avif": Ability((8, 10, 12), ("rgb",)),
    "heif": Ability((8, 10, 12), ("rgb",)),
    "bmp": Ability((8,), ("rgb", "grey"), alpha=False, icc=False),
}
ALIASES = {"jpg": "jpeg", "tif": "tiff", "heic": "heif"}


def encode(
    image: Image,
    *,
    format: str = "png",
    like: Photo | None = None,
    drop_gps: bool = False,
    quality: int = QUALITY,
) -> bytes:
    """File bytes of a picture; with `like`, as that photo came.

    Taken over from `like`, as far as the format holds it: depth, alpha, ICC profile (the
    pixels are converted into it), EXIF, XMP, resolution, CMYK, and grey while the picture is
    still grey. Without `like`: 8-bit sRGB and no metadata. `quality` 1..100 is for JPEG,
    AVIF and HEIC; the other formats are lossless. Raises InputError for what cannot be
    written, OutputError when an encoder fails.
    """
    image = np.ascontiguousarray(check_image(image))  # encoders refuse a view with strides
    format = ALIASES.get(format, format)
    if format not in ABILITIES:
        raise UnknownNameError(
            f"unknown picture format {format!r}; known: {', '.join(sorted(ABILITIES))}"
        )
    if not 1 <= quality <= 100:
        raise InputError(f"quality: want 1 to 100, got {quality}")
    photo = like or Photo(image)
    if drop_gps:
        photo = without_gps(photo)
    can = ABILITIES[format]
    model, depth, alpha = _plan(image, photo, can)
    icc = photo.metadata.icc
    icc = icc if can.icc and colour.writable(icc, model) else None
    values = colour.from_srgb(image, model, icc)
    if alpha is not None:
        values = np.concatenate([values, alpha[..., None]], axis=2)
    samples = to_uint8(values) if depth == 8 else to_uint16(values, bits=depth)
    metadata = replace(photo.metadata, icc=icc, dpi=plausible_dpi(photo.metadata.dpi))
    try:
        return _write(samples, format, model, depth, metadata, quality)
    except InputError:
        raise
    except Exception as exc:  # encoders raise anything: one door for all of it
        raise OutputError(
            f"want a {format} file of {image.shape[1]}x{image.shape[0]} px, the encoder failed "
            f"({one_line(exc)}); write PNG or TIFF instead"
        ) from exc


def _plan(image: Image, like: Photo, can: Ability) -> tuple[Model, Depth, Plane | None]:
    """Colour model, depth and alpha that the file will have."""
    model = like.color if like.color in can.models else "rgb"
    if model == "grey" and not _is_grey(image):
        model = "rgb"
    depth = next((d for d in can.depths if d >= like.bit_depth), can.depths[-1])
    if like.alpha is None or not can.alpha:
        return model, depth, None
    size = (image.shape[1], image.shape[0])
    if like.alpha.shape != image.shape[:2]:
        raise SizeMismatchError(
            f"want a picture of the photo's size {like.width}x{like.height}, since its alpha "
            f"goes with it; got {size[0]}x{size[1]}: resize it, or leave out `like`"
        )
    return model, depth, check_plane(like.alpha, size=size, name="alpha")


def _is_grey(image: Image) -> bool:
    """Channels equal within one 8-bit level."""
    red, green, blue = (image[..., channel] for channel in range(3))
    most = max(float(np.abs(red - green).max()), float(np.abs(blue - green).max()))
    return most <= 1.0 / 255.0


def _write(
    samples: NDArray[np.uint8] | NDArray[np.uint16],
    format: str,
    model: Model,
    depth: Depth,
    metadata: Metadata,
    quality: int,
) -> bytes:
    if format == "png":
        return write_png(samples, metadata)
    if format == "tiff":
        return write_tiff(samples, model, metadata)
    if format == "jpeg":
        return write_jpeg(samples, metadata, quality=quality)
    if format == "bmp":
        return write_bmp(samples, metadata)
    if format == "webp":
        return write_webp(samples, metadata)
    if format == "avif":
        return write_avif(samples, depth, metadata, quality=quality)
    return write_heif(samples, depth, metadata, quality=quality)
