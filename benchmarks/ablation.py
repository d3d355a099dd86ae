"""What a prior is worth, part by part: one row per way of using it, with its controls.

    python benchmarks/ablation.py [--set simulated|real] [--count 8] [--weights DIR ...]

"simulated": held-out clean photos (the "val" rows of VERAX_PICTURES), degraded, with a simulated
prior made from the clean photo: an upper bound, for the prior's tone is the truth's. "real":
photos with what an image model really returned; PSNR where ground truth exists on the photo's
grid, invented edges and NIQE everywhere.
Each --weights DIR holds the networks of one seed (what `verax train --recipe` leaves); a file that
it lacks is the embedded one. Rows differ only in how the prior is used. The table is the mean over
seeds; intervals are of the paired difference to the network without a prior, its photos resampled.
"""

import argparse
import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from verax import degrade, restorers, weights
from verax import image as images
from verax.bench.methods import fitted
from verax.bench.statistics import compare
from verax.errors import VeraxError
from verax.fusion import fuse as fusion
from verax.fusion.network import join
from verax.fusion.verify import unsupported_edges
from verax.geometry.register import Registration, Warped, apply, register
from verax.image import Image
from verax.metrics.naturalness import niqe
from verax.metrics.pixel import psnr
from verax.priors.simulated import SimulatedPrior, SimulatorSettings, foreign, simulate

TASKS = {"haze": 0.7, "rain": 0.6, "lowlight": 0.6}  # with the severity
CLASSICAL = {"haze": "dcp", "rain": "guided_derain", "lowlight": "lime", "noise": "nlm"}
SIDE = 384  # px: longest side of the simulated cases, for the processor's sake
LOW_BAND = 0.02  # of the width
HIGH_BAND = 8.0  # px
KINDS = {"dehazing": "haze", "deraining": "rain", "lowlight": "lowlight", "denoising": "noise"}


@dataclass(frozen=True)
class Case:
    """One photo with everything the rows need; dear parts are computed once."""

    name: str
    task: str
    photo: Image
    prior: Image
    reference: Image | None
    stranger: Image  # a prior of another scene
    truth: SimulatedPrior | None = None

    @cached_property
    def base(self) -> Image:
        return restorers.restore(self.photo, "network")

    @cached_property
    def found(self) -> Registration:
        return register(self.photo, self.prior)

    @cached_property
    def warped(self) -> Warped:
        return self.on_grid(self.found, self.prior)

    def on_grid(self, found: Registration, prior: Image) -> Warped:
        return apply(found, prior, size=(self.photo.shape[1], self.photo.shape[0]))


Row = Callable[[Case], Image | None]


def unregistered(case: Case) -> Registration:
    """The prior stretched onto the photo and believed everywhere."""
    height, width = case.photo.shape[:2]
    sx, sy = width / case.prior.shape[1], height / case.prior.shape[0]
    matrix = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
    return replace(
        case.found, outcome="registered", matrix=matrix, field=None, confidence=believed(case)
    )


def believed(case: Case) -> Image:
    return np.ones(case.photo.shape[:2], np.float32)


def fused(case: Case, found: Registration, prior: Image, mode: str = "network") -> Image:
    warped = case.on_grid(found, prior)
    return fusion.fuse(case.photo, case.base, warped, found, mode=mode).pixels


def with_prior(case: Case, prior: Image, mode: str = "network") -> Image:
    return fused(case, register(case.photo, prior), prior, mode)


def registered_prior(case: Case) -> Image:
    seen = case.warped.valid[..., None]
    return np.clip(case.warped.pixels * seen + case.photo * (1 - seen), 0, 1)


def low_band(case: Case) -> Image:
    sigma = LOW_BAND * case.photo.shape[1]
    low = cv2.GaussianBlur(registered_prior(case) - case.photo, (0, 0), sigma)
    return np.clip(case.photo + low, 0, 1)


def tone_only(case: Case) -> Image:
    return fusion.fuse(case.photo, case.photo, case.warped, case.found).pixels


