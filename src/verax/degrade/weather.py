"""Weather: haze, rain and snow.

Haze follows Koschmieder: I = J t + A (1 - t) with t = exp(-beta d), for scene J, airlight A, depth
d and transmission t; beta d is the optical depth. There are two kinds. Even haze is like that of
the standard synthetic test sets (RESIDE: A 0.7-1, beta 0.6-1.8). There the median optical depth of
a photo is 0.25-0.9; in its nearest parts it is half of that. Patchy haze is like real smoke: it has
a median optical depth of 1-2.3, clouds, an airlight of 0.5-0.9 in the colour of the scene's light,
a dimmed scene, glow, and sensor noise.

There are two kinds of rain. "bars" draws lines, 1-3 px wide and 10-180 px long, in one to five
directions, with hard or soft edges. In synthetic test sets of heavy rain, such lines add a mean
value of 0.11-0.34. "blurred" is noise, blurred along the direction of fall. In test sets with such
rain, the mean added value is 0.03, 0.10 and 0.18 for light, medium and heavy rain. A third of the
results get mist, too.

Snow consists of flakes of several sizes, elongated by wind, and whitish haze behind the flakes.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import Size, as_depth, fractal_noise, rescale, smooth_noise, working_size
from verax.degrade.sensor import add_gaussian
from verax.image import Image, Plane

BETA_EVEN = (0.5, 2.0)  # range of the optical depth of the farthest point at severity 1
BETA_PATCHY = (1.0, 3.6)  # likewise


def haze(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate even or patchy haze, at random; `severity` (0 to 1) scales its optical depth.

    `depth` (H, W) is the depth of the scene in metres; if it is None, a random plausible depth is
    used.
    """
    patchy = rng.random() < 0.4
    relative = as_depth(image, rng, depth)
    near = np.float32(0.7 * rng.random() ** 1.6)  # relative optical depth of the nearest point
    optical = near + (1 - near) * relative
    if patchy:
        return _patchy(image, severity, rng, optical)
    transmission = np.exp(-np.float32(severity * rng.uniform(*BETA_EVEN)) * optical)
    tint = rng.normal(0.0, 0.02 if rng.random() < 0.3 else 0.0, 3)
    airlight = np.clip(rng.uniform(0.7, 1.0) + tint, 0.0, 1.0)
    return scatter(image, transmission, airlight.astype(np.float32))


def scatter(image: Image, transmission: Plane, airlight: NDArray[np.float32]) -> Image:
    """Put haze over a picture: image * transmission + airlight * (1 - transmission), clipped.

    `transmission` (H, W) and the colour `airlight` (3,) are in [0, 1].
    """
    t = transmission[..., None]
    return np.clip(image * t + airlight * (1 - t), 0.0, 1.0).astype(np.float32)


def _patchy(image: Image, severity: float, rng: Generator, optical: Plane) -> Image:
    clouds = rescale(fractal_noise(image.shape[:2], rng, cells=rng.uniform(1.0, 4.0)))
    thick = np.float32(rng.uniform(0.2, 1.0))  # contrast of the clouds; 0 would be even haze
    optical = optical * (1 - thick + 2 * thick * clouds)
    beta = np.float32(severity * rng.uniform(*BETA_PATCHY))
    transmission = np.exp(-beta * optical)
    dim, glow, grain = rng.uniform(0.0, 0.35), rng.uniform(0.0, 3.0), rng.uniform(0.0, 3.0)
    scene = cv2.pow(image, 1.0 + severity * dim)
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(scene, (0, 0), max(0.1, severity * glow))
        scene = soft + transmission[..., None] * (scene - soft)
    hazy = scatter(scene, transmission, _light_of(image, rng))
    return add_gaussian(hazy, severity * grain, rng)


