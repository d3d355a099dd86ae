"""Fit the fault classifier, and write it as a network file.

    python benchmarks/fit_judge.py PHOTOS REAL [--samples 6000] -o judge.onnx

PHOTOS holds photos without degradation (NAME.depth.png beside NAME.jpg: millimetres); REAL has a
folder of real photos per fault (haze, underwater, raindrop, ..., "clean" for their references).
Each sample is drawn once (judge_samples.py); three small networks are trained on the inputs of the
classifier, and their mean is written. Three in ten photos, by the hash of their names, are held out
for the table. The tone network must have its pooled features as an output: `--features TONE` gives
a tone file of `verax export` that output.
"""

import argparse
import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from judge_samples import SHARES, VISIBLE, Photo, Sample, cut, sample
from verax.image import read, to_uint8
from verax.restorers import runtime
from verax.restorers.faults import facts
from verax.restorers.measures import measure
from verax.restorers.runtime import CONTRACTS, TASKS
from verax.training.export import OPSET, narrowed

LONGEST = 900  # px of a photo that is drawn from
VIEWS, REAL = 6, 0.7  # views of a real photo, and their weight
NETS, EPOCHS, BATCH, RATE, DECAY = 3, 30, 64, 2e-3, 0.05
WIDTHS = (96, 48)
FARTHEST = 4.0  # standard deviations at which an input is clipped
COSTS = (2.0, 1.5, 1.2, 2.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.2)  # of a false one, by TASKS
UNSEEN = 0.35  # share of VISIBLE below which a fault has no label
HIDES = {  # faults without a label beside another one, which hides or includes them
    "haze": ("noise",), "rain": ("haze", "noise"), "snow": ("haze", "noise"),
    "raindrop": ("defocus_blur",), "lowlight": ("noise",), "noise": ("jpeg",), "jpeg": ("noise",),
    "underwater": ("haze", "noise", "defocus_blur"),
}  # fmt: skip

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """Inputs of the judge for a sample, the right answers, how much each weighs."""

    inputs: Floats
    answers: Floats
    weights: Floats
    held_out: bool


def row(sample: Sample, name: str, weight: float = 1.0) -> Row:
    answers = np.zeros(len(TASKS), np.float32)
    weights = np.full(len(TASKS), weight, np.float32)
    for fault in filter(None, (sample.fault, sample.besides)):
        index = TASKS.index(fault)
        visible = sample.visible / VISIBLE[fault] if fault == sample.fault else 1.5
        answers[index] = visible > 1
        if UNSEEN < visible <= 1:
            weights[index] = 0
        weights[[TASKS.index(other) for other in HIDES.get(fault, ())]] = 0
    tone = runtime.embedded("tone")
    small = runtime.thumbnail(sample.pixels, tone.multiple)
    _, severities, features = runtime.look(small, tone)
    outputs = np.concatenate([features, severities])
    inputs = facts(sample.pixels, small, outputs, measure(sample.pixels))
    held_out = int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 >= 7
    return Row(inputs, answers, weights, held_out)


def simulated(photos: list[Photo], count: int, rng: Generator) -> Iterator[Row]:
    kinds, shares = list(SHARES), np.array(list(SHARES.values()))
    measured = [photo for photo in photos if photo.depth is not None]
    for _ in range(count):
        fault = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        among = measured if measured and fault == "haze" and rng.random() < 0.2 else photos
        photo = among[int(rng.integers(len(among)))]
        yield row(sample(photo, fault, rng), photo.name)


def real(folder: Path, rng: Generator) -> Iterator[Row]:
    """Views of the real photos of each fault's folder."""
    for file in pictures(folder):
        fault = "" if file.parent.name == "clean" else file.parent.name
        photo = Photo(file.name, to_uint8(read(file).pixels))
        for _ in range(VIEWS):
            view, _ = cut(photo, rng, most=1.0)
            yield row(Sample(view, fault, "", 1.5 * VISIBLE.get(fault, 0)), file.name, REAL)


