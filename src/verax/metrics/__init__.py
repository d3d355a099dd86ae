"""Quality metrics for restorations, such as PSNR and SSIM.

`score` compares a restoration with its reference (ground truth); `score_folders` does so for all
pictures of two folders. Every score has a protocol, which says how it was computed: channel,
border, resampler, library. Only scores with equal protocols can be compared.
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

# ITU-R BT.601 luma in the studio range 16..235, as in MATLAB's rgb2ycbcr, divided by 255.
LUMA_601 = np.array([65.481, 128.553, 24.966], np.float32) / np.float32(255.0)
LUMA_601_OFFSET = np.float32(16.0 / 255.0)
DEFAULT_METRICS = ("psnr", "ssim")
DISTRIBUTIONS = {"opencv": "opencv-python-headless"}
Align = Callable[[Image, Image], Image]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How two pictures are compared.

    Attributes:
        channel: "rgb": all three channels, averaged; "y": BT.601 luma in the studio range 16..235.
        border_px: pixels left out on every side.
        resampler: how the restoration was resampled to the reference's grid; "none" if it was not.
    """

    channel: Channel = "rgb"
    border_px: int = 0
    resampler: str = "none"


@dataclass(frozen=True, slots=True)
class Score:
    """The value of one metric, with all that it depends on.

    Attributes:
        metric, value, unit: such as "psnr", 23.2, "dB".
        direction: whether "higher" or "lower" values are better.
        channel: what was compared: "rgb", "y", or the channel that the metric is defined on.
        border_px: pixels left out on every side.
        data_range: range of pixel values that the metric's constants belong to, 1 or 255.
        resampler: how the restoration was resampled to the reference's grid; "none" if it was not.
        kernel: the metric's window, scales and constants, in words.
        library, version: the software that computed the value.
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
        """All that the value depends on: scores with equal protocols can be compared."""
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
    """Parse a protocol such as "rgb", "y" or "y:4": the channel, then the border in pixels.

    Raises InputError for any other text.
    """
    channel, _, border = text.partition(":")
    if channel not in ("rgb", "y") or not (border == "" or border.isdecimal()):
        raise InputError(
            f"--protocol: expected rgb or y, or one of them with a border in pixels such as y:4, "
            f"got {text!r}"
        )
    return Protocol("y" if channel == "y" else "rgb", int(border or 0))


def crop_border(image: Image, border_px: int) -> Image:
    """The picture without `border_px` pixels on every side; InputError if nothing would remain."""
    if border_px < 0 or 2 * border_px >= min(image.shape[:2]):
        raise InputError(
            f"border: expected 0 px or more, and less than half of the shorter side of the picture "
            f"({image.shape[1]}x{image.shape[0]}), got {border_px} px"
        )
    return image[border_px : image.shape[0] - border_px, border_px : image.shape[1] - border_px]


def select_channel(image: Image, channel: Channel) -> Image:
    """The picture itself for "rgb"; for "y" its BT.601 luma (H, W, 1), 16/255 to 235/255."""
    if channel == "rgb":
        return image
    return np.asarray(image @ LUMA_601 + LUMA_601_OFFSET, np.float32)[..., None]


def score(
    restored: Image,
    reference: Image | None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    protocol: Protocol = Protocol(),
) -> tuple[Score, ...]:
    """Score a restoration (H, W, 3): one score for each name in `metrics`, in that order.

    `reference` is the ground truth, (H, W, 3); it may be None if no metric needs it. `protocol`
    says which channel is compared, and without how many px at the border.

    Pictures are never resized: SizeMismatchError is raised if the sizes differ. Also raises
    UnknownNameError for an unknown metric, InputError for a picture too small for a metric or a
    missing reference, and MissingExtraError if a learned metric is not installed.
    """
    entries = [(name, metric(name)) for name in metrics]
    check_image(restored, name="restored")
    if reference is not None:
        check_image(reference, name="reference")
        check_same_size(restored, reference)
    return tuple(_score(name, entry, restored, reference, protocol) for name, entry in entries)


def check_same_size(restored: Image, reference: Image) -> None:
    """Raise SizeMismatchError unless the two pictures have the same size."""
    if restored.shape != reference.shape:
        raise SizeMismatchError(
            f"expected a restoration of the reference's size "
            f"{reference.shape[1]}x{reference.shape[0]}, got {restored.shape[1]}x"
            f"{restored.shape[0]}; to bring it to that size, add --align canvas, global or local"
        )


def _score(
    name: str, entry: Metric, restored: Image, reference: Image | None, protocol: Protocol
) -> Score:
    pictures = [restored]
    if entry.needs == "reference":
        if reference is None:
            raise InputError(
                f"{name}: expected a reference (the ground truth to compare with), got none; add "
                "one, or choose a metric that needs none (verax metrics lists them)"
            )
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
    """One picture of a folder: its name and scores, or in `failure` why it could not be scored."""

    name: str
    scores: tuple[Score, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FolderScores:
    """The scores of all pictures of two folders, matched by name.

    Attributes:
        rows: one for each name in both folders, scored or failed.
        without_reference: names that only the folder of restorations has.
        without_restored: names that only the folder of references has.
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
        """The mean of each metric, by its name, over the pictures without a failure.

        Empty if there is no such picture.
        """
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
    """Score every picture that both folders have; if one cannot be scored, its row says why.

    Args:
        restored, reference: the files of each folder, by a name that is equal for partners.
        protocol: which channel is compared, and without how many px at the border.
        align: a function of (restored, reference) that returns the restoration aligned to the
            reference; None: the two must have the same size.

    Raises InputError if the folders have no name in common.
    """
    common = sorted(restored.keys() & reference.keys())
    if not common:
        raise InputError(
            f"expected two folders with pictures of the same names, such as 01.png and 01.jpg, but "
            f"the two ({len(restored)} and {len(reference)} pictures) have no name in common; give "
            "partners equal names"
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
