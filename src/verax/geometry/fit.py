"""The global fit between two reduced pictures, and how likely a foreign picture fits as well.

First the placements that keep the photo's frame (`same_frame`): where one of them stands out,
nothing else is searched. Otherwise the prior is searched for over shifts and scales, and the more
telling of both figures counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from verax.geometry.features import correlation, log_luminance
from verax.geometry.global_fit import (
    COARSE,
    FINE,
    LAST,
    MIDDLE,
    Level,
    View,
    bounded,
    refine,
    view,
)
from verax.geometry.same_frame import Frame, same_frame
from verax.geometry.search import LONG_SIDE, Found, hypotheses, search
from verax.geometry.transforms import Matrix, Size, scaled, stretch
from verax.geometry.verdict import ALPHA, distinctness, evidence, p_value
from verax.image import Image

PRECISE = 0.3  # score at the fine size from which the last, finest fit is worth having
WEAK = 0.5  # score at the fine size below which other starts are tried
BY_CHANCE = 0.25  # score that foreign pairs reach, however fitted
OVERFIT = 0.1  # of it, what the freedoms of the fit add where nothing agrees
TURNED = ("mirrored", "upside down", "turned by 180 degrees")
QUARTERS = {1: "turned to the right by 90 degrees", 3: "turned to the left by 90 degrees"}
CERTAIN = ALPHA / 10  # five ways of turning are tried, and none may be named by chance


@dataclass(frozen=True, slots=True)
class Fit:
    """The global fit between the reduced pictures, and how far it stands out.

    Attributes:
        matrix: prior px to photo px.
        score: correlation of the orientation channels at the fine size, at most 1.
        seen: the pictures through the matrix, at the middle level.
        p_value: how likely a foreign picture fits as well.
        upright: whether it fits better than the photo mirrored or upside down does.
        frame: the test of the placements that keep the frame.
    """

    matrix: Matrix
    score: float
    seen: View
    p_value: float
    upright: bool
    frame: Frame


def fit(photo: Image, prior: Image) -> Fit:
    """Where the prior lies on the photo, as well as one matrix can say."""
    frame = same_frame(photo, prior)
    if 2 * frame.p_value <= ALPHA and frame.upright:
        return _on_frame(photo, prior, frame)
    found = _search(photo, prior)
    matrix = _refined(photo, prior, _start(photo, prior, found))
    score, seen, fine = _scored(photo, prior, matrix)
    distinct = (distinctness(one.photo, one.in_place()[0]) for one in (seen, fine))
    overlap = float(fine.in_place()[1].mean())
    by_search = p_value(evidence(found, distinct, score, overlap))
    chance = min(1.0, 2 * min(by_search, frame.p_value))
    upright = frame.upright if frame.p_value < by_search else max(found.controls) <= found.score
    first = Fit(matrix, score, seen, chance, upright, frame)
    if chance > ALPHA or score > WEAK:
        return first
    starts = found.matrix, stretch(_size(prior), _size(photo))
    return _from_other_starts(first, photo, prior, starts)


def way_turned(photo: Image, prior: Image, frame: Frame) -> str:
    """How a prior that does not fit upright lies on the photo's frame; empty if it does not."""
    ways = [(frame.p_turned, TURNED[int(np.argmax(frame.turned))])]
    for quarters, name in QUARTERS.items():
        other = same_frame(photo, np.ascontiguousarray(np.rot90(prior, quarters)))
        ways.append((other.p_value if other.upright else 1.0, name))
    chance, name = min(ways)
    better = chance < frame.p_value or not frame.upright
    return name if chance < CERTAIN and better else ""


def without_evidence(found: Fit, photo: Image, prior: Image) -> Fit:
    """The frame's own place, unless fine structure agrees elsewhere."""
    if found.score > BY_CHANCE:
        return found
    matrix = stretch(_size(prior), _size(photo))
    score, seen, _ = _scored(photo, prior, matrix)
    return replace(found, matrix=matrix, score=score, seen=seen)


def _on_frame(photo: Image, prior: Image, frame: Frame) -> Fit:
    """The fit of a prior that keeps the frame.

    Where hardly any fine structure is left, more freedom would fit chance: the frame's own place
    is better then.
    """
    start, score = refine(view(photo, prior, frame.matrix, COARSE), COARSE)
    start = start if bounded(start, frame.matrix, _size(photo)) else frame.matrix
    matrix = _refined(photo, prior, start)
    score, seen, _ = _scored(photo, prior, matrix)
    first = Fit(matrix, score, seen, min(1.0, 2 * frame.p_value), True, frame)
    if score > WEAK:
        return first
    best = _from_other_starts(first, photo, prior, [frame.matrix])
    score, seen, _ = _scored(photo, prior, frame.matrix)
    if best.score > max(score + OVERFIT, BY_CHANCE):
        return best
    return replace(first, matrix=frame.matrix, score=score, seen=seen)


def _refined(
    photo: Image, prior: Image, start: Matrix, levels: tuple[Level, ...] = (MIDDLE, FINE, LAST)
) -> Matrix:
    """The fit from a start, finer and finer as long as the fine structure agrees."""
    matrix = start
    for level in levels:
        better, score = refine(view(photo, prior, matrix, level), level)
        matrix = better if bounded(better, matrix, _size(photo)) else matrix
        if level is FINE and score < PRECISE:
            break
    return matrix


def _scored(photo: Image, prior: Image, matrix: Matrix) -> tuple[float, View, View]:
    """Correlation at the fine size, and the views at the middle and the fine one."""
    seen, fine = (view(photo, prior, matrix, level) for level in (MIDDLE, FINE))
    warped, valid = fine.in_place()
    return correlation(fine.photo, warped, valid), seen, fine


def _from_other_starts(first: Fit, photo: Image, prior: Image, starts: Iterable[Matrix]) -> Fit:
    """A weak fit, or a better one from a start that the coarsest level has not moved.

    Little agrees in such pairs, and the coarsest level may follow what does not. The verdict is
    left as it is: it was calibrated on the first fit.
    """
    best = first
    for start in starts:
        matrix = _refined(photo, prior, start, (MIDDLE, FINE))
        score, seen, _ = _scored(photo, prior, matrix)
        if score > best.score:
            best = replace(best, matrix=matrix, score=score, seen=seen)
    return best


def _start(photo: Image, prior: Image, found: Found) -> Matrix:
    """The better fit at the coarsest level, from what was found and from a plain resize.

    Most generators keep the frame; among weak scores that is the likelier place to start from.
    """
    plain, fits = stretch(_size(prior), _size(photo)), []
    for start in (found.matrix, plain):
        matrix, score = refine(view(photo, prior, start, COARSE), COARSE)
        if bounded(matrix, start, _size(photo)):
            fits.append((score, matrix))
    return max(fits, key=lambda pair: pair[0])[1] if fits else found.matrix


def _search(photo: Image, prior: Image) -> Found:
    sizes = _size(photo), _size(prior)
    small, double = (
        log_luminance(image, scaled(_size(image), side / max(_size(image))))
        for image, side in ((photo, LONG_SIDE), (prior, 2 * LONG_SIDE))
    )
    return max(
        (search(small, double, hypothesis, sizes) for hypothesis in hypotheses(*sizes)),
        key=lambda found: found.score,
    )


def _size(image: Image) -> Size:
    return image.shape[1], image.shape[0]
