"""Changes of light and colour: exposure, contrast, saturation, colour mix, uneven light, night."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import luma, smooth_noise, to_linear, to_srgb
from verax.image import Image


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
        grey = luma(out)[..., None]
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
