"""Measure what an image generator changed in a photo: framing, geometry, objects, edges, light.

`measure` returns all numbers as one `Deviation`. If the ground truth is known, `ladder` also tells
how much of the generated picture's error is due to geometry, colour and content. It corrects one
more class of deviation in each step, and scores the picture after each. All scores are on the same
pixels: those that the registered picture covers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.deviation.blocks import Blocks
from verax.deviation.compare import Look, compare, placements
from verax.deviation.framing import Global, framing_entries, geometry_entries, size_of
from verax.deviation.objects import find_objects
from verax.deviation.record import Deviation, Entry, ObjectChange, ObjectKind, unknown
from verax.deviation.structure import band_entries, edge_entries, keypoint_entries
from verax.deviation.tone import fit_colour, level_entries, tone_entries
from verax.errors import InputError, SizeMismatchError
from verax.geometry import Size, map_points
from verax.geometry.register import Registration, apply
from verax.image import Image, check_image
from verax.image.pixels import wide_blur
from verax.metrics.reference import PSNR_CAP_DB, WINDOW, ssim_map

__all__ = [
    "Deviation", "Entry", "Ladder", "Look", "ObjectChange", "compare", "deviation", "ladder",
    "measure",
]  # fmt: skip

# Finds changed objects. Takes the photo and the registered generated picture on one pixel grid, and
# returns the changes in pixels of that grid.
Finder = Callable[[Image, Image], tuple[ObjectChange, ...]]

MOVED_BLOCK = 0.01  # displacement from which a block counts as moved, share of the photo's width
LEAST_COVERAGE = 0.5  # least share of the photo's blocks found, for statistics of local motion
KINDS: tuple[ObjectKind, ...] = ("appeared", "vanished", "moved", "replaced")
FOREIGN = "the generated picture cannot be placed on the photo"

# class of deviation: (value from which it counts in full, weight in the drift); docs/deviation.md
DRIFT = {
    "framing": (0.5, 0.5), "geometry": (0.1, 0.5), "motion": (0.02, 0.4), "edges": (0.6, 0.5),
    "structure": (1.0, 0.5), "objects": (0.2, 0.6), "scene": (1.0, 0.3),
}  # fmt: skip


def measure(
    photo: Image,
    generated: Image,
    registration: Registration | None = None,
    *,
    finder: Finder | None = None,
    extra: Mapping[str, Entry] | None = None,
) -> Deviation:
    """Measure what a generator changed in a photo; both are (H, W, 3), of any two sizes.

    Args:
        registration: places `generated` on `photo`; None: it is computed.
        finder: called with the photo and the generated picture registered to it, both with a long
            side of at most 640 px; returns the changed objects in px of these. None: the built-in
            method.
        extra: further measured numbers by name, to be added to the entries of the result.
    """
    return deviation(compare(photo, generated, registration), finder=finder, extra=extra)


def deviation(
    look: Look, *, finder: Finder | None = None, extra: Mapping[str, Entry] | None = None
) -> Deviation:
    """Measure what the generator changed; `look` has both pictures, aligned by `compare`.

    `finder` is called with the aligned photo and generated picture (long side at most 640 px) and
    returns the changed objects in px of these; None: the built-in method. `extra` are further
    measured numbers by name, to be added to the entries of the result.
    """
    photo, generated, size = look.photo, look.generated, size_of(look.photo)
    alignment = look.alignment
    if alignment is None:
        entries = framing_entries(photo, generated, look.registration, look.canvas)
        return _foreign(look.registration, look.canvas, {**entries, **(extra or {})})
    entries = framing_entries(photo, generated, alignment.registration, look.canvas)
    blocks, geometry = alignment.blocks, alignment.geometry
    entries |= geometry_entries(geometry, size, len(blocks.points) / blocks.total)
    entries |= motion_entries(blocks, geometry, size)
    changed, mask = find_objects(look.pair, size)
    if finder is not None:
        changed = _rescale(finder(look.pair.photo, look.pair.prior), 1 / look.pair.scale)
    entries |= _object_entries(changed)
    entries |= edge_entries(look.pair, mask)
    entries |= keypoint_entries(look.pair, mask)
    entries |= band_entries(look.pair, mask)
    tones, state = tone_entries(look.pair, mask)
    entries |= tones | level_entries(look.pair) | dict(extra or {})
    drift, fit = _drift(drift_classes(entries, geometry, size, state)), look.registration
    return Deviation(fit.placed, fit.reason, look.canvas, state, entries, changed, drift)


def _rescale(changes: tuple[ObjectChange, ...], scale: float) -> tuple[ObjectChange, ...]:
    """Convert object changes to a grid `scale` times as wide: multiply their boxes and shifts."""
    result = []
    for change in changes:
        left, top, right, bottom = (round(side * scale) for side in change.box)
        shift = change.shift_px
        moved = None if shift is None else (shift[0] * scale, shift[1] * scale)
        result.append(replace(change, box=(left, top, right, bottom), shift_px=moved))
    return tuple(result)


def _foreign(registration: Registration, canvas: str, entries: dict[str, Entry]) -> Deviation:
    """The deviation of a generated picture that cannot be placed on the photo; its drift is 100.

    `registration` holds the reason; `canvas` is the change of size and proportions, e.g. "crop".
    `entries` are the framing and extra numbers; those of geometry and edges are added as unknown.
    """
    units = {"shift_x_px": "px", "shift_y_px": "px", "scale_x": "ratio", "scale_y": "ratio"}
    units |= {"rotation_deg": "deg", "invented_edges": "share", "lost_edges": "share"}
    entries = {**{name: unknown(unit, FOREIGN) for name, unit in units.items()}, **entries}
    return Deviation(registration.placed, registration.reason, canvas, "same", entries, (), 100.0)


def motion_entries(blocks: Blocks, geometry: Global | str, size: Size) -> dict[str, Entry]:
    """Measure local motion: how far blocks of the photo moved beyond the homography `geometry`.

    `size` is the photo's (width, height). Returns the entries "blocks_lost" (share of the
    measurable blocks that were not found), "local_motion_median_px", "local_motion_p95_px" (50 %
    and 95 % quantile of the motion's length, photo px) and "moved_blocks" (share of the scene that
    moved by more than 1 % of the photo's width). The last three have no value if fewer than half of
    the blocks were found, or if `geometry` is the reason (str) why no homography could be fitted.
    """
    coverage = len(blocks.points) / blocks.total
    lost = 1 - len(blocks.points) / max(blocks.measurable, 1)
    entries = {"blocks_lost": Entry(lost, "share", confidence=blocks.measurable / blocks.total)}
    units = {"local_motion_median_px": "px", "local_motion_p95_px": "px", "moved_blocks": "share"}
    if isinstance(geometry, str) or coverage < LEAST_COVERAGE:
        few = f"only {coverage:.0%} of the photo's blocks were found in the generated picture"
        note = geometry if isinstance(geometry, str) else few
        return entries | {name: unknown(unit, note) for name, unit in units.items()}
    length = np.linalg.norm(geometry.residual, axis=1)
    moved = float(blocks.share[length > MOVED_BLOCK * size[0]].sum())
    values = (*weighted_quantiles(length, blocks.share, (0.5, 0.95)), moved)
    for (name, unit), value in zip(units.items(), values, strict=True):
        entries[name] = Entry(value, unit, confidence=coverage)
    return entries


def weighted_quantiles(
    values: NDArray[np.float64], share: NDArray[np.float64], levels: tuple[float, ...]
) -> list[float]:
    """Quantiles of `values` at `levels` (each in [0, 1]), weighted by `share`, which sums to 1."""
    order = np.argsort(values)
    reached = np.cumsum(share[order]) - share[order] / 2
    return [float(v) for v in np.interp(levels, reached, values[order])]


def _object_entries(changed: tuple[ObjectChange, ...]) -> dict[str, Entry]:
    """Entries: counts of changed objects by kind ("objects_moved" and so on), the number that
    appeared minus that vanished, and the share of the photo's area that all of them cover."""
    kinds = [change.kind for change in changed]
    entries = {f"objects_{k}": Entry(kinds.count(k), "count") for k in KINDS}
    more = kinds.count("appeared") - kinds.count("vanished")
    entries["object_count_change"] = Entry(more, "count")
    entries["objects_area"] = Entry(min(1.0, sum(c.area for c in changed)), "share")
    return entries


def _drift(classes: Mapping[str, float]) -> float:
    """Combine the changes of all classes, such as {"objects": 0.1}, into 0 (no change) to 100.

    DRIFT has for each class its weight and its limit, a change from which it counts in full. A
    change x counts c = weight * min(1, x / limit). The result is 100 * (1 - product of (1 - c)).
    """
    rest = 1.0
    for name, value in classes.items():
        full, weight = DRIFT[name]
        rest *= 1 - weight * min(1.0, value / full)
    return 100 * (1 - rest)


def drift_classes(
    entries: Mapping[str, Entry], geometry: Global | str, size: Size, scene_state: str
) -> dict[str, float]:
    """Measure how much the generator changed in each class that can be measured; 0: no change.

    The classes are "framing" (size of the log ratio of the aspect ratios), "geometry" (mean
    displacement by the homography, over the photo's diagonal), "motion" (median displacement beyond
    it, likewise), "edges" (share that is invented), "structure" (1 - correlation), "objects" (share
    of the area) and "scene" (1 if `scene_state` is not "same"). `geometry` is the homography, or
    the reason (str) if there is none; `size` is the photo's (width, height).
    """
    diagonal = float(np.hypot(*size))
    values = {name: entry.value for name, entry in entries.items() if entry.value is not None}
    classes = {"objects": values["objects_area"], "scene": float(scene_state != "same")}
    classes["framing"] = abs(float(np.log(values["aspect_change"])))
    if not isinstance(geometry, str):
        grid = np.stack(np.meshgrid(*(np.linspace(0, side - 1, 9) for side in size)), -1)
        points = grid.reshape(-1, 2)
        apart = np.linalg.norm(map_points(geometry.matrix, points) - points, axis=1)
        classes["geometry"] = float(apart.mean()) / diagonal
    if "local_motion_median_px" in values:
        classes["motion"] = values["local_motion_median_px"] / diagonal
    if "invented_edges" in values:
        classes["edges"] = values["invented_edges"]
    octaves = [values[n] for o in (2, 4, 8) if (n := f"coherence_loss_{o}px") in values]
    if octaves:
        classes["structure"] = float(np.mean(octaves))
    return classes


RUNGS = {"none": "raw resize", "canvas": "canvas", "global": "global", "local": "local"}
AFFINE_WINDOW = 0.06  # sigma of the local colour fit, share of the long side
AFFINE_RIDGE = 1e-3  # variance added to each channel: regularises the local fit to a plain offset
REGULARISATION = (
    "local motion: registration field plus residual flow, Gaussian, 1/48 of the long side; "
    f"3x3 colour: least squares; local affine colour: Gaussian {AFFINE_WINDOW:g} of the long side, "
    f"ridge {AFFINE_RIDGE:g}"
)


@dataclass(frozen=True, slots=True)
class Rung:
    """Scores of a picture against the ground truth, after all corrections up to the one named."""

    name: str
    psnr_db: float
    ssim: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """Scores of a generated picture against the ground truth, after more and more corrections.

    `rungs` starts with a plain resize. `compared_share` is the share of the pixels on which all
    rungs are scored, `regularisation` tells in words how smooth the corrections are.
    """

    rungs: tuple[Rung, ...]
    compared_share: float
    regularisation: str = REGULARISATION


def ladder(look: Look, reference: Image) -> Ladder:
    """Score the generated picture against the ground truth, after more and more corrections.

    The corrections undo the changes of size and proportions, then of geometry, then of colour.
    `look` has both pictures; `reference` is the ground truth, (H, W, 3), of the photo's size.
    """
    check_image(reference, name="reference")
    photo, generated = look.photo, look.generated
    if photo.shape != reference.shape:
        raise SizeMismatchError(
            f"the reference (ground truth) is {reference.shape[1]}x{reference.shape[0]}, the photo "
            f"{photo.shape[1]}x{photo.shape[0]}; expected equal sizes: resize or crop the reference"
        )
    inside = np.ones(photo.shape[:2], bool)
    steps = {}
    for name, placed in placements(look).items():
        warped = apply(placed, generated, size=size_of(photo))
        steps[RUNGS[name]] = warped.pixels
        if name != "none":
            inside &= warped.valid > 0.5
    inside = cv2.erode(inside.astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8)) > 0
    if inside.mean() < 0.05:
        raise InputError(
            "expected a generated picture that covers at least 5 % of the reference (the ground "
            f"truth), this one covers {inside.mean():.1%}; leave out the reference"
        )
    matrix = fit_colour(steps["local"], reference, inside)
    steps["3x3 colour"] = np.clip(steps["local"] @ matrix, 0, 1)
    steps["local affine colour"] = _local_affine(steps["local"], reference, inside)
    scored = tuple(_rung(name, step, reference, inside) for name, step in steps.items())
    return Ladder(scored, float(inside.mean()))


