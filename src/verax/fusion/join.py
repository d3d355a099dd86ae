"""Joins photo and prior into one picture, octave by octave (pyramid levels), from coarse to fine.

In each octave the photo's structure gets the prior's contrast where both agree. Structure that the
prior confirms is then mixed with the prior's, so that its correlation with that rises. The result's
correlation with the photo's stays at least the cosine of an angle that the fidelity sets. The
prior's own pixels are used only for plausible structure, which the photo could not have shown, and
for what was hidden by something in front of the scene."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from verax.fusion import evidence, planes
from verax.fusion.dial import Dial
from verax.fusion.evidence import Octave
from verax.fusion.explanation import Explanation
from verax.fusion.matching import Relight
from verax.fusion.octave import Rules, Surroundings, join_octave
from verax.fusion.planes import (
    Float,
    Part,
    count,
    enlarge,
    gaussians,
    halve,
    luma,
    resize,
    rise,
    window_mean,
)
from verax.image import Image, Plane

SAMPLED, GROUP = 2_000_000, 64  # most pixels used for the statistics of an octave; rows of a group
AGREED = (0.2, 0.6)  # correlation of coarse structure: the prior's light has weight 0; and 1
STYLE = 0.1  # difference of local light up to which it may be the generator's style
FEATHER = 5  # px by which the prior's valid area is eroded


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The pictures to join, all on the photo's grid. Masks are in [0, 1].

    Attributes:
        source: (H, W, 3) the photo, or a base with its structure.
        toned: (H, W, 3) the source in the light that the result will have.
        prior: (H, W, 3) registered.
        valid: (H, W) 1 where the prior covers the photo, else 0.
        relight: changes the prior's light to the source's.
        front: (h, w) of any size, 1 where something in front of the scene was removed.
        spared: (h, w) of any size, 1 in faces: only structure in both photo and prior is taken.
        supplied: (h, w) of any size, how much of what a blur destroyed was taken from the prior.
        destroyed: for each octave, the finest first, the share that the blur had destroyed, which
            deblurring took from the prior where `supplied` is 1; () without deblurring."""

    source: Image
    toned: Image
    prior: Image
    valid: Plane
    relight: Relight
    front: Plane
    spared: Plane
    supplied: Plane
    destroyed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class JoinedPicture:
    """The joined picture (H, W, 3). `amplitudes` (h, w, 3), at half its resolution, says for each
    place how strong the structure is that comes from the photo, from the photo with the prior's
    contrast, and from the prior."""

    pixels: Image
    amplitudes: Float


@dataclass(frozen=True, slots=True)
class _State:
    """The result after some octaves (pyramid levels), from which the next finer one is made. Planes
    (h, w) have half the resolution of the picture.

    Attributes:
        picture: (H, W, 3) the result up to this octave.
        gain: (h, w) factor that moved the photo's contrast to the prior's where both show the same,
            averaged around each place.
        agreed: (h, w) how far photo and prior agreed in the octaves so far, in [0, 1].
        amplitudes: (h, w, 3) strength of the structure so far from the photo, from the photo with
            the prior's contrast, and from the prior."""

    picture: Float
    gain: Plane
    agreed: Plane
    amplitudes: Float


@dataclass(frozen=True, slots=True)
class _Copies:
    """The Gaussian pyramid of each picture to join: a list, the full size first, each next copy
    half the size. In that of the source, the reduced copies hold only luma."""

    source: list[Float]
    toned: list[Float]
    prior: list[Float]
    valid: list[Plane]


def measure(source: Image, prior: Image, valid: Plane, most: Sequence[float] = ()) -> list[Octave]:
    """The statistics of each octave (pyramid level) of the lumas of source (the base) and
    registered prior, the finest first. `valid`: (H, W) 1 where the prior covers the source. `most`:
    for each octave, the largest energy (mean square) that correlated noise can have; () for no
    limit."""
    octaves, white = count(source.shape), evidence.white_noise(source)
    own, other, visible = _pyramids((luma(source), luma(prior), valid), octaves)
    statistics = []
    for index in range(octaves):
        parts = _sample_parts(visible[index].shape)
        mine, its = (
            np.concatenate([_part(x[index][part], x[index + 1][_low(part)]) for part in parts])
            for x in (own, other)
        )
        coverage = np.concatenate([visible[index][part] for part in parts])
        limit = most[index] if most else np.inf
        statistics.append(evidence.summarise(mine, its, coverage, white, index, most=limit))
    return statistics


