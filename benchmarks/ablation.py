"""Measure what a prior gains: one row for each way of using it, and rows that do not use it.

    python benchmarks/ablation.py [--set simulated|real] [--count 8] [--tasks haze,rain] [--save F]

"simulated": held-out clean photos (the "val" rows of VERAX_PICTURES), degraded in any of the ten
ways of `verax.degrade`, with a prior simulated from the clean photo: an upper bound, because the
prior has the true light. "real": photos with pictures from a real image model; PSNR where a
reference exists on the photo's grid, unsupported edges and NIQE for all.
Rows differ only in how the prior is used. "matched" is PSNR after the best gain and offset per
channel, which compares structure without light. Differences are paired, to the network without
a prior; intervals resample photos.
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

from verax import degrade, restorers
from verax import image as images
from verax.bench.plan import LOW_BAND_SIGMA, resize_to_photo
from verax.errors import VeraxError
from verax.fusion import dial
from verax.fusion.fuse import Fusion, fuse
from verax.fusion.light import unsupported_edges
from verax.geometry.register import Registration, WarpedPrior, apply, register
from verax.image import Image
from verax.metrics.naturalness import niqe
from verax.metrics.reference import psnr
from verax.priors.simulated import SimulatedPrior, SimulatorSettings, foreign, simulate
from verax.restorers import network
from verax.restorers.faults import Faults, diagnose
from verax.statistics import compare

SEVERITIES = {"haze": 0.7}  # where it is not the next line's
SEVERITY = 0.6
SIDE = 384  # px: longest side of the simulated cases, for the processor's sake
KINDS = {
    "dehazing": "haze", "deraining": "rain", "desnowing": "snow", "lowlight": "lowlight",
    "denoising": "noise", "jpeg": "jpeg", "motion_deblur": "motion_blur",
    "defocus_deblur": "defocus_blur", "underwater": "underwater", "raindrop": "raindrop",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One photo, with everything that the rows of the table need; slow parts are computed once."""

    name: str
    task: str
    photo: Image
    prior: Image
    reference: Image | None
    stranger: Image  # a prior of another scene
    truth: SimulatedPrior | None = None
    registrations: dict[int, Registration] = field(default_factory=dict)  # by the prior's identity

    @cached_property
    def faults(self) -> Faults:
        return diagnose(self.photo)

    @cached_property
    def alone(self) -> Image:
        return restorers.restore(self.photo, "network", faults=self.faults)

    @cached_property
    def structure(self) -> Image:
        return network.structure(self.photo, self.faults)

    @cached_property
    def lit(self) -> Image | None:
        return network.lit_copy(self.photo, self.faults)

    @cached_property
    def registration(self) -> Registration:
        return self.registration_of(self.prior)

    def registration_of(self, prior: Image) -> Registration:
        if id(prior) not in self.registrations:
            self.registrations[id(prior)] = register(self.photo, prior)
        return self.registrations[id(prior)]

    @cached_property
    def warped(self) -> WarpedPrior:
        return self.on_grid(self.registration, self.prior)

    def on_grid(self, registration: Registration, prior: Image) -> WarpedPrior:
        return apply(registration, prior, size=(self.photo.shape[1], self.photo.shape[0]))

    @cached_property
    def result(self) -> Fusion:
        return fused(self, self.prior, self.registration)


Row = Callable[[Case], Image | None]


def fused(
    case: Case, prior: Image, registration: Registration, fidelity: float = dial.DEFAULT
) -> Fusion:
    """Base and prior fused as `verax.restore` does it, with the given registration."""
    warped = case.on_grid(registration, prior)
    base = case.structure if registration.usable else case.alone
    result = fuse(
        case.photo, base, warped, registration, lit=case.lit, faults=case.faults, fidelity=fidelity
    )
    return result if result.explanation else replace(result, pixels=case.alone)


def with_prior(case: Case, prior: Image) -> Image:
    return fused(case, prior, case.registration_of(prior)).pixels


def without_prior(case: Case) -> Image:
    return fuse(case.photo, case.alone, None, None, faults=case.faults).pixels


def registered_prior(case: Case) -> Image:
    share = case.warped.valid[..., None]
    return np.clip(case.warped.pixels * share + case.photo * (1 - share), 0, 1)


def low_band(case: Case) -> Image:
    sigma = LOW_BAND_SIGMA * case.photo.shape[1]
    low = cv2.GaussianBlur(registered_prior(case) - case.photo, (0, 0), sigma)
    return np.clip(case.photo + low, 0, 1)


def oracle(case: Case) -> Image | None:
    """The restoration by the true registration; None if the true registration is not known."""
    if case.truth is None:
        return None
    registration = replace(
        case.registration, placed="exactly", matrix=case.truth.matrix, field=case.truth.field,
        confidence=np.ones(case.photo.shape[:2], np.float32),
    )  # fmt: skip
    return fused(case, case.prior, registration).pixels


ALONE = "network without prior"
ROWS: dict[str, Row] = {
    "identity": lambda c: c.photo,
    "raw prior": lambda c: resize_to_photo(c.prior, c.photo),
    "registered prior": registered_prior,
    "low band of prior + high band of photo": low_band,
    ALONE: lambda c: c.alone,
    "full at fidelity 1": lambda c: fused(c, c.prior, c.registration, 1.0).pixels,
    f"full at {dial.DEFAULT}, the default": lambda c: c.result.pixels,
    "control: foreign prior": lambda c: with_prior(c, c.stranger),
    "control: absent prior": without_prior,
    "control: prior = photo": lambda c: with_prior(c, c.photo),
    "control: prior = own output": lambda c: with_prior(c, c.alone),
    "control: oracle registration": oracle,
    "control: prior = ground truth": lambda c: (
        None if c.reference is None else with_prior(c, c.reference)
    ),
}


