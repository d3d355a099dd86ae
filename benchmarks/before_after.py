"""Compare the speed of two versions of Verax: the same commands, run by both in turn.

python benchmarks/before_after.py BEFORE AFTER --rounds 5

BEFORE and AFTER are checkouts. Every command runs once per round under each of them, one after the
other, so that other load on the machine affects both. Prints the least processor time of all
rounds (user and system, all processes of the command), which hardly depends on the load.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from skimage import data

from verax import image as images
from verax.degrade import Degradation, apply
from verax.priors.simulated import simulate

RUN = "bench run --dataset set --task dehazing --method identity --method full --prior files"
COMMANDS = {
    "names": "names",
    "restore, no prior": "restore photo.png -o alone.png",
    "restore, with a prior": "restore photo.png --prior prior.png -o restored.png",
    "restore, with a report": "restore photo.png --prior prior.png -o r.png --report sheets",
    "register": "register photo.png prior.png",
    "measure": "measure photo.png prior.png --reference truth.png --report changes",
    "score": "score photo.png truth.png --metrics psnr,ms_ssim,fsim,niqe",
    "bench run, 8 items": f"{RUN} -o {{run}}",
    "bench report": "bench report {run} -o report.html",
    "bench export": "bench export {run} tables-{run}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sides = {"before": options.before.resolve(), "after": options.after.resolve()}
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder))
        for turn in range(options.rounds):
            for name, command in COMMANDS.items():
                for side, checkout in sides.items():
                    words = command.format(run=f"{side}-{turn}").split()
                    seconds = processor_time(words, checkout, Path(folder))
                    times.setdefault((name, side), []).append(seconds)
    print(f"{'':26}{'before':>9}{'after':>9}{'ratio':>8}")
    for name in COMMANDS:
        before, after = (min(times[name, side]) for side in sides)
        print(f"{name:26}{before:8.2f}s{after:8.2f}s{after / before:8.2f}")


def make_pictures(folder: Path) -> None:
    """Write a hazy photo with its reference and a prior, and a dataset of four pairs."""
    truth = images.from_uint8(data.astronaut())
    for side in ("input", "target", "generated"):
        (folder / "set" / side).mkdir(parents=True)
    for number in range(4):
        photo = apply(truth, Degradation("haze", 0.4 + 0.1 * number, number))
        prior = simulate(truth, seed=number).prior
        for side, pixels in (("input", photo), ("target", truth), ("generated", prior)):
            images.write(folder / "set" / side / f"{number}.png", pixels)
    for name, side in (("photo", "input"), ("truth", "target"), ("prior", "generated")):
        (folder / f"{name}.png").write_bytes((folder / "set" / side / "0.png").read_bytes())


def processor_time(words: list[str], checkout: Path, folder: Path) -> float:
    """Processor seconds of all processes of one command; exits with its errors if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "VERAX_HOME": str(folder)}
    before = os.times()
    command = [sys.executable, "-m", "verax", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: verax {' '.join(words)}\n{done.stderr}")
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


if __name__ == "__main__":
    main()
