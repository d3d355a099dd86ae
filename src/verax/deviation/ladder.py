"""Against ground truth: which share of the loss is geometry, which is colour, which is content.

Each rung undoes one more class of deviation, more freely than the last, and is scored on the same
pixels: those that the registered prior shows. The same ladder for a picture that does not belong
to the photo is the floor: what so much freedom alone would gain.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.compare import Look, compare
from verax.deviation.framing import base_matrix, size_of
from verax.deviation.tone import fit_colour
from verax.errors import InputError, SizeMismatchError, choose
from verax.geometry.register import Registration, apply
from verax.image import Image, check_image
from verax.image.pixels import wide_blur
from verax.metrics.reference import PSNR_CAP_DB, WINDOW, ssim_map

RUNGS = {"none": "raw resize", "canvas": "canvas", "global": "global", "local": "local"}
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
    look: Look,
    reference: Image,
) -> Ladder:
    """The ladder of a generated picture against `reference`, which is on the photo's grid."""
    check_image(reference, name="reference")
    photo, generated = look.photo, look.generated
    if photo.shape != reference.shape:
        raise SizeMismatchError(
            f"the reference is {reference.shape[1]}x{reference.shape[0]}, the photo "
            f"{photo.shape[1]}x{photo.shape[0]}; want both on one grid"
        )
    shown = np.ones(photo.shape[:2], bool)
    steps = {}
    for name, placed in _placements(look).items():
        warped = apply(placed, generated, size=size_of(photo))
        steps[RUNGS[name]] = warped.pixels
        if name != "none":
            shown &= warped.valid > 0.5
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
    photo: Image, generated: Image, how: str, registration: Registration | None = None
) -> tuple[Image, Mask]:
    """The generated picture on the photo's grid, and which pixels it shows.

    "none" resizes the whole picture, "canvas" undoes the change of canvas, "global" one
    homography, "local" local motion too. Pixels that the picture does not show repeat its border.
    Raises InputError where the last two are asked for a picture of another scene.
    """
    look = compare(photo, generated, registration)
    if how in ("global", "local") and look.alignment is None:
        raise InputError(
            f"the pictures do not show one scene ({look.registration.reason}); "
            f"align by canvas, or not at all"
        )
    placed = choose(_placements(look), how, kind="alignment")
    warped = apply(placed, generated, size=size_of(photo))
    return warped.pixels, warped.valid > 0.5


def _placements(look: Look) -> dict[str, Registration]:
    """Where the generated picture lies when more and more of its deviation is undone."""
    photo, generated = look.photo, look.generated
    matrix = base_matrix(photo, generated, look.canvas)
    base = replace(look.registration, matrix=matrix, field=None)
    fine = base if look.alignment is None else look.alignment.registration
    return {
        "none": replace(base, matrix=base_matrix(photo, generated, "stretch")),
        "canvas": base,
        "global": replace(fine, field=None),
        "local": fine,
    }


def _local_affine(picture: Image, reference: Image, shown: Mask) -> Image:
    """The picture after the best smooth field of per-channel gain and offset."""
    window = AFFINE_WINDOW * max(shown.shape)
    mask = shown.astype(np.float32)[..., None]
    around = np.maximum(wide_blur(mask[..., 0], window), 1e-3)[..., None]

    def mean(plane: Image) -> Image:
        return np.asarray(wide_blur(plane * mask, window) / around, np.float32)

    mean_p, mean_r = mean(picture), mean(reference)
    variance = mean(picture * picture) - mean_p * mean_p
    gain = (mean(picture * reference) - mean_p * mean_r) / (variance + np.float32(AFFINE_RIDGE))
    return np.asarray(np.clip(mean_r + gain * (picture - mean_p), 0, 1), np.float32)


def _rung(name: str, picture: Image, reference: Image, shown: Mask) -> Rung:
    error = float(np.mean((picture.astype(np.float64) - reference)[shown] ** 2))
    psnr = PSNR_CAP_DB if error <= 0 else min(PSNR_CAP_DB, -10 * float(np.log10(error)))
    return Rung(name, psnr, float(ssim_map(picture, reference)[shown].mean()))
