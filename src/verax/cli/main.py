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


app.command()(restore.restore)
app.command()(measure.register)
app.command()(align.align)
app.command()(straighten.straighten)
app.command()(generate.edit)
app.command()(generate.generate)
app.command()(lists.models)
app.command()(lists.probe)
app.command()(measure.measure)
app.command()(score.score)
app.command()(score.metrics)
app.command()(lists.names)
app.command()(train.restorers)
app.command()(tryout.demo)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.command()(bench_results.release)
app.add_typer(journal.app, name="journal")
app.command()(measure.provenance)
app.command()(train.train)
app.command()(train.export)
app.command()(serve.serve)
app.command("serve-test")(tryout.serve_test)
app.add_typer(serve.key_app, name="serve-key")


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
