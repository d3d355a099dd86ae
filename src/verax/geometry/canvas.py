"""The canvas: the size at which a photo is sent to a service, and the mapping back to the photo.

`plan` chooses the canvas from the photo's size. `place` puts the photo on the canvas, and
`retrieve` maps a generated picture of the canvas to the photo's grid. An unchanged picture comes
back exactly at scale 1 and to float precision at integer scales. `canvas_of` recognises how a
generator changed the canvas.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.catalog.models import Sizes
from verax.errors import InputError, SizeMismatchError
from verax.geometry import (
    Matrix,
    Size,
    compose,
    invert,
    motion,
    scale_size,
    share_seen,
    shift,
    stretch,
    warp,
)
from verax.image import Image, Plane, check_image
from verax.image.pixels import resize, resize_picture

FREE = Sizes(
    multiple=16, min_pixels=655_360, max_pixels=8_294_400, max_edge=3840, max_ratio=3.0
)  # size rules of the models that accept almost any size
LEAST_SHARE = 1 / 32  # least fraction of the canvas that shows the photo; the rest is padding
NEARLY_FULL = 0.9  # an integer scale is preferred if at least this fraction of the largest scale
NEARLY_LARGEST = 0.97  # to save padding, a scale may be this fraction of the largest scale
LONG_SIDE = 192  # long side in px of the reduced photo in `_is_padding`
SAME_ASPECT = 0.03  # aspect ratios whose logarithms differ by less count as equal
BARS = 0.03  # least fraction of the prior outside the photo for a letterbox or an outpainting
QUIET = 0.25  # mean gradient in a border, relative to the photo, below which the border is padding
MIRROR = 0.9  # least correlation of a border with the reflected photo for padding by reflection


@dataclass(frozen=True, slots=True)
class Canvas:
    """The placement of a photo on a canvas, in px.

    Attributes:
        photo: (width, height) of the photo.
        size: (width, height) of the canvas, which the model's size rules allow.
        inner: (width, height) to which the photo is resized on the canvas.
        offset: (left, top) of the resized photo on the canvas; reflection fills the rest.
    """

    photo: tuple[int, int]
    size: tuple[int, int]
    inner: tuple[int, int]
    offset: tuple[int, int]

    @property
    def scale(self) -> float:
        """Canvas px per photo px, along the photo's longer side."""
        longer = int(self.photo[1] > self.photo[0])
        return self.inner[longer] / self.photo[longer]

    @property
    def share(self) -> float:
        """The fraction of the canvas that shows the photo, in [0, 1]."""
        return self.inner[0] * self.inner[1] / (self.size[0] * self.size[1])

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The matrix (3, 3) from canvas px to photo px."""
        matrix = np.eye(3)
        for axis in (0, 1):
            step = self.photo[axis] / self.inner[axis]
            matrix[axis, axis] = step
            matrix[axis, 2] = (0.5 - self.offset[axis]) * step - 0.5
        return matrix


def plan(width: int, height: int, rules: Sizes = FREE) -> Canvas:
    """Choose the canvas for a photo of this size in px, within the size rules of a model.

    If the model has a list of sizes, the photo gets the one that it fills best. Otherwise it is
    enlarged by the smallest whole number (1 if possible) for which the rules allow a canvas. If
    they allow none, it gets the canvas with the least padding among those with about the largest
    scale. Raises InputError if no canvas is allowed, or if the photo fills less than 1/32 of it.
    The default rules are those of models that accept almost any size.
    """
    if width < 1 or height < 1:
        raise InputError(
            f"canvas: expected a photo of at least 1x1 px, got {width}x{height}; use another photo"
        )
    best = _plan_fixed(width, height, rules) if rules.fixed else _plan_free(width, height, rules)
    if best is None:
        raise InputError(
            f"canvas: a {width}x{height} photo fits none of the sizes that the model accepts "
            f"({rules.why_not((width, height))}); crop the photo"
        )
    if best.share < LEAST_SHARE:
        raise InputError(
            f"canvas: a {width}x{height} photo would fill only {best.share:.1%} of the "
            f"{best.size[0]}x{best.size[1]} canvas; cut it into parts that are less long and narrow"
        )
    return best


def _plan_fixed(width: int, height: int, rules: Sizes) -> Canvas | None:
    plans = []
    for size in rules.fixed:
        largest = min(size[0] / width, size[1] / height)
        whole = int(largest)
        scale = whole if whole >= NEARLY_FULL * largest else largest
        plans.append(_centre((width, height), size, _scale((width, height), scale)))
    return max(plans, key=lambda canvas: canvas.share, default=None)


def _plan_free(width: int, height: int, rules: Sizes) -> Canvas | None:
    largest = rules.max_edge // max(width, height)
    for scale in range(1, largest + 1):
        inner = (width * scale, height * scale)
        size = _lattice(inner, rules)
        if not rules.why_not(size):
            return _centre((width, height), size, inner)
    reduced = list(_fractional(width, height, rules))
    if not reduced:
        return None
    top = max(canvas.scale for canvas in reduced)
    near = [canvas for canvas in reduced if canvas.scale >= NEARLY_LARGEST * top]
    return max(near, key=lambda canvas: (canvas.share, canvas.scale))


def _fractional(width: int, height: int, rules: Sizes) -> Iterator[Canvas]:
    """The allowed canvases that a photo of this size (px) fills as well as possible: resized, it is
    as wide or as high as the canvas; along the other side, margins are as narrow as `rules` permit.
    """
    for side in range(rules.multiple, rules.max_edge + 1, rules.multiple):
        for scale in (side / width, side / height):
            inner = _scale((width, height), scale)
            size = _lattice(inner, rules)
            if not rules.why_not(size):
                yield _centre((width, height), size, inner)


def _lattice(inner: tuple[int, int], rules: Sizes) -> tuple[int, int]:
    """The smallest canvas (width, height) for a photo that is resized to `inner` (width, height).

    Its sides are multiples of `rules.multiple`, and its aspect ratio is at most `rules.max_ratio`.
    The other rules are not checked.
    """
    narrowest = max(inner) / rules.max_ratio
    width, height = (
        int(-(-max(side, narrowest) // rules.multiple) * rules.multiple) for side in inner
    )
    # rounding the longer side up can exceed the largest ratio
    if width > rules.max_ratio * height:
        height += rules.multiple
    if height > rules.max_ratio * width:
        width += rules.multiple
    return width, height


def _scale(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _centre(photo: tuple[int, int], size: tuple[int, int], inner: tuple[int, int]) -> Canvas:
    return Canvas(photo, size, inner, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))


def place(photo: Image, canvas: Canvas) -> Image:
    """Scale the photo, centre it on its canvas and pad by reflection; returns the canvas pixels.

    Raises SizeMismatchError for a photo of another size than the canvas was planned for.
    """
    check_image(photo, name="photo")
    if (photo.shape[1], photo.shape[0]) != canvas.photo:
        raise SizeMismatchError(
            f"canvas: expected a photo of {canvas.photo[0]}x{canvas.photo[1]} px, for which the "
            f"canvas was planned, got {photo.shape[1]}x{photo.shape[0]}; plan one for this photo"
        )
    inner = _enlarge(photo, canvas) if canvas.scale > 1 else resize_picture(photo, canvas.inner)
    left, top = canvas.offset
    right, bottom = canvas.size[0] - canvas.inner[0] - left, canvas.size[1] - canvas.inner[1] - top
    return np.pad(inner, ((top, bottom), (left, right), (0, 0)), mode="reflect")


def retrieve(generated: Image, canvas: Canvas) -> Image:
    """Crop a generated picture to the photo's place on the canvas, and resize it to the photo.

    A picture of another size than the canvas is resized to the canvas first. Returns (H, W, 3).
    """
    check_image(generated, name="generated")
    on_canvas = resize_picture(generated, canvas.size)
    left, top = canvas.offset
    inner = on_canvas[top : top + canvas.inner[1], left : left + canvas.inner[0]]
    return resize_picture(inner, canvas.photo)


def _enlarge(photo: Image, canvas: Canvas) -> Image:
    """Enlarge the photo (cubic) so that the canvas px of each photo pixel average to its value.

    If their average is too high, these px are multiplied by one factor; if too low, they are moved
    towards white, in proportion to their distance from it. So all stay in [0, 1]. If the scale is
    not a whole number, nothing is corrected. Returns a picture of the size `canvas.inner`.
    """
    scale = canvas.inner[0] // canvas.photo[0]
    enlarged = resize_picture(photo, canvas.inner)
    if canvas.inner != (photo.shape[1] * scale, photo.shape[0] * scale):
        return enlarged
    mean = resize_picture(enlarged, canvas.photo)
    tiny = np.float32(1e-6)
    darker = np.minimum(1, photo / np.maximum(mean, tiny))
    lighter = np.clip((photo - mean) / np.maximum(1 - mean, tiny), 0, 1)
    darker, lighter = (
        cv2.resize(share, canvas.inner, interpolation=cv2.INTER_NEAREST).reshape(enlarged.shape)
        for share in (darker, lighter)
    )
    darkened = enlarged * darker
    return np.asarray(np.clip(darkened + (1 - darkened) * lighter, 0, 1), np.float32)


def centre_matrix(photo: Size, prior: Size, canvas: str) -> Matrix:
    """The matrix from prior px to photo px if the generator changed only size and proportions.

    `canvas` names the change: "stretch"; "crop" (equal scales in x and y, the prior shows the
    middle of the photo); "outpaint" or "letterbox" (equal scales, the photo is the middle of the
    prior). `photo` and `prior` are (width, height).
    """
    sx, sy = photo[0] / prior[0], photo[1] / prior[1]
    if canvas != "stretch":
        sx = sy = min(sx, sy) if canvas == "crop" else max(sx, sy)
    tx = (photo[0] - 1) / 2 - sx * (prior[0] - 1) / 2
    ty = (photo[1] - 1) / 2 - sy * (prior[1] - 1) / 2
    return np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1]], np.float64)


def canvas_of(prior: Plane, matrix: Matrix, photo: Size) -> str:
    """How the generator changed the picture's size and proportions, in one word.

    "stretch": the aspect ratio is the same, or the picture was stretched to another one. "crop":
    the prior shows less of the scene. "letterbox": padding (plain, blurred or reflected) was added
    around the photo. "outpaint": newly drawn scene was added. `prior` is the prior's luminance
    plane (H, W), `matrix` maps prior px to photo px, `photo` is (width, height).
    """
    size = prior.shape[1], prior.shape[0]
    change = float(np.log((photo[0] / size[0]) / (photo[1] / size[1])))
    scale = motion(matrix, size, photo).scale
    ratio = float(np.log(scale[0] / scale[1]))  # 0 for a stretch, -change for equal scales
    if abs(change) < SAME_ASPECT or abs(ratio) < abs(ratio + change):
        return "stretch"
    beyond = 1 - share_seen(invert(matrix), photo, size)
    hidden = 1 - share_seen(matrix, size, photo)
    if beyond < max(hidden, BARS):
        return "crop"
    return "letterbox" if _is_padding(prior, matrix, photo) else "outpaint"


def _is_padding(prior: Plane, matrix: Matrix, photo: Size) -> bool:
    """Whether the part of the prior outside the photo is plain, blurred or a reflection.

    `prior` is its luminance plane (H, W); `matrix` maps prior px to photo px; `photo` is (width,
    height).
    """
    small = scale_size(photo, LONG_SIDE / max(photo))
    room = small[0], small[1]
    wide = 3 * room[0], 3 * room[1]
    half = resize(
        prior, scale_size((prior.shape[1], prior.shape[0]), 2 * LONG_SIDE / max(prior.shape))
    )
    to_small = compose(
        shift(*room),
        stretch(photo, small),
        matrix,
        stretch((half.shape[1], half.shape[0]), (prior.shape[1], prior.shape[0])),
    )
    grey, valid = warp(half, to_small, None, wide)
    inside = np.s_[room[1] : 2 * room[1], room[0] : 2 * room[0]]
    border = valid > 0.99
    border[_grow(inside, 3)] = False
    if border.sum() < 50:
        return False
    steps = np.hypot(*np.gradient(grey))
    if steps[border].mean() < QUIET * steps[inside].mean():
        return True
    mirror = np.pad(grey[inside], ((room[1],) * 2, (room[0],) * 2), mode="symmetric")
    return bool(np.corrcoef(mirror[border], grey[border])[0, 1] > MIRROR)


def _grow(window: tuple[slice, slice], by: int) -> tuple[slice, slice]:
    rows, columns = (slice(side.start - by, side.stop + by) for side in window)
    return rows, columns
