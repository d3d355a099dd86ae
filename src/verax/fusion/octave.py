"""Joins one octave of photo and prior.

The contrast of the photo's structure is matched to the prior's, and the structure is turned towards
the prior's. Structure that the photo could not have shown is taken from the prior.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from verax.fusion.dial import Dial
from verax.fusion.evidence import Evidence, Octave, weigh
from verax.fusion.explanation import Explanation
from verax.fusion.planes import WINDOW, Float, halved, luma, resized, rise, windowed
from verax.image import Plane
from verax.image.pixels import LUMA

CHROMA = np.eye(3, dtype=np.float32) - LUMA[None]  # colour minus its luma
SUM = np.ones((1, 3), np.float32)
GAINS = (0.4, 8.0)  # least and largest gain of local contrast
UNCONFIRMED = 2.5  # largest gain of unconfirmed structure, which gets that of its surroundings
KNOWN = 0.04  # share of confirmed structure nearby from which that gain is fully trusted
WIDE = 3 * WINDOW  # sigma of "nearby"
CHOICE = (1.0, -1.2)  # correlation from which the prior replaces: default fidelity, fidelity 0
CHOSEN = 0.2  # so much above it the prior replaces the photo's structure in full
COLOUR_LOST = (0.5, 1.5)  # energy of the error of compressed colour over that of a difference
LONGEST = 1.25  # largest gain that makes up for contrast lost by turning
LIT = 0.3  # share of the dial's angle allowed where light is wrong but nothing is blurred
TURNED = (0.3, 0.75)  # correlation: structure is not turned; is turned as far as allowed


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings for one octave: its number (0 for the finest), its statistics, the explanation,
    and the thresholds of the fidelity."""

    index: int
    octave: Octave
    explanation: Explanation
    dial: Dial

    @property
    def sharpness(self) -> float:
        """How far the octave gets the prior's contrast, in [0, 1]."""
        return max(self.explanation.sharpness[self.index], self.dial.beyond)

    @property
    def angle(self) -> float:
        """The largest angle (rad) by which structure turns; smaller if only the light is wrong."""
        explanation = self.explanation
        blur = max(explanation.blur[self.index], LIT * explanation.sharpness[self.index])
        return self.dial.angle * blur


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of each place before an octave is joined: planes (h, w) on the half grid."""

    gain: Plane  # of confirmed places nearby, from the coarser octave
    agreed: Plane  # how far photo and prior agreed in coarser octaves
    front: Plane  # where something in front of the scene was removed
    valid: Plane  # where the prior covers the photo
    contrast: Plane  # factor on the prior's contrast
    spared: Plane  # where only confirmed structure may be taken: faces
    supplied: Plane  # share of the source that deblurring took from the prior already


@dataclass(frozen=True, slots=True)
class Result:
    """A joined octave (H, W, 3), and on the half grid what the next one needs: see `Surroundings`.
    `amplitudes` (h, w, 3) are those of `_amplitudes`."""

    band: Float
    gain: Plane
    agreed: Plane
    amplitudes: Float


def join_octave(
    own: Plane, room: tuple[Float, Float, Float], around: Surroundings, rules: Rules
) -> Result:
    """Join one octave, or a tile of it.

    `own` is this octave of the source's luma, (H, W). `room` holds three buffers (H, W, 3): the
    octave of the toned source, that of the prior, and a spare one. All three are overwritten, the
    first with the result.
    """
    toned, other, spare = room
    grey, lit = luma(other), luma(toned)
    evidence = weigh(own, grey, rules.octave.noise, around.contrast)
    energy = windowed(halved(cv2.multiply(lit, lit))) * evidence.signal
    gain, spread = _gains(evidence, energy, around, rules.explanation.sharpness[rules.index])
    turned, longer = _turned(evidence, gain, energy, rules)
    turned.share[:] *= 1 - around.spared * (1 - evidence.confirmed)
    off, alike = _chroma_agreement(toned, other, gain, around.contrast, evidence)
    colour = np.maximum(alike, max(rules.dial.beyond, rules.explanation.colour))
    share = np.maximum(_plausible(evidence, energy, around, rules), around.front)
    share *= 1 - around.spared
    # where the photo has no colour, or lost it to compression, the colour is the prior's
    without = _lost_colour(off, energy, gain, evidence, rules)
    missing = np.maximum(rules.explanation.colour, without) * evidence.confirmed
    band = _mixed(
        (toned, lit, other, grey, spare), around, gain * evidence.signal, turned, longer,
        colour=colour, amount=share, missing=missing,
    )  # fmt: skip
    agreed = windowed(evidence.confirmed + 0.9 * around.agreed * (1 - evidence.signal))
    # structure that was turned without being confirmed counts as the prior's
    rotated = turned.share * (1 - evidence.confirmed)
    rotated *= np.float32(rules.angle > 0 or rules.dial.beyond > 0)
    rotated = np.maximum(rotated, around.supplied)
    generated = np.asarray(share + (1 - share) * rotated, np.float32)
    amplitudes = _amplitudes(evidence, generated, gain, turned.share)
    return Result(band, spread, np.clip(agreed, 0, 1), amplitudes)


def _mixed(
    bands: tuple[Float, Plane, Float, Plane, Float],
    around: Surroundings,
    relit: Plane,
    turned: "_Turn",
    longer: Plane,
    *,
    colour: Plane,
    amount: Plane,
    missing: Plane,
) -> Float:
    """The octave of the result, (H, W, 3).

    It is linear in four `bands` (toned source, its luma, prior, its luma; the fifth is a buffer),
    so only their weights are computed, on the half grid. `relit`: gain of the source. `longer`:
    gain that makes up for turning. In [0, 1]: `colour`, how far colour turns with luma; `amount`,
    what is taken from the prior; `missing`, where colour is the prior's.
    """
    toned, lit, other, grey, spare = bands
    rest = (1 - amount) * longer
    share = turned.share * colour
    from_toned = rest * relit * (1 - share)
    from_prior = rest * turned.scale * share + amount
    from_grey = rest * turned.share * (1 - colour) * turned.scale
    from_lit = -rest * turned.share * (1 - colour) * relit
    from_grey += missing * (from_prior - 1)
    from_lit += missing * from_toned
    from_toned *= 1 - missing
    from_prior += missing * (1 - from_prior)
    valid = around.valid
    weights = (
        1 + valid * (from_toned - 1), valid * from_lit,
        valid * around.contrast * from_prior, valid * around.contrast * from_grey,
    )  # fmt: skip
    own, own_grey, its, its_grey = (resized(np.asarray(w, np.float32), lit.shape) for w in weights)
    plain = cv2.add(cv2.multiply(own_grey, lit, own_grey), cv2.multiply(its_grey, grey, its_grey))
    cv2.multiply(toned, cv2.merge([own] * 3, spare), toned)
    cv2.add(toned, cv2.multiply(other, cv2.merge([its] * 3, spare), other), toned)
    return np.asarray(cv2.add(toned, cv2.merge([plain] * 3, spare), toned), np.float32)


def _gains(
    evidence: Evidence, energy: Plane, around: Surroundings, sharpness: float
) -> tuple[Plane, Plane]:
    """The gain of the toned source's contrast at each place, and the mean gain of the confirmed
    structure around it. `energy`: of the toned source."""
    local = np.sqrt(evidence.prior / np.maximum(energy, 1e-8))
    local = np.clip(local, *GAINS) ** np.float32(sharpness)
    weight = evidence.confirmed * np.minimum(evidence.photo, 1e-2)
    wide = windowed(weight * local, WIDE) + 1e-6 * around.gain
    spread = np.clip(wide / (windowed(weight, WIDE) + 1e-6), *GAINS)
    known = np.minimum(windowed(evidence.confirmed, WIDE) / KNOWN, 1)  # does not amplify noise
    spread = 1 + known * (spread - 1)
    gain = evidence.confirmed * local + (1 - evidence.confirmed) * np.minimum(spread, UNCONFIRMED)
    return np.asarray(gain, np.float32), np.asarray(spread, np.float32)


@dataclass(frozen=True, slots=True)
class _Turn:
    """How far structure is turned, planes (h, w)."""

    share: Plane  # weight of the prior's octave against the relit one
    scale: Plane  # of the prior's octave, so that both have the same length


def _turned(evidence: Evidence, gain: Plane, energy: Plane, rules: Rules) -> tuple[_Turn, Plane]:
    """How far structure is turned towards the prior's, and the gain that restores its contrast.

    In a window, photo and prior are vectors of equal length; the cosine of the angle between them
    is their correlation. A weighted mean of both, with the weight sin a / (sin a + sin(angle - a))
    for the prior, has the angle a to the photo. It is shorter by cos(angle / 2) / cos(angle / 2 -
    a).
    """
    angle = np.arccos(evidence.correlation)
    most = np.minimum(rules.angle, angle)
    share = np.sin(most) / np.maximum(np.sin(most) + np.sin(angle - most), 1e-6)
    share = np.where(angle <= most + 1e-6, 1.0, share)
    alike = rise(evidence.correlation, *TURNED)
    length = np.sqrt(gain**2 * evidence.signal * energy / np.maximum(evidence.prior, 1e-9))
    half = np.minimum(angle, 2.2) / 2
    longer = np.cos(np.abs(half - np.minimum(most, half))) / np.cos(half)
    longer = 1 + (np.clip(longer, 1, LONGEST) - 1) * alike * evidence.signal
    share, scale = share * alike, np.minimum(length, 1.0)
    if rules.dial.beyond > 0:
        choice = _chosen(evidence.correlation, rules.dial.beyond)
        share, longer = share + choice * (1 - share), 1 + (1 - choice) * (longer - 1)
        scale = scale ** (1 - choice)
    return _Turn(*(np.asarray(x, np.float32) for x in (share, scale))), np.asarray(
        longer, np.float32
    )


def _chosen(correlation: Plane, beyond: float) -> Plane:
    """Where the prior's structure replaces the photo's below the default fidelity, in [0, 1]: first
    where they agree, last where they contradict each other. A mean of both would be a ghost."""
    least = CHOICE[0] + (CHOICE[1] - CHOICE[0]) * beyond
    return rise(correlation, least, least + CHOSEN)


def _plausible(evidence: Evidence, energy: Plane, around: Surroundings, rules: Rules) -> Plane:
    """The share of the prior's octave, (h, w) in [0, 1], that is plausible and taken: the photo
    shows nothing there, or too little to be amplified; coarser octaves agree; and what the prior
    shows would not have been visible through the photo's noise or blur."""
    expected = evidence.prior / max(rules.octave.gain, 1.0) ** 2
    noise, beyond = rules.octave.noise, rules.dial.beyond
    visibility = rise(expected / (4 * noise), 0.5, 3.0) * rise(
        expected / (4 * evidence.photo), 0.4, 1.5
    )
    faint = rise(np.sqrt(evidence.prior / np.maximum(GAINS[1] ** 2 * energy, 1e-9)), 0.6, 1.6)
    weak = (1 - evidence.signal) + evidence.signal * faint * rise(evidence.correlation, 0.1, 0.4)
    allowed = max(rules.sharpness, rules.octave.noisy) * rules.dial.plausible
    allowed *= max(rules.explanation.faithful, beyond)
    share = np.clip(weak, 0, 1) * around.agreed * (1 - visibility * (1 - beyond)) * allowed
    return np.asarray(share * around.valid, np.float32)


