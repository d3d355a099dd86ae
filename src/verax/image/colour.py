"""Conversion between a file's colours (ICC profile, grey, CMYK, named colour space) and sRGB.

LittleCMS converts in 32-bit float, because its 16-bit path errs by up to 1200 of 65535 levels. Both
directions use relative colorimetric intent with black point compensation. Colours outside sRGB are
clipped to its gamut when a file is read, and restored by `as_stored` when it is written.

If a file states its colour space by codes, or by primaries and gamma, an ICC profile is made from
them, so that the same functions can convert. Sources: ITU-T H.273 (2021), tables 2 and 3; PNG
specification, third edition, 4.3, for the precedence cICP, iCCP, sRGB, then gAMA and cHRM."""

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from verax.errors import ImageReadError
from verax.image.contract import CHANNELS, Image, Model

Values = NDArray[np.float32]  # (H, W, C) in [0, 1]; C = 1 (grey), 3 (RGB), 4 (CMYK, 1 = full ink)

SIGNATURE: dict[Model, bytes] = {"rgb": b"RGB ", "grey": b"GRAY", "cmyk": b"CMYK"}
SPACE: dict[Model, str] = {"rgb": "rgb", "grey": "gray", "cmyk": "cmyk"}
RELATIVE_COLORIMETRIC = 1
BLACK_POINT_COMPENSATION = 0x2000
BAND_PIXELS = 1 << 20  # pixels of one call of LittleCMS; bands are converted in parallel
SAME_COLOUR = 0.5 / 255.0  # a profile this close to sRGB counts as sRGB: nothing is converted
INK_PERCENT = np.float32(100.0)  # LittleCMS takes float ink in per cent
Points = tuple[float, ...]  # x, y of red, green, blue

D65, C, DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
PRIMARIES: dict[int, tuple[Points, tuple[float, float]]] = {
    1: ((0.64, 0.33, 0.30, 0.60, 0.15, 0.06), D65),  # BT.709, sRGB
    4: ((0.67, 0.33, 0.21, 0.71, 0.14, 0.08), C),
    5: ((0.64, 0.33, 0.29, 0.60, 0.15, 0.06), D65),
    6: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), D65),
    7: ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070), D65),
    8: ((0.681, 0.319, 0.243, 0.692, 0.145, 0.049), C),
    9: ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), DCI),
    12: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), D65),  # Display P3
    22: ((0.630, 0.340, 0.295, 0.605, 0.155, 0.077), D65),
}
UNSAID = 2  # "unspecified" in H.273
PQ, HLG = 16, 18  # transfer characteristics (ITU-T H.273)
SRGB_LIKE = {0, 1, UNSAID, 6, 13, 14, 15}  # viewers show video curves as if they were sRGB's
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}  # exponent by transfer number
NEAR = 0.01  # a gamma this close to 1/2.2 means sRGB
STEPS = 4096  # entries of the sRGB curve in a generated profile


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    return bytes(imagecodecs.cms_profile("srgb"))


def usable(icc: bytes | None, model: Model) -> bool:
    """Whether LittleCMS can convert from the profile `icc`, of colour model `model`, to sRGB. False
    for None, and for a profile of another colour model."""
    if icc is None or len(icc) < 132 or icc[16:20] != SIGNATURE[model]:
        return False
    probe = np.zeros((1, 1, CHANNELS[model]), np.float32)
    try:
        _transform(probe, icc, model, _srgb(), "rgb")
    except (imagecodecs.CmsError, ValueError):
        return False
    return True


def writable(icc: bytes | None, model: Model) -> bool:
    """Whether LittleCMS can convert from and to the profile `icc`, of colour model `model`. False
    for None, and for many scanner profiles, which can only be read."""
    if not usable(icc, model) or icc is None:
        return False
    try:
        _transform(np.zeros((1, 1, 3), np.float32), _srgb(), "rgb", icc, model)
    except (imagecodecs.CmsError, ValueError):
        return False
    return True


def rgb_of_grey(icc: bytes | None) -> bytes | None:
    """An RGB profile with the tone curve of the grey profile `icc` and the primaries of sRGB. None
    if `icc` is None, has no tone curve or cannot be used."""
    if icc is None or not usable(icc, "grey"):
        return None
    curve, tags = _tags(icc).get(b"kTRC"), _tags(_srgb())
    if curve is None:
        return None
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    start, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = _srgb()[4:84] + bytes(16) + _srgb()[100:128]
    return struct.pack(">I", start + len(body)) + head + struct.pack(">I", len(tags)) + table + body


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The data of each tag of an ICC profile, by the tag's four-byte name."""
    count = min(int.from_bytes(icc[128:132]), 100)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * n) for n in range(count))
    return {name: icc[start : start + size] for name, start, size in entries}


