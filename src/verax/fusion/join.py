"""The join: photo and prior become one picture, octave by octave, from coarse to fine.

In each octave the photo's structure is relit: it gets the prior's contrast where both agree.
Confirmed structure is then turned towards the prior's by at most the dial's angle, which keeps a
known correlation with the photo. The prior's own pixels are taken only for what the photo could not
have shown (plausible) and for what was behind something in front of the scene.
"""

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
    halved,
    luma,
    resized,
    rise,
    windowed,
)
from verax.image import Image, Plane

SAMPLED, GROUP = 2_000_000, 64  # most pixels of an octave's statistics; rows of a group
AGREED = (0.2, 0.6)  # correlation of coarse structure at which the prior's light counts, and fully
STYLE = 0.1  # difference of local light up to which it may be the generator's style
FEATHER = 5  # px by which the prior's valid area is eroded


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The pictures to join, all on the photo's grid.

    Attributes:
        source: (H, W, 3) the photo, or a base with its structure.
        toned: (H, W, 3) the source under the light of the result.
        prior: (H, W, 3) registered.
        valid: (H, W) where the prior covers the photo.
        relight: brings the prior under the source's light.
        front: (h, w) of any size, where something in front of the scene was removed.
        spared: (h, w) of any size, where only confirmed structure is taken: faces.
        supplied: (h, w) of any size, where deblurring took detail from the prior.
        lost: share of that detail in each octave, the finest first.
    """

    source: Image
    toned: Image
    prior: Image
    valid: Plane
    relight: Relight
    front: Plane
    spared: Plane
    supplied: Plane
    lost: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The picture (H, W, 3), and on the half grid the amplitudes (h, w, 3) of its structure: from
    the photo, from the photo with the prior's contrast, from the prior."""

    pixels: Image
    amplitudes: Float


@dataclass(frozen=True, slots=True)
class _State:
    """The result so far, from which the next finer octave starts: the picture, and on its half grid
    the gain of confirmed places, how far photo and prior agreed, and amplitudes."""

    picture: Float
    gain: Plane
    agreed: Plane
    amplitudes: Float


@dataclass(frozen=True, slots=True)
class _Copies:
    """Gaussian pyramids; of the source only the luma."""

    source: list[Float]
    toned: list[Float]
    prior: list[Float]
    valid: list[Plane]


def measure(source: Image, prior: Image, valid: Plane, most: Sequence[float] = ()) -> list[Octave]:
    """The statistics of each octave, the finest first.

    `most`: largest energy of coloured noise per octave.
    """
    octaves, white = count(source.shape), evidence.white_noise(source)
    own, other, visible = _pyramids((luma(source), luma(prior), valid), octaves)
    statistics = []
    for index in range(octaves):
        parts = _spread(visible[index].shape)
        mine, its = (
            np.concatenate([_part(x[index][part], x[index + 1][_low(part)]) for part in parts])
            for x in (own, other)
        )
        coverage = np.concatenate([visible[index][part] for part in parts])
        limit = most[index] if most else np.inf
        statistics.append(evidence.summarise(mine, its, coverage, white, index, most=limit))
    return statistics


def energy_removed(photo: Image, source: Image) -> tuple[float, ...]:
    """Energy per octave, the finest first, of what was removed from a photo (H, W, 3)."""
    octaves = count(photo.shape)
    copies = gaussians(np.asarray(luma(photo) - luma(source), np.float32), octaves)
    bands = (evidence.band(copies, index) for index in range(octaves))
    return tuple(float(np.square(band).mean()) for band in bands)


