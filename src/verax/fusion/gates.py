"""How far the prior is believed: per pixel, and for the picture as a whole."""

import numpy as np

from verax.image import Plane

UNPROVED = 0.25  # a prior pixel whose place is not proved still says something about tone
LEAST = 0.02  # mean evidence below which nothing is fitted


def evidence(valid: Plane, confidence: Plane) -> Plane:
    """(H, W) weight of each prior pixel in the tone fit."""
    return np.asarray(valid * (UNPROVED + (1 - UNPROVED) * confidence), np.float32)
