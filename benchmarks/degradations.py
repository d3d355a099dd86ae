"""Compare our degradations with real degraded photos: strength, look and speed.

    python benchmarks/degradations.py [--sheet sheet.png] [--photos 40]

Needs the folder of real pictures (VERAX_PICTURES). Prints, per task, the
PSNR in dB between degraded and clean photo (10th percentile, median, 90th): for our degradations
by severity, on training photos, and for the real or published test pairs; then the same for
simulated priors and for generated pictures with a reference. The last line is JSON. The sheet
shows real and simulated inputs side by side. Test pairs are only measured, never trained on.
"""

import argparse
import csv
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from verax.degrade import TASKS, Degradation, apply
from verax.image import Image, read, to_uint8
from verax.priors.simulated import ON_GRID, simulate

HERE = Path(__file__).resolve().parents[1]
PICTURES = Path(os.environ.get("VERAX_PICTURES", HERE.parent / "shared" / "data"))
SEVERITIES = (0.25, 0.5, 0.75, 1.0)
REAL_TASK = {
    "haze": "dehazing",
    "rain": "deraining",
    "snow": "desnowing",
    "lowlight": "lowlight",
    "noise": "denoising",
    "jpeg": "jpeg",
    "motion_blur": "motion_deblur",
    "defocus_blur": "defocus_deblur",
    "underwater": "underwater",
    "raindrop": "raindrop",
}
TILE = (240, 320)  # height, width


def psnr(a: Image, b: Image) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2) + 1e-10))


def coarse_psnr(a: Image, b: Image) -> float:
    sigma = 0.04 * a.shape[1]
    return psnr(cv2.GaussianBlur(a, (0, 0), sigma), cv2.GaussianBlur(b, (0, 0), sigma))


def resized(image: Image, width: int, height: int) -> Image:
    return np.clip(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), 0, 1)


def spread(values: Sequence[float]) -> str:
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"{low:5.1f} {middle:5.1f} {high:5.1f}"


def manifest() -> list[dict[str, str]]:
    with (PICTURES / "manifest.csv").open() as lines:
        return list(csv.DictReader(lines))


