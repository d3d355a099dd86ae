"""The image contract: what a picture is inside Verax, and its way in from and out to files.

A picture is an array of shape (H, W, 3), float32, sRGB-encoded, in [0, 1]. Row 0 is the top.
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from verax.errors import ImageContractError, ImageReadError

Image = NDArray[np.float32]  # (H, W, 3), sRGB, [0, 1]
Plane = NDArray[np.float32]  # (H, W), [0, 1] unless said otherwise


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carried beside its pixels, as raw bytes."""

    icc: bytes | None = None
    exif: bytes | None = None  # TIFF-structured, orientation already applied and reset to 1
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture with what is needed to write it back as it came.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1], upright.
        alpha: (H, W) float32 in [0, 1], or None when the file had none.
        bit_depth: 8 or 16.
        color: "rgb", "grey" or "cmyk": how the file stored it.
        format: "png", "jpeg", "webp", "tiff", "avif" or "heif"; "" for an array.
        metadata: ICC profile, EXIF, XMP and resolution.
        name: file name for messages, "" for an array.
        sha256: of the file's bytes, or of the array's when there was no file.
    """

    pixels: Image
    alpha: Plane | None = None
    bit_depth: Literal[8, 16] = 8
    color: Literal["rgb", "grey", "cmyk"] = "rgb"
    format: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    name: str = ""
    sha256: str = ""

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def check_image(array: Image, *, name: str = "image") -> Image:
    """The array itself if it follows the contract; raises ImageContractError otherwise."""
    if not isinstance(array, np.ndarray):
        raise ImageContractError(f"{name}: want a numpy array, got {type(array).__name__}")
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.float32:
        raise ImageContractError(
            f"{name}: want (H, W, 3) float32 in [0, 1], got {array.shape} {array.dtype}"
        )
    if array.size == 0:
        raise ImageContractError(f"{name}: want at least one pixel, got {array.shape}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN lands here too
        raise ImageContractError(
            f"{name}: want values in [0, 1], got {low:.3g}..{high:.3g}; divide 8-bit data by 255"
        )
    return array


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Nearest 8-bit levels of a picture or plane in [0, 1]."""
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), np.uint8)


def from_uint8(levels: NDArray[np.uint8]) -> Image:
    """A picture or plane from 8-bit levels."""
    return np.asarray(levels, np.float32) / np.float32(255.0)


def decode(data: bytes, *, name: str = "image") -> Photo:
    """A photo from the bytes of a file."""
    try:
        pillow = PillowImage.open(io.BytesIO(data)).convert("RGB")
    except Exception as exc:  # replaced by the full reader
        raise ImageReadError(f"{name}: not a picture") from exc
    return Photo(from_uint8(np.asarray(pillow)), name=name, sha256=hashlib.sha256(data).hexdigest())


def read(path: Path | str) -> Photo:
    """A photo from a file."""
    return decode(Path(path).read_bytes(), name=Path(path).name)


def encode(image: Image, *, format: str = "png", like: Photo | None = None) -> bytes:
    """File bytes of a picture."""
    buffer = io.BytesIO()
    PillowImage.fromarray(to_uint8(image)).save(buffer, format)
    return buffer.getvalue()


def write(
    path: Path | str, image: Image, *, like: Photo | None = None, drop_gps: bool = False
) -> None:
    """Write a picture; with `like`, as that photo came: depth, alpha, profile, metadata."""
    Path(path).write_bytes(encode(image, like=like))
