"""The nodes. ComfyUI hands pictures over as (B, H, W, 3) float tensors in [0, 1]."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import verax
from verax.image import Image
from verax.report.sheet import trust_picture

Inputs = dict[str, dict[str, Any]]
PICTURE = ("IMAGE",)
FIDELITY = ("FLOAT", {"default": 0.75, "min": 0.0, "max": 1.0, "step": 0.05})


def pairs(photo: Tensor, prior: Tensor) -> Iterator[tuple[Image, Image]]:
    """Photo and prior of every place in a batch; a single prior serves every photo."""
    priors = prior if len(prior) == len(photo) else prior[:1].expand(len(photo), -1, -1, -1)
    for one, other in zip(photo, priors, strict=True):
        yield array(one), array(other)


def array(picture: Tensor) -> Image:
    """One picture of a batch as Verax takes it."""
    return np.ascontiguousarray(picture[..., :3].clamp(0, 1).cpu().numpy(), np.float32)


def batch(pictures: Sequence[NDArray[np.float32]]) -> Tensor:
    """Pictures of one size as ComfyUI takes them."""
    return torch.from_numpy(np.stack(pictures))


class Register:
    """Lay a prior on the photo's grid."""

    TITLE = "Verax: register"
    CATEGORY = "verax"
    RETURN_TYPES = ("IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("registered", "confidence", "report")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"photo": PICTURE, "prior": PICTURE}}

    def run(self, photo: Tensor, prior: Tensor) -> tuple[Tensor, Tensor, str]:
        pictures, masks, reports = [], [], []
        for ours, theirs in pairs(photo, prior):
            registration = verax.register(ours, theirs)
            pictures.append(verax.warp(theirs, registration))
            masks.append(np.asarray(registration.confidence, np.float32))
            reports.append(registration.record())
        return batch(pictures), batch(masks), json.dumps(reports)


class Restore:
    """Restore a photo; a prior is taken where it shows the same scene."""

    TITLE = "Verax: restore"
    CATEGORY = "verax"
    RETURN_TYPES = ("IMAGE", "IMAGE", "STRING")
    RETURN_NAMES = ("restoration", "trust map", "report")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {
            "required": {"photo": PICTURE, "fidelity": FIDELITY},
            "optional": {"prior": PICTURE},
        }

    def run(
        self, photo: Tensor, fidelity: float, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor, str]:
        every = [(array(p), None) for p in photo] if prior is None else pairs(photo, prior)
        results = [verax.restore(ours, theirs, fidelity=fidelity) for ours, theirs in every]
        return (
            batch([result.pixels for result in results]),
            batch([trust_picture(result.trust) for result in results]),
            json.dumps([result.record() for result in results]),
        )


class Measure:
    """Measure what a generated picture changed."""

    TITLE = "Verax: measure"
    CATEGORY = "verax"
    RETURN_TYPES = ("FLOAT", "STRING", "STRING")
    RETURN_NAMES = ("drift", "sentences", "report")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"photo": PICTURE, "generated": PICTURE}}

    def run(self, photo: Tensor, generated: Tensor) -> tuple[float, str, str]:
        deviations = [verax.measure(ours, theirs) for ours, theirs in pairs(photo, generated)]
        drift = max(deviation.drift for deviation in deviations)
        sentences = "\n".join(line for deviation in deviations for line in deviation.sentences())
        return drift, sentences, json.dumps([deviation.record() for deviation in deviations])


class TrustMap:
    """Where the restoration comes from: the trust map alone, in colours."""

    TITLE = "Verax: trust map"
    CATEGORY = "verax"
    RETURN_TYPES = PICTURE
    RETURN_NAMES = ("trust map",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return {"required": {"photo": PICTURE, "prior": PICTURE, "fidelity": FIDELITY}}

    def run(self, photo: Tensor, prior: Tensor, fidelity: float) -> tuple[Tensor]:
        every = pairs(photo, prior)
        results = [verax.restore(ours, theirs, fidelity=fidelity) for ours, theirs in every]
        return (batch([trust_picture(result.trust) for result in results]),)


NODES = (Register, Restore, Measure, TrustMap)
