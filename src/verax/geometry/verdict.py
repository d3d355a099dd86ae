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

# Evidence of foreign pairings (350 of real photos with other photos' priors) follows a logistic
# law with this centre and width: 10 % lie above 3.3, 1 % above 4.5. Of 38 true pairs the weakest,
# a photo all but hidden by rain, has 5.4, half of them more than 9.
CENTRE = 2.05
WIDTH = 0.55
ALPHA = 0.005  # a placement that foreign pairs reach more often is refused


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


def evidence(found: Found, distinct: Iterable[float], score: float) -> float:
    """Joint evidence for the same scene, a sum of logarithms.

    Args:
        found: the search; how far it stands out from its controls, all and the best.
        distinct: `distinctness` at the finer sizes.
        score: the correlation that is left at the finest, at half weight.
    """
    ratios = [found.score / (found.spread + 1e-9), found.score / (max(found.controls) + 1e-9)]
    total = float(np.log(np.maximum([*ratios, *distinct], LEAST)).sum())
    return total + 0.5 * float(np.log(max(score, 0.02)))


def p_value(value: float) -> float:
    """Share of foreign pairings with at least this evidence."""
    return float(1 / (1 + np.exp((value - CENTRE) / WIDTH)))
