"""Enlarge a photo or restoration, with detail of the prior that is finer than the photo's pixels.

Let D be the reduction to the photo's grid, and U the pseudo-inverse of D. For a photo y and a prior
p, the result x = U y + (p - U D p) reduces exactly to the photo (D x = y), and has the detail of
the prior that D removes (range-null space decomposition: Wang, Yu and Zhang, "Zero-shot image
restoration using denoising diffusion null-space model", ICLR 2023). D is bicubic reduction with
antialiasing (Keys, 1981)."""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import scipy  # its parts are loaded on first use
from numpy.typing import NDArray

from verax.errors import InputError
from verax.geometry.register import Registration, apply
from verax.image import Image, Photo, Plane

FACTORS = ("2", "3", "4", "prior")
MOST = 4.0  # largest scale
MAX_PIXELS = 64_000_000  # of a larger result; more does not fit into a common machine's memory
ROUNDS, PUSH = 60, 1.9  # most iterations that make up for clipped values; their over-relaxation
NEAR = 0.3 / 255  # tolerance: how far the reduced result may differ from the photo
WINDOW = 2.5  # sigma in px of the photo, of the windows in which structure is compared
DOUBT, TRUST = 0.35, 0.75  # local correlation from which detail is used, and used in full
CONTRAST = (0.5, 1.6)  # bounds of the gain that matches detail to the photo's contrast
STEPS, LOCAL, FAR = 4, 4.0, 1.0  # of alignment: steps, window sigma, largest shift, px of the photo
CALM, FLAT = 1e-5, 2e-5  # least variance, and energy of gradients, for a shift
TINY = 1.5 / 255  # least standard deviation of structure that can be compared

NO_PRIOR = "enlarged by resampling only, without new detail, since no prior could be placed exactly"
NO_FINER = "enlarged by resampling only, without new detail: the prior is no finer than the photo"
NONE_ASKED = "enlarged by resampling only: at fidelity 1 no detail is taken from the prior"
WHOLE = 0.02  # a scale this close to a whole number is rounded
FINER = 1.05  # px of the prior per px of the photo from which the prior is finer

Size = tuple[int, int]  # width, height
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, repr=False)
class Larger:
    """An enlarged restoration.

    Attributes:
        pixels: (H, W, 3); reduced to the photo's grid, they equal the restoration.
        generated: (H, W) share of each pixel's structure that comes from the prior, 0 to 1.
        notes: what the user should know, in words.
    """

    pixels: Image
    generated: Plane
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, float]:
        return {"generated": float(self.generated.mean())}


def larger_size(photo: Size, scale: str, finer: float = 1.0) -> Size:
    """(width, height) of a photo after enlarging it by a scale of "2", "3", "4" or "prior".

    `photo`: (width, height) before. "prior" enlarges by `finer`, the px of the prior per px of the
    photo, limited to 1..4. Raises InputError for any other scale, and above 64 megapixels."""
    if scale not in FACTORS:
        raise InputError(f"scale: expected one of {', '.join(FACTORS)}, got {scale!r}")
    factor = min(max(finer, 1.0), MOST) if scale == "prior" else float(scale)
    if abs(factor - round(factor)) < WHOLE:
        factor = round(factor)
    size = round(photo[0] * factor), round(photo[1] * factor)
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"scale: expected a result of at most {MAX_PIXELS / 1e6:.0f} megapixels, got "
            f"{size[0]}x{size[1]}; choose a smaller scale, or crop the photo first"
        )
    return size


def larger(
    photo: Image,
    prior: Image | None,
    registration: Registration | None,
    scale: str,
    *,
    spared: Plane | None = None,
    strict: bool = False,
) -> Larger:
    """Enlarge the photo (h, w, 3) by `scale` ("2", "3", "4" or "prior"), with detail of the prior.
    Without a usable prior it is only resampled, and `notes` in the result says why.

    Args:
        prior: (H, W, 3) as generated, before it is warped onto the photo; None: there is none.
        registration: the placement of the prior on the photo (h, w); None: it was not placed.
        spared: (h, w) in [0, 1], 1 where no detail of the prior may be used; None: 0 everywhere.
        strict: use no detail of the prior anywhere."""
    own = (photo.shape[1], photo.shape[0])
    finer = finer_by(registration)
    size = larger_size(own, scale, finer)
    if prior is None or registration is None or strict or finer < FINER:
        lies = registration is not None and registration.placed == "exactly"
        why = NONE_ASKED if strict and lies else NO_FINER if lies else NO_PRIOR
        return Larger(enlarge(photo, size), np.zeros(size[::-1], np.float32), (why,))
    matrix, field = on_finer_grid(registration.matrix, registration.field, own, size)
    warped = apply(replace(registration, matrix=matrix, field=field), prior, size=size)
    free = warped.valid if spared is None else warped.valid * (1 - resize(spared, size))
    detail = new_detail(photo, align_finely(warped.pixels, photo), free)
    plain = expand(photo, size)
    generated = share_of(detail, plain, WINDOW * size[0] / own[0])
    return Larger(bring_back(plain + detail, photo), generated)


