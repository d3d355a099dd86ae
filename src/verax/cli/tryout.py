"""verax demo, names: one restoration to look at, and every name that an option takes."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.errors import choose

if TYPE_CHECKING:
    from verax.image import Image


def demo(
    out: Path = typer.Option(Path("demo"), help="Folder for the pictures and the report."),
) -> None:
    """Restore a darkened photo with a simulated prior, offline; prints where the pictures are."""
    from verax import image as images
    from verax import pipeline
    from verax.bench.plan import fitted
    from verax.priors.simulated import EXAMPLE_SEED, EXAMPLE_SEVERITY, example
    from verax.report.sheet import restoration_sheet

    shown = example()
    clean, photo, prior = shown.clean, shown.photo, shown.prior
    result = pipeline.restore(photo, prior)
    record = {
        "photo": "scikit-image's coffee.png (CC0, Rachel Michetti), darkened on purpose",
        "degradation": {"task": "lowlight", "severity": EXAMPLE_SEVERITY, "seed": EXAMPLE_SEED},
        "prior_source": f"simulated, seed {EXAMPLE_SEED}: no image generator was asked",
        "psnr_db": {
            "photo": psnr_db(photo, clean),
            "prior_resized": psnr_db(fitted(prior, clean), clean),
            "restoration": psnr_db(result.pixels, clean),
        },
        **result.record(),
    }
    out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "clean": clean,
        "photo": photo,
        "prior": prior,
        "restored": result.pixels,
        "sheet": restoration_sheet(result, prior),
    }
    for name, picture in pictures.items():
        images.write(out / f"{name}.png", picture)
    report = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (out / "report.json").write_text(report, encoding="utf-8")
    tell_result(record, out)


def psnr_db(picture: "Image", reference: "Image") -> float:
    """PSNR in dB by the package's own metric."""
    from verax.metrics import score

    return round(score(picture, reference, metrics=("psnr",))[0].value, 2)


def tell_result(record: dict[str, Any], out: Path) -> None:
    """What was done, in plain words, and where to look."""
    decibel = record["psnr_db"]
    print("photo        a CC0 photo from scikit-image, darkened on purpose")
    print("prior        simulated (no image generator was asked); it drifted, see for yourself")
    print(f"restoration  prior {record['prior']}; PSNR against the clean photo, RGB:")
    print(f"             photo {decibel['photo']} dB, prior resized {decibel['prior_resized']} dB,")
    print(f"             restoration {decibel['restoration']} dB")
    print(f"look at      {out / 'sheet.png'}")
    print(f"             {out / 'restored.png'}")
    print(f"numbers in   {out / 'report.json'}")
    print("the same, by the command that restores your own photos:")
    print(
        f"             {program()} restore {out / 'photo.png'} {out / 'prior.png'} "
        f"-o {out / 'again.png'}"
    )


def program() -> str:
    """What to type for this command: its name, or its path where the name finds another or none."""
    here = Path(sys.argv[0])
    if here.name != "verax":  # python -m verax
        return f"{sys.executable} -m verax"
    installed = shutil.which("verax")
    return "verax" if installed and Path(installed).samefile(here) else os.path.relpath(here)


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
    from verax.bench.plan import METHODS

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
    lists_of = {kind: choose(KINDS, kind, kind="list of names")} if kind else KINDS
    lists = {name: dict(function()) for name, function in lists_of.items()}
    if as_json:
        print(json.dumps(lists, ensure_ascii=False, indent=1))
        return
    for name, function in lists_of.items():
        print(f"{name}: {function.__doc__}")
        width = max(map(len, lists[name]))
        for entry, words in lists[name].items():
            print(f"  {entry:{width}}  {words}".rstrip())
