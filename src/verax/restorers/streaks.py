"""Does it rain in the photo? Streaks give most places one direction of structure: upright.

The structure tensor of each neighbourhood says how much of its gradient energy lies across the
upright direction; the median over the photo is above 0.42 where streaks cover it. Of 125 photos
without degradation none was above 0.40; of 17 photos of Rain100H and DID-MDN 15 are above.
"""

import cv2
import numpy as np

from verax.image import Image

WINDOW = 9  # px
LARGEST = 1024  # px: of the centre that is looked at
RAIN = 0.42


def uprightness(photo: Image) -> float:
    """Median over the photo of (Ixx - Iyy) / (Ixx + Iyy), -1 to 1; 1: everything is upright."""
    top, left = (max(0, (n - LARGEST) // 2) for n in photo.shape[:2])
    part = photo[top : top + LARGEST, left : left + LARGEST]
    # in the logarithm, streaks before dark and bright grounds count alike
    grey = np.log(cv2.transform(part, np.array([[0.2126, 0.7152, 0.0722]], np.float32)) + 0.05)
    across, along = (
        cv2.blur(np.square(cv2.Sobel(grey, cv2.CV_32F, *order)), (WINDOW, WINDOW))
        for order in ((1, 0), (0, 1))
    )
    return float(np.median((across - along) / (across + along + np.float32(1e-6))))


def rains(photo: Image) -> bool:
    """Whether streaks cover the photo."""
    return uprightness(photo) > RAIN
