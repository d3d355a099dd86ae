"""The trust map: where every pixel of a restoration comes from."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from verax.fusion import grid
from verax.fusion.octaves import Float, reduced, resized
from verax.image import Image

CLASSES = ("photo", "confirmed", "light", "generated")
LOW = 0.03  # Gaussian, share of the width, under which light is compared


def of_one(name: str) -> NDArray[np.float16]:
    """The shares of a pixel that is wholly of one of CLASSES."""
    return np.asarray([name == each for each in CLASSES], np.float16)


def trust_map(pixels: Image, base: Image, amplitudes: Float | None) -> NDArray[np.float16]:
    """Shares (H, W, 4): light by how far low frequencies moved, relative to the brighter of base
    and result; the rest by the amplitudes of structure."""
    own, new = (reduced(x, 512) for x in (base, pixels))
    sigma = LOW * own.shape[1]
    moved = grid.blur(np.abs(grid.blur(new - own, sigma / 2)).sum(2), sigma / 2)
    brighter = grid.blur(np.maximum(own, new).sum(2), sigma / 2)
    light = np.clip(moved / np.maximum(brighter, 0.02), 0, 1)
    if amplitudes is None:
        amplitudes = np.zeros((1, 1, 3), np.float32)
    plain = np.array([0.002, 0, 0], np.float32)  # places without structure are the photo's
    shares = amplitudes + plain
    shares /= shares.sum(2, keepdims=True)
    rest = 1 - resized(np.asarray(light, np.float32), shares.shape)
    generated = shares[..., 2]
    whole = (
        shares[..., 0] * rest,
        shares[..., 1] * rest,
        (1 - generated) * (1 - rest),
        generated,
    )
    full = np.empty((*base.shape[:2], len(CLASSES)), np.float16)

    def put(index: int) -> None:
        full[..., index] = resized(np.asarray(whole[index], np.float32), full.shape)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put, range(len(CLASSES))))
    return full
