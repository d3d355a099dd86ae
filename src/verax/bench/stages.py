"""The two stages: a work item becomes an output on disk; an output on disk becomes scores.

Both are plain functions of what travels with them, so that threads, processes and Ray run the
same code. A stage never raises for one picture: what went wrong becomes its row.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verax import degrade, metrics, restorers
from verax import image as images
from verax.bench.methods import Made, resolve
from verax.bench.record import OutputRow, ScoreRow
from verax.bench.work import Work
from verax.deviation import measure
from verax.deviation.ladder import ladder
from verax.errors import BudgetExceeded, InputError, OutputError, ProviderError, ProviderRefused
from verax.geometry.register import Registration, register
from verax.image import Image
from verax.pipeline import EMBEDDED
from verax.priors.simulated import simulate
from verax.store import writing


@dataclass(frozen=True, slots=True)
class Asked:
    """A prior that a provider made: the picture on the photo's canvas, and what it cost."""

    pixels: Image
    cost_usd: float
    wrong_size: bool = False


Ask = Callable[[Image, Work], Asked]  # the photo, degraded where the plan says so


def produce(work: Work, folder: Path, ask: Ask | None = None) -> OutputRow:
    """Stage 1: run the method, write the output under its key, say what happened.

    BudgetExceeded and OutputError get out: a spent budget or a full disk says nothing about the
    picture, and the run must stop.
    """
    start = time.perf_counter()
    cost, size, sha256 = 0.0, (0, 0), ""
    try:
        photo = photo_of(work)
        size = (photo.shape[1], photo.shape[0])
        prior, cost, wrong_size = prior_of(work, photo, ask)
        method, argument = resolve(work.method)
        made = method.run(photo, prior, argument, work.fidelity)
        if wrong_size and made.outcome == "restored":
            made = Made(made.pixels, "wrong_size", "the service returned another size", None)
        if made.pixels is not None:
            data = images.encode(made.pixels, format="png")
            sha256 = hashlib.sha256(data).hexdigest()
            _write(folder / f"{work.key}.png", data)
    except (BudgetExceeded, OutputError):
        raise
    except ProviderRefused as exc:
        made = Made(None, "refused", str(exc))
    except Exception as exc:  # noqa: BLE001  # one poisoned picture is one failed row
        made = Made(None, "failed", f"{type(exc).__name__}: {exc}")
    seconds = time.perf_counter() - start
    return _row(work, made, seconds, cost, size, sha256)


def _row(
    work: Work, made: Made, seconds: float, cost: float, size: tuple[int, int], sha256: str
) -> OutputRow:
    degradation = work.degradation
    return OutputRow(
        key=work.key,
        dataset=work.dataset,
        task=work.task,
        item=work.item,
        method=work.method,
        prior=work.prior,
        degradation=f"{degradation.task}:{degradation.severity:g}" if degradation else "",
        prompt=work.prompt,
        repeat=work.repeat,
        generator=work.generator,
        licence=work.licence,
        outcome=made.outcome,
        reason=made.reason,
        seconds=seconds,
        cost_usd=cost,
        width=size[0],
        height=size[1],
        registration=json.dumps(made.registration) if made.registration else "",
        photo=work.photo,
        reference=work.reference or "",
        sha256=sha256,
    )


def photo_of(work: Work) -> Image:
    """The photo of a work item, degraded where the plan says so."""
    pixels = images.read(work.photo).pixels
    return degrade.apply(pixels, work.degradation) if work.degradation else pixels


def prior_of(work: Work, photo: Image, ask: Ask | None) -> tuple[Image | None, float, bool]:
    """The prior of a work item, what it cost, and whether it came in a wrong size."""
    if work.model:
        if ask is None:
            raise ProviderError("this run has no provider; give a key or another prior")
        asked = ask(photo, work)
        return asked.pixels, asked.cost_usd, asked.wrong_size
    return _free_prior(work, photo), 0.0, False


def _free_prior(work: Work, photo: Image) -> Image | None:
    if not resolve(work.method)[0].needs_prior or work.prior == "none":
        return None
    if work.prior == "input":
        return photo
    if work.prior == "own":
        return restorers.restore(photo, EMBEDDED)
    if work.prior_file is None:
        return None
    picture = images.read(work.prior_file).pixels
    if work.prior == "simulated":
        return simulate(picture, seed=work.seed).prior
    return picture


def _write(path: Path, data: bytes) -> None:
    """Whole or absent; not synced, since an output can be made again."""
    draft = path.with_suffix(".part")
    try:
        with writing(path):
            draft.write_bytes(data)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def score(row: OutputRow, path: Path, names: tuple[str, ...]) -> list[ScoreRow]:
    """Stage 2: the metrics of one stored output; what cannot be had says why."""
    try:
        output = images.read(path).pixels
        reference = images.read(row.reference).pixels if row.reference else None
    except InputError as exc:
        return [ScoreRow(row.key, name, "", None, str(exc)) for name in names]
    return [_score_one(row.key, name, output, reference) for name in names]


def _score_one(key: str, name: str, output: Image, reference: Image | None) -> ScoreRow:
    if reference is None and metrics.METRICS[name].needs == "reference":
        return ScoreRow(key, name, "", None, "no reference")
    try:
        found = metrics.score(output, reference, metrics=(name,))[0]
    except Exception as exc:  # noqa: BLE001  # a metric that fails on one picture is one row
        return ScoreRow(key, name, "", None, f"{type(exc).__name__}: {exc}")
    value = float(found.value)
    if not np.isfinite(value):
        return ScoreRow(key, name, "", None, f"not a finite number: {value}")
    return ScoreRow(key, name, json.dumps(found.protocol), value)


def deviate(row: OutputRow, path: Path) -> tuple[str, str]:
    """(key, JSON) of what one stored output changed against its photo; failures say why.

    Outputs of `raw-prior` also get the loss ladder where there is a reference.
    """
    try:
        output, photo = images.read(path).pixels, images.read(row.photo).pixels
        if row.degradation:
            raise InputError("the degraded photo is not stored")
        found = register(photo, output)
        told = measure(photo, output, found).record()
        if row.method == "raw-prior" and row.reference:
            reference = images.read(row.reference).pixels
            told["ladder"] = _rungs(photo, output, reference, found)
    except Exception as exc:  # noqa: BLE001  # one picture that cannot be measured is one row
        return row.key, json.dumps({"failed": f"{type(exc).__name__}: {exc}"})
    return row.key, json.dumps(told)


def _rungs(
    photo: Image, output: Image, reference: Image, found: Registration
) -> list[tuple[str, float, float]]:
    """The loss ladder as (step, PSNR in dB, SSIM); empty where too little can be compared."""
    try:
        rungs = ladder(photo, output, reference, found).rungs
    except InputError:
        return []
    return [(rung.name, rung.psnr_db, rung.ssim) for rung in rungs]