def pictures(folder: Path) -> list[Path]:
    files = (f for f in folder.rglob("*") if f.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return sorted(file for file in files if not file.name.endswith(".depth.png"))


def opened(file: Path) -> Photo:
    photo = read(file).pixels
    scale = min(1.0, LONGEST / max(photo.shape[:2]))
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    depth = cv2.imread(str(file.with_suffix(".depth.png")), cv2.IMREAD_UNCHANGED)
    if depth is not None:
        depth = cv2.resize(depth.astype(np.float32) / 1000, small.shape[1::-1])
    return Photo(file.name, to_uint8(np.asarray(np.clip(small, 0, 1), np.float32)), depth)


class Judge(nn.Module):
    """Log-odds of TASKS from inputs (b, n): the mean of NETS small networks."""

    def __init__(self, inputs: Floats) -> None:
        super().__init__()
        self.middle: Tensor
        self.scale: Tensor
        self.register_buffer("middle", torch.from_numpy(inputs.mean(0)))
        self.register_buffer("scale", torch.from_numpy(1 / (inputs.std(0) + 1e-3)))
        sizes = (inputs.shape[1], *WIDTHS)
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(0.15), nn.Linear(sizes[0], sizes[1]), nn.ReLU(),
                nn.Dropout(0.25), nn.Linear(sizes[1], sizes[2]), nn.ReLU(),
                nn.Linear(sizes[2], len(TASKS)),
            )
            for _ in range(NETS)
        )  # fmt: skip

    def scaled(self, inputs: Tensor) -> Tensor:
        return ((inputs - self.middle) * self.scale).clamp(-FARTHEST, FARTHEST)

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = self.scaled(inputs)
        return torch.stack([net(scaled) for net in self.nets]).mean(0)


def fitted(rows: list[Row]) -> Judge:
    judge = Judge(np.stack([one.inputs for one in rows]))
    inputs = judge.scaled(torch.from_numpy(np.stack([one.inputs for one in rows])))
    answers = torch.from_numpy(np.stack([one.answers for one in rows]))
    weights = torch.from_numpy(np.stack([one.weights for one in rows]))
    weights = weights * torch.where(answers > 0.5, 1.0, torch.tensor(COSTS))
    steps = EPOCHS * (len(rows) // BATCH)
    for net in judge.nets:
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(rows)).split(BATCH)[: len(rows) // BATCH]:
                noisy = inputs[batch] + 0.05 * torch.randn(len(batch), inputs.shape[1])
                losses = functional.binary_cross_entropy_with_logits(
                    net(noisy), answers[batch] * 0.98 + 0.005, reduction="none"
                )
                loss = (losses * weights[batch]).sum() / BATCH
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
    return judge.eval()


def report(judge: Judge, rows: list[Row]) -> None:
    """Of held-out samples: the share of each fault found where one in a hundred without it is."""
    with torch.no_grad():
        odds = judge(torch.from_numpy(np.stack([one.inputs for one in rows]))).numpy()
    answers = np.stack([one.answers for one in rows]) > 0.5
    weighted = np.stack([one.weights for one in rows]) > 0
    for index, task in enumerate(TASKS):
        right = odds[weighted[:, index] & answers[:, index], index]
        wrong = odds[weighted[:, index] & ~answers[:, index], index]
        limit = float(np.quantile(wrong, 0.99)) if wrong.size else 0.0
        print(f"{task:13s} {np.mean(right > limit):.2f} of {right.size} above {limit:.2f}")


def written(judge: Judge, rows: list[Row], licences: list[str], path: Path) -> None:
    example = torch.zeros(1, judge.middle.numel())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, its graph is faster
        file = Path(folder) / "judge.onnx"
        torch.onnx.export(
            judge, (example,), file, dynamo=False, opset_version=OPSET,
            input_names=["input"], output_names=["odds"],
        )  # fmt: skip
        model = narrowed(onnx.load(file), "8-bit weights")
    described = {
        "network": "judge", "contract": CONTRACTS["judge"], "multiple": "1",
        "tasks": json.dumps(list(TASKS)), "precision": "8-bit weights",
        "data_sha256": hashlib.sha256(np.stack([one.inputs for one in rows]).tobytes()).hexdigest(),
        "data_licences": json.dumps(licences),
    }  # fmt: skip
    helper.set_model_props(model, {f"verax.{key}": value for key, value in described.items()})
    model.producer_name = "verax"
    path.write_bytes(model.SerializeToString())


def with_features(model: onnx.ModelProto) -> onnx.ModelProto:
    """A tone network that also answers mean, deviation, most and least of its coarsest planes."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("real", type=Path, nargs="?")
    parser.add_argument("--features", type=Path, metavar="TONE")
    parser.add_argument("--licence", action="append", default=[], help="of the photos; repeat it")
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    if args.features:
        args.output.write_bytes(with_features(onnx.load(args.features)).SerializeToString())
        return
    if not (args.photos and args.real):
        parser.error("expected PHOTOS and REAL, or --features TONE")
    rng = np.random.default_rng(20261128)
    torch.manual_seed(1)
    photos = [opened(file) for file in pictures(args.photos)]
    rows = [*simulated(photos, args.samples, rng), *real(args.real, rng)]
    judge = fitted([one for one in rows if not one.held_out])
    report(judge, [one for one in rows if one.held_out])
    written(judge, rows, args.licence, args.output)


if __name__ == "__main__":
    main()
