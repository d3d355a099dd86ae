"""The global fit of a prior to a photo, both reduced, and its significance.

The p-value is the probability that a picture of another scene fits as well. First, placements that
keep the photo's framing are tested (`same_frame`); if one is significant, it is refined. Otherwise
shifts and scales are searched (`search`), and twice the smaller of the two p-values counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from verax.geometry import Matrix, scale_size
from verax.geometry.features import Channels, Level, View, Views, correlation, log_luminance
from verax.geometry.global_fit import COARSE, FINE, LAST, MIDDLE, is_plausible, refine
from verax.geometry.search import (
    LONG_SIDE,
    Frame,
    Placement,
    control_views,
    correlate,
    hypotheses,
    same_frame,
    search,
    spectra,
)
from verax.image import Plane

LEAST = 0.3  # smaller ratios count as this value in `evidence`
SHIFTS = 0.3  # fraction of each side by which the controls are shifted

# The evidence of 245 pairs of different scenes (real and simulated) has a logistic distribution
# with this centre and width: 10 % lie above 4.4, 2 % above 5.4. Of 38 pairs of one scene the
# weakest, a photo almost hidden by rain, has 6.9; half of them have more than 12.
CENTRE = 2.85
WIDTH = 0.66
SCORE_WEIGHT = 5.0
ALPHA = 0.005  # largest p-value of an accepted placement
DOUBT = 0.05  # p-value above which the prior shows another scene; from ALPHA to here: undecided

PRECISE = 0.3  # score at the level FINE from which the level LAST is fitted, too
WEAK = 0.5  # score at the level FINE below which other starting points are tried
BY_CHANCE = 0.25  # score that pairs of different scenes reach by chance after a fit
OVERFIT = 0.1  # gain of the score by chance alone when a fit is free to move
TURNED = ("mirrored", "upside down", "rotated by 180 degrees")
QUARTERS = {1: "rotated by 90 degrees to the right", 3: "rotated by 90 degrees to the left"}
CERTAIN = ALPHA / 10  # largest p-value of a turned prior; stricter, since five turns are tried


@dataclass(frozen=True, slots=True)
class Fit:
    """The global fit of a reduced prior to a reduced photo, and its significance.

    Attributes:
        matrix: (3, 3), px of the reduced prior to px of the reduced photo.
        score: correlation of edge orientations at a long side of 384 px, at most 1.
        view: edge orientations of the photo and of the prior warped by `matrix`, at a long side of
            192 px.
        p_value: probability that a picture of another scene fits as well.
        upright: whether the prior fits the photo better than the mirrored or rotated photo.
        frame: the placement that fits best among those that keep the photo's framing.
    """

    matrix: Matrix
    score: float
    view: View
    p_value: float
    upright: bool
    frame: Frame


def fit(photo: Plane, prior: Plane) -> Fit:
    """Fit one matrix that maps the prior to the photo.

    Both are luminance planes (H, W) in [0, 1], reduced to a long side of at most 768 px (photo) and
    1024 px (prior).
    """
    frame, views = same_frame(photo, prior), Views(photo, prior)
    if 2 * frame.p_value <= ALPHA and frame.upright:
        return _on_frame(views, frame)
    placement = _search(views)
    matrix = _refine(views, _start(views, placement))
    score, view, fine = _score(views, matrix)
    distinct = (distinctness(one.photo, one.in_place()[0]) for one in (view, fine))
    overlap = float(fine.in_place()[1].mean())
    by_search = p_value(evidence(placement, distinct, score, overlap))
    chance = min(1.0, 2 * min(by_search, frame.p_value))
    upright = (
        frame.upright if frame.p_value < by_search else max(placement.controls) <= placement.score
    )
    first = Fit(matrix, score, view, chance, upright, frame)
    if chance > ALPHA or score > WEAK:
        return first
    return _from_other_starts(first, views, (placement.matrix, views.plain))


def find_turn(photo: Plane, prior: Plane, frame: Frame) -> str:
    """How the prior is turned against the photo, in words; "" if upright or uncertain.

    Returns "mirrored", "upside down", "rotated by 180 degrees", "rotated by 90 degrees to the
    right" or "rotated by 90 degrees to the left". `photo` and `prior` are luminance planes (H, W).
    `frame` is what `same_frame` returned for them; only rotations by 90 degrees are tested here.
    """
    ways = [(frame.p_turned, TURNED[int(np.argmax(frame.turned))])]
    for quarters, name in QUARTERS.items():
        other = same_frame(photo, np.ascontiguousarray(np.rot90(prior, quarters)))
        ways.append((other.p_value if other.upright else 1.0, name))
    chance, name = min(ways)
    better = chance < frame.p_value or not frame.upright
    return name if chance < CERTAIN and better else ""


def without_evidence(best: Fit, photo: Plane, prior: Plane) -> Fit:
    """The fit to use if the user says that the prior shows the scene, but `best` does not prove it.

    This is `best` if its score is above 0.25, which fits of other scenes reach by chance; otherwise
    a plain resize of the prior to the photo. `photo` and `prior` are luminance planes.
    """
    if best.score > BY_CHANCE:
        return best
    views = Views(photo, prior)
    score, view, _ = _score(views, views.plain)
    return replace(best, matrix=views.plain, score=score, view=view)


def _on_frame(views: Views, frame: Frame) -> Fit:
    """Refine the placement that `frame` holds, the result of `same_frame`; returns the fit.

    If fine structure hardly agrees, a refinement would follow noise, so `frame` is not refined.
    """
    start, score = refine(views.at(COARSE, frame.matrix), COARSE)
    start = start if is_plausible(start, frame.matrix, views.size) else frame.matrix
    matrix = _refine(views, start)
    score, view, _ = _score(views, matrix)
    first = Fit(matrix, score, view, min(1.0, 2 * frame.p_value), True, frame)
    if score > WEAK:
        return first
    best = _from_other_starts(first, views, [frame.matrix])
    score, view, _ = _score(views, frame.matrix)
    if best.score > max(score + OVERFIT, BY_CHANCE):
        return best
    return replace(first, matrix=frame.matrix, score=score, view=view)


def _refine(
    views: Views, start: Matrix, levels: tuple[Level, ...] = (MIDDLE, FINE, LAST)
) -> Matrix:
    """Refine the matrix `start` (prior px to photo px) at one resolution of `levels` after another.

    An implausible result is ignored. If the score at a long side of 384 px is below 0.3, no finer
    resolution is fitted. The default levels have long sides of 192, 384 and 480 px.
    """
    matrix = start
    for level in levels:
        better, score = refine(views.at(level, matrix), level)
        matrix = better if is_plausible(better, matrix, views.size) else matrix
        if level is FINE and score < PRECISE:
            break
    return matrix


def _score(views: Views, matrix: Matrix) -> tuple[float, View, View]:
    """Score a matrix (prior px to photo px) by the correlation of photo and warped prior.

    Returns the correlation at a long side of 384 px, and the views at long sides of 192 and 384 px.
    """
    view, fine = (views.at(level, matrix) for level in (MIDDLE, FINE))
    warped, valid = fine.in_place()
    return correlation(fine.photo, warped, valid), view, fine


def _from_other_starts(first: Fit, views: Views, starts: Iterable[Matrix]) -> Fit:
    """Fit again from each of the matrices `starts`; returns the best of `first` and the new fits.

    The new fits leave out the coarsest resolution, which may lead to a wrong place if little
    agrees. The result keeps the p-value of `first`, since p-values were calibrated on such fits.
    """
    best = first
    for start in starts:
        matrix = _refine(views, start, (MIDDLE, FINE))
        score, view, _ = _score(views, matrix)
        if score > best.score:
            best = replace(best, matrix=matrix, score=score, view=view)
    return best


def _start(views: Views, placement: Placement) -> Matrix:
    """Choose the matrix (prior px to photo px) from which the finer resolutions are fitted.

    The result of the search (`placement`) and a plain resize are both refined at a long side of 96
    px; the one with the higher score is returned. The resize is tried because most generators keep
    the framing.
    """
    fits = []
    for start in (placement.matrix, views.plain):
        matrix, score = refine(views.at(COARSE, start), COARSE)
        if is_plausible(matrix, start, views.size):
            fits.append((score, matrix))
    return max(fits, key=lambda pair: pair[0])[1] if fits else placement.matrix


def _search(views: Views) -> Placement:
    sizes = views.size, views.prior_size
    small, double = (
        log_luminance(image, scale_size(size, side / max(size)))
        for image, size, side in zip(
            (views.photo, views.prior), sizes, (LONG_SIDE, 2 * LONG_SIDE), strict=True
        )
    )
    return max(
        (search(small, double, hypothesis, sizes) for hypothesis in hypotheses(*sizes)),
        key=lambda placement: placement.score,
    )


def distinctness(photo: Channels, warped: Channels) -> float:
    """The correlation of photo and warped prior, divided by the one that is reached by chance.

    Both are orientation channels (H, W, 4) on the photo's grid. The correlation by chance is the
    root mean square correlation of the prior with the mirrored and flipped photo at many shifts.
    The ratio is about 3 for pictures of different scenes and above 6 for pictures of one scene.
    """
    height, width = photo.shape[:2]
    far = (int(SHIFTS * height), int(SHIFTS * width))
    room = (
        cv2.getOptimalDFTSize(height + far[0]),
        cv2.getOptimalDFTSize(width + far[1]),
    )
    centred = warped - warped.mean((0, 1))
    scores = correlate(spectra(control_views(photo), room), centred, room)
    rows, columns = np.arange(-far[0], far[0] + 1), np.arange(-far[1], far[1] + 1)
    chance = float(np.sqrt(np.mean(scores[1:, rows][:, :, columns] ** 2)))
    return float(scores[0, 0, 0]) / (chance + 1e-9)


def evidence(
    placement: Placement, distinct: Iterable[float], score: float, overlap: float
) -> float:
    """The evidence, a sum of logarithms, that photo and prior show the same scene.

    It is about 3 for pictures of different scenes and above 7 for most pictures of one scene.

    Args:
        placement: result of the search, with scores of the mirrored and rotated photo as controls.
        distinct: results of `distinctness` at long sides of 192 and 384 px.
        score: correlation at a long side of 384 px; below 0.25 for pictures of different scenes.
        overlap: fraction of the photo that the prior covers; near 1 for most pairs of one scene.
    """
    chances = placement.spread, max(placement.controls)
    ratios = [placement.score / (chance + 1e-9) for chance in chances]
    stands_out = float(np.log(np.maximum([*ratios, *distinct], LEAST)).sum())
    return stands_out + SCORE_WEIGHT * score + float(np.log(max(overlap, 0.1)))


def p_value(value: float) -> float:
    """The probability that a pair of different scenes has at least the evidence `value`, a sum of
    logarithms that `evidence` returns."""
    return float(1 / (1 + np.exp((value - CENTRE) / WIDTH)))
