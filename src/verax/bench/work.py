"""Turns a plan into work items: one per picture, method, prior, prompt and repeat, with its key."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path

import verax
from verax import catalog
from verax.bench import Trial
from verax.bench.plan import PROVIDER, Plan, files_of, parse_degradation, resolve, version_of
from verax.catalog import models
from verax.datasets import Dataset, Item
from verax.degrade import Degradation
from verax.errors import InputError, SettingsError, UnknownNameError
from verax.image import header_of, read_bytes

Known = dict[str, tuple[int, int, str]]  # path: size in bytes, time of change in ns, SHA-256
HELD_BYTES = 256_000_000  # of photos, at most, kept in memory between planning and their call


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Trial):
    """One output that a run must make, with everything that is needed to make it.

    Attributes:
        photo: path of the photo, or of the clean picture to which `degradation` is applied.
        reference: path of the reference (ground truth), or None.
        prior_file: path of the prior, or of the picture from which it is simulated, or None.
        degradation: the damage to simulate; None if the photo is used unchanged.
        quality: of the picture that a provider makes, such as "high"; "" for the default.
    """

    photo: str
    reference: str | None
    prior_file: str | None
    degradation: Degradation | None
    fidelity: float
    quality: str = ""

    @property
    def model(self) -> str:
        """The model that makes the prior; "" if no service is called."""
        return self.prior.removeprefix(PROVIDER) if self.prior.startswith(PROVIDER) else ""

    @property
    def call_key(self) -> tuple[object, ...] | None:
        """Identifies the provider call (None without one); items with equal values share a call."""
        if not self.model:
            return None
        return self.photo, self.degradation, self.task, self.prior, self.prompt, self.repeat


@dataclass(slots=True)
class Digests:
    """Hashes, sizes and contents of input files by path, so that each file is read only once.

    Attributes:
        known: (size in bytes, time of change in ns, SHA-256), stored with a run. At its next start
            a file is read again only if its size or time differs.
        current: SHA-256, of the files that were checked in this process.
        contents, megapixels: bytes of photos for a service (256 MB at most), sizes of photos.
    """

    known: Known = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    megapixels: dict[str, float] = field(default_factory=dict)

    def of(self, path: str, *, hold: bool = False) -> str:
        """SHA-256 of a file in hexadecimal; `hold` keeps the bytes of the file in memory."""
        if path not in self.current:
            about = Path(path).stat()
            size, changed, sha256 = self.known.get(path, (-1, -1, ""))
            if (size, changed) != (about.st_size, about.st_mtime_ns):
                sha256 = hashlib.sha256(self.data(path)).hexdigest() if hold else _sha256(path)
                self.known[path] = (about.st_size, about.st_mtime_ns, sha256)
            self.current[path] = sha256
        return self.current[path]

    def data(self, path: str) -> bytes:
        """The bytes of a file, also kept in memory up to 256 MB in all. Raises ImageReadError."""
        if path not in self.contents:
            data = read_bytes(Path(path))
            if sum(map(len, self.contents.values())) + len(data) > HELD_BYTES:
                return data
            self.contents[path] = data
        return self.contents[path]

    def size_of(self, work: Work) -> float:
        """Size of an item's photo in megapixels; 0 if the photo cannot be read."""
        path = work.photo
        if path not in self.megapixels:
            try:
                header = header_of(self.data(path) if work.model else Path(path))
                self.megapixels[path] = header.width * header.height / 1e6
            except InputError:
                self.megapixels[path] = 0.0
        return self.megapixels[path]


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def select(plan: Plan, dataset: Dataset) -> list[Item]:
    """The items that the plan selects from a dataset by its tasks, splits and limit per task."""
    if plan.tasks:
        present = {item.task for item in dataset.items}
        if not present & set(plan.tasks):
            raise UnknownNameError(
                f"{dataset.name}: expected pictures of task {', '.join(plan.tasks)}, found only "
                f"{', '.join(sorted(present))}; choose another --task"
            )
    items, counts = [], dict[str, int]()
    for item in dataset.items:
        if (plan.tasks and item.task not in plan.tasks) or item.split not in plan.splits:
            continue
        counts[item.task] = counts.get(item.task, 0) + 1
        if not plan.limit or counts[item.task] <= plan.limit:
            items.append(item)
    return items


def expand(
    plan: Plan, datasets: Sequence[Dataset], *, digests: Digests | None = None
) -> list[Work]:
    """All work items of a plan, in a fixed order, without duplicates.

    `digests` has the hashes of files from an earlier start of the run; None if there was none.
    """
    works: dict[str, Work] = {}
    digests = digests or Digests()
    selections = [select(plan, dataset) for dataset in datasets]
    _require_distinct(selections)
    for dataset, items in zip(datasets, selections, strict=True):
        shared = Counter(item.target for item in items if item.target and item.input)
        for index, item in enumerate(items):
            scene = item.scene or _scene(item, shared)
            for work in _item_work(plan, items, index, scene, dataset.items):
                keyed = replace(work, key=_key(work, digests))
                works[keyed.key] = keyed
    if not works:
        raise SettingsError(
            "expected at least one picture, but none has a task and split of the plan (tasks: "
            f"{', '.join(plan.tasks) or 'all'}; splits: "
            f"{', '.join(split or 'none' for split in plan.splits)}); change --task or --split "
            "(verax data info NAME shows the tasks and splits of a dataset)"
        )
    return list(works.values())


