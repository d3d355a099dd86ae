"""Write a trained network as an ONNX file that takes inputs of any size and holds metadata.

Before the file is written, its outputs are compared with those of torch on pictures of unusual
sizes. Weights are stored as 8-bit integers with a scale factor for each output channel, or as
float16. They are converted to float32 when the file is loaded, so speed does not change. The most
compact form is used that changes the outputs by a mean squared error of less than -60 dB; at a PSNR
of 40 dB that costs 0.05 dB at most.
"""

import hashlib
import json
import math
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from verax.errors import OutputError, RunError
from verax.restorers.nafnet import DETAIL_INPUTS
from verax.restorers.runtime import CONTRACTS, TASKS
from verax.training import TrainingRecipe
from verax.training.checkpoints import build, load_checkpoint

OPSET = 20
PARITY = 1e-4  # largest allowed difference to torch; pictures are in [0, 1]
SMALL, LARGE = 256, 2048  # number of weights: below SMALL they stay float32, from LARGE 8 bits
NOISE_FLOOR = -60.0  # dB: largest change of the outputs by compact weights
SIZES = ((5, 7), (3, 4), (9, 2))  # sizes to check, in multiples of the size rule
OUTPUTS = {
    "tone": ("transform", "severity"),
    "detail": ("residual", "gates", "severity"),
}


Precision = Literal["8-bit weights", "float16 weights", "float32"]
PRECISIONS: tuple[Precision, ...] = ("8-bit weights", "float16 weights", "float32")


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """An ONNX file that was written.

    Attributes:
        bytes: the file's size.
        precision: the form in which weights are stored, such as "8-bit weights".
        difference: largest absolute difference between its outputs and those of torch.
        sizes: (height, width) of the pictures with which the outputs were compared.
    """

    path: Path
    bytes: int
    precision: Precision
    difference: float
    sizes: tuple[tuple[int, int], ...]


def export(checkpoint: Path, path: Path) -> ExportSummary:
    """Write the network in a checkpoint, with its averaged weights, to the ONNX file `path`.

    Raises:
        SettingsError: `checkpoint` is not a checkpoint of `verax train`.
        RunError: the outputs of ONNX Runtime and torch differ; nothing is written.
        OutputError: the file cannot be written.
    """
    recipe, content = load_checkpoint(checkpoint)
    net = build(recipe)
    net.load_state_dict(content["average"])
    net.eval()
    model = _trace(net, recipe)
    model, precision = _narrow(model, recipe)
    _describe(model, recipe, content, precision)
    _round_weights(net, precision)
    data = model.SerializeToString()
    difference = _parity(data, net, recipe)
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise OutputError(
            f"{path}: cannot be written ({exc}); name another file, or free space"
        ) from exc
    return ExportSummary(path, len(data), precision, difference, _sizes(recipe))