def real_pairs(rows: list[dict[str, str]]) -> dict[str, dict[str, list[tuple[Image, float]]]]:
    """Real inputs, each with its PSNR, by task and dataset; generated pictures are left out."""
    samples: dict[str, dict[str, list[tuple[Image, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for task, folder in REAL_TASK.items():
        for row in rows:
            if row["task"] != folder or row["generated"] or not (row["input"] and row["target"]):
                continue
            photo, target = (read(PICTURES / row[key]).pixels for key in ("input", "target"))
            if target.shape[0] == photo.shape[0] + 20:  # SOTS keeps a 10 px border
                target = target[10:-10, 10:-10]
            if target.shape == photo.shape:
                samples[task][row["dataset"]].append((photo, psnr(photo, target)))
    return samples


def clean_photos(rows: list[dict[str, str]], count: int) -> list[Image]:
    """Training photos at a width of 480 px."""
    names = [r["target"] for r in rows if r["task"] == "clean" and r["split"] == "train"]
    photos = [read(PICTURES / name).pixels for name in names[:: max(1, len(names) // count)]]
    return [resized(p, 480, round(480 * p.shape[0] / p.shape[1])) for p in photos[:count]]


def milliseconds(task: str, photo: Image) -> float:
    """CPU time in ms to degrade one crop of 128 px."""
    crop = np.ascontiguousarray(photo[:128, :128])
    start = time.process_time()
    for seed in range(20):
        apply(crop, Degradation(task, 0.7, seed))
    return (time.process_time() - start) * 50


def print_degradations(
    photos: list[Image], real: dict[str, dict[str, list[tuple[Image, float]]]]
) -> dict[str, float]:
    medians = {}
    for task in TASKS:
        print(f"\n{task}   {milliseconds(task, photos[0]):.1f} ms for 128 px")
        for severity in SEVERITIES:
            values = [
                psnr(apply(photo, Degradation(task, severity, seed)), photo)
                for seed, photo in enumerate(photos)
            ]
            medians[f"{task}_{severity}"] = round(float(np.median(values)), 2)
            print(f"  ours {severity:4.2f}               {spread(values)}")
        for dataset, pairs in real.get(task, {}).items():
            values = [value for _, value in pairs]
            print(f"  {dataset[:20]:20s} {len(pairs):3d}  {spread(values)}")
    return medians


def print_priors(photos: list[Image], rows: list[dict[str, str]]) -> dict[str, float]:
    raw, coarse = [], []
    for seed, photo in enumerate(photos):
        height, width = photo.shape[:2]
        prior = resized(simulate(photo, seed=seed).prior, width, height)
        raw.append(psnr(prior, photo))
        coarse.append(coarse_psnr(prior, photo))
    crop = np.ascontiguousarray(photos[0][:160, :160])
    start = time.process_time()
    for seed in range(20):
        simulate(crop, seed=seed, settings=ON_GRID)
    print(f"\nsimulated priors   {(time.process_time() - start) * 50:.1f} ms for 160 px")
    print(f"  resized to the photo      {spread(raw)}")
    print(f"  coarse (sigma 4 % width)  {spread(coarse)}")
    for row in rows:
        if row["generated"] and row["target"]:
            target = read(PICTURES / row["target"]).pixels
            height, width = target.shape[:2]
            generated = resized(read(PICTURES / row["generated"]).pixels, width, height)
            values = psnr(generated, target), coarse_psnr(generated, target)
            name = f"{row['generator']} {Path(row['input']).stem}"
            print(f"  {name}: resized {values[0]:.1f}, coarse {values[1]:.1f}")
    return {"prior_raw": float(np.median(raw)), "prior_coarse": float(np.median(coarse))}


def tile(image: Image, label: str) -> np.ndarray:
    """The middle of a picture, first reduced if it is much larger than the tile, with a label."""
    scale = max(TILE[0] / image.shape[0], TILE[1] / image.shape[1])
    if scale > 1 or scale < 0.4:
        image = resized(image, round(image.shape[1] * scale), round(image.shape[0] * scale))
    top, left = ((image.shape[i] - TILE[i]) // 2 for i in (0, 1))
    levels = np.ascontiguousarray(
        to_uint8(image[max(top, 0) :, max(left, 0) :])[: TILE[0], : TILE[1]]
    )
    canvas = np.zeros((*TILE, 3), np.uint8)
    canvas[: levels.shape[0], : levels.shape[1]] = levels
    cv2.putText(canvas, label, (5, 16), 0, 0.45, (255, 40, 40), 1)
    return canvas


def write_sheet(
    path: Path, photos: list[Image], real: dict[str, dict[str, list[tuple[Image, float]]]]
) -> None:
    """Write a sheet with a row per task: up to three real inputs, then ours by severity."""
    rows = []
    for index, task in enumerate(TASKS):
        pairs = [(name, p[0]) for name, group in real.get(task, {}).items() for p in group[:1]][:3]
        tiles = [tile(image, f"real: {name}") for name, image in pairs]
        tiles += [np.zeros((*TILE, 3), np.uint8)] * (3 - len(tiles))
        for step, severity in enumerate(SEVERITIES):
            photo = photos[(4 * index + step) % len(photos)]
            degraded = apply(photo, Degradation(task, severity, 4 * index + step))
            tiles.append(tile(degraded, f"ours: {task} {severity}"))
        rows.append(np.hstack(tiles))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sheet", type=Path, default=None)
    parser.add_argument("--photos", type=int, default=40)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = manifest()
    photos, real = clean_photos(rows, options.photos), real_pairs(rows)
    print("PSNR to the clean photo, dB       p10   p50   p90")
    figures = print_degradations(photos, real)
    figures |= print_priors(photos, rows)
    if options.sheet:
        write_sheet(options.sheet, photos, real)
        print(f"sheet: {options.sheet}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
