"""The program `verax`: collects the commands of all modules, and has two of its own.

`verax demo` restores an example, `verax names` lists the values that options accept. Every
VeraxError becomes one line on stderr and an exit status. Heavy imports are inside the functions, so
that `verax --help` is fast.
"""

import codecs
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import verax
from verax.cli import (
    align,
    bench,
    bench_results,
    data,
    generate,
    journal,
    measure,
    restore,
    serve,
    services,
    train,
)
from verax.errors import InputError, OutputError, VeraxError, choose

if TYPE_CHECKING:
    from verax.image import Image

app = typer.Typer(
    name="verax",
    help="Restore a damaged photo with the picture an image generator made of it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        print(f"verax {verax.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Restore a damaged photo with the picture an image generator made of it."""


def demo(
    out: Path = typer.Option(Path("demo"), help="Folder for the pictures and the report."),
) -> None:
    """Restore an example: a darkened photo with a simulated prior. Needs no network."""
    from verax import image as images
    from verax import pipeline
    from verax.bench.plan import resize_to_photo
    from verax.priors.simulated import EXAMPLE_SEED, EXAMPLE_SEVERITY, example
    from verax.report.sheet import restoration_sheet

    sample = example()
    clean, photo, prior = sample.clean, sample.photo, sample.prior
    result = pipeline.restore(photo, prior)
    record = {
        "photo": "scikit-image's coffee.png (CC0, Rachel Michetti), darkened on purpose",
        "degradation": {"task": "lowlight", "severity": EXAMPLE_SEVERITY, "seed": EXAMPLE_SEED},
        "prior_source": f"simulated, seed {EXAMPLE_SEED}: no image generator was used",
        "psnr_db": {
            "photo": psnr_db(photo, clean),
            "prior_resized": psnr_db(resize_to_photo(prior, clean), clean),
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
    """The PSNR of `picture` against `reference` in dB, rounded to two decimals."""
    from verax.metrics import score

    return round(score(picture, reference, metrics=("psnr",))[0].value, 2)


def tell_result(record: dict[str, Any], out: Path) -> None:
    """Print the PSNR values of the demo's JSON record, and the paths of its files in `out`."""
    decibel = record["psnr_db"]
    print("photo        a CC0 photo from scikit-image, darkened on purpose")
    print("prior        simulated: no image generator was used")
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
    """How a shell starts this program: "verax", or else its path, or "PYTHON -m verax"."""
    here = Path(sys.argv[0])
    if here.name != "verax":  # python -m verax
        return f"{sys.executable} -m verax"
    installed = shutil.which("verax")
    return "verax" if installed and Path(installed).samefile(here) else os.path.relpath(here)


Names = Mapping[str, str]  # a value of an option -> its meaning, both printed by `verax names`


def tasks() -> Names:
    """Values of the option --task of verax restore, and what each means."""
    from verax import catalog

    return {"auto": "detected from the photo"} | {
        name: catalog.prompt(name).text.partition(".")[0] for name in catalog.tasks()
    }


def degradations() -> Names:
    """Values for TASK in --degrade TASK:SEVERITY of verax bench run, and what each means."""
    from verax.degrade import TASKS

    return {
        name: (function.__doc__ or "").strip().partition("\n")[0]
        for name, function in TASKS.items()
    }


def methods() -> Names:
    """Values of the option --method of verax bench run, and what each means."""
    from verax.bench.plan import METHODS

    return {name: method.what for name, method in METHODS.items()}


def priors() -> Names:
    """Values of the option --prior of verax bench run, and what each means."""
    from verax.bench.plan import PRIORS

    return PRIORS | {"provider:MODEL": "requested from an image service"}


def presets() -> Names:
    """Values of the option --preset of verax bench run, and the question that each answers."""
    from verax.bench.plan import presets as known

    return {name: preset.about for name, preset in known().items()}


def wordings() -> Names:
    """Values of --prompt of verax bench run, and the sentence that each adds to the prompt."""
    from verax import catalog

    return {
        name: catalog.prompt("dehaze", fidelity=name).text.partition(". ")[2]
        or "the task alone, without instructions on fidelity"
        for name in catalog.wordings()
    }


def others() -> Names:
    """Commands that list the values of further options -> what they list, and for which options."""
    return {
        "verax models": "models: --model, --quality",
        "verax models --gateways": "services: --gateway",
        "verax metrics": "metrics: --metric, --metrics",
        "verax data list": "datasets: --dataset",
    }


KINDS: dict[str, Callable[[], Names]] = {
    "restorers": train.restorer_names,
    "tasks": tasks,
    "degradations": degradations,
    "methods": methods,
    "priors": priors,
    "presets": presets,
    "wordings": wordings,
    "recipes": train.recipe_names,
    "others": others,
}


def names(
    kind: str = typer.Argument("", help=f"What to list: {', '.join(KINDS)}. Default: all."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List the values that options accept: restorers, tasks, methods, presets and more."""
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


PANELS: dict[str, tuple[Callable[..., None] | typer.Typer, ...]] = {
    "Photos": (
        restore.restore,
        measure.measure,
        align.register,
        align.align,
        align.straighten,
        services.provenance,
        demo,
        names,
    ),
    "Image services": (
        generate.edit,
        generate.generate,
        services.models,
        services.probe,
        journal.app,
        serve.serve_test,
        serve.serve,
        serve.key_app,
    ),
    "Research": (
        bench.app,
        data.app,
        measure.score,
        measure.metrics,
        bench_results.release,
        train.train,
        train.export,
        train.restorers,
    ),
}
for panel, verbs in PANELS.items():
    for verb in verbs:
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(verb)


def escape(exc: UnicodeError) -> tuple[str, int]:
    """Error handler for `codecs.register_error`: characters that the terminal cannot show become
    escapes such as \\u00e9. Returns (the escapes, the index at which encoding goes on)."""
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    text = exc.object[exc.start : exc.end].encode("utf-16-be", "surrogatepass")
    units = (text[at : at + 2].hex() for at in range(0, len(text), 2))
    return "".join(f"\\u{unit}" for unit in units), exc.end


def run() -> None:
    """Run `verax`. Exit status: 2 for wrong input or an unwritable result, 1 for other errors."""
    codecs.register_error("escape", escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="escape")
    try:
        app()
    except (InputError, OutputError) as exc:
        print(f"verax: {exc}", file=sys.stderr)
        sys.exit(2)
    except VeraxError as exc:
        print(f"verax: {exc}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        print("verax: stopped", file=sys.stderr)
        sys.exit(130)
