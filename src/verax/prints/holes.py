"""Fill holes of a photo from the registered prior; holes are masked by hand or found as damage.

Inside the mask the result has the prior's gradients, and at the mask's edge the photo's values
(Perez, Gangnet and Blake, "Poisson image editing", 2003). To this end, the difference between photo
and prior along the edge is interpolated across the mask and added to the prior.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError, SizeMismatchError
from verax.geometry.register import WarpedPrior
from verax.image import Image, Photo, Plane
from verax.image.pixels import largest, reduce_to, wide_blur
from verax.prints.colour import split, toning

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]
WHOLE: Box = (slice(None), slice(None))

LEAST = 8 / 255  # mask values this close to black or white count as black or white
STEPS = 24  # relaxation steps per size
CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
TONE = 192  # px, long side at which the light of photo and prior is compared
KNOWN = 0.7  # least share of a pixel at that size that is outside the holes
STRAY = 4.0  # standard deviations of the residual at which a place gets no weight
# sigmas of the smooth difference, one per round, shares of the long side: wide at first, so that a
# strip of tape is recognised as an outlier
LOCAL = (0.3, 0.3, 0.2, 0.15, 0.1, 0.08)
BAND = 256  # px, rows whose colours are mapped at once
HELD = 3e-3  # regularisation of the colour map
STRUCTURE = 0.004  # least standard deviation of coarse structure that can be compared
EDGE = 1.0  # sigma in px by which the photo is smoothed along the mask's edge, against noise
MARGIN = 8  # px around the mask that are used
# least area of a patch, share of the picture; least length of a line, share of the long side, and
# least ratio of length to width
PATCH, SCRATCH, SLENDER = 0.0006, 0.05, 6.0
NO_PRIOR = "masked places were not filled: no prior could be placed on the photo"
BORDER = (
    "the print's border and the background around it, %.0f %% of the picture, are filled from the "
    "prior; to crop them instead, run verax straighten first"
)
BEYOND = "%.1f %% of the masked area was not filled, since the prior does not cover it"


def mask_of(photo: Photo, mask: Photo, *, name: str) -> Plane:
    """A plane (H, W) in [0, 1] from a mask picture: white is 1, black or transparent is 0.

    Raises SizeMismatchError if the mask's size is not the photo's, and InputError if the mask has
    no white or no black. `name`: the mask's file or option name, for messages."""
    if (mask.width, mask.height) != (photo.width, photo.height):
        raise SizeMismatchError(
            f"{name}: expected a mask of the photo's size {photo.width}x{photo.height}, "
            f"got {mask.width}x{mask.height}; paint the mask on a copy of the photo"
        )
    plane = mask.pixels.mean(2, dtype=np.float32)
    if mask.alpha is not None:
        plane = plane * mask.alpha
    plane = np.asarray((plane - LEAST) / (1 - 2 * LEAST), np.float32)
    plane = np.clip(plane, 0, 1, out=plane)
    if not plane.any():
        raise InputError(
            f"{name}: expected some white in the mask, got none; paint the chosen places white"
        )
    if plane.min() == 1:
        raise InputError(f"{name}: expected some black in the mask, got all white; omit the mask")
    return plane


def only_inside(photo: Image, result: Image, mask: Plane) -> Image:
    """`result` where `mask` (H, W) is 1, exactly `photo` where it is 0, a blend in between."""
    share = mask[..., None]
    blend = np.asarray(photo + share * (result - photo), np.float32)
    return np.where(share == 0, photo, np.where(share == 1, result, np.clip(blend, 0, 1)))


@dataclass(frozen=True, slots=True)
class Flaws:
    """The damage of a print.

    Attributes:
        mask: (H, W) where the photo is damaged.
        patches, lines, specks: the numbers of large places such as holes, of long and thin places
            such as scratches, and of small places such as dust.
        border: share of the picture that is the print's border and the background around it.
    """

    mask: Mask
    patches: int
    lines: int
    specks: int
    border: float = 0.0

    def record(self) -> dict[str, float]:
        """The numbers of patches, lines and specks, and the share of border, as a JSON object."""
        counts = {"patches": self.patches, "lines": self.lines, "specks": self.specks}
        return {**counts, "border": round(self.border, 4)}


@dataclass(frozen=True, slots=True)
class FilledPhoto:
    """A photo with its holes filled.

    Attributes:
        pixels: (H, W, 3).
        mask: (H, W), True for pixels that were filled.
        damage: the damage that was found; None if no damage was searched for.
        notes: what the user should know, in words.
    """

    pixels: Image
    mask: Mask
    damage: Flaws | None = None
    notes: tuple[str, ...] = ()


