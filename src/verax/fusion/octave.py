"""Joins one octave (level of the Laplacian pyramid) of photo and prior.

The contrast of the photo's structure is matched to the prior's, and the structure is turned towards
the prior's, which means that it is mixed with it so that their correlation rises: in a small window
both are vectors, and the cosine of the angle between them is their correlation. Structure that the
photo could not have shown is taken from the prior."""

from dataclasses import dataclass

import cv2
import numpy as np

from verax.fusion.dial import Dial
from verax.fusion.evidence import Evidence, Octave, weigh
from verax.fusion.explanation import Explanation
from verax.fusion.planes import WINDOW, Float, every_second, halve, luma, resize, rise, window_mean
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
    """The settings for one octave (pyramid level): its number `index`, 0 for the finest; the
    statistics of photo and prior in it, `octave`; the faults of the photo that justify changes,
    `explanation`; the fidelity as thresholds, which limit what is taken from the prior, `dial`."""

    index: int
    octave: Octave
    explanation: Explanation
    dial: Dial

    @property
    def sharpness(self) -> float:
        """How far this octave gets the prior's contrast, in [0, 1]."""
        return max(self.explanation.sharpness[self.index], self.dial.beyond)

    @property
    def angle(self) -> float:
        """The largest angle (rad) by which the photo's structure, as a vector in a small window, is
        turned towards the prior's; smaller if only the light is wrong."""
        explanation = self.explanation
        blur = max(explanation.blur[self.index], LIT * explanation.sharpness[self.index])
        return self.dial.angle * blur


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What coarser octaves and masks say of each place before an octave is joined: planes (h, w) of
    half the octave's resolution; all but `gain` and `contrast` are in [0, 1].

    Attributes:
        gain: factor on the photo's contrast nearby in the next coarser octave, where both show the
            same.
        agreed: how far photo and prior agreed in the coarser octaves.
        front: where something in front of the scene was removed.
        valid: where the prior covers the photo.
        contrast: factor on the prior's contrast, between what matches it to the photo's and 1.
        spared: faces, where only structure that photo and prior both show may be taken.
        supplied: share of the octave that deblurring has taken from the prior already."""

    gain: Plane
    agreed: Plane
    front: Plane
    valid: Plane
    contrast: Plane
    spared: Plane
    supplied: Plane


@dataclass(frozen=True, slots=True)
class Result:
    """A joined octave (pyramid level): `band` (H, W, 3). At half its resolution: `gain`, the factor
    on the photo's contrast where both show the same, averaged around each place; `agreed`, how far
    photo and prior agree in this octave and in coarser ones, in [0, 1]; `amplitudes` (h, w, 3), the
    strength of the structure that is the photo's, the photo's with the prior's contrast, and the
    prior's."""

    band: Float
    gain: Plane
    agreed: Plane
    amplitudes: Float


def join_octave(
    own: Plane, room: tuple[Float, Float, Float], around: Surroundings, rules: Rules
) -> Result:
    """Join one octave (pyramid level), or a tile of it.

    Args:
        own: (H, W) this octave of the photo's luma.
        room: three buffers (H, W, 3): this octave of the photo in the light of the result, this
            octave of the prior, and a spare one. All are overwritten, the first with the result.
        around: results of coarser octaves, and masks, at half the octave's resolution.
        rules: the settings for this octave."""
    toned, other, spare = room
    grey, lit = luma(other), luma(toned)
    evidence = weigh(own, grey, rules.octave.noise, around.contrast)
    energy = window_mean(halve(cv2.multiply(lit, lit))) * evidence.signal
    gain, spread = _gains(evidence, energy, around, rules.explanation.sharpness[rules.index])
    turned, longer = _turn(evidence, gain, energy, rules)
    turned.share[:] *= 1 - around.spared * (1 - evidence.confirmed)
    off, alike = _chroma_agreement(toned, other, gain, around.contrast, evidence)
    colour = np.maximum(alike, max(rules.dial.beyond, rules.explanation.colour))
    share = np.maximum(_plausible(evidence, energy, around, rules), around.front)
    share *= 1 - around.spared
    # where the photo has no colour, or lost it to compression, the colour is the prior's
    without = _lost_colour(off, energy, gain, evidence, rules)
    missing = np.maximum(rules.explanation.colour, without) * evidence.confirmed
    band = _mix(
        (toned, lit, other, grey, spare), around, gain * evidence.signal, turned, longer,
        colour=colour, amount=share, missing=missing,
    )  # fmt: skip
    agreed = window_mean(evidence.confirmed + 0.9 * around.agreed * (1 - evidence.signal))
    # structure that was turned without being confirmed counts as the prior's
    rotated = turned.share * (1 - evidence.confirmed)
    rotated *= np.float32(rules.angle > 0 or rules.dial.beyond > 0)
    rotated = np.maximum(rotated, around.supplied)
    generated = np.asarray(share + (1 - share) * rotated, np.float32)
    amplitudes = _amplitudes(evidence, generated, gain, turned.share)
    return Result(band, spread, np.clip(agreed, 0, 1), amplitudes)


