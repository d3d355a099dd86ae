"""Smooth random planes, plausible depth, and conversion to and from linear light.

`pseudo_depth` makes a depth map for photos without one. It is not physical depth, but good enough
for haze that looks real. It follows three rules of thumb: distant things are high in the picture,
their dark channel (the minimum over channels and a small window) is bright, and depth changes at
edges.

Blur, water and exposure are simulated in linear light. Rain, snow and haze are added in sRGB, as in
the standard synthetic test sets. The sRGB curve is that of IEC 61966-2-1.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.image import Image, Plane, pixels
from verax.image.pixels import guided_filter, luma_709

Size = tuple[int, int]  # (height, width)

_WORK_PX = 128  # depth is smooth: a small working grid is enough


def smooth_noise(size: Size, rng: Generator, *, cells: float) -> Plane:
    """A plane of `size` (height, width) of smooth noise, with mean 0 and standard deviation 1.

    `cells` is about the number of light and dark blobs along the short side.
    """
    height, width = size
    step = min(height, width) / cells
    grid = (max(2, round(height / step) + 2), max(2, round(width / step) + 2))
    coarse = rng.standard_normal(grid, np.float32)
    # cubic enlargement keeps 0.864 of the deviation of white noise
    full: Plane = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return full * np.float32(1 / 0.864)


def fractal_noise(size: Size, rng: Generator, *, cells: float, octaves: int = 4) -> Plane:
    """A plane of `size` (height, width) of cloud-like noise, with mean 0 and standard deviation 1.

    It is a sum of `octaves` planes of smooth noise. The first has about `cells` light and dark
    blobs along the short side. Each further plane has twice as many, with 0.55 times the amplitude.
    """
    total = np.zeros(size, np.float32)
    norm = 0.0
    for octave in range(octaves):
        gain = 0.55**octave
        total += np.float32(gain) * smooth_noise(size, rng, cells=cells * 2**octave)
        norm += gain * gain
    return total / np.float32(np.sqrt(norm))


def rescale(plane: NDArray[np.float32]) -> Plane:
    """Stretch the values of a plane linearly to [0, 1]; a constant plane becomes 0.5."""
    low, high = float(plane.min()), float(plane.max())
    if high - low < 1e-6:
        return np.full(plane.shape, 0.5, np.float32)
    stretched = (plane - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.asarray(np.clip(stretched, 0.0, 1.0))


def enlargement(image: Image, reference_px: int) -> float:
    """The picture's short side divided by `reference_px`, but at least 1.

    A size in px that suits pictures with a short side of `reference_px`, such as the width of a
    streak of rain, is multiplied by this factor.
    """
    return max(1.0, float(min(image.shape[:2])) / reference_px)


def working_size(image: Image, reference_px: int) -> Size:
    """The picture's (height, width) after reducing it to a short side of at most `reference_px`."""
    scale = 1 / enlargement(image, reference_px)
    return (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))


def pseudo_depth(image: Image, rng: Generator) -> Plane:
    """A plausible random depth (H, W) in [0, 1] for a picture, where 1 is far.

    It is a random mixture of a tilted ramp, the picture's dark channel, flat patches and clouds,
    smoothed except at the picture's edges. It is not physical depth.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _WORK_PX / max(height, width))
    small = (max(8, round(height * scale)), max(8, round(width * scale)))
    guide = cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA)
    weights = rng.uniform([0.3, 0.1, 0.0, 0.05], [1.0, 0.7, 0.5, 0.35]).astype(np.float32)
    parts = (_ramp(small, rng), _dark_channel(guide), _steps(small, rng), _clouds(small, rng))
    mixed = sum(w * part for w, part in zip(weights, parts, strict=True))
    smooth = guided_filter(
        luma_709(guide), np.asarray(mixed, np.float32), 6, 4e-3, cv2.BORDER_REFLECT_101
    )
    full = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    return rescale(full)


def as_depth(image: Image, rng: Generator, depth: Plane | None) -> Plane:
    """The relative depth (H, W) of a picture, from 0 (at the camera) to 1 (far).

    It is the measured `depth` in metres, divided by its 95th percentile and clipped. Pixels without
    measurement (0, NaN or infinite) become 1. If `depth` is None, a plausible random depth is made
    from `image`, which is not used otherwise.
    """
    if depth is None:
        return pseudo_depth(image, rng)
    known = np.isfinite(depth) & (depth > 0)
    far = float(np.percentile(depth[known], 95)) if known.any() else 1.0
    relative = np.where(known, depth, far) / np.float32(far)
    return np.clip(relative, 0.0, 1.0).astype(np.float32)


def _ramp(size: Size, rng: Generator) -> Plane:
    """A plane of `size` (height, width) with the depth of the ground, from 0 to 1 (far).

    The depth grows from the bottom to the top; it may also grow to the left or the right.
    """
    tilt, bend = rng.uniform(-0.6, 0.6), rng.uniform(0.6, 2.0)
    y = np.linspace(1.0, 0.0, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, size[1], dtype=np.float32)[None, :]
    return rescale(y + np.float32(tilt) * x) ** np.float32(bend)


def _dark_channel(guide: Image) -> Plane:
    dark = cv2.erode(guide.min(axis=2), np.ones((7, 7), np.uint8))
    return rescale(dark)


def _steps(size: Size, rng: Generator) -> Plane:
    """A plane of `size` (height, width) of random patches, each with one depth from 0 to 1.

    They stand for walls and objects.
    """
    return rescale(np.floor(smooth_noise(size, rng, cells=3.0) * 1.5))


def _clouds(size: Size, rng: Generator) -> Plane:
    return rescale(fractal_noise(size, rng, cells=2.0, octaves=3))


Array = NDArray[np.float32]

_STEPS = 4096
_CODE = np.linspace(0.0, 1.0, _STEPS + 1)
_TO_LINEAR = pixels.to_linear(_CODE).astype(np.float32)


def to_linear(image: Image) -> Array:
    """Convert sRGB values in [0, 1] to linear light, with an error of less than 3e-4."""
    return _TO_LINEAR[(image * np.float32(_STEPS) + np.float32(0.5)).astype(np.int32)]


def to_srgb(linear: Array) -> Image:
    """Convert linear light to sRGB values in [0, 1]; values out of range are clipped."""
    clipped = np.clip(linear, 0.0, 1.0)
    curve: Array = np.float32(1.055) * cv2.pow(clipped, 1 / 2.4) - np.float32(0.055)
    return np.where(clipped <= 0.0031308, clipped * np.float32(12.92), curve)
