"""score(): numbers for one restoration."""

from collections.abc import Sequence
from importlib.metadata import version

from verax import __version__
from verax.errors import InputError, SizeMismatchError
from verax.image import Image, check_image
from verax.metrics.protocol import Channel, Protocol, Score, crop_border, select_channel
from verax.metrics.registry import Metric, metric

DEFAULT_METRICS = ("psnr", "ssim")
DISTRIBUTIONS = {"opencv": "opencv-python-headless"}


def score(
    restored: Image,
    reference: Image | None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    protocol: Protocol = Protocol(),
) -> tuple[Score, ...]:
    """Each metric of `restored` against `reference`, in the order asked for.

    `reference` may be None when no metric needs one. Nothing is resized: raises
    SizeMismatchError when the sizes differ, UnknownNameError for an unknown metric, InputError
    for a picture too small for a metric, MissingExtraError when a learned metric is not installed.
    """
    chosen = [(name, metric(name)) for name in metrics]
    check_image(restored, name="restored")
    if reference is not None:
        check_image(reference, name="reference")
        check_same_size(restored, reference)
    return tuple(_score(name, entry, restored, reference, protocol) for name, entry in chosen)


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
            raise InputError(f"{name} compares with a reference, and none was given")
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
