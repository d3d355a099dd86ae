"""The fidelity dial and the classes of the trust map.

The dial turns a fidelity from 1 to 0 into thresholds; two pictures are never blended by it. The
trust map states, for each pixel of a restoration, how much of it belongs to each class.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

DEFAULT = 0.75  # chosen on real pairs, by eye and by the figures in docs/results.md
ANGLE = 0.2  # rad at the default: structure keeps a correlation of cos(0.2) = 0.98 with the photo
REACH = 0.87  # how far light moves from the photo's towards the prior's at the default
# at fidelity 1 and at the default:
OWN = (0.8, 0.3)  # weight of the base's light against the prior's
EVEN = (0.6, 0.0)  # weight of even light (one gain and offset) against the prior's
TONED = (0.95, 0.62)  # share of the low-frequency difference from that target that is removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """The thresholds that belong to one fidelity.

    Attributes:
        angle: how far (rad) confirmed structure may turn from the photo's towards the prior's. The
            result's correlation with the photo is at least its cosine.
        plausible: share that is taken of the prior's detail that the photo could not have shown.
        front: share that is taken of the prior where it removed something in front of the scene.
        reach: how far light moves from the photo's towards the prior's, in [0, 1].
        own: weight of the base's light where base and prior changed the light in the same way.
        even: weight of even light (one gain and offset for the whole photo) against the prior's
            local light.
        contrast: how far a fault of the light justifies a change of contrast, in [0, 1].
        toned: share of the low-frequency difference from the target light that is removed.
        beyond: how far structure that contradicts the photo, and unexplained light, are admitted: 0
            from fidelity 1 to the default, then rising to 1 at fidelity 0.
    """

    angle: float
    plausible: float
    front: float
    reach: float
    own: float
    even: float
    contrast: float
    toned: float
    beyond: float


def at(fidelity: float) -> Dial:
    """The thresholds for a fidelity in [0, 1]."""
    inside = min(1.0, (1 - fidelity) / (1 - DEFAULT))
    beyond = max(0.0, 1 - fidelity / DEFAULT)
    own, even, toned = (one + (default - one) * inside for one, default in (OWN, EVEN, TONED))
    return Dial(
        angle=ANGLE * inside,
        plausible=inside,
        front=inside,
        reach=REACH * inside + (1 - REACH) * beyond,
        own=own * (1 - beyond),
        even=even,
        contrast=inside,
        toned=toned,
        beyond=beyond,
    )


def without_style(dial: Dial) -> Dial:
    """The dial with fidelity 1's settings of light, for a photo whose light is wrong in the same
    way everywhere: what the prior changes locally is then the generator's style."""
    even, contrast = EVEN[0] * (1 - dial.beyond), dial.beyond
    return replace(dial, even=even, toned=TONED[0], contrast=contrast, reach=dial.beyond)


CLASSES = ("photo", "confirmed", "light", "generated")


def of_one(name: str) -> NDArray[np.float16]:
    """The trust map's value, shares (4,), for a pixel that belongs only to the class `name`."""
    return np.asarray([name == each for each in CLASSES], np.float16)
