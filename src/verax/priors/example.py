"""A photo to try everything with: it comes with an installed package, its prior is simulated."""

from dataclasses import dataclass

from verax import degrade
from verax import image as images
from verax.image import Image
from verax.priors.simulated import simulate

SEED = 10  # a prior that zooms in by 14 %, as generators do
SEVERITY = 0.7


@dataclass(frozen=True, slots=True)
class Example:
    """A clean picture, (400, 600, 3), the same darkened on purpose, and a simulated prior of it."""

    clean: Image
    photo: Image
    prior: Image


def example() -> Example:
    """scikit-image's coffee.png (CC0, Rachel Michetti, Pikolo Espresso Bar), darkened."""
    from skimage import data

    clean = images.from_uint8(data.coffee())
    photo = degrade.apply(clean, degrade.Degradation("lowlight", SEVERITY, SEED))
    return Example(clean, photo, simulate(clean, seed=SEED).prior)
