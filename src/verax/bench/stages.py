"""The stages of a run: a work item becomes an output file, then the output file becomes scores.

The functions depend only on their arguments, so that threads, processes and Ray run the same code.
An error with one picture is not raised; the row that is stored for the picture has its reason.
"""

import hashlib
import json
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from verax import degrade, metrics, restorers
from verax import image as images
from verax.bench import OutputRow, ScoreRow, Trial
from verax.bench.plan import Output, resolve
from verax.bench.work import Work
from verax.deviation import Look, compare, deviation, ladder
from verax.deviation.blocks import Blocks
from verax.errors import BudgetExceeded, InputError, OutputError, ProviderError, ProviderRefused
from verax.image import Image, Photo
from verax.priors.simulated import simulate
from verax.provenance import has_manifest
from verax.store import writing

RESAMPLER = 4  # index of the resampler in a protocol
MOST_MARGIN = 0.05  # of the short side: the widest margin of a reference that is cropped
MOST_ARROWS = 400  # vectors of a motion field that are stored for the report


@dataclass(frozen=True, slots=True)
class Prior:
    """A prior and where it comes from.

    Attributes:
        pixels: None if the item has no prior.
        wrong_size: whether the service returned another size than was requested.
        sha256, c2pa: hash of the generated file, and whether it has a C2PA manifest; "" and False
            if there is no such file.
        seconds: how long the service took; None if unknown.
        model: the model that the service names in its answer; "" without a service.
    """

    pixels: Image | None
    cost_usd: float = 0.0
    wrong_size: bool = False
    sha256: str = ""
    c2pa: bool = False
    seconds: float | None = None
    model: str = ""


class PriorSource(Protocol):
    """A service that makes the priors of a run."""

    def photo(self, work: Work) -> Image:
        """The pixels of a work item's photo, degraded if the item has a degradation."""

    def prior(self, photo: Image, work: Work) -> Prior:
        """The prior that the service makes for `photo`. Raises ProviderError if it makes none."""


def produce(work: Work, folder: Path, source: PriorSource | None = None) -> OutputRow:
    """Stage 1: make the output of a work item, write it to `folder`/KEY.png, return its row.

    `source` is the service that makes priors, if the item needs one. After an error, the row has
    the reason. Only BudgetExceeded and OutputError are raised, since the whole run must stop if the
    budget is spent or the disk is full.
    """
    start = time.perf_counter()
    prior, size, sha256 = Prior(None), (0, 0), ""
    try:
        photo = photo_of(work) if source is None else source.photo(work)
        size = (photo.shape[1], photo.shape[0])
        if work.degradation:
            _write(folder.parent / photo_name(work), _png(photo), work.key)
        prior = prior_of(work, photo, source)
        method, argument = resolve(work.method)
        output = method.run(photo, prior.pixels, argument, work.fidelity)
        if prior.wrong_size and output.outcome == "restored":
            reason = "the service returned a picture of another size than was requested"
            output = Output(output.pixels, "wrong_size", reason, None)
        if output.pixels is not None:
            data = _png(output.pixels)
            sha256 = hashlib.sha256(data).hexdigest()
            _write(folder / f"{work.key}.png", data, work.key)
    except (BudgetExceeded, OutputError):
        raise
    except ProviderRefused as exc:
        output = Output(None, "refused", str(exc))
    except Exception as exc:  # noqa: BLE001  # one poisoned picture is one failed row
        output = Output(None, "failed", f"{type(exc).__name__}: {exc}")
    seconds = time.perf_counter() - start
    return _row(work, output, prior, seconds, size, sha256)


