"""How far the prior is believed: per pixel, and for the picture as a whole."""

import numpy as np
from numpy.typing import NDArray

from verax.fusion.grid import blur
from verax.fusion.tone import structure_agreement
from verax.image import Image, Plane
from verax.image.pixels import LUMA, luma

UNPROVED = 0.25  # a prior pixel whose place is not proved still says something about tone
LEAST = 0.02  # mean evidence below which nothing is fitted
LOW = 0.03  # Gaussian, share of the long side, under which brightness order is compared
ORDER = 0.45  # a scene whose state changed has less rank correlation of brightness than this
AGREEMENT = 0.5  # and less mean agreement of structure
DARKENED = 0.3  # median luma, prior to base, below which light was taken away
CAST = 0.27  # distance from grey that a prior adds only with other light


def evidence(valid: Plane, confidence: Plane) -> Plane:
    """(H, W) weight of each prior pixel in the tone fit."""
    return np.asarray(valid * (UNPROVED + (1 - UNPROVED) * confidence), np.float32)


def scene_state_change(base: Image, exposed: Image, prior: Image, valid: Plane) -> str:
    """How the prior shows another state of the scene, in words; empty when it does not.

    A restoration may add light, but takes little away; it may remove a cast, but adds none; and
    it keeps the order of bright and dark places (haze apart, whose removal keeps the structure).

    Args:
        base, exposed, prior: (h, w, 3); exposed is the base at the prior's brightness.
        valid: (h, w) share of each pixel that the prior shows.
    """
    seen = valid > 0.5 * valid.max()
    if np.median(luma(prior)[seen]) < DARKENED * np.median(luma(base)[seen]):
        return "day made night"
    if cast(prior[seen]) - cast(exposed[seen]) > CAST:
        return "light of another colour"
    order = brightness_order(exposed, prior, seen)
    agreement = structure_agreement(exposed, prior, max(seen.shape))
    if order < ORDER and float(agreement[seen].mean()) < AGREEMENT:
        return "bright and dark places exchanged, as night made day or snow cleared"
    return ""


def cast(pixels: NDArray[np.float32]) -> float:
    """Distance of the mean colour from grey, of pixels (n, 3)."""
    red, green, blue = pixels.mean(0)
    grey = LUMA @ np.array([red, green, blue])
    return float(np.hypot(red - grey, blue - grey))


def brightness_order(exposed: Image, prior: Image, seen: NDArray[np.bool_]) -> float:
    """Rank correlation of the low-frequency brightness of base and prior.

    1 for flat pictures: no order, none broken.
    """
    sigma = LOW * max(seen.shape)
    ranks = []
    for picture in (exposed, prior):
        values = blur(luma(picture), sigma)[::3, ::3][seen[::3, ::3]]
        order = np.empty(values.size)
        order[np.argsort(values, kind="stable")] = np.arange(values.size)
        ranks.append(order - order.mean())
        if values.std() < 0.01:
            return 1.0
    return float(
        (ranks[0] * ranks[1]).sum() / np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    )
