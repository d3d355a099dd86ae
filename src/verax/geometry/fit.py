"""The global fit of two reduced pictures, and its p-value: how likely a foreign picture, one of
another scene, fits as well.

First placements that keep the photo's frame are tested (`same_frame`); if one is clearly better
than chance, that is all. Otherwise shifts and scales are searched, and the lower of both p-values
counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from verax.geometry import Matrix, scaled
from verax.geometry.features import Channels, Level, View, Views, correlation, log_luminance
from verax.geometry.global_fit import (
    COARSE,
    FINE,
    LAST,
    MIDDLE,
    bounded,
    refine,
)
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

LEAST = 0.3  # ratios are not counted below this
SHIFTS = 0.3  # share of each side by which the controls are shifted

# Evidence of 245 foreign pairings (real photos with other photos' priors, simulated ones too)
# follows a logistic law with this centre and width: 10 % lie above 4.4, 2 % above 5.4. Of 38 true
# pairs the weakest, a photo all but hidden by rain, has 6.9; half of them more than 12.
CENTRE = 2.85
WIDTH = 0.66
SCORE_WEIGHT = 5.0
ALPHA = 0.005  # largest p-value of an accepted placement
DOUBT = 0.05  # p-value from which the prior shows another scene; in between it is undecided

PRECISE = 0.3  # score at the fine size from which the finest fit is done
WEAK = 0.5  # score at the fine size below which other starting points are tried
BY_CHANCE = 0.25  # score that fitted foreign pairs reach by chance
OVERFIT = 0.1  # the part of it that is due to the fit's own freedom
TURNED = ("mirrored", "upside down", "turned by 180 degrees")
QUARTERS = {1: "turned to the right by 90 degrees", 3: "turned to the left by 90 degrees"}
CERTAIN = ALPHA / 10  # stricter, since five ways of turning are tried


@dataclass(frozen=True, slots=True)
class Fit:
    """The global fit between the reduced pictures, and how significant it is.

    Attributes:
        matrix: prior px to photo px.
        score: correlation of the orientation channels at the fine size, at most 1.
        view: the pictures through the matrix, at the middle level.
        p_value: how likely a foreign picture fits as well.
        upright: whether it fits better than to the mirrored or turned photo.
        frame: the test of placements that keep the frame.
    """

    matrix: Matrix
    score: float
    view: View
    p_value: float
    upright: bool
    frame: Frame


def fit(photo: Plane, prior: Plane) -> Fit:
    """The best single matrix from prior to photo."""
    frame, views = same_frame(photo, prior), Views(photo, prior)
    if 2 * frame.p_value <= ALPHA and frame.upright:
        return _on_frame(views, frame)
    placement = _search(views)
    matrix = _refined(views, _start(views, placement))
    score, view, fine = _scored(views, matrix)
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


def way_turned(photo: Plane, prior: Plane, frame: Frame) -> str:
    """How the prior is turned ("mirrored" and the like); empty if it is not, or not certainly."""
    ways = [(frame.p_turned, TURNED[int(np.argmax(frame.turned))])]
    for quarters, name in QUARTERS.items():
        other = same_frame(photo, np.ascontiguousarray(np.rot90(prior, quarters)))
        ways.append((other.p_value if other.upright else 1.0, name))
    chance, name = min(ways)
    better = chance < frame.p_value or not frame.upright
    return name if chance < CERTAIN and better else ""


def without_evidence(best: Fit, photo: Plane, prior: Plane) -> Fit:
    """The placement of a prior that lacks evidence: the best one that keeps the frame, unless fine
    structure agrees elsewhere."""
    if best.score > BY_CHANCE:
        return best
    views = Views(photo, prior)
    score, view, _ = _scored(views, views.plain)
    return replace(best, matrix=views.plain, score=score, view=view)


def _on_frame(views: Views, frame: Frame) -> Fit:
    """The fit of a prior that keeps the frame.

    With hardly any fine structure, a free fit would follow noise; the frame's placement is used
    instead.
    """
    start, score = refine(views.at(COARSE, frame.matrix), COARSE)
    start = start if bounded(start, frame.matrix, views.size) else frame.matrix
    matrix = _refined(views, start)
    score, view, _ = _scored(views, matrix)
    first = Fit(matrix, score, view, min(1.0, 2 * frame.p_value), True, frame)
    if score > WEAK:
        return first
    best = _from_other_starts(first, views, [frame.matrix])
    score, view, _ = _scored(views, frame.matrix)
    if best.score > max(score + OVERFIT, BY_CHANCE):
        return best
    return replace(first, matrix=frame.matrix, score=score, view=view)


def _refined(
    views: Views, start: Matrix, levels: tuple[Level, ...] = (MIDDLE, FINE, LAST)
) -> Matrix:
    """The fit from a starting matrix, level by level as long as the finer structure agrees."""
    matrix = start
    for level in levels:
        better, score = refine(views.at(level, matrix), level)
        matrix = better if bounded(better, matrix, views.size) else matrix
        if level is FINE and score < PRECISE:
            break
    return matrix


def _scored(views: Views, matrix: Matrix) -> tuple[float, View, View]:
    """Correlation at the fine level, and the views at the middle and the fine level."""
    view, fine = (views.at(level, matrix) for level in (MIDDLE, FINE))
    warped, valid = fine.in_place()
    return correlation(fine.photo, warped, valid), view, fine


def _from_other_starts(first: Fit, views: Views, starts: Iterable[Matrix]) -> Fit:
    """The better of a weak fit and fits that start without the coarsest level.

    In such pairs little agrees, and the coarsest level may go wrong. The p-value is not changed: it
    was calibrated on the first fit.
    """
    best = first
    for start in starts:
        matrix = _refined(views, start, (MIDDLE, FINE))
        score, view, _ = _scored(views, matrix)
        if score > best.score:
            best = replace(best, matrix=matrix, score=score, view=view)
    return best


def _start(views: Views, placement: Placement) -> Matrix:
    """The better fit at the coarsest level, from the search result or from a plain resize.

    Most generators keep the frame, so with weak scores the resize is the more likely start.
    """
    fits = []
    for start in (placement.matrix, views.plain):
        matrix, score = refine(views.at(COARSE, start), COARSE)
        if bounded(matrix, start, views.size):
            fits.append((score, matrix))
    return max(fits, key=lambda pair: pair[0])[1] if fits else placement.matrix


def _search(views: Views) -> Placement:
    sizes = views.size, views.prior_size
    small, double = (
        log_luminance(image, scaled(size, side / max(size)))
        for image, size, side in zip(
            (views.photo, views.prior), sizes, (LONG_SIDE, 2 * LONG_SIDE), strict=True
        )
    )
    return max(
        (search(small, double, hypothesis, sizes) for hypothesis in hypotheses(*sizes)),
        key=lambda placement: placement.score,
    )


def distinctness(photo: Channels, warped: Channels) -> float:
    """Score of a registered pair over the root mean square of its controls' scores.

    About 3 for fitted foreign pairs, above 6 for true ones.
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
    """Joint evidence for the same scene.

    Args:
        placement: of the search, with the scores of its controls.
        distinct: `distinctness` at the finer sizes.
        score: correlation at the fine size; below 0.25 for foreign pairs.
        overlap: share of the photo that the prior covers; most of it for true pairs.
    """
    chances = placement.spread, max(placement.controls)
    ratios = [placement.score / (chance + 1e-9) for chance in chances]
    stands_out = float(np.log(np.maximum([*ratios, *distinct], LEAST)).sum())
    return stands_out + SCORE_WEIGHT * score + float(np.log(max(overlap, 0.1)))


def p_value(value: float) -> float:
    """Share of foreign pairings with at least this evidence."""
    return float(1 / (1 + np.exp((value - CENTRE) / WIDTH)))