def fill_holes(
    photo: Image, warped: WarpedPrior | None, hand: Plane | None, damage: Flaws | None
) -> FilledPhoto:
    """Fill a photo's holes from the prior. Holes are the pixels that `hand` or `damage` marks.

    Args:
        photo: (H, W, 3).
        warped: the prior on the photo's grid; None: there is no usable prior, nothing is filled.
        hand: (H, W) above 0 where the user masked a hole; None: no mask.
        damage: damage to be filled as well; None if no damage was searched for.
    """
    void = np.zeros(photo.shape[:2], bool)
    if warped is None:
        return FilledPhoto(photo, void, notes=() if hand is None else (NO_PRIOR,))
    notes: tuple[str, ...] = ()
    if hand is not None:
        void |= (hand > 0) & (warped.valid > 0)
        beyond = 1 - float(void.sum()) / float((hand > 0).sum())
        notes = (BEYOND % (100 * beyond),) if beyond > 0.0005 else ()
    if damage is not None:
        void |= damage.mask
        notes += (BORDER % (100 * damage.border),) if damage.border else ()
    if not void.any():
        return FilledPhoto(photo, void, damage, notes)
    prior = warped.pixels
    if toning(photo) != "colour":
        prior = np.repeat(split(prior)[0][..., None], 3, axis=2)
    lit = relight(photo, prior, ~void & (warped.valid > 0))
    return FilledPhoto(fill(photo, lit, void), void, damage, notes)


@dataclass(frozen=True, slots=True)
class Light:
    """A correction of the prior's light to the photo's: `colours` (10, 3) maps 1, r, g, b, rr, gg,
    bb, rg, rb, gb to new r, g, b; then `smooth` (h, w, 3), resized to the prior, is added."""

    colours: NDArray[np.float32]
    smooth: Image

    def on(self, prior: Image, *boxes: Box) -> Iterator[Image]:
        """Yield the part of the prior (H, W, 3) in each box, two slices (rows, columns), in the
        photo's light."""
        wide = cv2.resize(self.smooth, prior.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        for box in boxes:
            yield np.asarray(recolour(prior[box], self.colours) + wide[box], np.float32)


def relight(photo: Image, prior: Image, known: Mask) -> Image:
    """The registered prior (H, W, 3) with light and colours matched to the photo's (H, W, 3), by a
    fit to the pixels where the mask `known` (H, W) is True."""
    return next(fit_light(photo, prior, known).on(prior, WHOLE))


def fit_light(photo: Image, prior: Image, known: Mask) -> Light:
    """Fit a correction of the registered prior's light and colours to the photo's, on the pixels of
    the mask `known` (H, W). Outliers such as damage get little weight."""
    y, p = (reduce_to(picture, TONE) for picture in (photo, prior))
    share = (reduce_to(known.astype(np.float32), TONE) > KNOWN).astype(np.float32)
    share = share if share.any() else np.ones_like(share)
    weight, smooth, terms = share, np.zeros_like(y), quadratic(p)
    for reach in LOCAL:
        sigma = reach * max(share.shape)
        colours = colour_map(terms, y - smooth, weight)
        rest = y - (terms.T @ colours).reshape(y.shape)
        near = wide_blur(weight, sigma)[..., None]
        smooth = wide_blur(rest * weight[..., None], sigma)
        smooth *= np.clip(near / 0.1, 0, 1) / np.maximum(near, 1e-3)
        stray = largest(np.abs(rest - smooth))
        usual = STRAY * (1.48 * float(np.median(stray[share > 0])) + 0.004)
        weight = share * np.clip(1 - (stray / usual) ** 2, 0, 1) ** 2
    return Light(colours, smooth)


def colour_map(terms: NDArray[np.float32], photo: Image, weight: Plane) -> NDArray[np.float32]:
    """Fit a map (10, 3) from `terms` (10, H * W), the prior's 1, r, g, b, rr, gg, bb, rg, rb, gb,
    to the colours of `photo` (H, W, 3): least squares, weighted by `weight` (H, W), ridge to
    identity."""
    weighted = terms * weight.ravel()
    ridge = np.diag([1e-3, *[0.1] * 3, *[1.0] * 6]) * HELD * float(weight.sum())
    right = weighted @ (photo.reshape(-1, 3) - terms[1:4].T)
    change = np.linalg.solve(weighted @ terms.T + ridge, right)
    return np.asarray(np.eye(10, 3, -1) + change, np.float32)


def recolour(picture: Image, colours: NDArray[np.float32]) -> Image:
    """Apply a quadratic colour map (10, 3) to a picture (H, W, 3), in bands of rows for memory."""
    bands = np.split(picture, range(BAND, picture.shape[0], BAND))
    return np.concatenate([map_colours(band, colours) for band in bands])


def map_colours(picture: Image, colours: NDArray[np.float32]) -> Image:
    """Apply a quadratic colour map (10, 3) to a whole picture (H, W, 3) at once."""
    r, g, b = cv2.split(picture)
    planes = [
        one + r * (x + xx * r + xy * g + xz * b) + g * (y + yy * g + yz * b) + b * (z + zz * b)
        for one, x, y, z, xx, yy, zz, xy, xz, yz in colours.T
    ]
    return np.asarray(cv2.merge(planes), np.float32)


def quadratic(picture: Image) -> NDArray[np.float32]:
    """The terms (10, H * W) of a quadratic colour map: 1, r, g, b, rr, gg, bb, rg, rb, gb."""
    r, g, b = (picture[..., channel].ravel() for channel in range(3))
    return np.stack((np.ones_like(r), r, g, b, r * r, g * g, b * b, r * g, r * b, g * b))


def faithfulness(y: Plane, p: Plane) -> float:
    """Median local correlation, -1 to 1, of large structure in two lumas (H, W); low if one picture
    redraws the other; 1 if there is no structure to compare."""
    small = (reduce_to(plane, TONE) for plane in (y, p))
    a, b = (cv2.GaussianBlur(v, (0, 0), 2) - cv2.GaussianBlur(v, (0, 0), 4) for v in small)
    both, own, theirs = (cv2.blur(v, (25, 25)) for v in (a * b, a * a, b * b))
    busy = np.minimum(own, theirs) > STRUCTURE**2
    return float(np.median((both / np.sqrt(own * theirs + 1e-12))[busy])) if busy.any() else 1.0


def fill(photo: Image, prior: Image, mask: Mask) -> Image:
    """The photo (H, W, 3) with the pixels of `mask` (H, W) filled from the registered prior,
    (H, W, 3), whose colours are shifted so that no seam is visible."""
    result = photo.copy()
    count, _, boxes, _ = cv2.connectedComponentsWithStats(
        cv2.dilate(mask.astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8))
    )
    for left, top, width, height, _ in boxes[1:count]:
        box = (slice(top, top + height), slice(left, left + width))
        inside = mask[box]
        if inside.all():  # nothing around it to match
            result[box] = prior[box]
            continue
        difference = photo[box] - prior[box]
        filled = prior[box] + membrane(difference, ~inside)
        result[box] = np.where(inside[..., None], np.clip(filled, 0, 1), photo[box])
    return result