def without_verify(row: Row) -> Row:
    """A row with the doubt about invented structure ignored."""

    def run(case: Case) -> Image | None:
        doubt, never = fusion.verify.doubt, lambda restoration, photo: np.zeros_like(photo[..., 0])
        fusion.verify.doubt = never
        try:
            return row(case)
        finally:
            fusion.verify.doubt = doubt

    return run


def full(case: Case) -> Image:
    return fused(case, case.found, case.prior)


def without_texture(case: Case) -> Image:
    """The full row with a prior that has no high band of its own."""
    if case.found.outcome == "foreign":
        return case.base
    recipe = fusion.solve(case.photo, case.base, case.warped, case.found)
    if recipe is None or recipe.scene_state_change:
        return full(case)
    toned, _ = fusion.carry_out(recipe, case.base, case.warped, 1.0)
    light = cv2.GaussianBlur(case.warped.pixels - toned, (0, 0), HIGH_BAND)
    plain = Warped(np.clip(toned + light, 0, 1), case.warped.valid)
    return join(case.photo, toned, plain, case.found)[0]


def oracle(case: Case) -> Image | None:
    if case.truth is None:
        return None
    found = replace(
        case.found, outcome="registered", matrix=case.truth.matrix, field=case.truth.field,
        confidence=believed(case),
    )  # fmt: skip
    return fused(case, found, case.prior)


ROWS: dict[str, Row] = {
    "identity": lambda c: c.photo,
    "best classical": lambda c: restorers.restore(c.photo, CLASSICAL.get(c.task, "none")),
    "raw prior": lambda c: fitted(c.prior, c.photo),
    "registered prior": registered_prior,
    "low band of prior + high band of photo": low_band,
    "tone only": tone_only,
    "tone only without verify": without_verify(tone_only),
    "network without prior": lambda c: c.base,
    "network + unregistered prior": lambda c: fused(c, unregistered(c), c.prior),
    "network + global": lambda c: fused(
        c, replace(c.found, field=None, confidence=believed(c)), c.prior
    ),
    "network + local": lambda c: fused(c, replace(c.found, confidence=believed(c)), c.prior),
    "full (+ confidence)": full,
    "full without texture path": without_texture,
    "full without verify": without_verify(full),
    "tone on the network's base": lambda c: fused(c, c.found, c.prior, mode="tone"),
    "control: foreign prior": lambda c: with_prior(c, c.stranger),
    "control: prior = photo": lambda c: with_prior(c, c.photo),
    "control: prior = own output": lambda c: with_prior(c, c.base),
    "control: oracle registration": oracle,
    "control: prior = ground truth": lambda c: (
        None if c.reference is None else with_prior(c, c.reference)
    ),
}


def simulated(folder: Path, count: int) -> Iterator[Case]:
    """Held-out photos, degraded, each with a simulated prior and one of another scene."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["task"] == "clean" and r["split"] == "val"]
    clean = [small(images.read(folder / r["target"]).pixels) for r in rows[: count + 1]]
    for task, severity in TASKS.items():
        for seed, photo in enumerate(clean[:count]):
            bad = degrade.apply(photo, degrade.Degradation(task, severity, seed))
            prior = simulate(photo, seed=seed, settings=SimulatorSettings(), degraded=bad)
            other = foreign(
                clean[(seed + 1) % len(clean)], seed=seed, size=(photo.shape[1], photo.shape[0])
            )
            yield Case(f"{task} {seed}", task, bad, prior.prior, photo, other.prior, prior)


def real(folder: Path, count: int) -> Iterator[Case]:
    """Photos with what an image model really returned, and ground truth where it fits."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["generated"] and r["task"] in KINDS]
    rows = [r for r in rows if "derain_bad" not in r["generated"]][:count]
    priors = [images.read(folder / r["generated"]).pixels for r in rows]
    for index, row in enumerate(rows):
        photo = images.read(folder / row["input"]).pixels
        target = images.read(folder / row["target"]).pixels if row["target"] else None
        if target is not None and target.shape != photo.shape:
            target = None
        other = priors[(index + 1) % len(priors)]
        name = Path(row["generated"]).stem
        yield Case(name, KINDS[row["task"]], photo, priors[index], target, other)