def _local_affine(picture: Image, reference: Image, inside: NDArray[np.bool_]) -> Image:
    """Correct the colours of `picture` to those of `reference`, which has the same size.

    Each channel gets a gain and an offset that vary smoothly over the picture, fitted by least
    squares to the pixels in `inside` (H, W).
    """
    window = AFFINE_WINDOW * max(inside.shape)
    mask = inside.astype(np.float32)[..., None]
    around = np.maximum(wide_blur(mask[..., 0], window), 1e-3)[..., None]

    def mean(plane: Image) -> Image:
        return np.asarray(wide_blur(plane * mask, window) / around, np.float32)

    mean_p, mean_r = mean(picture), mean(reference)
    variance = mean(picture * picture) - mean_p * mean_p
    gain = (mean(picture * reference) - mean_p * mean_r) / (variance + np.float32(AFFINE_RIDGE))
    return np.asarray(np.clip(mean_r + gain * (picture - mean_p), 0, 1), np.float32)


def _rung(name: str, picture: Image, reference: Image, inside: NDArray[np.bool_]) -> Rung:
    error = float(np.mean((picture.astype(np.float64) - reference)[inside] ** 2))
    psnr = PSNR_CAP_DB if error <= 0 else min(PSNR_CAP_DB, -10 * float(np.log10(error)))
    return Rung(name, psnr, float(ssim_map(picture, reference)[inside].mean()))
