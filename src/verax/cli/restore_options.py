"""The options of `verax restore`, in groups."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from verax.cli.paid import PANEL, Model
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY

PRIOR, RESULT = "Prior", "Result"
POLL_S = 30.0
Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO",
        show_default=False,
        help="Photo, folder or pattern. A second picture of the same scene is its prior.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where pictures come from and go to."""

    prior: Annotated[
        Path | None,
        typer.Option(
            "--prior",
            help="What a generator made of the photo; for several photos a folder, by name.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Result file, or folder for several photos."),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and figures: sheet.png, trust.png, report.json."),
    ] = None
    recursive: Annotated[
        bool,
        typer.Option("--recursive", help="Take the photos of the folders below, too."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What holds for every photo of a call."""

    fidelity: Annotated[
        float,
        typer.Option(
            rich_help_panel=PRIOR,
            help="1: only what the photo confirms, and light. 0: the registered prior itself.",
        ),
    ] = DEFAULT_FIDELITY
    accept_prior: Annotated[
        bool,
        typer.Option(
            "--accept-prior",
            rich_help_panel=PRIOR,
            help="You know that the prior shows this scene: use it where nobody could tell.",
        ),
    ] = False
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=PRIOR,
            help="Leave with status 3 where a prior is missing or was not used.",
        ),
    ] = False
    restorer: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="What restores without a prior: see verax names restorers; or a weights file.",
        ),
    ] = None
    drop_gps: Annotated[
        bool,
        typer.Option("--drop-gps", rich_help_panel=RESULT, help="Leave out where it was taken."),
    ] = False
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", rich_help_panel=RESULT, help="Leave results that are there."
        ),
    ] = False
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            rich_help_panel=RESULT,
            help="Take what is left of a photo cut short (JPEG, PNG); a prior fills the rest.",
        ),
    ] = False
    only: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="Mask picture, white where the photo may change; elsewhere it stays bit for bit.",
        ),
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="Mask picture, white where the photo holds nothing: filled from the prior.",
        ),
    ] = None
    scale: Annotated[
        str,
        typer.Option(
            rich_help_panel=RESULT,
            help="A larger result: 2, 3, 4, or 'prior': as fine as the prior, which adds detail.",
        ),
    ] = ""
    exposure: Annotated[
        float,
        typer.Option(rich_help_panel=RESULT, help="Stops brighter, or darker: -4 to 4."),
    ] = 0.0
    as_json: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=RESULT, help="Print one JSON object per photo."),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", rich_help_panel=RESULT, help="Print the figures as well."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a service is asked for."""

    model: Model = None
    task: Annotated[
        str,
        typer.Option(
            rich_help_panel=PANEL, help="What is asked for, or was: see verax names tasks."
        ),
    ] = "auto"
    prompt: Annotated[
        str, typer.Option(rich_help_panel=PANEL, help="What to ask for, in your own words.")
    ] = ""
    quality: Annotated[
        str | None,
        typer.Option(rich_help_panel=PANEL, help="low, medium, high ...; see verax models."),
    ] = None
    moderation: Annotated[str | None, typer.Option(rich_help_panel=PANEL, help="auto or low.")] = (
        None
    )
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", rich_help_panel=PANEL, help="Ask for half the price, within 24 hours."
        ),
    ] = False
    batch_poll: Annotated[
        float, typer.Option(rich_help_panel=PANEL, help="Seconds between looks at a batch.")
    ] = POLL_S
