"""Measure light, colour and remaining damage of a photo and its registered prior.

Light and colour: colour difference before and after a fitted colour matrix, exposure, clipping, and
the change of the time of day or light (scene state). Damage: haze, noise and streaks, measured in
each picture separately, so that damage which the generator did not remove is visible.
"""

from dataclasses import replace

import cv2
import numpy as np
import skimage  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.deviation.compare import AlignedPair, Map, clipped_pixels
from verax.deviation.record import Entry, unknown
from verax.image import Image
from verax.image.contract import LUMA_709
from verax.image.pixels import blur, noise_level, to_linear
from verax.metrics.scene import SceneState, haze_density, scene_state

SMALL_SIDE_PX = 160
THIN_PX = 5  # px at SMALL_SIDE_PX: a median filter removes thinner lines, such as rain
BLUR = 0.03  # sigma as a share of the side: colour is compared on blurred pictures
DARKEST = 0.002  # least linear light for which a ratio of 8-bit levels is meaningful
STREAK_SIGMA_PX = 1.0
BINS = 36
UPRIGHT_DEG = 35.0  # streaks of rain fall within this angle of the vertical


def tone_entries(
    pair: AlignedPair, exclude: NDArray[np.bool_]
) -> tuple[dict[str, Entry], SceneState]:
    """Measure light and colour in the overlap, without the pixels in `exclude` (h, w, bool).

    Returns the entries "colour_difference", "colour_difference_fitted" (after a colour matrix),
    "exposure_shift_ev" and "clipped_share" (prior minus photo), and the change of the time of day
    or light, such as "day made night", or "same".
    """
    pair = replace(pair, overlap=pair.overlap & ~exclude)
    if pair.overlap.mean() < 0.05:
        note = "the generated picture covers too little of the photo"
        names = (
            "colour_difference",
            "colour_difference_fitted",
            "exposure_shift_ev",
            "clipped_share",
        )
        units = ("ΔE00", "ΔE00", "EV", "share")
        return {n: unknown(u, note) for n, u in zip(names, units, strict=True)}, "same"
    photo, prior, overlap = _small(pair)
    difference = _delta_e(photo, prior, overlap)
    fitted = _delta_e(np.clip(photo @ fit_colour(photo, prior, overlap), 0, 1), prior, overlap)
    exposure = _exposure(photo, prior, overlap)
    before, after = (
        float(clipped_pixels(p)[pair.overlap].mean()) for p in (pair.photo, pair.prior)
    )
    entries = {
        "colour_difference": Entry(difference, "ΔE00"),
        "colour_difference_fitted": Entry(min(fitted, difference), "ΔE00"),
        "exposure_shift_ev": Entry(exposure, "EV"),
        "clipped_share": Entry(after - before, "share"),
    }
    return entries, scene_state(pair.photo, pair.prior, pair.overlap)


def _small(pair: AlignedPair) -> tuple[Image, Image, NDArray[np.bool_]]:
    """Photo and prior, reduced to a long side of at most 160 px, blurred and without thin lines,
    and the mask of pixels that the prior covers."""
    scale = min(1.0, SMALL_SIDE_PX / max(pair.overlap.shape))
    size = (
        max(8, round(pair.overlap.shape[1] * scale)),
        max(8, round(pair.overlap.shape[0] * scale)),
    )
    sigma = BLUR * max(size)
    photo, prior = (
        blur(cv2.medianBlur(cv2.resize(p, size, interpolation=cv2.INTER_AREA), THIN_PX), sigma)
        for p in (pair.photo, pair.prior)
    )
    overlap = cv2.resize(pair.overlap.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    return np.clip(photo, 0, 1), np.clip(prior, 0, 1), overlap


def fit_colour(photo: Image, prior: Image, overlap: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3, 3) least-squares colour matrix, so that photo @ matrix is close to prior in `overlap`, a
    mask (h, w); both pictures are (h, w, 3)."""
    x, y = photo[overlap].astype(np.float64), prior[overlap].astype(np.float64)
    ridge = 1e-4 * len(x)
    left = x.T @ x + ridge * np.eye(3)
    return np.asarray(np.linalg.solve(left, x.T @ y + ridge * np.eye(3)), np.float32)


def _delta_e(one: Image, other: Image, overlap: NDArray[np.bool_]) -> float:
    labs = (skimage.color.rgb2lab(image) for image in (one, other))
    return float(skimage.color.deltaE_ciede2000(*labs)[overlap].mean())


def _light(image: Image) -> Map:
    """(H, W) luminance in linear light of an sRGB picture."""
    return np.asarray(to_linear(image) @ LUMA_709, np.float32)


def _exposure(photo: Image, prior: Image, overlap: NDArray[np.bool_]) -> float:
    """Median change of luminance from photo to prior in the mask `overlap`, in stops (factors of
    two); positive if the prior is brighter."""
    first, second = (np.maximum(_light(p), DARKEST) for p in (photo, prior))
    return float(np.median(np.log2(second / first)[overlap]))


def level_entries(pair: AlignedPair) -> dict[str, Entry]:
    """Measure haze, noise and streaks separately in the photo and in the prior.

    Returns the entries "photo_haze_density" (share), "photo_noise_levels" (levels of 255) and
    "photo_streak_energy" (share), and the same with "generated_" for the prior.
    """
    entries = {}
    for name, image, plane in zip(
        ("photo", "generated"), (pair.photo, pair.prior), pair.luma, strict=True
    ):
        entries[f"{name}_haze_density"] = Entry(haze_density(image), "share")
        entries[f"{name}_noise_levels"] = Entry(255 * noise_level(plane), "levels of 255")
        entries[f"{name}_streak_energy"] = Entry(streak_energy(plane), "share")
    return entries


def streak_energy(plane: Map) -> float:
    """How much the luma plane shows near-vertical streaks such as rain, 0 (none) to 1.

    The energy of fine gradients is summed by the direction of the lines that cause it. The result
    is the share of the strongest direction within 35 degrees of the vertical, minus the share of a
    typical direction.
    """
    fine = blur(plane, STREAK_SIGMA_PX / 2) - blur(plane, 2 * STREAK_SIGMA_PX)
    gx, gy = (cv2.Sobel(fine, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    energy = (gx * gx + gy * gy).astype(np.float64)
    # the gradient is perpendicular to a streak: angle 0 is a vertical streak
    angle = (np.degrees(np.arctan2(gy, gx)) + 90) % 180 - 90
    bins = ((angle + 90) * BINS / 180).astype(np.intp) % BINS
    share = np.bincount(bins.ravel(), energy.ravel(), BINS) / max(float(energy.sum()), 1e-12)
    centres = (np.arange(BINS) + 0.5) * 180 / BINS - 90
    three = share + np.roll(share, 1) + np.roll(share, -1)
    upright = np.abs(centres) <= UPRIGHT_DEG
    return float(max(0.0, three[upright].max() - 3 * np.median(share)))