def _chroma_agreement(
    toned: Float, theirs: Float, gain: Plane, contrast: Plane, evidence: Evidence
) -> tuple[Plane, Plane]:
    """The energy of the difference in colour, (h, w), and how far colours agree, in [0, 1]: equal
    luma does not confirm a thing of another colour. Uses every second pixel and row."""
    own, its = (cv2.transform(_every_second(x), CHROMA) for x in (toned, theirs))
    mine, other, both = (
        windowed(cv2.transform(one * two, SUM)) for one, two in ((own, own), (its, its), (own, its))
    )
    mine, other, both = mine * gain**2, other * contrast**2, both * gain * contrast
    off = np.maximum(mine - 2 * both + other, 0)
    return off, 1 - rise(np.sqrt(off / (mine + 0.35 * evidence.prior + 2e-6)), 0.6, 1.2)


def _lost_colour(
    off: Plane, energy: Plane, gain: Plane, evidence: Evidence, rules: Rules
) -> Plane | np.float32:
    """How far the photo's colour is lost to compression, in [0, 1]: brightening also amplified the
    error of JPEG's colours, until it explains the difference in colour `off`.

    `energy`: of the toned source. Divided by that of the source it is the square of the gain.
    """
    error = rules.explanation.compression
    if error == 0:
        return np.float32(0)
    raised = np.maximum(energy / np.maximum(evidence.photo, 1e-9) - 1, 0) * gain**2
    return rise(error**2 * raised / (off + 1e-8), *COLOUR_LOST) * np.float32(rules.dial.plausible)


def _every_second(band: Float) -> Float:
    """Every second pixel of every second row."""
    height, width = band.shape[:2]
    if height % 2 or width % 2:
        return np.ascontiguousarray(band[::2, ::2])
    size = (width // 2, height // 2)
    return np.asarray(cv2.resize(band, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _amplitudes(evidence: Evidence, amount: Plane, gain: Plane, turned: Plane) -> Float:
    """(h, w, 3): amplitude of the structure that is the photo's, that is the photo's with the
    prior's contrast, and that is the prior's. `amount`, `turned`: shares in [0, 1]."""
    amplitude = np.sqrt(evidence.prior) + 0.5 * np.sqrt(evidence.photo)
    moved = np.minimum(1, np.abs(np.log(gain)) / np.float32(np.log(1.3)))
    confirmed = (1 - amount) * evidence.confirmed * np.maximum(moved, turned)
    shares = (1 - amount - confirmed, confirmed, amount)
    return np.asarray(cv2.merge([share * amplitude for share in shares]), np.float32)
