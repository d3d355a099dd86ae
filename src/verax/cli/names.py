"""verax names: every list of names that an option takes."""

import json
from collections.abc import Callable, Mapping

import typer

from verax.errors import choose

Names = Mapping[str, str]


def restorers() -> Names:
    """What makes the base: --restorer."""
    from verax.restorers import RESTORERS, WEIGHTS

    words = {
        "none": "the photo itself",
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


def tasks() -> Names:
    """What a service may be asked for: --task of restore."""
    from verax import catalog

    return {"auto": "guessed from the photo"} | {
        name: catalog.prompt(name).text.partition(".")[0] for name in catalog.tasks()
    }


def degradations() -> Names:
    """How a clean picture can be damaged: TASK of --degrade TASK:SEVERITY, severity 0 to 1."""
    from verax.degrade import TASKS

    return {
        name: (function.__doc__ or "").strip().partition("\n")[0]
        for name, function in TASKS.items()
    }


def methods() -> Names:
    """What a benchmark compares: --method."""
    from verax.bench.methods import METHODS

    return {name: method.what for name, method in METHODS.items()}


def priors() -> Names:
    """Where a benchmark's priors come from: --prior of bench run."""
    from verax.bench.plan import PRIORS

    return PRIORS | {"provider:MODEL": "asked from a service, see --base-url"}


def presets() -> Names:
    """Plans that have a name: --preset."""
    from verax.bench.plan import presets as known

    return {name: preset.about for name, preset in known().items()}


def wordings() -> Names:
    """Prompts by name: --prompt of bench run, as TASK/WORDING."""
    from verax import catalog

    return {
        name: catalog.prompt("dehaze", fidelity=name).text.partition(". ")[2]
        or "the task alone, without a word on fidelity"
        for name in catalog.wordings()
    }


def recipes() -> Names:
    """Training recipes: --recipe."""
    return {
        "cpu": "small networks, trained on a processor",
        "gpu": "larger networks, trained on graphics cards",
    }


def others() -> Names:
    """Lists that have a command of their own."""
    return {
        "verax models": "models: --model, --quality",
        "verax models --gateways": "services: --gateway",
        "verax metrics": "metrics: --metric, --metrics",
        "verax data list": "datasets: --dataset",
    }


KINDS: dict[str, Callable[[], Names]] = {
    "restorers": restorers,
    "tasks": tasks,
    "degradations": degradations,
    "methods": methods,
    "priors": priors,
    "presets": presets,
    "wordings": wordings,
    "recipes": recipes,
    "others": others,
}


def names(
    kind: str = typer.Argument("", help=f"One of: {', '.join(KINDS)}. All without it."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List the names that options take: restorers, tasks, methods, presets and more."""
    chosen = {kind: choose(KINDS, kind, kind="list of names")} if kind else KINDS
    lists = {name: dict(function()) for name, function in chosen.items()}
    if as_json:
        print(json.dumps(lists, ensure_ascii=False, indent=1))
        return
    for name, function in chosen.items():
        print(f"{name}: {function.__doc__}")
        width = max(map(len, lists[name]))
        for entry, words in lists[name].items():
            print(f"  {entry:{width}}  {words}".rstrip())
