"""What is left of the damage: haze, noise and streaks of the photo and of the generated picture.

These are levels, not changes: a generator that did nothing leaves them as they were, and a reader
sees that doing nothing was not faithful work.
"""

import cv2
import numpy as np

from verax.deviation.pair import Map, Pair, noise_level
from verax.deviation.record import Entry
from verax.image.pixels import blur
from verax.metrics.scene import haze_density

STREAK_SIGMA_PX = 1.0
BINS = 36
UPRIGHT_DEG = 35.0  # streaks of rain fall within this angle of the vertical


def level_entries(pair: Pair) -> dict[str, Entry]:
    """Haze, noise and streaks in both pictures."""
    entries = {}
    for name, image, plane in zip(
        ("photo", "generated"), (pair.photo, pair.prior), pair.luma, strict=True
    ):
        entries[f"{name}_haze_density"] = Entry(haze_density(image), "share")
        entries[f"{name}_noise_levels"] = Entry(255 * noise_level(plane), "levels of 255")
        entries[f"{name}_streak_energy"] = Entry(streak_energy(plane), "share")
    return entries


def streak_energy(plane: Map) -> float:
    """Share of fine gradient energy in one near-vertical direction beyond the average direction."""
    fine = blur(plane, STREAK_SIGMA_PX / 2) - blur(plane, 2 * STREAK_SIGMA_PX)
    gx, gy = (cv2.Sobel(fine, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    energy = (gx * gx + gy * gy).astype(np.float64)
    # a streak's gradient is across it: angle 0 is a vertical streak
    angle = (np.degrees(np.arctan2(gy, gx)) + 90) % 180 - 90
    bins = ((angle + 90) * BINS / 180).astype(np.intp) % BINS
    share = np.bincount(bins.ravel(), energy.ravel(), BINS) / max(float(energy.sum()), 1e-12)
    centres = (np.arange(BINS) + 0.5) * 180 / BINS - 90
    three = share + np.roll(share, 1) + np.roll(share, -1)
    upright = np.abs(centres) <= UPRIGHT_DEG
    return float(max(0.0, three[upright].max() - 3 * np.median(share)))
