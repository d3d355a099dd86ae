"""Simulated damaged photos with their priors: samples for `fit_damage.py`.

A photo is faded, toned, made grey, noisy, soft or encoded, and given holes, scratches, dust, tape,
stains or torn corners at known places; the light of its simulated prior is matched to it.
"""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from damage import DRIFT, crop
from verax import degrade
from verax.image import Image, Plane, to_uint8
from verax.prints.holes import Mask, relight
from verax.priors.simulated import ON_GRID, simulate

SIDES = (360, 420, 512)  # px
GREY = np.array([0.299, 0.587, 0.114], np.float32)
Size = tuple[int, int]


def prepare(folders: list[Path], cache: Path) -> list[Path]:
    """Files in the cache, each with a clean photo and a simulated prior."""
    cache.mkdir(parents=True, exist_ok=True)
    photos = sorted(p for f in folders for p in f.rglob("*") if p.suffix in (".jpg", ".png"))
    files = []
    for round_ in range(2):
        for index, path in enumerate(photos):
            if index % 4 == 3:
                continue
            files.append(cache / f"{round_}_{index}.npz")
            if files[-1].exists():
                continue
            rng = np.random.default_rng([round_, index])
            clean = crop(path, int(rng.choice(SIDES)))
            settings = DRIFT if rng.random() < 0.6 else ON_GRID
            prior = simulate(clean, seed=500_000 + 1000 * round_ + index, settings=settings).prior
            np.savez(files[-1], clean=to_uint8(clean), prior=to_uint8(np.clip(prior, 0, 1)))
    return files


def smoothed(layer: Plane, low: float, high: float, rng: Generator) -> Plane:
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(low, high)), np.float32)


def patch(size: Size, rng: Generator, radius: float) -> Plane:
    """A random polygon as a mask, with or without rounded corners."""
    count = int(rng.integers(5, 14))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = radius * rng.uniform(0.55, 1.3, count)
    points = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.5, 1)], 1) * reach[:, None]
    if rng.random() < 0.5:
        places = np.linspace(0, count, 60)
        closed = np.concatenate([points, points[:1]])
        round_ = [np.interp(places, np.arange(count + 1), closed[:, i]) for i in (0, 1)]
        points = np.stack(
            [cv2.GaussianBlur(np.tile(v, 3)[None], (0, 0), 4)[0, 60:120] for v in round_], 1
        )
    return filled(size, points + rng.uniform(0, 1, 2) * size[::-1], smoothed_by=(0.4, 1.0), rng=rng)


