"""What a benchmark run does: datasets x degradations x methods x priors x prompts x repeats.

A plan is one TOML table or the flags of `verax bench run`; `work.expand` turns it into work items.
Presets are plans by name, for questions that come again and again: presets.toml.
"""

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from verax.bench.methods import resolve
from verax.degrade import TASKS, Degradation
from verax.errors import SettingsError, choose
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY
from verax.metrics import METRICS

PLAN_VERSION = 1
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
PROVIDER = "provider:"  # provider:MODEL asks a model for the prior


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
        raise SettingsError(f"{name}: want at least datasets and methods; {exc}") from exc


def check(plan: Plan) -> Plan:
    """The plan, or an error that names what is wrong, before anything is done."""
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
            f"plan: want repeats >= 1, fidelity 0..1 and limit >= 0, "
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
        raise SettingsError(f"degradation {text!r}: want TASK:SEVERITY, severity 0..1") from exc


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as it is stored with its run."""
    return {"plan_version": PLAN_VERSION, **json.loads(json.dumps(asdict(plan)))}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Where two stored plans differ, one line each."""
    return [
        f"{field}: stored {old.get(field)!r}, asked {new.get(field)!r}"
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
