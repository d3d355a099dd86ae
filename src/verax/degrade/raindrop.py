"""Drops on the lens or window: each shows the scene upside down, blurred, out of focus itself."""

import cv2
import numpy as np
from numpy.random import Generator

from verax.degrade.fields import enlargement
from verax.image import Image, Plane

REFERENCE_PX = 500  # drop sizes in px hold for pictures up to this short side
MOST_PER_MEGAPIXEL = 4200.0  # drops at severity 1, at REFERENCE_PX


def raindrop(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Severity scales the number of drops; their size, focus and light are drawn from rng."""
    height, width = image.shape[:2]
    enlarge = enlargement(image, REFERENCE_PX)
    typical, focus = rng.uniform(3.0, 11.0) * enlarge, rng.uniform(0.8, 3.0) * enlarge
    rate = MOST_PER_MEGAPIXEL / 1e6 * rng.uniform(0.4, 1.2) * (8.0 / (typical / enlarge)) ** 1.2
    count = int(severity * rate * height * width / enlarge**2 + rng.random())
    light = rng.uniform(-0.05, 0.2)
    cover, dx, dy = _drops((height, width), rng, count, typical)
    cover = cv2.GaussianBlur(cover, (0, 0), focus)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    soft = cv2.GaussianBlur(image, (0, 0), 1.5 * enlarge)
    seen = cv2.remap(soft, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    seen = cv2.GaussianBlur(seen, (0, 0), focus)
    rim = cover * (1 - cover) * 4  # light bends away at the rim: darker there
    shade = np.float32(light) * cover - np.float32(0.12) * rim
    through: Image = np.clip(seen + shade[..., None], 0.0, 1.0)
    out: Image = image + cover[..., None] * (through - image)
    return out


def _drops(
    size: tuple[int, int], rng: Generator, count: int, typical: float
) -> tuple[Plane, Plane, Plane]:
    """Cover of the drops and where each pixel inside looks to: offsets (dx, dy) in px."""
    cover, dx, dy = (np.zeros(size, np.float32) for _ in range(3))
    for u, v, r, a, b, c in rng.random((count, 6)):
        radius = typical * (0.35 + 1.3 * r * r)
        axes = np.array([radius * (0.8 + 0.3 * a), radius * (0.9 + 0.7 * b)])
        cx, cy = u * size[1], v * size[0]
        x0, x1 = (int(np.clip(cx + s * axes[0] * 1.3, 0, size[1])) for s in (-1, 1))
        y0, y1 = (int(np.clip(cy + s * axes[1] * 1.3, 0, size[0])) for s in (-1, 1))
        if x0 >= x1 or y0 >= y1:
            continue
        y = (np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)) / np.float32(axes[1])
        x = (np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)) / np.float32(axes[0])
        wobble = np.float32(0.08) * np.sin(2 * np.arctan2(y, x) + np.float32(6.28 * c))
        inside = (x * x + y * y) < (1 + wobble) ** 2
        power = np.float32(2.0 + 6.0 * c)  # a small lens sees a wide scene
        cover[y0:y1, x0:x1][inside] = 1.0
        dx[y0:y1, x0:x1][inside] = np.broadcast_to(-power * x * axes[0], inside.shape)[inside]
        dy[y0:y1, x0:x1][inside] = np.broadcast_to(-power * y * axes[1], inside.shape)[inside]
    return cover, dx, dy
