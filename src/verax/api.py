"""The public functions of `verax`. They accept pictures as paths, bytes, PIL pictures, arrays or
photos, and call the other packages."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from verax import image as images
from verax.deviation import measure as measure_arrays
from verax.deviation.record import Deviation
from verax.geometry import register as geometry
from verax.geometry.register import Registration
from verax.image import QUALITY, Image, Photo
from verax.metrics import Protocol, Score
from verax.metrics import score as score_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from verax.image.files import Picture

DEFAULT_METRICS = ("psnr", "ssim")


def open(picture: "Picture") -> Photo:
    """Open a picture: its pixels in one fixed form, and what is needed to save it again.

    Parameters
    ----------
    picture : path, bytes, PIL picture, array or Photo
        An array is (H, W), (H, W, 3) or (H, W, 4) with alpha: uint8, uint16, or float in [0, 1].

    Returns
    -------
    Photo
        `pixels` is (H, W, 3) float32 sRGB in [0, 1], upright; bit depth, alpha, colour profile and
        metadata are kept beside it.

    Raises
    ------
    ImageReadError
        The path or the bytes are not one still picture.
    ImageContractError
        The array has another shape, type or range.
    MissingExtraError
        The picture is HEIC, and the extra `heic` is not installed.
    """
    return images.as_photo(picture)


def save(
    picture: "Picture",
    path: "str | Path",
    *,
    like: "Picture | None" = None,
    drop_gps: bool = False,
    quality: int = QUALITY,
) -> None:
    """Save a picture in the format of the path's suffix. If that fails, no partial file is left.

    Parameters
    ----------
    picture : path, bytes, PIL picture, array or Photo
        What to save. A Photo keeps its own depth, alpha, profile and metadata.
    path
        Its suffix names the format: .png .jpg .webp .tif .avif .heic .bmp.
    like
        A photo whose bit depth, alpha, colour profile and metadata the file gets.
    drop_gps
        Leave the place where the photo was taken out of the metadata.
    quality
        Quality of JPEG, AVIF and HEIC files, 1 to 100 (best).

    Raises
    ------
    OutputError
        The file cannot be written.
    InputError
        The picture or an option cannot be used.
    """
    photo = images.as_photo(picture)
    pattern = photo if like is None else images.as_photo(like, name="like")
    images.write(path, photo.pixels, like=pattern, drop_gps=drop_gps, quality=quality)


def register(photo: "Picture", prior: "Picture") -> Registration:
    """Place a prior on a photo, and decide whether it shows the same scene.

    A prior that cannot be placed is no error: the result says so in `placed` and `reason`.

    Parameters
    ----------
    photo, prior : path, bytes, PIL picture, array or Photo
        At least 16 px on each side, of any two sizes.

    Returns
    -------
    Registration
        `placed` is "exactly", "roughly", "undecided" or "not" (another scene). `matrix` maps prior
        px to photo px; points are (x, y), the centre of the top-left pixel is (0, 0).

    Raises
    ------
    InputError
        A picture that cannot be read or used.
    """
    fixed, moving = _pixels(photo, "photo"), _pixels(prior, "prior")
    return geometry.register(fixed, moving)


def warp(prior: "Picture", registration: Registration) -> Image:
    """Lay a registered prior on its photo's grid.

    Parameters
    ----------
    prior : path, bytes, PIL picture, array or Photo
        The prior that was registered.
    registration
        What `register` returned for this prior. If `placed` is "undecided" or "not", the result
        need not match the photo.

    Returns
    -------
    (H, W, 3) float32 array
        The prior's pixels on the photo's grid. Beyond the prior, its border is repeated.

    Raises
    ------
    InputError
        A picture that cannot be read or used.
    """
    height, width = registration.confidence.shape
    return geometry.apply(registration, _pixels(prior, "prior"), size=(width, height)).pixels


def measure(
    photo: "Picture", generated: "Picture", registration: Registration | None = None
) -> Deviation:
    """Measure what an image generator changed in a photo.

    Parameters
    ----------
    photo, generated : path, bytes, PIL picture, array or Photo
        At least 16 px on each side, of any two sizes.
    registration
        The result of `verax.register(photo, generated)`; computed if it is not given.

    Returns
    -------
    Deviation
        `drift` is from 0 (nothing changed) to 100 (another scene); `sentences()` says it in words;
        `entries` holds every measured number with its unit and confidence interval.

    Raises
    ------
    InputError
        A picture that cannot be read or used.
    """
    ours, theirs = _pixels(photo, "photo"), _pixels(generated, "generated")
    return measure_arrays(ours, theirs, registration)


def score(
    restored: "Picture",
    reference: "Picture | None" = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    protocol: Protocol = Protocol(),
) -> tuple[Score, ...]:
    """Score a restoration against the ground truth. Nothing is resized.

    Parameters
    ----------
    restored, reference : path, bytes, PIL picture, array or Photo
        Two pictures of one size. Metrics without a reference need only the first.
    metrics
        Names that the command `verax metrics` lists.
    protocol
        Which channel is compared ("rgb" or "y"), and how many px of border are left out.

    Returns
    -------
    tuple of Score
        In the order of `metrics`; each holds its value, its unit and how it was computed.

    Raises
    ------
    SizeMismatchError
        The two pictures differ in size.
    UnknownNameError
        There is no metric of that name.
    MissingExtraError
        A learned metric is not installed.
    InputError
        A picture that cannot be read or used, or is too small for a metric.
    """
    ours = images.as_photo(restored, name="restored").pixels
    theirs = None if reference is None else images.as_photo(reference, name="reference").pixels
    return score_arrays(ours, theirs, metrics, protocol)


def _pixels(picture: "Picture", name: str) -> Image:
    photo = images.as_photo(picture, name=name)
    return images.check_size(photo.pixels, name=photo.name or name)
