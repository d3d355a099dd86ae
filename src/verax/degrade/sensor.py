"""Degradations in the camera: noise, too little light, and JPEG compression.

There are three kinds of noise. "awgn" is white Gaussian noise, the standard test noise, up to a
standard deviation of 50 (of 255). "raw" is Poisson-Gaussian noise in linear light, therefore
stronger in the shadows after the sRGB curve, in half of the results with colour blotches as from
demosaicking. "leftover" is the weak noise that cameras leave in their JPEG files. In flat parts of
real camera JPEGs its standard deviation is 1-4 (of 255). Its correlation is 0.6-0.8 between
neighbouring pixels, 0.1-0.3 between pixels 4 px apart, and 0.5-0.9 between channels.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import smooth_noise, to_linear, to_srgb
from verax.image import Image, Plane, from_uint8, to_uint8
from verax.image.pixels import luma_709

BEST, WORST = 95, 6  # JPEG quality at severity 0 and 1


def jpeg(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate JPEG compression; `severity` from 0 to 1 sets the quality from 95 down to 6.

    Chroma subsampling, the position of the 8 px blocks and whether the picture is compressed a
    second time are random. `depth` is not used here; it is a parameter of every degradation.
    """
    quality = round(BEST + (WORST - BEST) * severity**0.75)
    full_chroma = bool(rng.random() < 0.25)
    shift = rng.integers(0, 8, 2) if rng.random() < 0.3 else np.zeros(2, np.int64)
    out = compress(image, quality, full_chroma=full_chroma, shift=(int(shift[0]), int(shift[1])))
    if rng.random() < 0.2:
        out = compress(out, min(BEST, quality + int(rng.integers(5, 40))), shift=(3, 5))
    return out


def compress(
    image: Image, quality: int, *, full_chroma: bool = False, shift: tuple[int, int] = (0, 0)
) -> Image:
    """The picture after it was compressed as JPEG with a `quality` from 0 to 100, and decoded.

    Chroma is subsampled (4:2:0) unless `full_chroma` is set. `shift` (rows, columns) says by how
    many px the grid of 8 px blocks is moved up and to the left, as after cropping a JPEG file.
    """
    height, width = image.shape[:2]
    top, left = shift
    levels = cv2.copyMakeBorder(to_uint8(image), top, 0, left, 0, cv2.BORDER_REFLECT)
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        if full_chroma
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", levels[..., ::-1], options)
    back: NDArray[np.uint8] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return from_uint8(back[top : top + height, left : left + width])


MAX_SIGMA = 50.0  # of 255: standard deviation of "awgn" at severity 1
LEFTOVER_SIGMA = 7.5  # of 255: largest standard deviation of "leftover" at severity 1


