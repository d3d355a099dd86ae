"""The join: photo and prior to one picture, octave by octave, from coarse to fine.

In every octave the photo's own structure is relit: given the contrast that the prior has where both
agree. Confirmed structure is then turned towards the prior's by at most the dial's angle, so that
a stated correlation with the photo remains. Of the prior's own pixels only what the photo could
not have shown is taken (plausible), and what replaces something in front of the scene.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from verax.fusion import evidence
from verax.fusion.dial import Dial
from verax.fusion.evidence import Octave
from verax.fusion.explanation import Explanation
from verax.fusion.octave import Rules, Surroundings, join_octave
from verax.fusion.octaves import (
    Float,
    count,
    enlarge,
    gaussians,
    halved,
    luma,
    resized,
    rise,
    windowed,
)
from verax.fusion.relight import Relight
from verax.image import Image, Plane

STRIPE = 512  # rows worked on at a time: bounds memory on large photos
MARGIN = 32  # rows around a stripe that its windows look at; both are even
AGREED = (0.2, 0.6)  # correlation of coarse structure from which light is believed
FEATHER = 5  # px by which the prior's frame is drawn in


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What is joined, all on the photo's grid.

    Attributes:
        source: (H, W, 3) the photo, or a base with its structure.
        toned: (H, W, 3) the source under the light of the result.
        prior: (H, W, 3) registered.
        valid: (H, W) where the prior shows something.
        relight: the prior under the source's light.
        front: (h, w) of any size, where something in front of the scene was taken away.
    """

    source: Image
    toned: Image
    prior: Image
    valid: Plane
    relight: Relight
    front: Plane


@dataclass(frozen=True, slots=True)
class Joined:
    """The picture (H, W, 3) and amplitudes (h, w, 3) of its structure on the half grid: from the
    photo, from the photo with the prior's contrast, from the prior."""

    pixels: Image
    amplitudes: Float


@dataclass(frozen=True, slots=True)
class _State:
    """What a finer octave needs of the coarser one: picture, and on its half grid the gain of
    confirmed surroundings, how far all agreed so far, and amplitudes."""

    picture: Float
    gain: Plane
    agreed: Plane
    amplitudes: Float


@dataclass(frozen=True, slots=True)
class _Copies:
    """Gaussian pyramids."""

    source: list[Plane]
    toned: list[Float]
    prior: list[Float]
    valid: list[Plane]


def measure(source: Image, prior: Image, valid: Plane) -> list[Octave]:
    """What each octave shows as a whole, the finest first."""
    octaves, white = count(source.shape), evidence.white_noise(source)
    own, given, seen = (gaussians(x, octaves) for x in (luma(source), luma(prior), valid))
    return [
        evidence.summarise(
            _sampled(evidence.band(own, index)),
            _sampled(evidence.band(given, index)),
            _sampled(seen[index]),
            white,
            index,
        )
        for index in range(octaves)
    ]


def _sampled(plane: Plane, rows: int = 64, most: int = 2_000_000) -> Plane:
    """A plane, or evenly spread groups of its rows where it is large."""
    groups = most // (rows * plane.shape[1])
    if plane.size <= most or groups < 2:
        return plane
    tops = np.linspace(0, plane.shape[0] - rows, groups).astype(int)
    return np.concatenate([plane[top : top + rows] for top in tops])


def join(
    pictures: Pictures, octaves: Sequence[Octave], explanation: Explanation, dial: Dial
) -> Joined:
    """The restoration from its parts."""
    frame = np.ones((FEATHER, FEATHER), np.uint8)
    inner = cv2.erode(pictures.valid, frame, borderType=cv2.BORDER_REPLICATE)
    copies = _Copies(
        gaussians(luma(pictures.source), len(octaves)),
        gaussians(pictures.toned, len(octaves)),
        gaussians(pictures.prior, len(octaves)),
        gaussians(inner, len(octaves)),
    )
    light = _lowest(pictures, copies, explanation, dial)
    half = halved(copies.valid[-1]).shape
    state = _State(
        light,
        np.ones(half, np.float32),
        np.ones(half, np.float32),
        np.zeros((*half, 3), np.float32),
    )
    for index in range(len(octaves) - 1, -1, -1):
        rules = Rules(index, octaves[index], explanation, dial, pictures.relight, pictures.front)
        state = _finer(state, copies, rules)
    return Joined(np.clip(state.picture, 0, 1, out=state.picture), state.amplitudes)


