"""Changes that a simulated image generator makes to a photo, with their ground truth.

Objects are added, removed, moved, duplicated or mirrored; light, colour and fine detail change
everywhere. An "object" is any piece of the photo that has the requested area: the pixels that lie
near a random point and have about its colour.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade.fields import smooth_noise, to_linear, to_srgb
from verax.errors import SettingsError
from verax.image import Image, Plane
from verax.image.pixels import luma_709

Mask = NDArray[np.bool_]
Kind = Literal["added", "removed", "moved", "duplicated", "mirrored"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class ObjectEdit:
    """A change to a random object: "added" (as a copy in other colours, 0.3 photo widths away),
    "removed", "moved", "duplicated" or "mirrored". `area` is the object's share of the photo's
    area, `distance` the shift of a moved or duplicated object, as a share of the photo's width."""

    kind: Kind
    area: float = 0.02
    distance: float = 0.04

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not 0 < self.area <= 0.25 or self.distance < 0:
            raise SettingsError(
                f"ObjectEdit: expected a kind of {', '.join(KINDS)}, an area above 0 and up to "
                f"0.25 and a distance of at least 0, got {self}"
            )


@dataclass(frozen=True, slots=True)
class InjectedChange:
    """A change that was made to an object.

    Attributes:
        kind: "added", "removed", "moved", "duplicated" or "mirrored".
        lost: (H, W) bool, where the photo shows an object that the prior does not show.
        gained: (H, W) bool, where the prior shows an object that the photo does not show.
        shift: (dx, dy) in photo px from the object to its new place or copy; (0, 0) for none.
    """

    kind: Kind
    lost: Mask
    gained: Mask
    shift: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) px around the change; right and bottom are exclusive."""
        ys, xs = np.nonzero(self.lost | self.gained)
        return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def edit(
    clean: Image, edits: tuple[ObjectEdit, ...], rng: Generator
) -> tuple[Image, tuple[InjectedChange, ...]]:
    """Make the edits one after another in a copy of `clean`; returns the copy and the changes."""
    scene, changes = clean, []
    for edit in edits:
        scene, change = _edit(scene, edit, rng)
        changes.append(change)
    return scene, tuple(changes)


def _edit(scene: Image, edit: ObjectEdit, rng: Generator) -> tuple[Image, InjectedChange]:
    thing = pick(scene, edit.area, rng)
    none = np.zeros_like(thing)
    if edit.kind == "removed":
        return fill(scene, thing, rng), InjectedChange("removed", thing, none, (0.0, 0.0))
    if edit.kind == "mirrored":
        return _mirror(scene, thing)
    far = edit.kind == "added"
    shift = _shift(thing, rng, distance=0.3 if far else edit.distance, width=scene.shape[1])
    pixels, there = _move(scene, thing, shift)
    if far:  # to look foreign, the copied piece gets other colours
        pixels = np.clip(pixels[..., rng.permutation(3)] * rng.uniform(0.6, 1.5), 0.0, 1.0)
    base = fill(scene, thing, rng) if edit.kind == "moved" else scene
    weight = _soft(there)
    out = np.asarray(base + weight * (pixels - base), np.float32)
    return out, InjectedChange(edit.kind, thing if edit.kind == "moved" else none, there, shift)


def enlarge(change: InjectedChange, size: tuple[int, int]) -> InjectedChange:
    """The change with its masks and shift resized to a photo grid of `size` (width, height)."""
    height, width = change.lost.shape
    if (width, height) == size:
        return change
    lost, gained = (
        cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        for mask in (change.lost, change.gained)
    )
    shift = (change.shift[0] * size[0] / width, change.shift[1] * size[1] / height)
    return InjectedChange(change.kind, lost, gained, shift)


def pick(scene: Image, area: float, rng: Generator) -> Mask:
    """The mask of a random piece of similar colour, with the share `area` of the photo's pixels."""
    height, width = scene.shape[:2]
    radius = np.sqrt(area * height * width / np.pi)
    cx = rng.uniform(min(radius, width / 2), max(width - radius, width / 2))
    cy = rng.uniform(min(radius, height / 2), max(height - radius, height / 2))
    y = (np.arange(height, dtype=np.float32)[:, None] - np.float32(cy)) / np.float32(radius)
    x = (np.arange(width, dtype=np.float32)[None, :] - np.float32(cx)) / np.float32(radius)
    soft = cv2.GaussianBlur(scene, (0, 0), max(0.08 * radius, 0.5))
    colour = soft[int(np.clip(cy, 0, height - 1)), int(np.clip(cx, 0, width - 1))]
    unlike = np.abs(soft - colour).mean(2)
    wobble = smooth_noise((height, width), rng, cells=max(2.0, 1.5 * min(height, width) / radius))
    score = np.hypot(x, y * np.float32(rng.uniform(0.6, 1.4))) + 3 * unlike + 0.12 * wobble
    count = max(1, round(area * height * width))
    mask = np.zeros(height * width, bool)
    mask[np.argpartition(score.ravel(), count - 1)[:count]] = True
    return mask.reshape(height, width)


