"""How far the prior is believed: per pixel, and for the picture as a whole."""

import numpy as np

from verax.fusion.tone import blur, luma
from verax.image import Image, Plane

UNPROVED = 0.25  # a prior pixel whose place is not proved still says something about tone
LEAST = 0.02  # mean evidence below which nothing is fitted
LOW = 0.03  # Gaussian, share of the long side, under which brightness order is compared
ORDER = 0.35  # rank correlation of brightness below which the scene's state has changed


def evidence(valid: Plane, confidence: Plane) -> Plane:
    """(H, W) weight of each prior pixel in the tone fit."""
    return np.asarray(valid * (UNPROVED + (1 - UNPROVED) * confidence), np.float32)


def brightness_order(exposed: Image, prior: Image, weight: Plane) -> float:
    """Rank correlation of the low-frequency brightness of base and prior.

    Removing haze, darkness, a cast or noise keeps the order of bright and dark places; turning
    night into day or clearing snow does not. 1 for flat pictures: no order, none broken.
    """
    sigma = LOW * max(weight.shape)
    seen = weight > 0.5 * weight.max()
    ranks = []
    for picture in (exposed, prior):
        values = blur(luma(picture), sigma)[seen]
        order = np.empty(values.size)
        order[np.argsort(values, kind="stable")] = np.arange(values.size)
        ranks.append(order - order.mean())
        if values.std() < 0.01:
            return 1.0
    return float(
        (ranks[0] * ranks[1]).sum() / np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    )