def _light_of(image: Image, rng: Generator) -> NDArray[np.float32]:
    """A random colour of haze, (R, G, B) from 0.1 to 1, in sRGB.

    Its hue is near that of the picture's mean colour, with a random tint of yellow or blue.
    """
    mean = image.mean(axis=(0, 1)) + 0.05
    cast = (mean / mean.mean()) ** rng.uniform(0.0, 0.6)
    tint = np.exp(rng.normal(0.0, 0.5) * np.array([0.12, 0.0, -0.16]) + rng.normal(0, 0.02, 3))
    airlight = rng.uniform(0.5, 0.92) * cast * tint
    return np.asarray(np.clip(airlight, 0.1, 1.0), np.float32)


REFERENCE_PX = 600  # short side of a picture above which streaks and flakes grow with the picture
_LEVELS = 4  # different brightnesses of the streaks of one direction


def rain(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate rain streaks, and sometimes mist.

    `severity` (0 to 1) scales the number and brightness of the streaks, and the mist. `depth`
    (H, W), in metres, is used for mist; if it is None, a random plausible depth is used.
    """
    kind = rng.choice(["bars", "blurred", "both"], p=[0.5, 0.35, 0.15])
    veil, mist = rng.random() < 0.3, rng.uniform(0.1, 0.5)
    size = working_size(image, REFERENCE_PX)
    angle = float(np.clip(rng.normal(0.0, 14.0), -45, 45))  # degrees off the vertical
    layer = np.zeros(size, np.float32)
    if kind != "blurred":
        layer += bars(size, severity, rng, angle=angle)
    if kind != "bars":
        layer += blurred_streaks(size, severity, rng, angle=angle)
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
    """The light that rain adds to a picture, drawn as lines: a plane of `size` (height, width).

    The lines have 1 to 5 directions around `angle`, in degrees from the vertical; above 0, their
    lower ends lie further right. `severity` (0 to 1) scales their number and brightness. The values
    are 0 where there is no rain and can exceed 1 where lines overlap.
    """
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


def blurred_streaks(size: Size, severity: float, rng: Generator, *, angle: float) -> Plane:
    """The light that rain adds to a picture, as noise blurred along the direction of fall.

    Returns a plane of `size` (height, width) with values from 0 to 0.9. `angle` is in degrees from
    the vertical; above 0, streaks fall to the right. `severity` (0 to 1) scales the light. The mean
    of the light is random, and so is its standard deviation divided by this mean, which is 0.5 to 1
    for real rain.
    """
    length, width = rng.uniform(8.0, 32.0), int(rng.choice([1, 2], p=[0.85, 0.15]))
    mean, variation = rng.uniform(0.08, 0.26), rng.uniform(0.4, 1.15)
    coarse = max(1.0, rng.uniform(0.5, 1.6))
    kernel = _line(length / coarse, angle, width)
    # for drops of uniformly distributed strength at random places,
    # variation**2 = 4/3 sum(kernel**2) / density
    density = min(1.0, 4 / 3 * float((kernel * kernel).sum()) / variation**2)
    drops = rng.random((round(size[0] / coarse) + 1, round(size[1] / coarse) + 1), np.float32)
    drops = np.maximum(drops - np.float32(1 - density), 0)
    streaks = cv2.filter2D(drops, -1, kernel, borderType=cv2.BORDER_REFLECT)
    streaks *= np.float32(severity * mean / (density * density / 2))
    layer = cv2.resize(streaks, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.minimum(layer, np.float32(0.9)))


def _family(size: Size, rng: Generator, *, angle: float, cover: float, bright: float) -> Plane:
    """The light that streaks in about one direction add: a plane of `size` (height, width).

    `angle` is in degrees from the vertical; above 0, streaks fall to the right. `cover` is about
    the fraction of pixels under a streak. A streak adds 0.4, 0.8, 1.2 or 1.6 times `bright`, which
    is on the scale of 0 to 1.
    """
    height, width = size
    thickness = int(rng.choice([1, 2, 3], p=[0.5, 0.44, 0.06]))
    typical = rng.uniform(20.0, 60.0) * thickness**0.6
    reach = 2 * typical  # streaks may start outside
    area = (height + 2 * reach) * (width + 2 * reach)
    most = int(1.1 * area / (typical * thickness)) + 1
    count = int(cover * area / (typical * thickness)) + 1
    place = rng.random((most, 4), np.float32)[:count]  # severity adds streaks, but moves none
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
    """A blur kernel with the sum 1: a line, `length` px long and `width` px wide.

    `angle` is in degrees from the vertical; above 0, the line's lower end lies further right.
    """
    reach = int(np.ceil(length / 2)) + 1
    side = 2 * reach + 1
    tilt = np.deg2rad(angle)
    half = np.array([np.sin(tilt), np.cos(tilt)]) * length / 2
    ends = np.rint((np.stack([-half, half]) + reach) * 16).astype(np.int32)
    canvas = np.zeros((side, side), np.uint8)
    cv2.polylines(canvas, [ends], False, 255, width, cv2.LINE_AA, 4)
    kernel = canvas.astype(np.float32)
    return np.asarray(kernel / kernel.sum(), np.float32)


_CORNERS = 7
# ranges of radius in px, of flakes per 1000 px at severity 1; sigma of blur in px; range of opacity
_LAYERS = {
    "fine": ((0.5, 1.1), (2.0, 30.0), 0.4, (0.25, 0.8)),
    "small": ((1.0, 2.2), (0.8, 6.0), 0.6, (0.5, 1.0)),
    "medium": ((2.0, 4.0), (0.1, 1.0), 0.9, (0.6, 1.0)),
    "large": ((5.0, 14.0), (0.005, 0.05), 3.0, (0.3, 0.7)),
}


def snow(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate falling snow, with whitish haze behind the flakes.

    `severity` (0 to 1) scales the number of flakes and the haze. `depth` (H, W), in metres, is used
    for the haze; if it is None, a random plausible depth is used.
    """
    white = np.float32(rng.uniform(0.85, 1.0)) * np.array([0.98, 0.99, 1.0], np.float32)
    veil = rng.uniform(0.0, 0.8) if rng.random() < 0.8 else 0.0
    cover = flakes(working_size(image, REFERENCE_PX), severity, rng)
    if cover.shape != image.shape[:2]:
        cover = cv2.resize(cover, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    far = as_depth(image, rng, depth)
    scene = scatter(image, 1 - np.float32(veil * severity) * (0.3 + 0.7 * far), white * 0.93)
    return scatter(scene, 1 - cover, white)


def flakes(size: Size, severity: float, rng: Generator) -> Plane:
    """A plane of `size` (height, width) with the opacity, 0 to 1, of random snowflakes.

    `severity` (0 to 1) scales their number.
    """
    wind, streak = np.deg2rad(rng.normal(0.0, 25.0)), rng.uniform(0.0, 4.0)
    clear = np.ones(size, np.float32)
    for name, (radius, density, soft, opacity) in _LAYERS.items():
        rate = rng.uniform(*density) * (rng.random() < 0.85)
        strength, rounding = rng.uniform(*opacity), rng.random()
        layer_rng = rng.spawn(1)[0]  # the number of flakes in a layer must not change the next one
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
    """A plane of `size` (height, width) with the opacity, 0 to 1, of `count` irregular flakes.

    `radius` is the range of radii in px. Each flake is longer along the wind by a random factor of
    1 to 1 + `streak`. `wind` is the direction of the wind in radians from the vertical; above 0, it
    blows to the right.
    """
    canvas = np.zeros(size, np.uint8)
    if count == 0:
        return canvas.astype(np.float32)
    draws = rng.random((count, 5 + _CORNERS), np.float32)  # a larger count only adds flakes
    centre = draws[:, :2] * [size[1], size[0]]
    # most flakes are small; each corner has its own distance to the centre
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
