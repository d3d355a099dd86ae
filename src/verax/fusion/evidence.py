"""The evidence: does the prior explain the photo, place by place and octave by octave?

In every place of every octave the photo's structure, its noise taken out, is correlated with the
prior's. What follows from it has five names: confirmed (both show it), plausible (the prior shows
what the photo could not), added (the prior shows what the photo could have shown and does not),
lost (the photo shows what the prior does not), removed (lost, and known to have been in front of
the scene).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion.noise import sample_tiles
from verax.fusion.octaves import Float, enlarge, halved, luma, ramp, rise, windowed
from verax.image import Image, Plane
from verax.image.pixels import noise_response

WHITE = (0.75, 0.33, 0.16, 0.08, 0.04, 0.02)  # of white noise of deviation 1, left in each octave
ROUNDING = 0.0012  # deviation of 8-bit rounding in octave 0, halved from octave to octave
LARGEST = 0.08  # deviation above which nothing is called noise
SIMILAR = (0.3, 0.75)  # correlation at which structure begins to be confirmed, and is
ALIKE = (0.5, 0.9)  # the same, for what the gain of a whole octave is read from
NOISY = (2.5, 5.0)  # energy of the photo over the prior's where the prior is plain: noise
EVEN = (0.15, 0.35)  # quartile over quartile of that energy: noise is everywhere, structure is not
SEEN = (0.002, 0.004)  # deviation from which such noise matters
FINE = 5  # octaves that noise may fill


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one octave shows, on its half grid (h, w).

    Attributes:
        photo, prior: energy of the photo's structure, its noise taken out, and of the prior's.
        correlation: of the two, in [-1, 1].
        signal: share of the photo's energy that is not noise.
        confirmed: how far both show the same structure, in [0, 1].
    """

    photo: Plane
    prior: Plane
    correlation: Plane
    signal: Plane
    confirmed: Plane


@dataclass(frozen=True, slots=True, kw_only=True)
class Octave:
    """What one octave shows as a whole.

    Attributes:
        noise: energy of the photo's noise.
        noisy: how sure noise of its own colour fills the octave, in [0, 1].
        gain: contrast of the prior over the photo's, where they agree.
        confirmed, structure: amplitude of the photo's structure that is confirmed, and of all.
    """

    noise: float
    noisy: float
    gain: float
    confirmed: float
    structure: float


def band(copies: Sequence[Float], octave: int) -> Float:
    """An octave of a picture from its copies (`octaves.gaussians`)."""
    fine = copies[octave]
    return np.asarray(fine - enlarge(copies[octave + 1], fine.shape), np.float32)


def weigh(photo: Plane, prior: Plane, noise: float, contrast: Plane | None = None) -> Evidence:
    """The evidence of one octave of luma (H, W) against noise of the given energy.

    `contrast`: a slow plane on the half grid that the prior is to be multiplied with.
    """
    energy, given, shared = (
        windowed(halved(np.asarray(cv2.multiply(one, two), np.float32)))
        for one, two in ((photo, photo), (prior, prior), (photo, prior))
    )
    if contrast is not None:
        given, shared = given * contrast**2, shared * contrast
    structure = np.maximum(energy - noise, 1e-9)
    correlation = np.clip(shared / np.sqrt(structure * given + 1e-12), -1, 1)
    signal = structure / (structure + noise)
    return Evidence(
        photo=structure,
        prior=given,
        correlation=correlation,
        signal=signal,
        confirmed=rise(correlation, *SIMILAR) * signal,
    )


def summarise(photo: Plane, prior: Plane, valid: Plane, white: float, octave: int) -> Octave:
    """One octave as a whole.

    Noise is what white noise of deviation `white` leaves in the octave, or more: energy that is
    everywhere in the photo where the prior is plain, as coloured and compressed noise is.

    Args:
        photo, prior: (H, W) an octave of luma, or rows of it.
        valid: (H, W) where the prior shows something.
    """
    rounding = ROUNDING**2 * 0.25**octave
    noise = (white * WHITE[min(octave, len(WHITE) - 1)]) ** 2
    seen = halved(valid) > 0.5
    if seen.sum() < 20:
        seen = np.ones_like(seen)
    raw = weigh(photo, prior, 0.0)
    # texture that fills the picture passes for noise, but the prior does not confirm noise
    unexplained = raw.photo * (1 - np.maximum(raw.correlation, 0) ** 2)
    noise = rounding + min(noise, float(np.quantile(unexplained[seen], 0.25)))
    energy, sure = _coloured(raw, seen) if octave < FINE else (0.0, 0.0)
    noise = max(noise, 1.2 * energy * sure)
    found = weigh(photo, prior, noise)
    amplitude = np.sqrt(found.photo) * seen
    alike = rise(found.correlation, *ALIKE) * seen
    gain = float(np.sqrt((alike * found.prior).sum() / ((alike * found.photo).sum() + 1e-12)))
    return Octave(
        noise=noise,
        noisy=sure,
        gain=gain if alike.sum() > 1 else 1.0,
        confirmed=float((found.confirmed * amplitude).sum()),
        structure=float(amplitude.sum()),
    )


def _coloured(raw: Evidence, seen: NDArray[np.bool_]) -> tuple[float, float]:
    """Energy of noise of any colour in an octave, and how sure it is noise."""
    plain = seen & (raw.prior <= np.quantile(raw.prior[seen], 0.25))
    low, middle, high = (float(q) for q in np.quantile(raw.photo[plain], (0.25, 0.5, 0.75)))
    shown = float(np.median(raw.prior[plain]))
    sure = ramp(float(np.log(middle / (shown + 1e-7) + 1e-9)), *np.log(NOISY))
    return middle, sure * ramp(low / (high + 1e-12), *EVEN) * ramp(middle**0.5, *SEEN)


def white_noise(photo: Image) -> float:
    """Deviation of white noise over luma, from the quietest tenth of 8 px blocks (Immerkaer, "Fast
    noise variance estimation", 1996)."""
    blocks = []
    for part in sample_tiles(photo, 64, 64):
        mask = noise_response(luma(part)) * np.float32(np.sqrt(np.pi / 2))
        size = (max(1, mask.shape[1] // 8), max(1, mask.shape[0] // 8))
        blocks.append(cv2.resize(mask, size, interpolation=cv2.INTER_AREA).ravel())
    return min(float(np.quantile(np.concatenate(blocks), 0.1)) * 1.08, LARGEST)


def faithful(octaves: Sequence[Octave]) -> float:
    """Share of the photo's structure that the prior confirms, the finest octave apart."""
    counted = octaves[1:] or octaves
    whole = sum(octave.structure for octave in counted)
    return sum(octave.confirmed for octave in counted) / max(whole, 1e-9)
