"""The commands `verax train`, `export` (a network as ONNX) and `restorers` (a list of them)."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.errors import InputError, VeraxError, choose, missing_extra

if TYPE_CHECKING:
    from verax.training import TrainingRecipe

EMBEDDED = {
    "tone": "haze, darkness, colour casts and water, of the whole photo; detects faults",
    "dark": "dark photos, together with dusk",
    "dusk": "dark photos, together with dark",
    "rain": "streaks of rain",
    "detail": "noise, JPEG blocks, noise of brightened dark photos",
}
PAGE = "docs/restorers.md"


@dataclass(frozen=True, slots=True)
class RestorerEntry:
    """A restorer: its value for --restorer, what it is good for, its file ("": none), and size."""

    name: str
    good_for: str
    file: str = ""
    bytes: int = 0


def train(
    config: Path | None = typer.Argument(None, help="TOML file with training settings."),
    recipe: str | None = typer.Option(None, help="Ready-made settings: cpu or gpu."),
    network: str = typer.Option("", help="Only this network of --recipe: tone, detail ..."),
    data: list[Path] = typer.Option([], help="Folder of photos; may be given several times."),
    output: Path = typer.Option(Path("runs/train"), "-o", "--output", help="Folder of the run."),
    seed: int | None = typer.Option(None, help="Seed instead of that in the settings."),
    as_json: bool = typer.Option(False, "--json", help="Print log lines, not a bar."),
    show: bool = typer.Option(False, "--show", help="Print the settings; do not train."),
) -> None:
    """Train networks by a recipe (settings in a file or by name), or continue a stopped run."""
    runs = _recipes(config, recipe, tuple(str(path) for path in data), network)
    if show:
        for step, one in runs:
            print(f"# {step or config}\n{_toml(one.as_dict(), meanings())}")
        return
    _need_torch()
    from verax.training.loop import train as run

    for step, one in runs:
        folder = output / step
        one = one if seed is None else replace(one, seed=seed)
        if as_json:
            trained = run(one, folder, report=lambda line: print(json.dumps(line), flush=True))
        else:
            trained = _with_bar(one, folder)
        print(f"{one.network} network, {trained.step} steps: {trained.checkpoint}")
        if step:
            _write(trained.checkpoint, output / f"{step}.onnx")


def export(
    checkpoint: Path = typer.Argument(..., help="checkpoint.pt of a training run."),
    output: Path = typer.Option(..., "-o", "--output", help="The .onnx file to write."),
) -> None:
    """Write a trained network as ONNX, and compare its results with those of torch."""
    _need_torch()
    _write(checkpoint, output)


def _write(checkpoint: Path, output: Path) -> None:
    from verax.training.export import export as write

    exported = write(checkpoint, output)
    print(f"{output}: {exported.bytes / 1e6:.2f} MB, {exported.precision}")
    print(f"largest difference to torch {exported.difference:.1e} on {len(exported.sizes)} sizes")


def _recipes(
    config: Path | None, recipe: str | None, data: tuple[str, ...], network: str
) -> list[tuple[str, "TrainingRecipe"]]:
    from verax import training

    if (config is None) == (recipe is None):
        got = "neither" if config is None else "both"
        raise InputError(f"expected either a CONFIG file or --recipe, got {got}; give one of them")
    if network and recipe is None:
        raise InputError(
            "--network is only for --recipe: a CONFIG file has one network; leave it out"
        )
    if recipe is not None:
        runs = training.named_runs(recipe, data)
        return [(network, choose(runs, network, kind="network"))] if network else [*runs.items()]
    assert config is not None
    return [("", training.read(config, data))]


def _with_bar(recipe: "TrainingRecipe", folder: Path) -> Any:  # noqa: ANN401  # loop.Trained needs torch
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from verax.training.loop import train as run

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    facts: dict[str, Any] = {}
    with Progress(*columns) as bar:
        task = bar.add_task(recipe.network, total=1.0)

        def show(line: dict[str, Any]) -> None:
            facts.update(line)
            left, spent = facts.get("minutes_left", 0.0), facts.get("minutes", 0.0)
            words = (
                f"{recipe.network} step {facts['step']} loss {facts.get('loss', '-')} "
                f"PSNR {facts.get('psnr', '-')} dB, {left} min left"
            )
            bar.update(task, description=words, completed=spent / max(spent + left, 1e-6))

        return run(recipe, folder, report=show)


def meanings() -> dict[str, str]:
    """The meaning of each training setting by name, read from the docstring of TrainingRecipe."""
    from verax.training import TrainingRecipe

    entries = re.findall(
        r"^ {8}([\w, ]+): ((?:.|\n {12})+)", TrainingRecipe.__doc__ or "", re.MULTILINE
    )
    return {name: " ".join(words.split()) for names, words in entries for name in names.split(", ")}


def _toml(settings: dict[str, Any], words: Mapping[str, str]) -> str:
    """Settings as TOML text; `words`: comments by setting. Settings that are tables come last."""
    lines = []
    for key, value in sorted(settings.items(), key=lambda one: isinstance(one[1], dict)):
        comment = f"  # {words[key]}" if key in words else ""
        if isinstance(value, dict):
            lines.append(f"\n[{key}]{comment}")
            lines += [f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items()]
        else:
            lines.append(f"{key} = {json.dumps(value)}{comment}")
    return "\n".join(lines) + "\n"


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise missing_extra("training", "train")


def restorers(
    folders: list[Path] | None = typer.Argument(
        None, help="Weights files, or folders of them, to look into.", show_default=False
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List the values of --restorer: embedded networks, classical methods, your own files."""
    lists = {
        "by name": named_entries(),
        "embedded networks of `network`": embedded_entries(),
        "your files": [describe_file(path) for path in weights_files(folders or [])],
    }
    if as_json:
        table = {title: [asdict(entry) for entry in group] for title, group in lists.items()}
        print(json.dumps(table, ensure_ascii=False, indent=1))
        return
    for title, group in lists.items():
        print_group(title, group)
    print(f"Public checkpoints, what each is good for and its licence: {PAGE}")


