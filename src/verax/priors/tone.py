"""What a generator changes everywhere: light and colour, fine detail, the gloss of sharpening."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import smooth_noise, to_linear, to_srgb
from verax.image import Image, Plane
from verax.image.pixels import luma_709


@dataclass(frozen=True, slots=True)
class Tone:
    """Exact amounts; the defaults change nothing.

    Attributes:
        exposure_ev: stops of exposure, in linear light.
        contrast: slope of an S-shaped curve at mid-grey, 1 for none.
        saturation: factor on the distance from grey.
        warmth_ev: stops between red and blue, positive is warmer.
        colour: deviation of a random 3x3 mix from identity.
        uneven_ev: deviation of a smooth illumination field, in stops.
        night: share of a day-for-night change, 0..1.
    """

    exposure_ev: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    warmth_ev: float = 0.0
    colour: float = 0.0
    uneven_ev: float = 0.0
    night: float = 0.0


def retone(image: Image, tone: Tone, rng: Generator) -> Image:
    """The picture with these changes; the identical array when there are none."""
    if tone == Tone():
        return image
    stops = np.array([tone.warmth_ev / 2, 0.0, -tone.warmth_ev / 2]) + tone.exposure_ev
    stops = stops - tone.night * np.array([3.0, 2.6, 1.8])  # darkness that is blue
    mix = np.eye(3) + tone.colour * _grey_keeping(rng.standard_normal((3, 3)))
    gain = np.exp2(stops).astype(np.float32)
    linear = to_linear(image) @ mix.T.astype(np.float32) * gain
    if tone.uneven_ev > 0:
        field = smooth_noise(image.shape[:2], rng, cells=2.0)
        linear = linear * np.exp2(np.float32(tone.uneven_ev) * field)[..., None]
    out = to_srgb(linear)
    if tone.contrast != 1.0:
        out = s_curve(out, tone.contrast)
    if tone.saturation != 1.0:
        grey = luma_709(out)[..., None]
        out = np.clip(grey + np.float32(tone.saturation) * (out - grey), 0.0, 1.0)
    return np.asarray(out, np.float32)


def s_curve(image: Image, slope: float) -> Image:
    """Monotone, keeps 0, 1/2 and 1, slope at 1/2 as given (above 0)."""
    up = np.clip(image, 0.0, 1.0) ** np.float32(slope)
    down = (1 - np.clip(image, 0.0, 1.0)) ** np.float32(slope)
    return np.asarray(up / (up + down), np.float32)


def _grey_keeping(mix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that sum to 0, so that grey stays grey."""
    return np.asarray(mix - mix.mean(1, keepdims=True))


def resynthesise(scene: Image, rng: Generator, *, share: float, sigma_px: float) -> Image:
    """Detail finer than `sigma_px` replaced by `share`, except on the strongest edges.

    The new detail is partly the picture's own from nearby places, partly filtered noise, each
    brought to the local strength of what it replaces.
    """
    low = cv2.GaussianBlur(scene, (0, 0), sigma_px)
    high = scene - low
    strength = _strength(high, sigma_px)
    own = rng.uniform(0.3, 1.0)
    donor = np.float32(own) * _displaced(high, rng, reach_px=6 * sigma_px)
    grain = rng.standard_normal((*scene.shape[:2], 1), np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), max(0.4, 0.35 * sigma_px))[..., None]
    donor = donor + np.float32(1 - own) * (
        grain * (strength.mean() / max(float(grain.std()), 1e-6))
    )
    donor *= strength / np.maximum(_strength(donor, sigma_px), 1e-4)
    middle, top = np.quantile(strength[::2, ::2], [0.7, 0.97])
    edge = np.clip((strength - middle) / np.float32(max(top - middle, 1e-6)), 0.0, 1.0)
    replaced = np.float32(share) * (1 - edge)
    gain = np.float32(rng.uniform(0.6, 1.2))
    out = low + high * (1 - replaced) + donor * replaced * gain
    return np.asarray(np.clip(out, 0.0, 1.0), np.float32)


def sharpen(image: Image, strength: float) -> Image:
    """Unsharp mask of radius 1 px."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.0)
    return np.asarray(np.clip(image + np.float32(strength) * (image - soft), 0.0, 1.0), np.float32)


def _strength(detail: NDArray[np.float32], sigma_px: float) -> Plane:
    """Local deviation of the detail over all channels, (H, W, 1)."""
    energy = (detail * detail).mean(2)
    return np.asarray(np.sqrt(cv2.GaussianBlur(energy, (0, 0), 1.5 * sigma_px)))[..., None]


def _displaced(
    high: NDArray[np.float32], rng: Generator, *, reach_px: float
) -> NDArray[np.float32]:
    """The detail of other places nearby, in patches."""
    height, width = high.shape[:2]
    cells = max(2.0, min(height, width) / (4 * reach_px))
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    dx, dy = (
        np.float32(reach_px) * smooth_noise((height, width), rng, cells=cells) for _ in range(2)
    )
    return np.asarray(
        cv2.remap(high, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    )
