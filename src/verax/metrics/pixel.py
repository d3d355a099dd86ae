"""Pixel differences: PSNR and CIEDE2000.

Pictures are (H, W, C) float32 in [0, 1] of equal shape.
"""

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from verax.image import Image

PSNR_CAP_DB = 100.0  # equal pictures: a mean square error below 1e-10 cannot be told from none


def psnr(restored: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB, over all channels; equal pictures give PSNR_CAP_DB."""
    error = float(cv2.norm(restored, reference, cv2.NORM_L2SQR)) / restored.size
    return PSNR_CAP_DB if error <= 0 else min(PSNR_CAP_DB, -10.0 * float(np.log10(error)))


def ciede2000(restored: Image, reference: Image) -> float:
    """Mean CIEDE2000 colour difference of two sRGB pictures under D65.

    Source: Sharma, Wu, Dalal, Color Research and Application 30, 21 (2005); scikit-image.
    """
    return float(np.mean(deltaE_ciede2000(rgb2lab(restored), rgb2lab(reference))))