def _spread(shape: tuple[int, ...]) -> list[Part]:
    """One part, the whole plane, or evenly spread groups of rows of a large one."""
    columns, groups = slice(0, shape[1]), SAMPLED // (GROUP * shape[1])
    if shape[0] * shape[1] <= SAMPLED or groups < 2:
        return [(slice(0, shape[0]), columns)]
    tops = np.linspace(0, (shape[0] - GROUP) // 2, groups).astype(int) * 2
    return [(slice(int(top), int(top) + GROUP), columns) for top in tops]


def join(
    pictures: Pictures, octaves: Sequence[Octave], explanation: Explanation, dial: Dial
) -> Joined:
    """Join the pictures, from the lowest band to the finest octave. The result is written over
    `pictures.toned`, unless that is the source."""
    both = (pictures.toned, pictures.prior)
    finest = (luma(pictures.source), *both, _feathered(pictures.valid))
    copies = _Copies(*_pyramids(finest, len(octaves)))
    light = _lowest(pictures, copies, explanation, dial)
    half = halved(copies.valid[-1]).shape
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
    return Joined(np.clip(state.picture, 0, 1, out=state.picture), state.amplitudes)


def _lowest(pictures: Pictures, copies: _Copies, explanation: Explanation, dial: Dial) -> Float:
    """The lowest band: the toned source's, moved towards the prior's as far as the dial's reach
    where light is wrong and coarse structure agrees. In haze, light that differs by more than
    STYLE goes farther."""
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
    front = explanation.front * dial.front * resized(pictures.front, toned.shape)
    front *= 1 - resized(pictures.spared, toned.shape)
    amount = np.maximum(believed, front) * valid
    return np.asarray(toned + amount[..., None] * (target - toned), np.float32)


def _hazy(explanation: Explanation) -> bool:
    """Whether haze alone makes the light wrong: what it hides differs from place to place."""
    return "haze" in explanation.reasons and "darkness" not in explanation.reasons


def _agreement(copies: _Copies, shape: tuple[int, ...]) -> Plane:
    """How far the coarsest octaves of photo and prior agree; two flat places agree."""
    agreement = np.zeros(shape[:2], np.float32)
    for index in range(max(0, len(copies.source) - 3), len(copies.source) - 1):
        own, other = evidence.band(copies.source, index), luma(evidence.band(copies.prior, index))
        mine, its, both = (windowed(halved(x)) for x in (own * own, other * other, own * other))
        alike = (both + 2e-4) / (np.sqrt(mine * its) + 2e-4)
        agreement = np.maximum(agreement, resized(np.asarray(alike, np.float32), shape))
    return rise(1.3 * rise(agreement, *AGREED), 0, 1)


def _finer(state: _State, copies: _Copies, rules: Rules, pictures: Pictures) -> _State:
    """Add the next finer octave, tile by tile."""
    fine = copies.toned[rules.index]
    height, width = fine.shape[:2]
    half = (-(-height // 2), -(-width // 2))
    before_gain, before_agreed = (resized(x, half) for x in (state.gain, state.agreed))
    amplitudes = resized(state.amplitudes, half)
    front = _spread_out(pictures.front, half, rules.explanation.front * rules.dial.front)
    spared = _spread_out(pictures.spared, half)
    lost = _spread_out(pictures.supplied, half, pictures.lost[rules.index] if pictures.lost else 0)
    contrast = np.float32(rules.sharpness) + np.float32(1 - rules.sharpness) * resized(
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
            own, valid = luma(own), _feathered(valid)
        surroundings = Surroundings(
            before_gain[low], before_agreed[low], front[low], halved(valid), contrast[low],
            spared[low], lost[low],
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


def _spread_out(plane: Plane, half: tuple[int, int], share: float = 1.0) -> Plane:
    """A smooth plane times `share`, at another size; a constant one is broadcast, not copied."""
    scaled = plane * np.float32(share)
    if plane.size == 1 or share == 0:
        return np.broadcast_to(scaled.ravel()[:1], half)
    return resized(scaled, half)


def _feathered(valid: Plane) -> Plane:
    frame = np.ones((FEATHER, FEATHER), np.uint8)
    return np.asarray(cv2.erode(valid, frame, borderType=cv2.BORDER_REPLICATE), np.float32)


def _low(part: Part) -> Part:
    """The slices on the half grid of a tile with even starts."""
    rows, columns = (slice(x.start // 2, -(-x.stop // 2)) for x in part)
    return rows, columns


def _pyramids(pictures: Sequence[Float], octaves: int) -> list[list[Float]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda picture: gaussians(picture, octaves), pictures))


def _part(fine: Float, coarse: Float, room: Float | None = None) -> Float:
    """A tile of an octave: the fine copy less the enlarged coarse one."""
    below = enlarge(coarse, fine.shape, room)
    return np.asarray(cv2.subtract(fine, below, below), np.float32)
