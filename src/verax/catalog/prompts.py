"""What a generator is told, per task and wording, with the version that results are compared by."""

from dataclasses import dataclass
from pathlib import Path

from verax.catalog.read import table
from verax.errors import choose


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with its passport: task, fidelity wording and version of the catalog."""

    task: str
    fidelity: str
    version: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.task}/{self.fidelity}@{self.version}"


def tasks(*, changes: Path | None = None) -> tuple[str, ...]:
    return tuple(table("prompts", changes=changes)["tasks"])


def wordings(*, changes: Path | None = None) -> tuple[str, ...]:
    return tuple(table("prompts", changes=changes)["fidelity"])


def prompt(task: str, *, fidelity: str = "default", changes: Path | None = None) -> Prompt:
    """The prompt of a task; `fidelity` names the wording of the constraint that follows it.

    A task may bring its own wording under its `variants`. Raises UnknownNameError.
    """
    data = table("prompts", changes=changes)
    entry = choose(data["tasks"], task, kind="task")
    variants = entry.get("variants", {})
    if fidelity in variants:
        text = variants[fidelity]
    else:
        text = f"{entry['text']} {choose(data['fidelity'], fidelity, kind='fidelity wording')}"
    return Prompt(task, fidelity, data["version"], text.strip())
