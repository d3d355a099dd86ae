"""verax demo: the main job on a photo that comes with an installed package."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from verax.image import Image


def demo(
    out: Path = typer.Option(Path("demo"), help="Folder for the pictures and the report."),
) -> None:
    """Restore a darkened photo with a simulated prior, offline; prints where the pictures are."""
    from verax import image as images
    from verax import pipeline
    from verax.bench.methods import fitted
    from verax.priors.simulated import EXAMPLE_SEED, EXAMPLE_SEVERITY, example
    from verax.report.sheet import restoration_sheet

    shown = example()
    clean, photo, prior = shown.clean, shown.photo, shown.prior
    result = pipeline.restore(photo, prior)
    record = {
        "photo": "scikit-image's coffee.png (CC0, Rachel Michetti), darkened on purpose",
        "degradation": {"task": "lowlight", "severity": EXAMPLE_SEVERITY, "seed": EXAMPLE_SEED},
        "prior_source": f"simulated, seed {EXAMPLE_SEED}: no image generator was asked",
        "psnr_db": {
            "photo": psnr_db(photo, clean),
            "prior_resized": psnr_db(fitted(prior, clean), clean),
            "restoration": psnr_db(result.pixels, clean),
        },
        **pipeline.record(result),
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
    tell(record, out)


def psnr_db(picture: "Image", reference: "Image") -> float:
    """PSNR in dB by the package's own metric."""
    from verax.metrics import score

    return round(score(picture, reference, metrics=("psnr",))[0].value, 2)


def tell(record: dict[str, Any], out: Path) -> None:
    """What was done, in plain words, and where to look."""
    decibel = record["psnr_db"]
    print("photo        a CC0 photo from scikit-image, darkened on purpose")
    print("prior        simulated (no image generator was asked); it drifted, see for yourself")
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
    """What to type for this command: its name, or its path where the name finds another or none."""
    here = Path(sys.argv[0])
    if here.name != "verax":  # python -m verax
        return f"{sys.executable} -m verax"
    found = shutil.which("verax")
    return "verax" if found and Path(found).samefile(here) else os.path.relpath(here)
