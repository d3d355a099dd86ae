"""Prior onto photo: global transform, local field, confidence, how well placed and why.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0). The matrix maps prior
pixels to photo pixels. Photo pixel p is looked up in the prior at inverse(matrix) @ (p + field[p]).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from verax.geometry.features import coherence, correlation, log_luminance, resize
from verax.geometry.frame import canvas_of
from verax.geometry.global_fit import (
    COARSE,
    EDGE,
    FINE,
    LAST,
    MIDDLE,
    Level,
    View,
    bounded,
    refine,
    view,
)
from verax.geometry.local_fit import Field, fit_field, resize_field, through
from verax.geometry.search import LONG_SIDE, Found, hypotheses, search
from verax.geometry.transforms import Matrix, Size, compose, scaled, stretch
from verax.geometry.verdict import ALPHA, distinctness, evidence, p_value
from verax.geometry.warp import share_seen, warp
from verax.image import Image, Plane, check_image, replace_file

Placed = Literal["exactly", "roughly", "not"]

PHOTO_SIDE = 768  # px: long side of the copy that is registered
PRIOR_SIDE = 1024
FLAT = 0.004  # deviation of log-luminance below which a picture shows nothing to register
PRECISE = 0.3  # score at the fine size from which the last, finest fit is worth having
WEAK = 0.5  # score at the fine size below which other starts are tried
NOWHERE = 0.015  # mean confidence below which only a coarse tone may be taken
CHANCE = 0.3  # local correlation that unrelated structure reaches after a local fit
PROVED = 0.65  # local correlation from which a place counts as registered


@dataclass(frozen=True, slots=True, repr=False)
class Registration:
    """Where the prior lies on the photo.

    Attributes:
        placed: "exactly"; "roughly": same scene, but only a coarse tone may be taken; "not":
            nothing shows that it is the same scene, and nothing may be taken.
        reason: the verdict in words.
        matrix: (3, 3) float64, prior px to photo px.
        field: (H, W, 2) float32 local displacement in photo px (dx, dy), or None for zero.
        confidence: (H, W) float32 in [0, 1] on the photo's grid.
        p_value: how likely a foreign picture scores as well.
        coverage: share of the photo that the prior shows, 0..1.
        canvas: how the prior's canvas came about: "stretch", "crop", "letterbox", "outpaint".
        score: correlation of the orientation channels after registration, at most 1.
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

    def __repr__(self) -> str:
        return f"<Registration placed {self.placed}: {self.reason}>"

    def record(self) -> dict[str, Any]:
        """As JSON can hold it; the matrix maps prior pixels to photo pixels."""
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
        """Write the record as JSON. Raises OutputError when the file cannot be written."""
        replace_file(path, json.dumps(self.record(), indent=2).encode())


@dataclass(frozen=True, slots=True)
class Warped:
    """The prior on the photo's grid: pixels (H, W, 3) and the share seen, (H, W) in [0, 1]."""

    pixels: Image
    valid: Plane


