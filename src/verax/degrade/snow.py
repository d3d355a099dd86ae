"""Snow: flakes of several sizes, smeared by wind, over a veil that thickens with distance."""

import cv2
import numpy as np
from numpy.random import Generator

from verax.degrade.fields import Size, as_depth, smooth_noise, working_size
from verax.degrade.haze import scatter
from verax.image import Image, Plane

REFERENCE_PX = 600  # flake sizes in px hold for pictures up to this short side
_CORNERS = 7
# radius px (from, to), flakes per 1000 px at severity 1 (from, to), blur px, opacity (from, to)
_LAYERS = {
    "fine": ((0.5, 1.1), (2.0, 30.0), 0.4, (0.25, 0.8)),
    "small": ((1.0, 2.2), (0.8, 6.0), 0.6, (0.5, 1.0)),
    "medium": ((2.0, 4.0), (0.1, 1.0), 0.9, (0.6, 1.0)),
    "large": ((5.0, 14.0), (0.005, 0.05), 3.0, (0.3, 0.7)),
}


def snow(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the number of flakes and the veil; sizes and wind are drawn from rng."""
    white = np.float32(rng.uniform(0.85, 1.0)) * np.array([0.98, 0.99, 1.0], np.float32)
    veil = rng.uniform(0.0, 0.8) if rng.random() < 0.8 else 0.0
    cover = flakes(working_size(image, REFERENCE_PX), severity, rng)
    if cover.shape != image.shape[:2]:
        cover = cv2.resize(cover, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    far = as_depth(image, rng, depth)
    scene = scatter(image, 1 - np.float32(veil * severity) * (0.3 + 0.7 * far), white * 0.93)
    return scatter(scene, 1 - cover, white)


def flakes(size: Size, severity: float, rng: Generator) -> Plane:
    """Opacity of the flakes, (H, W) in [0, 1]."""
    wind, streak = np.deg2rad(rng.normal(0.0, 25.0)), rng.uniform(0.0, 4.0)
    clear = np.ones(size, np.float32)
    for name, (radius, density, soft, opacity) in _LAYERS.items():
        rate = rng.uniform(*density) * (rng.random() < 0.85)
        strength, rounding = rng.uniform(*opacity), rng.random()
        layer_rng = rng.spawn(1)[0]  # a layer's count must not change the next layer
        count = int(severity * rate * size[0] * size[1] / 1000 + rounding)
        layer = _draw(size, layer_rng, count, radius=radius, wind=float(wind), streak=streak)
        layer = cv2.GaussianBlur(layer, (0, 0), soft)
        if name == "large":
            layer *= np.clip(0.8 + 0.25 * smooth_noise(size, layer_rng, cells=40), 0.0, 1.0)
        clear *= 1 - np.float32(strength) * layer
    return 1 - clear


def _draw(
    size: Size,
    rng: Generator,
    count: int,
    *,
    radius: tuple[float, float],
    wind: float,
    streak: float,
) -> Plane:
    """Irregular blobs elongated along the wind, each with its own brightness."""
    canvas = np.zeros(size, np.uint8)
    if count == 0:
        return canvas.astype(np.float32)
    draws = rng.random((count, 5 + _CORNERS), np.float32)  # the same first ones at any count
    centre = draws[:, :2] * [size[1], size[0]]
    # many small, few big; each corner at its own distance
    mean = radius[0] + (radius[1] - radius[0]) * draws[:, 2] ** 2
    reach = mean[:, None] * (0.7 + 0.6 * draws[:, 5:])
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    across, along = np.cos(angle) * reach, np.sin(angle) * reach * (1 + streak * draws[:, 3:4])
    x = centre[:, :1] + across * np.cos(wind) + along * np.sin(wind)
    y = centre[:, 1:2] - across * np.sin(wind) + along * np.cos(wind)
    corners = np.rint(np.stack([x, y], 2) * 16).astype(np.int32)
    bright = (255 * (0.4 + 0.6 * draws[:, 4])).astype(int).tolist()
    for polygon, level in zip(corners, bright, strict=True):
        cv2.fillConvexPoly(canvas, polygon, level, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / np.float32(255)
