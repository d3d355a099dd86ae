"""What benchmarks/injection.py injects, into which photos, and what a perfect meter measures."""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from verax.deviation.blocks import Blocks
from verax.deviation.framing import fit_global
from verax.geometry import Matrix, invert, map_points, motion
from verax.image import Image, read
from verax.priors.changes import ObjectEdit, Tone
from verax.priors.inject import Deviations, SimulatedPrior, inject

Draw = Callable[[np.random.Generator], Deviations]

DATASETS = ("CLIC2025", "Budgie_CC0", "elementary", "CID22")
HALVES = ("tuning", "reporting")

# a little drift around an object change, so that nothing rests on pixel-exact frames
DRIFT = Deviations(scale_x=1.02, scale_y=0.99, shift_x=0.02, tone=Tone(exposure_ev=0.3))


@dataclass(frozen=True, slots=True)
class Clean:
    """A clean photo: its path, and a number from its name that seeds every random choice."""

    path: Path
    seed: int

    @property
    def half(self) -> str:
        return HALVES[self.seed % 2]

    def pixels(self, side: int) -> Image:
        """The photo with its long side at `side` px."""
        picture = read(self.path).pixels
        scale = side / max(picture.shape[:2])
        return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def photos(folder: Path, half: str, count: int) -> list[Clean]:
    """The first `count` clean photos of one half, in the order of their hashes.

    The halves are fixed by that hash of the name: thresholds are tuned on one, figures reported on
    the other.
    """
    with (folder / "manifest.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["task"] == "clean" and r["target"]]
    paths = [folder / r["target"] for r in rows if r["dataset"] in DATASETS]
    photos = [Clean(p, int(hashlib.sha256(p.stem.encode()).hexdigest()[:8], 16)) for p in paths]
    return sorted((photo for photo in photos if photo.half == half), key=lambda p: p.seed)[:count]


def _scaled(scale: float) -> Deviations:
    return Deviations(scale_x=scale, scale_y=scale)


def _all_at_once(r: np.random.Generator) -> Deviations:
    return Deviations(
        shift_x=r.uniform(-0.06, 0.06),
        shift_y=r.uniform(-0.06, 0.06),
        scale_x=r.uniform(0.92, 1.08),
        scale_y=r.uniform(0.92, 1.08),
        rotation_deg=r.uniform(-3, 3),
        perspective_x=r.uniform(-0.02, 0.02),
        perspective_y=r.uniform(-0.02, 0.02),
    )


GEOMETRY: dict[str, Draw] = {
    "shift": lambda r: Deviations(shift_x=r.uniform(-0.06, 0.06), shift_y=r.uniform(-0.06, 0.06)),
    "scale": lambda r: _scaled(r.uniform(0.9, 1.1)),
    "aspect": lambda r: Deviations(scale_x=r.uniform(0.92, 1.08), scale_y=r.uniform(0.92, 1.08)),
    "rotation": lambda r: Deviations(rotation_deg=r.uniform(-3, 3)),
    "perspective": lambda r: Deviations(
        perspective_x=r.uniform(-0.02, 0.02), perspective_y=r.uniform(-0.02, 0.02)
    ),
    "local": lambda r: Deviations(local=r.uniform(0.002, 0.015), local_cells=3.0),
    "all at once": _all_at_once,
}
ENTRIES = {
    "shift": ("shift_x_px", "shift_y_px"),
    "scale": ("scale_x", "scale_y"),
    "aspect": ("scale_x", "scale_y"),
    "rotation": ("rotation_deg",),
    "perspective": ("perspective_x", "perspective_y"),
    "local": ("local_motion_median_px",),
    "all at once": (
        *("shift_x_px", "shift_y_px", "scale_x", "scale_y", "rotation_deg"),
        *("perspective_x", "perspective_y"),
    ),
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
    "lines": Deviations(),  # drawn afterwards
    "tone": Deviations(
        tone=Tone(exposure_ev=0.6, contrast=1.2, saturation=1.25, warmth_ev=0.3, uneven_ev=0.3)
    ),
}
LINES = 10


def with_lines(picture: Image, rng: np.random.Generator) -> Image:
    """The picture with thin straight lines that the photo does not have."""
    marked = picture.copy()
    height, width = picture.shape[:2]
    for _ in range(LINES):
        start, end = (tuple(int(v) for v in rng.uniform(0, (width, height))) for _ in range(2))
        shade = 1.0 if picture[start[1] % height, start[0] % width].mean() < 0.5 else 0.0
        cv2.line(marked, start, end, (shade,) * 3, 2)
    return marked


def reference_prior(clean: Image, name: str, seed: int) -> SimulatedPrior:
    """A simulated prior with the reference amount of one class of deviation."""
    sim = inject(clean, REFERENCE[name], seed=seed)
    if name == "lines":
        sim = replace(sim, prior=with_lines(sim.prior, np.random.default_rng([13, seed])))
    return sim


def object_change(kind: str, seed: int) -> Deviations:
    """Deviations that add, remove or move one object of 1-4 % of the area."""
    rng = np.random.default_rng([11, seed])
    edit = ObjectEdit(kind, area=rng.uniform(0.01, 0.04), distance=rng.uniform(0.06, 0.2))
    return Deviations(objects=(edit,))


def truth(sim: SimulatedPrior, size: tuple[int, int]) -> dict[str, float]:
    """The amounts that a perfect measurement finds: the injected motion, split into shift, scale,
    rotation, perspective and local motion as Verax splits it."""
    width, height = size
    grid = np.stack(np.meshgrid(np.linspace(8, width - 9, 36), np.linspace(8, height - 9, 27)), -1)
    points = grid.reshape(-1, 2)
    moved = displacement(sim, points)
    there = points + moved  # only what is still in the picture can be measured
    inside = ((there > 8) & (there < np.array(size) - 9)).all(axis=1)
    points, moved = points[inside], moved[inside]
    count = len(points)
    even = np.ones(count)
    blocks = Blocks(points, moved, even, np.arange(count), count, count, even / count)
    geometry = fit_global(blocks, size, np.random.default_rng(0))
    assert not isinstance(geometry, str)
    words = motion(geometry.matrix, size, size)
    return {
        "shift_x_px": words.shift[0] * width,
        "shift_y_px": words.shift[1] * height,
        "scale_x": words.scale[0],
        "scale_y": words.scale[1],
        "rotation_deg": words.rotation,
        "perspective_x": words.perspective[0],
        "perspective_y": words.perspective[1],
        "local_motion_median_px": float(np.median(np.linalg.norm(geometry.residual, axis=1))),
    }


def displacement(sim: SimulatedPrior, points: Matrix) -> Matrix:
    """How far the content of the photo's points moved, (N, 2)."""
    targets = points
    if sim.field is not None:
        x, y = points.round().astype(int).T
        targets = points + sim.field[y, x]
    return map_points(invert(sim.matrix), targets) - points
