"""The methods a benchmark can name: each turns a photo (and a prior) into an output.

To add one, write a function and give it a line in METHODS; raise its version when its results
change, so that stored outputs are not taken for its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from verax import pipeline, restorers, weights
from verax.errors import choose
from verax.geometry.register import apply, register
from verax.image import Image
from verax.image.pixels import resize_picture

LOW_BAND_SIGMA = 0.02  # of the width


@dataclass(frozen=True, slots=True)
class Output:
    """What a method gives: pixels, or None with the outcome that says why.

    `outcome` is "restored", "prior_not_placed" (the base stands in), or "abstained".
    """

    pixels: Image | None
    outcome: str = "restored"
    reason: str = ""
    registration: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Method:
    """A method: `run(photo, prior, argument, fidelity)`; the argument follows a colon.

    `alone`: it can also do without the prior that it takes.
    """

    run: Callable[[Image, Image | None, str, float], Output]
    what: str
    needs_prior: bool
    seconds_per_megapixel: float  # rough, for the estimate before a run
    version: int = 1
    alone: bool = False


def fitted(prior: Image, photo: Image) -> Image:
    """The prior resized to the photo's grid, nothing else (area down, cubic up)."""
    return resize_picture(prior, (photo.shape[1], photo.shape[0]))


def identity(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return Output(photo)


def restorer(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return Output(restorers.restore(photo, argument))


def raw_prior(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    return _absent() if prior is None else Output(fitted(prior, photo))


def registered_prior(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    if prior is None:
        return _absent()
    registration = register(photo, prior)
    record = registration.record()
    if registration.placed != "exactly":
        return Output(photo, "prior_not_placed", registration.reason, record)
    warped = apply(registration, prior, size=(photo.shape[1], photo.shape[0]))
    share = warped.valid[..., None]
    return Output(np.clip(warped.pixels * share + photo * (1 - share), 0, 1), registration=record)


def low_band(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The low band of the registered prior with the high band of the photo."""
    output = registered_prior(photo, prior, argument, fidelity)
    if output.pixels is None or output.outcome != "restored":
        return output
    sigma = LOW_BAND_SIGMA * photo.shape[1]
    low = cv2.GaussianBlur(output.pixels - photo, (0, 0), sigma)
    return Output(np.clip(photo + low, 0, 1), registration=output.registration)


def full(photo: Image, prior: Image | None, argument: str, fidelity: float) -> Output:
    """The pipeline itself, over another base where the argument names one."""
    name = argument or pipeline.DEFAULT_RESTORER
    result = pipeline.restore(photo, prior, restorer=name, fidelity=fidelity)
    registration = result.registration
    record = registration.record() if registration else None
    outcome = "prior_not_placed" if result.prior == "unused" else "restored"
    reason = registration.reason if registration and outcome != "restored" else ""
    return Output(result.pixels, outcome, reason, record, result.notes)


def _absent() -> Output:
    return Output(None, "abstained", "this item has no prior of the kind asked for")


METHODS: dict[str, Method] = {
    "identity": Method(identity, "the photo as it is: the do-nothing row", False, 0.1),
    "restorer": Method(restorer, "restorer:NAME, a restorer or a checkpoint file", False, 2.0),
    "raw-prior": Method(raw_prior, "the prior resized, nothing else", True, 0.2),
    "registered-prior": Method(registered_prior, "the prior on the photo's grid", True, 1.5),
    "low-band": Method(low_band, "low band of the prior, high band of the photo", True, 1.6),
    "full": Method(
        full,
        "the pipeline of verax restore; full:RESTORER for another base",
        True,
        4.0,
        version=3,
        alone=True,
    ),
}


@cache
def resolve(name: str) -> tuple[Method, str]:
    """A method and its argument from a name: full, full:dcp, restorer:clahe or just clahe."""
    head, _, argument = name.partition(":")
    known = METHODS | dict.fromkeys(restorers.RESTORERS, METHODS["restorer"])
    key = head.replace("_", "-")
    method = choose(known, key if key in METHODS else head, kind="method")
    return method, argument or (head if head in restorers.RESTORERS else "")


def files_of(name: str, prior: str = "") -> tuple[str, ...]:
    """The weights that a method's output depends on, so that other weights are another key."""
    head, argument = name.partition(":")[0].replace("_", "-"), resolve(name)[1]
    if argument.endswith(restorers.WEIGHTS):
        return (argument,) if Path(argument).is_file() else ()
    network = argument == pipeline.EMBEDDED or (head == "full" and not argument)
    if not network and prior != "own":
        return ()
    return tuple(str(weights.path(name)) for name in weights.FILES)


def version_of(name: str) -> str:
    """Method and version as they enter the key of a work item."""
    return f"{name}@{resolve(name)[0].version}"