def membrane(values: Image, known: Mask) -> Image:
    """Interpolate `values` (h, w, 3) harmonically from pixels in the mask `known` (h, w) to all
    others; the known values are smoothed a little first."""
    weight = known.astype(np.float32)
    steady = cv2.GaussianBlur(values * weight[..., None], (0, 0), EDGE)
    steady /= np.maximum(cv2.GaussianBlur(weight, (0, 0), EDGE), 1e-4)[..., None]
    return relax(np.where(known[..., None], steady, 0).astype(np.float32), weight)


def relax(values: Image, weight: Plane) -> Image:
    """Interpolate `values` (h, w, 3) harmonically from pixels with a `weight` (h, w) above 0 to
    those with 0: first at half size, then from the enlarged result by a few relaxation steps."""
    height, width = weight.shape
    unknown = (weight == 0)[..., None]
    if not unknown.any():
        return values
    if min(height, width) < 3:
        mean = (values * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-4)
        return np.where(unknown, mean, values).astype(np.float32)
    size = ((width + 1) // 2, (height + 1) // 2)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(values * weight[..., None], size, interpolation=cv2.INTER_AREA)
    coarse /= np.maximum(share, 1e-4)[..., None]
    begun = relax(coarse, (share > 0).astype(np.float32))
    out = np.where(unknown, cv2.resize(begun, (width, height)), values)
    for _ in range(STEPS):
        out = np.where(unknown, cv2.filter2D(out, -1, CROSS, borderType=cv2.BORDER_REFLECT), out)
    return np.asarray(out, np.float32)


def count(mask: Mask) -> tuple[int, int, int]:
    """(patches, lines, specks): how many connected places of a mask (H, W) are large, long and
    thin, or small."""
    count, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    length = np.hypot(boxes[1:count, cv2.CC_STAT_WIDTH], boxes[1:count, cv2.CC_STAT_HEIGHT])
    area = boxes[1:count, cv2.CC_STAT_AREA]
    line = (length**2 > SLENDER * area) & (length > SCRATCH * max(mask.shape))
    patch = (area > PATCH * mask.size) & ~line
    return int(patch.sum()), int(line.sum()), int((~line & ~patch).sum())


def dilate(mask: Mask, radius: int) -> Mask:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc) > 0, bool)
