"""Same scene, or another? How far a placement stands out from what chance would score.

A true pair scores high at one placement only, and keeps that at every size; a foreign pair finds
some placement that fits by chance at one size and little at the next. Both are measured against
the photo mirrored and flipped, which has the same edges in the wrong places.
"""

from collections.abc import Iterable

import numpy as np
import scipy.fft

from verax.geometry.features import Channels, control_views, correlate, spectra
from verax.geometry.search import Found

LEAST = 0.3  # a ratio below says no more against a pair
SHIFTS = 0.3  # of each side: how far the controls are moved about

# Evidence of 245 foreign pairings (real photos with other photos' priors, simulated ones too)
# follows a logistic law with this centre and width: 10 % lie above 4.4, 2 % above 5.4. Of 38 true
# pairs the weakest, a photo all but hidden by rain, has 6.9; half of them more than 12.
CENTRE = 2.85
WIDTH = 0.66
SCORE_WEIGHT = 5.0
ALPHA = 0.005  # a placement that foreign pairs reach more often is not taken
DOUBT = 0.05  # what they reach even more often shows another scene; between the two nobody can tell


def distinctness(photo: Channels, warped: Channels) -> float:
    """Score of a registered pair over the root mean square that the controls reach anywhere near.

    About 3 for foreign pairs after they were fitted, above 6 for true ones.
    """
    height, width = photo.shape[:2]
    far = (int(SHIFTS * height), int(SHIFTS * width))
    room = (
        scipy.fft.next_fast_len(height + far[0], real=True),
        scipy.fft.next_fast_len(width + far[1], real=True),
    )
    centred = warped - warped.mean((0, 1))
    scores = correlate(spectra(control_views(photo), room), centred, room)
    rows, columns = np.arange(-far[0], far[0] + 1), np.arange(-far[1], far[1] + 1)
    chance = float(np.sqrt(np.mean(scores[1:, rows][:, :, columns] ** 2)))
    return float(scores[0, 0, 0]) / (chance + 1e-9)


def evidence(found: Found, distinct: Iterable[float], score: float, overlap: float) -> float:
    """Joint evidence for the same scene.

    Args:
        found: the search; how far it stands out from its controls, all and the best.
        distinct: `distinctness` at the finer sizes.
        score: correlation at the fine size; foreign pairs stay below 0.25, however fitted.
        overlap: share of the photo that the prior shows there; true pairs show most of it.
    """
    ratios = [found.score / (found.spread + 1e-9), found.score / (max(found.controls) + 1e-9)]
    stands_out = float(np.log(np.maximum([*ratios, *distinct], LEAST)).sum())
    return stands_out + SCORE_WEIGHT * score + float(np.log(max(overlap, 0.1)))


def p_value(value: float) -> float:
    """Share of foreign pairings with at least this evidence."""
    return float(1 / (1 + np.exp((value - CENTRE) / WIDTH)))
