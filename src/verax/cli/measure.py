"""The commands `verax measure` (what a generator changed), and `score` and `metrics` (quality)."""

import json
from dataclasses import asdict, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.cli import pairing
from verax.errors import InputError, quantity

if TYPE_CHECKING:
    from verax.deviation import Deviation, Ladder, Look
    from verax.image import Image
    from verax.metrics import FolderScores, Protocol, Score


def measure(
    photo: Path = typer.Argument(..., help="The photo."),
    generated: Path = typer.Argument(..., help="The picture that a generator made of it."),
    reference: Path | None = typer.Option(
        None, help="Ground truth of the photo's size: adds PSNR and SSIM after each correction."
    ),
    report: Path | None = typer.Option(None, help="Folder for pictures of the changes and JSON."),
    text: bool = typer.Option(
        False, "--text", help="Also compare written words; needs the program tesseract."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Measure what an image generator changed in a photo."""
    from verax.deviation import compare, ladder
    from verax.deviation import deviation as deviation_of
    from verax.deviation.objects import text_entry
    from verax.deviation.record import sentences
    from verax.image import read

    if report is not None and report.exists() and not report.is_dir():
        raise InputError(f"--report: expected a folder, got the file {report}; name a folder")
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
    """Write `record` as measure.json, and pictures of the changes, into a folder.

    `look` has the photo and the generated picture, `deviation` what was measured. The pictures are
    overlay.png, objects.png and, if the two could be aligned, motion.png and edges.png.
    """
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
    """Print the drift (0 to 100), sentences on what the generator changed, and a table of scores.

    `record` is the measurement as JSON. `ladders` is {} without a ground truth. Otherwise it has
    PSNR and SSIM against it after each correction (size, geometry, colour): "ladder" for the
    generated picture, "ladder_floor" for its mirror image, which shows what correction alone gains.
    """
    print(f"drift {record['drift']:.0f} of 100 (0: nothing changed)")
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
    print("floor: the same with the mirrored picture, which shows what correction alone gains")
    print(steps.regularisation)


class Align(StrEnum):
    """What is undone in a restoration before it is scored, so that it lies on the reference's grid.

    "none": nothing. "canvas": a change of size and proportions. "global": also one homography.
    "local": also local motion.
    """

    none = "none"
    canvas = "canvas"
    global_ = "global"
    local = "local"


def metrics(
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List all metrics: what they measure, which values are better, what they need, licence."""
    from verax.metrics import METRICS

    columns = ("what", "direction", "needs", "unit", "channel", "kernel", "licence", "install")
    rows = [
        {"metric": name, **{field: getattr(entry, field) for field in columns}}
        for name, entry in METRICS.items()
    ]
    if as_json:
        print(json.dumps({"metrics": rows}, ensure_ascii=False, indent=2))
        return
    print(f"{'metric':15} {'better':7} {'needs':11} {'what':42} licence")
    for row in rows:
        needs = f"{row['needs']}{' *' if row['install'] else ''}"
        print(
            f"{row['metric']:15} {row['direction']:7} {needs:11} {row['what']:42} {row['licence']}"
        )
    print("* learned: pip install pyiqa, which fetches the weights")


def score(
    restored: Path = typer.Argument(..., help="Restored picture, or a folder of them."),
    reference: Path | None = typer.Argument(
        None, help="Ground truth, or a folder of it with the same names; some metrics need none."
    ),
    names: str = typer.Option(
        "psnr,ssim", "--metrics", help="Names of metrics, with commas; see verax metrics."
    ),
    protocol: str = typer.Option(
        "rgb", help="Channel to compare, rgb or y (luma); y:4 also leaves out a border of 4 px."
    ),
    align: Align = typer.Option(
        Align.none,
        help="First undo a change of size and proportions (canvas), also a homography (global), or "
        "also local motion (local).",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Score a restoration against the ground truth, or two folders of pictures with equal names."""
    from verax.metrics import parse_protocol

    metric_names = [name.strip() for name in names.split(",") if name.strip()]
    rules = parse_protocol(protocol)
    if align is not Align.none:
        rules = replace(rules, resampler=f"{align.value}, cubic, border repeated")
    if restored.is_dir():
        result = score_two_folders(restored, reference, metric_names, rules, align)
        record = folder_record(result)
        if as_json:
            print(json.dumps(record, ensure_ascii=False, indent=2))
        else:
            tell_folder(result, metric_names)
        if not result.complete:
            raise typer.Exit(1)
    else:
        scores = score_one(restored, reference, metric_names, rules, align)
        if as_json:
            record = {"scores": [asdict(one) for one in scores]}
            print(json.dumps(record, ensure_ascii=False, indent=2))
        else:
            tell_scores(scores)


def score_one(
    restored: Path, reference: Path | None, names: list[str], rules: "Protocol", align: Align
) -> "tuple[Score, ...]":
    """The scores of one picture against the ground truth, one for each metric in `names`.

    `reference` may be None if no metric needs it. `align` says which changes are undone first,
    `rules` which channel is compared, and how many px of border are left out.
    """
    from verax import metrics as room
    from verax.image import read

    if reference is not None and reference.is_dir():
        raise InputError(
            f"expected two pictures or two folders, got the picture {restored} and the folder "
            f"{reference}; name a picture in this folder"
        )
    ours = read(restored).pixels
    theirs = None if reference is None else read(reference).pixels
    if theirs is not None and align is not Align.none:
        ours = align_to_reference(ours, theirs, align)
    return room.score(ours, theirs, names, rules)


def align_to_reference(restored: "Image", reference: "Image", how: Align) -> "Image":
    """The restoration on the reference's grid; `how` says which changes are undone.

    Raises InputError if the scenes seem to differ.
    """
    from verax.deviation.compare import align_generated as on_grid

    return on_grid(reference, restored, how.value)[0]


def score_two_folders(
    restored: Path, reference: Path | None, names: list[str], rules: "Protocol", align: Align
) -> "FolderScores":
    """The scores of all pictures whose name, apart from the suffix, is in both folders.

    `names` are metrics; `align` says which changes are undone first, `rules` which channel is
    compared, and how many px of border are left out.
    """
    from verax.metrics import score_folders

    if reference is None or not reference.is_dir():
        raise InputError(
            f"expected a folder of references for the folder {restored}, got "
            f"{reference or 'none'}; name the folder of the references"
        )
    ours, theirs = pairing.by_stem(restored, reference)
    bring = None if align is Align.none else partial(align_to_reference, how=align)
    return score_folders(ours, theirs, names, rules, bring)


def tell_scores(scores: "tuple[Score, ...]") -> None:
    """Print a line for each score: metric, value, unit, and how it was computed."""
    for one in scores:
        print(f"{one.metric:15} {one.value:10.4f} {one.unit:5} {protocol_text(one)}")


def protocol_text(one: "Score") -> str:
    """How a score was computed, in words: channel, range, border, alignment, window."""
    better = "higher is better" if one.direction == "higher" else "lower is better"
    border = f", border {one.border_px} px" if one.border_px else ""
    moved = "" if one.resampler == "none" else f", aligned: {one.resampler}"
    return f"{better}; {one.channel}, range {one.data_range:g}{border}{moved}; {one.kernel}"


def folder_record(result: "FolderScores") -> dict[str, Any]:
    """JSON of two folders: scores of each picture, means by metric, failures, missing files."""
    scored = [row for row in result.rows if not row.failure]
    protocols = {
        s.metric: {k: v for k, v in asdict(s).items() if k not in ("metric", "value")}
        for s in (scored[0].scores if scored else ())
    }
    return {
        "pictures": [
            {"name": row.name, "failure": row.failure}
            if row.failure
            else {"name": row.name, **{s.metric: s.value for s in row.scores}}
            for row in result.rows
        ],
        "mean": result.means(),
        "scored_count": len(scored),
        "failed_count": len(result.failures),
        "missing_reference": list(result.without_reference),
        "missing_restored": list(result.without_restored),
        "protocols": protocols,
    }


def tell_folder(result: "FolderScores", names: list[str]) -> None:
    """Print a table of scores, a row for each picture and a column for each metric in `names`; then
    means, pictures that one folder lacks, and how each metric was computed."""
    width = max(len("mean"), *(len(row.name) for row in result.rows))
    print(f"{'':{width}} " + " ".join(f"{name:>12}" for name in names))
    for row in result.rows:
        cells = " ".join(f"{s.value:12.4f}" for s in row.scores)
        print(f"{row.name:{width}} {cells or 'failed: ' + row.failure}")
    means, scored = result.means(), len(result.rows) - len(result.failures)
    if means:
        cells = " ".join(f"{value:12.4f}" for value in means.values())
        print(f"{'mean':{width}} {cells}   ({scored} of {quantity(len(result.rows), 'picture')})")
    for name in result.without_reference:
        print(f"no reference for {name}")
    for name in result.without_restored:
        print(f"no restoration of {name}")
    first = next((row for row in result.rows if not row.failure), None)
    for one in first.scores if first else ():
        print(f"{one.metric}: {protocol_text(one)}")
