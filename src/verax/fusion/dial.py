"""What is asked of a fusion, and the classes of its answer.

The dial is what a fidelity from 1 to 0 allows. It moves thresholds and cross-fades no pictures.
The trust map says of which class every pixel of a restoration is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT = 0.75  # chosen on real pairs by eye and by the figures of docs/results.md
ANGLE = 0.25  # rad at the default: structure keeps a correlation of cos(0.25) = 0.97 with the photo
REACH = 0.87  # share of the distance to the prior's light that is covered at the default
OWN = (0.5, 0.3)  # weight of the base's light against the prior's, at fidelity 1 and the default


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Thresholds of one fidelity.

    Attributes:
        angle: how far (rad) confirmed structure may turn from the photo's towards the prior's:
            what is taken correlates with the photo by at least its cosine.
        plausible: share of what the photo could not have shown that is taken.
        front: the same of what the prior took away from in front of the scene.
        reach: share of the distance to the prior's light to be covered.
        own: weight of the base's light where it moved the photo as the prior did.
        beyond: 0 down to the default, then rising to 1 at fidelity 0: how far contradictions of
            the photo and unexplained light are let in.
    """

    angle: float
    plausible: float
    front: float
    reach: float
    own: float
    beyond: float


def at(fidelity: float) -> Dial:
    """The dial at a fidelity in [0, 1]."""
    inside = min(1.0, (1 - fidelity) / (1 - DEFAULT))
    beyond = max(0.0, 1 - fidelity / DEFAULT)
    return Dial(
        angle=ANGLE * inside + (float(np.pi) - ANGLE) * beyond,
        plausible=inside,
        front=inside,
        reach=REACH * inside + (1 - REACH) * beyond,
        own=(OWN[0] + (OWN[1] - OWN[0]) * inside) * (1 - beyond),
        beyond=beyond,
    )


CLASSES = ("photo", "confirmed", "light", "generated")


def of_one(name: str) -> NDArray[np.float16]:
    """The shares of a pixel that is wholly of one of CLASSES."""
    return np.asarray([name == each for each in CLASSES], np.float16)
