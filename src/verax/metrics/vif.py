"""Visual information fidelity in the pixel domain (VIFp).

Source: Sheikh, Bovik, IEEE TIP 15, 430 (2006), with the pixel-domain windows of its authors.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError
from verax.image import Image

NOISE_VARIANCE = 2.0  # of the visual system, in squared levels of 0..255
TAPS = (17, 9, 5, 3)
MIN_PX = 41
FLAT = 1 / 65535  # less than one 16-bit level
EPS = 1e-10

Map = NDArray[np.float32]


def vif(restored: Image, reference: Image) -> float:
    """Information kept, averaged over the channels of (H, W, C); 1 for equal pictures.

    More than 1 is possible: more contrast than the reference counts as more information.
    """
    if min(restored.shape[:2]) < MIN_PX:
        raise InputError(
            f"vif: want at least {MIN_PX} px on each side, "
            f"got {restored.shape[1]}x{restored.shape[0]}; choose another metric"
        )
    check_structure(restored, reference, "vif")
    pairs = zip(cv2.split(restored), cv2.split(reference), strict=True)
    return float(np.mean([_plane_vif(a * 255, b * 255) for a, b in pairs]))


def check_structure(restored: Image, reference: Image, name: str) -> None:
    """Raises InputError for a flat reference that the other picture is not equal to.

    Measures of structure are undefined there: black against white would score as equal.
    """
    flat = float(np.ptp(reference.reshape(-1, reference.shape[-1]), axis=0).max()) < FLAT
    if flat and np.abs(restored - reference).max() >= FLAT:
        raise InputError(
            f"{name}: undefined for a reference of one colour, which has no structure to compare; "
            "choose psnr or ciede2000"
        )


def _plane_vif(restored: Map, reference: Map) -> float:
    # variances do not depend on the mean; without it float32 keeps more of their digits
    centre = np.float32(reference.mean())
    restored, reference = restored - centre, reference - centre
    kept = total = 0.0
    for octave, taps in enumerate(TAPS):
        if octave:
            restored, reference = (_filter(p, taps)[::2, ::2].copy() for p in (restored, reference))
        kept_here, total_here = _information(restored, reference, taps)
        kept, total = kept + kept_here, total + total_here
    return kept / total if total > 0 else 1.0  # a flat reference holds nothing that could be lost


def _information(restored: Map, reference: Map, taps: int) -> tuple[float, float]:
    mean_x, mean_y = _filter(reference, taps), _filter(restored, taps)
    var_x = np.maximum(_filter(reference * reference, taps) - mean_x * mean_x, 0)
    var_y = np.maximum(_filter(restored * restored, taps) - mean_y * mean_y, 0)
    covariance = _filter(reference * restored, taps) - mean_x * mean_y
    gain = np.where(var_x < EPS, 0, covariance / (var_x + np.float32(EPS)))
    noise = np.where(gain < 0, var_y, var_y - gain * covariance)
    gain = np.maximum(np.where(var_y < EPS, 0, gain), 0)
    noise = np.maximum(np.where(var_y < EPS, 0, noise), EPS)
    kept = np.log10(1 + gain * gain * var_x / (noise + NOISE_VARIANCE))
    total = np.log10(1 + var_x / NOISE_VARIANCE)
    return float(kept.sum(dtype=np.float64)), float(total.sum(dtype=np.float64))


def _filter(plane: Map, taps: int) -> Map:
    kernel = cv2.getGaussianKernel(taps, taps / 5, cv2.CV_32F)
    edge = taps // 2
    filtered: Map = cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel)
    return filtered[edge:-edge, edge:-edge]
