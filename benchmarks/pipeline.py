"""Time and peak memory of `verax restore` at 1, 4 and 24 megapixels; registration beside peers.

    python benchmarks/pipeline.py [--sizes 1,24] [--runs 3] [--pictures DIR]

"restore" is the time from reading two files to writing one, with default settings, in a process
that has loaded the models. "first" is that time for the first picture of a size in a process, which
is longer because the system has to provide memory. The stages are timed one by one afterwards.
Their sum is larger than "restore", which runs faces and faults beside registration. Each size has a
process of its own, because peak memory is that of a process. The photo is scikit-image's coffee
(CC0) enlarged and darkened, the prior is simulated. With a folder of real pictures (one that holds
a manifest.csv), registration is also set beside SIFT+MAGSAC and ECC on the same real pairs. The
last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {1: (1224, 816), 4: (2448, 1632), 24: (6000, 4000)}  # megapixels: width, height
TARGETS = {1: "1.0 s, registration 0.2 s", 24: "12 s, 2.5 GB"}  # by megapixels


def make_files(folder: Path, width: int, height: int) -> tuple[Path, Path]:
    """A dark photo and its simulated prior of the given size, as JPEG files."""
    import cv2
    import numpy as np
    from skimage import data

    from verax import degrade
    from verax import image as images
    from verax.priors.simulated import simulate

    clean = images.from_uint8(data.coffee())
    prior = simulate(clean, seed=3).prior
    photo = degrade.apply(clean, degrade.Degradation("lowlight", 0.5, 3))
    large = np.clip(cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    images.write(folder / "photo.jpg", large)
    images.write(folder / "prior.png", prior)
    return folder / "photo.jpg", folder / "prior.png"


def measure(photo: str, prior: str) -> dict[str, float]:
    """Seconds and peak memory of one restoration in this process, its models loaded; then of each
    of its stages alone."""
    from verax import image as images
    from verax import pipeline

    # copies, for a view would keep its whole picture in memory
    small = [images.read(path).pixels[::8, ::8].copy() for path in (photo, prior)]
    pipeline.restore(*small)  # loads the models

    def seconds() -> float:
        start = time.perf_counter()
        result = pipeline.restore(photo, prior)
        images.write(Path(photo).with_name("out.jpg"), result.pixels, like=result.photo)
        return time.perf_counter() - start

    first = seconds()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux
    rest = {"first": first, "restore": seconds(), "peak_gb": peak}
    return {**stages(photo, prior), **rest}


def stages(photo: str, prior: str) -> dict[str, float]:
    """Seconds of each stage; `restore` runs some of them side by side."""
    from verax import image as images
    from verax.faces import find_faces
    from verax.fusion.fuse import fuse
    from verax.geometry.register import apply, register
    from verax.prints.colour import toning
    from verax.prints.damage import find_damage
    from verax.restorers import network
    from verax.restorers.faults import diagnose

    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def mark(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage], last = now - last, now

    fixed, moving = images.read(photo), images.read(prior)
    mark("read")
    registration = register(fixed.pixels, moving.pixels)
    mark("registration")
    warped = apply(registration, moving.pixels, size=(fixed.width, fixed.height))
    mark("warp")
    find_faces(fixed.pixels)
    mark("faces")
    grey = toning(fixed.pixels) != "colour"
    find_damage(fixed.pixels, warped.pixels, warped.valid, colour=not grey)
    mark("damage")
    faults = diagnose(fixed.pixels)
    mark("faults")
    base, lit = network.structure(fixed.pixels, faults), network.lit_copy(fixed.pixels, faults)
    mark("base")
    fused = fuse(fixed.pixels, base, warped, registration, lit=lit, faults=faults)
    mark("fusion")
    images.write(Path(photo).with_name("out.jpg"), fused.pixels, like=fixed)
    mark("write")
    return seconds


def run_size(megapixels: int, runs: int) -> dict[str, float]:
    """Seconds and memory of one size: medians of `runs` runs, each in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), *SIZES[megapixels])
        command = [sys.executable, __file__, "--measure", *map(str, files)]
        rows = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(runs)
        ]
    return sorted(rows, key=lambda row: row["restore"])[len(rows) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of real pictures with manifest.csv")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", default="1,4,24", help="megapixels")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    rows = {size: run_size(size, options.runs) for size in sizes}
    columns = list(next(iter(rows.values())))
    print("MP".rjust(4) + "".join(name.rjust(14) for name in columns))
    for size, row in rows.items():
        print(f"{size:4d}" + "".join(f"{row[name]:14.2f}" for name in columns))
    print("targets: " + "; ".join(f"{size} MP {words}" for size, words in TARGETS.items()))
    beside = None
    if options.pictures:
        from registration import beside_peers

        beside = beside_peers(options.pictures)
    print(json.dumps({"megapixels": rows, "beside_peers": beside}))


if __name__ == "__main__":
    main()
