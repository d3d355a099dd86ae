"""What a benchmark run does: datasets x degradations x methods x priors x prompts x repeats.

A plan is a TOML file or the options of `verax bench run`; `work.expand` turns it into work items.
A preset is a plan with a name, for a common question; presets.toml has them.
A method turns a photo (and a prior) into an output. To add one, write a function and list it in
METHODS; raise its version when its results change, so that outputs stored by the old version are
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
LOW_BAND_SIGMA = 0.02  # of a Gaussian, as a share of the photo's width
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
    """What one run does. A dataset is a name of the catalog, a folder or a manifest file."""

    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    tasks: tuple[str, ...] = ()  # empty: all
    splits: tuple[str, ...] = ("test", "unpaired", "")
    priors: tuple[str, ...] = ("auto",)
    degradations: tuple[str, ...] = ()  # TASK:SEVERITY, for items without a photo of their own
    metrics: tuple[str, ...] = ("psnr", "ssim")
    prompts: tuple[str, ...] = ("default",)  # names of wordings in the prompt catalog
    quality: str = ""  # of the pictures that a provider makes; "": the model's default
    repeats: int = 1  # calls of a provider per picture and prompt
    seed: int = 0
    fidelity: float = DEFAULT_FIDELITY
    limit: int = 0  # items per dataset and task, 0: all


def from_toml(text: str, *, name: str = "plan") -> Plan:
    """The plan in a TOML text, called `name` in messages. Raises SettingsError if it is wrong."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{name}: expected TOML, but it cannot be read: {exc}") from exc
    known = {field.name for field in fields(Plan)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise SettingsError(
            f"{name}: unknown fields {', '.join(unknown)}; correct them; "
            f"known: {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    try:
        return check(Plan(**values))
    except TypeError as exc:
        raise SettingsError(
            f"{name}: expected datasets, methods and values of the right types; {exc}"
        ) from exc


def check(plan: Plan) -> Plan:
    """`plan` itself, if all its names and values are valid. Raises InputError otherwise."""
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
            f"plan: expected repeats >= 1, fidelity 0..1 and limit >= 0, got repeats "
            f"{plan.repeats}, fidelity {plan.fidelity} and limit {plan.limit}"
        )
    return plan


def parse_degradation(text: str, *, seed: int) -> Degradation:
    """The degradation named by a text such as "haze:0.5"; the severity is 0..1, by default 0.5."""
    task, _, severity = text.partition(":")
    choose(TASKS, task, kind="degradation")
    try:
        return Degradation(task, float(severity or 0.5), seed)
    except ValueError as exc:
        raise SettingsError(
            f"degradation: expected TASK:SEVERITY with a severity 0..1, such as haze:0.5, got "
            f"{text!r}"
        ) from exc


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON, with the version of this format, as a run stores it."""
    return {"plan_version": PLAN_VERSION, **json.loads(json.dumps(asdict(plan)))}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each field in which two plans (as JSON) differ, with both values."""
    return [
        f"{field}: stored {old.get(field)!r}, requested {new.get(field)!r}"
        for field in sorted(set(old) | set(new))
        if old.get(field) != new.get(field)
    ]


@dataclass(frozen=True, slots=True)
class Preset:
    """A named plan for a common question; for most presets, the user names the datasets.

    Attributes:
        about: the question that it answers.
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
    """Every preset (named plan), by name."""
    table = tomllib.loads((files("verax.bench") / "presets.toml").read_text(encoding="utf-8"))
    return {name: _preset(dict(entry)) for name, entry in table.items()}


def preset(name: str) -> Preset:
    """The preset called `name`. Raises UnknownNameError, which lists all presets."""
    return choose(presets(), name, kind="preset")


def _preset(entry: dict[str, Any]) -> Preset:
    facts = {name: entry.pop(name) for name in ("about", "needs", "deviation") if name in entry}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return Preset(fields=values, **facts)


@dataclass(frozen=True, slots=True)
class Output:
    """What a method returns.

    Attributes:
        pixels: (H, W, 3) on the photo's grid; None if the method made nothing.
        outcome: "restored"; "prior_not_placed" if `pixels` were made without the prior, since it
            could not be registered; "abstained" if the method needs a prior and there is none.
        reason: in words, if the outcome is not "restored".
        registration: the record of the prior's registration, as JSON.
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
        run: called with photo, prior, argument (what follows the colon in "full:dcp"), fidelity.
        what: description for the user.
        alone: whether a method that takes a prior also works without one.
    """

    run: Callable[[Image, Image | None, str, float], Output]
    what: str
    needs_prior: bool
    seconds_per_megapixel: float  # of one core; for the estimate before a run
    version: int = 1
    alone: bool = False


def fitted(prior: Image, photo: Image) -> Image:
    """The prior resized to the photo's size, not registered (reduced by area, enlarged cubic)."""
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
    """The low frequencies of the registered prior with the high frequencies of the photo."""
    output = registered_prior(photo, prior, argument, fidelity)
    if output.pixels is None or output.outcome != "restored":
        return output
    sigma = LOW_BAND_SIGMA * photo.shape[1]
    low = cv2.GaussianBlur(output.pixels - photo, (0, 0), sigma)
    return Output(np.clip(photo + low, 0, 1), registration=output.registration)


def full(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The output of `verax.restore`; `argument` names the restorer for the base, "" the default."""
    name = argument or pipeline.DEFAULT_RESTORER
    result = pipeline.restore(photo, prior, restorer=name, fidelity=fidelity)
    registration = result.registration
    record = registration.record() if registration else None
    outcome = "prior_not_placed" if result.prior == "unused" else "restored"
    reason = registration.reason if registration and outcome != "restored" else ""
    return Output(result.pixels, outcome, reason, record, result.notes)


def _absent() -> Output:
    return Output(None, "abstained", "this picture has no prior of the requested kind")


METHODS: dict[str, Method] = {
    "identity": Method(identity, "the photo unchanged, to compare with", False, 0.1),
    "restorer": Method(restorer, "restorer:NAME or restorer:FILE, without a prior", False, 2.0),
    "raw-prior": Method(raw_prior, "the prior, resized but not registered", True, 0.2),
    "registered-prior": Method(registered_prior, "the prior, registered to the photo", True, 1.5),
    "low-band": Method(low_band, "low frequencies of the prior, high ones of the photo", True, 1.6),
    "full": Method(
        full,
        "what verax restore does; full:RESTORER takes another restorer for the base",
        True,
        4.0,
        version=3,
        alone=True,
    ),
}


@cache
def resolve(name: str) -> tuple[Method, str]:
    """The method and argument of a name such as full, full:dcp, restorer:clahe or clahe alone."""
    head, _, argument = name.partition(":")
    known = METHODS | dict.fromkeys(restorers.RESTORERS, METHODS["restorer"])
    key = head.replace("_", "-")
    method = choose(known, key if key in METHODS else head, kind="method")
    return method, argument or (head if head in restorers.RESTORERS else "")


def files_of(name: str, prior: str = "") -> tuple[str, ...]:
    """Paths of the weights that the output of method `name` with this kind of prior depends on."""
    head, argument = name.partition(":")[0].replace("_", "-"), resolve(name)[1]
    if argument.endswith(restorers.WEIGHTS):
        return (argument,) if Path(argument).is_file() else ()
    network = argument == restorers.EMBEDDED or (head == "full" and not argument)
    if not network and prior != "own":
        return ()
    return tuple(str(weights.path(name)) for name in weights.FILES)


def version_of(name: str) -> str:
    """METHOD@VERSION, such as "full@3"; it enters the key of an output."""
    return f"{name}@{resolve(name)[0].version}"
