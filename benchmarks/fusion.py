"""Fusion on real pairs: how near to the prior's light, how faithful to the photo's edges, how fast.

    python benchmarks/fusion.py [--sheets FOLDER] [--only TEXT] [--edits] [--fidelity 0.75]

Needs the folder of real pictures (VERAX_PICTURES, default ../shared/data). Prints one row per
pair of photo and generated restoration and one JSON line last.

The restoration is that of `verax restore` without `--task`. The columns are:

initial    rms difference of photo and prior after a Gaussian blur of 3 % of the width
2% 3% 4%   rms difference of restoration and prior, divided by that of photo and prior, after
           Gaussian blurs of 2, 3 and 4 % of the width
own        share of strong edges without support in the photo (verax.fusion.light)
prior      the same for the registered prior itself
sobel      share of the strongest 5 % of Sobel edges that are not within 2 px of one of the
           strongest 30 % of the photo's gradients
canny      share of Canny edges (thresholds from quantiles) not within 2 px of a low-threshold
           Canny edge of the contrast-equalised photo; self: the same for the photo itself
taken      share of the restoration that does not come from the photo, by the trust map
seconds    time of the whole restoration
"""

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from verax import image as images
from verax import pipeline
from verax.fusion.light import unsupported_edges
from verax.image import Image, Plane

HERE = Path(__file__).resolve().parents[1]
PICTURES = Path(os.environ.get("VERAX_PICTURES", HERE.parent / "shared" / "data"))


def pairs(only: str, edits: bool) -> list[dict[str, str]]:
    """Manifest rows of generated restorations, or of edits that change weather and light."""
    with (PICTURES / "manifest.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["generated"]]
    rows = [r for r in rows if (r["task"] == "other_edit") == edits]
    return [r for r in rows if only in r["input"]]


def psnr(a: Image, b: Image) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def low_distance(a: Image, b: Image, valid: Plane, share: float) -> float:
    low = cv2.GaussianBlur((a - b) * valid[..., None], (0, 0), share * a.shape[1])
    return float(np.sqrt((low**2).mean()))


def magnitude(image: Image, sigma: float = 1.0) -> Plane:
    y = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), sigma)
    return np.hypot(cv2.Sobel(y, cv2.CV_32F, 1, 0), cv2.Sobel(y, cv2.CV_32F, 0, 1))


def near(mask: np.ndarray, reach: int = 2) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def sobel_unsupported(restored: Image, photo: Image) -> float:
    strong, faint = magnitude(restored), magnitude(photo)
    edges = strong > np.quantile(strong, 0.95)
    return float((edges & ~near(faint > np.quantile(faint, 0.7))).sum() / edges.sum())


def canny(grey: Plane, low: float, high: float) -> np.ndarray:
    g = cv2.GaussianBlur(grey, (0, 0), 1.2)
    gx, gy = (cv2.Sobel(g, cv2.CV_32F, *d) for d in ((1, 0), (0, 1)))
    scale = 2000 / max(float(np.abs([gx, gy]).max()), 1e-6)
    size = np.hypot(gx, gy) * scale
    thresholds = np.quantile(size, (low, high))
    dx, dy = (np.rint(d * scale).astype(np.int16) for d in (gx, gy))
    return cv2.Canny(dx, dy, *map(float, thresholds), L2gradient=True) > 0


def canny_unsupported(restored: Image, photo: Image) -> float:
    clahe = cv2.createCLAHE(4.0, (8, 8))
    edges = canny(cv2.cvtColor(restored, cv2.COLOR_RGB2GRAY), 0.9, 0.95)
    grey = images.to_uint8(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    visible = canny(clahe.apply(grey).astype(np.float32), 0.5, 0.7)
    return float((edges & ~near(visible)).sum() / max(edges.sum(), 1))


def measure(row: dict[str, str], sheets: Path | None, fidelity: float) -> dict[str, Any]:
    paths = (PICTURES / row[k] for k in ("input", "generated"))
    fused = pipeline.restore(*paths, fidelity=fidelity)
    photo, warped, registration = fused.photo.pixels, fused.warped, fused.registration
    initial, left = (
        {w: low_distance(x, warped.pixels, warped.valid, w / 100) for w in (2, 3, 4)}
        for x in (photo, fused.pixels)
    )
    result = {
        "name": Path(row["input"]).stem,
        "placed": registration.placed,
        "initial": initial[3],
        **{f"{w}%": left[w] / initial[w] for w in initial},
        "own": unsupported_edges(fused.pixels, photo),
        "prior": unsupported_edges(warped.pixels, photo),
        "sobel": sobel_unsupported(fused.pixels, photo),
        "canny": canny_unsupported(fused.pixels, photo),
        "self": canny_unsupported(photo, photo),
        "scene_state": fused.scene_state_change,
        "believed": fused.explanation.words() if fused.explanation else "",
        "taken": 1 - float(fused.trust[..., 0].mean(dtype=np.float64)),
        "seconds": fused.seconds,
        "notes": fused.notes,
    }
    if row["target"]:
        target = images.read(PICTURES / row["target"]).pixels
        target = cv2.resize(target, (photo.shape[1], photo.shape[0]), interpolation=cv2.INTER_AREA)
        result["psnr"] = [psnr(x, target) for x in (photo, warped.pixels, fused.pixels)]
    if sheets:
        share = np.repeat(1 - fused.trust[..., :1].astype(np.float32), 3, axis=2)
        tiles = [photo, warped.pixels, fused.pixels, np.clip(share, 0, 1)]
        write_sheet(sheets / f"{result['name']}.png", tiles)
    return result


def write_sheet(path: Path, tiles: list[Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [np.hstack(tiles[:2]), np.hstack(tiles[2:])]
    images.write(path, np.ascontiguousarray(np.vstack(rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument(
        "--edits", action="store_true", help="edits of weather and light instead of restorations"
    )
    parser.add_argument("--fidelity", type=float, default=pipeline.DEFAULT_FIDELITY)
    options = parser.parse_args()
    rows = pairs(options.only, options.edits)
    results = [measure(row, options.sheets, options.fidelity) for row in rows]
    columns = ["initial", "2%", "3%", "4%", "own", "prior", "sobel", "canny", "self", "taken"]
    columns.append("seconds")
    print(f"{'pair':24}{'placed':12}" + "".join(f"{c:>8}" for c in columns) + "  scene")
    for r in results:
        numbers = "".join(f"{r[c]:8.3f}" for c in columns)
        extra = " ".join(f"{x:.2f}" for x in r.get("psnr", ()))
        print(f"{r['name']:24}{r['placed']:12}{numbers}  {'change' * r['scene_state']} {extra}")
    placed = [r for r in results if not r["scene_state"] and r["placed"] == "exactly"]
    worst = {c: max((r[c] for r in placed), default=0.0) for c in columns[1:9]}
    print("worst without scene-state change: " + " ".join(f"{k} {v:.3f}" for k, v in worst.items()))
    print(json.dumps({"pairs": results, "worst": worst}))


if __name__ == "__main__":
    main()
