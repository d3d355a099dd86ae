"""Search for the rough placement of a prior on a photo, with evidence that it is not by chance.

Most generators keep the framing: the prior shows the photo's canvas stretched, cropped or extended,
and little else moves. `same_frame` tests these few placements, which needs less evidence than a
free search. It compares photo and prior in several frequency bands with normalised local contrast,
because this structure survives haze, rain and darkness.

`search` is a free search over all scales and shifts within limits, on small copies. For each pair
of scales along x and y, one FFT correlation of orientation channels scores all shifts at once.

The mirrored and flipped photo, as controls, go through the same tests. Their scores are what a
picture of another scene reaches by chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.geometry import Matrix, Size, compose, scale_size, scaling, shift, stretch, warp
from verax.geometry.canvas import SAME_ASPECT
from verax.geometry.features import Channels, log_luminance, orientation
from verax.image import Plane
from verax.image.pixels import blur, resize

MIRRORED = np.array([1, -1, 1, -1], np.float32)  # factors on the channels of a mirrored picture

FRAME_SIDE = 160  # px: long side of the photo in `same_frame`
OCTAVES = (1.25, 2.5, 5.0)  # px: sigma of the finer blur of each band; the coarser is twice as wide
WEIGHTS = np.array([0.5, 1, 1, 1, 1]) / np.sqrt(4.25)  # of the results of `measures`
NEIGHBOURHOOD = 2.0  # sigma of contrast normalisation, in units of the band's coarser sigma
FAINT = 0.05  # fraction of the mean energy added before normalising, so that flat areas stay flat
NEAR = 0.02  # largest shift from a tested placement, as a fraction of the long side
FAR = 0.3  # fraction of each side by which the controls are shifted
MOST = 10.0  # limit of each measure, so that no single measure decides
BETTER = 1.1  # strength of a turned photo, relative to the upright one, that is clearly better

# The evidence of 400 pairs of different scenes (real and simulated) has a logistic distribution
# with this centre and width, or falls off faster: 2 % lie above 4.7, one above 5.7. The weakest of
# 42 real pairs of one scene has 10.5, of 380 simulated in heavy haze, rain, snow and noise 8.8.
CENTRE = 1.5
WIDTH = 0.95

LONG_SIDE = 96  # px: long side of the photo in the free search
STEPS = 1.0 + np.linspace(-0.24, 0.24, 9)  # scales along each axis, relative to a hypothesis
REACH = 0.16  # largest distance between the centres, as a fraction of the photo's side
FAR_ASPECT = 1.4  # log ratio of aspect ratios above which a crop shows too little to be found


def control_views(channels: Channels) -> NDArray[np.float32]:
    """The channels (H, W, C) as they are, mirrored, upside down, and rotated by 180 degrees.

    Returns (4, C, H, W). C is 4 for orientation channels, of which mirroring negates two, else 1.
    """
    turns = MIRRORED if channels.shape[2] == len(MIRRORED) else np.ones(1, np.float32)
    views = (channels, channels[:, ::-1] * turns, channels[::-1] * turns, channels[::-1, ::-1])
    return np.moveaxis(np.stack(views), -1, 1)


def spectra(planes: NDArray[np.float32], room: tuple[int, int]) -> NDArray[np.complex64]:
    """Fourier transforms (..., C, rows, columns // 2 + 1) of channels (..., C, H, W), scaled to
    unit energy and zero-padded to the size `room` (rows, columns)."""
    energy = np.sqrt((planes * planes).sum((-3, -2, -1), keepdims=True)) + 1e-9
    return np.asarray(np.fft.rfft2(planes / energy, room), np.complex64)


def correlate(
    views: NDArray[np.complex64], other: Channels, room: tuple[int, int]
) -> NDArray[np.float32]:
    """Correlate the channels `other` (H, W, C) with each of V views at all cyclic shifts.

    `views` are Fourier transforms, zero-padded to `room` (rows, columns). Element [v, y, x] of the
    result is the correlation, in [-1, 1], of view v with `other` shifted by (x, y) px.
    """
    conjugate = spectra(np.moveaxis(other, -1, 0), room).conj()
    return np.asarray(np.fft.irfft2((views * conjugate).sum(1), room), np.float32)


@dataclass(frozen=True, slots=True)
class Frame:
    """How well the prior fits the photo at the best placement that keeps the framing.

    Attributes:
        evidence: agreement in five image features, as a multiple of the agreement that is reached
            by chance. A feature that reaches more than 10 times counts as 10.
        turned: the same for the photo mirrored, upside down, and rotated by 180 degrees.
        strengths: the same without this limit: for the photo upright, then for these three.
        matrix: prior px to photo px.
    """

    evidence: float
    turned: tuple[float, ...]
    strengths: tuple[float, ...]
    matrix: Matrix

    @property
    def p_value(self) -> float:
        """The probability that a pair of different scenes has at least this evidence."""
        return _chance(self.evidence)

    @property
    def p_turned(self) -> float:
        """The probability that a pair of different scenes fits as well as the prior fits the photo
        mirrored, upside down or rotated by 180 degrees, whichever is best."""
        return _chance(max(self.turned))

    @property
    def upright(self) -> bool:
        """Whether the prior fits no mirrored or rotated photo clearly better than the photo."""
        return max(self.strengths[1:]) <= BETTER * max(self.strengths[0], MOST)


def _chance(evidence: float) -> float:
    return float(1 / (1 + np.exp((evidence - CENTRE) / WIDTH)))


def same_frame(photo: Plane, prior: Plane) -> Frame:
    """Find which placement that keeps the framing fits best; both are luminance planes (H, W)."""
    size = photo.shape[1], photo.shape[0]
    small = scale_size(size, min(1.0, FRAME_SIDE / max(size)))
    rows, columns = (cv2.getOptimalDFTSize(side + int(FAR * side)) for side in small[::-1])
    features = measures(log_luminance(photo, small))
    views = [spectra(control_views(measure), (rows, columns)) for measure in features]
    frames = [
        _test_placement(views, prior, matrix, (size, small), (rows, columns))
        for matrix in placements(size, (prior.shape[1], prior.shape[0]))
    ]
    return max(frames, key=lambda frame: frame.evidence)


def placements(photo: Size, prior: Size) -> Iterator[Matrix]:
    """Matrices (prior px to photo px) that keep the framing: a plain resize, and if the aspect
    ratios differ, a centred extension and a centred crop. Sizes are (width, height)."""
    yield stretch(prior, photo)
    across, down = photo[0] / prior[0], photo[1] / prior[1]
    if abs(np.log(across / down)) > SAME_ASPECT:
        for scale in (max(across, down), min(across, down)):
            beside = (photo[0] - scale * prior[0]) / 2, (photo[1] - scale * prior[1]) / 2
            yield compose(shift(*beside), scaling(scale, scale))


def measures(plane: Plane) -> list[Channels]:
    """Describe a log-luminance plane by channels that survive haze, rain and darkness: three bands
    of normalised contrast (H, W, 1), then edge orientation at two scales (H, W, 4)."""
    blurred = [blur(plane, sigma) for sigma in (*OCTAVES, 2 * OCTAVES[-1])]
    bands = [
        _relative(inner - outer, 2 * NEIGHBOURHOOD * sigma)
        for sigma, inner, outer in zip(OCTAVES, blurred[:-1], blurred[1:], strict=True)
    ]
    edges = (orientation(plane, window=w, smooth=s) for w, s in ((3.75, 0.94), (6.25, 1.25)))
    return [*bands, *edges]


def _relative(band: Plane, window: float) -> Channels:
    """Divide a frequency band by its local strength in windows of sigma `window` px: (H, W, 1)."""
    energy = blur(band * band, window)
    relative = band / np.sqrt(energy + FAINT * energy.mean() + 1e-10)
    return np.asarray(relative - relative.mean(), np.float32)[..., None]


def _test_placement(
    views: list[NDArray[np.complex64]],
    prior: Plane,
    matrix: Matrix,
    sizes: tuple[Size, Size],
    room: tuple[int, int],
) -> Frame:
    """Test the placement `matrix` (prior px to photo px) and small shifts around it.

    `views` has for each feature of `measures` the Fourier transforms, padded to `room` (rows,
    columns), of a small copy of the photo: upright, mirrored, upside down, rotated by 180 degrees.
    `prior` is a luminance plane; `sizes` are the (width, height) of the photo and of the copy.
    """
    small = sizes[1]
    warped, valid = warp(prior, compose(stretch(*sizes), matrix), None, small)
    share = cv2.erode(valid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)[..., None]
    reach = max(1, round(NEAR * max(small)))
    near = np.arange(-reach, reach + 1)
    down, across = (np.arange(-int(FAR * side), int(FAR * side) + 1) for side in small[::-1])
    total, uncut = np.zeros((2, 4, len(near), len(near)))
    features = measures(log_luminance(warped, small))
    for weight, view, measure in zip(WEIGHTS, views, features, strict=True):
        scores = correlate(view, measure * share, room)
        typical = float(np.sqrt(np.mean(scores[1:, down][:, :, across] ** 2))) + 1e-9
        surface = scores[:, near][:, :, near] / typical
        total += weight * np.clip(surface, -1, MOST)
        uncut += weight * surface
    upright, *turned = (float(value) for value in total.reshape(4, -1).max(1))
    strengths = tuple(float(value) for value in uncut.reshape(4, -1).max(1))
    row, column = np.unravel_index(total[0].argmax(), total[0].shape)
    move = shift(float(near[column]), float(near[row]))
    there = compose(stretch(small, sizes[0]), move, stretch(*sizes), matrix)
    return Frame(upright, tuple(turned), strengths, there)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A possible change of size and proportions; the search varies scale and shift around it.

    Attributes:
        scale: (x, y), photo px per prior px.
        reach: (x, y), largest distance of the prior's centre from the photo's, as fractions of its
            sides.
    """

    scale: tuple[float, float]
    reach: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placement:
    """The best placement of a free search.

    Attributes:
        score: correlation at this placement, 1 for identical pictures.
        matrix: prior px to photo px.
        controls: best scores of the photo mirrored, upside down, and rotated by 180 degrees.
        spread: root mean square of the controls' scores over all placements tried.
    """

    score: float
    matrix: Matrix
    controls: tuple[float, float, float]
    spread: float


def hypotheses(photo: Size, prior: Size) -> list[Hypothesis]:
    """The hypotheses for a photo and a prior of these sizes (width, height).

    A stretch; if the aspect ratios differ by a factor of 1.03 to 4, also a crop and an extension.
    """
    x, y = photo[0] / prior[0], photo[1] / prior[1]
    ways = [Hypothesis((x, y), (REACH, REACH))]
    if SAME_ASPECT < abs(np.log(x / y)) < FAR_ASPECT:
        for scale in (min(x, y), max(x, y)):  # cut to the new shape, or extended to it
            slack = (abs(1 - scale / x) / 2 + REACH, abs(1 - scale / y) / 2 + REACH)
            ways.append(Hypothesis((scale, scale), slack))
    return ways


def search(
    photo: Plane, prior: Plane, hypothesis: Hypothesis, sizes: tuple[Size, Size]
) -> Placement:
    """Find the best placement of the prior on the photo around one hypothesis.

    Args:
        photo, prior: log-luminance planes, reduced to a long side of 96 px (photo) and 192 (prior).
        sizes: (width, height) of the full photo and prior, to which hypothesis and result refer.
    """
    height, width = photo.shape
    plain = (
        hypothesis.scale[0] * sizes[1][0] * width / sizes[0][0],
        hypothesis.scale[1] * sizes[1][1] * height / sizes[0][1],
    )  # size of the prior on the small photo before any further scale
    reach = (hypothesis.reach[0] * width, hypothesis.reach[1] * height)
    room = _room((width, height), plain, reach)
    views = spectra(control_views(orientation(photo)), room)
    best, score = ((width, height), shift(0, 0)), -np.inf
    tops, squares = np.full(4, -np.inf), []
    for x, y in product(STEPS, STEPS):
        size = max(8, round(plain[0] * x)), max(8, round(plain[1] * y))
        rows, columns = (
            _shifts(inner, outer, far)
            for inner, outer, far in zip(size[::-1], photo.shape, reach[::-1], strict=True)
        )
        scores = correlate(views, orientation(resize(prior, size)), room)[:, rows][:, :, columns]
        peaks = scores.reshape(4, -1).max(1)
        tops = np.maximum(tops, peaks)
        squares.append(float(np.mean(scores[1:] ** 2)))
        if peaks[0] > score:
            score = float(peaks[0])
            row, column = np.unravel_index(scores[0].argmax(), scores[0].shape)
            best = size, shift(float(columns[column]), float(rows[row]))
    matrix = compose(stretch((width, height), sizes[0]), best[1], stretch(sizes[1], best[0]))
    controls = (float(tops[1]), float(tops[2]), float(tops[3]))
    return Placement(score, matrix, controls, float(np.sqrt(np.mean(squares))))


def _room(photo: Size, prior: tuple[float, float], reach: tuple[float, float]) -> tuple[int, int]:
    """(rows, columns) of a zero-padded Fourier transform in which no shift wraps around.

    `photo` and `prior` are (width, height) in px, `prior` before it is enlarged by at most 24 %;
    `reach` is the largest shift along x and y, px.
    """
    rows, columns = (
        cv2.getOptimalDFTSize(int(max(photo[i], prior[i] * STEPS[-1]) + reach[i]) + 2)
        for i in (1, 0)
    )
    return rows, columns


def _shifts(prior: int, photo: int, reach: float) -> NDArray[np.intp]:
    """Places of the prior's first pixel along one axis, in px of the photo, for which the centres
    are at most `reach` px apart; `prior`, `photo`: lengths of the two pictures along this axis."""
    centre = (photo - prior) / 2
    return np.arange(np.ceil(centre - reach), np.floor(centre + reach) + 1).astype(np.intp)
