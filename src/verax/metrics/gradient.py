"""Gradients: GMSD, and precision and recall of edges.

Pictures are (H, W, 3) float32 in [0, 1] of equal shape; the luma is compared.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image

LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
GMSD_CONSTANT = 170.0 / 255.0**2
EDGE_SIGMA_PX = 1.4
EDGE_LOW, EDGE_HIGH = 0.01, 0.03  # luma change per pixel after smoothing
EDGE_TOLERANCE_PX = 2

Map = NDArray[np.float32]


def gmsd(restored: Image, reference: Image) -> float:
    """Gradient magnitude similarity deviation, 0 for equal pictures, lower is better.

    Source: Xue et al., IEEE TIP 23, 684 (2014).
    """
    a, b = _prewitt(_halved_luma(restored)), _prewitt(_halved_luma(reference))
    similar = (2 * a * b + GMSD_CONSTANT) / (a * a + b * b + GMSD_CONSTANT)
    return float(np.std(similar, dtype=np.float64))


def _halved_luma(image: Image) -> Map:
    plane = luma(image)
    height, width = plane.shape
    # an odd side is completed with zeros before averaging 2x2, as in piq
    plane = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=0)
    size = (plane.shape[1] // 2, plane.shape[0] // 2)
    half: Map = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return half


def _prewitt(plane: Map) -> Map:
    slope, level = np.array([-1, 0, 1], np.float32), np.ones(3, np.float32) / 3
    border = cv2.BORDER_CONSTANT
    dx = cv2.sepFilter2D(plane, cv2.CV_32F, slope, level, borderType=border)
    dy = cv2.sepFilter2D(plane, cv2.CV_32F, level, slope, borderType=border)
    magnitude: Map = cv2.magnitude(dx, dy)
    return magnitude


def luma(image: Image) -> Map:
    """(H, W) luma, 0.299 R + 0.587 G + 0.114 B, in [0, 1]."""
    plane: Map = cv2.transform(image, LUMA)
    return plane


def edge_precision(restored: Image, reference: Image) -> float:
    """Share of the restoration's edge pixels with an edge of the reference within 2 px."""
    return _share_near(_edges(restored), _edges(reference))


def edge_recall(restored: Image, reference: Image) -> float:
    """Share of the reference's edge pixels with an edge of the restoration within 2 px."""
    return _share_near(_edges(reference), _edges(restored))


def _edges(image: Image) -> NDArray[np.uint8]:
    smooth = cv2.GaussianBlur(luma(image), (0, 0), EDGE_SIGMA_PX)
    dx = cv2.sepFilter2D(smooth, cv2.CV_32F, np.array([-0.5, 0, 0.5]), np.ones(1))
    dy = cv2.sepFilter2D(smooth, cv2.CV_32F, np.ones(1), np.array([-0.5, 0, 0.5]))
    unit = 32000.0  # Canny takes 16-bit gradients
    across, down = (np.rint(np.clip(d * unit, -unit, unit)).astype(np.int16) for d in (dx, dy))
    return np.asarray(
        cv2.Canny(across, down, EDGE_LOW * unit, EDGE_HIGH * unit, L2gradient=True), np.uint8
    )


def _share_near(edges: NDArray[np.uint8], others: NDArray[np.uint8]) -> float:
    """1 where there is no edge to judge: nothing was invented, nothing lost."""
    if not edges.any():
        return 1.0
    distance = cv2.distanceTransform(255 - others, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(np.mean(distance[edges > 0] <= EDGE_TOLERANCE_PX))
