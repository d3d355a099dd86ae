"""What a prior is worth, part by part: one row per way of using it, with its controls.

    python benchmarks/ablation.py [--set simulated|real] [--count 8] [--weights DIR ...]

"simulated": held-out clean photos (the "val" rows of VERAX_PICTURES), degraded, with a simulated
prior made from the clean photo: an upper bound, for the prior's tone is the truth's. "real":
photos with what an image model really returned; PSNR where ground truth exists on the photo's
grid, invented edges and NIQE everywhere.
Each --weights DIR holds the fusion network of one seed; the networks that restore without a prior
are the embedded ones throughout. Rows differ only in how the prior is used. The table is the mean
over seeds; intervals are of the paired difference to the network without a prior, photos resampled.
"""

import argparse
import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
    kept: dict[int, Registration] = field(default_factory=dict)  # by the prior's identity

    @cached_property
    def base(self) -> Image:
        return restorers.restore(self.photo, "network")

    @cached_property
    def found(self) -> Registration:
        return self.found_of(self.prior)

    def found_of(self, prior: Image) -> Registration:
        if id(prior) not in self.kept:
            self.kept[id(prior)] = register(self.photo, prior)
        return self.kept[id(prior)]

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
        case.found, placed="exactly", matrix=matrix, field=None, confidence=believed(case)
    )


def believed(case: Case) -> Image:
    return np.ones(case.photo.shape[:2], np.float32)


def fused(case: Case, found: Registration, prior: Image, mode: str = "network") -> Image:
    warped = case.on_grid(found, prior)
    return fusion.fuse(case.photo, case.base, warped, found, mode=mode).pixels


def with_prior(case: Case, prior: Image, mode: str = "network") -> Image:
    return fused(case, case.found_of(prior), prior, mode)


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
    if not case.found.usable:
        return case.base
    recipe = fusion.solve(case.photo, case.base, case.warped, case.found)
    if recipe is None or recipe.scene_state_change:
        return full(case)
    toned = fusion.toned(recipe, case.base)
    light = cv2.GaussianBlur(case.warped.pixels - toned, (0, 0), HIGH_BAND)
    plain = Warped(np.clip(toned + light, 0, 1), case.warped.valid)
    return join(case.photo, case.base, toned, plain, case.found)[0]


def oracle(case: Case) -> Image | None:
    if case.truth is None:
        return None
    found = replace(
        case.found, placed="exactly", matrix=case.truth.matrix, field=case.truth.field,
        confidence=believed(case),
    )  # fmt: skip
    return fused(case, found, case.prior)


# what does not pass through the fusion network is the same for every seed
SEEDLESS: dict[str, Row] = {
    "identity": lambda c: c.photo,
    "best classical": lambda c: restorers.restore(c.photo, CLASSICAL.get(c.task, "none")),
    "raw prior": lambda c: fitted(c.prior, c.photo),
    "registered prior": registered_prior,
    "low band of prior + high band of photo": low_band,
    "tone only": tone_only,
    "tone only without verify": without_verify(tone_only),
    "network without prior": lambda c: c.base,
    "tone on the network's base": lambda c: fused(c, c.found, c.prior, mode="tone"),
}
SEEDED: dict[str, Row] = {
    "network + unregistered prior": lambda c: fused(c, unregistered(c), c.prior),
    "network + global": lambda c: fused(
        c, replace(c.found, field=None, confidence=believed(c)), c.prior
    ),
    "network + local": lambda c: fused(c, replace(c.found, confidence=believed(c)), c.prior),
    "full (+ confidence)": full,
    "full without texture path": without_texture,
    "full without verify": without_verify(full),
    "control: foreign prior": lambda c: with_prior(c, c.stranger),
    "control: absent prior": lambda c: (
        fusion.fuse(c.photo, c.base, None, None, mode="network").pixels
    ),
    "control: prior = photo": lambda c: with_prior(c, c.photo),
    "control: prior = own output": lambda c: with_prior(c, c.base),
    "control: oracle registration": oracle,
    "control: prior = ground truth": lambda c: (
        None if c.reference is None else with_prior(c, c.reference)
    ),
}
FULL = "full (+ confidence)"


