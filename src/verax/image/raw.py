"""What every reader hands over: the samples as stored, before orientation and colour."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError

Model = Literal["rgb", "grey", "cmyk"]
Depth = Literal[8, 10, 12, 16]
PQ, HLG = 16, 18  # transfer characteristics (ITU-T H.273)
CHANNELS: dict[Model, int] = {"grey": 1, "rgb": 3, "cmyk": 4}


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
        primaries: the colour space as ITU-T H.273 numbers it, 0 where the file does not say;
            counts where there is no ICC profile.
        transfer: the curve, numbered likewise.
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


def one_line(text: object) -> str:
    """A text for a message: of one line, and not endless."""
    return " ".join(str(text).split())[:200]


def planes(samples: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, C) levels as (H, W, C)."""
    return np.atleast_3d(samples)


def check_pixels(width: int, height: int, *, most: int) -> None:
    """Called with the size a header states, before anything is decoded."""
    if width < 1 or height < 1:
        raise ImageReadError(
            f"want at least one pixel, the header says {width}x{height}; the file is damaged"
        )
    if width * height > most:
        raise ImageReadError(
            f"want at most {most / 1e6:g} megapixels, the header says {width}x{height} = "
            f"{width * height / 1e6:.0f}; scale it down, or raise max_pixels if you trust it"
        )


def check_transfer(transfer: int) -> None:
    """High dynamic range has no meaning in [0, 1] sRGB."""
    if transfer in (PQ, HLG):
        raise ImageReadError(
            "want a standard-range picture, got high dynamic range (PQ or HLG); "
            "export it as SDR first"
        )


def check_frames(count: int) -> None:
    """One picture per file."""
    if count > 1:
        raise ImageReadError(
            f"want one still picture, got {count} frames or pages; save one of them as PNG"
        )
