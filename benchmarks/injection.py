"""Inject known deviations into clean photos and read them back: slope, correlation, cross-talk.

    python benchmarks/injection.py FOLDER_WITH_MANIFEST [--photos 60] [--part geometry|objects|
                                   crosstalk|degraded] [--side 448]

Parts
  geometry   amounts drawn at random per photo; slope and r of reading against truth
  objects    one object of 1-4 % of the area added, removed or moved; precision and recall
  crosstalk  one reference amount of each class; every reading, in units of its own class's
  degraded   the geometry part with the photo under haze, rain and darkness at three severities
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from verax.degrade import Degradation, apply
from verax.deviation import Deviation, measure
from verax.deviation.motion import Blocks, fit_global
from verax.geometry.transforms import invert, map_points, motion
from verax.image import Image, read
from verax.priors.inject import Deviations, SimulatedPrior, inject
from verax.priors.objects import ObjectEdit
from verax.priors.tone import Tone

DATASETS = ("CLIC2025", "Budgie_CC0", "elementary", "CID22")
VISIBLE = 0.03  # mean change of a level within the mask below which nobody sees an object change
SEVERITIES = (0.3, 0.6, 0.9)
TASKS = ("haze", "rain", "lowlight")

Draw = Callable[[np.random.Generator], Deviations]


def photos(folder: Path, count: int, side: int) -> Iterator[Image]:
    """Evenly chosen training photos, long side at most `side` px."""
    with (folder / "manifest.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["dataset"] in DATASETS and r["target"]]
    rows = [r for r in rows if r["task"] == "clean" and r["split"] == "train"]
    for index in np.linspace(0, len(rows) - 1, count).astype(int):
        picture = read(folder / rows[index]["target"]).pixels
        scale = side / max(picture.shape[:2])
        yield cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


GEOMETRY: dict[str, Draw] = {
    "shift": lambda r: Deviations(shift_x=r.uniform(-0.06, 0.06), shift_y=r.uniform(-0.06, 0.06)),
    "scale": lambda r: _scaled(r.uniform(0.9, 1.1)),
    "aspect": lambda r: Deviations(scale_x=r.uniform(0.92, 1.08), scale_y=r.uniform(0.92, 1.08)),
    "rotation": lambda r: Deviations(rotation_deg=r.uniform(-3, 3)),
    "perspective": lambda r: Deviations(
        perspective_x=r.uniform(-0.02, 0.02), perspective_y=r.uniform(-0.02, 0.02)
    ),
    "local": lambda r: Deviations(local=r.uniform(0.002, 0.015), local_cells=3.0),
}
ENTRIES = {
    "shift": ("shift_x_px", "shift_y_px"),
    "scale": ("scale_x", "scale_y"),
    "aspect": ("scale_x", "scale_y"),
    "rotation": ("rotation_deg",),
    "perspective": ("perspective_x", "perspective_y"),
    "local": ("local_motion_median_px",),
}
REFERENCE: dict[str, Deviations] = {
    "none": Deviations(),
    "shift": Deviations(shift_x=0.03, shift_y=-0.03),
    "scale": Deviations(scale_x=1.05, scale_y=1.05),
    "aspect": Deviations(scale_x=1.04, scale_y=0.96),
    "rotation": Deviations(rotation_deg=2.0),
    "perspective": Deviations(perspective_x=0.015, perspective_y=-0.015),
    "local": Deviations(local=0.01, local_cells=3.0),
    "object added": Deviations(objects=(ObjectEdit("added", area=0.03),)),
    "object removed": Deviations(objects=(ObjectEdit("removed", area=0.03),)),
    "object moved": Deviations(objects=(ObjectEdit("moved", area=0.03, distance=0.1),)),
    "texture": Deviations(texture=1.0, texture_px=2.0),
    "tone": Deviations(
        tone=Tone(exposure_ev=0.6, contrast=1.2, saturation=1.25, warmth_ev=0.3, uneven_ev=0.3)
    ),
}
# which columns are an injection's own; the rest of its row is cross-talk
OWN_COLUMNS = {
    **{name: {name} for name in ("shift", "scale", "aspect", "rotation", "perspective", "local")},
    **{f"object {what}": {"objects"} for what in ("added", "removed", "moved")},
    "texture": {"texture"},
    "tone": {"tone"},
    "none": set(),
}
OWN = {
    "shift": "shift",
    "scale": "scale",
    "aspect": "aspect",
    "rotation": "rotation",
    "perspective": "perspective",
    "local": "local",
    "objects": "object added",
    "texture": "texture",
    "tone": "tone",
}


def _scaled(scale: float) -> Deviations:
    return Deviations(scale_x=scale, scale_y=scale)


def truth(sim: SimulatedPrior, size: tuple[int, int]) -> dict[str, float]:
    """What a perfect meter reads: the injected map, split as the meter splits."""
    width, height = size
    grid = np.stack(np.meshgrid(np.linspace(8, width - 9, 36), np.linspace(8, height - 9, 27)), -1)
    points = grid.reshape(-1, 2)
    seen = points
    if sim.field is not None:
        x, y = points.round().astype(int).T
        seen = points + sim.field[y, x]
    moved = map_points(invert(sim.matrix), seen) - points
    there = points + moved  # a meter sees only what is still in the picture
    inside = ((there > 8) & (there < np.array(size) - 9)).all(axis=1)
    points, moved = points[inside], moved[inside]
    count = len(points)
    blocks = Blocks(points, moved, np.ones(count), np.arange(count), count)
    found = fit_global(blocks, size, np.random.default_rng(0))
    assert not isinstance(found, str)
    words = motion(found.matrix, size, size)
    return {
        "shift_x_px": words.shift[0] * width,
        "shift_y_px": words.shift[1] * height,
        "scale_x": words.scale[0],
        "scale_y": words.scale[1],
        "rotation_deg": words.rotation,
        "perspective_x": words.perspective[0],
        "perspective_y": words.perspective[1],
        "local_motion_median_px": float(np.median(np.linalg.norm(found.left_over, axis=1))),
    }


@dataclass(frozen=True, slots=True)
class Points:
    """Readings against truths of one entry."""

    truths: list[float]
    readings: list[float | None]

    def line(self) -> str:
        told = [(t, r) for t, r in zip(self.truths, self.readings, strict=True) if r is not None]
        share = len(told) / max(len(self.truths), 1)
        if len(told) < 5:
            return f"{'-':>8}{'-':>9}{'-':>11}{share:>10.0%}"
        x, y = np.array(told).T
        slope = float(np.polyfit(x, y, 1)[0])
        worst = float(np.abs(y - x).max())
        error = float(np.sqrt(np.mean((y - x) ** 2)))
        return f"{slope:8.3f}{np.corrcoef(x, y)[0, 1]:9.4f}{error:11.4f}{worst:10.3f}{share:10.0%}"


def read_back(
    pictures: list[Image], degrade: Callable[[Image, int], Image]
) -> dict[tuple[str, str], Points]:
    """Readings and truths by (class, entry)."""
    table = {(c, e): Points([], []) for c, entries in ENTRIES.items() for e in entries}
    for index, clean in enumerate(pictures):
        size = clean.shape[1], clean.shape[0]
        photo = degrade(clean, index)
        rng = np.random.default_rng([7, index])
        for name, draw in GEOMETRY.items():
            sim = inject(clean, draw(rng), seed=index)
            deviation, wanted = measure(photo, sim.prior), truth(sim, size)
            for entry in ENTRIES[name]:
                table[name, entry].truths.append(wanted[entry])
                known = deviation.entries.get(entry)
                table[name, entry].readings.append(None if known is None else known.value)
    return table


def print_points(table: dict[tuple[str, str], Points]) -> None:
    print(
        f"{'injected':13}{'entry':26}{'slope':>8}{'r':>9}{'rms error':>11}{'worst':>10}{'told':>10}"
    )
    for (name, entry), points in table.items():
        print(f"{name:13}{entry:26}{points.line()}", flush=True)


def part_geometry(pictures: list[Image]) -> None:
    print("\nGeometry read back from clean photos")
    print_points(read_back(pictures, lambda clean, _: clean))


def part_degraded(pictures: list[Image]) -> None:
    for task in TASKS:
        for severity in SEVERITIES:
            print(f"\nGeometry with the photo under {task}, severity {severity}")

            def degraded(clean: Image, seed: int) -> Image:
                return apply(clean, Degradation(task, severity, seed))  # noqa: B023  # used at once

            print_points(read_back(pictures, degraded))


def part_objects(pictures: list[Image]) -> None:
    print("\nObjects of 1-4 % of the area (changes that can be seen)")
    print(
        f"{'injected':10}{'asked':>7}{'found':>7}{'recall':>8}{'boxes':>7}{'right':>7}"
        f"{'precision':>10}  called"
    )
    for kind in ("added", "removed", "moved"):
        asked = hits = boxes = right = 0
        called: dict[str, int] = {}
        for index, clean in enumerate(pictures):
            rng = np.random.default_rng([11, index])
            edit = ObjectEdit(kind, area=rng.uniform(0.01, 0.04), distance=rng.uniform(0.06, 0.2))
            change = Deviations(objects=(edit,))
            bare = inject(clean, change, seed=index)
            mask = bare.objects[0].lost | bare.objects[0].gained
            if np.abs(bare.prior - clean).mean(axis=2)[mask].mean() < VISIBLE:
                continue
            drift = replace(
                change, scale_x=1.02, scale_y=0.99, shift_x=0.02, tone=Tone(exposure_ev=0.3)
            )
            found = measure(clean, inject(clean, drift, seed=index).prior).objects
            asked += 1
            good = [c for c in found if _overlaps(mask, c.box)]
            hits += bool(good)
            boxes += len(found)
            right += len(good)
            for change_ in good:
                called[change_.kind] = called.get(change_.kind, 0) + 1
        print(
            f"{kind:10}{asked:7}{hits:7}{hits / max(asked, 1):8.2f}{boxes:7}{right:7}"
            f"{right / max(boxes, 1):10.2f}  {called}",
            flush=True,
        )


def _overlaps(mask: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    """A fifth of the box is changed, or the box holds half of the change."""
    left, top, right, bottom = box
    inside = mask[top:bottom, left:right]
    return bool(inside.mean() > 0.2 or inside.sum() > 0.5 * mask.sum())


def geometry_readings(v: dict[str, float], width: int) -> np.ndarray:
    """Shift x, y; log scale; log aspect; rotation; perspective x, y; local motion."""
    x, y = np.log(v["scale_x"]), np.log(v["scale_y"])
    shift = v["shift_x_px"] / width, v["shift_y_px"] / width
    turn = v["rotation_deg"], v["perspective_x"], v["perspective_y"]
    return np.array([*shift, (x + y) / 2, x - y, *turn, v["local_motion_median_px"] / width])


def readings(
    deviation: Deviation, wanted: dict[str, float], width: int
) -> tuple[dict[str, float], ...]:
    """One size per class: what is read, and what is read beyond what was really injected.

    A geometry entry that is not told counts as read right. A smooth local field has a global part
    of its own, which is no cross-talk: it is taken from the truth.
    """
    v = {name: entry.value for name, entry in deviation.entries.items()}
    told = {name: wanted[name] if v.get(name) is None else float(v[name]) for name in wanted}
    beyond = geometry_readings(told, width) - geometry_readings(wanted, width)
    others = {
        "objects": v["objects_area"] or 0.0,
        "texture": v["coherence_loss_2px"] or 0.0,
        "tone": v["colour_difference"] or 0.0,
    }
    return tuple(
        {
            "shift": float(np.hypot(*g[:2])),
            "scale": abs(float(g[2])),
            "aspect": abs(float(g[3])),
            "rotation": abs(float(g[4])),
            "perspective": float(np.hypot(*g[5:7])),
            "local": abs(float(g[7])),
            **others,
        }
        for g in (geometry_readings(told, width), beyond)
    )


def part_crosstalk(pictures: list[Image]) -> None:
    table: dict[str, dict[str, list[float]]] = {n: {c: [] for c in OWN} for n in REFERENCE}
    invented: dict[str, list[float]] = {n: [] for n in REFERENCE}
    for index, clean in enumerate(pictures):
        size = clean.shape[1], clean.shape[0]
        for name, change in REFERENCE.items():
            sim = inject(clean, change, seed=index)
            deviation = measure(clean, sim.prior)
            if deviation.outcome == "foreign":
                print(f"photo {index} with {name}: called foreign")
                continue
            whole, beyond = readings(deviation, truth(sim, size), size[0])
            invented[name].append(deviation.entries["invented_edges"].value or 0.0)
            for column in OWN:
                own = column in OWN_COLUMNS[name]
                table[name][column].append((whole if own else beyond)[column])
    means = {n: {c: float(np.mean(v)) for c, v in row.items()} for n, row in table.items()}
    unit = {column: means[own][column] for column, own in OWN.items()}
    print("\nCross-talk: mean reading (columns) per injection (rows); [own class], its unit below")
    print(f"{'':16}" + "".join(f"{c:>13}" for c in OWN))
    worst = 0.0
    for name, row in means.items():
        cells = ""
        for column in OWN:
            value, own = row[column] / max(unit[column], 1e-12), column in OWN_COLUMNS[name]
            cells += f"{f'[{value:.3f}]' if own else f'{value:.3f} ':>13}"
            worst = worst if own else max(worst, value)
        print(f"{name:16}{cells}")
    print(f"{'unit':16}" + "".join(f"{unit[c]:12.4f} " for c in OWN))
    print(f"largest off the diagonal: {worst:.3f}")
    shares = ", ".join(f"{n} {np.mean(v):.3f}" for n, v in invented.items())
    print(f"invented edges, mean share (new objects and new texture bring edges): {shares}")


PARTS = {
    "geometry": part_geometry,
    "objects": part_objects,
    "crosstalk": part_crosstalk,
    "degraded": part_degraded,
}


def main() -> None:
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--part", choices=PARTS)
    asked = parser.parse_args()
    pictures = list(photos(asked.folder, asked.photos, asked.side))
    print(f"{len(pictures)} clean photos, long side {asked.side} px")
    for name, part in PARTS.items():
        if asked.part in (None, name):
            part(pictures)


if __name__ == "__main__":
    main()
