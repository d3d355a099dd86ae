"""Optical degradations: camera shake, defocus, drops on a window, and water.

Blur by camera shake follows random trajectories, and defocus blur has the shape of the aperture.
Both are computed in linear light, so that highlights smear as in a camera. A drop on the window
shows the scene upside down and blurred.

Water attenuates each channel at a different rate (red most) and adds scattered light. For each
channel, the photo I is

    I = J exp(-a w) t + B (1 - t),  t = exp(-a d)

where J is the scene, B the scattered light, a the attenuation, w the depth of water above the scene
and d the distance from the scene to the camera. After Akkaynak and Treibitz, CVPR 2018.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import as_depth, enlargement, rescale, smooth_noise, to_linear, to_srgb
from verax.degrade.sensor import add_gaussian
from verax.image import Image, Plane

Kernel = NDArray[np.float32]

LONGEST_PX = 28.0  # longest extent of the trajectory at severity 1, up to REFERENCE_PX
WIDEST_PX = 7.5  # largest radius of the blur disc at severity 1, up to REFERENCE_PX
REFERENCE_PX = 700  # short side of a picture above which sizes in px grow with the picture
_STEPS = 96  # points of a trajectory


def motion_blur(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate camera shake along a random path; `severity` (0 to 1) scales the path's length.

    In a third of the results the blur varies over the picture. `depth` is not used here; it is a
    parameter of every degradation.
    """
    extent = severity * LONGEST_PX * rng.uniform(0.5, 1.0) * enlargement(image, REFERENCE_PX)
    path = trajectory(rng)
    linear = to_linear(image)
    blurred = _filter(linear, rasterise(path * extent))
    if rng.random() < 0.35:
        turn, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.0)
        other = _filter(linear, rasterise(path @ _rotation(turn) * extent * scale))
        share = rescale(smooth_noise(image.shape[:2], rng, cells=1.5))[..., None]
        blurred = blurred + share * (other - blurred)
    return to_srgb(blurred)


def defocus_blur(
    image: Image, severity: float, rng: Generator, depth: Plane | None = None
) -> Image:
    """Simulate defocus; `severity` (0 to 1) scales the radius of the blur disc.

    In half of the results everything is equally blurred. In the others, what lies at a random depth
    is sharp; for these, `depth` (H, W) is the depth of the scene in metres; if it is None, a random
    plausible depth is used.
    """
    radius = severity * WIDEST_PX * rng.uniform(0.4, 1.0) * enlargement(image, REFERENCE_PX)
    soft, blades = rng.uniform(0.3, 1.0), int(rng.choice([0, 0, 5, 6, 7, 8]))
    gaussian = rng.random() < 0.25
    linear = to_linear(image)

    def blur(r: float) -> NDArray[np.float32]:
        if gaussian:
            return np.asarray(cv2.GaussianBlur(linear, (0, 0), max(0.6 * r, 0.05)))
        return _filter(linear, disc(r, softness_px=soft, blades=blades))

    if rng.random() < 0.5:
        return to_srgb(blur(radius))
    relative = as_depth(image, rng, depth)
    distance = np.abs(relative - np.float32(rng.uniform(0.0, 1.0)))
    share = np.clip(distance * 2, 0.0, 1.0)[..., None]  # 0 in focus, 1 fully blurred
    half, full = blur(radius / 2), blur(radius)
    low = linear + np.minimum(share * 2, 1) * (half - linear)
    return to_srgb(low + np.maximum(share * 2 - 1, 0) * (full - low))


def trajectory(rng: Generator) -> NDArray[np.float64]:
    """The random path of a shaking camera: points (x, y) at equal intervals of time, (N, 2).

    The mean of the points is (0, 0); the larger of the path's width and height is 1. The motion has
    inertia, tremor and rare jerks, after Boracchi and Foi, IEEE TIP 21(8), 2012.
    """
    inertia, tremor = rng.uniform(0.6, 0.98), 10 ** rng.uniform(-1.6, -0.3)
    jerk = rng.random(_STEPS) < 0.02
    kicks = rng.normal(size=_STEPS) + 1j * rng.normal(size=_STEPS)
    velocity, position = np.exp(2j * np.pi * rng.random()), 0j
    points = np.empty(_STEPS, np.complex128)
    for i in range(_STEPS):
        push = kicks[i] * (2.0 if jerk[i] else tremor)
        velocity = velocity + push - (1 - inertia) * 0.1 * position
        velocity /= max(abs(velocity), 1e-9)
        position += velocity
        points[i] = position
    path = np.stack([points.real, points.imag], 1)
    path -= path.mean(0)
    return path / max(float(np.ptp(path, axis=0).max()), 1e-9)


def rasterise(path_px: NDArray[np.float64]) -> Kernel:
    """The blur kernel (side, side) of a camera that moved along a path.

    `path_px` (N, 2) holds points (x, y) in px, at equal intervals of time. The kernel's side is odd
    and its sum is 1.
    """
    reach = int(np.ceil(np.abs(path_px).max())) + 1
    side = 2 * reach + 1
    base = np.floor(path_px).astype(int)
    fx, fy = (path_px - base).T
    kernel = np.zeros((side, side))
    for dx, dy, weight in (
        (0, 0, (1 - fx) * (1 - fy)),
        (1, 0, fx * (1 - fy)),
        (0, 1, (1 - fx) * fy),
        (1, 1, fx * fy),
    ):
        np.add.at(kernel, (base[:, 1] + dy + reach, base[:, 0] + dx + reach), weight)
    return np.asarray(kernel / kernel.sum(), np.float32)


