"""verax train, verax export: from photos to checkpoints, from checkpoints to shipped networks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.errors import InputError, missing_extra

if TYPE_CHECKING:
    from verax.training.recipes import Recipe


def train(
    config: Path | None = typer.Argument(None, help="Recipe as a TOML file."),
    recipe: str | None = typer.Option(None, help="Named recipe: cpu or gpu."),
    data: list[Path] = typer.Option([], help="Folder of photos; may be given several times."),
    output: Path = typer.Option(Path("runs/train"), "-o", "--output", help="Folder of the run."),
    seed: int | None = typer.Option(None, help="Another seed than the recipe's."),
    as_json: bool = typer.Option(False, "--json", help="Print the log lines instead of a bar."),
    show: bool = typer.Option(False, "--show", help="Print the recipe as TOML and train nothing."),
) -> None:
    """Train the networks, or go on with a run that was stopped."""
    _need_torch()
    if show:
        for step, chosen in _recipes(config, recipe, tuple(str(path) for path in data)):
            print(f"# {step or config}: verax train FILE\n{_toml(chosen.as_dict())}")
        return
    from verax.training.loop import train as run

    for step, chosen in _recipes(config, recipe, tuple(str(path) for path in data)):
        folder = output / step
        chosen = chosen if seed is None else replace(chosen, seed=seed)
        if as_json:
            trained = run(chosen, folder, report=lambda line: print(json.dumps(line), flush=True))
        else:
            trained = _with_bar(chosen, folder)
        print(f"{chosen.network} network, {trained.step} steps: {trained.checkpoint}")
        if step:
            _write(trained.checkpoint, output / f"{step}.onnx")


def export(
    checkpoint: Path = typer.Argument(..., help="checkpoint.pt of a training run."),
    output: Path = typer.Option(..., "-o", "--output", help="The .onnx file to write."),
) -> None:
    """Write a trained network for ONNX Runtime, checked against torch."""
    _need_torch()
    _write(checkpoint, output)


def _write(checkpoint: Path, output: Path) -> None:
    from verax.training.export import export as write

    exported = write(checkpoint, output)
    print(f"{output}: {exported.bytes / 1e6:.2f} MB, {exported.precision}")
    print(f"largest difference to torch {exported.difference:.1e} on {len(exported.sizes)} sizes")


def _recipes(
    config: Path | None, recipe: str | None, data: tuple[str, ...]
) -> list[tuple[str, "Recipe"]]:
    from verax.training import recipes

    if (config is None) == (recipe is None):
        raise InputError("verax train: want a CONFIG file or --recipe, and not both")
    if recipe is not None:
        return list(recipes.named(recipe, data).items())
    assert config is not None
    return [("", recipes.read(config, data))]


def _with_bar(recipe: "Recipe", folder: Path) -> Any:  # noqa: ANN401  # loop.Trained needs torch
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


def _toml(settings: dict[str, Any]) -> str:
    """Plain settings as TOML: tables last."""
    plain = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in settings.items() if isinstance(v, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for name, table in tables.items():
        lines.append(f"\n[{name}]")
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise missing_extra("training", "train")
