"""Which restoration task a photo needs. A guess, and named as one.

Rain, haze and darkness are what the embedded networks see; water, noise and blur are a few plain
measurements. Everything else is "restore", whose prompt names no single fault, so that a wrong
guess costs little.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane, check_image
from verax.restorers import network

SMALL_PX = 256  # width at which light and colour are looked at

DARK, HAZE = 0.40, 0.20  # severities that stand out, to the networks
WATER_RED, WATER_LIGHTS = 0.72, 0.85  # red over the stronger of green and blue: mean, lights
NOISE_SIGMA = 6.0  # levels of 255
BLUR_SHARPNESS = 1.6  # steepest slopes at 0.7 px over those at 3 px; sharp photos have 2.2..3.4
MOTION_ANISOTROPY = 1.8


@dataclass(frozen=True, slots=True)
class Signs:
    """What is measured.

    Attributes:
        red: mean red over the larger of mean green and mean blue.
        red_lights: the same of the 98th percentiles: a blue sky has white clouds, water has not.
        noise: standard deviation in levels of 255.
        sharpness: 99th percentile of slopes at 0.7 px over that at 3 px.
        anisotropy: slope energy along the strongest direction over that across it, 1 = round.
    """

    red: float
    red_lights: float
    noise: float
    sharpness: float
    anisotropy: float


def estimate(photo: Image) -> str:
    """The task of the prompt catalog that fits the photo best; "restore" where none stands out."""
    signs = measure(photo)
    seen = dict(zip(network.FAULTS, network.faults(photo), strict=True))
    found = (
        ("lowlight", seen["lowlight"] > DARK),
        ("derain", seen["rain"] > network.RAIN),
        ("underwater", signs.red < WATER_RED and signs.red_lights < WATER_LIGHTS),
        ("denoise", signs.noise > NOISE_SIGMA),
        ("dehaze", seen["haze"] > HAZE),
        ("motion_deblur", _blurred(signs) and signs.anisotropy > MOTION_ANISOTROPY),
        ("defocus_deblur", _blurred(signs)),
    )
    return next((task for task, there in found if there), "restore")


def measure(photo: Image) -> Signs:
    """The signs of a photo, (H, W, 3) in [0, 1]."""
    check_image(photo, name="photo")
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    height = max(1, round(SMALL_PX * photo.shape[0] / photo.shape[1]))
    small = cv2.resize(photo, (SMALL_PX, height), interpolation=cv2.INTER_AREA)
    colours = small.reshape(-1, 3)
    return Signs(
        red=_red_share(colours.mean(axis=0)),
        red_lights=_red_share(np.percentile(colours, 98, axis=0)),
        noise=_noise(grey),
        sharpness=_steepest(grey, 0.7) / max(_steepest(grey, 3.0), 1e-6),
        anisotropy=_anisotropy(grey),
    )


def _blurred(signs: Signs) -> bool:
    return signs.sharpness < BLUR_SHARPNESS


def _red_share(colour: NDArray[np.floating[Any]]) -> float:
    return float(colour[0]) / max(float(colour[1]), float(colour[2]), 1e-6)


def _noise(grey: Plane) -> float:
    """Median of diagonal second differences, which edges along rows and columns leave alone."""
    if min(grey.shape) < 2:
        return 0.0
    second = (grey[:-1, :-1] - grey[:-1, 1:] - grey[1:, :-1] + grey[1:, 1:]) / 2
    return float(np.median(np.abs(second))) / 0.6745 * 255


def _steepest(grey: Plane, sigma_px: float) -> float:
    dx, dy = _slopes(cv2.GaussianBlur(grey, (0, 0), sigma_px))
    return float(np.percentile(np.hypot(dx, dy), 99))


def _anisotropy(grey: Plane) -> float:
    """Ratio of the eigenvalues of the mean structure tensor."""
    dx, dy = _slopes(cv2.GaussianBlur(grey, (0, 0), 1.0))
    cross = float((dx * dy).mean())
    tensor = np.array([[float((dx * dx).mean()), cross], [cross, float((dy * dy).mean())]])
    weak, strong = np.linalg.eigvalsh(tensor)
    return float(strong / weak) if weak > 1e-12 else 1.0


def _slopes(plane: Plane) -> tuple[Plane, Plane]:
    dx, dy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    return np.asarray(dx, np.float32), np.asarray(dy, np.float32)
