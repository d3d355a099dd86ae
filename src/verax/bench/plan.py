"""What a benchmark run does: datasets x degradations x methods x priors x prompts x repeats.

A plan is a TOML file or the options of `verax bench run`; `work.expand` turns it into work items.
A method turns a photo (and a prior) into an output; METHODS lists all of them.
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

PLAN_VERSION, LOW_BAND_SIGMA = 1, 0.02  # sigma of a Gaussian, as a share of the photo's width
PRIORS = {
    "auto": "the generated picture of the dataset, else a simulated one, else none",
    "none": "no prior",
    "files": "the generated picture of the dataset",
    "simulated": "made from the reference by simulation",
    "foreign": "the prior of another picture (control: must not help)",
    "oracle": "the reference itself (control: the best that a prior can do)",
    "input": "the photo itself (control: must not help)",
    "own": "the photo restored by the embedded networks (control: must not help)",
}
PROVIDER = "provider:"  # provider:MODEL requests the prior from a model


@dataclass(frozen=True, slots=True)
class Plan:
    """What one benchmark run does. Its datasets are catalog names, folders or manifest files.

    Attributes:
        tasks: kinds of damage, such as "dehazing"; () for all.
        splits: parts of the datasets to use; "" stands for pictures without a split.
        priors: keys of PRIORS, which explains them, or "provider:MODEL" (made by a service).
        degradations: "TASK:SEVERITY"; each is simulated on the references that have no photo. If
            the plan has no degradations, such a reference is itself used as the photo.
        metrics, prompts: names of metrics, and names of prompts in the catalog.
        quality: of the pictures that a provider makes; "" for the model's default.
        repeats: number of calls of a provider per picture and prompt.
        seed: of the simulated degradations and priors; each picture adds its index to it.
        fidelity: 0 takes all of the prior, 1 only what the photo supports.
        limit: number of items per dataset and task; 0 for all.
    """

    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    tasks: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("test", "unpaired", "")
    priors: tuple[str, ...] = ("auto",)
    degradations: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("psnr", "ssim")
    prompts: tuple[str, ...] = ("default",)
    quality: str = ""
    repeats: int = 1
    seed: int = 0
    fidelity: float = DEFAULT_FIDELITY
    limit: int = 0


def from_toml(text: str, *, name: str = "plan") -> Plan:
    """The plan in a TOML text; error messages call it `name`. Raises InputError if invalid."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{name}: expected TOML, cannot read it: {exc}; correct it") from exc
    known = {field.name for field in fields(Plan)}
    if unknown := sorted(set(table) - known):
        raise SettingsError(
            f"{name}: expected only the fields {', '.join(sorted(known))}, but it also has "
            f"{', '.join(unknown)}; correct or remove these"
        )
    try:
        return check(Plan(**_tuples(table)))
    except TypeError as exc:
        raise SettingsError(
            f"{name}: a field is missing or its value has the wrong type ({exc}); correct the "
            "plan, which needs at least datasets and methods"
        ) from exc


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}


def check(plan: Plan) -> Plan:
    """`plan` itself, if all its names and values are valid. Raises InputError otherwise."""
    for name in plan.methods:
        resolve(name)
    for name in (prior for prior in plan.priors if not prior.startswith(PROVIDER)):
        choose(PRIORS, name, kind="prior")
    for name in plan.metrics:
        choose(METRICS, name, kind="metric")
    for text in plan.degradations:
        parse_degradation(text, seed=0)
    if plan.repeats < 1 or not 0 <= plan.fidelity <= 1 or plan.limit < 0:
        raise SettingsError(
            f"expected a plan with repeats >= 1, fidelity 0..1 and limit >= 0, got repeats "
            f"{plan.repeats}, fidelity {plan.fidelity} and limit {plan.limit}; correct them"
        )
    return plan


def parse_degradation(text: str, *, seed: int) -> Degradation:
    """The degradation named by "TASK:SEVERITY" (0..1) or "TASK" (0.5), randomised by `seed`."""
    task, _, severity = text.partition(":")
    choose(TASKS, task, kind="degradation")
    try:
        return Degradation(task, float(severity or 0.5), seed)
    except ValueError as exc:
        raise SettingsError(
            f"expected TASK:SEVERITY with a severity 0..1, such as haze:0.5, got {text!r}"
        ) from exc


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as a dict that can be stored as JSON, with the version of this format."""
    return {"plan_version": PLAN_VERSION, **json.loads(json.dumps(asdict(plan)))}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line of text for each field in which two plans, as dicts, differ, with both values."""
    return [
        f"{field}: stored {old.get(field)!r}, requested {new.get(field)!r}"
        for field in sorted(set(old) | set(new))
        if old.get(field) != new.get(field)
    ]


@dataclass(frozen=True, slots=True)
class Preset:
    """A named plan for a common question (`about`); for most presets, the user names the datasets.

    Attributes:
        fields: values for fields of `Plan`.
        needs: what the user must have, in words; "" if any dataset will do.
        deviation: whether the run also measures deviations.
    """

    about: str
    fields: dict[str, Any]
    needs: str = ""
    deviation: bool = False


@cache
def presets() -> dict[str, Preset]:
    table = tomllib.loads((files("verax.bench") / "presets.toml").read_text(encoding="utf-8"))
    return {name: _preset(entry) for name, entry in table.items()}


