"""How well registration finds known moves, accepts real priors, and rejects those of other scenes.

    python benchmarks/registration.py --known [--scenes 40] [--local 0.004]
    python benchmarks/registration.py --real [--foreign 500] [--sheets FOLDER]
    python benchmarks/registration.py --peers

--known   clean photos degraded at three severities, against simulated priors moved by up to 10 %
          shift, 12 % scale per axis, 3 degrees and 3 % perspective. Errors are those of the
          photo's corners through the true and the estimated matrix, in per cent of the width;
          with a local field beside it, the error of the whole mapping over the photo.
--real    photos with their generated priors, and photos with the prior of another photo
--peers   the same known and real pairs by SIFT + MAGSAC and by ECC; success = mean corner error
          at most 1 % on known pairs, a plausible homography on real ones

Needs the folder of real pictures (VERAX_PICTURES, default ../shared/data). Prints tables and, as
last line, one JSON object.
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from verax import degrade
from verax import image as images
from verax.geometry import (
    Matrix,
    compose,
    corner_errors,
    invert,
    map_points,
    motion,
    stretch,
)
from verax.geometry.register import Registration, apply, register
from verax.image import Image
from verax.priors.simulated import SimulatorSettings, draw, inject

HERE = Path(__file__).resolve().parents[1]
PICTURES = Path(os.environ.get("VERAX_PICTURES", HERE.parent / "shared" / "data"))
CLEAN = {("CID22", "val"), ("Kodak24", "test"), ("CLIC2025", "train"), ("Budgie_CC0", "train")}
SEVERITIES = (0.25, 0.5, 0.85)
LONG_SIDE = 1280
PLACED = ("exactly", "roughly", "undecided", "not")


@dataclass(frozen=True)
class Pair:
    """A photo and a prior; if the prior is simulated, with the true mapping."""

    name: str
    photo: Image
    prior: Image
    matrix: Matrix | None = None
    field: np.ndarray | None = None


def size(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def rows(pictures: Path) -> list[dict[str, str]]:
    with (pictures / "manifest.csv").open() as lines:
        return list(csv.DictReader(lines))


def known_pairs(pictures: Path, scenes: int, local: float, seed: int = 0) -> Iterator[Pair]:
    """Each scene at three severities, each time with another task, prior and move."""
    paths = [r["target"] for r in rows(pictures) if (r["dataset"], r["split"]) in CLEAN]
    tasks = list(degrade.TASKS)
    for scene, index in enumerate(np.linspace(0, len(paths) - 1, scenes).astype(int)):
        clean = images.read(pictures / paths[index]).pixels
        for turn, severity in enumerate(SEVERITIES):
            number = len(SEVERITIES) * scene + turn + 1000 * seed
            task = tasks[(scene + 3 * turn) % len(tasks)]
            photo = degrade.apply(clean, degrade.Degradation(task, severity, number))
            rng = np.random.default_rng([number, 7])
            amounts = replace(
                draw(rng, size(clean), SimulatorSettings()),
                canvas="stretch",
                local=local,
                **moves(rng),
            )
            simulation = inject(clean, amounts, seed=number, degraded=photo)
            name = f"{Path(paths[index]).stem}:{task}:{severity}"
            yield Pair(name, photo, simulation.prior, simulation.matrix, simulation.field)


def moves(rng: np.random.Generator) -> dict[str, float]:
    """A move drawn evenly from the ranges that registration must cover."""
    shift, scale = rng.uniform(-0.10, 0.10, 2), rng.uniform(0.88, 1.12, 2)
    perspective = rng.uniform(-0.015, 0.015, 2)  # the two add up at a corner
    return {
        "shift_x": float(shift[0]),
        "shift_y": float(shift[1]),
        "scale_x": float(scale[0]),
        "scale_y": float(scale[1]),
        "rotation_deg": float(rng.uniform(-3, 3)),
        "perspective_x": float(perspective[0]),
        "perspective_y": float(perspective[1]),
    }


def real_pairs(pictures: Path, edits: bool = False) -> list[Pair]:
    selection = [
        r for r in rows(pictures) if r["generated"] and (r["task"] == "other_edit") == edits
    ]
    return [
        Pair(
            f"{Path(r['generated'].replace('.png', '')).stem} ({r['generator']})",
            images.read(pictures / r["input"]).pixels,
            images.read(pictures / r["generated"]).pixels,
        )
        for r in selection
    ]


def foreign_pairs(pairs: list[Pair], count: int) -> Iterator[Pair]:
    """Photos with the prior of another photo, resized to the size of their own prior."""
    rng = np.random.default_rng(0)
    every = [(i, j) for i in range(len(pairs)) for j in range(len(pairs)) if i != j]
    for index in rng.permutation(len(every))[:count]:
        one, other = (pairs[i] for i in every[index])
        prior = cv2.resize(other.prior, size(one.prior), interpolation=cv2.INTER_AREA)
        yield Pair(f"{one.name} with {other.name}", one.photo, np.clip(prior, 0, 1))


def mapping_error(pair: Pair, registration: Registration) -> float:
    """Median error over the photo of the mapping (matrix and field), in px of the photo."""
    width, height = size(pair.photo)
    x, y = np.meshgrid(np.arange(4, width, 8), np.arange(4, height, 8))
    points = np.column_stack([x.ravel(), y.ravel()]).astype(float)

    def moved(field: np.ndarray | None) -> np.ndarray:
        return points if field is None else points + field[y.ravel(), x.ravel()]

    lookup = compose(registration.matrix, invert(pair.matrix))  # where the truth sees what we see
    return float(
        np.median(
            np.linalg.norm(
                map_points(lookup, moved(pair.field)) - moved(registration.field), axis=1
            )
        )
    )


def known(pictures: Path, scenes: int, local: float, seed: int) -> dict[str, Any]:
    lines, seconds = [], []
    for pair in known_pairs(pictures, scenes, local, seed):
        start = time.perf_counter()
        registration = register(pair.photo, pair.prior)
        seconds.append(time.perf_counter() - start)
        width = pair.photo.shape[1]
        corners = corner_errors(registration.matrix, pair.matrix, size(pair.photo)) / width
        whole = mapping_error(pair, registration) / width
        lines.append((registration.placed == "exactly", corners.mean(), corners.max(), whole))
        print(
            f"{pair.name:44.44s} {registration.placed:10s} p {registration.p_value:.1e} "
            f"score {registration.score:.2f}"
            f" corners mean {corners.mean():7.3%} max {corners.max():7.3%} mapping {whole:7.3%}",
            flush=True,
        )
    accepted = np.array([line[0] for line in lines])
    errors = np.array([line[1:] for line in lines])[accepted]
    result = {"pairs": len(lines), "local": local, "exactly": float(accepted.mean())}
    for column, name in enumerate(("corner_mean", "corner_max", "mapping")):
        for quantile in (50, 95):
            result[f"{name}_p{quantile}"] = float(np.percentile(errors[:, column], quantile))
    result["seconds_median"] = float(np.median(seconds))
    print("targets: exactly >= 95 %, corner median <= 0.3 %, 95th percentile <= 1 %")
    return result


def real(pictures: Path, foreign: int, sheets: Path | None) -> dict[str, Any]:
    pairs = real_pairs(pictures)
    counts: dict[str, Any] = {}
    for group, members in (("restorations", pairs), ("edits", real_pairs(pictures, edits=True))):
        verdicts = [report(pair, sheets) for pair in members]
        counts[group] = {word: verdicts.count(word) for word in PLACED}
    verdicts, values = [], []
    for pair in foreign_pairs(pairs, foreign):
        registration = register(pair.photo, pair.prior)
        verdicts.append(registration.placed)
        values.append(registration.p_value)
        if registration.usable:
            print(
                f"prior of another scene accepted ({verdicts[-1]}): {pair.name} p {values[-1]:.1e}"
            )
    counts["foreign"] = {word: verdicts.count(word) for word in PLACED}
    counts["foreign_p"] = {str(q): float(np.quantile(values, q)) for q in (0.01, 0.05, 0.5)}
    print("targets: at least 37 of 38 restorations exactly, at most 1 % of foreign pairs")
    return counts


def report(pair: Pair, sheets: Path | None) -> str:
    start = time.perf_counter()
    registration = register(pair.photo, pair.prior)
    seconds = time.perf_counter() - start
    move = motion(registration.matrix, size(pair.prior), size(pair.photo))
    print(
        f"{pair.name:46.46s} {registration.placed:10s} p {registration.p_value:.1e} "
        f"score {registration.score:.2f} "
        f"confidence {registration.confidence.mean():.2f} shift {move.shift[0]:+.3f} "
        f"{move.shift[1]:+.3f} "
        f"scale {move.scale[0]:.3f} {move.scale[1]:.3f} turn {move.rotation:+.1f} "
        f"{registration.canvas} {seconds:.2f} s",
        flush=True,
    )
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        images.write(sheets / f"{pair.name.split(' ')[0]}.png", sheet(pair, registration))
    return registration.placed


def sheet(pair: Pair, registration: Registration) -> Image:
    """Photo (brightened), warped prior, chequerboard of both, edges of both, confidence."""
    bright = np.clip(pair.photo / max(0.05, float(np.quantile(pair.photo, 0.98))), 0, 1) ** 0.7
    warped = apply(registration, pair.prior, size=size(pair.photo)).pixels
    rows_, columns = np.indices(bright.shape[:2]) // (max(bright.shape) // 8)
    board = np.where((rows_ + columns)[..., None] % 2, bright, warped)
    edges = [
        cv2.Canny(images.to_uint8(cv2.GaussianBlur(i, (0, 0), 1.0)), 40, 110) > 0
        for i in (bright, warped)
    ]
    both = np.dstack([*edges, np.zeros_like(edges[0])]).astype(np.float32)
    trust = np.repeat(registration.confidence[..., None], 3, 2)
    height = 300
    width = round(height * bright.shape[1] / bright.shape[0])
    tiles = [
        cv2.resize(t.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for t in (bright, warped, board, both, trust)
    ]
    return np.clip(np.hstack(tiles), 0, 1)


def by_verax(photo: Image, prior: Image) -> Matrix | None:
    registration = register(photo, prior)
    return registration.matrix if registration.placed == "exactly" else None


def by_sift(photo: Image, prior: Image) -> Matrix | None:
    """SIFT, ratio test, MAGSAC, on contrast-equalised grey pictures."""
    sift, equalise = cv2.SIFT_create(4000), cv2.createCLAHE(2.0, (8, 8))
    (k1, d1), (k2, d2) = (
        sift.detectAndCompute(
            equalise.apply(cv2.cvtColor(images.to_uint8(i), cv2.COLOR_RGB2GRAY)), None
        )
        for i in (photo, prior)
    )
    if d1 is None or d2 is None or min(len(k1), len(k2)) < 8:
        return None
    matches = cv2.BFMatcher().knnMatch(d2, d1, k=2)
    good = [m[0] for m in matches if len(m) == 2 and m[0].distance < 0.8 * m[1].distance]
    if len(good) < 8:
        return None
    source = np.float32([k2[m.queryIdx].pt for m in good])
    target = np.float32([k1[m.trainIdx].pt for m in good])
    matrix, inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, 3.0)
    return matrix if matrix is not None and inliers.sum() >= 12 else None


def by_ecc(photo: Image, prior: Image) -> Matrix | None:
    """ECC on gradient magnitude: affine at 256 px, then projective at 512 px; None if it fails."""
    matrix = stretch(size(prior), size(photo))
    for side, mode in ((256, cv2.MOTION_AFFINE), (512, cv2.MOTION_HOMOGRAPHY)):
        small = [gradient(i, side / max(size(i))) for i in (photo, prior)]
        up = [stretch(s.shape[::-1], size(i)) for s, i in zip(small, (photo, prior), strict=True)]
        guess = compose(invert(up[1]), invert(matrix), up[0]).astype(np.float32)
        affine = mode == cv2.MOTION_AFFINE
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
        try:
            _, warp = cv2.findTransformECC(*small, guess[:2] if affine else guess, mode, stop)
        except cv2.error:
            return None
        warp = np.vstack([warp, [0, 0, 1]]) if affine else warp
        matrix = compose(up[0], invert(warp.astype(np.float64)), invert(up[1]))
    return matrix


def gradient(image: Image, scale: float) -> np.ndarray:
    grey = cv2.cvtColor(
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
        cv2.COLOR_RGB2GRAY,
    )
    grey = cv2.GaussianBlur(grey, (0, 0), 1.5)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


METHODS: dict[str, Callable[[Image, Image], Matrix | None]] = {
    "verax": by_verax,
    "SIFT + MAGSAC": by_sift,
    "ECC": by_ecc,
}


def beside_peers(pictures: Path, scenes: int = 13) -> dict[str, Any]:
    """Success rate and median seconds of each method on the same pairs, in one run."""
    known_ones, real_ones = list(known_pairs(pictures, scenes, 0.0)), real_pairs(pictures)
    table: dict[str, Any] = {}
    for name, method in METHODS.items():
        good, seconds = {"known": 0, "real": 0}, []
        for pair in [*known_ones, *real_ones]:
            start = time.perf_counter()
            matrix = method(pair.photo, pair.prior)
            seconds.append(time.perf_counter() - start)
            good["known" if pair.matrix is not None else "real"] += succeeded(pair, matrix)
        table[name] = {
            "known": good["known"] / len(known_ones),
            "real": good["real"] / len(real_ones),
            "seconds_median": float(np.median(seconds)),
        }
        print(
            f"{name:14s} known {table[name]['known']:6.1%}  real {table[name]['real']:6.1%}  "
            f"{table[name]['seconds_median']:.2f} s"
        )
    return table


def succeeded(pair: Pair, matrix: Matrix | None) -> bool:
    """On known pairs a mean corner error of at most 1 %; on real ones a plausible homography."""
    if matrix is None:
        return False
    if pair.matrix is not None:
        error = corner_errors(matrix, pair.matrix, size(pair.photo)).mean()
        return bool(error <= 0.01 * pair.photo.shape[1])
    move = motion(matrix, size(pair.prior), size(pair.photo))
    return max(map(abs, move.shift)) < 0.15 and all(0.7 < s < 1.4 for s in move.scale)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--local", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--foreign", type=int, default=500)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    if options.known:
        result["known"] = known(options.pictures, options.scenes, options.local, options.seed)
    if options.real:
        result["real"] = real(options.pictures, options.foreign, options.sheets)
    if options.peers:
        result["peers"] = beside_peers(options.pictures)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