def filled(
    size: Size, points: NDArray, *, smoothed_by: tuple[float, float], rng: Generator
) -> Plane:
    layer = np.zeros(size, np.float32)
    cv2.fillPoly(layer, [np.rint(points * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    return smoothed(layer, *smoothed_by, rng)


def scratch(size: Size, rng: Generator, scale: float) -> Plane:
    """A straight, bent or wavy line as a mask, with or without gaps."""
    start, turn = rng.uniform(0, 1, 2) * size[::-1], rng.uniform(0, 2 * np.pi)
    length = rng.uniform(0.1, 0.9) * 400 * scale
    share = np.linspace(0, 1, 40)[:, None]
    points = start + length * share * [np.cos(turn), np.sin(turn)]
    points = points + np.cumsum(rng.normal(0, rng.choice([0, 0.1, 0.4, 0.8]) * scale, (40, 2)), 0)
    points = points + np.sin(share * np.pi) * rng.normal(0, 0.05 * length, 2)
    layer = np.zeros(size, np.uint8)
    width, broken = (
        int(rng.integers(1, max(1, round(2.4 * scale)) + 1)),
        rng.choice([0, 0, 0.05, 0.12]),
    )
    corners = np.rint(points * 16).astype(int).tolist()
    for one, two in pairwise(corners):
        if rng.random() >= broken:
            cv2.line(layer, one, two, 255, width, cv2.LINE_AA, 4)
    line = smoothed(layer.astype(np.float32), 0.3, 0.8, rng)
    return np.asarray(line / max(float(line.max()), 1e-6), np.float32)


def dust(size: Size, rng: Generator, scale: float) -> Plane:
    """A mask of dust: grains, and one or two hairs."""
    layer = np.zeros(size, np.uint8)
    for _ in range(rng.integers(1, 30)):
        at = int(rng.integers(size[1])), int(rng.integers(size[0]))
        axes = int(rng.integers(1, 3 + round(scale))), int(rng.integers(1, 2 + round(scale)))
        cv2.ellipse(layer, at, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 3)):
        turns = np.cumsum(rng.normal(0, 0.35, 12)) + rng.uniform(0, 7)
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * 2.5 * scale
        points = rng.uniform(0, 1, 2) * size[::-1] + np.cumsum(steps, 0)
        whole = [np.rint(points * 16).astype(np.int32)]
        cv2.polylines(layer, whole, False, 255, 1, cv2.LINE_AA, 4)
    return np.asarray(layer / np.float32(255), np.float32)


def tone(rng: Generator) -> NDArray[np.float32]:
    """A random colour of damage: white paper or dark background, rarely something between."""
    value = rng.uniform(0.8, 1) if rng.random() < 0.65 else rng.uniform(0, 0.15)
    if rng.random() < 0.1:
        value = rng.uniform(0.15, 0.8)
    tint = 1 - rng.uniform(0, 0.15) * np.array([0, 0.35, 1])
    return np.asarray(np.clip(value * tint, 0, 1), np.float32)


def torn(picture: Image, rng: Generator, scale: float) -> tuple[Image, Mask]:
    """The picture with holes, scratches and dust, and the mask of this damage."""
    size = picture.shape[:2]
    layers = [(patch(size, rng, 400 * scale * rng.uniform(0.015, 0.08)), 1.0, 0.2)
              for _ in range(rng.integers(0, 4))]  # fmt: skip
    layers += [
        (scratch(size, rng, scale), rng.uniform(0.6, 1), 0.2) for _ in range(rng.integers(0, 5))
    ]
    if rng.random() < 0.4:
        layers.append((dust(size, rng, scale), rng.uniform(0.7, 1), 0.1))
    mask = np.zeros(size, bool)
    for layer, share, least in layers:
        grain = rng.uniform(0, 0.02) * rng.standard_normal(size, np.float32)
        if rng.random() < 0.3:
            uneven = rng.standard_normal((6, 6), np.float32) * np.float32(rng.uniform(0, 0.06))
            grain = grain + cv2.resize(uneven, size[::-1], interpolation=cv2.INTER_CUBIC)
        picture = picture + share * layer[..., None] * (tone(rng) + grain[..., None] - picture)
        mask |= layer > least
    return picture, mask


def worn(picture: Image, rng: Generator, scale: float) -> tuple[Image, Mask]:
    """The picture with tape, a stain or a torn corner, and the mask of this damage."""
    height, width = size = picture.shape[:2]
    mask = np.zeros(size, bool)
    layers = []
    if rng.random() < 0.5:
        turn, wide = rng.uniform(0, np.pi), 400 * scale * rng.uniform(0.02, 0.06)
        along = np.array([np.cos(turn), np.sin(turn)]) * rng.choice([2000, 150 * scale])
        across = np.array([-np.sin(turn), np.cos(turn)]) * wide
        corners = np.array([along + across, along - across, -along - across, across - along])
        strip = filled(size, corners + rng.uniform(0.1, 0.9, 2) * (width, height),
                       smoothed_by=(0.6, 0.61), rng=rng)  # fmt: skip
        layers.append(
            (strip, rng.uniform(0.3, 0.7), rng.uniform((0.7, 0.6, 0.3), (0.95, 0.85, 0.6)))
        )
    if rng.random() < 0.5:
        stain = patch(size, rng, 400 * scale * rng.uniform(0.03, 0.1))
        layers.append(
            (stain, rng.uniform(0.4, 0.8), rng.uniform((0.2, 0.12, 0.02), (0.5, 0.35, 0.2)))
        )
    if rng.random() < 0.5:
        corner = rng.integers(0, 2, 2) * (width, height)
        reach = rng.uniform(0.05, 0.3, 2) * (width, height)
        outline = [(0, 0), (1, 0), (0.4, 0.4), (0, 1)]
        points = np.array([np.abs(corner - reach * place) for place in outline])
        layers.append((filled(size, points, smoothed_by=(0.3, 0.31), rng=rng), 1.0, tone(rng)))
    for layer, share, colour in layers:
        picture = picture + share * layer[..., None] * (np.float32(colour) - picture)
        mask |= layer > 0.3
    return picture, mask


def aged(picture: Image, rng: Generator) -> Image:
    """The picture made grey, faded with a colour cast, or grainy, each with some probability."""
    if rng.random() < 0.25:
        picture = np.repeat((picture @ GREY)[..., None], 3, 2)
    if rng.random() < 0.3:
        tint = np.array([1, rng.uniform(0.85, 1), rng.uniform(0.7, 1)], np.float32)
        curve = picture ** np.float32(rng.uniform(0.8, 1.25))
        picture = rng.uniform(0, 0.25) + rng.uniform(0.6, 0.9) * curve * tint
    if rng.random() < 0.3:
        shape = (*picture.shape[:2], 3 if rng.random() < 0.5 else 1)
        picture = picture + rng.uniform(0, 0.03) * rng.standard_normal(shape, np.float32)
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def scanned(picture: Image, rng: Generator) -> Image:
    """The picture softened or JPEG-compressed, each with some probability."""
    if rng.random() < 0.25:
        picture = smoothed(picture, 0.3, 1.0, rng)
    levels = to_uint8(np.clip(picture, 0, 1).astype(np.float32))
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 97))]
        levels = cv2.imdecode(cv2.imencode(".jpg", levels, quality)[1], cv2.IMREAD_COLOR)
    return np.asarray(levels / np.float32(255), np.float32)


