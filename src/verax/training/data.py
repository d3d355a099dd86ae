"""Make training samples from photos and pairs.

A sample depends only on the training data, the recipe's `mix` (how often each kind of sample is
drawn), the seed and the sample's number. Therefore a run that was stopped continues with exactly
the same samples, whatever the number of processes. A sample for the tone network (light and colour)
is a thumbnail of a whole photo; one for the detail network (noise, rain and the like) is a crop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from verax.degrade import Degradation, apply
from verax.image import Image, Plane, from_uint8
from verax.restorers.runtime import TASKS
from verax.training.library import Library, Pair, Scene

Floats = NDArray[np.float32]

THUMBNAILS = ((6, 8), (8, 6), (7, 7), (9, 12))  # sizes of batches in turn, sixths of the crop side
DEPTH_SHARE = 0.3  # share of hazy samples made from photos with known depth
# how much larger than its thumbnail a photo is when it is degraded: noise and the like are added to
# the larger photo, and averaged when it is reduced, as in real photos
FINER = {
    "lowlight": 2, "noise": 2, "rain": 2, "snow": 2, "jpeg": 2, "raindrop": 2, "motion_blur": 2,
    "defocus_blur": 2,
}  # fmt: skip
# lowest severity of samples: slightly dark photos are mostly meant to be so, and must not change
MILDEST = {"lowlight": 0.4, "haze": 0.15}
CLEAN, REAL = "clean", "real:"  # mix entries beside the tasks; "real:haze" draws real pairs


@dataclass(frozen=True, slots=True)
class Sample:
    """A training sample, all values in [0, 1].

    Attributes:
        inputs: (C, H, W), input of the network; C is 3 for the tone network, 12 for detail.
        target: (3, H, W), the desired restoration.
        severity: (10,), of haze, rain, snow, low light, noise, JPEG, motion blur, defocus blur,
            water, drops on a window; 0 for a kind that the photo does not have.
    """

    inputs: Floats
    target: Floats
    severity: Floats


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """A degraded photo, its undegraded reference on the same grid, the main kind of degradation,
    such as "haze" ("clean": none), and the severity, 0 to 1, of each of the 10 kinds, (10,)."""

    photo: Image
    reference: Image
    task: str
    severity: Floats


@dataclass(frozen=True, slots=True)
class Source:
    """Draws training samples from photos and pairs.

    Attributes:
        library: the photos and pairs.
        mix: how often each kind of sample is drawn (relative numbers): "clean", a task such as
            "haze" (simulated), or "real:haze" (real pairs).
        seed: random seed of the samples.
    """

    library: Library
    mix: Mapping[str, float]
    seed: int

    def tone(self, index: int, batch: int, short: int) -> Sample:
        """Make sample number `index` for the tone network: a thumbnail of a degraded photo.

        `batch` is the number of samples in a batch: the first batch has the samples 0 to
        `batch` - 1, and so on. All samples of a batch have the same size. `short` is the short
        side of the smallest thumbnails, in px.
        """
        rng = np.random.default_rng((self.seed, index))
        height, width = THUMBNAILS[(index // batch) % len(THUMBNAILS)]
        size = (height * short // 6, width * short // 6)
        sample = self._draw(rng, size, whole=True)
        return Sample(_planes(sample.photo), _planes(sample.reference), sample.severity)

    def detail(self, index: int, crop: int) -> Sample:
        """Make sample number `index` for the detail network: a crop of `crop` x `crop` px.

        The input (12, crop, crop) holds the degraded crop, a copy with corrected light and colour,
        and six planes of zeros in the place of a prior.
        """
        rng = np.random.default_rng((self.seed, index))
        sample = self._draw(rng, (crop, crop), whole=False)
        tone, target = _change_tone(sample, rng)
        empty = np.zeros((6, crop, crop), np.float32)
        inputs = np.concatenate([_planes(sample.photo), _planes(tone), empty])
        return Sample(inputs, _planes(target), sample.severity)

    def _draw(self, rng: Generator, size: tuple[int, int], *, whole: bool) -> TrainingSample:
        names = list(self.mix)
        weights = np.array([self.mix[name] for name in names], np.float64)
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        if name.startswith(REAL):
            task = name.removeprefix(REAL)
            pairs = [pair for pair in self.library.pairs if pair.task == task]
            return _real(pairs[int(rng.integers(len(pairs)))], size, rng, whole=whole)
        scenes = self.library.scenes
        if name == "haze" and self.library.with_depth() and rng.random() < DEPTH_SHARE:
            scenes = self.library.with_depth()
        return _synthetic(scenes[int(rng.integers(len(scenes)))], name, size, rng, whole=whole)


def _synthetic(
    scene: Scene, task: str, size: tuple[int, int], rng: Generator, *, whole: bool
) -> TrainingSample:
    window = _window(scene.photo.shape[:2], size, rng, whole=whole)
    finer = FINER.get(task, 1) if whole else 1
    work = (finer * size[0], finer * size[1])
    reference, mirrored = _cut(from_uint8(scene.photo[window]), work, rng)
    depth = None if scene.depth is None else _resize(scene.depth[window], work)
    if depth is not None and mirrored:
        depth = np.ascontiguousarray(depth[:, ::-1])
    severity = np.zeros(len(TASKS), np.float32)
    if task == CLEAN:
        return TrainingSample(reference, reference, task, severity)
    mildest = MILDEST.get(task, 0.08) if whole else 0.08
    steps = [Degradation(task, float(rng.uniform(mildest, 1.0)), int(rng.integers(2**31)))]
    if rng.random() < 0.12:  # real photos often have a second fault
        extra = str(rng.choice(["noise", "jpeg"]))
        steps.append(Degradation(extra, float(rng.uniform(0.05, 0.3)), int(rng.integers(2**31))))
    for step in steps:
        severity[TASKS.index(step.task)] = step.severity
    photo = apply(reference, *steps, depth=depth)
    return TrainingSample(_resize(photo, size), _resize(reference, size), task, severity)


def _real(pair: Pair, size: tuple[int, int], rng: Generator, *, whole: bool) -> TrainingSample:
    window = _window(pair.photo.shape[:2], size, rng, whole=whole, scales=(1.0, 1.0))
    state = int(rng.integers(2**31))
    photo, reference = (
        _cut(from_uint8(p[window]), size, np.random.default_rng(state))[0]
        for p in (pair.photo, pair.reference)
    )
    severity = np.zeros(len(TASKS), np.float32)
    error = float(np.sqrt(np.mean((photo - reference) ** 2)))
    severity[TASKS.index(pair.task)] = min(1.0, 4.0 * error)  # 1 from an rms error of 0.25
    return TrainingSample(photo, reference, pair.task, severity)


def _window(
    full: tuple[int, ...],
    size: tuple[int, int],
    rng: Generator,
    *,
    whole: bool,
    scales: tuple[float, float] = (1.0, 2.4),
) -> tuple[slice, slice]:
    """A random window of a photo, as slices of the photo's rows and columns.

    `full` is the photo's (height, width, ...); the window has the aspect ratio of `size`, also
    (height, width). With `whole`, the window's sides are 0.75 to 1 times the largest that fit.
    Otherwise they are those of `size` times a random factor between the two values of `scales`,
    as far as this fits into the photo.
    """
    most = min(full[0] / size[0], full[1] / size[1])
    scale = most * rng.uniform(0.75, 1.0) if whole else min(most, rng.uniform(*scales))
    height, width = (min(f, round(s * scale)) for f, s in zip(full, size, strict=False))
    top, left = rng.integers(full[0] - height + 1), rng.integers(full[1] - width + 1)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _cut(crop: Image, size: tuple[int, int], rng: Generator) -> tuple[Image, bool]:
    """Resize a crop to `size` (height, width), and mirror it left to right at random.

    Returns the crop, and whether it was mirrored.
    """
    resized, mirrored = _resize(crop, size), bool(rng.random() < 0.5)
    return (np.ascontiguousarray(resized[:, ::-1]) if mirrored else resized), mirrored


def _resize(plane: Floats, size: tuple[int, int]) -> Floats:
    if plane.shape[:2] == size:
        return plane
    smaller = plane.shape[0] > size[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(plane, size[::-1], interpolation=method), np.float32)
    return resized if plane.ndim == 2 else _clip(resized)


def _change_tone(sample: TrainingSample, rng: Generator) -> tuple[Image, Image]:
    """Correct the light and colour of a sample's photo imperfectly, as a tone network would.

    Returns the corrected photo and the target for the detail network, which has the same remaining
    errors of light and colour, so that this network learns not to change them.
    """
    photo, reference = sample.photo, sample.reference
    if sample.task == "lowlight":
        photo = _match_light(photo, reference, rng)
    elif sample.task in ("haze", "underwater"):
        photo = _match_moments(photo, reference, rng)
    if rng.random() < 0.7:
        return photo, reference
    gain = np.exp2(rng.normal(0.0, 0.25) + rng.normal(0.0, 0.08, 3)).astype(np.float32)
    offset = np.full(3, rng.normal(0.0, 0.03), np.float32)
    return _clip(photo * gain + offset), _clip(reference * gain + offset)


def _match_light(photo: Image, reference: Image, rng: Generator) -> Image:
    """A copy of a dark photo with the local brightness of its reference, on the same grid.

    It imitates a tone network. Local contrast differs at random from what fits the reference best.
    """
    sigma = rng.uniform(6.0, 24.0)
    quiet = cv2.GaussianBlur(photo, (0, 0), 1.5)  # noise would lower the fitted slope
    (low, spread), (target, _) = _moments(quiet, sigma), _moments(reference, sigma)
    both = cv2.GaussianBlur(quiet * reference, (0, 0), sigma) - low * target
    gain = np.clip(target / np.maximum(low, 1e-3), 1e-2, 40.0)  # undefined in black parts
    fitted = np.clip(both / (spread * spread + np.float32(1e-5)), 0.1 * gain, gain)
    slope = fitted * (gain / fitted) ** np.float32(rng.uniform(-0.7, 0.5))
    return _clip(target + slope * (photo - low))


def _match_moments(photo: Image, reference: Image, rng: Generator) -> Image:
    sigma = rng.uniform(8.0, 24.0)
    (m0, s0), (m1, s1) = (_moments(p, sigma) for p in (photo, reference))
    gain = np.clip(s1 / np.maximum(s0, 1e-2), 0.5, 8.0)
    return _clip((photo - m0) * gain + m1)


def _moments(picture: Image, sigma: float) -> tuple[Floats, Floats]:
    mean = cv2.GaussianBlur(picture, (0, 0), sigma)
    square = cv2.GaussianBlur(picture * picture, (0, 0), sigma)
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))


def unit(levels: NDArray[np.uint8]) -> Floats:
    """Convert 8-bit values to float32 in [0, 1]."""
    return levels.astype(np.float32) / np.float32(255)


def _clip(picture: NDArray[np.floating[Any]]) -> Image:
    return np.asarray(np.clip(picture, 0.0, 1.0), np.float32)


def _planes(picture: Image | Plane) -> Floats:
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0), np.float32)
