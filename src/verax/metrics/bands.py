"""Similarity in frequency bands: FSIM and CW-SSIM on complex log-Gabor filters, VIF on octaves.

Pictures are (H, W, C) float32 in [0, 1] of equal shape; FSIM and CW-SSIM need RGB (C = 3).
Sources: Kovesi, Videre 1, 3 (1999) for the filters, phase congruency and its noise threshold;
Zhang et al., IEEE TIP 20, 2378 (2011) for FSIMc; Sampat et al., IEEE TIP 18, 2385 (2009) for
CW-SSIM, here on the same log-Gabor filters instead of a steerable pyramid; Sheikh, Bovik, IEEE TIP
15, 430 (2006) for VIF in the pixel domain, with the windows of its authors.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.errors import InputError
from verax.image import Image
from verax.metrics.reference import check_size

SCALES = 4
ORIENTATIONS = 4
SHORTEST_WAVE_PX = 6.0
SIGMA_RADIAL = 0.55
SIGMA_ANGULAR = np.pi / (ORIENTATIONS * 1.2)
NOISE_DEVIATIONS = 2.0
NOISE_CORRECTION = 1.7  # Kovesi: the estimate is too high by this factor for these filters
EPS = float(np.finfo(np.float32).eps)

YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32
)
WORKING_SIDE_PX = 256
T_PHASE, T_GRADIENT, T_CHROMA, CHROMA_POWER = 0.85, 160.0, 200.0, 0.03
VIF_NOISE = 2.0  # of the visual system, in squared levels of 0..255
VIF_TAPS = (17, 9, 5, 3)
VIF_MIN_PX = 41
FLAT = 1 / 65535  # less than one 16-bit level
VIF_EPS = 1e-10

Map = NDArray[np.float32]
Complex = NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank of log-Gabor filters for one picture size.

    Attributes:
        filters: (4 orientations, 4 scales, H, W), real, in the frequency domain: orientations of
            0, 45, 90 and 135 degrees, scales from fine to coarse.
        finest_power: (4,) for each orientation, the sum of squares of the finest filter.
        joint_power: (4,) for each orientation, the sum of squares of the even (symmetric) part of
            the sum of its filters.
    """

    filters: Map
    finest_power: NDArray[np.float64]
    joint_power: NDArray[np.float64]


@lru_cache(maxsize=4)
def bank(height: int, width: int) -> Bank:
    """The log-Gabor filters for pictures of this size; cached."""
    fy, fx = np.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    radius, theta = np.hypot(fx, fy), np.arctan2(-fy, fx)
    lowpass = 1.0 / (1.0 + (radius / 0.45) ** 30)
    radius[0, 0] = 1.0
    radial = []
    for scale in range(SCALES):
        wave = SHORTEST_WAVE_PX * 2.0**scale
        gabor = np.exp(-(np.log(radius * wave) ** 2) / (2 * np.log(SIGMA_RADIAL) ** 2)) * lowpass
        gabor[0, 0] = 0.0
        radial.append(gabor)
    angles = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
    apart = np.angle(np.exp(1j * (theta[None] - angles[:, None, None])))
    spread = np.exp(-(apart**2) / (2 * SIGMA_ANGULAR**2))
    filters = spread[:, None] * np.stack(radial)[None]
    joint = filters.sum(axis=1)
    mirrored = np.roll(joint[:, ::-1, ::-1], (1, 1), axis=(1, 2))  # joint at minus the frequency
    return Bank(
        filters.astype(np.float32),
        (filters[:, 0] ** 2).sum(axis=(1, 2)),
        ((0.5 * (joint + mirrored)) ** 2).sum(axis=(1, 2)),
    )


def _frequencies(size: int) -> NDArray[np.float64]:
    # as in Kovesi's code: for odd sizes, too, the highest frequency is half a cycle per pixel
    steps = np.arange(size) - size // 2
    return np.asarray(scipy.fft.ifftshift(steps / (size - size % 2)), np.float64)


def responses(plane: Map | Complex, filters: Map) -> Complex:
    """(4, H, W) complex responses of a plane to the filters (4 scales, H, W) of one orientation.

    `plane` (H, W) holds the plane's real values, or its complex Fourier transform.
    """
    spectrum = plane if np.iscomplexobj(plane) else scipy.fft.fft2(plane)
    return np.asarray(scipy.fft.ifft2(spectrum * filters, overwrite_x=True), np.complex64)


