"""Photo to base: restoration without a prior."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from verax.errors import choose
from verax.image import Image, check_image

if TYPE_CHECKING:
    from verax.restorers.faults import Faults

Restorer = Callable[[Image], Image]

EMBEDDED = "network"

EXPORTED = ".onnx"  # of `verax export`
WEIGHTS = (".pth", ".pt", ".safetensors", ".ckpt", EXPORTED)  # a restorer's name may be such a file


def none(photo: Image) -> Image:
    """The photo itself."""
    return photo


def lazy(name: str, module: str = "classical") -> Restorer:
    """A restorer of `verax.restorers.<module>`, imported when first used."""

    def restorer(photo: Image) -> Image:
        found: Restorer = getattr(import_module(f"verax.restorers.{module}"), name)
        return found(photo)

    restorer.__name__ = name
    return restorer


RESTORERS: dict[str, Restorer] = {
    "none": none,
    "auto_levels": lazy("auto_levels"),
    "clahe": lazy("clahe"),
    "dcp": lazy("dcp"),
    "gamma": lazy("gamma"),
    "guided_derain": lazy("guided_derain"),
    "lime": lazy("lime"),
    EMBEDDED: lazy("restore", "network"),
    "nlm": lazy("nlm"),
}


def restore(photo: Image, name: str = "none", *, faults: "Faults | None" = None) -> Image:
    """The base: the photo restored without a prior.

    `name` is a key of RESTORERS, or the path of a weights file: of `verax train`, of
    `verax export`, or one that spandrel knows. `faults` is what
    `verax.restorers.faults.diagnose` says of the photo, where it was looked at already.
    """
    check_image(photo, name="photo")
    if name == EMBEDDED:
        from verax.restorers import network

        return network.restore(photo, faults)
    if name.endswith(EXPORTED):
        from verax.restorers import network, runtime

        return network.by_network(photo, runtime.open_network(Path(name)))
    if name.endswith(WEIGHTS):
        from verax.restorers import checkpoint

        return checkpoint.restore(photo, Path(name))
    return choose(RESTORERS, name, kind="restorer")(photo)
