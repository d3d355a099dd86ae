"""Compare every full-reference metric with piq, torchmetrics and scikit-image: value, CPU time.

    python benchmarks/metrics.py [--picture FILE] [--sizes 1024x1024,1028x1052] [--metrics ssim]

Crops of a picture, scikit-image's retina photo if none is given. Sizes with large prime factors
make Fourier transforms slow. piq needs torchvision, which cannot be
imported with a CPU-only torch unless its two operators are declared, as this script does.
Packages that are absent are left out of the table.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from verax.image import Image, read
from verax.metrics import METRICS

Call = Callable[[], float]
ROUNDS = 5
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def pair(picture: Path | None, width: int, height: int) -> tuple[Image, Image]:
    """The middle of a photo with blur and noise, and the same crop without."""
    if picture is None:
        whole = skimage.data.retina().astype(np.float32) / np.float32(255)
    else:
        whole = read(picture).pixels
    top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
    clean = np.ascontiguousarray(whole[top : top + height, left : left + width])
    noise = np.random.default_rng(0).normal(0, 0.03, clean.shape)
    degraded = np.clip(cv2.GaussianBlur(clean, (0, 0), 1.2) + noise, 0, 1)
    return degraded.astype(np.float32), clean


def peers(degraded: Image, clean: Image) -> dict[str, dict[str, Call]]:
    """For each metric, the functions of other packages that compute it, by package."""
    calls: dict[str, dict[str, Call]] = {name: {} for name in METRICS}
    options = {"data_range": 1, "channel_axis": 2}
    calls["ssim"]["scikit-image"] = partial(
        structural_similarity, clean, degraded, **options, **WANG
    )
    calls["psnr"]["scikit-image"] = partial(peak_signal_noise_ratio, clean, degraded, data_range=1)
    tensors = [torch.from_numpy(p.transpose(2, 0, 1)[None].copy()) for p in (degraded, clean)]
    for add in (add_torchmetrics, add_piq):
        try:
            add(calls, *tensors)
        except ImportError as exc:
            print(f"left out: {exc}")
    return calls


def add_torchmetrics(
    calls: dict[str, dict[str, Call]], ours: torch.Tensor, theirs: torch.Tensor
) -> None:
    from torchmetrics.functional import image as other

    name = "torchmetrics"
    calls["psnr"][name] = partial(other.peak_signal_noise_ratio, ours, theirs, data_range=1.0)
    calls["ssim"][name] = partial(
        other.structural_similarity_index_measure, ours, theirs, data_range=1.0
    )
    calls["ms_ssim"][name] = partial(
        other.multiscale_structural_similarity_index_measure, ours, theirs, data_range=1.0
    )
    calls["vif"][name] = partial(other.visual_information_fidelity, ours * 255, theirs * 255)


def add_piq(calls: dict[str, dict[str, Call]], ours: torch.Tensor, theirs: torch.Tensor) -> None:
    import piq

    calls["psnr"]["piq"] = partial(piq.psnr, ours, theirs)
    calls["ssim"]["piq"] = partial(piq.ssim, ours, theirs, downsample=False)
    calls["ms_ssim"]["piq"] = partial(piq.multi_scale_ssim, ours, theirs)
    calls["fsim"]["piq"] = partial(piq.fsim, ours, theirs)
    calls["gmsd"]["piq"] = partial(piq.gmsd, ours, theirs)
    calls["vif"]["piq"] = partial(piq.vif_p, ours, theirs)


def clock(call: Call) -> tuple[float, float]:
    """Value of a metric, and the best time of a call in ms."""
    value, best = float(call()), np.inf
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return value, best * 1e3


def declare_torchvision() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def table(degraded: Image, clean: Image, names: list[str]) -> None:
    megapixels = clean.shape[0] * clean.shape[1] / 1e6
    others = peers(degraded, clean)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        print(f"\n{clean.shape[1]}x{clean.shape[0]}, threads: {threads}")
        print(f"{'metric':15}{'verax':>20}   peers")
        for name in names:
            value, ours = clock(partial(METRICS[name].function, degraded, clean))
            row = f"{name:15}{ours / megapixels:9.1f} ({value:.5f})"
            times = []
            for package, call in others[name].items():
                with torch.inference_mode():
                    other_value, other = clock(call)
                times.append(other)
                row += f"   {package} {other / megapixels:.1f} ({other_value:.5f})"
            print(row + (f"   {min(times) / ours:.1f}x" if times else ""), flush=True)


def main() -> None:
    _library = declare_torchvision()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    full_reference = [n for n, m in METRICS.items() if m.needs == "reference" and not m.install]
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--sizes", default="1024x1024")
    parser.add_argument("--metrics", default=",".join(full_reference))
    options = parser.parse_args()
    print(f"ms per megapixel, best of {ROUNDS}; (value)")
    for size in options.sizes.split(","):
        width, height = (int(side) for side in size.split("x"))
        table(*pair(options.picture, width, height), options.metrics.split(","))


if __name__ == "__main__":
    main()
