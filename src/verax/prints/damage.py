"""Find the damage of a print by comparing the photo with its registered prior.

In each octave (pyramid level) two things are measured: structure of the photo that no local linear
map of the prior explains, and structure of the prior that no such map of the photo explains. If the
generator redrew the scene, both amounts are about equal. If it repaired a print, much structure is
only in the photo, and hardly any only in the prior; such a pair is called one-sided. In a one-sided
pair, all structure only in the photo is wear (creases, stains, tape, tears, border), unless single
damaged pieces (module `pieces`) account for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.image import Image, Plane
from verax.image.pixels import largest, luma, peaks
from verax.prints.holes import (
    WHOLE,
    Flaws,
    Light,
    Mask,
    count,
    dilate,
    faithfulness,
    fill,
    fit_light,
    relight,
)
from verax.prints.pieces import find_pieces, has_line, regions, strips, with_lines

MOST = 1600  # px, long side at which damage is searched for
# least correlation of prior and photo for a search, and that of a close prior
FAITHFUL, CLOSE = 0.55, 0.85
# whether a pair is one-sided is decided at a long side of SMALL px, from places with a response
# (see `compare`) above SIGHT: (least number only in the photo, least ratio to those in the prior)
SMALL, SIGHT = 640, 8.0
WORN = (12, 4.0)
ASKED = (8, 3.0)  # if the print is known to be damaged
LEANING, ALIKE = (12, 1.3), (8, 0.7)  # to search a colour photo for pieces; ALIKE: close prior
ALL = 0.3  # largest share of the picture that is worn; more is rain or another scene
STILL = 0.8  # least share of the places only in the photo that remain once pieces are filled
OPPONENT = np.array([[0.299, 0.587, 0.114], [0.5, -0.5, 0], [0.25, 0.25, -0.5]], np.float32)
OCTAVES = 3
WINDOW = (5, 5)  # in which two octaves are compared, px of their grid
QUIET = 0.3  # quantile of unexplained energy that is taken as noise
DOUBT, NOISY, FLOOR = 3.0, 3.0, 2e-5  # weights of the other picture's energy and of noise; floor
FAINT, CLEAR = 0.7, 1.2  # hysteresis: least response of a pixel of a place, and of its peak
SHIFT = 2  # px, largest misplacement of the prior
STEP, USUAL = 0.05, 5.0  # least difference in a place, and as a multiple of the mean around it
PLAINLY = 18.0  # multiple of that mean from which a place is wear in any case
AROUND = 0.12  # side of the window for that mean, share of the long side
FREE, FREELY = 0.025, 4.0  # neighbourhood, share of the long side, in which structure only in the
# prior weakens the response, and by what factor at most
EXACT, NEARBY = 0.25, 13  # a worn pixel has this share of the largest difference in a window of px
BACK, BACK_REACH = 0.35, 6  # largest share of a place within these px of prior-only structure
REGION = (3.0, 0.06, 0.12)  # difference in a region: multiple of the mean, its lower, upper bound
RIM = 1  # px by which the mask is dilated
TINY = 1e-12  # against division by 0
FACE = 0.67  # share by which the response is reduced in faces

Faces = Callable[[], Plane]  # returns (H, W), 1 in faces; called only for a worn print
SHIFTS = [(top, left) for top in range(3) for left in range(3)]  # (1, 1) is no shift


@dataclass(frozen=True, slots=True)
class Answers:
    """How clearly each of two pictures has structure that the other lacks: from about 1, it counts.
    `photo` (H, W) is for structure only in the photo, `prior` (H, W) for that only in the prior."""

    photo: Plane
    prior: Plane


@dataclass(frozen=True, slots=True)
class Wear:
    """The wear of a print: `mask` (H, W) of all wear; `border` (H, W), the part of the mask that is
    the print's border and the background around the print."""

    mask: Mask
    border: Mask


