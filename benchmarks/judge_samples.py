"""Samples for the fault classifier: crops of photos in many styles, with simulated faults."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax import degrade
from verax.degrade.fields import smooth_noise, to_linear, to_srgb
from verax.degrade.optics import drops, rasterise
from verax.degrade.weather import flakes, scatter
from verax.image import Image, Plane, from_uint8, to_uint8

SHARES = {
    "": 0.28, "haze": 0.13, "rain": 0.06, "snow": 0.08, "raindrop": 0.14, "lowlight": 0.055,
    "motion_blur": 0.09, "defocus_blur": 0.065, "noise": 0.04, "jpeg": 0.04, "underwater": 0.04,
}  # fmt: skip
VISIBLE = {  # rms from which a fault is labelled; between a third of it and this, no label
    "haze": 0.06, "lowlight": 0.12, "underwater": 0.06, "rain": 0.02, "snow": 0.011,
    "raindrop": 0.02, "noise": 0.012, "jpeg": 0.012, "motion_blur": 0.012, "defocus_blur": 0.012,
}  # fmt: skip
SHARP = 0.75  # largest scale, so that noise, blocks and blur of the file disappear
WIDTHS = (300, 600)  # px


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo without degradation to draw from; with its depth in metres, where measured."""

    name: str
    pixels: NDArray[np.uint8]
    depth: Plane | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture with a simulated fault ("" for none), another fault that it also has, and how
    visible the fault is."""

    pixels: Image
    fault: str
    besides: str
    visible: float


def sample(photo: Photo, fault: str, rng: Generator) -> Sample:
    """A 4:3 crop of the photo in a random style, with a fault, in 8 bits."""
    whole = not fault and rng.random() < 0.5
    clear, depth = cut(photo, rng, most=1.0 if whole else SHARP)
    clear = stylise(clear, rng)
    picture = faulty(clear, fault, depth, rng) if fault else clear
    visible = float(np.sqrt(np.mean((picture - clear) ** 2)))
    besides, chance = "", rng.random()
    if chance < 0.12 and fault not in ("noise", "jpeg"):
        besides = "noise"
        picture = simulated(picture, besides, rng.uniform(0.08, 0.4), rng)
    elif chance < 0.24 and fault != "jpeg":
        besides = "jpeg"
        picture = simulated(picture, besides, rng.uniform(0.15, 0.7), rng)
    return Sample(from_uint8(to_uint8(picture)), fault, besides, visible)


def cut(photo: Photo, rng: Generator, *, most: float) -> tuple[Image, Plane | None]:
    """A 4:3 crop of the photo, at most `most` of its size, and its depth if measured."""
    ratio = 4 / 3 * np.exp(rng.normal(0, 0.06))
    height, width = photo.pixels.shape[:2]
    tall = min(height, width / ratio) * rng.uniform(0.55, 1)
    wide = tall * ratio
    top, left = int(rng.random() * (height - tall)), int(rng.random() * (width - wide))
    place = np.s_[top : top + int(tall), left : left + int(wide)]
    px = int(max(min(rng.uniform(*WIDTHS), most * wide), 200))
    size = (px, px * 3 // 4)
    part = cv2.resize(from_uint8(photo.pixels[place]), size, interpolation=cv2.INTER_AREA)
    depth = None if photo.depth is None else cv2.resize(photo.depth[place], size)
    return np.asarray(np.clip(part, 0, 1), np.float32), depth


def stylise(photo: Image, rng: Generator) -> Image:
    """Give a clear photo another style: dark or bright, grey, sepia, low contrast, glow, a colour
    cast, grain, or that of `restyle`; a third of the photos stay as they are."""
    chance = rng.random()
    if chance < 0.35:
        return photo
    if chance < 0.72:
        return restyle(photo, rng)
    grey = photo.mean(2, keepdims=True)
    glow = cv2.GaussianBlur(photo, (0, 0), rng.uniform(3, 12)) * rng.uniform(0.05, 0.25)
    styles = (
        photo ** rng.uniform(1.2, 1.8) * rng.uniform(0.75, 1),
        1 - (1 - photo) ** rng.uniform(1.1, 1.7) * rng.uniform(0.7, 1),
        grey * ((1, 1, 1) if rng.random() < 0.6 else (1.05, 0.97, 0.85)),
        0.5 + (photo - 0.5) * rng.uniform(0.75, 0.95),
        photo + glow * (1 - photo),
        photo * np.exp(rng.normal(0, 0.14, 3)),
        photo + rng.normal(0, rng.uniform(0.5, 1.6) / 255, photo.shape),
    )
    return np.asarray(np.clip(styles[int(rng.integers(len(styles)))], 0, 1), np.float32)


def restyle(photo: Image, rng: Generator) -> Image:
    """Change gamma and, at random, fade the photo, reduce its contrast, or change its colour,
    saturation or brightness; a third of the photos stay as they are."""
    if rng.random() < 0.35:
        return photo
    out = photo ** np.float32(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.15:
        colour = rng.permutation(
            [rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.8), rng.uniform(0.5, 1)]
        )
        out += rng.uniform(0.08, 0.3) * (colour.astype(np.float32) - out)
    elif rng.random() < 0.3:
        black, white = rng.uniform(0, 0.07), rng.uniform(0.86, 1)
        out = black + (white - black) * out
    if rng.random() < 0.4:
        out = out * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    if rng.random() < 0.4:
        grey = out.mean(2, keepdims=True)
        out = grey + rng.uniform(0.35, 1.4) * (out - grey)
    if rng.random() < 0.06:
        out = out * rng.uniform(0.45, 0.8)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def simulated(photo: Image, task: str, severity: float, rng: Generator) -> Image:
    """The photo with a fault as `verax.degrade` draws it."""
    return degrade.apply(photo, degrade.Degradation(task, severity, int(rng.integers(2**31))))


def faulty(photo: Image, fault: str, depth: Plane | None, rng: Generator) -> Image:
    """The photo with a fault, simulated in one of several ways."""
    severity = rng.uniform(0.12, 1)
    if fault == "haze":
        return add_veil(photo, rng) if depth is None else room_add_veil(photo, depth, rng)
    if fault == "snow" and rng.random() < 0.5:
        return add_snow(photo, severity, rng)
    if fault == "raindrop" and rng.random() < 0.8:
        return rained_on(photo, severity, rng)
    if fault == "motion_blur" and rng.random() < 0.5:
        return pan(photo, severity, rng)
    return simulated(photo, fault, severity, rng)


def room_add_veil(clear: Image, depth: Plane, rng: Generator) -> Image:
    """Haze computed from measured depth, as in RESIDE."""
    far = depth / np.float32(max(np.percentile(depth, 99.5), 1))
    optical = rng.uniform(0.4, 2) * (0.35 * rng.random() + far)
    air = rng.uniform(0.65, 1) + rng.normal(0, 0.01, 3)
    return scatter(clear, np.exp(-optical).astype(np.float32), air.astype(np.float32))


def add_veil(clear: Image, rng: Generator) -> Image:
    """Add the haze of `verax.degrade`, equally dense haze, or haze that hides only the distance."""
    make = rng.random()
    if make < 0.55:
        return simulated(clear, "haze", rng.uniform(0.1, 0.9), rng)
    height, width = clear.shape[:2]
    air = rng.uniform(0.6, 0.97) * np.exp(rng.normal(0, 0.02, 3))
    optical = np.full((height, width), rng.uniform(0.3, 1.4))
    if make < 0.9:
        rows = np.linspace(1, 0, height)[:, None] / (1 - rng.uniform(0.1, 0.6))
        hills = cv2.resize(rng.normal(size=(4, 5)), (width, height), interpolation=cv2.INTER_CUBIC)
        far = np.clip(rows, 0, 1) ** rng.uniform(1, 3) * (1 + 0.35 * hills)
        optical = np.exp(rng.uniform(-0.2, 1.8)) * np.clip(far, 0, None)
    return scatter(clear, np.exp(-optical).astype(np.float32), air.astype(np.float32))


def add_snow(photo: Image, severity: float, rng: Generator) -> Image:
    """Add flakes, sometimes few, to the photo, which is sometimes hazy or darker than before."""
    scene = add_veil(photo, rng) if rng.random() < 0.4 else photo
    if rng.random() < 0.3:
        scene = scene * np.float32(rng.uniform(0.5, 0.9))
    sparse = rng.uniform(0.1, 0.5) if rng.random() < 0.4 else 1.0
    cover = flakes(photo.shape[:2], severity * sparse, rng) * rng.uniform(0.5, 1.1)
    share = np.clip(cover * (0.5 + 0.5 * severity), 0, 1)[..., None]
    return np.asarray(scene + (rng.uniform(0.8, 1) - scene) * share, np.float32)


def rained_on(photo: Image, severity: float, rng: Generator) -> Image:
    """Add drops on a window that show the sky upside down: bright, soft, darker at the top.

    The scene behind them is sometimes out of focus or misted.
    """
    if rng.random() < 0.15:  # at night
        photo = np.asarray(photo ** rng.uniform(1.3, 2.4) * rng.uniform(0.5, 1), np.float32)
    height, width = photo.shape[:2]
    radius = np.exp(rng.uniform(np.log(3.5), np.log(22))) * height / 360
    soft = rng.uniform(0.15, 0.5) * radius + rng.uniform(0.3, 1)
    share = (0.05 + 0.3 * severity) * rng.uniform(0.3, 1.2)
    count = int(np.clip(share * height * width / (2.2 * radius**2), 6, 900))
    scene = photo
    if rng.random() < 0.35:
        scene = simulated(photo, "defocus_blur", rng.uniform(0.15, 1), rng)
    if rng.random() < 0.25:
        scene = 0.5 * (add_veil(scene, rng) + scene)
    cover, dx, dy = drops((height, width), rng, count, radius)
    cover = np.clip(cv2.GaussianBlur(cover, (0, 0), soft), 0, 1) * rng.uniform(0.5, 1)
    luma = photo.mean(2)
    sky = np.median(photo[luma >= np.quantile(luma, rng.uniform(0.8, 0.97))], 0)
    ground = np.median(photo[luma <= np.quantile(luma, 0.4)], 0)
    tilt = np.clip(-dy / (radius * 4), -1, 1) * rng.uniform(0.2, 1)
    high = np.clip(rng.uniform(0.3, 0.9) + 0.5 * tilt, 0, 1)[..., None]
    inside = ground + (sky * rng.uniform(0.85, 1.15) - ground) * high
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    behind = cv2.GaussianBlur(photo, (0, 0), 2)
    behind = cv2.remap(behind, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    inside = behind + rng.uniform(0.1, 0.8) * (inside - behind)
    inside = cv2.GaussianBlur(inside, (0, 0), max(0.4, soft / 2))
    rim = (rng.uniform(0, 0.8) * cover * (1 - cover))[..., None]
    picture = scene + cover[..., None] * (np.clip(inside - rim, 0, 1) - scene)
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def pan(photo: Image, severity: float, rng: Generator) -> Image:
    """Blur by nearly straight motion of the whole photo, or of a part more than of the rest.

    It is computed in linear light or, like averaged video frames, in sRGB.
    """
    angle, time = rng.uniform(0, np.pi), np.linspace(-0.5, 0.5, 96)
    path = np.stack([time, rng.normal(0, 0.15) * (time * time - 0.08)], 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    path = path @ turn * (2 + severity * 24 * rng.uniform(0.5, 1))
    linear = rng.random() < 0.7
    light = to_linear(photo) if linear else photo

    def moved(share: float) -> Image:
        return cv2.filter2D(light, -1, rasterise(path * share), borderType=cv2.BORDER_REFLECT)

    out = moved(1.0)
    if rng.random() < 0.35:
        field = smooth_noise(photo.shape[:2], rng, cells=rng.uniform(1, 2.5))
        part = np.clip(field * 3 + 0.5 + rng.uniform(-1, 1.5), 0, 1)[..., None]
        rest = moved(rng.uniform(0.02, 0.5))
        out = rest + part * (out - rest)
    return np.asarray(np.clip(to_srgb(out) if linear else out, 0, 1), np.float32)
