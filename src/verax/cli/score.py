"""verax score, verax metrics: how good a restoration is, and by which measures."""

import json
from dataclasses import asdict, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.cli import pairing
from verax.errors import InputError

if TYPE_CHECKING:
    from verax.image import Image
    from verax.metrics import FolderScores, Protocol, Score


class Align(StrEnum):
    """How `score` brings a restoration of another size onto the reference's grid."""

    none = "none"
    canvas = "canvas"
    global_ = "global"
    local = "local"


def metrics(
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """List all metrics: what each says, which way is better, what it needs, its licence."""
    from verax.metrics import METRICS

    shown = ("what", "direction", "needs", "unit", "channel", "kernel", "licence", "install")
    rows = [
        {"metric": name, **{field: getattr(entry, field) for field in shown}}
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
        None, help="Ground truth, or a folder with the same names."
    ),
    names: str = typer.Option(
        "psnr,ssim", "--metrics", help="Names with commas; see: verax metrics."
    ),
    protocol: str = typer.Option(
        "rgb", help="Channel rgb or y, and a border in pixels: rgb, y, y:4 ..."
    ),
    align: Align = typer.Option(
        Align.none, help="Bring the restoration onto the reference's grid first."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Score a restoration against the ground truth; folders are matched by name."""
    from verax.metrics import parse_protocol

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    rules = parse_protocol(protocol)
    if align is not Align.none:
        rules = replace(rules, resampler=f"{align.value}, cubic, border repeated")
    if restored.is_dir():
        result = score_two_folders(restored, reference, chosen, rules, align)
        record = folder_record(result)
        if as_json:
            print(json.dumps(record, ensure_ascii=False, indent=2))
        else:
            tell_folder(result, chosen)
        if not result.complete:
            raise typer.Exit(1)
    else:
        scores = score_one(restored, reference, chosen, rules, align)
        if as_json:
            record = {"scores": [asdict(one) for one in scores]}
            print(json.dumps(record, ensure_ascii=False, indent=2))
        else:
            tell(scores)


def score_one(
    restored: Path, reference: Path | None, names: list[str], rules: "Protocol", align: Align
) -> "tuple[Score, ...]":
    """The scores of one picture."""
    from verax import metrics as room
    from verax.image import read

    if reference is not None and reference.is_dir():
        raise InputError(f"{restored} is a file and {reference} a folder; want two of a kind")
    ours = read(restored).pixels
    theirs = None if reference is None else read(reference).pixels
    if theirs is not None and align is not Align.none:
        ours = aligned(ours, theirs, align)
    return room.score(ours, theirs, names, rules)


def aligned(restored: "Image", reference: "Image", how: Align) -> "Image":
    """The restoration on the reference's grid; an error where it shows another scene."""
    from verax.deviation import ladder

    return ladder.aligned(reference, restored, how.value)[0]


def score_two_folders(
    restored: Path, reference: Path | None, names: list[str], rules: "Protocol", align: Align
) -> "FolderScores":
    """The scores of all pictures that both folders have under one name."""
    from verax.metrics import score_folders

    if reference is None or not reference.is_dir():
        raise InputError(f"{restored} is a folder, so the reference must be one too")
    ours, theirs = pairing.by_stem(restored, reference)
    bring = None if align is Align.none else partial(aligned, how=align)
    return score_folders(ours, theirs, names, rules, bring)


def tell(scores: "tuple[Score, ...]") -> None:
    """One line for each score, with its protocol."""
    for one in scores:
        print(f"{one.metric:15} {one.value:10.4f} {one.unit:5} {protocol_text(one)}")


def protocol_text(one: "Score") -> str:
    """A score's protocol in words."""
    better = "higher is better" if one.direction == "higher" else "lower is better"
    border = f", border {one.border_px} px" if one.border_px else ""
    moved = "" if one.resampler == "none" else f", aligned: {one.resampler}"
    return f"{better}; {one.channel}, range {one.data_range:g}{border}{moved}; {one.kernel}"


def folder_record(result: "FolderScores") -> dict[str, Any]:
    """Scores, failures, missing partners and means as JSON."""
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
    """A table with one row for each picture, then means, missing partners and protocols."""
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
        print(f"{one.metric}: {protocol_text(one)}")