def find_damage(
    photo: Image,
    prior: Image,
    valid: Plane,
    *,
    known: bool = False,
    colour: bool = False,
    faces: Faces | None = None,
) -> Flaws:
    """Find the damage of a photo (H, W, 3) that its registered prior (H, W, 3) shows repaired.

    Photos with a long side above 1600 px are reduced to that first; the mask has the photo's size.

    Args:
        valid: (H, W) share of each pixel that the prior covers, 0 to 1.
        known: the photo is known to be a damaged print, so a single damaged piece is enough.
        colour: the photo is in colour, so more evidence is required.
        faces: function that returns (H, W), 1 in faces, where more evidence is required, else 0;
            None: faces are not treated differently."""
    scale = max(photo.shape[:2]) / MOST
    if scale > 1:
        size = (round(photo.shape[1] / scale), round(photo.shape[0] / scale))
        small = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (photo, prior, valid))
        less = faces and (lambda: cv2.resize(faces(), size, interpolation=cv2.INTER_AREA))
        flaws = find_damage(*small, known=known, colour=colour, faces=less)
        if not flaws.mask.any():
            return replace(flaws, mask=np.zeros(photo.shape[:2], bool))
        mask = cv2.resize(flaws.mask.astype(np.float32), photo.shape[1::-1])
        return replace(flaws, mask=mask > 0.25)
    none = Flaws(np.zeros(photo.shape[:2], bool), 0, 0, 0)
    pair = small_copies(photo, prior, valid)
    if (alike := faithfulness(*map(luma, pair[:2]))) < FAITHFUL:
        return none
    first, light = compare_small(*pair)
    counts = numbers(first)
    worn = is_one_sided(*counts, *(ASKED if known else WORN))
    leans = is_one_sided(*counts, *(ALIKE if alike > CLOSE else LEANING))
    if colour and not (worn or known or (leans and has_line(photo, prior, light, first.photo))):
        return none
    flaws = find_pieces(photo, prior, valid, light, known=known or worn, colour=colour)
    if not worn:
        return flaws
    wear, some = find_wear(photo, prior, valid, faces), known or flaws.mask.any()
    rest = fill(photo, relight(photo, prior, valid > 0.99), dilate(flaws.mask, RIM))
    after, _ = numbers(compare_small(*small_copies(rest, prior, valid))[0])
    if not (wear.border.any() or (some and after >= max(ASKED[0], STILL * counts[0]))):
        return flaws
    mask = flaws.mask | wear.mask
    torn = mask & ~wear.border
    return flaws if torn.mean() > ALL else Flaws(mask, *count(torn), float(wear.border.mean()))


def find_wear(photo: Image, prior: Image, valid: Plane, faces: Faces | None = None) -> Wear:
    """Find the wear of a print, such as creases and stains, that its registered prior lacks.

    `photo` and `prior` are (H, W, 3); `valid` (H, W) is the share of each pixel that the prior
    covers. The function `faces` returns (H, W), 1 in faces, where more evidence is required, else
    0; None: faces are not treated differently."""
    inside = valid > 0.99
    lit = relight(photo, prior, inside)
    answers = compare(photo, lit, inside)
    if faces is not None:
        answers = Answers(answers.photo * (1 - np.float32(FACE) * faces()), answers.prior)
    edges = places(answers.photo, CLEAR)
    lit = relight(photo, prior, inside & ~edges)
    off = difference(photo, lit, SHIFT) * inside
    usual = mean_within(off, inside & ~edges)
    back = dilate(places(answers.prior, 1.0), BACK_REACH)
    alone = worn_places(answers, off, usual, back)
    blurred, shown = (cv2.GaussianBlur(v, (0, 0), 1.2) for v in (photo, lit))
    smooth = difference(blurred, shown, 0) * inside
    plain = inside & ~alone & (smooth < REGION[1])
    level = np.clip(REGION[0] * mean_within(smooth, plain), *REGION[1:])
    border = strips(smooth > level)
    top = cv2.dilate(off * alone, np.ones((NEARBY,) * 2, np.uint8))
    mask = dilate(alone, 2) & (off > np.maximum(np.maximum(0.02, 2 * usual), EXACT * top))
    mask |= regions(np.where(border, 0, smooth / level), edges | border, back)
    less = np.float32(0) if faces is None else np.float32(FACE) * faces()
    mask = dilate(mask, RIM) & inside | border
    return Wear(with_lines(mask, photo, lit, inside, less) & inside | border, border)


