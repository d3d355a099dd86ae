"""Table of deviations by generator over the real pairs of photo and generated picture.

    python benchmarks/real_pairs.py FOLDER_WITH_MANIFEST [--json]

Every row of the manifest with an input and a generated picture is measured.
"""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from verax.deviation import Deviation, measure
from verax.deviation.words import sentences
from verax.image import read

COLUMNS = {
    "shift_x_px": "dx",
    "shift_y_px": "dy",
    "scale_x": "sx",
    "scale_y": "sy",
    "rotation_deg": "rot",
    "local_motion_median_px": "local",
    "invented_edges": "inv",
    "lost_edges": "lost",
    "coherence_loss_4px": "coh4",
    "objects_area": "obj",
    "colour_difference": "dE",
}


def pairs(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["generated"]]
    return sorted(rows, key=lambda row: (row["generator"], row["task"], row["generated"]))


def cell(deviation: Deviation, name: str) -> str:
    value = deviation.entries[name].value if name in deviation.entries else None
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    cv2.setNumThreads(1)
    folder = Path(sys.argv[1])
    by_generator: dict[str, list[Deviation]] = {}
    print(
        f"{'generator':16}{'task':18}{'name':24}{'outcome':11}{'canvas':9}drift  "
        + "".join(f"{short:>7}" for short in COLUMNS.values())
        + "  state"
    )
    for row in pairs(folder):
        deviation = measure(
            read(folder / row["input"]).pixels, read(folder / row["generated"]).pixels
        )
        by_generator.setdefault(row["generator"], []).append(deviation)
        if "--json" in sys.argv:
            print(json.dumps({"generated": row["generated"], **deviation.record()}))
            continue
        name = Path(row["generated"]).stem[:22]
        print(
            f"{row['generator']:16}{row['task']:18}{name:24}{deviation.outcome:11}{deviation.canvas:9}"
            f"{deviation.drift:5.0f}  "
            + "".join(f"{cell(deviation, n):>7}" for n in COLUMNS)
            + f"  {deviation.scene_state}",
            flush=True,
        )
        if "--words" in sys.argv:
            print("    " + " ".join(sentences(deviation)))
    for generator, found in by_generator.items():
        drifts = [d.drift for d in found]
        known = sum(d.outcome == "registered" for d in found)
        print(
            f"{generator}: {len(found)} pictures, {known} registered, "
            f"{sum(d.reframed for d in found)} reframed, drift median {np.median(drifts):.0f} "
            f"({min(drifts):.0f}..{max(drifts):.0f})"
        )


if __name__ == "__main__":
    main()