def to_srgb(values: Values, model: Model, icc: bytes | None) -> Image:
    """Convert (H, W, C) values in [0, 1], in the profile `icc`, to an sRGB picture (H, W, 3).

    Without a profile, grey and RGB count as sRGB, and CMYK becomes (1 - CMY) * (1 - K)."""
    if icc is not None and not _is_srgb(icc, model):
        return _transform(values, icc, model, _srgb(), "rgb")
    if model == "grey":
        return np.repeat(values, 3, axis=2)
    if model == "cmyk":
        plain: Image = (1.0 - values[..., :3]) * (1.0 - values[..., 3:])
        return plain
    return values


def from_srgb(image: Image, model: Model, icc: bytes | None) -> Values:
    """Convert an sRGB picture to (H, W, C) values in [0, 1] of a colour model, in the profile
    `icc`. Without a profile, RGB and grey (the mean of the channels) are sRGB, and CMYK is such
    that (1 - CMY) * (1 - K) is the picture, with as much black as possible."""
    if icc is not None and not _is_srgb(icc, model):
        return _transform(image, _srgb(), "rgb", icc, model)
    if model == "grey":
        grey: Values = image.mean(axis=2, keepdims=True)
        return grey
    if model == "cmyk":
        return _plain_ink(image)
    return image


def converts(icc: bytes | None, model: Model) -> bool:
    """Whether values of the colour model `model`, in the profile `icc` (None: sRGB), must be
    converted to be sRGB: they are CMYK, or the profile is not sRGB's."""
    return model == "cmyk" or (icc is not None and not _is_srgb(icc, model))


def as_stored(
    image: Image, model: Model, icc: bytes | None, *, before: Image, stored: Values
) -> Values:
    """Convert an edited sRGB picture to the colour model and profile of its file.

    Args:
        image: the edited picture (H, W, 3).
        icc: the file's profile; None: it has none.
        before: the picture as read, that is, `stored` converted to sRGB and clipped to its gamut.
        stored: the file's own (H, W, C) values in [0, 1].

    Returns (H, W, C) values, exactly `stored` in pixels where `image` equals `before`. To other
    pixels, what clipping removed from `stored` is added again: scaled with the pixel's brightness
    (not in CMYK), and reduced as far as the pixel's colour has changed."""
    same = (image == before).all(axis=2, keepdims=True)
    if same.all():
        return stored
    rest = stored - from_srgb(before, model, icc)
    share = np.float32(1.0)
    if model != "cmyk":
        light, new = before.max(axis=2, keepdims=True), image.max(axis=2, keepdims=True)
        share = np.clip(new / np.maximum(light, np.float32(1 / 255)), 0, 2)
    moved = np.abs(image - before * share).max(axis=2, keepdims=True)
    share = share * np.clip(1 - 2 * moved, 0, 1)
    values = np.clip(from_srgb(image, model, icc) + rest * share, 0, 1)
    return np.where(same, stored, values).astype(np.float32)


def _plain_ink(image: Image) -> Values:
    light = image.max(axis=2, keepdims=True)
    colour = np.where(light > 0, 1.0 - image / np.maximum(light, 1e-6), 0.0)
    return np.concatenate([colour, 1.0 - light], axis=2, dtype=np.float32)


@lru_cache(maxsize=8)
def _is_srgb(icc: bytes, model: Model) -> bool:
    """Whether the profile's conversion to sRGB changes colours by less than half an 8-bit level."""
    if model == "cmyk":
        return False
    steps = np.linspace(0.0, 1.0, 65 if model == "grey" else 9, dtype=np.float32)
    axes = np.meshgrid(*[steps] * CHANNELS[model], indexing="ij")
    grid = np.stack(axes, axis=-1).reshape(1, -1, CHANNELS[model])
    return bool(np.abs(_transform(grid, icc, model, _srgb(), "rgb") - grid).max() < SAME_COLOUR)


def _transform(values: Values, source: bytes, model: Model, target: bytes, into: Model) -> Values:
    """Convert (H, W, C) values in [0, 1] from the profile `source`, of colour model `model`, to the
    profile `target`, of colour model `into`. Bands of rows are converted in parallel."""
    rows = max(1, BAND_PIXELS // values.shape[1])
    bands = [values[top : top + rows] for top in range(0, values.shape[0], rows)]
    threads = min(len(bands), os.cpu_count() or 1, 8)

    def convert(band: Values) -> Values:
        return _convert(band, source, model, target, into)

    if threads == 1:
        return np.concatenate([convert(band) for band in bands])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(convert, bands)))


