"""Seconds and peak memory of the embedded networks, beside NAFNet-width32 through torch.

    python benchmarks/network_speed.py [--threads 2] [--sides 512,1024] [--large]

Each measurement runs in a process of its own, because peak memory is that of a process. The NAFNet
row needs torch and spandrel, which defines the architecture; its weights are random, because speed
does not depend on them. --large adds 24 MP. The last line is JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from skimage import data

REPEATS = 3
LARGE = (4000, 6000)


def embedded(photo: np.ndarray) -> Callable[[], object]:
    from verax.restorers import network

    return lambda: network.restore(photo)


def nafnet(photo: np.ndarray) -> Callable[[], object]:
    import torch

    from verax import restorers

    restorers.spandrel()
    from spandrel.architectures.NAFNet import NAFNet

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    net = NAFNet(
        width=32, middle_blk_num=12, enc_blk_nums=[2, 2, 4, 8], dec_blk_nums=[2, 2, 2, 2]
    ).eval()
    planes = torch.from_numpy(photo).permute(2, 0, 1)[None]

    def run() -> object:
        with torch.inference_mode():
            return net(planes)

    return run


METHODS = {"embedded": embedded, "nafnet-width32": nafnet}


def measure(method: str, height: int, width: int) -> dict[str, float]:
    """Shortest time of a few runs after a warm-up, and the peak memory of this process."""
    photo = cv2.resize(data.astronaut().astype(np.float32) / 255, (width, height))
    run = METHODS[method](photo)
    seconds = []
    for _ in range(REPEATS + 1 if height * width < 4e6 else 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(min(seconds), 3), "peak_mb": round(peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default="512,1024")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.one:
        print(json.dumps(measure(words.one[0], int(words.one[1]), int(words.one[2]))))
        return
    sizes = [(int(side), int(side)) for side in words.sides.split(",")]
    jobs = [(m, *size) for size in sizes for m in METHODS]
    jobs += [("embedded", *LARGE)] if words.large else []
    environment = os.environ | {"OMP_NUM_THREADS": str(words.threads)}
    rows = []
    for job in jobs:
        command = [sys.executable, __file__, "--one", *map(str, job)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{job[0]:16} {job[1]}x{job[2]}: {done.stderr.strip().splitlines()[-1]}")
            continue
        timings = json.loads(done.stdout.splitlines()[-1])
        print(f"{job[0]:16} {job[1]}x{job[2]}: {timings['seconds']} s, {timings['peak_mb']} MB")
        rows.append({"method": job[0], "height": job[1], "width": job[2]} | timings)
    print(json.dumps({"threads": words.threads, "rows": rows}))


if __name__ == "__main__":
    main()