def fill(scene: Image, hole: Mask, rng: Generator) -> Image:
    """Fill the hole (where True) with colours from around it and fine detail from nearby."""
    wide = cv2.dilate(hole.view(np.uint8), np.ones((3, 3), np.uint8))
    smooth = _push_pull(scene, (1 - wide).astype(np.float32))
    reach = max(2.0, float(np.sqrt(hole.sum())))
    angle = rng.uniform(0, 2 * np.pi)
    detail = scene - cv2.GaussianBlur(scene, (0, 0), max(1.0, 0.1 * reach))
    donor = _translate(detail, (1.3 * reach * np.cos(angle), 1.3 * reach * np.sin(angle)))
    filled = np.clip(smooth + donor, 0.0, 1.0)
    return np.asarray(scene + _soft(hole) * (filled - scene), np.float32)


def _push_pull(scene: Image, weight: Plane) -> Image:
    """Fill pixels by push-pull; `weight` (H, W) is from 0 (unknown: fill) to 1 (known: keep)."""
    known = scene * weight[..., None]
    if min(weight.shape) <= 2:
        return np.asarray(known.sum((0, 1)) / max(float(weight.sum()), 1e-6) + 0 * scene)
    half = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    small = small / np.maximum(small_weight, 1e-6)[..., None]
    coarse = _push_pull(small, np.minimum(small_weight * 4, 1.0))
    up = cv2.resize(coarse, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(known + (1 - weight[..., None]) * up, np.float32)


def _mirror(scene: Image, thing: Mask) -> tuple[Image, InjectedChange]:
    xs = np.nonzero(thing.any(0))[0]
    left, right = int(xs.min()), int(xs.max()) + 1
    pixels, there = scene.copy(), np.zeros_like(thing)
    pixels[:, left:right] = scene[:, left:right][:, ::-1]
    there[:, left:right] = thing[:, left:right] | thing[:, left:right][:, ::-1]
    out = np.asarray(scene + _soft(there) * (pixels - scene), np.float32)
    return out, InjectedChange("mirrored", there, there, (0.0, 0.0))


def _shift(thing: Mask, rng: Generator, *, distance: float, width: int) -> tuple[float, float]:
    """A random shift (dx, dy) of `distance` * `width` px, where `width` is that of the picture.

    If possible, the centre of the mask `thing`, shifted by it, lies in the picture.
    """
    height, (ys, xs) = thing.shape[0], np.nonzero(thing)
    for _ in range(12):
        angle = rng.uniform(0, 2 * np.pi)
        dx, dy = (round(distance * width * part) for part in (np.cos(angle), np.sin(angle)))
        x, y = xs.mean() + dx, ys.mean() + dy
        if 0 <= x < width and 0 <= y < height:
            break
    return float(dx), float(dy)


def _move(scene: Image, thing: Mask, shift: tuple[float, float]) -> tuple[Image, Mask]:
    there = _translate(thing.astype(np.float32), shift, border=cv2.BORDER_CONSTANT) > 0.5
    return _translate(scene, shift), there


def _translate(
    array: NDArray[np.float32], shift: tuple[float, float], *, border: int = cv2.BORDER_REFLECT
) -> NDArray[np.float32]:
    """Move an array's content right and down by `shift` (dx, dy) px; `border`: OpenCV's mode."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    return np.asarray(
        cv2.warpAffine(array, matrix, array.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=border)
    )


def _soft(mask: Mask) -> NDArray[np.float32]:
    """The mask as a weight (H, W, 1) from 0 to 1, with its edge blurred by about one pixel."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0.7))[..., None]


@dataclass(frozen=True, slots=True)
class Tone:
    """How much a simulated generator changes light and colour; the defaults change nothing.

    Attributes:
        exposure_ev: change of exposure in stops.
        contrast: slope of an S-shaped tone curve at mid-grey; 1 for no change.
        saturation: factor on each colour's distance from grey; 1 for no change.
        warmth_ev: change of red minus change of blue, in stops; above 0 is warmer.
        colour: standard deviation of random numbers added to the identity 3x3 colour matrix.
        uneven_ev: standard deviation of smooth differences in brightness over the photo, in stops.
        night: strength of a change from day to night, 0 to 1.
    """

    exposure_ev: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    warmth_ev: float = 0.0
    colour: float = 0.0
    uneven_ev: float = 0.0
    night: float = 0.0


def retone(image: Image, tone: Tone, rng: Generator) -> Image:
    """A copy with changed light and colour, or `image` itself if `tone` changes nothing."""
    if tone == Tone():
        return image
    stops = np.array([tone.warmth_ev / 2, 0.0, -tone.warmth_ev / 2]) + tone.exposure_ev
    stops = stops - tone.night * np.array([3.0, 2.6, 1.8])  # bluish darkness
    mix = rng.standard_normal((3, 3))
    mix = np.eye(3) + tone.colour * (mix - mix.mean(1, keepdims=True))  # grey stays grey
    gain = np.exp2(stops).astype(np.float32)
    linear = to_linear(image) @ mix.T.astype(np.float32) * gain
    if tone.uneven_ev > 0:
        field = smooth_noise(image.shape[:2], rng, cells=2.0)
        linear = linear * np.exp2(np.float32(tone.uneven_ev) * field)[..., None]
    out = to_srgb(linear)
    if tone.contrast != 1.0:
        out = s_curve(out, tone.contrast)
    if tone.saturation != 1.0:
        grey = luma_709(out)[..., None]
        out = np.clip(grey + np.float32(tone.saturation) * (out - grey), 0.0, 1.0)
    return np.asarray(out, np.float32)


def s_curve(image: Image, slope: float) -> Image:
    """Apply an S-shaped tone curve that keeps 0, 0.5 and 1 and has this slope (above 0) at 0.5."""
    up = np.clip(image, 0.0, 1.0) ** np.float32(slope)
    down = (1 - np.clip(image, 0.0, 1.0)) ** np.float32(slope)
    return np.asarray(up / (up + down), np.float32)


def resynthesise(scene: Image, rng: Generator, *, share: float, sigma_px: float) -> Image:
    """Replace fine detail by invented detail, except on strong edges.

    `share` (0 to 1) says how much of the detail is replaced. Fine detail is the picture minus its
    Gaussian blur by `sigma_px`. The invented detail is a mixture of detail from nearby places and
    of filtered noise, about as strong as the replaced detail.
    """
    low = cv2.GaussianBlur(scene, (0, 0), sigma_px)
    high = scene - low
    strength = _strength(high, sigma_px)
    own = rng.uniform(0.3, 1.0)
    donor = np.float32(own) * _displace(high, rng, reach_px=6 * sigma_px)
    grain = rng.standard_normal((*scene.shape[:2], 1), np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), max(0.4, 0.35 * sigma_px))[..., None]
    grain *= np.float32(1 - own) * strength.mean() / max(float(grain.std()), 1e-6)
    donor = donor + grain
    donor *= strength / np.maximum(_strength(donor, sigma_px), 1e-4)
    middle, top = np.quantile(strength[::2, ::2], [0.7, 0.97])
    edge = np.clip((strength - middle) / np.float32(max(top - middle, 1e-6)), 0.0, 1.0)
    replaced = np.float32(share) * (1 - edge)
    gain = np.float32(rng.uniform(0.6, 1.2))
    out = low + high * (1 - replaced) + donor * replaced * gain
    return np.asarray(np.clip(out, 0.0, 1.0), np.float32)


def sharpen(image: Image, strength: float) -> Image:
    """Sharpen by an unsharp mask with a sigma of 1 px; a `strength` of 0 changes nothing."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.0)
    return np.asarray(np.clip(image + np.float32(strength) * (image - soft), 0.0, 1.0), np.float32)


def _strength(detail: NDArray[np.float32], sigma_px: float) -> Plane:
    """RMS (H, W, 1) of `detail` over channels and a Gaussian window of 1.5 * `sigma_px`."""
    energy = (detail * detail).mean(2)
    return np.asarray(np.sqrt(cv2.GaussianBlur(energy, (0, 0), 1.5 * sigma_px)))[..., None]


def _displace(high: NDArray[np.float32], rng: Generator, *, reach_px: float) -> NDArray[np.float32]:
    """Displace the fine detail `high` (H, W, 3) by smooth random offsets of about `reach_px`."""
    height, width = high.shape[:2]
    cells = max(2.0, min(height, width) / (4 * reach_px))
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:height, :width])
    dx, dy = (
        np.float32(reach_px) * smooth_noise((height, width), rng, cells=cells) for _ in range(2)
    )
    return np.asarray(
        cv2.remap(high, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    )
