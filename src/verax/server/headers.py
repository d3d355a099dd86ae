"""What the file of a picture says before anything is decoded. For worker processes only."""

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image as PillowImage

from verax.server.limits import Limits
from verax.server.replies import Problem

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112
SUFFIXES = {
    "PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif",
    "HEIF": ".heic", "BMP": ".bmp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """Size of a picture as it stands upright, and its format by Pillow's name."""

    width: int
    height: int
    format: str


def header(path: Path, param: str, limits: Limits) -> Header:
    """A picture's header. Raises Problem 400 for what is no picture or too large."""
    try:
        with opened(path) as picture:
            turned = _exif(picture).get(ORIENTATION, 1) in TURNED
            width, height = picture.size[::-1] if turned else picture.size
            found = Header(width, height, picture.format or "PNG")
    except PillowImage.DecompressionBombError as exc:
        raise Problem(400, f"{param}: the picture is too large", "image_too_large", param) from exc
    except Exception as exc:  # the header reader raises anything for a file that is no picture
        raise Problem(
            400, f"{param}: want a picture (PNG, JPEG, WebP, TIFF, AVIF)", "invalid_image", param
        ) from exc
    if width * height > limits.pixels:
        most = limits.pixels / 1e6
        raise Problem(
            400, f"{param}: want at most {most:g} megapixels, got {width}x{height}",
            "image_too_large", param,
        )  # fmt: skip
    return found


def _exif(picture: PillowImage.Image) -> PillowImage.Exif:
    """The EXIF block; of a PNG only one that stands before the pixels, since the other is looked
    for by decoding them."""
    if picture.format != "PNG":
        return picture.getexif()
    found = PillowImage.Exif()
    found.load(picture.info.get("exif", b""))
    return found


def opened(path: Path) -> PillowImage.Image:
    """The picture, undecoded; only as one of the formats that Verax reads."""
    return PillowImage.open(path, formats=_formats())


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    with contextlib.suppress(ImportError):  # HEIF needs an extra
        import pillow_heif

        pillow_heif.register_heif_opener()
    PillowImage.init()
    return tuple(name for name in SUFFIXES if name in PillowImage.OPEN)
