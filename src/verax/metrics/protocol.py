"""What must be known about a number before it may stand beside another one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from verax.errors import InputError
from verax.image import Image

Channel = Literal["rgb", "y"]
Direction = Literal["higher", "lower"]

# ITU-R BT.601 luma in the studio range 16..235, as MATLAB's rgb2ycbcr gives it, over 255.
LUMA_601 = np.array([65.481, 128.553, 24.966], np.float32) / np.float32(255.0)
LUMA_601_OFFSET = np.float32(16.0 / 255.0)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How two pictures are compared.

    Attributes:
        channel: "rgb": every channel, then the mean; "y": BT.601 luma in the range 16..235 / 255.
        border_px: pixels left out on every side.
        resampler: what brought the restoration onto the reference's grid; "none" when they
            shared it from the start.
    """

    channel: Channel = "rgb"
    border_px: int = 0
    resampler: str = "none"


@dataclass(frozen=True, slots=True)
class Score:
    """One number with its protocol; scores are comparable when `protocol` is equal."""

    metric: str
    value: float
    unit: str
    direction: Direction
    channel: str
    border_px: int
    data_range: float
    resampler: str
    kernel: str
    library: str
    version: str

    @property
    def protocol(self) -> tuple[str | int | float, ...]:
        """Everything but the value."""
        return (
            self.metric,
            self.channel,
            self.border_px,
            self.data_range,
            self.resampler,
            self.kernel,
            self.library,
            self.version,
        )


def parse_protocol(text: str) -> Protocol:
    """A protocol from "rgb", "y", "rgb:4" or "y:4" (channel, then border in pixels)."""
    channel, _, border = text.partition(":")
    if channel not in ("rgb", "y") or not (border == "" or border.isdecimal()):
        raise InputError(
            f"protocol {text!r}: want a channel, rgb or y, and a border in pixels, such as y:4"
        )
    return Protocol("y" if channel == "y" else "rgb", int(border or 0))


def crop_border(image: Image, border_px: int) -> Image:
    """The picture without `border_px` pixels on every side."""
    if border_px < 0 or 2 * border_px >= min(image.shape[:2]):
        raise InputError(
            f"border of {border_px} px: want 0 or more and less than half of the picture, "
            f"which is {image.shape[1]}x{image.shape[0]}"
        )
    return image[border_px : image.shape[0] - border_px, border_px : image.shape[1] - border_px]


def select_channel(image: Image, channel: Channel) -> Image:
    """(H, W, 3) for "rgb", (H, W, 1) for "y"."""
    if channel == "rgb":
        return image
    return np.asarray(image @ LUMA_601 + LUMA_601_OFFSET, np.float32)[..., None]
