"""Rain: drawn streaks in several directions, and streaks of motion-blurred noise.

"bars" are drawn lines, 1-3 px wide and 10-180 px long, in one to five families of direction,
hard-edged or soft, added to the picture; measured on heavy synthetic rain the added light averages
0.11-0.34. "blurred" is noise smeared along the fall and laid over by screening; measured means
are 0.03, 0.10 and 0.18 for light, medium and heavy. A third of the draws add a veil of mist.
"""

import cv2
import numpy as np
from numpy.random import Generator

from verax.degrade.fields import Size, as_depth, working_size
from verax.degrade.haze import scatter
from verax.image import Image, Plane

REFERENCE_PX = 600  # streak sizes in px hold for pictures up to this short side
_LEVELS = 4  # brightness groups per family of streaks


def rain(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the number and the brightness of streaks; their make comes from rng."""
    kind = rng.choice(["bars", "blurred", "both"], p=[0.5, 0.35, 0.15])
    veil, mist = rng.random() < 0.3, rng.uniform(0.1, 0.5)
    size = working_size(image, REFERENCE_PX)
    angle = float(np.clip(rng.normal(0.0, 14.0), -45, 45))  # degrees off the vertical
    layer = np.zeros(size, np.float32)
    if kind != "blurred":
        layer += bars(size, severity, rng, angle=angle)
    if kind != "bars":
        layer += blurred(size, severity, rng, angle=angle)
    if size != image.shape[:2]:
        layer = cv2.resize(layer, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    scene = image
    if veil:
        far = as_depth(image, rng, depth)
        scene = scatter(image, 1 - np.float32(mist * severity) * far, np.full(3, 0.8, np.float32))
    light = layer[..., None]
    added = kind == "bars" or rng.random() < 0.4
    wet = scene + light if added else scene + light * (1 - scene)
    return np.asarray(np.clip(wet, 0.0, 1.0), np.float32)


def bars(size: Size, severity: float, rng: Generator, *, angle: float) -> Plane:
    """Light added by drawn streaks, (H, W) >= 0, in one to five directions around `angle`."""
    families = int(rng.choice([1, 2, 3, 4, 5], p=[0.35, 0.25, 0.2, 0.1, 0.1]))
    cover, bright = rng.uniform(0.4, 1.4), rng.uniform(0.2, 0.4)
    smooth, softness = rng.random() < 0.5, rng.uniform(0.3, 0.7)
    layer = np.zeros(size, np.float32)
    for family in range(families):
        turn = rng.normal(0.0, 4.0 if rng.random() < 0.6 else 25.0) if family else 0.0
        share = severity**0.5 * cover / families
        strength = severity**0.5 * bright * rng.uniform(0.6, 1.3)
        layer += _family(size, rng, angle=angle + turn, cover=share, bright=strength)
    return cv2.GaussianBlur(layer, (0, 0), softness) if smooth else layer


def blurred(size: Size, severity: float, rng: Generator, *, angle: float) -> Plane:
    """Light added by noise smeared along the fall, (H, W) >= 0.

    Mean and relative deviation are drawn; on real layers the latter lies between 0.5 and 1.
    """
    length, width = rng.uniform(8.0, 32.0), int(rng.choice([1, 2], p=[0.85, 0.15]))
    mean, variation = rng.uniform(0.08, 0.26), rng.uniform(0.4, 1.15)
    coarse = max(1.0, rng.uniform(0.5, 1.6))
    kernel = _line(length / coarse, angle, width)
    # drops of even strength at random places: variation**2 = 4/3 sum(kernel**2) / density
    density = min(1.0, 4 / 3 * float((kernel * kernel).sum()) / variation**2)
    drops = rng.random((round(size[0] / coarse) + 1, round(size[1] / coarse) + 1), np.float32)
    drops = np.maximum(drops - np.float32(1 - density), 0)
    streaks = cv2.filter2D(drops, -1, kernel, borderType=cv2.BORDER_REFLECT)
    streaks *= np.float32(severity * mean / (density * density / 2))
    layer = cv2.resize(streaks, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.minimum(layer, np.float32(0.9)))


def _family(size: Size, rng: Generator, *, angle: float, cover: float, bright: float) -> Plane:
    """Streaks of one direction covering about the share `cover` of the picture."""
    height, width = size
    thickness = int(rng.choice([1, 2, 3], p=[0.5, 0.44, 0.06]))
    typical = rng.uniform(20.0, 60.0) * thickness**0.6
    reach = 2 * typical  # streaks may start outside
    area = (height + 2 * reach) * (width + 2 * reach)
    most = int(1.1 * area / (typical * thickness)) + 1
    count = int(cover * area / (typical * thickness)) + 1
    place = rng.random((most, 4), np.float32)[:count]  # the same first ones at any severity
    spread = rng.normal(0.0, rng.uniform(0.0, 2.5), most)[:count]
    start = place[:, :2] * [width + 2 * reach, height + 2 * reach] - reach
    tilt = np.deg2rad(angle + spread)
    length = typical * (0.4 + 1.2 * place[:, 2])
    end = start + (length * np.array([np.sin(tilt), np.cos(tilt)])).T
    lines = np.rint(np.stack([start, end], 1) * 16).astype(np.int32)
    smooth = cv2.LINE_AA if rng.random() < 0.6 else cv2.LINE_8
    layer = np.zeros(size, np.float32)
    for level in range(_LEVELS):
        canvas = np.zeros(size, np.uint8)
        cv2.polylines(canvas, list(lines[level::_LEVELS]), False, 255, thickness, smooth, 4)
        layer += canvas * np.float32(bright * (0.4 + 0.4 * level) / 255.0)
    return layer


def _line(length: float, angle: float, width: int) -> Plane:
    """A line kernel with tapering ends that sums to 1."""
    reach = int(np.ceil(length / 2)) + 1
    side = 2 * reach + 1
    tilt = np.deg2rad(angle)
    half = np.array([np.sin(tilt), np.cos(tilt)]) * length / 2
    ends = np.rint((np.stack([-half, half]) + reach) * 16).astype(np.int32)
    canvas = np.zeros((side, side), np.uint8)
    cv2.polylines(canvas, [ends], False, 255, width, cv2.LINE_AA, 4)
    kernel = canvas.astype(np.float32)
    return np.asarray(kernel / kernel.sum(), np.float32)
