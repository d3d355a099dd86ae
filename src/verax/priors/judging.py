"""What puts candidates in order: edits by fidelity and quality, generations by quality."""

from typing import TYPE_CHECKING

from verax.errors import VeraxError

if TYPE_CHECKING:
    from verax.image import Image
    from verax.priors.ranking import Judge

COMPARED_PX = 256  # side at which two pictures of any size are compared


def edit_judges(photo: "Image") -> "dict[str, Judge]":
    """Naturalness, and the share of a candidate's edges that the photo has too."""

    def fidelity(candidate: "Image") -> float:
        return _score("edge_precision", resized(candidate, (photo.shape[1], photo.shape[0])), photo)

    return {"quality": quality, "fidelity": fidelity}


def text_judges(like: "Image | None") -> "dict[str, Judge]":
    """Naturalness, and agreement with a picture where one is given."""
    if like is None:
        return {"quality": quality}
    small = resized(like, (COMPARED_PX, COMPARED_PX))

    def agreement(candidate: "Image") -> float:
        return _score("ms_ssim", resized(candidate, (COMPARED_PX, COMPARED_PX)), small)

    return {"quality": quality, "agreement": agreement}


def quality(candidate: "Image") -> float:
    """Naturalness: minus NIQE, so that higher is better."""
    return -_score("niqe", candidate)


def resized(picture: "Image", size: tuple[int, int]) -> "Image":
    """The picture at (width, height), by area where it shrinks."""
    import cv2
    import numpy as np

    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    shrinks = size[0] * size[1] <= picture.shape[0] * picture.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(np.clip(cv2.resize(picture, size, interpolation=way), 0, 1), np.float32)


def _score(name: str, picture: "Image", reference: "Image | None" = None) -> float:
    """A metric's value; not a number where the picture is too small for it."""
    from verax.metrics import score

    try:
        return score(picture, reference, [name])[0].value
    except VeraxError:
        return float("nan")
