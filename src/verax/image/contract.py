"""What a picture is inside Verax, what readers return, and the checks that guarantee it.

A picture is an array of shape (H, W, 3), float32, sRGB-encoded, in [0, 1]. Row 0 is the top.
`docs/contract.md` is the long form: pixels, coordinates, colour, alpha, metadata.
"""

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
    """What a file carried beside its pixels, as raw bytes; not in `repr`: EXIF names places.

    Attributes:
        icc: the profile the pixels came from and are written back into.
        exif: TIFF-structured; orientation applied and reset to 1, no thumbnail.
        iptc: IIM data sets, the older form of captions and credits.
        comment: of a JPEG file.
        texts: (kind, body) of PNG text chunks.
        colour: (kind, body) of PNG colour chunks, from which `icc` was made where there was none.
        dpi: horizontal, vertical.
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
class Stored:
    """Samples as a file in another colour space held them, upright: (H, W, C) levels 0..top."""

    samples: NDArray[np.unsignedinteger] = field(repr=False)
    top: int


@dataclass(frozen=True, slots=True, repr=False)
class Photo:
    """A picture with what is needed to write it back in its own format.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1], upright.
        alpha: (H, W) float32 in [0, 1], straight, or None when the file had none.
        bit_depth: bits per channel in the file: 8 or 16, in AVIF and HEIC also 10 or 12.
        color: "rgb", "grey" or "cmyk": how the file stored it.
        format: "png", "jpeg", "webp", "tiff", "avif", "heif" or "bmp"; "" for an array.
        metadata: ICC profile, EXIF, XMP, IPTC, texts and resolution.
        name: file name for messages, "" for an array.
        lost: what the file held and nothing here carries, such as "a gain map (HDR)".
        stored: the file's own samples where they are in another colour space than the pixels.
        sha256: of the file's bytes, or of the array's shape and bytes when there was no file.
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
    stored: Stored | None = field(default=None, repr=False)

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

    def _repr_png_(self) -> bytes:
        """The picture as notebooks show it."""
        return preview_png(self.pixels)


