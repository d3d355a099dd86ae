"""Legal sizes for pictures from words: from WIDTHxHEIGHT or from an aspect ratio such as 16:9."""

import math
import re

from verax.catalog.models import Size, Sizes, parse_size
from verax.errors import InputError

USUAL_PIXELS = 1_572_864  # of 1536x1024, the size that every model knows


def text_size(sizes: Sizes, *, size: str = "", aspect: str = "") -> str | None:
    """The size field of a request; None leaves it to the service.

    Raises InputError for an illegal size, both at once, or an aspect ratio no legal size has.
    """
    if size and aspect:
        raise InputError("--size and --aspect exclude each other; give one of them")
    if aspect:
        width, height = aspect_size(sizes, parse_aspect(aspect))
        return f"{width}x{height}"
    if not size or size == "auto":
        return size or None
    why = sizes.why_not(parse_size(size))
    if why:
        near = nearest(sizes, parse_size(size))
        raise InputError(f"size {size}: {why}; the nearest legal one is {near[0]}x{near[1]}")
    return size


def parse_aspect(text: str) -> float:
    """Width over height of "16:9"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)[:/](\d+(?:\.\d+)?)", text)
    if not found or not (float(found[1]) > 0 and float(found[2]) > 0):
        raise InputError(f"aspect: want WIDTH:HEIGHT such as 16:9, got {text!r}")
    return float(found[1]) / float(found[2])


def aspect_size(sizes: Sizes, ratio: float, *, pixels: int = USUAL_PIXELS) -> Size:
    """The legal size nearest to width / height = `ratio`, and among those nearest to `pixels`.

    Half a per cent off in ratio weighs as much as a factor e in pixels. Raises InputError where no
    legal size comes within 5 % of the ratio.
    """
    found = min(_legal(sizes), key=lambda s: _off(s, ratio, pixels))
    if abs(math.log(found[0] / found[1] / ratio)) > 0.05:
        choices = ", ".join(f"{w}x{h}" for w, h in sizes.fixed)
        limit = f"only {choices} are possible" if choices else f"at most {sizes.max_ratio:g}:1"
        raise InputError(f"aspect ratio {ratio:.3g} cannot be had from this model: {limit}")
    return found


def nearest(sizes: Sizes, size: Size) -> Size:
    """The legal size nearest to an illegal one, by ratio and pixels alike."""
    ratio, pixels = max(size[0], 1) / max(size[1], 1), max(size[0] * size[1], 1)
    return min(_legal(sizes), key=lambda s: _off(s, ratio, pixels, tolerance=1.0))


def _legal(sizes: Sizes) -> list[Size]:
    if sizes.fixed:
        return list(sizes.fixed)
    sides = range(sizes.multiple, sizes.max_edge + 1, sizes.multiple)
    return [(w, h) for w in sides for h in sides if not sizes.why_not((w, h))]


def _off(size: Size, ratio: float, pixels: int, tolerance: float = 0.005) -> float:
    """How far a size is from ratio and pixels, both on a logarithmic scale."""
    off = abs(math.log(size[0] / size[1] / ratio)) / tolerance
    return off + abs(math.log(size[0] * size[1] / pixels))
