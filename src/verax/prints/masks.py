"""Masks drawn by hand: white where something may change, or where a photo holds nothing."""

from pathlib import Path

import numpy as np

from verax import image as images
from verax.errors import InputError, SizeMismatchError
from verax.image import Image, Photo, Plane

LEAST = 8 / 255  # what an encoder or a soft brush leaves of black, and of white


def read(path: Path, photo: Photo, *, name: str) -> Plane:
    """The mask in a file, for a photo; see `from_photo`. Raises ImageReadError, too."""
    return from_photo(images.read(path), size=(photo.width, photo.height), name=name)


def from_photo(mask: Photo, *, size: tuple[int, int], name: str) -> Plane:
    """(H, W) in [0, 1] from a picture of `size` = (width, height): white is 1, clear is 0.

    `name` stands in messages. Raises SizeMismatchError for another size, InputError where the
    mask has no white or nothing but white.
    """
    if (mask.width, mask.height) != size:
        raise SizeMismatchError(
            f"{name}: want a mask of the photo's size {size[0]}x{size[1]}, "
            f"got {mask.width}x{mask.height}; draw it on the photo itself"
        )
    plane = mask.pixels.mean(2, dtype=np.float32)
    if mask.alpha is not None:
        plane = plane * mask.alpha
    plane = np.asarray((plane - LEAST) / (1 - 2 * LEAST), np.float32)
    plane = np.clip(plane, 0, 1, out=plane)
    if not plane.any():
        raise InputError(f"{name}: want some white in the mask, got none; paint the place white")
    if plane.min() == 1:
        raise InputError(f"{name}: want some black in the mask, got all white; leave it out")
    return plane


def kept_outside(photo: Image, result: Image, mask: Plane) -> Image:
    """The result inside the mask, the photo outside it; where the mask is 0, bit for bit.

    Values between blend the two.
    """
    share = mask[..., None]
    blend = np.asarray(photo + share * (result - photo), np.float32)
    return np.where(share == 0, photo, np.where(share == 1, result, np.clip(blend, 0, 1)))
