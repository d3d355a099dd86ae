"""What a benchmark run does: datasets x degradations x methods x priors x prompts x repeats.

A plan is one TOML table or the flags of `verax bench run`; `work.expand` turns it into work items.
Presets are plans by name, for common questions: presets.toml.

A method turns a photo (and a prior) into an output. To add one, write a function and give it a line
in METHODS; raise its version when its results change, so that stored outputs of the old version are
made again.
"""

import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from verax import pipeline, restorers, weights
from verax.degrade import TASKS, Degradation
from verax.errors import SettingsError, choose
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY
from verax.geometry.register import apply, register
from verax.image import Image
from verax.image.pixels import resize_picture
from verax.metrics import METRICS

PLAN_VERSION = 1
LOW_BAND_SIGMA = 0.02  # of the width
PRIORS = {
    "auto": "the generated picture of the item, else a simulated one, else none",
    "none": "no prior",
    "files": "the generated picture of the item",
    "simulated": "made from the reference by the simulator",
    "foreign": "the prior of another item (control: must not help)",
    "oracle": "the reference itself (control: the ceiling)",
    "input": "the photo itself (control: must not help)",
    "own": "the base of the embedded restorer (control: must not help)",
}
PROVIDER = "provider:"  # provider:MODEL requests the prior from a model


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Names of datasets are catalog names, folders or manifest files."""

    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    tasks: tuple[str, ...] = ()  # empty: all
    splits: tuple[str, ...] = ("test", "unpaired", "")
    priors: tuple[str, ...] = ("auto",)
    degradations: tuple[str, ...] = ()  # TASK:SEVERITY, for items without a photo of their own
    metrics: tuple[str, ...] = ("psnr", "ssim")
    prompts: tuple[str, ...] = ("default",)  # wordings of the prompt catalog
    quality: str = ""  # of the pictures a provider makes
    repeats: int = 1
    seed: int = 0
    fidelity: float = DEFAULT_FIDELITY
    limit: int = 0  # items per dataset and task, 0: all


def from_toml(text: str, *, name: str = "plan") -> Plan:
    """A plan from TOML; an unknown or misspelt field is an error that lists the known ones."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{name}: not TOML: {exc}") from exc
    known = {field.name for field in fields(Plan)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise SettingsError(
            f"{name}: unknown fields {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    try:
        return check(Plan(**values))
    except TypeError as exc:
        raise SettingsError(f"{name}: expected at least datasets and methods; {exc}") from exc


def check(plan: Plan) -> Plan:
    """The plan, if it is valid; else an error that names the fault."""
    for name in plan.methods:
        resolve(name)
    for name in plan.priors:
        if not name.startswith(PROVIDER):
            choose(PRIORS, name, kind="prior")
    for name in plan.metrics:
        choose(METRICS, name, kind="metric")
    for text in plan.degradations:
        parse_degradation(text, seed=0)
    if plan.repeats < 1 or not 0 <= plan.fidelity <= 1 or plan.limit < 0:
        raise SettingsError(
            f"plan: expected repeats >= 1, fidelity 0..1 and limit >= 0, "
            f"got {plan.repeats}, {plan.fidelity}, {plan.limit}"
        )
    return plan


def parse_degradation(text: str, *, seed: int) -> Degradation:
    """A degradation from TASK:SEVERITY, such as haze:0.5."""
    task, _, severity = text.partition(":")
    choose(TASKS, task, kind="degradation")
    try:
        return Degradation(task, float(severity or 0.5), seed)
    except ValueError as exc:
        raise SettingsError(f"degradation {text!r}: expected TASK:SEVERITY, severity 0..1") from exc


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as it is stored with its run."""
    return {"plan_version": PLAN_VERSION, **json.loads(json.dumps(asdict(plan)))}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Where two stored plans differ, one line each."""
    return [
        f"{field}: stored {old.get(field)!r}, requested {new.get(field)!r}"
        for field in sorted(set(old) | set(new))
        if old.get(field) != new.get(field)
    ]


@dataclass(frozen=True, slots=True)
class Preset:
    """A plan, mostly without datasets.

    Attributes:
        about: its question.
        fields: of `Plan`.
        needs: what the user brings, "" where any dataset will do.
        deviation: whether deviations are measured.
    """

    about: str
    fields: dict[str, Any]
    needs: str = ""
    deviation: bool = False


@cache
def presets() -> dict[str, Preset]:
    """Every preset by name."""
    table = tomllib.loads((files("verax.bench") / "presets.toml").read_text(encoding="utf-8"))
    return {name: _preset(dict(entry)) for name, entry in table.items()}


def preset(name: str) -> Preset:
    """The preset of that name; UnknownNameError lists the others."""
    return choose(presets(), name, kind="preset")


def _preset(entry: dict[str, Any]) -> Preset:
    facts = {name: entry.pop(name) for name in ("about", "needs", "deviation") if name in entry}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Preset(fields=values, **facts)


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a method: pixels, or None with the outcome as the reason.

    `outcome` is "restored", "prior_not_placed" (the base is used), or "abstained".
    """

    pixels: Image | None
    outcome: str = "restored"
    reason: str = ""
    registration: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Method:
    """A method: `run(photo, prior, argument, fidelity)`; the argument follows a colon.

    `alone`: it also works without a prior.
    """

    run: Callable[[Image, Image | None, str, float], Output]
    what: str
    needs_prior: bool
    seconds_per_megapixel: float  # rough, for the estimate before a run
    version: int = 1
    alone: bool = False


def fitted(prior: Image, photo: Image) -> Image:
    """The prior resized to the photo's grid, nothing else (area down, cubic up)."""
    return resize_picture(prior, (photo.shape[1], photo.shape[0]))


def identity(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return Output(photo)


def restorer(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return Output(restorers.restore(photo, argument))


def raw_prior(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return _absent() if prior is None else Output(fitted(prior, photo))


def registered_prior(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    if prior is None:
        return _absent()
    registration = register(photo, prior)
    record = registration.record()
    if registration.placed != "exactly":
        return Output(photo, "prior_not_placed", registration.reason, record)
    warped = apply(registration, prior, size=(photo.shape[1], photo.shape[0]))
    share = warped.valid[..., None]
    return Output(np.clip(warped.pixels * share + photo * (1 - share), 0, 1), registration=record)


def low_band(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The low band of the registered prior with the high band of the photo."""
    output = registered_prior(photo, prior, argument, fidelity)
    if output.pixels is None or output.outcome != "restored":
        return output
    sigma = LOW_BAND_SIGMA * photo.shape[1]
    low = cv2.GaussianBlur(output.pixels - photo, (0, 0), sigma)
    return Output(np.clip(photo + low, 0, 1), registration=output.registration)


def full(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The pipeline itself, over another base where the argument names one."""
    name = argument or pipeline.DEFAULT_RESTORER
    result = pipeline.restore(photo, prior, restorer=name, fidelity=fidelity)
    registration = result.registration
    record = registration.record() if registration else None
    outcome = "prior_not_placed" if result.prior == "unused" else "restored"
    reason = registration.reason if registration and outcome != "restored" else ""
    return Output(result.pixels, outcome, reason, record, result.notes)


def _absent() -> Output:
    return Output(None, "abstained", "this item has no prior of the requested kind")


METHODS: dict[str, Method] = {
    "identity": Method(identity, "the photo as it is: the do-nothing row", False, 0.1),
    "restorer": Method(restorer, "restorer:NAME, a restorer or a checkpoint file", False, 2.0),
    "raw-prior": Method(raw_prior, "the prior resized, nothing else", True, 0.2),
    "registered-prior": Method(registered_prior, "the prior on the photo's grid", True, 1.5),
    "low-band": Method(low_band, "low band of the prior, high band of the photo", True, 1.6),
    "full": Method(
        full,
        "the pipeline of verax restore; full:RESTORER for another base",
        True,
        4.0,
        version=3,
        alone=True,
    ),
}


@cache
def resolve(name: str) -> tuple[Method, str]:
    """A method and its argument from a name: full, full:dcp, restorer:clahe or just clahe."""
    head, _, argument = name.partition(":")
    known = METHODS | dict.fromkeys(restorers.RESTORERS, METHODS["restorer"])
    key = head.replace("_", "-")
    method = choose(known, key if key in METHODS else head, kind="method")
    return method, argument or (head if head in restorers.RESTORERS else "")


def files_of(name: str, prior: str = "") -> tuple[str, ...]:
    """The weights that a method's output depends on; other weights give another key."""
    head, argument = name.partition(":")[0].replace("_", "-"), resolve(name)[1]
    if argument.endswith(restorers.WEIGHTS):
        return (argument,) if Path(argument).is_file() else ()
    network = argument == pipeline.EMBEDDED or (head == "full" and not argument)
    if not network and prior != "own":
        return ()
    return tuple(str(weights.path(name)) for name in weights.FILES)


def version_of(name: str) -> str:
    """Method and version as they enter the key of a work item."""
    return f"{name}@{resolve(name)[0].version}"
