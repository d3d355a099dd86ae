"""The types of a picture inside Verax, and the checks of its shape, type and range.

A picture is an array of shape (H, W, 3), float32, sRGB-encoded, in [0, 1]. Row 0 is the top.
`docs/contract.md` says more about pixels, coordinates, colour, alpha and metadata."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageContractError, ImageReadError

Image = NDArray[np.float32]  # (H, W, 3), sRGB, [0, 1]
Plane = NDArray[np.float32]  # (H, W), [0, 1] unless said otherwise

LUMA_709 = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709
Level = TypeVar("Level", np.uint8, np.uint16)
MIN_SIDE = 16  # px; below it there is nothing to register or to restore
Model = Literal["rgb", "grey", "cmyk"]
Depth = Literal[8, 10, 12, 16]
CHANNELS: dict[Model, int] = {"grey": 1, "rgb": 3, "cmyk": 4}
PREVIEW_PX = 480  # long side of each picture of a preview


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a file as raw bytes, hidden from `repr` because they may name places.
    None or () means that the file has none.

    Attributes:
        icc: the profile from which the pixels were converted, and into which they are written.
        exif: the EXIF block, without thumbnail, with its orientation reset to 1.
        xmp: the XMP packet.
        dpi: horizontal and vertical dots per inch.
        iptc: IIM data sets, the older form of captions and credits.
        comment: the comment of a JPEG file.
        texts: PNG text chunks as (type, body).
        colour: PNG colour chunks as (type, body); `icc` is made from them if it is not in the file.
    """

    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    iptc: bytes | None = field(default=None, repr=False)
    comment: bytes | None = field(default=None, repr=False)
    texts: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    colour: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """Upright samples (H, W, C) of a file that is not in sRGB; the level `top` means 1.0."""

    samples: NDArray[np.unsignedinteger] = field(repr=False)
    top: int


@dataclass(frozen=True, slots=True, repr=False)
class Photo:
    """A picture with what is needed to write it back in its own format.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1], upright.
        alpha: (H, W) float32 in [0, 1], not multiplied into the colour; None if the file had none.
        bit_depth: bits per channel in the file: 8 or 16, in AVIF and HEIC also 10 or 12.
        color: the file's colour model: "rgb", "grey" or "cmyk".
        format: the file's format, such as "jpeg", "heif" or "raw" (camera raw); "" for an array.
        metadata: ICC profile, EXIF, XMP, IPTC, texts and resolution.
        name: file name for messages, "" for an array.
        lost: what the file holds and is not kept, in words, such as "a gain map (HDR)".
        stored: the samples in the file's own colours; None if these are sRGB or premultiplied.
        sha256: hash of the file's bytes; without a file, of the array's shape and bytes.
    """

    pixels: Image
    alpha: Plane | None = None
    bit_depth: Literal[8, 10, 12, 16] = 8
    color: Literal["rgb", "grey", "cmyk"] = "rgb"
    format: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    name: str = ""
    sha256: str = ""
    lost: tuple[str, ...] = ()
    stored: StoredSamples | None = field(default=None, repr=False)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def __repr__(self) -> str:
        kind = f"{self.bit_depth} bit {self.color}{'' if self.alpha is None else ' with alpha'}"
        about = [self.name, f"{self.width}x{self.height}", self.format, kind]
        return f"<Photo {', '.join(filter(None, about))}>"

    def _repr_png_(self) -> bytes:  # what notebooks show
        return preview_png(self.pixels)