def removed_energy(photo: Image, source: Image) -> tuple[float, ...]:
    """For each octave (pyramid level), the finest first, the mean square of what the base
    (`source`) removed from the photo's luma. Both pictures are (H, W, 3)."""
    octaves = count(photo.shape)
    copies = gaussians(np.asarray(luma(photo) - luma(source), np.float32), octaves)
    bands = (evidence.band(copies, index) for index in range(octaves))
    return tuple(float(np.square(band).mean()) for band in bands)


def _sample_parts(shape: tuple[int, ...]) -> list[Part]:
    """The (rows, columns) of a plane of this shape (H, W) at which statistics are taken: one pair
    for all of it or, above two million pixels, one for each of some evenly spread groups of 64
    rows."""
    columns, groups = slice(0, shape[1]), SAMPLED // (GROUP * shape[1])
    if shape[0] * shape[1] <= SAMPLED or groups < 2:
        return [(slice(0, shape[0]), columns)]
    tops = np.linspace(0, (shape[0] - GROUP) // 2, groups).astype(int) * 2
    return [(slice(int(top), int(top) + GROUP), columns) for top in tops]


def join(
    pictures: Pictures, octaves: Sequence[Octave], explanation: Explanation, dial: Dial
) -> JoinedPicture:
    """Join photo and prior, from the lowest frequencies to the finest octave (pyramid level).
    `octaves`: the statistics of each octave, the finest first. `explanation`: the faults of the
    photo that justify changes. `dial`: the fidelity as thresholds, which limit what is taken from
    the prior. To save memory, the result is written over `pictures.toned`, unless that is the array
    `pictures.source`."""
    both = (pictures.toned, pictures.prior)
    finest = (luma(pictures.source), *both, _feather(pictures.valid))
    copies = _Copies(*_pyramids(finest, len(octaves)))
    light = _lowest(pictures, copies, explanation, dial)
    half = halve(copies.valid[-1]).shape
    # at full size, luma and valid are computed again tile by tile, to save memory
    copies.source[0], copies.valid[0] = pictures.source, pictures.valid
    del finest
    state = _State(
        light,
        np.ones(half, np.float32),
        np.ones(half, np.float32),
        np.zeros((*half, 3), np.float32),
    )
    for index in range(len(octaves) - 1, -1, -1):
        rules = Rules(index, octaves[index], explanation, dial)
        state = _finer(state, copies, rules, pictures)
    return JoinedPicture(np.clip(state.picture, 0, 1, out=state.picture), state.amplitudes)


def _lowest(pictures: Pictures, copies: _Copies, explanation: Explanation, dial: Dial) -> Float:
    """The lowest frequencies of the result, (h, w, 3), at the size of the smallest pyramid level.

    They are a mixture of those of the photo, whose light is corrected already, and of the prior's.
    The prior's weight in a pixel rises with three things: how far the correction stays behind the
    share `dial.reach`, haze, and whether something in front of the scene was removed there."""
    toned, valid = copies.toned[-1], copies.valid[-1]
    share = max(explanation.light, float(explanation.buried), dial.beyond)
    target = share * copies.prior[-1] + (1 - share) * pictures.relight(copies.prior[-1])
    source = gaussians(pictures.source, len(copies.toned) - 1)[-1]
    start, left = (float((np.abs(target - x).mean(2) * valid).sum()) for x in (source, toned))
    covered = 1 - left / max(start, 1e-6)
    more = explanation.light * float(np.clip((dial.reach - covered) / max(1 - covered, 1e-3), 0, 1))
    if _hazy(explanation):
        far = np.abs(target - toned).mean(2)
        more = np.maximum(more, dial.plausible * np.clip(1 - STYLE / np.maximum(far, STYLE), 0, 1))
    believed = np.maximum(more * _agreement(copies, toned.shape), dial.beyond)
    front = explanation.front * dial.front * resize(pictures.front, toned.shape)
    front *= 1 - resize(pictures.spared, toned.shape)
    amount = np.maximum(believed, front) * valid
    return np.asarray(toned + amount[..., None] * (target - toned), np.float32)


def _hazy(explanation: Explanation) -> bool:
    """Whether haze, and not darkness, makes the light wrong. What haze hides differs from place to
    place."""
    return "haze" in explanation.reasons and "darkness" not in explanation.reasons


def _agreement(copies: _Copies, shape: tuple[int, ...]) -> Plane:
    """How far photo and prior agree at each place, (h, w) in [0, 1], in the two coarsest octaves
    (pyramid levels); 1 where both are flat. `copies`: their pyramids. `shape`: of the result."""
    agreement = np.zeros(shape[:2], np.float32)
    for index in range(max(0, len(copies.source) - 3), len(copies.source) - 1):
        own, other = evidence.band(copies.source, index), luma(evidence.band(copies.prior, index))
        mine, its, both = (window_mean(halve(x)) for x in (own * own, other * other, own * other))
        alike = (both + 2e-4) / (np.sqrt(mine * its) + 2e-4)
        agreement = np.maximum(agreement, resize(np.asarray(alike, np.float32), shape))
    return rise(1.3 * rise(agreement, *AGREED), 0, 1)


def _finer(state: _State, copies: _Copies, rules: Rules, pictures: Pictures) -> _State:
    """The result after one more octave (pyramid level), which is computed tile by tile. `state`:
    the result after the coarser octaves. `copies`: pyramids of `pictures`. `rules`: this octave's
    settings."""
    fine = copies.toned[rules.index]
    height, width = fine.shape[:2]
    half = (-(-height // 2), -(-width // 2))
    before_gain, before_agreed = (resize(x, half) for x in (state.gain, state.agreed))
    amplitudes = resize(state.amplitudes, half)
    front = _enlarge_plane(pictures.front, half, rules.explanation.front * rules.dial.front)
    spared = _enlarge_plane(pictures.spared, half)
    destroyed = pictures.destroyed[rules.index] if pictures.destroyed else 0
    supplied = _enlarge_plane(pictures.supplied, half, destroyed)
    contrast = np.float32(rules.sharpness) + np.float32(1 - rules.sharpness) * resize(
        pictures.relight.gain, half
    )
    rest = half if rules.index else (0, 0)  # no octave follows the finest
    gain, agreed = np.empty(rest, np.float32), np.empty(rest, np.float32)

    def tile(part: Part, room: list[Float]) -> Float:
        around = planes.around(part, fine.shape)
        low = _low(around)
        shape = fine[around].shape
        toned, other, spare = (x[: math.prod(shape)].reshape(shape) for x in room)
        for copy, band in ((copies.toned, toned), (copies.prior, other)):
            _part(copy[rules.index][around], copy[rules.index + 1][low], band)
        own, valid = (x[rules.index][around] for x in (copies.source, copies.valid))
        if rules.index == 0:
            own, valid = luma(own), _feather(valid)
        surroundings = Surroundings(
            before_gain[low], before_agreed[low], front[low], halve(valid), contrast[low],
            spared[low], supplied[low],
        )  # fmt: skip
        own = _part(own, copies.source[rules.index + 1][low])
        result = join_octave(own, (toned, other, spare), surroundings, rules)
        coarse = enlarge(state.picture[low], shape, spare)
        inner = planes.within(part, around)
        put, cut = _low(part), _low(inner)
        if rules.index:
            gain[put], agreed[put] = result.gain[cut], result.agreed[cut]
        amplitudes[put] += result.amplitudes[cut]
        return np.asarray(cv2.add(coarse[inner], result.band[inner]), np.float32)

    # nothing needs the toned picture after its finest octave
    spent = rules.index == 0 and fine is not pictures.source
    picture = fine if spent else np.empty_like(fine)
    planes.by_tiles(tile, fine.shape, picture, rooms=3)
    return _State(picture, gain, agreed, amplitudes)


def _enlarge_plane(plane: Plane, half: tuple[int, int], share: float = 1.0) -> Plane:
    """A smooth plane, resized to `half` (h, w) and multiplied by `share`. A constant plane is
    broadcast instead, which takes no memory."""
    scaled = plane * np.float32(share)
    if plane.size == 1 or share == 0:
        return np.broadcast_to(scaled.ravel()[:1], half)
    return resize(scaled, half)


def _feather(valid: Plane) -> Plane:
    frame = np.ones((FEATHER, FEATHER), np.uint8)
    return np.asarray(cv2.erode(valid, frame, borderType=cv2.BORDER_REPLICATE), np.float32)


def _low(part: Part) -> Part:
    """The (rows, columns) of a plane of half the resolution that show the same as the tile `part`,
    which must start at even rows and columns."""
    rows, columns = (slice(x.start // 2, -(-x.stop // 2)) for x in part)
    return rows, columns


def _pyramids(pictures: Sequence[Float], octaves: int) -> list[list[Float]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda picture: gaussians(picture, octaves), pictures))


def _part(fine: Float, coarse: Float, room: Float | None = None) -> Float:
    """A tile of an octave of the Laplacian pyramid: `fine`, this tile of a level of the Gaussian
    pyramid, minus the enlarged `coarse`, the same place in the next coarser level. `room`: a buffer
    for the result, or None."""
    below = enlarge(coarse, fine.shape, room)
    return np.asarray(cv2.subtract(fine, below, below), np.float32)