def draw(file: Path, rng: Generator) -> tuple[Image, Image, Mask]:
    """A damaged photo, its prior with the light matched to it, and the mask of damage."""
    with np.load(file) as stored:
        both = [stored[name] / np.float32(255) for name in ("clean", "prior")]
    turns, scale = int(rng.integers(4)), 1.0
    both = [np.rot90(v[:, ::-1] if turns % 2 else v, turns) for v in both]
    if rng.random() < 0.3:
        scale = rng.uniform(1, 2)
        both = [
            cv2.resize(v, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for v in both
        ]
    side = int(min(rng.integers(300, 420), *both[0].shape[:2]))
    top, left = (int(rng.integers(n - side + 1)) for n in both[0].shape[:2])
    clean, prior = (np.clip(v[top : top + side, left : left + side], 0, 1) for v in both)
    photo, mask, kind = aged(clean, rng), np.zeros(clean.shape[:2], bool), rng.random()
    if kind < 0.42:
        harmed = degrade.damage(
            photo, rng, holes=int(rng.integers(0, 5)), scratches=int(rng.integers(0, 5)),
            specks=int(rng.choice([0, 0, 10, 30])),
        )  # fmt: skip
        photo, mask = harmed.pixels, harmed.mask
    elif kind < 0.87:
        photo, mask = (torn if kind < 0.75 else worn)(photo, rng, scale)
    photo = scanned(photo, rng)
    if rng.random() < 0.3:
        move = np.array([[1, 0, rng.normal(0, 0.7)], [0, 1, rng.normal(0, 0.7)]], np.float32)
        prior = cv2.warpAffine(prior, move, (side, side), flags=cv2.INTER_CUBIC,
                               borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    lit = relight(photo, np.clip(prior, 0, 1).astype(np.float32), np.ones_like(mask))
    return photo, np.clip(lit, 0, 1), mask
