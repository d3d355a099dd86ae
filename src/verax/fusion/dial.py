"""The thresholds that belong to a fidelity, and the classes of the trust map.

A fidelity from 1 to 0 is turned into thresholds, which decide what is taken from the prior; it is
not a weight with which photo and prior are averaged. The trust map states, for each pixel of a
restoration, how much of it belongs to each class."""

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
    """The thresholds that belong to one fidelity. "Light" is the smooth brightness and colour of a
    picture, "structure" is its detail.

    Attributes:
        angle: in a small window, the structures of photo and prior count as two vectors; the cosine
            of the angle between them is their correlation. Where both show the same, the photo's
            structure is mixed with the prior's, so that their correlation rises; its vector turns
            by at most this angle (rad).
        plausible: how much is taken, in [0, 1], of detail that only the prior shows and that the
            photo could not have shown.
        front: how much is taken of the prior, in [0, 1], where it removed something in front of the
            scene, such as rain.
        reach: if the photo's light is wrong: the share, in [0, 1], of its difference from the
            prior's light that is removed at least; 0 keeps it, 1 gives the prior's.
        own: weight, in [0, 1], of the light that restoring without the prior gives, against the
            prior's light, where both changed the photo's light in the same way.
        even: weight, in [0, 1], of an even change of light (one gain and offset for the whole
            photo) against the prior's local changes.
        contrast: how far the contrast of detail may be matched to the prior's, in [0, 1], if only
            the photo's light is wrong.
        toned: the change of light is fitted to a weighted mean of the prior's light and the two
            above (`own`, `even`): the share, in [0, 1], of the low-frequency difference between
            base and that mean that the fit removes at least.
        beyond: how much is taken, in [0, 1], of changes that nothing in the photo justifies. It is
            0 from fidelity 1 to the default, 0.75, then rises to 1 at fidelity 0."""

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
    """The thresholds for a fidelity in [0, 1]: 1 takes only what the photo supports, 0 takes all of
    the prior."""
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
    """The thresholds to use instead of `dial` for a photo whose light is wrong in the same way
    everywhere, as under water. The prior's local changes of light are then the generator's style:
    down to the default fidelity, 0.75, `even`, `contrast`, `toned` and `reach` stay as at fidelity
    1, which uses little of these changes; below it, all but `toned` move to their values at
    fidelity 0."""
    even, contrast = EVEN[0] * (1 - dial.beyond), dial.beyond
    return replace(dial, even=even, toned=TONED[0], contrast=contrast, reach=dial.beyond)


CLASSES = ("photo", "confirmed", "light", "generated")


def of_one(name: str) -> NDArray[np.float16]:
    """The four shares (4,) in the trust map of a pixel that belongs to one class only: 1 for the
    class `name` ("photo", "confirmed", "light" or "generated"), 0 for the others."""
    return np.asarray([name == each for each in CLASSES], np.float16)
