"""Is the prior on the photo's own frame? Far less evidence will do than for a free search.

Most generators keep the frame: the prior is the photo's canvas stretched, cropped or extended, and
little else moves. Each such placement is tested as it stands. Structure freed of contrast by its
own neighbourhood survives haze, rain and darkness in several octaves; where they agree within one
small shift, that is evidence which pictures of other scenes do not give.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from verax.geometry.features import (
    Channels,
    blur,
    control_views,
    correlate,
    log_luminance,
    orientation,
    spectra,
)
from verax.geometry.frame import SAME_ASPECT
from verax.geometry.transforms import Matrix, Size, compose, scaled, scaling, shift, stretch
from verax.geometry.warp import warp
from verax.image import Plane

LONG_SIDE = 160  # px of the photo during the test
OCTAVES = (1.25, 2.5, 5.0)  # px: inner sigma of each band, the outer one is twice as wide
WEIGHTS = np.array([0.5, 1, 1, 1, 1]) / np.sqrt(4.25)  # of the bands and of the edges
NEIGHBOURHOOD = 2.0  # outer sigmas: where contrast is made relative
FAINT = 0.05  # of the mean energy; keeps flat regions flat
NEAR = 0.02  # of the long side: how far the peak may be from the frame's own place
FAR = 0.3  # of each side: how far the controls are moved about
MOST = 10.0  # no measure convinces alone
BETTER = 1.1  # strength over the upright photo's from which a turned one fits clearly better

# Evidence of 400 foreign pairings (real photos and simulated ones) follows a logistic law with
# this centre and width, or falls off faster: 2 % lie above 4.7, one above 5.7. The weakest of 42
# real pairs has 10.5, of 380 simulated ones in heavy haze, rain, snow and noise 8.8.
CENTRE = 1.5
WIDTH = 0.95


@dataclass(frozen=True, slots=True)
class Frame:
    """How well the prior fits the photo's frame.

    Attributes:
        evidence: agreement at the best placement, in deviations of what mirrored photos give.
        turned: the same of the photo mirrored, upside down, and turned by half, there.
        strengths: of all four, without the cut at MOST.
        matrix: prior px to photo px, there.
    """

    evidence: float
    turned: tuple[float, ...]
    strengths: tuple[float, ...]
    matrix: Matrix

    @property
    def p_value(self) -> float:
        """Share of foreign pairings with at least this evidence."""
        return _chance(self.evidence)

    @property
    def p_turned(self) -> float:
        """The same for the best of the turned photos."""
        return _chance(max(self.turned))

    @property
    def upright(self) -> bool:
        """Whether no turned photo fits clearly better; a symmetric scene fits both ways."""
        return max(self.strengths[1:]) <= BETTER * max(self.strengths[0], MOST)


def _chance(evidence: float) -> float:
    return float(1 / (1 + np.exp((evidence - CENTRE) / WIDTH)))


def same_frame(photo: Plane, prior: Plane) -> Frame:
    """The best of the placements that keep the frame."""
    size = photo.shape[1], photo.shape[0]
    small = scaled(size, min(1.0, LONG_SIDE / max(size)))
    rows, columns = (
        scipy.fft.next_fast_len(side + int(FAR * side), real=True) for side in small[::-1]
    )
    views = [
        spectra(control_views(measure), (rows, columns))
        for measure in measures(log_luminance(photo, small))
    ]
    frames = [
        _placed(views, prior, matrix, (size, small), (rows, columns))
        for matrix in placements(size, (prior.shape[1], prior.shape[0]))
    ]
    return max(frames, key=lambda frame: frame.evidence)


def placements(photo: Size, prior: Size) -> Iterator[Matrix]:
    """Prior px to photo px: stretched, and where the shapes differ cropped and extended."""
    yield stretch(prior, photo)
    across, down = photo[0] / prior[0], photo[1] / prior[1]
    if abs(np.log(across / down)) > SAME_ASPECT:
        for scale in (max(across, down), min(across, down)):
            beside = (photo[0] - scale * prior[0]) / 2, (photo[1] - scale * prior[1]) / 2
            yield compose(shift(*beside), scaling(scale, scale))


def measures(plane: Plane) -> list[Channels]:
    """Bands of log-luminance relative to their neighbourhood, then edges, finer and broader."""
    blurred = [blur(plane, sigma) for sigma in (*OCTAVES, 2 * OCTAVES[-1])]
    bands = [
        _relative(inner - outer, 2 * NEIGHBOURHOOD * sigma)
        for sigma, inner, outer in zip(OCTAVES, blurred[:-1], blurred[1:], strict=True)
    ]
    edges = (orientation(plane, window=w, smooth=s) for w, s in ((3.75, 0.94), (6.25, 1.25)))
    return [*bands, *edges]


def _relative(band: Plane, window: float) -> Channels:
    """A band over its local strength, zero mean, (H, W, 1)."""
    energy = blur(band * band, window)
    relative = band / np.sqrt(energy + FAINT * energy.mean() + 1e-10)
    return np.asarray(relative - relative.mean(), np.float32)[..., None]


def _placed(
    views: list[NDArray[np.complex64]],
    prior: Plane,
    matrix: Matrix,
    sizes: tuple[Size, Size],
    room: tuple[int, int],
) -> Frame:
    """The fit near one placement; `sizes` are of the photo and of its small copy."""
    small = sizes[1]
    seen, valid = warp(prior, compose(stretch(*sizes), matrix), None, small)
    border = cv2.BORDER_REPLICATE
    shown = cv2.erode(valid, np.ones((3, 3), np.uint8), borderType=border)[..., None]
    reach = max(1, round(NEAR * max(small)))
    near = np.arange(-reach, reach + 1)
    down, across = (np.arange(-int(FAR * side), int(FAR * side) + 1) for side in small[::-1])
    total, uncut = np.zeros((2, 4, len(near), len(near)))
    for weight, view, measure in zip(
        WEIGHTS, views, measures(log_luminance(seen, small)), strict=True
    ):
        scores = correlate(view, measure * shown, room)
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