def _require_distinct(selections: Sequence[Sequence[Item]]) -> None:
    """Raise SettingsError if two of all these items have the same dataset, task and name."""
    counts = Counter((item.task, item.dataset, item.name) for items in selections for item in items)
    twice = [f"{dataset}/{name}" for (_, dataset, name), n in counts.items() if n > 1]
    if twice:
        raise SettingsError(
            f"expected datasets with different names, but {twice[0]} is in two ({len(twice)} such "
            "pictures); rename the folder of one, or change the column dataset of its manifest"
        )


def _scene(item: Item, shared: Counter[Path]) -> str:
    """A name for the scene of an item: the file name of its reference if several photos share this
    reference, else the item's own name. `shared` counts the photos of each reference."""
    several = item.input and item.target and shared[item.target] > 1
    return item.target.name if several and item.target else item.name


def _item_work(
    plan: Plan, items: list[Item], index: int, scene: str, pool: Sequence[Item]
) -> list[Work]:
    item = items[index]
    photo = item.input or item.target
    if photo is None:
        return []
    degradations: list[Degradation | None] = [None]
    if item.input is None and plan.degradations:
        seed = plan.seed + index
        degradations = [parse_degradation(text, seed=seed) for text in plan.degradations]
    works = []
    for degradation in degradations:
        for method in plan.methods:
            for prior in _priors(plan, method):
                source, file = _prior_of(prior, items, index, pool)
                work = Work(
                    key="",
                    dataset=item.dataset,
                    task=item.task,
                    item=item.name,
                    method=method,
                    prior=source,
                    photo=str(photo.absolute()),
                    reference=str(item.target.absolute()) if item.target else None,
                    prior_file=str(file.absolute()) if file else None,
                    degradation=degradation,
                    prompt="",
                    repeat=0,
                    seed=plan.seed + index,
                    fidelity=plan.fidelity,
                    generator=item.generator,
                    licence=item.licence,
                    scene=scene,
                )
                works += _repeat(plan, work) if work.model else [work]
    return works


def _repeat(plan: Plan, work: Work) -> list[Work]:
    """Copies of `work`, which calls a provider: one per prompt and repeat of the plan."""
    asking = replace(work, generator=work.model, quality=plan.quality)
    return [
        replace(asking, prompt=prompt, repeat=repeat)
        for prompt in plan.prompts
        for repeat in range(plan.repeats)
    ]


def _priors(plan: Plan, method: str) -> tuple[str, ...]:
    """The kinds of prior with which the plan runs a method; ("none",) if the method takes no prior.

    A method that needs a prior is not run with "none", unless this is the plan's only kind.
    """
    kind = resolve(method)[0]
    if not kind.needs_prior:
        return ("none",)
    usable = tuple(p for p in plan.priors if p != "none" or kind.alone)
    return usable or plan.priors


def _prior_of(
    prior: str, items: list[Item], index: int, pool: Sequence[Item]
) -> tuple[str, Path | None]:
    """The kind of prior for item `index`, and the file from which it is read or simulated, or None.

    `prior` is the kind in the plan: "auto" becomes "files", "simulated" or "none", the first that
    is possible; "foreign" is another item's prior, from `items` or else `pool`, the whole dataset.
    """
    item = items[index]
    if prior == "auto":
        prior = "files" if item.generated else "simulated" if item.target else "none"
    if prior == "files":
        return prior, item.generated
    if prior in ("simulated", "oracle"):
        return prior, item.target
    if prior == "foreign":
        turn = (items[place % len(items)] for place in range(index + 1, index + len(items)))
        others = (other for other in chain(turn, pool) if other.name != item.name)
        strange = (o for o in others if o.target is None or o.target != item.target)
        other = next((o for o in strange if o.generated or o.target), None)
        return prior, (other.generated or other.target) if other else None
    return prior, None


def _key(work: Work, digests: Digests) -> str:
    """32 hex digits of a SHA-256 over everything on which the output of a work item depends."""
    degradation = work.degradation
    what = (
        verax.__version__,
        version_of(work.method),
        [digests.of(path) for path in files_of(work.method, work.prior)],
        digests.of(work.photo, hold=bool(work.model)),
        digests.of(work.prior_file) if work.prior_file else None,
        (degradation.task, degradation.severity, degradation.seed) if degradation else None,
        (work.dataset, work.task, work.item, work.prior, work.repeat, work.seed, work.fidelity),
        (snapshot_of(work.model), prompt_text(work.task, work.prompt), work.quality),
    )
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


@cache
def snapshot_of(model: str) -> str:
    """A model's newest dated name, such as "gpt-image-2-2026-04-21"; `model` if none is known."""
    known = models.models().get(model)
    return known.snapshots[-1] if known and known.snapshots else model


@cache
def prompt_text(task: str, wording: str) -> str:
    """The catalog's prompt for a task, in its version `wording`, such as "default"; if the catalog
    has no prompt for the task, `wording` itself."""
    name = PROMPT_TASKS.get(task, task)
    if not wording or name not in catalog.tasks():
        return wording
    return catalog.prompt(name, fidelity=wording).text


PROMPT_TASKS = {  # task of a benchmark -> its name in the catalog of prompts
    "dehazing": "dehaze",
    "deraining": "derain",
    "desnowing": "desnow",
    "denoising": "denoise",
    "photo_restoration": "old_photo",
}
