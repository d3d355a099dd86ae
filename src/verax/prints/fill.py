"""What a photo does not hold, filled from the prior with a seam that cannot be seen.

Inside the mask the result has the prior's gradients, at its edge the photo's values (Perez,
Gangnet and Blake, "Poisson image editing", 2003): the prior plus a membrane, harmonic inside,
that carries the difference along the edge across. The membrane is relaxed from coarse to fine.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane

Mask = NDArray[np.bool_]

STEPS = 24  # of relaxation per size
CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
EDGE = 1.0  # px, smoothing of the photo's values along the edge against noise
MARGIN = 8  # px around the mask that are looked at


def fill(photo: Image, prior: Image, mask: Mask) -> Image:
    """The photo with the masked pixels from the prior, both (H, W, 3); outside it is untouched."""
    result = photo.copy()
    count, _, boxes, _ = cv2.connectedComponentsWithStats(
        cv2.dilate(mask.astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8))
    )
    for left, top, width, height, _ in boxes[1:count]:
        box = (slice(top, top + height), slice(left, left + width))
        inside = mask[box]
        if inside.all():  # nothing around it to hold on to
            result[box] = prior[box]
            continue
        difference = photo[box] - prior[box]
        filled = prior[box] + membrane(difference, ~inside)
        result[box] = np.where(inside[..., None], np.clip(filled, 0, 1), photo[box])
    return result


def membrane(values: Image, known: Mask) -> Image:
    """The values where they are known, carried harmonically across the rest."""
    weight = known.astype(np.float32)
    steady = cv2.GaussianBlur(values * weight[..., None], (0, 0), EDGE)
    steady /= np.maximum(cv2.GaussianBlur(weight, (0, 0), EDGE), 1e-4)[..., None]
    return relaxed(np.where(known[..., None], steady, 0).astype(np.float32), weight)


def relaxed(values: Image, weight: Plane) -> Image:
    """One size of the membrane, begun from the next coarser one."""
    height, width = weight.shape
    unknown = (weight == 0)[..., None]
    if not unknown.any():
        return values
    if min(height, width) < 3:
        mean = (values * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-4)
        return np.where(unknown, mean, values).astype(np.float32)
    size = ((width + 1) // 2, (height + 1) // 2)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(values * weight[..., None], size, interpolation=cv2.INTER_AREA)
    coarse /= np.maximum(share, 1e-4)[..., None]
    begun = relaxed(coarse, (share > 0).astype(np.float32))
    out = cv2.resize(begun, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.where(unknown, out, values)
    for _ in range(STEPS):
        out = np.where(unknown, cv2.filter2D(out, -1, CROSS, borderType=cv2.BORDER_REFLECT), out)
    return np.asarray(out, np.float32)
