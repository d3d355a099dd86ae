"""The `verax` command: wires the groups of verbs and turns our errors into one line and a status.

Heavy imports live inside the verbs, so that `verax --help` stays quick.
"""

import codecs
import sys
from collections.abc import Callable
from io import TextIOWrapper

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
    tryout,
)
from verax.errors import InputError, OutputError, VeraxError

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
        False, "--version", callback=_version, is_eager=True, help="Show the version and leave."
    ),
) -> None:
    """Restore a damaged photo with the picture an image generator made of it."""


PANELS: dict[str, tuple[Callable[..., None] | typer.Typer, ...]] = {
    "Photos": (
        restore.restore,
        measure.measure,
        align.register,
        align.align,
        align.straighten,
        services.provenance,
        tryout.demo,
        tryout.names,
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
    """What a terminal cannot show, as JSON writes it: a name that is not UTF-8, a Δ in ASCII."""
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    text = exc.object[exc.start : exc.end].encode("utf-16-be", "surrogatepass")
    units = (text[at : at + 2].hex() for at in range(0, len(text), 2))
    return "".join(f"\\u{unit}" for unit in units), exc.end


def run() -> None:
    """Entry point: exit status 2 for bad input or an unwritable result, 1 for other failures."""
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