def with_alpha_of(photo: Photo, size: Size) -> Photo:
    """The photo with its alpha channel, if it has one, resized to `size` (width, height)."""
    if photo.alpha is None or photo.alpha.shape == (size[1], size[0]):
        return photo
    alpha = cv2.resize(photo.alpha, size, interpolation=cv2.INTER_LINEAR)
    return replace(photo, alpha=np.asarray(alpha, np.float32))


def finer_by(registration: Registration | None) -> float:
    """The px of the prior per px of the photo along a side; 1 if it could not be placed exactly."""
    if registration is None or registration.placed != "exactly":
        return 1.0
    return 1 / float(np.sqrt(abs(np.linalg.det(registration.matrix[:2, :2]))))


def enlarge(
    photo: Image, size: Size, prior: Image | None = None, valid: Plane | None = None
) -> Image:
    """Enlarge the photo (h, w, 3) to `size` (W, H); the result, reduced again, equals the photo.

    `prior`: (H, W, 3) registered, at that size; None: only resample. `valid`: (H, W) share of each
    pixel that the prior covers, 0 to 1; None: it covers all."""
    finer = expand(photo, size)
    if prior is not None:
        finer += new_detail(photo, prior, np.float32(1) if valid is None else valid)
    return bring_back(finer, photo)


def new_detail(photo: Image, prior: Image, valid: Plane | np.float32) -> Image:
    """Detail (H, W, 3) of the registered prior (H, W, 3) that is finer than the pixels of the photo
    (h, w, 3); it is weakened where the two do not agree, and multiplied by `valid`, which is
    (H, W) or one number."""
    size = (prior.shape[1], prior.shape[0])
    small = reduce(prior, (photo.shape[1], photo.shape[0]))
    share, gain = agreement(photo, small)
    weight = resize(share * gain, size) * valid
    return np.asarray(weight[..., None] * (prior - expand(small, size)), np.float32)


def bring_back(finer: Image, photo: Image) -> Image:
    """Clip `finer` (H, W, 3) to [0, 1] in place, and change pixels beside the clipped ones so that
    it still reduces to the photo (h, w, 3). Returns `finer`."""
    for _ in range(ROUNDS):
        np.clip(finer, 0, 1, out=finer)
        missing = photo - reduce(finer, (photo.shape[1], photo.shape[0]))
        if float(np.abs(missing).max()) < NEAR:
            break
        finer += PUSH * expand(missing, (finer.shape[1], finer.shape[0]))
    return np.clip(finer, 0, 1, out=finer)


def align_finely(prior: Image, photo: Image) -> Image:
    """Align a registered prior (H, W, 3) to the photo (h, w, 3) more precisely, to about 0.1 px of
    the photo, by Gauss-Newton steps in windows of normalised contrast (Lucas and Kanade, 1981).
    Returns the prior, resampled on its own grid."""
    height, width = photo.shape[:2]
    own, its = (grey(v) for v in (photo, reduce(prior, (width, height))))
    off = np.zeros((height, width, 2), np.float32)
    for _ in range(STEPS):
        moved = shift(its, off.copy())
        off = np.clip(cv2.GaussianBlur(off + step_towards(own, moved), (0, 0), 1), -FAR, FAR)
    size = (prior.shape[1], prior.shape[0])
    wide = cv2.resize(off, size, interpolation=cv2.INTER_CUBIC)
    wide *= np.array([size[0] / width, size[1] / height], np.float32)
    return np.asarray(np.clip(shift(prior, wide), 0, 1), np.float32)


