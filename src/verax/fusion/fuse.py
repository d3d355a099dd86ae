"""Photo, base and registered prior to restoration."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import SizeMismatchError, UnknownNameError
from verax.fusion import gates, noise, tone
from verax.geometry.register import Registration, Warped
from verax.image import Image, Plane

STRIPE = 256  # rows sliced at a time: bounds memory on large photos
MARGIN = 12  # rows around a stripe that its filters look at


@dataclass(frozen=True, slots=True)
class Fusion:
    """The restoration on the photo's grid.

    Attributes:
        pixels: (H, W, 3) float32.
        trust: (H, W, 3) float32, per pixel the share from the photo, tone from the prior,
            texture from the prior; the three sum to 1.
        scene_state_change: the prior shows another state of the scene (night made day ...).
        notes: what a user should know, in words.
    """

    pixels: Image
    trust: NDArray[np.float32]
    scene_state_change: bool
    notes: tuple[str, ...]


def fuse(
    photo: Image,
    base: Image,
    warped: Warped | None,
    registration: Registration | None,
    *,
    fidelity: float = 1.0,
    mode: str = "tone",
) -> Fusion:
    """Take from the registered prior what can be trusted; without one, the base.

    Args:
        photo: (H, W, 3).
        base: (H, W, 3), the photo restored without the prior.
        warped: the prior on the photo's grid.
        registration: how it got there; "coarse" gives a coarse tone only, "foreign" nothing.
        fidelity: 1 takes only what is proved, 0 is the registered prior itself.
        mode: "tone".
    """
    if mode != "tone":
        raise UnknownNameError(f"unknown fusion mode {mode!r} Known: tone")
    if photo.shape != base.shape:
        raise SizeMismatchError(f"photo is {photo.shape[:2]}, base is {base.shape[:2]}")
    if warped is None or registration is None or registration.outcome == "foreign":
        trust = np.zeros_like(photo)
        trust[..., 0] = 1.0
        return Fusion(base, trust, False, ())
    field, curve = fit_field(photo, base, warped, registration)
    pixels, trust = apply_field(base, field, curve, warped, fidelity)
    return Fusion(pixels, trust, False, ())


def fit_field(
    photo: Image, base: Image, warped: Warped, registration: Registration
) -> tuple[tone.ToneField, NDArray[np.float32]]:
    """The tone field, solved at the working size, and the photo's noise."""
    scale = min(1.0, tone.WORK / max(base.shape[:2]))
    size = (max(1, round(base.shape[1] * scale)), max(1, round(base.shape[0] * scale)))

    def small(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_AREA), np.float32)

    curve = noise.noise_curve(photo)
    thumbnail = small(base)
    quiet = noise.denoise(thumbnail, noise.noise_plane(tone.luma(thumbnail), curve) * scale)
    weight = gates.evidence(small(warped.valid), small(registration.confidence))
    local = registration.outcome == "registered"
    field = tone.fit(np.clip(quiet, 0, 1), small(warped.pixels), weight, local=local)
    return field, curve


def apply_field(
    base: Image,
    field: tone.ToneField,
    curve: NDArray[np.float32],
    warped: Warped,
    fidelity: float,
) -> tuple[Image, NDArray[np.float32]]:
    """Restoration and trust map, stripe by stripe."""
    pixels, trust = np.empty_like(base), np.empty_like(base)
    height = base.shape[0]

    def stripe(first: int) -> None:
        last = min(first + STRIPE, height)
        top, bottom = max(0, first - MARGIN), min(height, last + MARGIN)
        part = restore_rows(base[top:bottom], field, curve, (top, height))
        inner = slice(first - top, last - top)
        rows = slice(first, last)
        mixed = mix(base[rows], part[inner], warped.pixels[rows], warped.valid[rows], fidelity)
        pixels[rows], trust[rows] = mixed

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(stripe, range(0, height, STRIPE)))
    return pixels, trust


def restore_rows(
    base: Image, field: tone.ToneField, curve: NDArray[np.float32], rows: tuple[int, int]
) -> Image:
    """A stripe of the base with the tone field applied, its noise kept out of view."""
    grey = tone.luma(base)
    sigma = noise.noise_plane(grey, curve)
    quiet = np.clip(noise.denoise(base, sigma), 0, 1)
    lifted = tone.apply(field, tone.expose(quiet, field.curve), rows=rows)
    return np.clip(lifted, 0, 1)


def mix(
    base: Image, toned: Image, prior: Image, valid: Plane, fidelity: float
) -> tuple[Image, NDArray[np.float32]]:
    """Fidelity dial and trust map of one stripe.

    Tone share: the part of the brighter of base and result that the correction made up.
    """
    texture = (1 - fidelity) * valid
    pixels = fidelity * toned + texture[..., None] * prior
    pixels += ((1 - fidelity) * (1 - valid))[..., None] * base
    brighter = np.maximum(base, toned).sum(2)
    tone_share = np.abs(toned - base).sum(2) / np.maximum(brighter, 1e-6)
    tone_share *= fidelity
    trust = np.dstack([1 - texture - tone_share, tone_share, texture])
    return np.clip(pixels, 0, 1), np.clip(trust, 0, 1)
