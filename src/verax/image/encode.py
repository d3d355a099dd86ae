"""Encoding of a picture to the bytes of a file, with a photo's properties as far as possible."""

import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError, OutputError, SizeMismatchError, UnknownNameError
from verax.image import colour, places, tags
from verax.image.codecs import write_avif, write_bmp, write_heif, write_webp
from verax.image.contract import (
    Depth,
    Image,
    Metadata,
    Model,
    Photo,
    Plane,
    check_image,
    check_plane,
    is_grey,
    one_line,
    plausible_dpi,
    to_uint8,
    to_uint16,
)
from verax.image.jpeg import write_jpeg
from verax.image.jxl import LINEAR, write_jxl
from verax.image.png import write_png
from verax.image.segments import SEGMENT, XMP_MARK, metadata_segments
from verax.image.tiff import write_tiff
from verax.image.turning import resize_packet

QUALITY = 95  # of JPEG, AVIF and HEIC, 1..100; at 95 the error is about one 8-bit level


@dataclass(frozen=True, slots=True)
class Ability:
    """What a file format can store.

    Attributes:
        depths: bits per channel, in rising order.
        models: colour models.
        alpha: whether it can store an alpha channel.
        icc: whether it can store an ICC profile.
        linear: whether it can state, without an ICC profile, that 16-bit samples are in linear
            light.
    """

    depths: tuple[Depth, ...]
    models: tuple[Model, ...]
    alpha: bool = True
    icc: bool = True
    linear: bool = False

    def holds(self, icc: bytes | None, model: Model, depth: int) -> bool:
        """Whether the format can store samples of this model and depth in the profile `icc`.

        `depth`: bits per channel. False if `icc` is None.
        """
        if self.linear and depth > 8:
            grey = colour.profile_of_numbers(1, LINEAR, "grey")
            return icc in (colour.profile_of_numbers(1, LINEAR, model), colour.rgb_of_grey(grey))
        return self.icc and colour.writable(icc, model)


ABILITIES = {
    "png": Ability((8, 16), ("rgb", "grey")),
    "jpeg": Ability((8,), ("rgb", "grey", "cmyk"), alpha=False),
    "webp": Ability((8,), ("rgb",)),
    "tiff": Ability((8, 16), ("rgb", "grey", "cmyk")),
    "avif": Ability((8, 10, 12), ("rgb",)),
    "heif": Ability((8, 10, 12), ("rgb",)),
    "jxl": Ability((8, 16), ("rgb", "grey"), icc=False, linear=True),
    "bmp": Ability((8,), ("rgb", "grey"), alpha=False, icc=False),
}
# fields of Metadata that each format stores
COMMON = {"icc", "exif", "xmp"}
CARRIES = {
    "png": {*COMMON, "iptc", "texts"},
    "jpeg": {*COMMON, "iptc", "comment"},
    "tiff": {*COMMON, "iptc"},
    "webp": COMMON,
    "avif": COMMON,
    "heif": COMMON,
    "jxl": {"exif", "xmp"},
    "bmp": set[str](),
}
WORDS = {"icc": "the colour profile", "exif": "EXIF", "xmp": "XMP", "iptc": "IPTC"}
WORDS |= {"comment": "the comment", "texts": "texts (PNG)"}
ALIASES = {"jpg": "jpeg", "tif": "tiff", "heic": "heif"}


def encode(
    image: Image,
    *,
    format: str = "png",
    like: Photo | None = None,
    drop_gps: bool = False,
    quality: int = QUALITY,
) -> bytes:
    """Encode a picture to the bytes of a file.

    Args:
        image: (H, W, 3) sRGB in [0, 1].
        format: "png", "jpeg", "tiff", "webp", "avif", "heif", "jxl" or "bmp".
        like: a photo whose properties the file gets as far as the format can store them: bit depth,
            alpha, ICC profile, metadata and colour model (grey only if the picture is grey, too).
            Without `like` the file is 8-bit sRGB without metadata.
        drop_gps: leave positions and names of places out of the metadata.
        quality: 1..100 for JPEG, AVIF and HEIC; the other formats are lossless.

    Raises InputError for wrong arguments, OutputError if an encoder fails.
    """
    image = np.ascontiguousarray(check_image(image))  # encoders refuse a view with strides
    format = ALIASES.get(format, format)
    if format not in ABILITIES:
        raise UnknownNameError(
            f"unknown picture format {format!r}; choose one of {', '.join(sorted(ABILITIES))}"
        )
    if not 1 <= quality <= 100:
        raise InputError(f"quality: expected a number from 1 to 100, got {quality}")
    photo = like or Photo(image)
    if drop_gps:
        photo = places.without_places(photo)
    data = _encode(image, photo, format, quality)
    if drop_gps and places.has_place(data, like):  # a place is still there: drop all metadata
        bare = Metadata(icc=photo.metadata.icc, dpi=photo.metadata.dpi)
        data = _encode(image, replace(photo, metadata=bare), format, quality)
    return data


def _encode(image: Image, photo: Photo, format: str, quality: int) -> bytes:
    can = ABILITIES[format]
    model, depth, alpha = _plan(image, photo, can)
    values, icc = _values(image, photo, model, can)
    if alpha is not None:
        values = np.concatenate([values, alpha[..., None]], axis=2)
    samples = to_uint8(values) if depth == 8 else to_uint16(values, bits=depth)
    metadata = _metadata_of(photo, (image.shape[1], image.shape[0]), icc)
    try:
        return _write(samples, format, model, depth, metadata, quality)
    except (InputError, OutputError):
        raise
    except Exception as exc:  # encoders raise anything: one error for all
        raise OutputError(
            f"a picture of {image.shape[1]}x{image.shape[0]} px could not be encoded as {format} "
            f"({one_line(exc)}); write PNG or TIFF instead"
        ) from exc


