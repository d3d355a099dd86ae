"""Metrics of restorations; every number carries its protocol.

`score` compares two pictures, `score_folders` all pictures of two folders. A `Protocol` says how a
number was computed; only numbers with equal protocols can be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from verax import __version__
from verax.errors import InputError, SizeMismatchError, VeraxError
from verax.image import Image, check_image, read
from verax.metrics.reference import PSNR_CAP_DB
from verax.metrics.registry import METRICS, Direction, Metric, metric

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "PSNR_CAP_DB",
    "FolderScores",
    "Metric",
    "Protocol",
    "Score",
    "parse_protocol",
    "score",
    "score_folders",
]

Channel = Literal["rgb", "y"]

# ITU-R BT.601 luma in the studio range 16..235, as MATLAB's rgb2ycbcr gives it, over 255.
LUMA_601 = np.array([65.481, 128.553, 24.966], np.float32) / np.float32(255.0)
LUMA_601_OFFSET = np.float32(16.0 / 255.0)
DEFAULT_METRICS = ("psnr", "ssim")
DISTRIBUTIONS = {"opencv": "opencv-python-headless"}
Align = Callable[[Image, Image], Image]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How two pictures are compared.

    Attributes:
        channel: "rgb": every channel, then the mean; "y": BT.601 luma in the range 16..235 / 255.
        border_px: pixels left out on every side.
        resampler: how the restoration was resampled to the reference's grid; "none" if they have
            the same.
    """

    channel: Channel = "rgb"
    border_px: int = 0
    resampler: str = "none"


@dataclass(frozen=True, slots=True)
class Score:
    """One number with its protocol; scores are comparable when `protocol` is equal.

    Attributes:
        metric, value, unit: the number, such as psnr, 23.2, dB.
        direction: "higher" or "lower" is better.
        channel, border_px, data_range: what was compared, and pixels left out on each side.
        resampler: how the restoration was resampled to the reference's grid, or "none".
        kernel: window, scales and constants.
        library, version: what computed it.
    """

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
        """Everything but the value: scores with equal protocols can be compared."""
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
            f"protocol {text!r}: expected a channel, rgb or y, and a border in pixels, such as y:4"
        )
    return Protocol("y" if channel == "y" else "rgb", int(border or 0))


def crop_border(image: Image, border_px: int) -> Image:
    """The picture without `border_px` pixels on every side."""
    if border_px < 0 or 2 * border_px >= min(image.shape[:2]):
        raise InputError(
            f"border of {border_px} px: expected 0 or more and less than half of the picture, "
            f"which is {image.shape[1]}x{image.shape[0]}"
        )
    return image[border_px : image.shape[0] - border_px, border_px : image.shape[1] - border_px]


def select_channel(image: Image, channel: Channel) -> Image:
    """(H, W, 3) for "rgb", (H, W, 1) for "y"."""
    if channel == "rgb":
        return image
    return np.asarray(image @ LUMA_601 + LUMA_601_OFFSET, np.float32)[..., None]


def score(
    restored: Image,
    reference: Image | None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    protocol: Protocol = Protocol(),
) -> tuple[Score, ...]:
    """Each metric of `restored` against `reference`, in the order of `metrics`.

    `reference` may be None when no metric needs one. Nothing is resized: raises
    SizeMismatchError when the sizes differ, UnknownNameError for an unknown metric, InputError
    for a picture too small for a metric, MissingExtraError when a learned metric is not installed.
    """
    entries = [(name, metric(name)) for name in metrics]
    check_image(restored, name="restored")
    if reference is not None:
        check_image(reference, name="reference")
        check_same_size(restored, reference)
    return tuple(_score(name, entry, restored, reference, protocol) for name, entry in entries)


def check_same_size(restored: Image, reference: Image) -> None:
    """Raises SizeMismatchError unless both share one grid."""
    if restored.shape != reference.shape:
        raise SizeMismatchError(
            f"the restoration is {restored.shape[1]}x{restored.shape[0]}, the reference "
            f"{reference.shape[1]}x{reference.shape[0]}; nothing is resized silently: "
            f"choose --align canvas, global or local"
        )


def _score(
    name: str, entry: Metric, restored: Image, reference: Image | None, protocol: Protocol
) -> Score:
    pictures = [restored]
    if entry.needs == "reference":
        if reference is None:
            raise InputError(f"{name} needs a reference, and none was given; add one")
        pictures.append(reference)
    channel: Channel = protocol.channel if entry.channel == "" else "rgb"
    ready = [select_channel(crop_border(p, protocol.border_px), channel) for p in pictures]
    return Score(
        metric=name,
        value=entry.function(*ready),
        unit=entry.unit,
        direction=entry.direction,
        channel=entry.channel or protocol.channel,
        border_px=protocol.border_px,
        data_range=entry.data_range,
        resampler=protocol.resampler,
        kernel=entry.kernel,
        library=f"verax on {entry.library}",
        version=f"{__version__} on {_version(entry.library)}",
    )


def _version(library: str) -> str:
    return version(DISTRIBUTIONS.get(library, library))


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a folder: its scores, or the reason why they are missing."""

    name: str
    scores: tuple[Score, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FolderScores:
    """All pictures of two folders.

    Attributes:
        rows: every matched name, scored or failed.
        without_reference: names only in the restored folder.
        without_restored: names only in the reference folder.
    """

    rows: tuple[Row, ...]
    without_reference: tuple[str, ...]
    without_restored: tuple[str, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.failure)

    @property
    def complete(self) -> bool:
        """Whether every picture has a partner and all its scores."""
        return not (self.failures or self.without_reference or self.without_restored)

    def means(self) -> dict[str, float]:
        """Mean over the scored pictures, by metric; always state their number, too."""
        scored = [row.scores for row in self.rows if not row.failure]
        return {
            column[0].metric: float(np.mean([s.value for s in column]))
            for column in zip(*scored, strict=True)
        }


def score_folders(
    restored: Mapping[str, Path],
    reference: Mapping[str, Path],
    metrics: Sequence[str] = DEFAULT_METRICS,
    protocol: Protocol = Protocol(),
    align: Align | None = None,
) -> FolderScores:
    """Score every picture that both folders have; a failure becomes a row with its reason.

    The folders are mappings from name to file. Raises InputError when they share no name.
    """
    common = sorted(restored.keys() & reference.keys())
    if not common:
        raise InputError(
            f"the two folders ({len(restored)} and {len(reference)} pictures) share no name; "
            f"pictures are matched by name without its ending, such as 01.png and 01.jpg"
        )
    rows = [_row(n, restored[n], reference[n], metrics, protocol, align) for n in common]
    return FolderScores(
        tuple(rows),
        tuple(sorted(restored.keys() - reference.keys())),
        tuple(sorted(reference.keys() - restored.keys())),
    )


def _row(
    name: str,
    restored: Path,
    reference: Path,
    metrics: Sequence[str],
    protocol: Protocol,
    align: Align | None,
) -> Row:
    try:
        ours, theirs = read(restored).pixels, read(reference).pixels
        return Row(name, score(align(ours, theirs) if align else ours, theirs, metrics, protocol))
    except VeraxError as exc:
        return Row(name, failure=str(exc))