def _row(
    work: Work, output: Output, prior: Prior, seconds: float, size: tuple[int, int], sha256: str
) -> OutputRow:
    degradation = work.degradation
    trial = {field.name: getattr(work, field.name) for field in fields(Trial)}
    return OutputRow(
        **trial | {"generator": prior.model or work.generator},
        degradation=f"{degradation.task}:{degradation.severity:g}" if degradation else "",
        outcome=output.outcome,
        reason=output.reason,
        seconds=seconds,
        cost_usd=prior.cost_usd,
        width=size[0],
        height=size[1],
        registration=json.dumps(output.registration) if output.registration else "",
        photo=photo_name(work),
        reference=work.reference or "",
        sha256=sha256,
        prior_file=(work.prior_file or "") if work.prior == "files" else "",
        prior_sha256=prior.sha256,
        prior_c2pa=prior.c2pa,
        prior_seconds=prior.seconds,
    )


def photo_name(work: Work) -> str:
    """Path of a work item's photo; relative to the run folder if the photo is degraded and stored
    there."""
    if not work.degradation:
        return work.photo
    text = f"{work.photo}|{work.degradation}"
    return f"photos/{hashlib.sha256(text.encode()).hexdigest()[:32]}.png"


def _png(pixels: Image) -> bytes:
    return images.encode(pixels, format="png")


def photo_of(work: Work, data: bytes | None = None) -> Image:
    """The pixels of a work item's photo, degraded if the item has a degradation.

    `data` are the bytes of the photo's file; None reads them.
    """
    name = work.photo
    pixels = (images.read(name) if data is None else images.decode(data, name=name)).pixels
    return degrade.apply(pixels, work.degradation) if work.degradation else pixels


def prior_of(work: Work, photo: Image, source: PriorSource | None) -> Prior:
    """The prior of a work item, requested from `source`, read from a file, or simulated.

    Its `pixels` are None if the item has no prior. Raises ProviderError if a service must make the
    prior, but `source` is None.
    """
    if work.model:
        if source is None:
            raise ProviderError(
                "expected an image service that makes the prior, but none is set up; set the key "
                "of the service or choose another --prior"
            )
        return source.prior(photo, work)
    if not resolve(work.method)[0].needs_prior or work.prior == "none":
        return Prior(None)
    if work.prior == "input":
        return Prior(photo)
    if work.prior == "own":
        return Prior(restorers.restore(photo, restorers.EMBEDDED))
    if work.prior_file is None:
        return Prior(None)
    data = Path(work.prior_file).read_bytes()
    picture = images.decode(data, name=work.prior_file).pixels
    if work.prior in ("simulated", "oracle"):
        picture, _ = without_margin(picture, photo.shape[:2])
    if work.prior == "simulated":
        return Prior(simulate(picture, seed=work.seed).prior)
    if work.prior != "files":
        return Prior(picture)
    sha256 = hashlib.sha256(data).hexdigest()
    return Prior(picture, sha256=sha256, c2pa=has_manifest(data))


def _write(path: Path, data: bytes, key: str) -> None:
    """Write `data` to `path` atomically, through the file `key`.part beside it. The file is not
    synced to the disk, since it can be made again."""
    draft = path.with_name(f"{key}.part")
    try:
        with writing(path):
            draft.write_bytes(data)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def score(row: OutputRow, path: Path, names: tuple[str, ...]) -> list[ScoreRow]:
    """Stage 2: score the output stored at `path` by the metrics in `names`, one row for each.

    If a metric fails, its row has the reason instead of a value.
    """
    try:
        output = images.read(path).pixels
        reference = images.read(row.reference).pixels if row.reference else None
    except InputError as exc:
        return [ScoreRow(row.key, name, "", None, str(exc)) for name in names]
    margin = 0
    if reference is not None:
        reference, margin = without_margin(reference, output.shape[:2])
    return [_score_one(row.key, name, output, reference, margin) for name in names]


def without_margin(reference: Image, size: tuple[int, ...]) -> tuple[Image, int]:
    """Crop a reference that shows a margin around the photo, as in the dataset SOTS indoor.

    `size` is (height, width) of the photo. Returns the reference and the cropped margin in px. A
    margin is cropped only if it is equal on all sides, at most 5 % of the photo's short side, and
    the photo is not square. In other cases the photo may have been resized instead of cropped; the
    reference is returned unchanged, with margin 0.
    """
    over = [(has - needs) / 2 for has, needs in zip(reference.shape, size, strict=False)]
    margin = int(over[0])
    equal = over[0] == over[1] == margin > 0 and size[0] != size[1]
    if not equal or margin > MOST_MARGIN * min(size):
        return reference, 0
    return reference[margin:-margin, margin:-margin], margin