def disc(radius_px: float, *, softness_px: float = 0.5, blades: int = 0) -> Kernel:
    """The blur kernel of a lens out of focus: a square array with the sum 1.

    It holds a disc of `radius_px`, whose rim falls to 0 within `softness_px`. If `blades` is above
    0, it holds a polygon of about this radius with that many sides, like the aperture of a lens.
    """
    reach = int(np.ceil(radius_px + softness_px)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    distance = np.hypot(x, y)
    if blades:
        sector = 2 * np.pi / blades
        angle = np.mod(np.arctan2(y, x), sector) - sector / 2
        distance = distance * np.cos(angle) / np.cos(sector / 2) ** 0.5
    kernel = np.clip((radius_px - distance) / softness_px + 0.5, 0.0, 1.0)
    kernel[reach, reach] = max(kernel[reach, reach], 1e-3)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _rotation(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _filter(linear: NDArray[np.float32], kernel: Kernel) -> NDArray[np.float32]:
    return np.asarray(cv2.filter2D(linear, -1, kernel, borderType=cv2.BORDER_REFLECT))


DROPS_REFERENCE_PX = 500  # short side of a picture above which drops grow with the picture
MOST_PER_MEGAPIXEL = 4200.0  # drops at severity 1, at DROPS_REFERENCE_PX


def raindrop(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate drops on a window in front of the camera; `severity` (0 to 1) scales their number.

    Size and place of the drops are random. `depth` is not used here; it is a parameter of every
    degradation.
    """
    height, width = image.shape[:2]
    enlarge = enlargement(image, DROPS_REFERENCE_PX)
    typical, focus = rng.uniform(3.0, 11.0) * enlarge, rng.uniform(0.8, 3.0) * enlarge
    rate = MOST_PER_MEGAPIXEL / 1e6 * rng.uniform(0.4, 1.2) * (8.0 / (typical / enlarge)) ** 1.2
    count = int(severity * rate * height * width / enlarge**2 + rng.random())
    light = rng.uniform(-0.05, 0.2)
    cover, dx, dy = drops((height, width), rng, count, typical)
    cover = cv2.GaussianBlur(cover, (0, 0), focus)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    soft = cv2.GaussianBlur(image, (0, 0), 1.5 * enlarge)
    behind = cv2.remap(soft, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    behind = cv2.GaussianBlur(behind, (0, 0), focus)
    rim = cover * (1 - cover) * 4  # light bends away at the rim: darker there
    shade = np.float32(light) * cover - np.float32(0.12) * rim
    through: Image = np.clip(behind + shade[..., None], 0.0, 1.0)
    out: Image = image + cover[..., None] * (through - image)
    return out


def drops(
    size: tuple[int, int], rng: Generator, count: int, typical: float
) -> tuple[Plane, Plane, Plane]:
    """Draw `count` random drops of about `typical` px radius on planes of `size` (height, width).

    Returns three planes: a mask (1 inside a drop, else 0), and the horizontal and the vertical
    offset, in px, from each pixel in a drop to the point of the picture that the drop shows there
    (0 outside drops).
    """
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


# attenuation of R, G, B per unit of length, and colour of the scattered light (linear)
WATERS = {
    "blue": ((1.6, 0.45, 0.22), (0.004, 0.18, 0.42)),
    "turquoise": ((1.7, 0.28, 0.30), (0.006, 0.32, 0.34)),
    "green": ((1.4, 0.26, 0.65), (0.015, 0.32, 0.16)),
    "murky": ((1.0, 0.50, 0.75), (0.06, 0.24, 0.12)),
}


def underwater(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate a photo under water; `severity` (0 to 1) scales how much water the light crosses.

    The water's colour and clarity are random. `depth` (H, W) is the distance to the scene in
    metres; if it is None, a random plausible depth is used.
    """
    fade, veil = WATERS[str(rng.choice(list(WATERS)))]
    fade_c = np.array(fade, np.float32) * rng.uniform(0.75, 1.25, 3).astype(np.float32)
    veil_c = np.array(veil, np.float32) * np.float32(rng.uniform(0.3, 1.2))
    down, away = severity * rng.uniform(0.2, 1.6), severity * rng.uniform(0.3, 2.2)
    reach = np.float32(away) * (np.float32(0.15) + np.float32(0.85) * as_depth(image, rng, depth))
    transmission = np.exp(-reach[..., None] * fade_c)
    linear = to_linear(image)
    if rng.random() < 0.5:  # forward scattering softens what is far
        linear = cv2.GaussianBlur(linear, (0, 0), max(0.05, severity * rng.uniform(0.3, 1.5)))
    direct = linear * np.exp(-np.float32(down) * fade_c) * transmission
    gain = 1 + severity * rng.uniform(0.0, 0.8)  # the camera exposes for the darker scene
    wet = to_srgb(np.float32(gain) * (direct + veil_c * (1 - transmission)))
    return add_gaussian(wet, severity * rng.uniform(0.0, 2.0), rng)
