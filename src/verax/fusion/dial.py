"""The fidelity dial and the classes of the trust map.

A fidelity from 1 to 0 sets thresholds; pictures are never cross-faded. The trust map gives each
pixel of a restoration its share of every class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT = 0.75  # chosen on real pairs, by eye and by the figures in docs/results.md
ANGLE = 0.25  # rad at the default: structure keeps a correlation of cos(0.25) = 0.97 with the photo
REACH = 0.87  # how far light moves from the photo's towards the prior's at the default
OWN = (0.5, 0.3)  # weight of the base's light against the prior's, at fidelity 1 and the default


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Thresholds of one fidelity.

    Attributes:
        angle: how far (rad) confirmed structure may turn from the photo's towards the prior's. The
            result's correlation with the photo is at least its cosine.
        plausible: share taken of detail that the photo could not have shown.
        front: share taken of what the prior shows behind removed obstructions.
        reach: how far light moves from the photo's towards the prior's, in [0, 1].
        own: weight of the base's light where base and prior changed the light alike.
        beyond: how far structure that contradicts the photo, and unexplained light, are admitted: 0
            from fidelity 1 to the default, then rising to 1 at fidelity 0.
    """

    angle: float
    plausible: float
    front: float
    reach: float
    own: float
    beyond: float


def at(fidelity: float) -> Dial:
    """The thresholds for a fidelity in [0, 1]."""
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
    """The shares of a pixel that belongs to one of CLASSES alone."""
    return np.asarray([name == each for each in CLASSES], np.float16)
