"""Inject known deviations into clean photos and measure them: slope, correlation, cross-talk.

    python benchmarks/injection.py FOLDER_WITH_MANIFEST [--part geometry|objects|crosstalk|degraded]
                                   [--case NAME ...]
                                   [--half reporting|tuning] [--photos 60] [--side 448]
                                   [--save FILE.jsonl] [--jobs 1]

Parts
  geometry   amounts drawn at random per photo; slope and r of reading against truth
  objects    an object of 1-4 % of the area is added, removed or moved; precision and recall
  crosstalk  one reference amount of each class is injected; every reading is printed in units of
             the reading of its own class
  degraded   all global geometry at once, with the photo under haze, rain and darkness at
             three severities

Thresholds are tuned on one half of the clean photos, figures reported on the other; a hash of the
name says which photo is in which. With --save every reading is appended to FILE as it arrives, and
readings that FILE already holds are not repeated.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

import injections
from injection_tables import ABOUT, VISIBLE, Row, print_matrix, print_objects, print_points
from injections import Clean
from verax.degrade import Degradation, apply
from verax.deviation import Deviation, compare, measure, motion_entries
from verax.deviation.framing import geometry_entries
from verax.image import Image
from verax.priors.inject import SimulatedPrior, inject

SEVERITIES = (0.3, 0.6, 0.9)
TASKS = ("haze", "rain", "lowlight")
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Job:
    """One photo with one injection."""

    part: str
    case: str
    photo: Clean
    side: int

    @property
    def key(self) -> str:
        return f"{self.part}/{self.case}/{self.photo.path.stem}/{self.side}"


def geometry_row(photo: Image, sim: SimulatedPrior, names: Iterable[str]) -> Row:
    """The deviations of geometry as `measure` returns them; other deviations are not measured."""
    size = photo.shape[1], photo.shape[0]
    truths, look = injections.truth(sim, size), compare(photo, sim.prior)
    read: dict[str, float | None] = {}
    if look.alignment is not None:
        blocks, geometry = look.alignment.blocks, look.alignment.geometry
        entries = geometry_entries(geometry, size, 1.0)
        entries |= motion_entries(blocks, geometry, size)
        read = {name: entry.value for name, entry in entries.items()}
    return {
        "placed": look.registration.placed,
        "truths": {name: truths[name] for name in names},
        "readings": {name: read.get(name) for name in names},
    }


def geometry(job: Job) -> Row:
    clean, rng = job.photo.pixels(job.side), np.random.default_rng([7, job.photo.seed])
    sim = inject(clean, injections.GEOMETRY[job.case](rng), seed=job.photo.seed)
    return geometry_row(clean, sim, injections.ENTRIES[job.case])


def degraded(job: Job) -> Row:
    clean, rng = job.photo.pixels(job.side), np.random.default_rng([7, job.photo.seed])
    task, severity = job.case.split()
    photo = apply(clean, Degradation(task, float(severity), job.photo.seed % 1000))
    sim = inject(clean, injections.GEOMETRY["all at once"](rng), seed=job.photo.seed)
    return geometry_row(photo, sim, injections.ENTRIES["all at once"])


def objects(job: Job) -> Row:
    clean, seed = job.photo.pixels(job.side), job.photo.seed
    change = injections.object_change(job.case, seed)
    bare = inject(clean, change, seed=seed)
    (done,) = bare.objects
    visible = float(np.abs(bare.prior - clean).mean(axis=2)[done.lost | done.gained].mean())
    if visible < VISIBLE:
        return {"visible": visible}
    sim = inject(clean, replace(injections.DRIFT, objects=change.objects), seed=seed)
    deviation = measure(clean, sim.prior)
    places = [box_of(m) for m in (done.lost, done.gained, done.lost | done.gained) if m.any()]
    return {
        "visible": visible,
        "placed": deviation.placed,
        "found": [
            {
                **asdict(o),
                "overlap": max(overlap(o.box, place) for place in places),
                "inside": lies_on(done.lost | done.gained, o.box),
            }
            for o in deviation.objects
        ],
    }


def lies_on(mask: np.ndarray, box: Box) -> bool:
    """Whether a fifth of the box is changed, or the box holds half of the changed pixels."""
    left, top, right, bottom = box
    inside = mask[top:bottom, left:right]
    return bool(inside.mean() > 0.2 or inside.sum() > 0.5 * mask.sum())


def box_of(mask: np.ndarray) -> Box:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return common / (sum(areas) - common)


def crosstalk(job: Job) -> Row:
    """Inject one class of deviation, and measure every class.

    Returns for each the measured size ("whole"), and the size that was not injected ("beyond").
    """
    clean = job.photo.pixels(job.side)
    sim = injections.reference_prior(clean, job.case, job.photo.seed)
    deviation = measure(clean, sim.prior)
    if not deviation.comparable:
        return {"placed": "not"}
    size = clean.shape[1], clean.shape[0]
    return {"placed": deviation.placed, **columns(deviation, injections.truth(sim, size), size)}


def columns(deviation: Deviation, truths: dict[str, float], size: tuple[int, int]) -> Row:
    """The size of each class of deviation as measured ("whole") and after subtracting `truths`.

    `truths` holds what was injected, also the part of a local field that looks like a global move.
    None stands for a class that cannot be measured.
    """
    read = {n: deviation.entries[n].value for n in truths if n in deviation.entries}
    readings = {n: v for n, v in read.items() if v is not None}
    whole, rest = (sizes(readings, minus, size[0]) for minus in ({}, truths))
    value = {n: e.value for n, e in deviation.entries.items()}
    others = {
        "objects": value["objects_area"],
        "texture": value["coherence_loss_2px"],
        "edges": value["invented_edges"],
        "tone": value["colour_difference"],
    }
    return {"whole": {**whole, **others}, "beyond": {**rest, **others}}


def sizes(
    readings: dict[str, float], minus: dict[str, float], width: int
) -> dict[str, float | None]:
    """Size of each class of geometry after subtracting `minus`; None if a part is not measured."""

    def part(name: str, rest: float, unit: float = 1.0) -> float:
        value, less = readings.get(name, np.nan), minus.get(name, rest)
        return (np.log(value / less) if rest else value - less) / unit

    shift = np.hypot(part("shift_x_px", 0, width), part("shift_y_px", 0, width))
    x, y = part("scale_x", 1), part("scale_y", 1)
    lengths = {
        "shift": shift,
        "scale": abs(x + y) / 2,
        "aspect": abs(x - y),
        "rotation": abs(part("rotation_deg", 0)),
        "perspective": np.hypot(part("perspective_x", 0), part("perspective_y", 0)),
        "local": abs(part("local_motion_median_px", 0, width)),
    }
    return {name: None if np.isnan(v) else float(v) for name, v in lengths.items()}


OBJECTS = ("added", "removed", "moved")
DEGRADED = tuple(f"{task} {severity}" for task in TASKS for severity in SEVERITIES)
# part: cases, one reading, the table
PARTS: dict[str, tuple[Iterable[str], Callable[[Job], Row], Callable[[list[Row]], None]]] = {
    "geometry": (injections.GEOMETRY, geometry, print_points),
    "objects": (OBJECTS, objects, print_objects),
    "crosstalk": (ABOUT, crosstalk, print_matrix),
    "degraded": (DEGRADED, degraded, print_points),
}


def run(job: Job) -> Row:
    cv2.setNumThreads(1)
    return {"key": job.key, "case": job.case, **PARTS[job.part][1](job)}


def take(jobs: list[Job], save: Path | None, workers: int) -> list[Row]:
    """The row of every job; rows that the file `save` already holds are read, not computed."""
    lines = save.read_text().splitlines() if save and save.exists() else []
    known = {row["key"]: row for row in map(json.loads, lines)}
    missing = [job for job in jobs if job.key not in known]
    with ProcessPoolExecutor(workers) as pool:
        for row in map(run, missing) if workers == 1 else pool.map(run, missing):
            known[row["key"]] = row
            if save:
                with save.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
    return [known[job.key] for job in jobs]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--case", action="append", help="only this row of the part")
    parser.add_argument("--half", choices=injections.HALVES, default="reporting")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    photos = injections.photos(options.folder, options.half, options.photos)
    print(f"{len(photos)} clean photos of the {options.half} half, long side {options.side} px")
    for name, (cases, _, show) in PARTS.items():
        if options.part in (None, name):
            some = [case for case in cases if case in (options.case or cases)]
            jobs = [Job(name, case, photo, options.side) for photo in photos for case in some]
            print(f"\n{name}", flush=True)
            show(take(jobs, options.save, options.jobs))


if __name__ == "__main__":
    main()