def phase_congruency(plane: Map) -> Map:
    """(H, W) phase congruency, about 0 to 1, of a plane (H, W) with values in 0..255."""
    filters, spectrum = bank(*plane.shape), scipy.fft.fft2(plane)
    turn = partial(_one_orientation, spectrum, filters)
    threads = max(1, cv2.getNumThreads())  # use no more threads than OpenCV may
    if threads == 1:
        parts = [turn(index) for index in range(ORIENTATIONS)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(turn, range(ORIENTATIONS)))
    energy = np.asarray(sum(part[0] for part in parts), np.float32)
    amplitude = np.asarray(sum(part[1] for part in parts), np.float32)
    return (energy + EPS) / (amplitude + EPS)


def _one_orientation(spectrum: Complex, filters: Bank, index: int) -> tuple[Map, Map]:
    """The local energy above the noise, and the amplitude summed over the scales, each (H, W), of
    the plane with the Fourier transform `spectrum`, for orientation `index` (0 to 3)."""
    waves = responses(spectrum, filters.filters[index])
    total = waves.sum(axis=0)
    strength = np.abs(total) + EPS
    turned = waves * (np.conj(total) / strength)
    sizes = np.abs(waves)
    raw = strength - np.abs(turned.imag).sum(axis=0)
    power = np.median(sizes[0] ** 2) / np.log(2.0) / filters.finest_power[index]
    threshold = _noise_threshold(power * filters.joint_power[index])
    return np.maximum(raw - threshold, 0.0), sizes.sum(axis=0)


def _noise_threshold(noise_power: float) -> np.float32:
    tau = np.sqrt(noise_power)  # Rayleigh: noise energy squared is twice its power
    mean, deviation = tau * np.sqrt(np.pi / 2), tau * np.sqrt(2 - np.pi / 2)
    return np.float32((mean + NOISE_DEVIATIONS * deviation) / NOISE_CORRECTION)


def fsim(restored: Image, reference: Image) -> float:
    """FSIMc: feature similarity with chroma, at a short side of about 256 px; 1 for equal pictures.

    Smaller pictures are not enlarged. The value is the mean of the local similarity in phase
    congruency, gradient and chroma, weighted by phase congruency.
    """
    first, second = _yiq255(restored), _yiq255(reference)
    phase_a, phase_b = phase_congruency(first[0]), phase_congruency(second[0])
    weight = np.maximum(phase_a, phase_b)
    local = _similar(phase_a, phase_b, T_PHASE)
    local *= _similar(_scharr(first[0]), _scharr(second[0]), T_GRADIENT)
    chroma = _similar(first[1], second[1], T_CHROMA) * _similar(first[2], second[2], T_CHROMA)
    local *= np.abs(chroma) ** np.float32(CHROMA_POWER)
    return float(np.sum(local * weight, dtype=np.float64) / np.sum(weight, dtype=np.float64))