def shift(picture: Image | Plane, off: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture sampled at each pixel's (x, y) plus `off` (H, W, 2): dx, dy in px; overwrites
    `off`."""
    off[..., 0] += np.arange(off.shape[1], dtype=np.float32)
    off[..., 1] += np.arange(off.shape[0], dtype=np.float32)[:, None]
    moved = cv2.remap(picture, off, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def step_towards(own: Plane, its: Plane) -> NDArray[np.float32]:
    """By how many px, (h, w, 2) dx and dy, to move the points where the luma `its` is sampled, so
    that it fits the luma `own`; both are (h, w)."""
    own, its = (v - local_mean(v) for v in (own, its))
    its = its * np.sqrt((local_mean(own * own) + CALM) / (local_mean(its * its) + CALM))
    x, y = (cv2.Sobel(its, -1, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    off = own - its
    xx, xy, yy, right, down = map(local_mean, (x * x, x * y, y * y, x * off, y * off))
    xx, yy = xx + FLAT, yy + FLAT
    step = np.dstack([yy * right - xy * down, xx * down - xy * right])
    return np.asarray(step / (xx * yy - xy * xy)[..., None], np.float32)


def local_mean(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), LOCAL), np.float32)


def share_of(detail: Image, plain: Image, sigma: float) -> Plane:
    """Share (H, W), 0 to 1, of `detail` (H, W, 3) in the contrast of `plain` + `detail`, where
    `plain` is a picture without it; measured by RMS in Gaussian windows of `sigma` px."""
    flat = cv2.GaussianBlur(grey(plain), (0, 0), sigma)
    added, there = (
        np.sqrt(cv2.GaussianBlur(v * v, (0, 0), sigma)) for v in (grey(detail), grey(plain) - flat)
    )
    return np.asarray(added / (added + there + TINY), np.float32)


def agreement(photo: Image, prior: Image) -> tuple[Plane, Plane]:
    """How well the prior shows the photo's structure (h, w), 0 to 1, and the factor (h, w), 0.5 to
    1.6, that scales the prior's local contrast to the photo's. Both pictures are (h, w, 3)."""
    y, p = (plane - cv2.GaussianBlur(plane, (0, 0), WINDOW) for plane in map(grey, (photo, prior)))
    vy, vp, c = (cv2.GaussianBlur(v, (0, 0), WINDOW) for v in (y * y, p * p, y * p))
    correlation = c / np.sqrt((vy + TINY**2) * (vp + TINY**2))
    share = np.clip((correlation - DOUBT) / (TRUST - DOUBT), 0, 1)
    gain = np.clip(np.sqrt((vy + TINY**2) / (vp + TINY**2)), *CONTRAST)
    return np.asarray(share, np.float32), np.asarray(gain, np.float32)


def grey(image: Image) -> Plane:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def resize(plane: Plane, size: Size) -> Plane:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def reduce(image: Image, size: Size) -> Image:
    """The picture reduced to `size` (width, height) by bicubic interpolation with antialiasing."""
    return both_ways(image, reduction(size[1], image.shape[0]), reduction(size[0], image.shape[1]))


def expand(image: Image, size: Size) -> Image:
    """The picture of `size` (width, height) of least norm that `reduce` turns into `image`."""
    rows, columns = reduction(image.shape[0], size[1]), reduction(image.shape[1], size[0])
    height, width = image.shape[:2]
    factors = scipy.sparse.linalg.splu
    whole = factors(scipy.sparse.csc_matrix((rows @ rows.T).astype(np.float64)))
    across = factors(scipy.sparse.csc_matrix((columns @ columns.T).astype(np.float64)))
    values = whole.solve(image.reshape(height, -1).astype(np.float64))
    values = values.reshape(height, width, 3).transpose(1, 0, 2).reshape(width, -1)
    solved = across.solve(np.ascontiguousarray(values)).reshape(width, height, 3)
    small = np.ascontiguousarray(solved.transpose(1, 0, 2), np.float32)
    return both_ways(small, rows.T.tocsr(), columns.T.tocsr())


def both_ways(
    image: Image, rows: "scipy.sparse.csr_matrix", columns: "scipy.sparse.csr_matrix"
) -> Image:
    """Apply the matrix `rows` (h, H) along the height of a picture (H, W, 3), and `columns` (w, W)
    along its width; returns (h, w, 3)."""
    tall = (rows @ image.reshape(image.shape[0], -1)).reshape(-1, image.shape[1], 3)
    turned = np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(image.shape[1], -1)
    wide = (columns @ turned).reshape(-1, tall.shape[0], 3)
    return np.ascontiguousarray(wide.transpose(1, 0, 2), np.float32)


@lru_cache(maxsize=8)
def reduction(small: int, large: int) -> "scipy.sparse.csr_matrix":
    """Sparse matrix (small, large) that reduces a line of `large` values to `small` by Keys' cubic
    kernel, widened by large / small; the line is mirrored at its ends."""
    factor = large / small
    reach = int(np.ceil(2 * factor)) + 1
    centres = (np.arange(small) + 0.5) * factor - 0.5
    columns = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    weights = cubic((columns - centres[:, None]) / factor)
    weights /= weights.sum(1, keepdims=True)
    mirrored = np.mod(columns, 2 * large)
    mirrored = np.minimum(mirrored, 2 * large - 1 - mirrored)
    rows = np.repeat(np.arange(small), columns.shape[1])
    entries = (weights.ravel().astype(np.float32), (rows, mirrored.ravel()))
    return scipy.sparse.coo_matrix(entries, shape=(small, large)).tocsr()


def cubic(x: Matrix) -> Matrix:
    """Keys' cubic convolution kernel with a = -0.5, at the distances `x` in px."""
    t = np.abs(x)
    inner = 1.5 * t**3 - 2.5 * t**2 + 1
    outer = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.asarray(np.where(t <= 1, inner, np.where(t < 2, outer, 0.0)), np.float64)


def on_finer_grid(
    matrix: Matrix, field: NDArray[np.float32] | None, photo: Size, size: Size
) -> tuple[Matrix, NDArray[np.float32] | None]:
    """Adapt a registration's matrix (3, 3), prior px to photo px, and its field (h, w, 2) of shifts
    dx, dy in photo px (or None), to the photo enlarged from `photo` to `size` (width, height)."""
    across, down = size[0] / photo[0], size[1] / photo[1]
    finer = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])
    if field is None:
        return finer @ matrix, None
    wide = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
    return finer @ matrix, np.asarray(wide * np.array([across, down], np.float32), np.float32)