def _convert(band: Values, source: bytes, model: Model, target: bytes, into: Model) -> Values:
    ink = band * INK_PERCENT if model == "cmyk" else band
    converted: Values = imagecodecs.cms_transform(
        np.ascontiguousarray(ink[..., 0] if model == "grey" else ink, np.float32),
        source,
        target,
        colorspace=SPACE[model],
        outcolorspace=SPACE[into],
        intent=RELATIVE_COLORIMETRIC,
        flags=BLACK_POINT_COMPENSATION,
    )
    converted = converted.reshape(*band.shape[:2], CHANNELS[into])
    if into == "cmyk":
        converted /= INK_PERCENT
    np.nan_to_num(converted, copy=False)
    return np.clip(converted, 0.0, 1.0, out=converted)


def profile_of_numbers(primaries: int, transfer: int, model: Model) -> bytes | None:
    """An ICC profile of `model` for a colour space that is stated as two codes of ITU-T H.273. None
    if the codes mean sRGB, "unspecified", or are 0 (not stated). Raises ImageReadError for high
    dynamic range and for unknown codes."""
    if transfer in (PQ, HLG):  # high dynamic range has no meaning in [0, 1] sRGB
        raise ImageReadError(
            "expected a picture of standard dynamic range, got high dynamic range (PQ or HLG); "
            "export it as SDR first"
        )
    unknown = primaries not in (0, UNSAID, *PRIMARIES)
    if unknown or not (transfer in SRGB_LIKE or transfer in GAMMAS):
        what = f"primaries {primaries}" if unknown else f"transfer {transfer}"
        raise ImageReadError(
            f"expected a colour space that Verax knows, got {what} (a code of ITU-T H.273); "
            "convert the picture to sRGB"
        )
    points, white = PRIMARIES.get(primaries, PRIMARIES[1])
    gamma = GAMMAS.get(transfer)
    if gamma is None and (points, white) == PRIMARIES[1]:
        return None
    return _profile(points, white, gamma, model)


def profile_of_chunks(chunks: Sequence[tuple[bytes, bytes]], model: Model) -> bytes | None:
    """An ICC profile made from the gAMA and cHRM chunks of a PNG; `chunks` are (type, body). None
    if the chunks mean sRGB, are missing, or hold impossible values."""
    bodies = dict(chunks)
    if b"sRGB" in bodies or not {b"gAMA", b"cHRM"} & set(bodies):
        return None
    gamma, points, white = None, *PRIMARIES[1]
    if len(bodies.get(b"cHRM", b"")) == 32:
        white_x, white_y, *others = (v / 1e5 for v in struct.unpack(">8I", bodies[b"cHRM"]))
        points, white = tuple(others), (white_x, white_y)
    if len(bodies.get(b"gAMA", b"")) == 4:
        (coded,) = struct.unpack(">I", bodies[b"gAMA"])
        gamma = 1e5 / coded if coded else None
    plain = bool(np.allclose((*points, *white), (*PRIMARIES[1][0], *D65), atol=2e-3))
    if gamma is not None and ((plain and abs(gamma / 2.2 - 1) < NEAR) or not 0.1 <= gamma <= 10):
        gamma = None
    if (plain or model == "grey") and gamma is None:
        return None
    try:
        return _profile(points, white, gamma, model)
    except (imagecodecs.CmsError, ValueError):  # no colour space has these values
        return None


def check_full_range(cicp: bytes) -> None:
    """Raise ImageReadError if the body of a cICP chunk states narrow-range or YCbCr samples."""
    if len(cicp) == 4 and (cicp[2] != 0 or cicp[3] != 1):
        raise ImageReadError(
            "expected full-range RGB samples, got a PNG of narrow range or YCbCr (its cICP chunk); "
            "convert the picture to sRGB"
        )


@lru_cache(maxsize=8)
def _profile(
    points: Points, white: tuple[float, float], gamma: float | None, model: Model
) -> bytes:
    figures: dict[str, Any] = {"whitepoint": (*white, 1.0)}
    if model != "grey":
        pairs = zip(points[::2], points[1::2], strict=True)
        figures["primaries"] = [value for x, y in pairs for value in (x, y, 1.0)]
    if gamma is None:
        steps = np.linspace(0.0, 1.0, STEPS)
        from verax.image.pixels import to_linear  # loads OpenCV

        figures["transferfunction"] = np.rint(to_linear(steps) * 65535).astype(np.uint16)
    else:
        figures["gamma"] = gamma
    return bytes(imagecodecs.cms_profile("gray" if model == "grey" else "rgb", **figures))
