"""Photo to base: restoration without a prior."""

from collections.abc import Callable

from verax.errors import choose
from verax.image import Image, check_image

Restorer = Callable[[Image], Image]


def none(photo: Image) -> Image:
    """The photo itself."""
    return photo


def lazy(name: str) -> Restorer:
    """A restorer of `verax.restorers.classical`, imported when first used."""

    def restorer(photo: Image) -> Image:
        from verax.restorers import classical

        found: Restorer = getattr(classical, name)
        return found(photo)

    restorer.__name__ = name
    return restorer


RESTORERS: dict[str, Restorer] = {
    "none": none,
    "auto_levels": lazy("auto_levels"),
    "clahe": lazy("clahe"),
    "dcp": lazy("dcp"),
    "gamma": lazy("gamma"),
    "guided_derain": lazy("guided_derain"),
    "lime": lazy("lime"),
    "nlm": lazy("nlm"),
}


def restore(photo: Image, name: str = "none") -> Image:
    """The base: the photo restored without a prior by the restorer called `name`."""
    return choose(RESTORERS, name, kind="restorer")(check_image(photo, name="photo"))
