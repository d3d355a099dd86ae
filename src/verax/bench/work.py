"""The work of a plan: one item per picture, method, prior, prompt and repeat, each with its key."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image as PillowImage

import verax
from verax.bench.methods import resolve, version_of
from verax.bench.plan import PROVIDER, Plan, parse_degradation
from verax.datasets.items import Dataset, Item
from verax.degrade import Degradation
from verax.errors import SettingsError, UnknownNameError


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
