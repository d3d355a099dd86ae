"""Restorers make the base from a photo, without a prior. `restore` takes the name of a method or
the path of a weights file: a checkpoint of `verax train`, a network of `verax export`, or a
checkpoint that spandrel can read.

spandrel (MIT) recognises about fifty restoration architectures by their weights. No code in a file
is run. A network that changes the size (super-resolution) raises an error, since a base has the
photo's size.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import numpy as np

from verax.errors import SettingsError, choose, missing_extra
from verax.image import Image, check_image
from verax.restorers import classical, network, runtime
from verax.restorers.faults import Faults
from verax.restorers.runtime import tiles

EMBEDDED = "network"
EXPORTED = ".onnx"  # of `verax export`
WEIGHTS = (".pth", ".pt", ".safetensors", ".ckpt", EXPORTED)  # files accepted in place of a name

TILE = 512
# what torch raises for a file that is not a checkpoint
NO_CHECKPOINT = (
    OSError, EOFError, KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError,
    UnpicklingError,
)  # fmt: skip
OVERLAP = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network that spandrel loaded. Called with a photo, it returns the base.

    `descriptor` is spandrel's object, which pads its input and crops its output. `architecture` is
    the name of the network's architecture. `device` is "cuda" or "cpu"."""

    descriptor: Any
    architecture: str
    device: str

    def __call__(self, photo: Image) -> Image:
        """The base (H, W, 3) of a photo, in [0, 1], computed tile by tile."""
        out = np.empty_like(photo)
        for outer, inner in tiles(*photo.shape[:2], tile=TILE, overlap=OVERLAP):
            part = self._run(photo[outer])
            top, left = (i.start - o.start for i, o in zip(inner, outer, strict=True))
            height, width = (i.stop - i.start for i in inner)
            out[inner] = part[top : top + height, left : left + width]
        return out

    def _run(self, tile: Image) -> Image:
        import torch

        planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(tile, 2, 0)))[None]
        with torch.inference_mode():
            restored = self.descriptor(planes.to(self.device))[0].float().cpu().numpy()
        return np.asarray(np.clip(np.moveaxis(restored, 0, 2), 0.0, 1.0), np.float32)


@lru_cache(maxsize=2)
def load(path: Path) -> Checkpoint:
    """The network in a weights file that spandrel can read.

    Raises:
        MissingExtraError: spandrel or torch is not installed.
        SettingsError: spandrel cannot read the file, or the network changes the size or the
            channels of a picture.
    """
    try:
        import torch

        known = spandrel()
    except ImportError as exc:
        raise missing_extra("restoring with a weights file", "checkpoint") from exc
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        descriptor = known.ModelLoader(device=device).load_from_file(path)
    except Exception as exc:  # spandrel, torch and safetensors each raise their own types
        raise SettingsError(
            f"{path}: expected a checkpoint of `verax train` or weights that spandrel knows; "
            f"choose another file ({exc})"
        ) from exc
    name = str(descriptor.architecture.name)
    colour = descriptor.input_channels == descriptor.output_channels == 3
    restores = isinstance(descriptor, known.ImageModelDescriptor) and descriptor.scale == 1
    if not (restores and colour):
        raise SettingsError(
            f"{path}: expected a network that turns RGB into RGB of the same size, got {name}, "
            f"which enlarges {descriptor.scale} times and turns {descriptor.input_channels} "
            f"channels into {descriptor.output_channels}: choose another file"
        )
    return Checkpoint(descriptor.eval(), name, device)


def spandrel() -> Any:  # noqa: ANN401  # a module
    """The library spandrel; raises ImportError if it is not installed.

    Two of its fifty architectures (LaMa, RestoreFormer) import torchvision, whose build must match
    torch. Without torchvision, empty modules stand in for it, and only these two cannot run.
    """
    absent = find_spec("torchvision") is None
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    if absent:
        stand_ins = {name: ModuleType(name) for name in names}
        vars(stand_ins[names[-1]]).update(InterpolationMode=None, rotate=None, normalize=None)
        sys.modules.update(stand_ins)
    try:
        return import_module("spandrel")
    finally:
        for name in names if absent else ():
            del sys.modules[name]


@dataclass(frozen=True, slots=True)
class TorchSession:
    """A torch network with the method `run` of an ONNX Runtime session, so that either can be
    used."""

    net: Any

    def run(self, _names: None, inputs: dict[str, runtime.Floats]) -> list[runtime.Floats]:
        import torch

        with torch.inference_mode():
            return [output.numpy() for output in self.net(torch.from_numpy(inputs["input"]))]


@lru_cache(maxsize=2)
def load_trained(path: Path) -> runtime.Network | None:
    """The network in a checkpoint of `verax train`, with the weights averaged over the training;
    None if the file is no such checkpoint. Raises MissingExtraError if torch is not installed."""
    try:
        import torch
    except ImportError as exc:
        raise missing_extra("restoring with a weights file", "checkpoint") from exc
    from verax.restorers import nafnet

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        recipe, average = content["recipe"], content["average"]
        kind = str(recipe["network"])
        shape = runtime.Shape(**recipe["shape"] | {"widths": tuple(recipe["shape"]["widths"])})
        net: Any = {"tone": nafnet.ToneNet, "detail": nafnet.DetailNet}[kind](shape)
        net.load_state_dict(average)
    except NO_CHECKPOINT:
        return None
    return runtime.Network(TorchSession(net.eval()), kind, shape.multiple, runtime.TASKS)


def describe(path: Path) -> str:
    """What a weights file holds, in words, such as "tone network of `verax train`". Raises
    SettingsError if the file holds no restorer."""
    if path.suffix == EXPORTED:
        return f"{runtime.open_network(path).kind} network of `verax export`"
    own = None if path.suffix == ".safetensors" else load_trained(path)
    if own is not None:
        return f"{own.kind} network of `verax train`"
    return f"{load(path).architecture}, read by spandrel"


def by_checkpoint(photo: Image, path: Path) -> Image:
    """The base (H, W, 3) of a photo by the network in a checkpoint file: of `verax train`, or any
    that spandrel can read."""
    own = None if path.suffix == ".safetensors" else load_trained(path)
    return load(path)(photo) if own is None else network.by_network(photo, own)


RESTORERS: dict[str, Callable[[Image], Image]] = {
    "none": lambda photo: photo,
    "auto_levels": classical.auto_levels,
    "clahe": classical.clahe,
    "dcp": classical.dcp,
    "gamma": classical.gamma,
    "guided_derain": classical.guided_derain,
    "lime": classical.lime,
    EMBEDDED: network.restore,
    "nlm": classical.nlm,
}


def restore(photo: Image, name: str = "none", *, faults: Faults | None = None) -> Image:
    """The base (H, W, 3): the photo restored without a prior.

    `name` is "none", "auto_levels", "clahe", "dcp", "gamma", "guided_derain", "lime", "nlm" or
    "network" (the embedded networks); or it is the path of a weights file that ends with .pth, .pt,
    .safetensors, .ckpt or .onnx. Another name raises InputError. `faults`: what
    `verax.restorers.faults.diagnose` returned for the photo; None: the embedded networks call it
    themselves."""
    check_image(photo, name="photo")
    if name == EMBEDDED:
        return network.restore(photo, faults)
    if name.endswith(EXPORTED):
        return network.by_network(photo, runtime.open_network(Path(name)))
    if name.endswith(WEIGHTS):
        return by_checkpoint(photo, Path(name))
    return choose(RESTORERS, name, kind="restorer")(photo)