def _trace(net: nn.Module, recipe: TrainingRecipe) -> onnx.ModelProto:
    names = OUTPUTS[recipe.network]
    dynamic = {name: {2: "height", 3: "width"} for name in ("input", *names) if name != "severity"}
    example = torch.from_numpy(_example(recipe, (4, 6)))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # the tracing exporter is deprecated, but its graph is faster and takes less memory
        warnings.simplefilter("ignore")
        file = Path(folder) / "net.onnx"
        torch.onnx.export(
            net,
            (example,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=list(names),
            dynamic_axes=dynamic,
        )
        return onnx.load(file)


def _narrow(model: onnx.ModelProto, recipe: TrainingRecipe) -> tuple[onnx.ModelProto, Precision]:
    """Store the model's weights as compactly as possible; returns the new model and their form.

    The form is "8-bit weights", "float16 weights" or "float32": the first that changes the outputs
    by a mean squared error below -60 dB. `recipe` is the one that the network was trained by.
    """
    example = _example(recipe, (8, 8))
    full = run(model.SerializeToString(), example)
    for precision in PRECISIONS[:-1]:
        narrow = narrow_weights(model, precision)
        answer = run(narrow.SerializeToString(), example)
        errors = [float(np.mean((a - b) ** 2)) for a, b in zip(full, answer, strict=True)]
        if 10 * math.log10(max(*errors, 1e-20)) < NOISE_FLOOR:
            return narrow, precision
    return model, "float32"


def narrow_weights(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """A copy of a float32 model that stores its weights in another form, such as "8-bit weights".

    They are converted back to float32 when the model is loaded.
    """
    narrow = onnx.ModelProto()
    narrow.CopyFrom(model)
    for tensor in list(narrow.graph.initializer):
        values = numpy_helper.to_array(tensor)
        stored = _stored_tensors(tensor.name, values, precision)
        if values.dtype != np.float32 or not stored:
            continue
        name, parts = tensor.name, [part.name for part in stored]
        narrow.graph.initializer.remove(tensor)
        narrow.graph.initializer.extend(stored)
        wide = name if len(parts) == 1 else f"{name}.wide"
        widen = onnx.helper.make_node("Cast", parts[:1], [wide], to=onnx.TensorProto.FLOAT)
        narrow.graph.node.insert(0, widen)
        if wide != name:
            narrow.graph.node.insert(1, onnx.helper.make_node("Mul", [wide, parts[1]], [name]))
    return narrow


def _stored_tensors(
    name: str, values: NDArray[np.float32], precision: Precision
) -> list[onnx.TensorProto]:
    """The tensors that replace the weight `name`, with these `values`, in a file of `precision`.

    They are [8-bit integers, their scale factors] or [values as float16]; empty for a weight that
    stays float32. In a file of 8-bit weights, small tensors are float16, very small ones float32.
    """
    if precision == "float32" or values.size < SMALL:
        return []
    if precision == "8-bit weights" and values.size >= LARGE and values.ndim > 1:
        levels, step = _levels(values)
        return [
            numpy_helper.from_array(levels, f"{name}.levels"),
            numpy_helper.from_array(step, f"{name}.step"),
        ]
    return [numpy_helper.from_array(values.astype(np.float16), f"{name}.half")]


def _levels(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round the values of a weight to multiples of a step, from -127 to 127 times the step.

    Returns the integers, and the step of each output channel (first axis), by which to multiply
    them; its other axes have length 1.
    """
    most = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True)
    step = np.maximum(most / 127, 1e-12).astype(np.float32)
    return np.rint(values / step).astype(np.int8), step


def _round_weights(net: nn.Module, precision: Precision) -> None:
    """Replace the network's weights by the values that a file of this precision stores.

    Then the outputs of the network and of the file can be compared.
    """
    with torch.no_grad():
        for name, weight in net.named_parameters():
            stored = [
                numpy_helper.to_array(t) for t in _stored_tensors(name, weight.numpy(), precision)
            ]
            if stored:
                wide = math.prod(part.astype(np.float32) for part in stored)
                weight.copy_(torch.from_numpy(wide))


def run(data: bytes, inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Run an ONNX model, given as the bytes of its file, on an input (1, C, H, W).

    Returns all its outputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"input": inputs})]


def _parity(data: bytes, net: nn.Module, recipe: TrainingRecipe) -> float:
    """The largest difference between the outputs of ONNX Runtime and torch on three test pictures.

    Raises RunError if it is 1e-4 or more. `data` holds the bytes of the ONNX file, `net` is the
    same network in torch, and `recipe` the one that it was trained by.
    """
    worst = 0.0
    for multiples in SIZES:
        inputs = _example(recipe, multiples)
        with torch.no_grad():
            expected = [output.numpy() for output in net(torch.from_numpy(inputs))]
        result = run(data, inputs)
        worst = max(
            worst, *(float(np.abs(a - b).max()) for a, b in zip(result, expected, strict=True))
        )
    if not worst < PARITY:
        raise RunError(
            f"export: expected equal outputs of ONNX Runtime and torch, got a difference of "
            f"{worst:.2g} ({PARITY:.0e} is allowed); nothing was written; install the package "
            "versions in constraints.txt"
        )
    return worst


def _describe(
    model: onnx.ModelProto, recipe: TrainingRecipe, content: dict[str, Any], precision: str
) -> None:
    weights = hashlib.sha256()
    for _, value in sorted(content["average"].items()):
        weights.update(value.contiguous().numpy().tobytes())
    facts = {
        "contract": CONTRACTS[recipe.network],
        "network": recipe.network,
        "multiple": str(recipe.shape.multiple),
        "tasks": json.dumps(list(TASKS)),
        "precision": precision,
        "recipe": json.dumps(recipe.as_dict() | {"data": [], "start": ""}, sort_keys=True),
        "steps": str(content["step"]),
        "commit": content.get("commit", ""),
        "data_sha256": content.get("data", ""),
        "data_licences": json.dumps(content.get("licences", [])),
        "weights_sha256": weights.hexdigest(),
    }
    onnx.helper.set_model_props(model, {f"verax.{key}": value for key, value in facts.items()})
    model.producer_name = "verax"


def _sizes(recipe: TrainingRecipe) -> tuple[tuple[int, int], ...]:
    multiple = recipe.shape.multiple
    return tuple((h * multiple, w * multiple) for h, w in SIZES)


def _example(recipe: TrainingRecipe, multiples: tuple[int, int]) -> NDArray[np.float32]:
    """An input (1, C, H, W) of the recipe's network: a smooth picture with noise, always the same.

    H and W are the two `multiples` times the number of px by which the network's input must be
    divisible.
    """
    height, width = (m * recipe.shape.multiple for m in multiples)
    planes = {"tone": 3, "detail": DETAIL_INPUTS}[recipe.network]
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(max(height, width))
    picture = np.stack([x, y, 0.5 + 0.3 * np.sin(9 * x * y)])
    picture = np.clip(picture + rng.normal(0, 0.05, picture.shape), 0, 1).astype(np.float32)
    inputs = np.zeros((1, planes, height, width), np.float32)
    inputs[0, :3] = picture
    if planes > 3:
        inputs[0, 3:6] = picture
    return inputs