def simulated(folder: Path, count: int, skip: int, tasks: list[str]) -> Iterator[Case]:
    """Held-out photos, degraded, each with a simulated prior and one of another scene."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["task"] == "clean" and r["split"] == "val"]
    rows = (rows * 2)[skip : skip + count + 1]  # the last one's stranger is the first
    clean = [small(images.read(folder / r["target"]).pixels) for r in rows]
    for task in tasks:
        for seed, photo in enumerate(clean[:count], start=skip):
            severity = TASKS[task]
            bad = degrade.apply(photo, degrade.Degradation(task, severity, seed))
            prior = simulate(photo, seed=seed, settings=SimulatorSettings(), degraded=bad)
            other = foreign(
                clean[seed - skip + 1], seed=seed, size=(photo.shape[1], photo.shape[0])
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


def gain_by_quarter(case: Case, restored: Image, order_by: Image) -> list[float]:
    """PSNR gain over the base within each quarter of a map's pixels, the lowest first."""
    order = np.argsort(order_by, axis=None, kind="stable")
    error = [np.square(p - case.reference).mean(2).ravel() for p in (case.base, restored)]
    parts = np.array_split(order, 4)
    return [float(10 * np.log10(error[0][q].mean() / error[1][q].mean())) for q in parts]


Values = dict[str, list[float]]  # by measure, one value a seed
Quarters = dict[str, list[float]]  # by map, four gains


def rows_of(case: Case, places: list[Path]) -> tuple[dict[str, Values], list[Quarters]]:
    """The values of every row of a case, and the gains by quarter, one entry a seed."""
    found: dict[str, Values] = {}
    quarters: list[Quarters] = []
    for seed, place in enumerate(places):
        weights.FOLDER = place.resolve()
        for name, row in ((SEEDLESS if seed == 0 else {}) | SEEDED).items():
            try:
                picture = row(case)
            except VeraxError as exc:
                print(f"{case.name}, {name}: {exc}")
                continue
            if picture is None:
                continue
            for measure, value in measured(case, picture).items():
                found.setdefault(name, {}).setdefault(measure, []).append(value)
        if case.reference is not None and case.found.usable:
            result = fusion.fuse(case.photo, case.base, case.warped, case.found, mode="network")
            share = result.trust[..., 1] + result.trust[..., 2]
            quarters.append(
                {
                    "confidence of the registration": gain_by_quarter(
                        case, result.pixels, case.found.confidence
                    ),
                    "share taken from the prior": gain_by_quarter(case, result.pixels, share),
                }
            )
    return found, quarters


Results = dict[str, list[tuple[dict[str, Values], list[Quarters]]]]


def show(results: Results) -> None:
    """One table a task: means over photos and seeds, and the paired difference to the base."""
    for task, cases in results.items():
        print(f"\n## {task}, {len(cases)} photos")
        for name in SEEDLESS | SEEDED:
            rows = [rows[name] for rows, _ in cases if name in rows]
            if not rows:
                continue
            measures = [m for m in ("psnr", "invented", "niqe") if any(m in row for row in rows)]
            means = {m: [float(np.mean(row[m])) for row in rows if m in row] for m in measures}
            cells = [f"{m} {np.mean(means[m]):6.2f}" for m in measures]
            base = [r["network without prior"].get("psnr") for r, _ in cases if name in r]
            if "psnr" in means and len(means["psnr"]) == len(base) > 1:
                alone = [float(np.mean(value)) for value in base]
                gain = compare(means["psnr"], alone, rng=np.random.default_rng(0)).difference
                seeds = np.mean([row["psnr"] for row in rows], 0)
                cells.append(
                    f"against the network alone {gain.mean:+.2f} "
                    f"[{gain.low:+.2f}, {gain.high:+.2f}], "
                    f"seeds {seeds.min():.2f} to {seeds.max():.2f}"
                )
            print(f"{name:42}{len(rows):3}  " + "   ".join(cells))
        quarters = [each for _, several in cases for each in several]
        for name in quarters[0] if quarters else ():
            rising = np.mean([each[name] for each in quarters], 0)
            print(f"gain by quarter of the {name}: " + ", ".join(f"{g:+.2f}" for g in rising))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="simulated", choices=("simulated", "real"))
    parser.add_argument("--count", type=int, default=8, help="photos per task, or pairs")
    parser.add_argument("--skip", type=int, default=0, help="photos left out before those")
    parser.add_argument("--tasks", default=",".join(TASKS), help="of the simulated set")
    parser.add_argument("--weights", type=Path, nargs="*", help="one folder per seed")
    parser.add_argument("--save", type=Path, help="keep all values as JSON")
    words = parser.parse_args()
    folder = Path(os.environ["VERAX_PICTURES"])
    if words.set == "simulated":
        cases = simulated(folder, words.count, words.skip, words.tasks.split(","))
    else:
        cases = real(folder, words.count)
    results: Results = {}
    for case in cases:
        results.setdefault(case.task, []).append(rows_of(case, words.weights or [weights.EMBEDDED]))
        print(f"done {case.name}: placed {case.found.placed}", flush=True)
        if words.save:
            words.save.write_text(json.dumps(results))
    show(results)


if __name__ == "__main__":
    main()