def _values(
    image: Image, photo: Photo, model: Model, can: Ability
) -> tuple[colour.Values, bytes | None]:
    """The (H, W, C) values to be written, in [0, 1], and their ICC profile (None: sRGB).

    Args:
        image: (H, W, 3) the picture to be written.
        photo: the photo from which it was made; if possible, the file gets the photo's ICC profile
            and, in unchanged pixels, its stored values.
        model: the colour model of the file.
        can: what the file format can store.
    """
    own, greys = photo.metadata.icc, model == "rgb" and photo.color == "grey"
    own = colour.rgb_of_grey(own) if greys else own
    icc = own if can.holds(own, model, photo.bit_depth) else None
    stored = photo.stored
    as_it_came = (model == photo.color or greys) and icc == own
    if stored is None or not as_it_came or image.shape != photo.pixels.shape:
        return colour.from_srgb(image, model, icc), icc
    values = np.divide(stored.samples, np.float32(stored.top), dtype=np.float32)
    values = np.repeat(values, 3, axis=2) if greys else values
    return colour.as_stored(image, model, icc, before=photo.pixels, stored=values), icc


def _metadata_of(photo: Photo, size: tuple[int, int], icc: bytes | None) -> Metadata:
    """The photo's metadata, with the `size` (width, height) and the profile `icc` of a new
    picture."""
    metadata = photo.metadata
    was = (photo.width, photo.height)
    return replace(
        metadata,
        icc=icc,
        dpi=plausible_dpi(metadata.dpi),
        exif=resized_exif(metadata.exif, size) if metadata.exif else None,
        xmp=resize_packet(metadata.xmp, was, size) if metadata.xmp else None,
        colour=metadata.colour if icc == metadata.icc else (),
    )


def resized_exif(exif: bytes, size: tuple[int, int]) -> bytes:
    """The EXIF block with its width and height tags, if any, set to `size` (width, height).

    A block that cannot be parsed is returned unchanged."""
    block = bytearray(exif)
    try:
        layout = tags.layout_of(exif)
        for child in tags.chain(block, layout):
            for names, side in zip((tags.WIDTHS, tags.HEIGHTS), size, strict=True):
                for name in names:
                    _set_number(block, child.entries.get(name), layout, side)
    except (ValueError, struct.error):
        return exif
    return bytes(block)


def _set_number(
    block: bytearray, entry: tags.TagEntry | None, layout: tags.TagLayout, value: int
) -> None:
    if entry is None or entry.count != 1 or entry.kind not in (tags.SHORT, tags.LONG):
        return
    if tags.numbers(block, entry, layout) == (value,):
        return
    field = struct.pack(f"{layout.order}HII", tags.LONG, 1, value)
    block[entry.position + 2 : entry.position + 12] = field


def unkept(photo: Photo, format: str) -> tuple[str, ...]:
    """Which parts of a photo a file of this format does not keep, in words such as "alpha".

    `format`: a name such as "jpeg". The result includes what reading the photo has lost.
    """
    format = ALIASES.get(format, format)
    can, metadata = ABILITIES[format], photo.metadata
    lost = list(photo.lost)
    lost += [
        WORDS[name] for name in WORDS if getattr(metadata, name) and name not in CARRIES[format]
    ]
    if can.linear and can.holds(metadata.icc, photo.color, photo.bit_depth):
        lost.remove(WORDS["icc"])
    if format == "jpeg":
        written = b"".join(body for _, body in metadata_segments(metadata))
        for name in ("exif", "xmp", "iptc", "comment"):
            part = getattr(metadata, name)
            if part and len(part) > SEGMENT and part[-4000:] not in written and name != "xmp":
                lost.append(WORDS[name])
        if metadata.xmp and XMP_MARK not in written:
            lost.append(WORDS["xmp"])
    lost += ["alpha"] if photo.alpha is not None and not can.alpha else []
    if photo.bit_depth > can.depths[-1]:
        lost.append(f"{photo.bit_depth} bits per channel (now {can.depths[-1]})")
    lost += ["CMYK (now RGB)"] if photo.color == "cmyk" and "cmyk" not in can.models else []
    return tuple(dict.fromkeys(lost))


def _plan(image: Image, like: Photo, can: Ability) -> tuple[Model, Depth, Plane | None]:
    """Colour model, bits per channel and alpha (None: no alpha) of the file to be written.

    `like` is the photo whose properties the file should get; `can` is what the format can store.
    """
    model = like.color if like.color in can.models else "rgb"
    if model == "grey" and not is_grey(image):
        model = "rgb"
    depth = next((d for d in can.depths if d >= like.bit_depth), can.depths[-1])
    if like.alpha is None or not can.alpha:
        return model, depth, None
    size = (image.shape[1], image.shape[0])
    if like.alpha.shape != image.shape[:2]:
        raise SizeMismatchError(
            f"expected a picture of the photo's size {like.width}x{like.height}, because the "
            f"photo's alpha is written with it; got {size[0]}x{size[1]}: resize the picture, or "
            "leave out `like`"
        )
    return model, depth, check_plane(like.alpha, size=size, name="alpha")


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
    if format == "jxl":
        return write_jxl(samples, metadata)
    if format == "avif":
        return write_avif(samples, depth, metadata, quality=quality)
    return write_heif(samples, depth, metadata, quality=quality)