def noise(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Add sensor noise of a random kind; `severity` (0 to 1) scales its standard deviation.

    The kinds are white Gaussian noise, noise of raw files, and the weak noise of camera JPEGs.
    `depth` is not used here; it is a parameter of every degradation.
    """
    kind = rng.choice(["awgn", "raw", "leftover"], p=[0.5, 0.2, 0.3])
    if kind == "awgn":
        return add_gaussian(image, severity * MAX_SIGMA, rng)
    if kind == "raw":
        return _raw(image, severity, rng)
    return _leftover(image, severity, rng)


def add_gaussian(image: Image, sigma: float, rng: Generator) -> Image:
    """Add white Gaussian noise to sRGB values and clip them to [0, 1].

    `sigma` is the standard deviation on the scale of 0 to 255.
    """
    noisy = image + np.float32(sigma / 255.0) * rng.standard_normal(image.shape, np.float32)
    return np.clip(noisy, 0.0, 1.0)


def add_shot_and_read(
    linear: NDArray[np.float32], *, shot: float, read: float, rng: Generator
) -> NDArray[np.float32]:
    """Add Gaussian noise to linear light, with the variance shot * linear + read**2 at each value.

    `linear` is on the scale of 0 to 1. `read` is the standard deviation of the read noise; `shot`
    is the variance of the shot noise where `linear` is 1. The result is not clipped.
    """
    deviation = np.sqrt(np.maximum(linear, 0) * np.float32(shot) + np.float32(read * read))
    return np.asarray(linear + deviation * rng.standard_normal(linear.shape, np.float32))


def white_balance_gains(rng: Generator) -> NDArray[np.float32]:
    """Random but realistic white balance gains (3,) of a camera for R, G, B; that of G is 1."""
    return np.array([rng.uniform(1.3, 2.4), 1.0, rng.uniform(1.1, 2.0)], np.float32)


def _raw(image: Image, severity: float, rng: Generator) -> Image:
    shot = severity**2 * 10 ** rng.uniform(-2.3, -1.5)
    read = severity * 10 ** rng.uniform(-2.2, -1.5)
    gains = white_balance_gains(rng)
    sensor = to_linear(image) / gains
    noisy = add_shot_and_read(sensor, shot=shot, read=read, rng=rng) * gains
    if rng.random() < 0.5:
        clean = to_linear(image)
        noisy = clean + _blotch(noisy - clean, rng)
    return to_srgb(noisy)


def _leftover(image: Image, severity: float, rng: Generator) -> Image:
    size = image.shape[:2]
    grey = _blur(rng.standard_normal((*size, 1), np.float32), rng.uniform(0.4, 0.8))
    colour = _blur(rng.standard_normal((*size, 3), np.float32), rng.uniform(0.8, 4.0))
    shared = rng.uniform(0.4, 0.85)  # fraction of the variance that all channels have in common
    grain = np.float32(np.sqrt(shared)) * grey + np.float32(np.sqrt(1 - shared)) * colour
    grain *= np.array([rng.uniform(1.0, 1.2), 1.0, rng.uniform(1.0, 1.3)], np.float32)
    level = luma_709(image)
    slope = rng.uniform(-0.5, 0.3)  # in-camera curves make shadows or mid-tones the noisiest
    strength = 1.0 + slope * (2 * level - 1) - 0.6 * np.maximum(level - 0.75, 0) * 4
    sigma = severity * LEFTOVER_SIGMA * rng.uniform(0.5, 1.0) / 255.0
    noisy = np.clip(image + np.float32(sigma) * strength[..., None] * grain, 0.0, 1.0)
    if rng.random() < 0.5:
        return compress(noisy, int(98 - severity * rng.uniform(0.0, 12.0)))
    return np.asarray(noisy, np.float32)


def _blur(grain: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Blur noise (H, W, C) by a Gaussian of `sigma_px`; scale it to a standard deviation of 1."""
    soft = cv2.GaussianBlur(grain, (0, 0), sigma_px).reshape(grain.shape)
    return np.asarray(soft / max(float(soft.std()), 1e-6))


def _blotch(grain: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Make noise (H, W, C) blotchy, as demosaicking does; its standard deviation stays the same.

    The result is a sum of two copies, blurred by random small and larger widths.
    """
    fine = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.45, 0.9))
    coarse = cv2.GaussianBlur(grain, (0, 0), rng.uniform(1.5, 3.5))
    mixed = fine + np.float32(rng.uniform(0.0, 1.5)) * coarse
    return np.asarray(mixed * np.float32(grain.std() / max(float(mixed.std()), 1e-9)))


STOPS = (4.0, 7.5)  # range of the stops of exposure lost at severity 1
CURVE = (1.0, 2.3)  # range of the exponent of the tone curve at severity 1


def lowlight(image: Image, severity: float, rng: Generator, depth: Plane | None = None) -> Image:
    """Simulate a photo taken with too little light: darker, unevenly lit, with noise.

    `severity` (0 to 1) scales how many stops of exposure are lost, how far the tone curve darkens
    shadows, and the noise. `depth` is not used here; it is a parameter of every degradation.
    """
    stops, curve, uneven = rng.uniform(*STOPS), rng.uniform(*CURVE), rng.uniform(0.0, 0.5)
    field = smooth_noise(image.shape[:2], rng, cells=rng.uniform(1.0, 3.0))
    light = np.exp2(np.float32(uneven * severity) * field - np.float32(stops * severity))
    drift = np.exp2(severity * rng.normal(0.0, 0.15, 3)).astype(np.float32)
    curved = _steepen(to_linear(image), (curve - 1) * severity, by_channel=rng.uniform(0.0, 1.0))
    grey = luma_709(curved)[..., None]  # dark photos of a scene are often paler than bright ones
    curved = grey + np.float32(1 - severity * max(0.0, rng.uniform(-0.3, 0.5))) * (curved - grey)
    gains = white_balance_gains(rng)
    shot, read = severity * 10 ** rng.uniform(-4.7, -3.6), severity * 10 ** rng.uniform(-4.0, -3.2)
    sensor = curved * light[..., None] * drift / gains
    noisy = add_shot_and_read(sensor, shot=shot, read=read, rng=rng) * gains
    offset = severity * rng.uniform(-0.0006, 0.001)  # error of the black level
    written = from_uint8(to_uint8(to_srgb(noisy + np.float32(offset))))
    if rng.random() < 0.15:
        return compress(written, int(rng.integers(85, 98)))
    return written


def _steepen(
    linear: NDArray[np.float32], extra: float, *, by_channel: float
) -> NDArray[np.float32]:
    """Darken linear light (H, W, 3), from 0 to 1, by raising it to the power 1 + `extra`.

    With a `by_channel` of 1, each channel is raised, which saturates colours. With 0, only
    luminance is, so that the ratios of the channels stay. Values in between mix the two. An `extra`
    of 0 changes nothing.
    """
    own = cv2.pow(linear, 1 + extra * by_channel)
    shared = cv2.pow(np.maximum(luma_709(linear), 1e-6), extra * (1 - by_channel))
    return np.asarray(own * shared[..., None], np.float32)
