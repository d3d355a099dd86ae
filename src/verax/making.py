"""Makes a restoration file: reads a photo, restores it, writes the result, states its origin.

The command line, the server's API and its page all call `make`. Only `make` imports the networks,
so that an `Order` can be created fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from verax import image as images
from verax.errors import InputError, SettingsError
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY
from verax.image import MAX_PIXELS, QUALITY, Image, Photo, Plane
from verax.provenance import Credentials, SourceFile, has_manifest, load_credentials
from verax.provenance.statement import beside_path, mark_xmp, seal
from verax.settings import Settings

if TYPE_CHECKING:
    from verax.geometry.register import Registration
    from verax.restoration import Restoration


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One restoration file to make.

    Attributes:
        photo, prior: files to read; `prior` None: restore without a prior.
        output: file to write; its suffix sets the format.
        restorer: method to restore without a prior: a name, a weights file, or "auto".
        fidelity: at 1, only light and what the photo confirms are taken from the prior; at 0, all.
        task: the fault that the generator was told to correct, such as "dehaze"; "": detected.
        quality: of JPEG, AVIF and HEIC files, 1 to 100 (best).
        max_pixels: largest number of pixels that the photo, and the prior, may have.
        system: name of the model that made the prior, "" if unknown.
        size: (width, height) of the result; the restoration is scaled to fit into it, and the
            margins are padded by reflection. None: the photo's size, enlarged as `scale` says.
        accept_prior: use the prior even if it cannot be verified that it shows the photo's scene.
        drop_gps: remove the place where the photo was taken.
        only: mask of the photo's size, white where it may change; other pixels stay as they are.
        mask: mask of the photo's size, white where it is damaged, to be filled from the prior.
        scale: how many times to enlarge: "2", "3", "4", or "prior" for the prior's size; "": not.
        exposure: stops by which to brighten the result, or darken it if negative.
        salvage: accept a truncated photo; a prior fills the missing rest.
        prior_source: the file from the service, if `prior` was made from it; for provenance.
        photo_name, prior_name: names for provenance and messages; "": the names of the files.
    """

    photo: Path
    prior: Path | None = None
    prior_source: Path | None = None
    output: Path
    restorer: str = "auto"
    fidelity: float = DEFAULT_FIDELITY
    task: str = ""
    accept_prior: bool = False
    quality: int = QUALITY
    max_pixels: int = MAX_PIXELS
    system: str = ""
    size: tuple[int, int] | None = None
    drop_gps: bool = False
    salvage: bool = False
    only: Path | None = None
    mask: Path | None = None
    scale: str = ""
    exposure: float = 0.0
    photo_name: str = ""
    prior_name: str = ""


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """A decoded picture, and the bytes and name of its file, which provenance needs.

    `missing` (H, W) is 1 where a truncated file has no pixels, else 0; None for a complete file.
    """

    photo: Photo
    file: SourceFile
    missing: Plane | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RestorationFile:
    """A restoration that was written.

    Attributes:
        prior: the prior as it was read, whether it was used or not; None if there was none.
        lost: sentences on parts of the input files that the written file does not have.
        statement: file beside the result that states its origin; None if none was needed.
    """

    restoration: "Restoration"
    prior: OpenedPicture | None
    lost: tuple[str, ...] = ()
    statement: Path | None = None

    def record(self) -> dict[str, Any]:
        """The restoration as JSON; its "notes" include `lost`, "not_kept" names the lost parts."""
        record = self.restoration.record()
        record["not_kept"] = [line.removeprefix(not_kept("")) for line in self.lost]
        return {**record, "notes": [*record["notes"], *self.lost]}


@dataclass(frozen=True, slots=True)
class Origin:
    """The provenance of a written file: the photo, the prior (None: not used), the model that made
    the prior (`system`, "" if unknown), and certificate and key to sign it (None: not signed)."""

    photo: OpenedPicture
    prior: SourceFile | None = None
    system: str = ""
    credentials: Credentials | None = field(default=None, repr=False)


def _check_no_source(order: Order) -> None:
    """Raises InputError if the result would replace the photo, the prior or a mask."""
    for source in (order.photo, order.prior, order.only, order.mask):
        if source is None or not source.exists() or not order.output.exists():
            continue
        if order.output.samefile(source):
            raise InputError(
                f"{order.output}: the result would replace {source}; choose another name"
            )


def make(
    order: Order,
    *,
    photo: OpenedPicture | None = None,
    prior: OpenedPicture | None = None,
    registration: "Registration | None" = None,
    credentials: Credentials | None = None,
) -> RestorationFile:
    """Read the files of an order, restore the photo, and write the result with its provenance.

    `photo`, `prior`, `registration`: None if still to be read or computed. Without `credentials`
    the result is not signed. Raises ImageReadError if a file is not a picture, InputError if an
    option is wrong or an input file would be replaced, OutputError if writing or signing fails.
    """
    from verax import pipeline

    _check_no_source(order)
    images.check_target(order.output)
    if photo is None:
        photo = open_picture(
            order.photo, name=order.photo_name, max_pixels=order.max_pixels, salvage=order.salvage
        )
    only, mask = _masks(order, photo)
    prior = prior or prior_of(order)
    with enough_memory(photo.photo):
        result = pipeline.restore(
            photo.photo, None if prior is None else prior.photo, restorer=order.restorer,
            fidelity=order.fidelity, task=order.task, accept_prior=order.accept_prior,
            registration=registration, mask=mask, only=only, exposure=order.exposure,
            scale=order.scale or scale_for(order.size, photo.photo),
        )  # fmt: skip
    used = prior.file if prior is not None and result.prior == "used" else None
    origin = Origin(photo, used, order.system, credentials)
    pixels = result.result if order.size is None else fit_into(result.result, order.size)
    lost, statement = write(
        order.output, pixels, origin, drop_gps=order.drop_gps, quality=order.quality,
        framed=order.size is None,
    )  # fmt: skip
    return RestorationFile(result, prior, lost, statement)


