"""Table of deviations by generator over the real pairs of photo and generated picture.

    python benchmarks/real_pairs.py FOLDER_WITH_MANIFEST [--words] [--save FILE.jsonl]

Every row of the manifest with an input and a generated picture is measured: one line each, then
medians by generator, each over the pictures in which the entry could be measured, and their number.
"""

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from verax.deviation import measure
from verax.deviation.record import sentences
from verax.image import read

Record = dict[str, Any]

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


def measured(folder: Path, row: dict[str, str]) -> Record:
    deviation = measure(read(folder / row["input"]).pixels, read(folder / row["generated"]).pixels)
    keys = {name: row[name] for name in ("generated", "generator", "task")}
    return {**keys, **deviation.record(), "sentences": sentences(deviation)}


def cell(record: Record, name: str) -> str:
    value = record.get(name)
    return "-" if value is None else f"{value:.2f}"


def line(record: Record) -> str:
    return (
        f"{record['generator']:16}{record['task']:18}{Path(record['generated']).stem[:22]:24}"
        f"{record['placed']:11}{record['canvas']:9}{record['drift']:5.0f}  "
        + "".join(f"{cell(record, name):>7}" for name in COLUMNS)
        + f"{len(record['objects']):>5}  {record['scene_state']}"
    )


def main() -> None:
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--words", action="store_true", help="also print the deviations as sentences"
    )
    parser.add_argument(
        "--save",
        type=Path,
        help="JSON lines; pairs that the file already holds are not measured again",
    )
    options = parser.parse_args()
    lines = options.save.read_text().splitlines() if options.save and options.save.exists() else []
    known = {record["generated"]: record for record in map(json.loads, lines)}
    print(
        f"{'generator':16}{'task':18}{'name':24}{'placed':11}{'canvas':9}drift  "
        + "".join(f"{short:>7}" for short in COLUMNS.values())
        + "    n  state"
    )
    by_generator: dict[str, list[Record]] = {}
    for row in pairs(options.folder):
        record = known.get(row["generated"]) or measured(options.folder, row)
        if options.save and row["generated"] not in known:
            with options.save.open("a") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        by_generator.setdefault(row["generator"], []).append(record)
        print(line(record), flush=True)
        if options.words:
            print("    " + " ".join(record["sentences"]))
    print_summary(by_generator)


def print_summary(by_generator: dict[str, list[Record]]) -> None:
    """One column for each generator."""
    print(f"\n{'':34}" + "".join(f"{name:>19}" for name in by_generator))
    rows: dict[str, Callable[[Record], float | None]] = {
        "shift, % of the width": _shift,
        "zoom, % (mean of both axes)": lambda d: _scales(d, lambda x, y: 50 * abs(x + y)),
        "stretch, % (between the axes)": lambda d: _scales(d, lambda x, y: 100 * abs(x - y)),
        "rotation, degrees": lambda d: _size(d, "rotation_deg"),
        "local motion, median, % of width": lambda d: _share(d, "local_motion_median_px"),
        "invented edges, %": lambda d: _size(d, "invented_edges", 100),
        "lost edges, %": lambda d: _size(d, "lost_edges", 100),
        "structure lost at 4 px, %": lambda d: _size(d, "coherence_loss_4px", 100),
        "objects changed": lambda d: float(len(d["objects"])),
        "colour difference, dE00": lambda d: _size(d, "colour_difference"),
        "drift": lambda d: float(d["drift"]),
    }
    for title, value in rows.items():
        print(f"{title:34}" + "".join(f"{_median(f, value):>19}" for f in by_generator.values()))
    counts: dict[str, Callable[[Record], bool]] = {
        "placed exactly": lambda d: d["placed"] == "exactly",
        "reframed": lambda d: bool(d["reframed"]),
        "day or night changed": lambda d: d["scene_state"] != "same",
    }
    for title, holds in counts.items():
        cells = (f"{sum(map(holds, f))} of {len(f)}" for f in by_generator.values())
        print(f"{title:34}" + "".join(f"{cell:>19}" for cell in cells))


def _median(records: list[Record], value: Callable[[Record], float | None]) -> str:
    values = [v for d in records if (v := value(d)) is not None]
    return f"{np.median(values):.2f} ({len(values)})" if values else "not measured"


def _size(d: Record, name: str, unit: float = 1.0) -> float | None:
    value = d.get(name)
    return None if value is None else unit * abs(value)


def _share(d: Record, name: str) -> float | None:
    value = _size(d, name, 100)
    return None if value is None else value / float(d["photo_width_px"])


def _shift(d: Record) -> float | None:
    x, y = _share(d, "shift_x_px"), _share(d, "shift_y_px")
    return None if x is None or y is None else float(np.hypot(x, y))


def _scales(d: Record, size: Callable[[float, float], float]) -> float | None:
    x, y = _size(d, "scale_x"), _size(d, "scale_y")
    return None if x is None or y is None else size(x - 1, y - 1)


if __name__ == "__main__":
    main()
