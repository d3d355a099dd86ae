"""Registration of a prior onto a photo: matrix, local field, confidence, and a verdict.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0). The matrix maps prior
pixels to photo pixels. Photo pixel p is sampled from the prior at inverse(matrix) @ (p + field[p]).
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from verax.geometry import Matrix, Size, compose, scale_size, share_seen, stretch, warp
from verax.geometry.canvas import canvas_of
from verax.geometry.features import EDGE, coherence, log_luminance
from verax.geometry.fit import ALPHA, DOUBT, Fit, find_turn, fit, without_evidence
from verax.geometry.local_fit import Field, fit_field, resize_field, through
from verax.image import Image, Plane, check_image, replace_file
from verax.image.pixels import luma, resize

Placed = Literal["exactly", "roughly", "undecided", "not"]

PHOTO_SIDE = 768  # px: long side of the reduced photo that is registered
PRIOR_SIDE = 1024  # px: long side of the reduced prior
FLAT = 0.004  # least standard deviation of log-luminance of a picture that can be registered
NOWHERE = 0.015  # mean confidence below which a prior counts as placed "roughly"
CHANCE = 0.3  # local correlation of confidence 0; unrelated structure reaches it after a local fit
PROVED = 0.65  # local correlation of confidence 1
ACCEPTED = "placed because you say that it shows the scene"


@dataclass(frozen=True, slots=True, repr=False)
class Registration:
    """The placement of a prior on a photo.

    Attributes:
        placed: the verdict. "exactly"; "roughly": same scene, but only the light of the prior may
            be used; "undecided": too little evidence for the same scene; "not": another scene, or
            mirrored or rotated. In the last two cases the prior is not used.
        reason: the reason for the verdict, in words.
        matrix: (3, 3) float64, prior px to photo px.
        field: (H, W, 2) float32, local displacements (dx, dy) in photo px; None if zero.
        confidence: (H, W) float32 in [0, 1], how well prior and photo agree at each photo pixel.
        p_value: probability that a picture of another scene fits the photo as well.
        coverage: fraction of the photo that the prior covers, in [0, 1].
        canvas: how the generator changed size and proportions: "stretch" (or not at all), "crop",
            "letterbox" (padding was added) or "outpaint" (content was added).
        score: correlation of edge orientations after placement by the matrix alone, at most 1.
    """

    placed: Placed
    reason: str
    matrix: Matrix
    field: Field | None
    confidence: Plane
    p_value: float
    coverage: float
    canvas: str
    score: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether a restoration may use the prior: placed "exactly" or "roughly"."""
        return self.placed in ("exactly", "roughly")

    def __repr__(self) -> str:
        return f"<Registration placed {self.placed}: {self.reason}>"

    def record(self) -> dict[str, Any]:
        """The registration as a JSON object, with the mean of `confidence` and without `field`."""
        return {
            "placed": self.placed,
            "reason": self.reason,
            "matrix": [[float(value) for value in row] for row in self.matrix],
            "p_value": float(self.p_value),
            "coverage": float(self.coverage),
            "confidence": float(self.confidence.mean()),
            "canvas": self.canvas,
        }

    def save(self, path: str | Path) -> None:
        """Write `record()` as JSON to a file. Raises OutputError if it cannot be written."""
        replace_file(path, json.dumps(self.record(), indent=2).encode())


@dataclass(frozen=True, slots=True)
class WarpedPrior:
    """The prior warped to the photo's grid.

    Attributes:
        pixels: (H, W, 3) in [0, 1].
        valid: (H, W), the fraction of each photo pixel that the prior covers.
    """

    pixels: Image
    valid: Plane


def register(photo: Image, prior: Image, *, accept: bool = False) -> Registration:
    """Register the prior onto the photo; `Registration.placed` says whether this succeeded.

    Both are reduced for this to a long side of at most 768 px (photo) and 1024 px (prior); the
    result refers to their full sizes.

    Args:
        photo, prior: (H, W, 3), of any two sizes.
        accept: the user says that the prior shows the photo's scene: place it as well as possible
            even without enough evidence.
    """
    check_image(photo, name="photo")
    check_image(prior, name="prior")
    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(_reduce, prior, PRIOR_SIDE)
        small, small_prior = _reduce(photo, PHOTO_SIDE), other.result()
    size, plain = _size(photo), stretch(_size(prior), _size(photo))
    flat = [name for name, image in (("photo", small), ("prior", small_prior)) if _is_flat(image)]
    if flat:
        reason = f"the {' and the '.join(flat)} has no visible structure that could be registered"
        nowhere = _reject("not", reason, plain, size)
        return _accept(nowhere, share_seen(plain, _size(prior), size)) if accept else nowhere
    best = fit(small, small_prior)
    placed, objection = _objection(best, small, small_prior)
    if objection and accept:
        best = without_evidence(best, small, small_prior)
    full, to_small = stretch(_size(small), size), stretch(_size(prior), _size(small_prior))
    matrix = compose(full, best.matrix, to_small)
    if objection and not accept:
        nowhere = _reject(placed, objection, matrix, size)
        return replace(nowhere, p_value=best.p_value, score=best.score)
    field, confidence = _detail(best, size)
    placed, reason = _judge(best, float(confidence.mean()))
    return Registration(
        placed,
        f"{ACCEPTED}, although {objection}" if objection else reason,
        matrix,
        field if placed == "exactly" else None,
        confidence,
        best.p_value,
        share_seen(matrix, _size(prior), size),
        canvas_of(small_prior, best.matrix, _size(small)),
        best.score,
    )