def _mix(
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
    """The joined octave (H, W, 3). Planes other than `bands` are (h, w), at half its resolution.

    Args:
        bands: the photo's octave in the new light (H, W, 3), its luma (H, W), the prior's octave,
            its luma, and a buffer (H, W, 3). The result is a weighted sum of the first four and
            overwrites the first.
        around: where the prior covers the photo, and the factor on its contrast.
        relit: factor on the photo's structure.
        turned: weight and factor of the prior's octave in the mixture with the photo's.
        longer: factor on that mixture that makes up for contrast lost by mixing.
        colour: 1 mixes the colour as the luma, 0 keeps the photo's colour.
        amount: weight of the prior's octave itself against that mixture, in [0, 1].
        missing: how far the photo's colour is replaced by the prior's, in [0, 1]."""
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
    own, own_grey, its, its_grey = (resize(np.asarray(w, np.float32), lit.shape) for w in weights)
    plain = cv2.add(cv2.multiply(own_grey, lit, own_grey), cv2.multiply(its_grey, grey, its_grey))
    cv2.multiply(toned, cv2.merge([own] * 3, spare), toned)
    cv2.add(toned, cv2.multiply(other, cv2.merge([its] * 3, spare), other), toned)
    return np.asarray(cv2.add(toned, cv2.merge([plain] * 3, spare), toned), np.float32)


def _gains(
    evidence: Evidence, energy: Plane, around: Surroundings, sharpness: float
) -> tuple[Plane, Plane]:
    """Two planes (h, w): the factor that brings the contrast of the photo in its new light to the
    prior's, as far as `sharpness` in [0, 1] says; and its average nearby, over structure in both
    pictures. `energy` (h, w): local mean square of the photo's structure in its new light."""
    local = np.sqrt(evidence.prior / np.maximum(energy, 1e-8))
    local = np.clip(local, *GAINS) ** np.float32(sharpness)
    weight = evidence.confirmed * np.minimum(evidence.photo, 1e-2)
    wide = window_mean(weight * local, WIDE) + 1e-6 * around.gain
    spread = np.clip(wide / (window_mean(weight, WIDE) + 1e-6), *GAINS)
    known = np.minimum(window_mean(evidence.confirmed, WIDE) / KNOWN, 1)  # does not amplify noise
    spread = 1 + known * (spread - 1)
    gain = evidence.confirmed * local + (1 - evidence.confirmed) * np.minimum(spread, UNCONFIRMED)
    return np.asarray(gain, np.float32), np.asarray(spread, np.float32)


@dataclass(frozen=True, slots=True)
class _Turn:
    """How the photo's structure is mixed with the prior's, at each place: planes (h, w). `share`:
    weight of the prior's octave against the photo's, in [0, 1]. `scale`: factor, at most 1, on the
    prior's octave that lowers its amplitude to the photo's."""

    share: Plane
    scale: Plane


def _turn(evidence: Evidence, gain: Plane, energy: Plane, rules: Rules) -> tuple[_Turn, Plane]:
    """How structure is mixed with the prior's, and the factor (h, w) that restores its contrast.
    The angle between structures, as vectors, has their correlation as its cosine. The mean of two
    vectors of equal length has the angle a to the photo's if the prior's weight is sin(a) / (sin(a)
    + sin(angle - a)). It is shorter, hence the factor. `gain` (h, w): factor on the photo's
    contrast. `energy` (h, w): local mean square of the photo's structure in its new light."""
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
        choice = _prior_places(evidence.correlation, rules.dial.beyond)
        share, longer = share + choice * (1 - share), 1 + (1 - choice) * (longer - 1)
        scale = scale ** (1 - choice)
    planes = [np.asarray(x, np.float32) for x in (share, scale, longer)]
    return _Turn(*planes[:2]), planes[2]


def _prior_places(correlation: Plane, beyond: float) -> Plane:
    """How far the prior's structure replaces the photo's, (h, w) in [0, 1], at a fidelity below the
    default. As `beyond` rises from 0 to 1, first structures that agree (`correlation` 1) are
    replaced, last those that contradict (-1). A mean of both would show contours twice."""
    least = CHOICE[0] + (CHOICE[1] - CHOICE[0]) * beyond
    return rise(correlation, least, least + CHOSEN)


def _plausible(evidence: Evidence, energy: Plane, around: Surroundings, rules: Rules) -> Plane:
    """How much of the prior's octave is taken as plausible detail, (h, w) in [0, 1]. The photo must
    show nothing there, or too little to be amplified; both must agree in coarser octaves
    (`around`); and what the prior shows must be too weak to be visible through the photo's noise or
    blur. `energy` (h, w): local mean square of the photo's structure in its new light."""
    expected = evidence.prior / max(rules.octave.gain, 1.0) ** 2
    noise, beyond = rules.octave.noise, rules.dial.beyond
    visibility = rise(expected / (4 * noise), 0.5, 3.0)
    visibility *= rise(expected / (4 * evidence.photo), 0.4, 1.5)
    faint = rise(np.sqrt(evidence.prior / np.maximum(GAINS[1] ** 2 * energy, 1e-9)), 0.6, 1.6)
    weak = (1 - evidence.signal) + evidence.signal * faint * rise(evidence.correlation, 0.1, 0.4)
    allowed = max(rules.sharpness, rules.octave.noisy) * rules.dial.plausible
    allowed *= max(rules.explanation.faithful, beyond)
    share = np.clip(weak, 0, 1) * around.agreed * (1 - visibility * (1 - beyond)) * allowed
    return np.asarray(share * around.valid, np.float32)


def _chroma_agreement(
    toned: Float, theirs: Float, gain: Plane, contrast: Plane, evidence: Evidence
) -> tuple[Plane, Plane]:
    """Two planes (h, w) at half size: the energy (mean square) of the difference in colour between
    photo and prior, and how far their colours agree, in [0, 1]. The same luma may come with another
    colour.

    `toned`, `theirs`: the octave (H, W, 3) of the photo in its new light and of the prior, of which
    every second row and column is used. `gain`, `contrast` (h, w): the factor on each."""
    own, its = (cv2.transform(every_second(x), CHROMA) for x in (toned, theirs))
    mine, other, both = (
        window_mean(cv2.transform(one * two, SUM))
        for one, two in ((own, own), (its, its), (own, its))
    )
    mine, other, both = mine * gain**2, other * contrast**2, both * gain * contrast
    off = np.maximum(mine - 2 * both + other, 0)
    return off, 1 - rise(np.sqrt(off / (mine + 0.35 * evidence.prior + 2e-6)), 0.6, 1.2)


def _lost_colour(
    off: Plane, energy: Plane, gain: Plane, evidence: Evidence, rules: Rules
) -> Plane | np.float32:
    """How far the photo's colour was lost to JPEG compression, (h, w) in [0, 1]: as far as JPEG's
    error of colours, raised by brightening and by the factor on contrast, `gain`, explains the
    difference in colour to the prior. `off`: energy (mean square) of that difference. `energy`: of
    the photo's structure in its new light."""
    error = rules.explanation.compression
    if error == 0:
        return np.float32(0)
    raised = np.maximum(energy / np.maximum(evidence.photo, 1e-9) - 1, 0) * gain**2
    return rise(error**2 * raised / (off + 1e-8), *COLOUR_LOST) * np.float32(rules.dial.plausible)


def _amplitudes(evidence: Evidence, amount: Plane, gain: Plane, turned: Plane) -> Float:
    """Strength of the structure at each place, (h, w, 3): of what is the photo's, the photo's with
    the prior's contrast, and the prior's. `amount`: share taken from the prior, in [0, 1]. `gain`:
    factor on the photo's contrast. `turned`: the prior's weight in the mixture, in [0, 1]."""
    amplitude = np.sqrt(evidence.prior) + 0.5 * np.sqrt(evidence.photo)
    moved = np.minimum(1, np.abs(np.log(gain)) / np.float32(np.log(1.3)))
    confirmed = (1 - amount) * evidence.confirmed * np.maximum(moved, turned)
    shares = (1 - amount - confirmed, confirmed, amount)
    return np.asarray(cv2.merge([share * amplitude for share in shares]), np.float32)
