"""What a benchmark run does: datasets x degradations x methods x priors x prompts x repeats.

A plan is one TOML table or the flags of `verax bench run`; `expand` turns it into work items,
each with a key that names exactly what goes in: the bytes of the pictures, the method and its
version, the prior, the prompt, the parameters and the repeat.
"""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

import verax
from verax.bench.methods import resolve, version_of
from verax.datasets.items import Dataset, Item
from verax.degrade import TASKS, Degradation
from verax.errors import SettingsError, UnknownNameError, choose
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
    fidelity: float = 1.0
    limit: int = 0  # items per dataset and task, 0: all


@dataclass(frozen=True, slots=True)
class Work:
    """One picture under one configuration: all that a stage needs, ready to travel.

    `photo` is the file to read; with a degradation it is the clean picture to degrade.
    `prior_file` is the picture the prior comes from: the prior itself, or what to simulate from.
    """

    key: str
    dataset: str
    task: str
    item: str
    method: str
    prior: str
    photo: str
    reference: str | None
    prior_file: str | None
    degradation: Degradation | None
    prompt: str
    repeat: int
    seed: int
    fidelity: float
    generator: str
    licence: str
    quality: str = ""

    @property
    def model(self) -> str:
        """The model that is asked for the prior; "" where none is."""
        return self.prior.removeprefix(PROVIDER) if self.prior.startswith(PROVIDER) else ""

    @property
    def asked(self) -> tuple[object, ...] | None:
        """What names the question to a provider: methods share one answer; None without one."""
        if not self.model:
            return None
        return self.photo, self.degradation, self.task, self.prior, self.prompt, self.repeat


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


def select(plan: Plan, dataset: Dataset) -> list[Item]:
    """The items of a dataset that the plan is about."""
    if plan.tasks:
        present = {item.task for item in dataset.items}
        missing = set(plan.tasks) - present
        if missing == set(plan.tasks):
            raise UnknownNameError(
                f"{dataset.name}: no items of task {', '.join(plan.tasks)}; "
                f"it has {', '.join(sorted(present))}"
            )
    chosen, counts = [], dict[str, int]()
    for item in dataset.items:
        if (plan.tasks and item.task not in plan.tasks) or item.split not in plan.splits:
            continue
        counts[item.task] = counts.get(item.task, 0) + 1
        if not plan.limit or counts[item.task] <= plan.limit:
            chosen.append(item)
    return chosen


def expand(plan: Plan, datasets: Sequence[Dataset]) -> list[Work]:
    """All work of a plan, in a fixed order, every key once."""
    works: dict[str, Work] = {}
    digests: dict[str, str] = {}
    for dataset in datasets:
        items = select(plan, dataset)
        for index, item in enumerate(items):
            for work in _item_work(plan, items, index, item):
                keyed = replace(work, key=_key(work, digests))
                works[keyed.key] = keyed
    if not works:
        raise SettingsError(
            f"the plan selects no picture: tasks {plan.tasks or 'all'}, splits {plan.splits}; "
            "see verax data info NAME, and --split"
        )
    return list(works.values())


def _item_work(plan: Plan, items: list[Item], index: int, item: Item) -> list[Work]:
    photo = item.input or item.target
    if photo is None:
        return []
    degradations: list[Degradation | None] = [None]
    if item.input is None and plan.degradations:
        seed = plan.seed + index
        degradations = [parse_degradation(text, seed=seed) for text in plan.degradations]
    made = []
    for degradation in degradations:
        for method in plan.methods:
            for prior in _priors(plan, method):
                source, file = _prior_of(prior, items, index)
                asked = prior.startswith(PROVIDER)
                for prompt in plan.prompts if asked else ("",):
                    for repeat in range(plan.repeats if asked else 1):
                        made.append(
                            Work(
                                "",
                                item.dataset,
                                item.task,
                                item.name,
                                method,
                                source,
                                str(photo),
                                str(item.target) if item.target else None,
                                str(file) if file else None,
                                degradation,
                                prompt,
                                repeat,
                                plan.seed + index,
                                plan.fidelity,
                                prior.removeprefix(PROVIDER) if asked else item.generator,
                                item.licence,
                                plan.quality if asked else "",
                            )
                        )
    return made


def _priors(plan: Plan, method: str) -> tuple[str, ...]:
    """The priors that a method is run with; "none" is left to methods that can do without."""
    kind = resolve(method)[0]
    if not kind.needs_prior:
        return ("none",)
    wanted = tuple(p for p in plan.priors if p != "none" or kind.alone)
    return wanted or plan.priors


def _prior_of(prior: str, items: list[Item], index: int) -> tuple[str, Path | None]:
    """The prior source that applies to an item, and the file it starts from."""
    item = items[index]
    if prior == "auto":
        prior = "files" if item.generated else "simulated" if item.target else "none"
    if prior == "files":
        return prior, item.generated
    if prior in ("simulated", "oracle"):
        return prior, item.target
    if prior == "foreign":
        others = items[index + 1 :] + items[:index]
        strange = (o for o in others if o.target is None or o.target != item.target)
        other = next((o for o in strange if o.generated or o.target), None)
        return prior, (other.generated or other.target) if other else None
    return prior, None


def _key(work: Work, digests: dict[str, str]) -> str:
    """SHA-256 over everything that decides the output of one work item."""

    def digest(path: str | None) -> str | None:
        if path is None:
            return None
        if path not in digests:
            digests[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return digests[path]

    what = asdict(work) | {
        "key": None,
        "photo": digest(work.photo),
        "reference": None,
        "prior_file": digest(work.prior_file),
        "version": version_of(work.method),
        "verax": verax.__version__,
    }
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def in_words(works: Sequence[Work]) -> str:
    """How much a plan is, before it starts: items, time, disk, and what asks a provider."""
    pixels: dict[str, float] = {}
    for work in works:
        if work.photo not in pixels:
            with PillowImage.open(work.photo) as header:
                pixels[work.photo] = header.width * header.height / 1e6
    megapixels = sum(pixels[work.photo] for work in works)
    seconds = sum(
        pixels[work.photo] * resolve(work.method)[0].seconds_per_megapixel for work in works
    )
    asked = len({work.asked for work in works} - {None})
    money = f"{asked} calls to a provider" if asked else "no provider is asked, no cost"
    return (
        f"{len(works)} items over {len(pixels)} pictures; about {seconds / 60:.0f} core minutes "
        f"and {megapixels * 2 / 1000:.2f} GB of outputs; {money}"
    )
