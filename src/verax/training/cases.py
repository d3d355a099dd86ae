"""Cases for the fusion network: degraded photos with simulated priors, fused up to the network.

A case goes through the pipeline itself: the photo is restored without the prior, the prior
registered, the base moved to its tone. So the network learns on the errors that restoration,
registration and tone fit really make. Cases are kept with the run, they are dear to make.
"""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from verax import restorers
from verax.degrade import Degradation, apply
from verax.fusion import fuse, network
from verax.geometry import register as registration
from verax.image import Image, from_uint8, to_uint8
from verax.priors.simulated import SimulatorSettings, mix
from verax.training.library import Library, Scene
from verax.training.nafnet import TASKS

SIDE = 400  # px: long side of a case, for the processor's sake
SEVERITIES = (0.2, 1.0)
SETTINGS = SimulatorSettings()


@dataclass(frozen=True, slots=True)
class Case:
    """Input of the fusion network (H, W, 19) and reference (H, W, 3), 8 bit; severity per task."""

    inputs: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    severity: NDArray[np.float32]


def prepare(
    library: Library, mix: Mapping[str, float], seed: int, count: int, *, workers: int = 0
) -> list[Case]:
    """`count` cases of a library, a function of the seed; `mix` weighs tasks and "clean"."""
    make = partial(_case, library.scenes, mix, seed)
    if not workers:
        return [make(index) for index in range(count)]
    # the networks' sessions are made after the fork, one set in each process
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        return list(pool.map(make, range(count), chunksize=4))


def save(cases: list[Case], path: Path) -> None:
    """Keep cases beside a run, whole or not at all."""
    part = path.with_suffix(".part.npz")
    names = ("inputs", "reference", "severity")
    arrays = {f"{n}{i}": getattr(case, n) for i, case in enumerate(cases) for n in names}
    np.savez(part, **arrays)
    part.replace(path)


def load(path: Path) -> list[Case]:
    """The cases that `save` kept."""
    with np.load(path) as kept:
        count = len(kept.files) // 3
        return [
            Case(*(kept[f"{n}{i}"] for n in ("inputs", "reference", "severity")))
            for i in range(count)
        ]


def _case(scenes: list[Scene], mix: Mapping[str, float], seed: int, index: int) -> Case:
    rng = np.random.default_rng((seed, index))
    scene, other = (scenes[int(k)] for k in rng.integers(len(scenes), size=2))
    reference = _small(from_uint8(scene.photo))
    photo, severity = _degraded(scene, reference, mix, rng)
    prior = _prior(reference, photo, _small(from_uint8(other.photo)), seed=int(rng.integers(2**31)))
    base = restorers.restore(photo, "network")
    inputs = up_to_the_network(photo, base, prior)
    return Case(to_uint8(np.clip(inputs, 0, 1)), to_uint8(reference), severity)


def _degraded(
    scene: Scene, reference: Image, mix: Mapping[str, float], rng: np.random.Generator
) -> tuple[Image, NDArray[np.float32]]:
    names, weights = list(mix), np.array(list(mix.values()), np.float64)
    task = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    severity = np.zeros(len(TASKS), np.float32)
    if task == "clean":
        return reference, severity
    severity[TASKS.index(task)] = rng.uniform(*SEVERITIES)
    step = Degradation(task, float(severity.max()), int(rng.integers(2**31)))
    depth = scene.depth
    if depth is not None:
        depth = cv2.resize(depth, reference.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return apply(reference, step, depth=depth), severity


def _prior(reference: Image, photo: Image, other: Image, *, seed: int) -> Image | None:
    made = mix(reference, photo, other, seed=seed, settings=SETTINGS)
    return None if made is None else made.prior


def up_to_the_network(photo: Image, base: Image, prior: Image | None) -> Image:
    """What the fusion network would be given; without a usable prior, the base and nothing else."""
    if prior is not None:
        found = registration.register(photo, prior)
        warped = registration.apply(found, prior, size=photo.shape[1::-1])
        recipe = None
        if found.usable and not fuse.repeats(photo, warped):
            recipe = fuse.solve(photo, base, warped, found)
        if recipe is not None:
            toned = fuse.toned(recipe, base)
            return network.inputs(photo, base, toned, warped, found)(slice(None), slice(None))
    return np.concatenate([photo, base, base, np.zeros((*photo.shape[:2], 10), np.float32)], 2)


def _small(picture: Image) -> Image:
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small, 0, 1), np.float32)