def _accept(nowhere: Registration, coverage: float) -> Registration:
    """Mark a registration as placed "roughly" because the user says that the scene is the same.

    `nowhere` is the rejected registration, `coverage` the fraction of the photo that the prior
    covers.
    """
    reason = f"{ACCEPTED}, although {nowhere.reason}"
    return replace(nowhere, placed="roughly", reason=reason, coverage=coverage)


def _objection(best: Fit, photo: Plane, prior: Plane) -> tuple[Placed, str]:
    """Decide whether the fit `best` proves that the prior shows the photo's scene upright.

    `photo` and `prior` are luminance planes. Returns "exactly" and "" if it does, otherwise
    "undecided" or "not" and the reason.
    """
    if best.upright and best.p_value <= ALPHA:
        return "exactly", ""
    turned = find_turn(photo, prior, best.frame)
    if turned:
        return "not", f"the prior is {turned} compared with the photo; turn it upright"
    if not best.upright and best.p_value <= ALPHA:
        return "undecided", "the prior fits the mirrored or rotated photo as well as the photo"
    share = f"pictures of other scenes fit as well in {best.p_value:.1%} of cases"
    if best.p_value <= DOUBT:
        return "undecided", f"it is not certain that the prior shows the same scene: {share}"
    return "not", f"the prior shows another scene: {share}, and at most {ALPHA:.1%} is allowed"


def _judge(best: Fit, confidence: float) -> tuple[Placed, str]:
    """The verdict ("exactly" or "roughly") and its reason, for a prior of the same scene.

    `best` is the fit of the matrix, `confidence` the mean confidence over the photo, 0 to 1.
    """
    same = f"pictures of other scenes fit as well in {best.p_value:.2g} of cases"
    if confidence < NOWHERE:
        return "roughly", f"same scene ({same}), but hardly any edge is where the photo has it"
    return "exactly", same


def _detail(best: Fit, size: Size) -> tuple[Field | None, Plane]:
    """Fit the local field, and measure the confidence on the photo's grid, `size` (width, height).

    `best` is the fit of the matrix. Returns the field (H, W, 2), (dx, dy) in photo px, or None if
    it is zero, and the confidence (H, W), 0 to 1.
    """
    warped, valid = best.view.in_place()
    field = fit_field(best.view.photo, warped, valid)
    if field is not None:
        warped, valid = through(warped, field), through(valid, field)
    window = max(valid.shape) / 24
    agreement = coherence(best.view.photo, warped, valid, window)
    shown = cv2.dilate(valid, np.ones((EDGE, EDGE), np.uint8))  # up to the prior's border
    confidence = shown * np.clip((agreement - CHANCE) / (PROVED - CHANCE), 0, 1)
    if field is not None:
        field = resize_field(field, size)
    return field, np.asarray(cv2.resize(confidence, size, interpolation=cv2.INTER_LINEAR))


def _reject(placed: Placed, reason: str, matrix: Matrix, size: Size) -> Registration:
    nothing = np.zeros((size[1], size[0]), np.float32)
    return Registration(placed, reason, matrix, None, nothing, 1.0, 0.0, "stretch")


def _reduce(image: Image, side: int) -> Plane:
    small = resize(image, scale_size(_size(image), min(1.0, side / max(image.shape[:2]))))
    return np.clip(luma(small), 0, 1)


def _is_flat(plane: Plane) -> bool:
    return float(log_luminance(plane, _size(plane)).std()) < FLAT


def apply(registration: Registration, prior: Image, *, size: tuple[int, int]) -> WarpedPrior:
    """Warp the prior to the photo's grid as `registration` says; `size` is its (width, height)."""
    check_image(prior, name="prior")
    return WarpedPrior(*warp(prior, registration.matrix, registration.field, size))


def _size(image: Image | Plane) -> Size:
    return image.shape[1], image.shape[0]
