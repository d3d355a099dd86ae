"""Photo to base: restoration without a prior."""

from collections.abc import Callable

from verax.errors import choose
from verax.image import Image, check_image

Restorer = Callable[[Image], Image]


def none(photo: Image) -> Image:
    """The photo itself."""
    return photo


RESTORERS: dict[str, Restorer] = {"none": none}


def restore(photo: Image, name: str = "none") -> Image:
    """The base: the photo restored without a prior by the restorer called `name`."""
    return choose(RESTORERS, name, kind="restorer")(check_image(photo, name="photo"))