@contextmanager
def enough_memory(photo: Photo) -> Iterator[None]:
    """Turns the out-of-memory errors of NumPy and OpenCV into an InputError."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        raise InputError(
            f"memory: expected enough to restore {photo.width}x{photo.height} px, got too little; "
            "choose a smaller scale or a smaller photo, or end other programs"
        ) from None


def _masks(order: Order, photo: OpenedPicture) -> tuple[Plane | None, Plane | None]:
    """(only, mask), both (H, W) in [0, 1]. `only`: 1 where the photo may change; None: everywhere.
    `mask`: 1 where the user marked damage, or a truncated file has no pixels; None: nowhere."""
    from verax.prints.holes import mask_of

    only, mask = (
        None if path is None else mask_of(photo.photo, images.read(path), name=name)
        for path, name in ((order.only, "--only"), (order.mask, "--mask"))
    )
    if photo.missing is not None:
        mask = photo.missing if mask is None else np.maximum(mask, photo.missing)
    return only, mask


def prior_of(order: Order) -> OpenedPicture | None:
    """The opened file `order.prior`; None without a prior. If the service's own file is kept in
    `order.prior_source`, provenance gets that one. Raises ImageReadError for no picture."""
    if order.prior is None:
        return None
    prior = open_picture(order.prior, name=order.prior_name, max_pixels=order.max_pixels)
    if order.prior_source is None:
        return prior
    source = SourceFile(images.read_bytes(order.prior_source), prior.file.name)
    return replace(prior, file=source)


def scale_for(size: tuple[int, int] | None, photo: Photo) -> str:
    """The factor that enlarges a photo to about (width, height): "2", "3" or "4"; "" for none."""
    from verax.prints.enlarge import FACTORS, MAX_PIXELS

    if size is None:
        return ""
    factor = min(size[0] / photo.width, size[1] / photo.height)
    most = (MAX_PIXELS / (photo.width * photo.height)) ** 0.5
    whole = [name for name in FACTORS if name.isdecimal() and int(name) <= most]
    enough = [name for name in whole if int(name) >= factor] or whole[-1:]
    return enough[0] if factor > 1 and enough else ""


def fit_into(pixels: Image, size: tuple[int, int]) -> Image:
    """A picture of this (width, height): `pixels` scaled to fit, centred, margins reflected."""
    from verax.catalog.models import Sizes
    from verax.geometry import canvas

    rules = Sizes(fixed=(size,))
    return canvas.place(pixels, canvas.plan(pixels.shape[1], pixels.shape[0], rules))


def open_picture(
    path: Path, *, name: str = "", max_pixels: int = MAX_PIXELS, salvage: bool = False
) -> OpenedPicture:
    """The picture in a file, with the file's bytes; `salvage` accepts a truncated file. `name`: the
    file's name for provenance, "": its own. Raises ImageReadError if it is no picture."""
    data = images.read_bytes(path)
    if salvage:
        photo, missing = images.salvage(data, name=str(path), max_pixels=max_pixels)
    else:
        photo, missing = images.decode(data, name=str(path), max_pixels=max_pixels), None
    gaps = missing if missing is not None and missing.any() else None
    return OpenedPicture(replace(photo, name=path.name), SourceFile(data, name or path.name), gaps)


def write(
    path: Path,
    pixels: Image,
    origin: Origin,
    *,
    drop_gps: bool = False,
    quality: int = QUALITY,
    framed: bool = False,
) -> tuple[tuple[str, ...], Path | None]:
    """Write pixels with the photo's metadata and their provenance, signed if there are credentials.

    Returns (lost, statement): sentences on parts of the photo's file that the written one lacks,
    and the file beside it that states its origin, or None. Pixels of another size than the photo's
    get its metadata only if `framed` says that they show all of the photo and no margins.
    """
    from verax.prints.enlarge import with_alpha_of

    photo = origin.photo.photo
    if framed or pixels.shape == photo.pixels.shape:
        photo = with_alpha_of(photo, (pixels.shape[1], pixels.shape[0]))
        photo = mark_xmp(photo, prior=origin.prior is not None, system=origin.system)
        images.write(path, pixels, like=photo, drop_gps=drop_gps, quality=quality)
    else:
        images.write(path, pixels, quality=quality)
    unkept = images.unkept(origin.photo.photo, images.format_of(path))
    file = origin.photo.file
    if drop_gps and origin.credentials is not None and has_manifest(file.data):
        file = SourceFile(images.encode(origin.photo.photo.pixels), file.name)
        unkept += ("the photo's Content Credentials, which may name the place",)
    lost = seal(path, file, origin.prior, credentials=origin.credentials)
    return (*lost, *map(not_kept, unkept)), beside_path(path) if lost else None


def not_kept(what: str) -> str:
    """The note that the result lacks `what`, a part of the photo's file."""
    return f"not kept: {what}"


def credentials_of(settings: Settings) -> Credentials | None:
    """The certificate and key that sign results, checked; None if the settings name none.

    Raises SettingsError if only one of certificate and key is set, or they do not match.
    """
    certificate, key = settings.c2pa_certificate, settings.c2pa_key
    if not certificate and not key:
        return None
    if not (certificate and key):
        raise SettingsError(
            "signing: expected VERAX_C2PA_CERTIFICATE and VERAX_C2PA_KEY, found only one; set both"
        )
    return load_credentials(Path(certificate).expanduser(), Path(key).expanduser())