def restorer_names() -> dict[str, str]:
    """Values of the option --restorer, and how each restores a photo without a prior."""
    from verax.restorers import RESTORERS, WEIGHTS

    words = {
        "none": "the photo unchanged",
        "auto_levels": "stretched levels",
        "clahe": "local contrast",
        "dcp": "dark channel prior, against haze",
        "gamma": "a gamma curve",
        "guided_derain": "guided filter, against rain streaks",
        "lime": "illumination map, for low light",
        "network": "the embedded networks",
        "nlm": "non-local means, against noise",
    }
    own = {name: words.get(name, "") for name in RESTORERS}
    return {
        "auto": "the embedded networks",
        **own,
        f"FILE{WEIGHTS[0]}": f"weights that spandrel reads ({', '.join(WEIGHTS)})",
    }


def recipe_names() -> dict[str, str]:
    """Values of the option --recipe of verax train, and what each trains."""
    return {
        "cpu": "small networks, trained on a processor",
        "gpu": "larger networks, trained on graphics cards",
    }


def named_entries() -> list[RestorerEntry]:
    entries = restorer_names().items()
    return [RestorerEntry(name, what) for name, what in entries if "FILE" not in name]


def embedded_entries() -> list[RestorerEntry]:
    from verax import weights

    files = {name: weights.path(name) for name in EMBEDDED}  # the classifier restores nothing
    return [
        RestorerEntry(str(file), EMBEDDED[name], str(file), file.stat().st_size)
        for name, file in files.items()
    ]


def weights_files(places: list[Path]) -> list[Path]:
    """The weights files that `places` name: files themselves, and files in folders.

    Raises InputError for a place that does not exist.
    """
    from verax.restorers import WEIGHTS

    files: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(
                f"{place}: expected a weights file or a folder of them, found none; check the path"
            )
        inside = sorted(place.iterdir()) if place.is_dir() else [place]
        files += [file for file in inside if file.suffix in WEIGHTS or file == place]
    return files


def describe_file(path: Path) -> RestorerEntry:
    """The entry of a weights file, which says which network it has, or why it cannot be used."""
    from verax.restorers import describe

    try:
        what = describe(path)
    except VeraxError as exc:
        what = f"no restorer: {exc}"
    return RestorerEntry(str(path), what, str(path), path.stat().st_size)


def print_group(title: str, group: list[RestorerEntry]) -> None:
    if not group:
        return
    print(f"{title}:")
    width = max(len(entry.name) for entry in group)
    for entry in group:
        size = f"{entry.bytes / 1e6:.1f} MB, " if entry.bytes else ""
        print(f"  {entry.name:{width}}  {size}{entry.good_for}".rstrip())
