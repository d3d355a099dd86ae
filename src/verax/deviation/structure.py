"""How much of the prior the photo still describes, octave by octave.

Correlation and local-linear fit in small windows do not see a change of tone: only structure that
is not a local linear function of the photo counts. What alignment left over counts as little.
"""

from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.pair import FLAT, Map, Pair, broad, clipped, local_correlation, noise_level
from verax.deviation.record import Entry, unknown
from verax.image.pixels import blur

OCTAVES_PX = (2, 4, 8, 16)  # sigma of the finer blur of each band, working px
DESCRIBED = 0.5  # correlation above which the prior still describes the photo
LINEAR_WINDOW_PX = 3.0
FAINT_BAND = 0.01  # deviation of luma in a band below which structure hardly shows
MIN_SEEN = 0.05
LEFT_OVER_PX = 0.7  # misplacement that alignment may leave; the finest octave would feel it
AROUND_CLIPPED_PX = 2  # how far the finest band carries the mark of a clipped pixel


def band_entries(pair: Pair, exclude: NDArray[np.bool_]) -> dict[str, Entry]:
    """Loss of correlation per octave, and the finest scale at which the prior still holds.

    Pixels in `exclude` are left to other entries, and so are clipped ones, where light hides the
    structure. Finer than 2 px nothing is compared: there every generator's resampling leaves its
    mark.
    """
    names = {octave: f"coherence_loss_{octave}px" for octave in OCTAVES_PX}
    side = 2 * AROUND_CLIPPED_PX + 1
    hidden = (clipped(pair.photo) | clipped(pair.prior)).astype(np.uint8)
    hidden = cv2.dilate(hidden, np.ones((side, side), np.uint8))
    seen = (pair.seen & ~exclude & (hidden == 0)).astype(np.float32)
    if seen.mean() < MIN_SEEN:
        note = "too little of the photo is shown by the prior and not clipped"
        lost = {name: unknown("share", note) for name in names.values()}
        return {
            **lost,
            "finest_scale_px": unknown("px", note),
            "structure_residual": unknown("share", note),
        }
    photo, prior = pair.luma
    floor = noise_level(photo)
    coherences = {o: _coherence(photo, prior, seen, o, floor) for o in OCTAVES_PX}
    entries = {names[o]: c for o, c in coherences.items()}
    described = [
        o for o in OCTAVES_PX if (v := coherences[o].value) is not None and 1 - v >= DESCRIBED
    ]
    entries["finest_scale_px"] = (
        Entry(min(described) / pair.scale, "px")
        if described
        else unknown("px", "the prior describes the photo at no scale")
    )
    entries["structure_residual"] = _linear_residual(photo, prior, seen)
    return entries


def _coherence(photo: Map, prior: Map, seen: Map, octave: int, noise: float) -> Entry:
    """1 - correlation in one band, over the area that has structure; noise sets the doubt."""
    first, second = (blur(p, octave / 2) - blur(p, octave) for p in (photo, prior))
    agreed, var_a, var_b = local_correlation(first, second, seen, 4.0 * octave)
    if octave == OCTAVES_PX[0]:
        for dx, dy in product((-LEFT_OVER_PX, 0, LEFT_OVER_PX), repeat=2):
            agreed = np.maximum(agreed, _displaced(first, second, seen, (dx, dy), 4.0 * octave))
    expected = noise * 0.28 / max(octave / 2, 0.5)  # noise left in this band
    power = np.sqrt(var_a * var_b)
    weight = seen * power / (power + FAINT_BAND**2 + 9 * expected**2)
    total = float(weight.sum())
    if total <= 0:
        return unknown("share", "no structure at this scale")
    value = 1 - float((agreed * weight).sum()) / total
    signal = float((np.sqrt(var_a) * seen).sum() / seen.sum())
    confidence = signal**2 / (signal**2 + expected**2 + 1e-12)
    if confidence < 0.2:
        return unknown("share", "the photo's noise hides this scale")
    return Entry(max(0.0, value), "share", confidence=confidence)


def _displaced(one: Map, other: Map, seen: Map, step: tuple[float, float], window: float) -> Map:
    """Local correlation of two bands, the second displaced by (dx, dy)."""
    matrix = np.array([[1, 0, step[0]], [0, 1, step[1]]], np.float32)
    size = other.shape[1], other.shape[0]
    moved = cv2.warpAffine(
        other, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    both, square_a, square_b = (
        broad(a * b * seen, window) for a, b in ((one, moved), (one, one), (moved, moved))
    )
    return np.asarray(both / np.maximum(np.sqrt(square_a * square_b), FLAT), np.float32)


def _linear_residual(photo: Map, prior: Map, seen: Map) -> Entry:
    """Share of the prior's local variance that is no linear function of the photo."""
    first, second = blur(photo, 1.0), blur(prior, 1.0)
    agreed, _, var_b = local_correlation(first, second, seen, LINEAR_WINDOW_PX)
    weight = var_b * seen
    total = float(weight.sum())
    if total <= 0:
        return unknown("share", "the prior is flat")
    return Entry(max(0.0, 1 - float((agreed**2 * weight).sum()) / total), "share")