def preview_png(*pictures: Image) -> bytes:
    """PNG of pictures of one size side by side, each at most PREVIEW_PX on its long side."""
    import cv2  # loaded only where a picture is shown
    import imagecodecs

    height, width = pictures[0].shape[:2]
    scale = min(1.0, PREVIEW_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    return bytes(imagecodecs.png_encode(to_uint8(np.hstack(small))))


def from_array(pixels: Image, *, name: str = "image") -> Photo:
    """A photo that never was a file; its hash is that of shape and bytes."""
    check_image(pixels, name=name)
    return Photo(pixels, sha256=array_sha256(pixels))


def without_metadata(photo: Photo) -> Photo:
    """The photo with nothing but pixels and alpha, for sending out. Written as plain sRGB."""
    return replace(photo, metadata=Metadata())


def array_sha256(array: NDArray[np.float32]) -> str:
    """Hash of an array's shape and little-endian bytes, the same on every machine."""
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def check_image(array: Image, *, name: str = "image") -> Image:
    """The array itself if it follows the contract; raises ImageContractError otherwise."""
    if not isinstance(array, np.ndarray):
        raise ImageContractError(
            f"{name}: expected a numpy array, got {type(array).__name__}; see verax.image.read"
        )
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.float32:
        raise ImageContractError(
            f"{name}: expected (H, W, 3) float32 in [0, 1], got {array.shape} {array.dtype}; "
            "verax.image.from_uint8 converts 8-bit levels"
        )
    if array.size == 0:
        raise ImageContractError(f"{name}: expected at least one pixel, got {array.shape}")
    _check_range(array, name)
    return array


def check_plane(plane: Plane, *, size: tuple[int, int], name: str = "plane") -> Plane:
    """The plane itself if it is (H, W) float32 in [0, 1] of `size` = (width, height)."""
    if not isinstance(plane, np.ndarray) or plane.dtype != np.float32:
        kind = plane.dtype if isinstance(plane, np.ndarray) else type(plane).__name__
        raise ImageContractError(f"{name}: expected a (H, W) float32 array, got {kind}")
    if plane.shape != (size[1], size[0]):
        raise ImageContractError(f"{name}: expected shape {(size[1], size[0])}, got {plane.shape}")
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
    """The image itself if both sides have `minimum` px; raises ImageContractError otherwise.

    Reading and writing work at any size; restoring and registering do not.
    """
    height, width = image.shape[:2]
    if min(height, width) < minimum:
        raise ImageContractError(
            f"{name}: expected at least {minimum} px on each side, got {width}x{height}; "
            "enlarge it or use a larger original"
        )
    return image


def is_grey(image: Image) -> bool:
    """Channels equal within one 8-bit level."""
    red, green, blue = (image[..., channel] for channel in range(3))
    most = max(float(np.abs(red - green).max()), float(np.abs(blue - green).max()))
    return most <= 1.0 / 255.0


def keep_grey(image: Image, photo: Image) -> Image:
    """The image in grey if the photo is grey: only a prior can add colour."""
    if not is_grey(photo) or (image == photo).all():
        return image
    grey = np.asarray(image @ LUMA_709, np.float32)[..., None]
    return np.clip(np.repeat(grey, 3, axis=2), 0.0, 1.0)


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Nearest 8-bit levels of a picture or plane in [0, 1]; values beyond are clipped."""
    return _levels(image, np.empty(np.shape(image), np.uint8), 8)


def to_uint16(image: Image, *, bits: int = 16) -> NDArray[np.uint16]:
    """Nearest levels 0..2**bits - 1 of a picture or plane in [0, 1]."""
    return _levels(image, np.empty(np.shape(image), np.uint16), bits)


def _levels(image: Image, whole: NDArray[Level], bits: int, band: int = 16) -> NDArray[Level]:
    """Nearest levels, into `whole`; by bands of rows that stay in the processor's cache."""
    for top in range(0, len(image), band):
        levels = np.clip(np.asarray(image[top : top + band], np.float32), 0.0, 1.0)
        levels *= np.float32(2**bits - 1)
        whole[top : top + band] = np.rint(levels, out=levels)
    return whole


def from_uint8(levels: NDArray[np.uint8]) -> Image:
    """A picture or plane from 8-bit levels."""
    return np.asarray(levels, np.float32) / np.float32(255.0)


@dataclass(frozen=True, slots=True)
class Raw:
    """One decoded picture.

    Attributes:
        samples: (H, W, C) unsigned levels 0..top; C colour channels of `model`, then at most
            one alpha channel. CMYK levels count ink.
        top: the level that means 1.
        model: what the colour channels are.
        bit_depth: 8, 10, 12 or 16.
        premultiplied: colour was stored times alpha.
        orientation: EXIF orientation, 1..8, still to be applied; None: as the EXIF block says.
        primaries, transfer: colour space and curve by their numbers in ITU-T H.273, 0 where the
            file does not say; ignored if there is an ICC profile.
        colour: PNG colour chunks to be carried as they are.
        lost: what the file holds and nothing here carries, in words.
    """

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
    """The resolution, or None for one that no picture has and some formats cannot state."""
    return dpi if dpi and all(0.01 < value < 1e6 for value in dpi) else None


def one_line(text: object) -> str:
    """A text for a message: on one line, at most 200 characters."""
    return " ".join(str(text).split())[:200]


def planes(samples: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, C) levels as (H, W, C)."""
    return np.atleast_3d(samples)


def check_pixels(width: int, height: int, *, most: int) -> None:
    """Raises ImageReadError for a size, stated by a header, that is empty or too large."""
    if width < 1 or height < 1:
        raise ImageReadError(
            f"expected at least one pixel, the header says {width}x{height}; the file is damaged"
        )
    if width * height > most:
        raise ImageReadError(
            f"expected at most {most / 1e6:g} megapixels, the header says {width}x{height} = "
            f"{width * height / 1e6:.0f}; scale it down, or raise max_pixels if you trust it"
        )


def check_frames(count: int) -> None:
    """Raises ImageReadError for a file of several frames or pages."""
    if count > 1:
        raise ImageReadError(
            f"expected one still picture, got {count} frames or pages; save one of them as PNG"
        )
