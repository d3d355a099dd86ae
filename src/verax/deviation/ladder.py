"""Against ground truth: which share of the loss is geometry, which is colour, which is content.

Each rung undoes one more class of deviation, more freely than the last, and is scored on the same
pixels: those that the registered prior shows. The same ladder for a picture that does not belong
to the photo is the floor: what so much freedom alone would gain.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.framing import base_matrix, canvas_kind, size_of
from verax.deviation.look import look
from verax.deviation.tone import fit_colour
from verax.errors import InputError, SizeMismatchError
from verax.geometry.features import blur
from verax.geometry.register import Registration, register
from verax.geometry.transforms import Matrix, compose, invert
from verax.image import Image, check_image
from verax.metrics.pixel import PSNR_CAP_DB
from verax.metrics.structural import WINDOW, ssim_map

Align = Literal["none", "canvas", "global", "local"]
Mask = NDArray[np.bool_]

AFFINE_WINDOW = 0.06  # sigma of the local colour fit, share of the long side
AFFINE_RIDGE = 1e-3  # variance added to each channel: shrinks the local fit towards a plain offset
REGULARISATION = (
    "local motion: registration field plus block leftovers, Gaussian, 1/48 of the long side; "
    f"3x3 colour: least squares; local affine colour: Gaussian {AFFINE_WINDOW:g} of the long side, "
    f"ridge {AFFINE_RIDGE:g}"
)


@dataclass(frozen=True, slots=True)
class Rung:
    """One step: its name, PSNR in dB and SSIM over the pixels that are compared."""

    name: str
    psnr_db: float
    ssim: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """All steps, the share of the reference that is compared, and how free each step was."""

    rungs: tuple[Rung, ...]
    compared_share: float
    regularisation: str = REGULARISATION


def ladder(
    photo: Image,
    generated: Image,
    reference: Image,
    registration: Registration | None = None,
) -> Ladder:
    """The ladder of `generated` against `reference`, which is on the photo's grid."""
    for label, image in (("photo", photo), ("generated", generated), ("reference", reference)):
        check_image(image, name=label)
    if photo.shape != reference.shape:
        raise SizeMismatchError(
            f"the reference is {reference.shape[1]}x{reference.shape[0]}, the photo "
            f"{photo.shape[1]}x{photo.shape[0]}; want both on one grid"
        )
    registration = registration or register(photo, generated)
    raw, _ = aligned(photo, generated, "none", registration)
    steps = {"raw resize": raw}
    shown = np.ones(photo.shape[:2], bool)
    rungs: tuple[Align, ...] = ("canvas", "global", "local")
    for name in rungs:
        steps[name], seen = aligned(photo, generated, name, registration)
        shown &= seen
    shown = cv2.erode(shown.astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8)) > 0
    if shown.mean() < 0.05:
        raise InputError("the generated picture shows less than 5 % of the reference: no ladder")
    steps["3x3 colour"] = np.clip(
        steps["local"] @ fit_colour(steps["local"], reference, shown), 0, 1
    )
    steps["local affine colour"] = _local_affine(steps["local"], reference, shown)
    scored = tuple(_rung(name, step, reference, shown) for name, step in steps.items())
    return Ladder(scored, float(shown.mean()))


def aligned(
    photo: Image, generated: Image, how: Align, registration: Registration | None = None
) -> tuple[Image, Mask]:
    """The generated picture on the photo's grid, and which pixels it shows.

    "none" resizes the whole picture, "canvas" undoes the change of canvas, "global" one
    homography, "local" local motion too. A refused registration goes no further than the canvas.
    Pixels that the picture does not show repeat its border.
    """
    size = size_of(photo)
    registration = registration or register(photo, generated)
    kind = canvas_kind(photo, generated, registration)
    if how == "none":
        return _sample(generated, base_matrix(photo, generated, "stretch"), size, None)
    base = base_matrix(photo, generated, kind)
    if how == "canvas" or registration.outcome == "foreign":
        return _sample(generated, base, size, None)
    seen = look(photo, generated, registration, kind)
    if how == "global":
        if isinstance(seen.found, str):
            return _sample(generated, registration.matrix, size, None)
        return _sample(generated, compose(invert(seen.found.matrix), base), size, None)
    smooth = seen.leftover.smooth * np.float32(1 / seen.pair.scale)
    leftover = np.asarray(cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return _sample(generated, registration.matrix, size, _total(registration, leftover))


def _total(registration: Registration, leftover: NDArray[np.float32]) -> NDArray[np.float32]:
    """Registration's field seen through the leftover, plus the leftover, (H, W, 2)."""
    if registration.field is None:
        return leftover
    y, x = (g.astype(np.float32) for g in np.mgrid[: leftover.shape[0], : leftover.shape[1]])
    places = x + leftover[..., 0], y + leftover[..., 1]
    there = cv2.remap(registration.field, *places, cv2.INTER_LINEAR)
    return np.asarray(leftover + there, np.float32)


def _sample(
    generated: Image, matrix: Matrix, size: tuple[int, int], field: NDArray[np.float32] | None
) -> tuple[Image, Mask]:
    """The picture looked up at inverse(matrix) @ (p + field[p]) for every photo pixel p."""
    x, y = (g.astype(np.float64) for g in np.meshgrid(np.arange(size[0]), np.arange(size[1])))
    if field is not None:
        x, y = x + field[..., 0], y + field[..., 1]
    step = float(
        np.sqrt(abs(np.linalg.det(np.linalg.inv(matrix)[:2, :2])))
    )  # prior px per photo px
    source = generated if step <= 1.0 else blur(generated, 0.5 * float(np.sqrt(step**2 - 1)))
    back = invert(matrix)
    below = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    u = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / below
    v = (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / below
    places = u.astype(np.float32), v.astype(np.float32)
    pixels = cv2.remap(source, *places, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    height, width = generated.shape[:2]
    shown = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    return np.asarray(np.clip(pixels, 0, 1), np.float32), shown


def _local_affine(picture: Image, reference: Image, shown: Mask) -> Image:
    """The picture after the best smooth field of per-channel gain and offset."""
    window = AFFINE_WINDOW * max(shown.shape)
    mask = shown.astype(np.float32)[..., None]
    around = np.maximum(blur(mask[..., 0], window), 1e-3)[..., None]

    def mean(plane: Image) -> Image:
        return np.asarray(blur(plane * mask, window) / around, np.float32)

    mean_p, mean_r = mean(picture), mean(reference)
    variance = mean(picture * picture) - mean_p * mean_p
    gain = (mean(picture * reference) - mean_p * mean_r) / (variance + np.float32(AFFINE_RIDGE))
    return np.asarray(np.clip(mean_r + gain * (picture - mean_p), 0, 1), np.float32)


def _rung(name: str, picture: Image, reference: Image, shown: Mask) -> Rung:
    error = float(np.mean((picture.astype(np.float64) - reference)[shown] ** 2))
    psnr = PSNR_CAP_DB if error <= 0 else min(PSNR_CAP_DB, -10 * float(np.log10(error)))
    return Rung(name, psnr, float(ssim_map(picture, reference)[shown].mean()))