def numbers(answers: Answers) -> tuple[int, int]:
    """How many places have very clear structure (a response above 8) only in the photo, and how
    many only in the prior."""
    return number_of(answers.photo, SIGHT), number_of(answers.prior, SIGHT)


def is_one_sided(in_photo: int, in_prior: int, least: int, times: float) -> bool:
    """Whether `in_photo` (number of places with structure only in the photo) is at least `least`,
    and also more than `times` (`in_prior` + 1), where `in_prior` counts those only in the prior."""
    return in_photo >= least and in_photo > times * (in_prior + 1)


def small_copies(photo: Image, prior: Image, valid: Plane) -> list[Image]:
    """[photo, prior, `valid`] of one size, all reduced to a long side of at most 640 px."""
    scale = min(1.0, SMALL / max(photo.shape[:2]))
    size = (max(3, round(photo.shape[1] * scale)), max(3, round(photo.shape[0] * scale)))
    pair = (cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (photo, prior, valid))
    return [np.asarray(v, np.float32) for v in pair]


def compare_small(photo: Image, prior: Image, valid: Plane) -> tuple[Answers, Light]:
    """Compare photo and registered prior under the same light, without the print's border. All
    three arguments are reduced to at most 640 px; `valid` (h, w): share that the prior covers.
    Returns how clearly each has structure that the other lacks, and the correction of the light."""
    inside = valid > 0.99
    light = fit_light(photo, prior, inside)
    lit = next(light.on(prior, WHOLE))
    border = strips(difference(photo, lit, 0) > REGION[2])
    return compare(photo, lit, inside & ~border), light


