"""PSNR of restorers on the paired test photos, dataset by dataset.

    python benchmarks/networks.py [--restorers none,network,forced,dcp,...] [--weights DIR]

Reads the folder named by VERAX_PICTURES (manifest.csv). PSNR in RGB on the photo's grid, no
border cropped; "matched" scales the result to the reference's mean brightness first. "forced" is
the network that is told the fault of the dataset, as with --task, instead of estimating it.
"worst" is the smallest gain over the unchanged photo. The last line is JSON.
"""

import argparse
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from verax import image as images
from verax import restorers, weights
from verax.errors import ImageReadError
from verax.image import Image
from verax.restorers.faults import diagnose

# the data sets, and the task that mends each
DATASETS = {
    "SOTS_indoor": "dehaze", "NHHAZE_like_real": "dehaze", "REVIDE_real": "dehaze",
    "RESIDE_OTS_sample": "dehaze", "Rain100H": "derain", "DIDMDN": "derain",
    "LOL_eval15": "lowlight", "MEF_exposures": "lowlight", "CBSD68_s25": "denoise",
    "PolyU_real": "denoise", "DDN": "derain", "CDD11_OneRestore": "restore",
    "CSD_fig": "restore", "LIVE1": "jpeg", "UFO120_sample": "underwater",
    "EUVP_FUnIE": "underwater", "GoPro_DeblurGANtf": "motion_deblur",
    "RainDrop_sample": "restore",
}  # fmt: skip
FORCED = "forced"
CLEAN = "Kodak24"
MARGIN = 20  # px: a reference that is larger than that is of another scale


def pairs(folder: Path, split: str, datasets: list[str]) -> Iterator[tuple[str, Image, Image]]:
    """Dataset, photo and reference of every readable pair; a clean photo is its own reference."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        clean = row["dataset"] == CLEAN
        paired = row["input"] and row["target"] and row["split"] == split
        if row["dataset"] not in datasets or not (clean or paired):
            continue
        try:
            target = images.read(folder / row["target"]).pixels
            photo = target if clean else images.read(folder / row["input"]).pixels
        except ImageReadError:
            continue
        target = on_grid(target, photo.shape[:2])
        if photo.shape == target.shape:
            name = row["dataset"] + (" (train)" if row["split"] == "train" else "")
            yield name, photo, target


def on_grid(target: Image, size: tuple[int, ...]) -> Image:
    """The reference on the photo's grid. Those of RESIDE are 10 px larger on each side, and are
    cropped; those of UFO-120 have twice the scale, and are reduced."""
    extra = [t - s for t, s in zip(target.shape, size, strict=False)]
    if min(extra) < 0 or max(extra) == 0:
        return target
    if max(extra) > MARGIN:
        return cv2.resize(target, size[1::-1], interpolation=cv2.INTER_AREA)
    top, left = (e // 2 for e in extra)
    return target[top : top + size[0], left : left + size[1]]


def psnr(picture: Image, reference: Image) -> float:
    return float(-10 * np.log10(np.mean((picture - reference) ** 2) + 1e-10))


def matched(picture: Image, reference: Image) -> Image:
    gain = float(reference.mean()) / max(float(picture.mean()), 1e-6)
    return np.clip(picture * np.float32(gain), 0, 1)


def restored(photo: Image, name: str, dataset: str) -> Image:
    """The photo by the restorer called `name`."""
    if name != FORCED:
        return restorers.restore(photo, name)
    task = DATASETS.get(dataset.removesuffix(" (train)"), "restore")
    return restorers.restore(photo, restorers.EMBEDDED, faults=diagnose(photo).believing(task))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restorers", default="none,network")
    parser.add_argument("--weights", type=Path, help="folder of other .onnx files")
    parser.add_argument("--datasets", default=",".join((*DATASETS, CLEAN)))
    parser.add_argument(
        "--train", action="store_true", help="use the training rows instead of the test rows"
    )
    words = parser.parse_args()
    names = words.restorers.split(",")
    weights.FOLDER = words.weights or weights.FOLDER
    folder = Path(os.environ["VERAX_PICTURES"])
    split = "train" if words.train else "test"
    table: dict[str, dict[str, list[float]]] = {}
    for dataset, photo, target in pairs(folder, split, words.datasets.split(",")):
        row = table.setdefault(dataset, {})
        for name in names:
            result = restored(photo, name, dataset)
            row.setdefault(name, []).append(psnr(result, target))
            if dataset.startswith("LOL"):
                row.setdefault(f"{name} matched", []).append(psnr(matched(result, target), target))
    for row in table.values():
        for name in names:
            if name != "none" and "none" in names:
                gains = np.subtract(row[name], row["none"])
                row[f"{name} worst"] = [float(gains.min())]
    means = {d: {n: round(float(np.mean(v)), 2) for n, v in r.items()} for d, r in table.items()}
    for dataset, row in means.items():
        count = len(next(iter(table[dataset].values())))
        print(f"{dataset:24}{count:4}  " + "  ".join(f"{n} {v:.2f}" for n, v in row.items()))
    print(json.dumps(means))


if __name__ == "__main__":
    main()
