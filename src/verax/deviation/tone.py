"""Light and colour: difference before and after a 3x3 fit, exposure, clipping, scene state."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from verax.deviation.pair import Map, Pair, clipped
from verax.deviation.record import Entry, unknown
from verax.image import Image
from verax.image.contract import LUMA_709
from verax.image.pixels import blur, to_linear

SMALL_SIDE_PX = 160
THIN_PX = 5  # of SMALL_SIDE_PX: lines thinner than half of it are no change of light
BLUR = 0.03  # sigma as a share of the side: colour is compared on blurred pictures
DARKEST = 0.002  # linear light: below it 8-bit levels carry no ratio
STATE_EV = 1.5  # stops between the pictures before a change of scene state is considered
STATE_RANK = 0.35  # rank correlation of their broad light below which it is one
NIGHT_EV = 3.0  # stops darker that are a change of state wherever the light is: no restoration


def tone_entries(pair: Pair, exclude: NDArray[np.bool_]) -> tuple[dict[str, Entry], str]:
    """Tone entries and the scene state in words; pixels in `exclude` have no say."""
    pair = replace(pair, seen=pair.seen & ~exclude)
    if pair.seen.mean() < 0.05:
        note = "the prior shows too little of the photo"
        names = (
            "colour_difference",
            "colour_difference_fitted",
            "exposure_shift_ev",
            "clipped_share",
        )
        units = ("ΔE00", "ΔE00", "EV", "share")
        return {n: unknown(u, note) for n, u in zip(names, units, strict=True)}, "same"
    photo, prior, seen = _small(pair)
    difference = _delta_e(photo, prior, seen)
    fitted = _delta_e(np.clip(photo @ fit_colour(photo, prior, seen), 0, 1), prior, seen)
    exposure = _exposure(photo, prior, seen)
    before, after = (float(clipped(p)[pair.seen].mean()) for p in (pair.photo, pair.prior))
    entries = {
        "colour_difference": Entry(difference, "ΔE00"),
        "colour_difference_fitted": Entry(min(fitted, difference), "ΔE00"),
        "exposure_shift_ev": Entry(exposure, "EV"),
        "clipped_share": Entry(after - before, "share"),
    }
    return entries, _scene_state(photo, prior, seen, exposure)


def _small(pair: Pair) -> tuple[Image, Image, NDArray[np.bool_]]:
    """Both pictures, small, without thin lines and blurred, and what is seen of them."""
    scale = min(1.0, SMALL_SIDE_PX / max(pair.seen.shape))
    size = (max(8, round(pair.seen.shape[1] * scale)), max(8, round(pair.seen.shape[0] * scale)))
    sigma = BLUR * max(size)
    photo, prior = (
        blur(cv2.medianBlur(cv2.resize(p, size, interpolation=cv2.INTER_AREA), THIN_PX), sigma)
        for p in (pair.photo, pair.prior)
    )
    seen = cv2.resize(pair.seen.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    return np.clip(photo, 0, 1), np.clip(prior, 0, 1), seen


def fit_colour(photo: Image, prior: Image, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3, 3) least-squares colour matrix: photo @ matrix is about prior."""
    x, y = photo[seen].astype(np.float64), prior[seen].astype(np.float64)
    ridge = 1e-4 * len(x)
    left = x.T @ x + ridge * np.eye(3)
    return np.asarray(np.linalg.solve(left, x.T @ y + ridge * np.eye(3)), np.float32)


def _delta_e(one: Image, other: Image, seen: NDArray[np.bool_]) -> float:
    return float(deltaE_ciede2000(rgb2lab(one), rgb2lab(other))[seen].mean())


def _light(image: Image) -> Map:
    """Linear luminance of an sRGB picture."""
    return np.asarray(to_linear(image) @ LUMA_709, np.float32)


def _exposure(photo: Image, prior: Image, seen: NDArray[np.bool_]) -> float:
    """Median of the change of light, in stops."""
    first, second = (np.maximum(_light(p), DARKEST) for p in (photo, prior))
    return float(np.median(np.log2(second / first)[seen]))


def _scene_state(photo: Image, prior: Image, seen: NDArray[np.bool_], exposure: float) -> str:
    """Night made day or day made night: far brighter or darker, and light in other places.

    A dark photo made brighter with its light where it was is a restoration; a photo made that much
    darker is not.
    """
    if exposure < -NIGHT_EV:
        return "day made night"
    if abs(exposure) < STATE_EV:
        return "same"
    first, second = (np.argsort(np.argsort(_light(p)[seen])) for p in (photo, prior))
    if float(np.corrcoef(first, second)[0, 1]) > STATE_RANK:
        return "same"
    return "night made day" if exposure > 0 else "day made night"
