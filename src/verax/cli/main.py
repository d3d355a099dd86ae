"""The `verax` command: wires the groups of verbs and turns our errors into one line and a status.

Heavy imports live inside the verbs, so that `verax --help` stays quick.
"""

import codecs
import sys
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
    lists,
    measure,
    restore,
    score,
    serve,
    straighten,
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


PHOTOS, SERVICES, RESEARCH = "Photos", "Image services", "Research"
app.command(rich_help_panel=PHOTOS)(restore.restore)
app.command(rich_help_panel=PHOTOS)(measure.measure)
app.command(rich_help_panel=PHOTOS)(measure.register)
app.command(rich_help_panel=PHOTOS)(align.align)
app.command(rich_help_panel=PHOTOS)(straighten.straighten)
app.command(rich_help_panel=PHOTOS)(measure.provenance)
app.command(rich_help_panel=PHOTOS)(tryout.demo)
app.command(rich_help_panel=PHOTOS)(lists.names)
app.command(rich_help_panel=SERVICES)(generate.edit)
app.command(rich_help_panel=SERVICES)(generate.generate)
app.command(rich_help_panel=SERVICES)(lists.models)
app.command(rich_help_panel=SERVICES)(lists.probe)
app.add_typer(journal.app, name="journal", rich_help_panel=SERVICES)
app.command("serve-test", rich_help_panel=SERVICES)(tryout.serve_test)
app.command(rich_help_panel=SERVICES)(serve.serve)
app.add_typer(serve.key_app, name="serve-key", rich_help_panel=SERVICES)
app.add_typer(bench.app, name="bench", rich_help_panel=RESEARCH)
app.add_typer(data.app, name="data", rich_help_panel=RESEARCH)
app.command(rich_help_panel=RESEARCH)(score.score)
app.command(rich_help_panel=RESEARCH)(score.metrics)
app.command(rich_help_panel=RESEARCH)(bench_results.release)
app.command(rich_help_panel=RESEARCH)(train.train)
app.command(rich_help_panel=RESEARCH)(train.export)
app.command(rich_help_panel=RESEARCH)(train.restorers)


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