def small(picture: Image) -> Image:
    scale = SIDE / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.clip(shrunk, 0, 1).astype(np.float32)


def measured(case: Case, picture: Image) -> dict[str, float]:
    values = {"invented": 100 * unsupported_edges(picture, case.photo)}
    if case.reference is not None:
        values["psnr"] = psnr(picture, case.reference)
    if case.truth is None and min(picture.shape[:2]) >= 192:  # NIQE needs two blocks a side
        values["niqe"] = niqe(picture)
    return values


def quartiles(case: Case, full: Image) -> list[float]:
    """PSNR gain of the full row over the base within each quarter of the confidence."""
    if case.reference is None:
        return []
    order = np.argsort(case.found.confidence, axis=None, kind="stable")
    error = [np.square(p - case.reference).mean(2).ravel() for p in (case.base, full)]
    parts = np.array_split(order, 4)
    return [float(10 * np.log10(error[0][q].mean() / error[1][q].mean())) for q in parts]


def run(cases: Iterator[Case], names: list[str]) -> tuple[dict, dict]:
    """Values by task, row and measure; gains by task and confidence quarter."""
    table: dict[str, dict[str, dict[str, list[float]]]] = {}
    gains: dict[str, list[list[float]]] = {}
    for case in cases:
        for name in names:
            try:
                picture = ROWS[name](case)
            except VeraxError as exc:
                print(f"{case.name}, {name}: {exc}")
                picture = None
            if picture is None:
                continue
            row = table.setdefault(case.task, {}).setdefault(name, {})
            for measure, value in measured(case, picture).items():
                row.setdefault(measure, []).append(value)
            if name.startswith("full") and case.reference is not None:
                gains.setdefault(case.task, []).append(quartiles(case, picture))
        print(f"done {case.name}: {case.found.outcome}", flush=True)
    return table, gains


Table = dict[str, dict[str, dict[str, list[float]]]]


def over_seeds(tables: list[Table]) -> Table:
    """Per photo the mean over the seeds."""
    return {
        task: {
            row: {
                measure: list(np.mean([t[task][row][measure] for t in tables], 0))
                for measure in values
            }
            for row, values in rows.items()
        }
        for task, rows in tables[0].items()
    }


def show(tables: list[Table], gains: list[dict[str, list[list[float]]]]) -> None:
    for task, rows in over_seeds(tables).items():
        print(f"\n## {task}")
        base = rows.get("network without prior", {}).get("psnr")
        for name, row in rows.items():
            cells = [f"{m} {np.mean(v):6.2f}" for m, v in row.items()]
            if base and "psnr" in row and len(base) == len(row["psnr"]) > 1:
                against = compare(row["psnr"], base, rng=np.random.default_rng(0)).difference
                seeds = [np.mean(t[task][name]["psnr"]) for t in tables]
                cells.append(
                    f"against the network alone {against.mean:+.2f} "
                    f"[{against.low:+.2f}, {against.high:+.2f}], "
                    f"seeds {min(seeds):.2f} to {max(seeds):.2f}"
                )
            count = len(next(iter(row.values())))
            print(f"{name:42}{count:3}  " + "   ".join(cells))
        quarters = [g for seed in gains for g in seed.get(task, []) if g]
        if quarters:
            rising = np.mean(quarters, 0)
            print("gain by confidence quarter: " + ", ".join(f"{g:+.2f}" for g in rising))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="simulated", choices=("simulated", "real"))
    parser.add_argument("--count", type=int, default=8, help="photos per task, or pairs")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="one folder per seed")
    words = parser.parse_args()
    folder = Path(os.environ["VERAX_PICTURES"])
    make = simulated if words.set == "simulated" else real
    tables, gains = [], []
    for place in words.weights or [weights.EMBEDDED]:
        weights.FOLDER = place.resolve()
        print(f"# networks of {place}", flush=True)
        table, gain = run(make(folder, words.count), words.rows.split(","))
        tables.append(table)
        gains.append(gain)
    show(tables, gains)
    print(json.dumps({"set": words.set, "seeds": tables}))


if __name__ == "__main__":
    main()
