"""Colour spaces that files name by number or by figures instead of an ICC profile.

A profile is made for them, so that one way leads to sRGB and back. Sources: ITU-T H.273 (2021),
tables 2 and 3; PNG specification, third edition, 4.3: cICP goes before iCCP, that before sRGB,
that before gAMA and cHRM.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np

from verax.errors import ImageReadError
from verax.image.raw import Model, check_transfer

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
UNSAID = 2
SRGB_LIKE = {0, 1, UNSAID, 6, 13, 14, 15}  # video curves are shown as viewers show them: as sRGB's
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
NEAR = 0.01  # of 1/2.2, which writers mean sRGB by
STEPS = 4096


def of_numbers(primaries: int, transfer: int, model: Model) -> bytes | None:
    """A profile for numbers of H.273; None where they mean sRGB or say nothing.

    Raises ImageReadError for a colour space that is not followed.
    """
    check_transfer(transfer)
    unknown = primaries not in (0, UNSAID, *PRIMARIES)
    if unknown or not (transfer in SRGB_LIKE or transfer in GAMMAS):
        what = f"primaries {primaries}" if unknown else f"transfer {transfer}"
        raise ImageReadError(
            f"want a colour space that is known here, got {what} (ITU-T H.273); "
            "convert the picture to sRGB"
        )
    points, white = PRIMARIES.get(primaries, PRIMARIES[1])
    gamma = GAMMAS.get(transfer)
    if gamma is None and (points, white) == PRIMARIES[1]:
        return None
    return _profile(points, white, gamma, model)


def of_chunks(chunks: Sequence[tuple[bytes, bytes]], model: Model) -> bytes | None:
    """A profile for the colour chunks of a PNG file other than iCCP; None where they mean sRGB."""
    held = dict(chunks)
    if b"sRGB" in held or not {b"gAMA", b"cHRM"} & set(held):
        return None
    gamma, points, white = None, *PRIMARIES[1]
    if len(held.get(b"cHRM", b"")) == 32:
        white_x, white_y, *others = (v / 1e5 for v in struct.unpack(">8I", held[b"cHRM"]))
        points, white = tuple(others), (white_x, white_y)
    if len(held.get(b"gAMA", b"")) == 4:
        (coded,) = struct.unpack(">I", held[b"gAMA"])
        gamma = 1e5 / coded if coded else None
    plain = bool(np.allclose((*points, *white), (*PRIMARIES[1][0], *D65), atol=2e-3))
    if gamma is not None and ((plain and abs(gamma / 2.2 - 1) < NEAR) or not 0.1 <= gamma <= 10):
        gamma = None
    if (plain or model == "grey") and gamma is None:
        return None
    try:
        return _profile(points, white, gamma, model)
    except (imagecodecs.CmsError, ValueError):  # figures of no colour space
        return None


def narrow_or_coded(cicp: bytes) -> None:
    """Raises ImageReadError for samples of a PNG that are not plain full-range RGB."""
    if len(cicp) == 4 and (cicp[2] != 0 or cicp[3] != 1):
        raise ImageReadError(
            "want full-range RGB samples, got a cICP chunk that says narrow range or YCbCr; "
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