def preview_png(*pictures: Image) -> bytes:
    """PNG bytes of equally large pictures side by side, each reduced to at most 480 px a side."""
    import cv2  # loaded only where a picture is shown
    import imagecodecs

    height, width = pictures[0].shape[:2]
    scale = min(1.0, PREVIEW_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    return bytes(imagecodecs.png_encode(to_uint8(np.hstack(small))))


def from_array(pixels: Image, *, name: str = "image") -> Photo:
    """A photo made from an array (H, W, 3); `name` is used only in error messages."""
    check_image(pixels, name=name)
    return Photo(pixels, sha256=array_sha256(pixels))


def without_metadata(photo: Photo) -> Photo:
    """The photo without its metadata and ICC profile, so that it is written as plain sRGB."""
    return replace(photo, metadata=Metadata())


def array_sha256(array: NDArray[np.float32]) -> str:
    """Hexadecimal SHA-256 of an array's shape and values, the same on every machine."""
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def check_image(array: Image, *, name: str = "image") -> Image:
    """Return the array if it is (H, W, 3) float32 in [0, 1]; raise ImageContractError otherwise."""
    if not isinstance(array, np.ndarray):
        raise ImageContractError(
            f"{name}: expected a numpy array, got {type(array).__name__}; verax.open reads a file"
        )
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.float32:
        raise ImageContractError(
            f"{name}: expected (H, W, 3) float32 in [0, 1], got {array.shape} {array.dtype}; "
            "verax.image.from_uint8 converts 8-bit levels"
        )
    if array.size == 0:
        what = f"got an empty array of shape {array.shape}; pass another picture"
        raise ImageContractError(f"{name}: expected at least one pixel, {what}")
    _check_range(array, name)
    return array


def check_plane(plane: Plane, *, size: tuple[int, int], name: str = "plane") -> Plane:
    """Return the plane if it is float32 in [0, 1] of `size` (width, height), else raise an
    error."""
    if not isinstance(plane, np.ndarray) or plane.dtype != np.float32:
        kind = plane.dtype if isinstance(plane, np.ndarray) else type(plane).__name__
        raise ImageContractError(f"{name}: expected a (H, W) float32 array, got {kind}; convert it")
    if plane.shape != (shape := size[::-1]):
        raise ImageContractError(f"{name}: expected shape {shape}, got {plane.shape}; resize it")
    _check_range(plane, name)
    return plane


def _check_range(array: NDArray[np.float32], name: str) -> None:
    low, high = float(array.min()), float(array.max())
    if low >= 0.0 and high <= 1.0:  # NaN fails this too
        return
    if np.isnan(low):
        raise ImageContractError(
            f"{name}: expected values in [0, 1], got NaN; numpy.nan_to_num replaces them"
        )
    raise ImageContractError(
        f"{name}: expected values in [0, 1], got {low:.3g}..{high:.3g}; divide 8-bit data by 255"
    )


def check_size(image: Image, *, name: str = "photo", minimum: int = MIN_SIDE) -> Image:
    """Return the image if no side is below `minimum` px; raise ImageContractError otherwise.
    Smaller pictures can be read and written, but neither registered nor restored."""
    height, width = image.shape[:2]
    if min(height, width) < minimum:
        raise ImageContractError(
            f"{name}: expected at least {minimum} px on each side, got {width}x{height}; "
            "use a larger original"
        )
    return image


def is_grey(image: Image) -> bool:
    """Whether the three channels differ by at most one 8-bit level in every pixel."""
    red, green, blue = (image[..., channel] for channel in range(3))
    most = max(float(np.abs(red - green).max()), float(np.abs(blue - green).max()))
    return most <= 1.0 / 255.0


def keep_grey(image: Image, photo: Image) -> Image:
    """The image (H, W, 3), converted to grey if the photo is grey; otherwise unchanged."""
    if not is_grey(photo) or (image == photo).all():
        return image
    grey = np.asarray(image @ LUMA_709, np.float32)[..., None]
    return np.clip(np.repeat(grey, 3, axis=2), 0.0, 1.0)


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Convert a picture or plane to the nearest 8-bit levels, after clipping it to [0, 1]."""
    return _levels(image, np.empty(np.shape(image), np.uint8), 8)


def to_uint16(image: Image, *, bits: int = 16) -> NDArray[np.uint16]:
    """Convert a picture or plane, clipped to [0, 1], to the nearest levels 0..2**bits - 1."""
    return _levels(image, np.empty(np.shape(image), np.uint16), bits)


def _levels(image: Image, whole: NDArray[Level], bits: int, band: int = 16) -> NDArray[Level]:
    """Fill `whole` with the nearest levels 0..2**bits - 1 of `image`, `band` rows at a time."""
    for top in range(0, len(image), band):
        levels = np.clip(np.asarray(image[top : top + band], np.float32), 0.0, 1.0)
        levels *= np.float32(2**bits - 1)
        whole[top : top + band] = np.rint(levels, out=levels)
    return whole


def from_uint8(levels: NDArray[np.uint8]) -> Image:
    """Convert 8-bit levels to float32 in [0, 1]."""
    return np.asarray(levels, np.float32) / np.float32(255.0)


@dataclass(frozen=True, slots=True)
class Raw:
    """A decoded picture as its file stores it, from which a `Photo` is made.

    Attributes:
        samples: (H, W, C) unsigned levels 0..top: the colour channels of `model`, then at most
            one alpha channel. CMYK levels are amounts of ink.
        top: the level that stands for 1.0.
        model: the colour model of the channels.
        bit_depth: 8, 10, 12 or 16.
        premultiplied: whether the stored colour is multiplied by alpha.
        orientation: EXIF orientation, 1..8, of the samples; None if only `exif` states it.
        primaries, transfer: codes of ITU-T H.273 for colour space and curve, 0 if the file
            states none; an ICC profile takes precedence, except over a PNG's cICP chunk.
        colour: PNG colour chunks as (type, body), which are written back unchanged.
        lost: what the file holds and is not kept, in words.
        icc, exif, xmp, iptc, comment, dpi, texts: as in `Metadata`, but unchanged from the file."""

    samples: NDArray[Any]
    top: int
    model: Model
    bit_depth: Depth = 8
    premultiplied: bool = False
    orientation: int | None = None
    primaries: int = 0
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    texts: tuple[tuple[bytes, bytes], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    transfer: int = 0
    lost: tuple[str, ...] = ()


def plausible_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """The resolution if both values lie between 0.01 and a million dpi, otherwise None."""
    return dpi if dpi and all(0.01 < value < 1e6 for value in dpi) else None


def one_line(text: object) -> str:
    """The text of an object on one line, cut to 200 characters, for messages."""
    return " ".join(str(text).split())[:200]


def planes(samples: NDArray[Any]) -> NDArray[Any]:
    """Samples (H, W) or (H, W, C) as an array (H, W, C)."""
    return np.atleast_3d(samples)


def check_pixels(width: int, height: int, *, most: int) -> None:
    """Raise ImageReadError if a picture of this size has no pixels or more than `most` pixels."""
    if width < 1 or height < 1:
        raise ImageReadError(
            f"expected at least 1x1 px, the file's header says {width}x{height}; get another copy"
        )
    if width * height > most:
        raise ImageReadError(
            f"expected at most {most / 1e6:g} megapixels, the file's header says {width}x{height} "
            f"= {width * height / 1e6:.4g}; scale it down, or raise max_pixels if you trust it"
        )


def check_frames(count: int) -> None:
    """Raise ImageReadError if `count`, the frames or pages in a file, is more than one."""
    if count > 1:
        raise ImageReadError(
            f"expected one still picture, got {count} frames or pages; save one of them as PNG"
        )
