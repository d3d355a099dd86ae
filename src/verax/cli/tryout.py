"""verax demo, verax serve-test: everything can be tried with no photo, no key and no bill."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from verax.image import Image


import tempfile
from datetime import UTC, datetime
from typing import Annotated

from verax.errors import InputError, SettingsError


def demo(
    out: Path = typer.Option(Path("demo"), help="Folder for the pictures and the report."),
) -> None:
    """Restore a darkened photo with a simulated prior, offline; prints where the pictures are."""
    from verax import image as images
    from verax import pipeline
    from verax.bench.plan import fitted
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
        **result.record(),
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
    tell_result(record, out)


def psnr_db(picture: "Image", reference: "Image") -> float:
    """PSNR in dB by the package's own metric."""
    from verax.metrics import score

    return round(score(picture, reference, metrics=("psnr",))[0].value, 2)


def tell_result(record: dict[str, Any], out: Path) -> None:
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
    installed = shutil.which("verax")
    return "verax" if installed and Path(installed).samefile(here) else os.path.relpath(here)


PORT = 8900  # where `--gateway test` looks for it


def serve_test(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = PORT,
    script: Annotated[
        str, typer.Option(help="What happens to the next calls, by commas: 429:2,billed:502,link")
    ] = "",
    ledger: Annotated[Path | None, typer.Option(help="File of what it billed.")] = None,
    fail_every: Annotated[
        int, typer.Option(help="Bill every so many-th call and answer it with 502.", min=0)
    ] = 0,
    delay: Annotated[float, typer.Option(help="Seconds before each answer.", min=0)] = 0.0,
    steps: Annotated[
        bool, typer.Option("--steps", help="Explain what --script can hold, and leave.")
    ] = False,
) -> None:
    """Play an image service on this machine: no key, no bill, nothing leaves."""
    from verax.testservice import state
    from verax.testservice.server import serve
    from verax.testservice.state import ServiceState

    if steps:
        print(state.__doc__)
        return
    file = ledger or Path(tempfile.mkdtemp(prefix="verax-test-service-")) / "ledger.jsonl"
    today = datetime.now(UTC).date().isoformat()
    service = ServiceState(file, delay_s=delay, today=today, keyed=False, fail_every=fail_every)
    try:
        service.set_script([step for step in script.split(",") if step])
    except ValueError as exc:
        raise InputError(f"--script: {exc}; verax serve-test --steps explains them") from None
    try:
        server = serve(service, port)
    except OSError as exc:
        raise SettingsError(
            f"cannot listen on 127.0.0.1:{port}: {exc.strerror}; choose another --port"
        ) from None
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    tell_next(server.server_port, file)
    server.serve_forever()


def tell_next(port: int, ledger: Path) -> None:
    """The next command, for people."""
    where = "" if port == PORT else f" --base-url http://127.0.0.1:{port}/v1"
    lines = (
        "This plays an image service on this machine: no key, no bill, nothing leaves.",
        "In another terminal:",
        f"  verax restore photo.jpg --gateway test{where} --model gpt-image-2.6-flare",
        f'  verax edit photo.jpg "remove the haze" --gateway test{where}',
        f"What it would have billed is in {ledger}. Ctrl-C ends it.",
    )
    print("\n".join(lines), file=sys.stderr, flush=True)