def _score_one(
    key: str, name: str, output: Image, reference: Image | None, margin: int
) -> ScoreRow:
    needed = metrics.METRICS[name].needs == "reference"
    if needed and reference is None:
        return ScoreRow(key, name, "", None, "this metric needs a reference; there is none")
    try:
        number = metrics.score(output, reference if needed else None, metrics=(name,))[0]
    except Exception as exc:  # noqa: BLE001  # a metric that fails on one picture is one row
        return ScoreRow(key, name, "", None, f"{type(exc).__name__}: {exc}")
    value = float(number.value)
    if not np.isfinite(value):
        return ScoreRow(key, name, "", None, f"expected a finite number, got {value}")
    protocol = list(number.protocol)
    if needed and margin:
        protocol[RESAMPLER] = f"none, reference cropped by {margin} px on each side"
    return ScoreRow(key, name, json.dumps(protocol), value)


def deviate(row: OutputRow, path: Path) -> tuple[str, str]:
    """Measure how the output stored at `path` deviates from its photo; returns (its key, JSON).

    After an error the JSON is {"failed": reason}. For the method raw-prior (the prior, only
    resized), the generated picture is measured at its own size. The JSON then also has "motion"
    (displacements from photo to picture) and, with a reference, "ladder" (PSNR and SSIM of the
    picture after each of several corrections of its geometry and colour).
    """
    try:
        photo = images.read(path.parent.parent / row.photo).pixels
        raw = row.method == "raw-prior"
        picture = (_generated_picture(row) if raw else None) or images.read(path)
        output = picture.pixels
        look = compare(photo, output)
        changes = deviation(look).record()
        if raw and look.alignment is not None:
            changes["motion"] = _motion(photo, look.alignment.blocks)
        if raw and row.reference:
            reference, _ = without_margin(images.read(row.reference).pixels, photo.shape[:2])
            changes["ladder"] = _rungs(look, reference)
    except Exception as exc:  # noqa: BLE001  # one picture that cannot be measured is one row
        return row.key, json.dumps({"failed": f"{type(exc).__name__}: {exc}"})
    return row.key, json.dumps(changes)


def _generated_picture(row: OutputRow) -> Photo | None:
    """The prior of an output at its own size, before it was resized: read from its file, or
    simulated again. None if the prior was neither read from a file nor simulated."""
    if row.prior == "files" and row.prior_file:
        return images.read(row.prior_file)
    if row.prior == "simulated" and row.reference:
        clean, _ = without_margin(images.read(row.reference).pixels, (row.height, row.width))
        return images.from_array(simulate(clean, seed=row.seed).prior, name="prior")
    return None


def _motion(photo: Image, blocks: Blocks) -> list[tuple[float, float, float, float]]:
    """(x, y, dx, dy) of at most 400 blocks (small squares) of the photo: the centre, and how far
    its content is displaced in the generated picture, as shares of the photo's width and height."""
    size = np.array([photo.shape[1], photo.shape[0]])
    table = np.round(np.hstack([blocks.points / size, blocks.moved / size]), 4)
    return [tuple(row) for row in table[:: -(-len(table) // MOST_ARROWS) or 1].tolist()]


def _rungs(look: Look, reference: Image) -> list[tuple[str, float, float]]:
    """(name of the correction, PSNR in dB, SSIM) of a generated picture against `reference`.

    The first entry is for the picture uncorrected, the next ones after more and more corrections
    of geometry and colour. `look` has the picture with its photo. Returns [] if the picture covers
    less than 5 % of the reference.
    """
    try:
        rungs = ladder(look, reference).rungs
    except InputError:
        return []
    return [(rung.name, rung.psnr_db, rung.ssim) for rung in rungs]
