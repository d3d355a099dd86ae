"""verax measure: what a generated picture changed against its photo."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.errors import InputError

if TYPE_CHECKING:
    from verax.deviation import Deviation, Look
    from verax.deviation.ladder import Ladder


def measure(
    photo: Path = typer.Argument(..., help="The photo."),
    generated: Path = typer.Argument(..., help="What a generator made of it."),
    reference: Path | None = typer.Option(
        None, help="Ground truth on the photo's grid: adds the ladder."
    ),
    report: Path | None = typer.Option(None, help="Folder for the pictures and the JSON."),
    text: bool = typer.Option(
        False, "--text", help="Compare written words too; needs the tesseract program."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Measure what a generated picture changed against its photo."""
    from verax.deviation import compare
    from verax.deviation import deviation as deviation_of
    from verax.deviation.ladder import ladder
    from verax.deviation.text import text_entry
    from verax.deviation.words import sentences
    from verax.image import read

    if report is not None and report.exists() and not report.is_dir():
        raise InputError(f"--report wants a folder, {report} is a file; name another place")
    ours, theirs = read(photo).pixels, read(generated).pixels
    look = compare(ours, theirs)
    extra = {"words_lost": text_entry(ours, theirs)} if text else {}
    deviation = deviation_of(look, extra=extra)
    record = {"photo": str(photo), "generated": str(generated), **deviation.record()}
    record["sentences"] = sentences(deviation)
    ladders: dict[str, Ladder] = {}
    if reference is not None:
        truth = read(reference).pixels
        ladders["ladder"] = ladder(look, truth)
        ladders["ladder_floor"] = ladder(compare(ours, theirs[:, ::-1].copy()), truth)
        record |= {name: asdict(steps) for name, steps in ladders.items()}
    if report is not None:
        write_report(report, look, deviation, record)
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        tell(record, ladders)


def write_report(
    folder: Path, look: "Look", deviation: "Deviation", record: dict[str, Any]
) -> None:
    """overlay.png, objects.png, motion.png, edges.png and measure.json."""
    from verax.deviation import pictures
    from verax.image import write

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "measure.json").write_text(text, encoding="utf-8")
    write(folder / "overlay.png", pictures.overlay(look.pair))
    write(folder / "objects.png", pictures.object_picture(look.pair, deviation.objects))
    if look.alignment is not None:
        write(folder / "motion.png", pictures.motion_field(look.pair, look.alignment.blocks))
        write(folder / "edges.png", pictures.edge_picture(look.pair))


def tell(record: dict[str, Any], ladders: dict[str, "Ladder"]) -> None:
    """The sentences, and the ladder beside its floor, for people."""
    print(f"drift {record['drift']:.0f} of 100")
    for line in record["sentences"]:
        print(line)
    if not ladders:
        return
    steps, floor = ladders["ladder"], ladders["ladder_floor"]
    print(f"\nagainst the ground truth, on {steps.compared_share:.0%} of its pixels:")
    print(f"{'':22}{'PSNR dB':>9}{'step':>8}{'SSIM':>8}{'floor dB':>10}")
    last = None
    for rung, below in zip(steps.rungs, floor.rungs, strict=True):
        step = "" if last is None else f"{rung.psnr_db - last:+.2f}"
        print(f"{rung.name:22}{rung.psnr_db:9.2f}{step:>8}{rung.ssim:8.4f}{below.psnr_db:10.2f}")
        last = rung.psnr_db
    print("floor: the same steps for the generated picture mirrored")
    print(steps.regularisation)