def compare(photo: Image, prior: Image, inside: Mask) -> Answers:
    """How clearly photo and prior (H, W, 3), under the same light, each have structure that the
    other lacks, as responses (H, W): the largest of three octaves, and 0 outside the mask
    `inside`."""
    own, its = (
        cv2.transform(np.clip(v, 0, 1).astype(np.float32), OPPONENT) for v in (photo, prior)
    )
    shape, visible = photo.shape[1::-1], inside
    best = [np.zeros(photo.shape[:2], np.float32) for _ in range(2)]
    for _ in range(OCTAVES):
        left, right = unexplained_energy(own, its)
        for most, one, two in ((best[0], left, right), (best[1], right, left)):
            sample = one[visible]
            noise = float(np.quantile(sample, QUIET)) if sample.size else 0.0
            answer = (one - noise) / (DOUBT * two + NOISY * noise + FLOOR)
            np.maximum(most, cv2.resize(answer, shape, interpolation=cv2.INTER_LINEAR), out=most)
        if min(own.shape[:2]) < 64:
            break
        size = ((own.shape[1] + 1) // 2, (own.shape[0] + 1) // 2)
        own, its = (cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (own, its))
        visible = cv2.resize(visible.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return Answers(best[0] * inside, best[1] * inside)


def unexplained_energy(own: Image, its: Image) -> tuple[Plane, Plane]:
    """Local energy (h, w) of the finest detail that `own` (h, w, 3) has and `its` lacks, and of
    that which `its` has and `own` lacks, summed over the channels. Detail that the other has
    shifted by up to a pixel, or with another contrast, does not count."""
    a, b = (cv2.GaussianBlur(v, (0, 0), 1) - cv2.GaussianBlur(v, (0, 0), 2) for v in (own, its))
    mine, others = (cv2.blur(v * v, WINDOW) for v in (a, b))
    shared, both, either = np.zeros_like(a), np.empty_like(a), np.empty_like(a)
    height, width = a.shape[:2]
    around = [cv2.copyMakeBorder(v, 1, 1, 1, 1, cv2.BORDER_WRAP) for v in (b, others)]
    for top, left in SHIFTS:
        moved, energy = (v[top : top + height, left : left + width] for v in around)
        cv2.max(cv2.blur(cv2.multiply(a, moved, both), WINDOW), 0, both)
        cv2.add(cv2.multiply(mine, energy, either), TINY, either)
        cv2.max(cv2.divide(cv2.multiply(both, both, both), either, either), shared, shared)
    rest = 1 - shared
    left, right = (cv2.transform(v * rest, np.ones((1, 3), np.float32)) for v in (mine, others))
    return np.asarray(left, np.float32), np.asarray(right, np.float32)


def label(answer: Plane) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Label connected places of a response (H, W) above 0.7. Returns labels (H, W), 0 outside all
    places, and the largest response by label, (count,), which for label 0 is set to 0."""
    count, labels = cv2.connectedComponents((answer > FAINT).astype(np.uint8))
    labels = np.asarray(labels, np.int32)
    tops = peaks(labels, count, answer)
    tops[0] = 0
    return labels, tops


def places(answer: Plane, peak: float) -> Mask:
    labels, tops = label(answer)
    return np.asarray((tops > peak)[labels], bool)


def number_of(answer: Plane, peak: float) -> int:
    return int((label(answer)[1] > peak).sum())


def worn_places(answers: Answers, off: Plane, usual: Plane, back: Mask) -> Mask:
    """Mask (H, W) of the places that are wear: both their response and their colour differ enough.

    Args:
        answers: responses to structure that only the photo, or only the prior, has.
        off: (H, W) distance of the photo's colour from all colours of the prior nearby, 0 to 1.
        usual: (H, W) local mean of `off` outside wear.
        back: (H, W) True near structure only in the prior; more evidence is required there."""
    labels, _ = label(answers.photo)
    count = int(labels.max()) + 1
    around = np.ones((2 * round(FREE * max(off.shape)) + 1,) * 2, np.uint8)
    freely = np.clip(cv2.dilate(answers.prior, around), 1, FREELY)
    own, clear = (peaks(labels, count, v) for v in (answers.photo, answers.photo / freely))
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    beside = np.bincount(labels.ravel(), back.ravel().astype(np.float64), count) / sizes
    far = peaks(labels, count, off)
    sure = peaks(labels, count, off / (usual + np.float32(0.004)))
    alone = ((clear > CLEAR) & (beside < BACK) & (sure > USUAL)) | (sure > PLAINLY)
    passing = alone & (own > CLEAR) & (far > STEP)
    passing[0] = False  # outside all places
    return np.asarray(passing[labels], bool)


def difference(photo: Image, prior: Image, shift: int) -> Plane:
    """How far (H, W) the photo's values lie outside the range of the registered prior's values
    within `shift` px: the maximum over the channels, 0 to 1; 0 inside the range."""
    if shift == 0:
        return largest(cv2.absdiff(photo, prior))
    around = np.ones((2 * shift + 1,) * 2, np.uint8)
    nearest = np.clip(photo, cv2.erode(prior, around), cv2.dilate(prior, around))
    return largest(cv2.absdiff(photo, nearest))


def mean_within(values: Plane, where: Mask) -> Plane:
    """Means (H, W) of `values` (H, W) in windows of 12 % of the long side, over pixels in `where`
    only."""
    window = (max(3, round(AROUND * max(values.shape))),) * 2
    counts = where.astype(np.float32)
    total, share = (cv2.blur(v, window) for v in (values * counts, counts))
    return np.asarray(total / np.maximum(share, 0.05), np.float32)
