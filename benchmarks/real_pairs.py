"""Table of deviations by generator over the real pairs of photo and generated picture.

    python benchmarks/real_pairs.py FOLDER_WITH_MANIFEST [--json] [--words]

Every row of the manifest with an input and a generated picture is measured: one line each, then
medians by generator over the pictures where an entry could be told, with how many those are.
"""

import csv
import json
import sys
from collections.abc import Callable
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
    as_json = "--json" in sys.argv
    header = (
        f"{'generator':16}{'task':18}{'name':24}{'outcome':11}{'canvas':9}drift  "
        + "".join(f"{short:>7}" for short in COLUMNS.values())
        + "  state"
    )
    if not as_json:
        print(header)
    for row in pairs(folder):
        deviation = measure(
            read(folder / row["input"]).pixels, read(folder / row["generated"]).pixels
        )
        by_generator.setdefault(row["generator"], []).append(deviation)
        if as_json:
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
    if not as_json:
        print_summary(by_generator)


def print_summary(by_generator: dict[str, list[Deviation]]) -> None:
    """One column for each generator."""
    print(f"\n{'':34}" + "".join(f"{name:>19}" for name in by_generator))
    rows: dict[str, Callable[[Deviation], float | None]] = {
        "shift, % of the width": _shift,
        "zoom, % (mean of both axes)": lambda d: _scales(d, lambda x, y: 50 * abs(x + y)),
        "stretch, % (between the axes)": lambda d: _scales(d, lambda x, y: 100 * abs(x - y)),
        "rotation, degrees": lambda d: _size(d, "rotation_deg"),
        "local motion, median, % of width": lambda d: _share(d, "local_motion_median_px"),
        "invented edges, %": lambda d: _size(d, "invented_edges", 100),
        "lost edges, %": lambda d: _size(d, "lost_edges", 100),
        "structure lost at 4 px, %": lambda d: _size(d, "coherence_loss_4px", 100),
        "objects changed": lambda d: float(len(d.objects)),
        "colour difference, dE00": lambda d: _size(d, "colour_difference"),
        "drift": lambda d: d.drift,
    }
    for title, value in rows.items():
        print(f"{title:34}" + "".join(f"{_median(f, value):>19}" for f in by_generator.values()))
    counts: dict[str, Callable[[Deviation], bool]] = {
        "registered": lambda d: d.outcome == "registered",
        "reframed": lambda d: d.reframed,
        "day or night changed": lambda d: d.scene_state != "same",
    }
    for title, holds in counts.items():
        cells = (f"{sum(map(holds, f))} of {len(f)}" for f in by_generator.values())
        print(f"{title:34}" + "".join(f"{cell:>19}" for cell in cells))


def _median(found: list[Deviation], value: Callable[[Deviation], float | None]) -> str:
    told = [v for d in found if (v := value(d)) is not None]
    return f"{np.median(told):.2f} ({len(told)})" if told else "not told"


def _size(d: Deviation, name: str, unit: float = 1.0) -> float | None:
    value = d.entries[name].value if name in d.entries else None
    return None if value is None else unit * abs(value)


def _share(d: Deviation, name: str) -> float | None:
    value = _size(d, name, 100)
    return None if value is None else value / float(d.entries["photo_width_px"].value or 1)


def _shift(d: Deviation) -> float | None:
    x, y = _share(d, "shift_x_px"), _share(d, "shift_y_px")
    return None if x is None or y is None else float(np.hypot(x, y))


def _scales(d: Deviation, size: Callable[[float, float], float]) -> float | None:
    x, y = _size(d, "scale_x"), _size(d, "scale_y")
    return None if x is None or y is None else size(x - 1, y - 1)


if __name__ == "__main__":
    main()