def preset(name: str) -> Preset:
    """The preset called `name`. Raises UnknownNameError, which lists all presets."""
    return choose(presets(), name, kind="preset")


def _preset(entry: dict[str, Any]) -> Preset:
    facts = {name: entry.pop(name) for name in ("about", "needs", "deviation") if name in entry}
    return Preset(fields=_tuples(entry), **facts)


@dataclass(frozen=True, slots=True)
class Output:
    """What a method returns.

    Attributes:
        pixels: (H, W, 3) RGB, 0..1, on the photo's grid; None if the method made nothing.
        outcome: "restored"; "prior_not_placed" if `pixels` were made without the prior, since it
            could not be registered; "abstained" if the method needs a prior and there is none.
        reason, notes: why the outcome is not "restored", and remarks for the user, in words.
        registration: data of the prior's registration, stored as JSON; None without one.
    """

    pixels: Image | None
    outcome: str = "restored"
    reason: str = ""
    registration: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Method:
    """A way to make an output from a photo and, perhaps, a prior.

    Attributes:
        run: called with photo, prior or None, argument ("dcp" in "full:dcp", else ""), fidelity.
        what: description for the user.
        needs_prior, alone: whether it takes a prior, and if so, whether it also works without one.
        seconds_per_megapixel: of one core, for the estimate before a run.
        version: is raised when results change, so that stored outputs are made again.
    """

    run: Callable[[Image, Image | None, str, float], Output]
    what: str
    needs_prior: bool
    seconds_per_megapixel: float
    version: int = 1
    alone: bool = False


def resize_to_photo(prior: Image, photo: Image) -> Image:
    """The prior, only resized to the photo's size, without registration."""
    return resize_picture(prior, (photo.shape[1], photo.shape[0]))


def identity(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return Output(photo)


def restorer(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return Output(restorers.restore(photo, argument))


def raw_prior(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return ABSENT if prior is None else Output(resize_to_photo(prior, photo))


def registered_prior(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    if prior is None:
        return ABSENT
    registration = register(photo, prior)
    record = registration.record()
    if registration.placed != "exactly":
        return Output(photo, "prior_not_placed", registration.reason, record)
    warped = apply(registration, prior, size=(photo.shape[1], photo.shape[0]))
    share = warped.valid[..., None]
    return Output(np.clip(warped.pixels * share + photo * (1 - share), 0, 1), registration=record)


def low_band(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The photo with the low frequencies of the registered prior (Gaussian, sigma 2 % of the
    photo's width). `argument` and `fidelity` are ignored."""
    output = registered_prior(photo, prior, argument, fidelity)
    if output.pixels is None or output.outcome != "restored":
        return output
    low = cv2.GaussianBlur(output.pixels - photo, (0, 0), LOW_BAND_SIGMA * photo.shape[1])
    return Output(np.clip(photo + low, 0, 1), registration=output.registration)


def full(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The result of `verax.restore`. `argument` names the base's restorer; "" is the default."""
    name = argument or pipeline.DEFAULT_RESTORER
    result = pipeline.restore(photo, prior, restorer=name, fidelity=fidelity)
    registration = result.registration
    record = registration.record() if registration else None
    outcome = "prior_not_placed" if result.prior == "unused" else "restored"
    reason = registration.reason if registration and outcome != "restored" else ""
    return Output(result.pixels, outcome, reason, record, result.notes)


ABSENT = Output(None, "abstained", "this picture has no prior of the requested kind")
METHODS: dict[str, Method] = {
    "identity": Method(identity, "the photo unchanged, to compare with", False, 0.1),
    "restorer": Method(restorer, "restorer:NAME or restorer:FILE, without a prior", False, 2.0),
    "raw-prior": Method(raw_prior, "the prior, resized but not registered", True, 0.2),
    "registered-prior": Method(registered_prior, "the prior, registered to the photo", True, 1.5),
    "low-band": Method(low_band, "low frequencies of the prior, high ones of the photo", True, 1.6),
    "full": Method(
        full, "as verax restore; full:NAME takes another restorer", True, 4.0, version=3, alone=True
    ),
}


@cache
def resolve(name: str) -> tuple[Method, str]:
    """The method and the argument in a name: "full:dcp" has the argument "dcp", "full" has "".
    The name of a restorer alone, such as "clahe", stands for "restorer:clahe"."""
    head, _, argument = name.partition(":")
    known = METHODS | dict.fromkeys(restorers.RESTORERS, METHODS["restorer"])
    key = head.replace("_", "-")
    method = choose(known, key if key in METHODS else head, kind="method")
    return method, argument or (head if head in restorers.RESTORERS else "")


def files_of(name: str, prior: str = "") -> tuple[str, ...]:
    """Paths of the network weights that a method `name` needs with a kind of prior; () if none."""
    head, argument = name.partition(":")[0].replace("_", "-"), resolve(name)[1]
    if argument.endswith(restorers.WEIGHTS):
        return (argument,) if Path(argument).is_file() else ()
    embedded = argument == restorers.EMBEDDED or (head == "full" and not argument) or prior == "own"
    return tuple(str(weights.path(file)) for file in weights.FILES) if embedded else ()


def version_of(name: str) -> str:
    """The name with the method's version, such as "full@3", which is part of an output's key."""
    return f"{name}@{resolve(name)[0].version}"
