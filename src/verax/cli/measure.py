"""verax measure, register, provenance: what pictures say, and nothing is changed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verax.errors import InputError

if TYPE_CHECKING:
    from verax.deviation import Deviation, Look
    from verax.deviation.ladder import Ladder


from typing import TYPE_CHECKING, Annotated

from verax.errors import ImageReadError

if TYPE_CHECKING:
    from verax.provenance import Provenance


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
    from verax.deviation.finders import text_entry
    from verax.deviation.ladder import ladder
    from verax.deviation.record import sentences
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


def register(
    photo: Path = typer.Argument(..., help="The photo."),
    prior: Path = typer.Argument(..., help="What a generator made of it."),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Write the prior on the photo's grid to this file."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find where a prior lies on a photo, and whether it shows the same scene."""
    from verax import image as images
    from verax.geometry import register as registration

    if output is not None:
        for source in (photo, prior):
            if output.exists() and source.exists() and output.samefile(source):
                raise InputError(f"{output}: the result would replace {source}; choose another -o")
        images.check_target(output)
    fixed, moving = images.read(photo), images.read(prior)
    found = registration.register(fixed.pixels, moving.pixels)
    if output is not None:
        warped = registration.apply(found, moving.pixels, size=(fixed.width, fixed.height))
        images.write(output, warped.pixels)
    record = {
        "photo": str(photo),
        "prior": str(prior),
        "width": fixed.width,
        "height": fixed.height,
        **found.record(),
    }
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(f"placed {found.placed}: {found.reason}")
        print(f"p = {found.p_value:.3g}, coverage {found.coverage:.0%}, canvas {found.canvas}")
        for row in record["matrix"]:
            print("  " + "  ".join(f"{value:12.6f}" for value in row))


File = Annotated[Path, typer.Argument(help="A picture file.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable answer on stdout.")]

MEANING = {
    "absent": "no Content Credentials",
    "valid": "Content Credentials, valid: the file is as it was signed; the signer is not checked "
    "against a list of trusted ones",
    "trusted": "Content Credentials, valid, by a trusted signer",
    "invalid": "Content Credentials that do not fit: the file or its manifest was changed since",
    "unreadable": "Content Credentials that cannot be read",
    "unread": "Content Credentials, not read",
}
PROVES_NOTHING = (
    "Missing credentials prove nothing: saving a file loses them, and invisible watermarks are not "
    "looked for."
)


def provenance(file: File, as_json: Json = False) -> None:
    """Show what a file says about where it comes from: C2PA manifest and statement beside it."""
    from verax import provenance as credentials
    from verax.provenance import statement

    try:
        data = file.read_bytes()
    except OSError as exc:
        raise ImageReadError(f"{file}: cannot be read: {exc.strerror}") from exc
    found = credentials.read(data)
    told, fits = statement.read_statement(file)
    if as_json:
        entry: dict[str, Any] = {"file": str(file), **asdict(found)}
        entry["source_in_xmp"] = credentials.source_in_xmp(data)
        entry["names_remote_manifest"] = credentials.names_remote_manifest(data)
        entry["statement"] = told
        entry["statement_fits"] = fits
        print(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    print(f"{file}: {MEANING[found.state]}")
    for line in described(found):
        print(f"  {line}")
    if source := credentials.source_in_xmp(data):
        print(f"  its XMP, unsigned, says: {source}")
    if credentials.names_remote_manifest(data):
        print("  names a manifest that is kept elsewhere; it was not fetched")
    if told is not None:
        changed = "" if fits else ", but the file was changed since"
        print(f"  a statement beside it, unsigned, says: {told['made_by']}{changed}")
    if found.state == "absent":
        print(PROVES_NOTHING)


def described(found: "Provenance") -> list[str]:
    """The manifest in lines."""
    lines = []
    if found.generator:
        lines.append(f"made by    {found.generator}")
    if found.issuer or found.signer:
        when = f" on {found.signed_at}" if found.signed_at else ""
        lines.append(f"signed by  {', '.join(filter(None, (found.signer, found.issuer)))}{when}")
    for action in found.actions:
        about = " ".join(filter(None, (action.source, action.agent and f"with {action.agent}")))
        lines.append(f"action     {action.name} {about}".rstrip())
    for one in found.ingredients:
        kept = "with" if one.has_manifest else "without"
        lines.append(f"made from  {one.title} ({one.relationship}, {kept} credentials of its own)")
    lines += [f"problem    {problem}" for problem in found.problems]
    return lines