def simulated(folder: Path, count: int, skip: int, tasks: list[str]) -> Iterator[Case]:
    """Held-out photos, degraded, each with a simulated prior and a prior of another scene."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["task"] == "clean" and r["split"] == "val"]
    rows = (rows * 2)[skip : skip + count + 1]  # the last one's stranger is the next photo
    clean = [small(images.read(folder / r["target"]).pixels) for r in rows]
    for task in tasks:
        severity = SEVERITIES.get(task, SEVERITY)
        for index, photo in enumerate(clean[:count]):
            number = skip + index
            bad = degrade.apply(photo, degrade.Degradation(task, severity, number))
            prior = simulate(photo, seed=number, settings=SimulatorSettings(), degraded=bad)
            size = (photo.shape[1], photo.shape[0])
            other = foreign(clean[index + 1], seed=number, size=size)
            yield Case(f"{task} {number}", task, bad, prior.prior, photo, other.prior, prior)


def real(folder: Path, count: int, tasks: list[str]) -> Iterator[Case]:
    """Photos with a real generated prior, and the reference if it is on the photo's grid."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["generated"]]
    chosen = [r for r in rows if KINDS.get(r["task"]) in tasks][:count]
    for row in chosen:
        photo = images.read(folder / row["input"]).pixels
        target = images.read(folder / row["target"]).pixels if row["target"] else None
        if target is not None and target.shape != photo.shape:
            target = None
        prior = images.read(folder / row["generated"]).pixels
        other = next(r for r in rows if r["input"] != row["input"] and r["task"] != row["task"])
        stranger = images.read(folder / other["generated"]).pixels
        name = Path(row["generated"]).stem
        yield Case(name, KINDS[row["task"]], photo, prior, target, stranger)


def small(picture: Image) -> Image:
    scale = SIDE / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.clip(shrunk, 0, 1).astype(np.float32)


def matched_psnr(picture: Image, reference: Image) -> float:
    """PSNR in dB after the least-squares gain and offset per channel."""
    fit = np.empty_like(picture)
    for channel in range(3):
        own, truth = picture[..., channel].ravel(), reference[..., channel].ravel()
        spread = float(own.var(dtype=np.float64))
        both = float(np.mean((own - own.mean()) * (truth - truth.mean()), dtype=np.float64))
        gain = both / spread if spread > 1e-9 else 0.0
        fit[..., channel] = gain * (picture[..., channel] - own.mean()) + truth.mean()
    return psnr(fit, reference)


def measured(case: Case, picture: Image) -> dict[str, float]:
    values = {"unsupported": 100 * unsupported_edges(picture, case.photo)}
    if case.reference is not None:
        values["psnr"] = psnr(picture, case.reference)
        values["matched"] = matched_psnr(picture, case.reference)
    if case.truth is None and min(picture.shape[:2]) >= 192:  # NIQE needs two blocks a side
        values["niqe"] = niqe(picture)
    return values


Values = dict[str, dict[str, float]]  # by row, by measure


def rows_of(case: Case) -> Values:
    """The metrics of every row of the table for one photo; a row that fails is only printed."""
    values: Values = {}
    for name, row in ROWS.items():
        try:
            picture = row(case)
        except VeraxError as exc:
            print(f"{case.name}, {name}: {exc}")
            continue
        if picture is not None:
            values[name] = measured(case, picture)
    return values


def gain(cases: list[Values], name: str, measure: str) -> str:
    """Mean paired difference to the network without a prior, with its 95 % interval, as text."""
    both = [
        (c[name][measure], c[ALONE][measure])
        for c in cases
        if measure in c.get(name, {}) and measure in c.get(ALONE, {})
    ]
    if name == ALONE or not both:
        return ""
    ours, alone = map(list, zip(*both, strict=True))
    difference = compare(ours, alone, rng=np.random.default_rng(0)).difference
    if len(both) == 1:
        return f" ({difference.mean:+.2f})"
    return f" ({difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}])"


def show(results: dict[str, list[Values]]) -> None:
    """Print one table per task: means over photos, and paired differences."""
    for task, cases in results.items():
        print(f"\n## {task}, {len(cases)} photos (in brackets: difference to the {ALONE} [95 %])")
        for name in ROWS:
            cells = []
            for measure in ("psnr", "matched", "unsupported", "niqe"):
                values = [c[name][measure] for c in cases if measure in c.get(name, {})]
                if values:
                    paired = gain(cases, name, measure) if measure in ("psnr", "matched") else ""
                    cells.append(f"{measure} {np.mean(values):6.2f}{paired}")
            if cells:
                count = sum(name in c for c in cases)
                print(f"{name:40}{count:3}  " + "   ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", default="simulated", choices=("simulated", "real"))
    parser.add_argument("--count", type=int, default=8, help="photos per task, or pairs")
    parser.add_argument("--skip", type=int, default=0, help="number of photos to leave out first")
    parser.add_argument(
        "--tasks",
        default=",".join(degrade.TASKS),
        help="degradations of verax.degrade, separated by commas",
    )
    parser.add_argument("--save", type=Path, help="keep all values as JSON")
    words = parser.parse_args()
    folder, tasks = Path(os.environ["VERAX_PICTURES"]), words.tasks.split(",")
    if words.set == "simulated":
        cases = simulated(folder, words.count, words.skip, tasks)
    else:
        cases = real(folder, words.count, tasks)
    results: dict[str, list[Values]] = {}
    for case in cases:
        results.setdefault(case.task, []).append(rows_of(case))
        print(f"done {case.name}: placed {case.registration.placed}", flush=True)
        if words.save:
            words.save.write_text(json.dumps(results))
    show(results)


if __name__ == "__main__":
    main()