def _lowest(pictures: Pictures, copies: _Copies, explanation: Explanation, dial: Dial) -> Float:
    """The lowest band: the toned source's, brought on towards the prior's where light is wrong and
    coarse structure agrees, until the dial's reach is covered."""
    toned, valid = copies.toned[-1], copies.valid[-1]
    share = max(explanation.light, dial.beyond)
    wanted = share * copies.prior[-1] + (1 - share) * pictures.relight(copies.prior[-1])
    source = gaussians(pictures.source, len(copies.toned) - 1)[-1]
    start, left = (float((np.abs(wanted - x).mean(2) * valid).sum()) for x in (source, toned))
    covered = 1 - left / max(start, 1e-6)
    more = explanation.light * float(np.clip((dial.reach - covered) / max(1 - covered, 1e-3), 0, 1))
    believed = np.maximum(more * _agreement(copies, toned.shape), dial.beyond)
    front = explanation.front * dial.front * resized(pictures.front, toned.shape)
    taken = np.maximum(believed, front) * valid
    return np.asarray(toned + taken[..., None] * (wanted - toned), np.float32)


def _agreement(copies: _Copies, shape: tuple[int, ...]) -> Plane:
    """How far the coarsest octaves of photo and prior agree; flat on flat agrees."""
    found = np.zeros(shape[:2], np.float32)
    for index in range(max(0, len(copies.source) - 3), len(copies.source) - 1):
        own, given = evidence.band(copies.source, index), luma(evidence.band(copies.prior, index))
        mine, its, both = (windowed(halved(x)) for x in (own * own, given * given, own * given))
        alike = (both + 2e-4) / (np.sqrt(mine * its) + 2e-4)
        found = np.maximum(found, resized(np.asarray(alike, np.float32), shape))
    return rise(1.3 * rise(found, *AGREED), 0, 1)


def _finer(state: _State, copies: _Copies, rules: Rules) -> _State:
    """One octave finer, by stripes."""
    fine = copies.toned[rules.index]
    height, width = fine.shape[:2]
    half = (-(-height // 2), -(-width // 2))
    planes = [resized(x, half) for x in (state.gain, state.agreed)]
    before = resized(state.amplitudes, half)
    front = resized(rules.front, half) * (rules.explanation.front * rules.dial.front)
    picture = np.empty_like(fine)
    gain, agreed = np.empty(half, np.float32), np.empty(half, np.float32)
    amplitudes = np.empty((*half, 3), np.float32)

    def stripe(rows: slice) -> None:
        top, bottom = max(0, rows.start - MARGIN), min(height, rows.stop + MARGIN)
        low = slice(top // 2, -(-bottom // 2))
        bands = [
            _rows(x, rules.index, top, bottom) for x in (copies.source, copies.toned, copies.prior)
        ]
        own, toned, given = bands
        if rules.sharpness < 1:
            whole = resized(rules.relight.gain, (height, width))[top:bottom]
            given = (rules.sharpness + (1 - rules.sharpness) * whole)[..., None] * given
        surroundings = Surroundings(
            planes[0][low],
            planes[1][low],
            front[low],
            halved(copies.valid[rules.index][top:bottom]),
        )
        result = join_octave(own, toned, given, surroundings, rules)
        coarse = _enlarged(state.picture, fine.shape, top, bottom)
        valid = copies.valid[rules.index][top:bottom, :, None]
        band = toned + valid * (result.band - toned)
        inner = slice(rows.start - top, rows.stop - top)
        picture[rows] = (coarse + band)[inner]
        put, cut = (
            slice(rows.start // 2, -(-rows.stop // 2)),
            slice(inner.start // 2, -(-inner.stop // 2)),
        )
        gain[put], agreed[put] = result.gain[cut], result.agreed[cut]
        amplitudes[put] = (before[low] + result.amplitudes)[cut]

    by_stripes(stripe, height)
    return _State(picture, gain, agreed, amplitudes)


def by_stripes(work: Callable[[slice], None], height: int) -> None:
    """Work through the rows of a picture, stripe by stripe, two at a time."""
    stripes = [slice(top, min(top + STRIPE, height)) for top in range(0, height, STRIPE)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, stripes))


def _enlarged(coarse: Float, shape: tuple[int, ...], top: int, bottom: int) -> Float:
    """Rows of a coarser copy at the size of the finer one; `top` is even."""
    part = coarse[top // 2 : -(-bottom // 2)]
    return enlarge(part, (bottom - top, shape[1]))


def _rows(copies: Sequence[Float], index: int, top: int, bottom: int) -> Float:
    """Rows of an octave."""
    fine = copies[index]
    return np.asarray(
        fine[top:bottom] - _enlarged(copies[index + 1], fine.shape, top, bottom), np.float32
    )
