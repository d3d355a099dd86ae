"""Same scene, or another? How far a placement stands out from what chance would score.

A true pair scores high at one placement only, and keeps that at every size; a foreign pair finds
some placement that fits by chance at one size and little at the next. Both are measured against
the photo mirrored and flipped, which has the same edges in the wrong places.
"""

import numpy as np
import scipy.fft

from verax.geometry.features import Channels, control_views, correlate, spectra

SHIFTS = 0.3  # of each side: how far the controls are moved about

# Evidence of 1,406 foreign pairings (each real photo with every other photo's prior) follows a
# logistic law with this centre and width; `benchmarks/registration.py --calibrate` fits it anew.
CENTRE = 3.45
WIDTH = 0.36
ALPHA = 0.003  # a placement that foreign pairs reach more often is refused


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


def evidence(*distinct: float) -> float:
    """Joint evidence of several sizes: the sum of their logarithms."""
    return float(np.log(np.maximum(distinct, 0.1)).sum())


def p_value(value: float) -> float:
    """Share of foreign pairings with at least this evidence."""
    return float(1 / (1 + np.exp((value - CENTRE) / WIDTH)))
