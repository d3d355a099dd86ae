"""How the prior's canvas came about: stretched, cropped, letterboxed or painted further."""

import numpy as np

from verax.geometry.features import resize
from verax.geometry.transforms import Matrix, Size, compose, invert, motion, scaled, shift, stretch
from verax.geometry.warp import share_seen, warp
from verax.image import Plane

LONG_SIDE = 192  # px of the photo when borders are looked at
SAME_ASPECT = 0.03  # log ratio below which a canvas differs from the photo by size alone
BARS = 0.03  # share of the prior that must lie beyond the photo to speak of a border
QUIET = 0.25  # gradient in a border, over that inside, below which it is plain or blurred
MIRROR = 0.9  # correlation of a border with the picture reflected, from which it is a mirror


def canvas_of(prior: Plane, matrix: Matrix, photo: Size) -> str:
    """ "stretch", "crop", "letterbox" (plain, blurred or mirrored borders) or "outpaint".

    A canvas of another shape is a stretch when the matrix keeps its sides on the photo's, and
    otherwise a crop where it shows less of the scene than the photo, or a border where it shows
    more.
    """
    size = prior.shape[1], prior.shape[0]
    change = float(np.log((photo[0] / size[0]) / (photo[1] / size[1])))
    scale = motion(matrix, size, photo).scale
    kept = float(np.log(scale[0] / scale[1]))  # 0 for a stretch, -change for equal scales
    if abs(change) < SAME_ASPECT or abs(kept) < abs(kept + change):
        return "stretch"
    beyond = 1 - share_seen(invert(matrix), photo, size)
    hidden = 1 - share_seen(matrix, size, photo)
    if beyond < max(hidden, BARS):
        return "crop"
    return "letterbox" if _is_padding(prior, matrix, photo) else "outpaint"


def _is_padding(prior: Plane, matrix: Matrix, photo: Size) -> bool:
    """Whether what lies beyond the photo is plain, blurred, or the picture mirrored."""
    small = scaled(photo, LONG_SIDE / max(photo))
    room = small[0], small[1]
    wide = 3 * room[0], 3 * room[1]
    half = resize(prior, scaled((prior.shape[1], prior.shape[0]), 2 * LONG_SIDE / max(prior.shape)))
    to_small = compose(
        shift(*room),
        stretch(photo, small),
        matrix,
        stretch((half.shape[1], half.shape[0]), (prior.shape[1], prior.shape[0])),
    )
    grey, valid = warp(half, to_small, None, wide)
    inside = np.s_[room[1] : 2 * room[1], room[0] : 2 * room[0]]
    border = valid > 0.99
    border[_grown(inside, 3)] = False
    if border.sum() < 50:
        return False
    steps = np.hypot(*np.gradient(grey))
    if steps[border].mean() < QUIET * steps[inside].mean():
        return True
    mirror = np.pad(grey[inside], ((room[1],) * 2, (room[0],) * 2), mode="symmetric")
    return bool(np.corrcoef(mirror[border], grey[border])[0, 1] > MIRROR)


def _grown(window: tuple[slice, slice], by: int) -> tuple[slice, slice]:
    rows, columns = (slice(side.start - by, side.stop + by) for side in window)
    return rows, columns
