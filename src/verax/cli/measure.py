"""verax measure, score, metrics: what a generator changed, how good a restoration is."""

import json
from dataclasses import asdict, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verax.cli import pairing
from verax.errors import InputError

if TYPE_CHECKING:
    from verax.deviation import Deviation
    from verax.deviation.ladder import Ladder
    from verax.deviation.look import Look
    from verax.image import Image
    from verax.metrics import FolderScores, Protocol, Score


class Align(StrEnum):
    """How `score` brings a restoration of another size onto the reference's grid."""

    none = "none"
    canvas = "canvas"
    global_ = "global"
    local = "local"


Json = Annotated[bool, typer.Option("--json", help="Machine-readable answer on stdout.")]


def measure(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    generated: Annotated[Path, typer.Argument(help="What a generator made of it.")],
    reference: Annotated[
        Path | None, typer.Option(help="Ground truth on the photo's grid: adds the ladder.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for pictures and JSON.")] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Compare written words too; needs tesseract.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure what a generated picture changed against its photo."""
    from verax.deviation import measure as measure_
    from verax.deviation import text as writing
    from verax.deviation.ladder import ladder
    from verax.deviation.look import look
    from verax.deviation.words import sentences
    from verax.geometry.register import register
    from verax.image import read

    ours, theirs = read(photo).pixels, read(generated).pixels
    registration = register(ours, theirs)
    extra = {"words_lost": writing.text_entry(ours, theirs)} if text else {}
    deviation = measure_(ours, theirs, registration, extra=extra)
    said = sentences(deviation)
    record = {"photo": str(photo), "generated": str(generated), **deviation.record()}
    record["sentences"] = said
    if reference is not None:
        truth = read(reference).pixels
        ladders = {
            "ladder": ladder(ours, theirs, truth, registration),
            "ladder_floor": ladder(ours, theirs[:, ::-1].copy(), truth),
        }
        record |= {name: asdict(steps) for name, steps in ladders.items()}
    if report is not None:
        seen = look(ours, theirs, registration, deviation.canvas)
        _write_report(report, seen, deviation, record)
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    print(f"drift {deviation.drift:.0f} of 100")
    for line in said:
        print(line)
    if reference is not None:
        _print_ladders(ladders)


def _write_report(
    folder: Path, seen: "Look", deviation: "Deviation", record: dict[str, Any]
) -> None:
    """overlay.png, motion.png, edges.png, objects.png and measure.json."""
    from verax.deviation import pictures
    from verax.image import write

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "measure.json").write_text(text, encoding="utf-8")
    write(folder / "overlay.png", pictures.overlay(seen.pair))
    write(folder / "objects.png", pictures.object_picture(seen.pair, deviation.objects))
    if deviation.outcome != "foreign":
        write(folder / "motion.png", pictures.motion_field(seen))
        write(folder / "edges.png", pictures.edge_picture(seen.pair))


def _print_ladders(ladders: dict[str, "Ladder"]) -> None:
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


def metrics(as_json: Json = False) -> None:
    """List all metrics: what each says, which way is better, what it needs, its licence."""
    from verax.metrics import METRICS

    rows = [
        {
            "metric": name,
            "what": entry.what,
            "direction": entry.direction,
            "needs": entry.needs,
            "unit": entry.unit,
            "channel": entry.channel or "protocol",
            "kernel": entry.kernel,
            "licence": entry.licence,
            "install": entry.install,
        }
        for name, entry in METRICS.items()
    ]
    if as_json:
        print(json.dumps({"metrics": rows}, ensure_ascii=False, indent=2))
        return
    print(f"{'metric':15} {'better':7} {'needs':10} {'what':42} licence")
    for row in rows:
        needs = row["needs"] + (" *" if row["install"] else "")
        print(
            f"{row['metric']:15} {row['direction']:7} {needs:11}{row['what']:42} {row['licence']}"
        )
    print("* learned: pip install pyiqa, which fetches the weights")


def score(
    restored: Annotated[Path, typer.Argument(help="Restored picture, or a folder of them.")],
    reference: Annotated[
        Path | None, typer.Argument(help="Ground truth, or a folder with the same names.")
    ] = None,
    names: Annotated[
        str, typer.Option("--metrics", help="Names with commas; see: verax metrics.")
    ] = "psnr,ssim",
    protocol: Annotated[
        str, typer.Option(help="Channel rgb or y, and a border in pixels: rgb, y, y:4 ...")
    ] = "rgb",
    align: Annotated[
        Align, typer.Option(help="Bring the restoration onto the reference's grid first.")
    ] = Align.none,
    as_json: Json = False,
) -> None:
    """Score a restoration against the ground truth; folders are matched by name."""
    from verax.metrics.protocol import parse_protocol

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    rules = parse_protocol(protocol)
    if restored.is_dir():
        _score_folder(restored, reference, chosen, rules, align, as_json)
    else:
        _score_picture(restored, reference, chosen, rules, align, as_json)


def _score_picture(
    restored: Path,
    reference: Path | None,
    names: list[str],
    rules: "Protocol",
    align: Align,
    as_json: bool,
) -> None:
    from verax import metrics as rooms
    from verax.image import read

    if reference is not None and reference.is_dir():
        raise InputError(f"{restored} is a file and {reference} a folder; want two of a kind")
    ours = read(restored).pixels
    theirs = None if reference is None else read(reference).pixels
    if theirs is not None and align is not Align.none:
        ours, rules = _aligned(ours, theirs, align), _with_resampler(rules, align)
    scores = rooms.score(ours, theirs, names, rules)
    if as_json:
        print(json.dumps({"scores": [asdict(s) for s in scores]}, ensure_ascii=False, indent=2))
        return
    for one in scores:
        print(f"{one.metric:15} {one.value:10.4f} {one.unit:5} {_protocol_text(one)}")


def _aligned(restored: "Image", reference: "Image", how: Align) -> "Image":
    from verax.deviation.ladder import aligned

    return aligned(reference, restored, how.value)[0]


def _with_resampler(rules: "Protocol", align: Align) -> "Protocol":
    return replace(rules, resampler=f"{align.value}, cubic, border repeated")


def _protocol_text(one: "Score") -> str:
    better = "higher is better" if one.direction == "higher" else "lower is better"
    border = f", border {one.border_px} px" if one.border_px else ""
    moved = "" if one.resampler == "none" else f", aligned: {one.resampler}"
    return f"{better}; {one.channel}, range {one.data_range:g}{border}{moved}; {one.kernel}"


def _score_folder(
    restored: Path,
    reference: Path | None,
    names: list[str],
    rules: "Protocol",
    align: Align,
    as_json: bool,
) -> None:
    from verax.metrics import score_folders

    if reference is None or not reference.is_dir():
        raise InputError(f"{restored} is a folder, so the reference must be one too")
    ours, theirs = pairing.by_stem(restored), pairing.by_stem(reference)
    if align is Align.none:
        result = score_folders(ours, theirs, names, rules)
    else:
        rules = _with_resampler(rules, align)
        result = score_folders(ours, theirs, names, rules, partial(_aligned, how=align))
    if as_json:
        print(json.dumps(_folder_record(result), ensure_ascii=False, indent=2))
    else:
        _print_folder(result, names)
    if not result.complete:
        raise typer.Exit(1)


def _folder_record(result: "FolderScores") -> dict[str, Any]:
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


def _print_folder(result: "FolderScores", names: list[str]) -> None:
    width = max(len("mean"), *(len(row.name) for row in result.rows))
    print(f"{'':{width}} " + " ".join(f"{name:>12}" for name in names))
    for row in result.rows:
        cells = " ".join(f"{s.value:12.4f}" for s in row.scores)
        print(f"{row.name:{width}} {cells or 'failed: ' + row.failure}")
    means, scored = result.means(), len(result.rows) - len(result.failures)
    if means:
        cells = " ".join(f"{value:12.4f}" for value in means.values())
        print(f"{'mean':{width}} {cells}   ({scored} of {len(result.rows)} pictures)")
    for name in result.without_reference:
        print(f"no reference for {name}")
    for name in result.without_restored:
        print(f"no restoration of {name}")
    first = next((row for row in result.rows if not row.failure), None)
    for one in first.scores if first else ():
        print(f"{one.metric}: {_protocol_text(one)}")