def _yiq255(image: Image) -> tuple[Map, Map, Map]:
    factor = max(1, round(min(image.shape[:2]) / WORKING_SIDE_PX))
    height, width = (side // factor for side in image.shape[:2])
    pooled = image[: height * factor, : width * factor]
    if factor > 1:
        pooled = cv2.resize(pooled, (width, height), interpolation=cv2.INTER_AREA)
    first, second, third = cv2.split(cv2.transform(pooled, YIQ * 255.0))
    return first, second, third


def _scharr(plane: Map) -> Map:
    dx = cv2.Scharr(plane, cv2.CV_32F, 1, 0, scale=1 / 16, borderType=cv2.BORDER_CONSTANT)
    dy = cv2.Scharr(plane, cv2.CV_32F, 0, 1, scale=1 / 16, borderType=cv2.BORDER_CONSTANT)
    magnitude: Map = cv2.magnitude(dx, dy)
    return magnitude


def _similar(a: Map, b: Map, constant: float) -> Map:
    return np.asarray((2 * a * b + constant) / (a * a + b * b + constant), np.float32)


def cw_ssim(restored: Image, reference: Image) -> float:
    """Complex-wavelet SSIM of the luma at a short side of about 256 px; 1 for equal pictures.

    Small shifts hardly change the value. With filter responses a and b, each 7x7 window gives
    |sum(a b*)| / sum((|a|^2 + |b|^2) / 2); the result is the mean over pixels and filters.
    """
    check_structure(restored, reference, "cw_ssim")
    first, second = _yiq255(restored)[0], _yiq255(reference)[0]
    filters = bank(*first.shape).filters
    spectra = scipy.fft.fft2(first), scipy.fft.fft2(second)
    values = []
    for index in range(ORIENTATIONS):
        a, b = (responses(spectrum, filters[index]) for spectrum in spectra)
        product = a * np.conj(b)
        below = 0.5 * (np.abs(a) ** 2 + np.abs(b) ** 2)
        for cross, size in zip(product, below, strict=True):
            joint = cv2.magnitude(_box(cross.real), _box(cross.imag))
            values.append(float(np.mean((joint + EPS) / (_box(size) + EPS))))
    return float(np.mean(values))


def _box(plane: Map) -> Map:
    mean: Map = cv2.blur(np.ascontiguousarray(plane), (7, 7))
    return mean


def vif(restored: Image, reference: Image) -> float:
    """Visual information fidelity, averaged over the channels; 1 for equal pictures.

    Values above 1 are possible: more contrast than the reference counts as more information.
    """
    check_size("vif", restored, VIF_MIN_PX)
    check_structure(restored, reference, "vif")
    pairs = zip(cv2.split(restored), cv2.split(reference), strict=True)
    return float(np.mean([_plane_vif(a * 255, b * 255) for a, b in pairs]))


def check_structure(restored: Image, reference: Image, name: str) -> None:
    """Raise InputError if the reference has only one colour, unless the restoration equals it.

    With such a reference, a metric of structure would score a white picture against a black one as
    equal. `name` is the name of the metric for the message.
    """
    flat = float(np.ptp(reference.reshape(-1, reference.shape[-1]), axis=0).max()) < FLAT
    if flat and np.abs(restored - reference).max() >= FLAT:
        raise InputError(
            f"{name}: expected a reference with structure, got a picture of a single colour; "
            "choose the metric psnr or ciede2000"
        )


def _plane_vif(restored: Map, reference: Map) -> float:
    # subtracting the mean makes the variances more precise in float32
    centre = np.float32(reference.mean())
    restored, reference = restored - centre, reference - centre
    mutual = total = 0.0
    for octave, taps in enumerate(VIF_TAPS):
        if octave:
            restored, reference = (_filter(p, taps)[::2, ::2].copy() for p in (restored, reference))
        mutual_here, total_here = _information(restored, reference, taps)
        mutual, total = mutual + mutual_here, total + total_here
    return mutual / total if total > 0 else 1.0  # a flat reference has no information to lose


def _information(restored: Map, reference: Map, taps: int) -> tuple[float, float]:
    mean_x, mean_y = _filter(reference, taps), _filter(restored, taps)
    var_x = np.maximum(_filter(reference * reference, taps) - mean_x * mean_x, 0)
    var_y = np.maximum(_filter(restored * restored, taps) - mean_y * mean_y, 0)
    covariance = _filter(reference * restored, taps) - mean_x * mean_y
    gain = np.where(var_x < VIF_EPS, 0, covariance / (var_x + np.float32(VIF_EPS)))
    noise = np.where(gain < 0, var_y, var_y - gain * covariance)
    gain = np.maximum(np.where(var_y < VIF_EPS, 0, gain), 0)
    noise = np.maximum(np.where(var_y < VIF_EPS, 0, noise), VIF_EPS)
    mutual = np.log10(1 + gain * gain * var_x / (noise + VIF_NOISE))
    total = np.log10(1 + var_x / VIF_NOISE)
    return float(mutual.sum(dtype=np.float64)), float(total.sum(dtype=np.float64))


def _filter(plane: Map, taps: int) -> Map:
    kernel = cv2.getGaussianKernel(taps, taps / 5, cv2.CV_32F)
    edge = taps // 2
    filtered: Map = cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel)
    return filtered[edge:-edge, edge:-edge]
