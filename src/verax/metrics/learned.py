"""Learned metrics, through packages and weights that the user installs.

Nothing here is a dependency: pyiqa is licensed for non-commercial use only, and the weights come
from its own download. Scores carry pyiqa's version.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from verax.errors import InputError, MissingExtraError
from verax.image import Image

PYIQA_NAMES = {
    "lpips": "lpips",
    "dists": "dists",
    "st_lpips": "stlpips",
    "musiq": "musiq",
    "clip_iqa": "clipiqa",
    "a_fine": "afine",
}


def library_version() -> str:
    """pyiqa's version, empty when it is not installed."""
    try:
        return version("pyiqa")
    except PackageNotFoundError:
        return ""


def learned(name: str) -> Callable[..., float]:
    """The metric as a function of one or two pictures; it says what is missing when called."""

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
            f"{name} needs a learned model, which Verax does not ship: pip install pyiqa "
            f"(licensed for non-commercial use only), then run it once with network access so "
            f"that it can fetch its weights"
        ) from exc
    try:
        model: Callable[..., float] = pyiqa.create_metric(
            PYIQA_NAMES[name], device=torch.device("cpu")
        )
    except (OSError, RuntimeError, ValueError, KeyError) as exc:
        raise InputError(
            f"{name}: pyiqa {library_version()} could not load {PYIQA_NAMES[name]!r} ({exc}); "
            f"its weights file is missing or the name is unknown to this version"
        ) from exc
    return model


def _tensor(picture: Image) -> object:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