def register(photo: Image, prior: Image) -> Registration:
    """Find where the prior lies on the photo. That it lies nowhere is a result, not an error.

    Works on reduced copies (long sides at most PHOTO_SIDE and PRIOR_SIDE), so that the cost hardly
    grows with the pictures.
    """
    check_image(photo, name="photo")
    check_image(prior, name="prior")
    small, small_prior = _reduced(photo, PHOTO_SIDE), _reduced(prior, PRIOR_SIDE)
    size, to_small = _size(photo), stretch(_size(prior), _size(small_prior))
    flat = [name for name, image in (("photo", small), ("prior", small_prior)) if _is_flat(image)]
    if flat:
        reason = f"there is no structure to register in the {' and the '.join(flat)}"
        return _refused(reason, stretch(_size(prior), size), size)
    fit = _fit(small, small_prior)
    matrix = compose(stretch(_size(small), size), fit.matrix, to_small)
    objection = _objection(fit)
    if objection:
        return replace(_refused(objection, matrix, size), p_value=fit.p_value, score=fit.score)
    fit = _from_other_starts(fit, small, small_prior)
    matrix = compose(stretch(_size(small), size), fit.matrix, to_small)
    field, confidence = _detail(fit, size)
    placed, reason = _judge(fit, float(confidence.mean()))
    return Registration(
        placed,
        reason,
        matrix,
        field if placed == "exactly" else None,
        confidence,
        fit.p_value,
        share_seen(matrix, _size(prior), size),
        canvas_of(small_prior, fit.matrix, _size(small)),
        fit.score,
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """The global fit between the reduced pictures, and how far it stands out."""

    matrix: Matrix
    score: float
    p_value: float
    turned: float  # score of the best mirrored or flipped placement over that of the upright one
    seen: View  # through the matrix, at the middle level
    found: Matrix  # by the search


def _fit(photo: Image, prior: Image) -> _Fit:
    found = _search(photo, prior)
    matrix = _refined(photo, prior, _start(photo, prior, found))
    seen, fine = (view(photo, prior, matrix, level) for level in (MIDDLE, FINE))
    distinct = (distinctness(one.photo, one.in_place()[0]) for one in (seen, fine))
    warped, valid = fine.in_place()
    agreement = correlation(fine.photo, warped, valid)
    chance = p_value(evidence(found, distinct, agreement, float(valid.mean())))
    turned = max(found.controls) / max(found.score, 1e-9)
    return _Fit(matrix, agreement, chance, turned, seen, found.matrix)


def _refined(
    photo: Image, prior: Image, start: Matrix, levels: tuple[Level, ...] = (MIDDLE, FINE, LAST)
) -> Matrix:
    """The fit from a start, finer and finer as long as the fine structure agrees."""
    matrix = start
    for level in levels:
        better, score = refine(view(photo, prior, matrix, level), level)
        matrix = better if bounded(better, matrix, _size(photo)) else matrix
        if level is FINE and score < PRECISE:
            break
    return matrix


def _from_other_starts(fit: _Fit, photo: Image, prior: Image) -> _Fit:
    """A weak fit, or a better one from a start that the coarsest level has not moved.

    Little agrees in such pairs, and the coarsest level may follow what does not. The verdict is
    left as it is: it was calibrated on the first fit.
    """
    if fit.score > WEAK:
        return fit
    best = fit
    for start in (fit.found, stretch(_size(prior), _size(photo))):
        matrix = _refined(photo, prior, start, (MIDDLE, FINE))
        seen, fine = (view(photo, prior, matrix, level) for level in (MIDDLE, FINE))
        warped, valid = fine.in_place()
        score = correlation(fine.photo, warped, valid)
        if score > best.score:
            best = replace(best, matrix=matrix, score=score, seen=seen)
    return best


def _start(photo: Image, prior: Image, found: Found) -> Matrix:
    """The better fit at the coarsest level, from what was found and from a plain resize.

    Most generators keep the frame; among weak scores that is the likelier place to start from.
    """
    plain, fits = stretch(_size(prior), _size(photo)), []
    for start in (found.matrix, plain):
        fit, score = refine(view(photo, prior, start, COARSE), COARSE)
        if bounded(fit, start, _size(photo)):
            fits.append((score, fit))
    return max(fits, key=lambda pair: pair[0])[1] if fits else found.matrix


def _search(photo: Image, prior: Image) -> Found:
    sizes = _size(photo), _size(prior)
    small, double = (
        log_luminance(image, scaled(_size(image), side / max(_size(image))))
        for image, side in ((photo, LONG_SIDE), (prior, 2 * LONG_SIDE))
    )
    return max(
        (search(small, double, hypothesis, sizes) for hypothesis in hypotheses(*sizes)),
        key=lambda found: found.score,
    )


def _objection(fit: _Fit) -> str:
    """Why the prior does not show the photo's scene; empty if it does."""
    if fit.turned > 1:
        return "the prior fits the photo better mirrored or upside down than upright"
    if fit.p_value > ALPHA:
        return (
            f"pictures of other scenes fit as well in {fit.p_value:.1%} of cases; "
            f"at most {ALPHA:.1%} is allowed"
        )
    return ""


def _judge(fit: _Fit, confidence: float) -> tuple[Placed, str]:
    """Exactly or roughly, for a prior of the same scene."""
    same = f"pictures of other scenes fit as well in {fit.p_value:.2g} of cases"
    if confidence < NOWHERE:
        return "roughly", f"same scene ({same}), but hardly any edge lies where the photo has it"
    return "exactly", same


def _detail(fit: _Fit, size: Size) -> tuple[Field | None, Plane]:
    """Local field and confidence on the photo's grid."""
    warped, valid = fit.seen.in_place()
    field = fit_field(fit.seen.photo, warped, valid)
    if field is not None:
        warped, valid = through(warped, field), through(valid, field)
    window = max(valid.shape) / 24
    agreement = coherence(fit.seen.photo, warped, valid, window)
    shown = cv2.dilate(valid, np.ones((EDGE, EDGE), np.uint8))  # up to the prior's border
    confidence = shown * np.clip((agreement - CHANCE) / (PROVED - CHANCE), 0, 1)
    if field is not None:
        field = resize_field(field, size)
    return field, np.asarray(cv2.resize(confidence, size, interpolation=cv2.INTER_LINEAR))


def _refused(reason: str, matrix: Matrix, size: Size) -> Registration:
    nothing = np.zeros((size[1], size[0]), np.float32)
    return Registration("not", reason, matrix, None, nothing, 1.0, 0.0, "stretch")


def _reduced(image: Image, side: int) -> Image:
    return resize(image, scaled(_size(image), min(1.0, side / max(image.shape[:2]))))


def _is_flat(image: Image) -> bool:
    return float(log_luminance(image, _size(image)).std()) < FLAT


def apply(registration: Registration, prior: Image, *, size: tuple[int, int]) -> Warped:
    """The prior warped onto a photo grid of (width, height)."""
    check_image(prior, name="prior")
    return Warped(*warp(prior, registration.matrix, registration.field, size))


def _size(image: Image) -> Size:
    return image.shape[1], image.shape[0]
