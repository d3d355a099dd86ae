"""Fit the fault classifier, and write it as a network file.

    python benchmarks/fit_judge.py PHOTOS REAL --front CHECKPOINT [--samples 6000] -o judge.onnx

PHOTOS holds photos without degradation (with NAME.depth.png, in millimetres, beside NAME.jpg if
measured). REAL has a folder of real photos per fault (haze, underwater, raindrop, ...), and "clean"
for their references. Each sample is drawn once (judge_samples.py). Two groups of small networks are
trained: one on textures and measurements, one on features of the first stages of EfficientNet-Lite0
(backbone.py; CHECKPOINT has its weights). The file averages each group, and weighs both groups by
fault. Three in ten photos, by the hash of their names, are held out for the printed table. The tone
network must output its pooled features: `--features TONE` adds that output to an exported file.
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
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

from backbone import Front, front, padded_by_convs, with_features
from judge_samples import SHARES, VISIBLE, Photo, Sample, cut, sample
from verax.image import read, to_uint8
from verax.restorers import runtime
from verax.restorers.faults import CLOSE, clues
from verax.restorers.measures import measure
from verax.restorers.runtime import CONTRACTS, TASKS
from verax.training.export import OPSET, narrow_weights

LONGEST = 900  # px of a photo that is drawn from
VIEWS, REAL = 6, 0.7  # views of a real photo, and their weight
NETS, EPOCHS, BATCH, RATE, DECAY = 3, 30, 64, 2e-3, 0.05
WIDTHS = (96, 48)
FARTHEST = 4.0  # inputs are clipped at this number of standard deviations
SIGHT = {  # weight of what the front sees; the rest is the other group's
    "raindrop": 1.0, "rain": 1.0, "noise": 1.0, "lowlight": 1.0, "snow": 0.5, "defocus_blur": 0.5,
    "motion_blur": 0.25,
}  # fmt: skip
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
    """A sample: the inputs of both groups of networks, and for each fault its label and weight."""

    facts: Floats
    sights: Floats
    answers: Floats
    weights: Floats
    held_out: bool


def row(eye: Front, sample: Sample, name: str, weight: float = 1.0) -> Row:
    answers = np.zeros(len(TASKS), np.float32)
    weights = np.full(len(TASKS), weight, np.float32)
    for fault in filter(None, (sample.fault, sample.besides)):
        index = TASKS.index(fault)
        visible = sample.visible / VISIBLE[fault] if fault == sample.fault else 1.5
        answers[index] = visible > 1
        if UNSEEN < visible <= 1:
            weights[index] = 0
        weights[[TASKS.index(other) for other in HIDES.get(fault, ())]] = 0
    tone = runtime.embedded_network("tone")
    small = runtime.thumbnail(sample.pixels, tone.multiple)
    _, severities, features = runtime.look(small, tone)
    outputs = np.concatenate([features, severities])
    inputs = clues(sample.pixels, small, outputs, measure(sample.pixels))
    held_out = int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 >= 7
    parts, whole = (torch.from_numpy(inputs[name]) for name in ("parts", "whole"))
    return Row(inputs["facts"][0], sights(eye, parts, whole)[0].numpy(), answers, weights, held_out)


def sights(eye: Front, parts: Tensor, whole: Tensor) -> Tensor:
    """Features (1, 3 SEEN) of a picture by EfficientNet: their mean and their maximum over `parts`
    of the picture, and those of the `whole` picture."""
    pooled = eye(parts)
    return torch.cat([pooled.mean(0, keepdim=True), pooled.amax(0, keepdim=True), eye(whole)], 1)


def simulated(eye: Front, photos: list[Photo], count: int, rng: Generator) -> Iterator[Row]:
    kinds, shares = list(SHARES), np.array(list(SHARES.values()))
    measured = [photo for photo in photos if photo.depth is not None]
    for _ in range(count):
        fault = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        among = measured if measured and fault == "haze" and rng.random() < 0.2 else photos
        photo = among[int(rng.integers(len(among)))]
        yield row(eye, sample(photo, fault, rng), photo.name)


def real(eye: Front, folder: Path, rng: Generator) -> Iterator[Row]:
    """Views of the real photos of each fault's folder."""
    for file in pictures(folder):
        fault = "" if file.parent.name == "clean" else file.parent.name
        photo = Photo(file.name, to_uint8(read(file).pixels))
        for _ in range(VIEWS):
            view, _ = cut(photo, rng, most=1.0)
            drawn = Sample(view, fault, "", 1.5 * VISIBLE.get(fault, 0))
            yield row(eye, drawn, file.name, REAL)


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


class Group(nn.Module):
    """Log-odds (b, 10) of each fault from inputs (b, n): the mean of several small networks."""

    def __init__(self, middle: Tensor, deviation: Tensor, *, dropout: float, nets: int) -> None:
        super().__init__()
        self.middle: Tensor
        self.scale: Tensor
        self.register_buffer("middle", middle)
        self.register_buffer("scale", 1 / deviation)
        sizes = (middle.numel(), *WIDTHS)
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(dropout), nn.Linear(sizes[0], sizes[1]), nn.ReLU(),
                nn.Dropout(0.25), nn.Linear(sizes[1], sizes[2]), nn.ReLU(),
                nn.Linear(sizes[2], len(TASKS)),
            )
            for _ in range(nets)
        )  # fmt: skip

    def scaled(self, inputs: Tensor) -> Tensor:
        return ((inputs - self.middle) * self.scale).clamp(-FARTHEST, FARTHEST)

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = self.scaled(inputs)
        return torch.stack([net(scaled) for net in self.nets]).mean(0)


class Judge(nn.Module):
    """Log-odds (1, 10) of each fault from the inputs of both groups of networks for one photo."""

    def __init__(self, eye: Front, by_facts: Group, by_sight: Group) -> None:
        super().__init__()
        self.eye, self.by_facts, self.by_sight = eye, by_facts, by_sight
        self.share: Tensor
        self.register_buffer("share", torch.tensor([SIGHT.get(task, 0.0) for task in TASKS]))

    def voted(self, facts: Tensor, sight: Tensor) -> Tensor:
        return (1 - self.share) * self.by_facts(facts) + self.share * self.by_sight(sight)

    def forward(self, facts: Tensor, parts: Tensor, whole: Tensor) -> Tensor:
        return self.voted(facts, sights(self.eye, parts, whole))


def fitted(eye: Front, rows: list[Row]) -> Judge:
    weights = torch.from_numpy(np.stack([one.weights for one in rows]))
    answers = torch.from_numpy(np.stack([one.answers for one in rows]))
    weights = weights * torch.where(answers > 0.5, 1.0, torch.tensor(COSTS))
    facts, sight = (torch.from_numpy(np.stack(v)) for v in zip(*columns(rows), strict=True))
    groups = [
        trained(inputs, answers, weights, dropout=dropout)
        for inputs, dropout in ((facts, 0.15), (sight, 0.3))
    ]
    return Judge(eye, *groups).eval()


def columns(rows: list[Row]) -> Iterator[tuple[Floats, Floats]]:
    return ((one.facts, one.sights) for one in rows)


def trained(inputs: Tensor, answers: Tensor, weights: Tensor, *, dropout: float) -> Group:
    group = Group(inputs.mean(0), inputs.std(0) + 1e-3, dropout=dropout, nets=NETS)
    scaled = group.scaled(inputs)
    steps = EPOCHS * (len(inputs) // BATCH)
    for net in group.nets:
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(inputs)).split(BATCH)[: len(inputs) // BATCH]:
                noisy = scaled[batch] + 0.05 * torch.randn(len(batch), inputs.shape[1])
                losses = functional.binary_cross_entropy_with_logits(
                    net(noisy), answers[batch] * 0.98 + 0.005, reduction="none"
                )
                loss = (losses * weights[batch]).sum() / BATCH
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
    return group


def report(judge: Judge, rows: list[Row]) -> None:
    """Print the share of held-out samples found per fault, at 1 % false alarms."""
    with torch.no_grad():
        facts, sight = (torch.from_numpy(np.stack(v)) for v in zip(*columns(rows), strict=True))
        odds = judge.voted(facts, sight).numpy()
    answers = np.stack([one.answers for one in rows]) > 0.5
    weighted = np.stack([one.weights for one in rows]) > 0
    for index, task in enumerate(TASKS):
        right = odds[weighted[:, index] & answers[:, index], index]
        wrong = odds[weighted[:, index] & ~answers[:, index], index]
        limit = float(np.quantile(wrong, 0.99)) if wrong.size else 0.0
        print(f"{task:13s} {np.mean(right > limit):.2f} of {right.size} above {limit:.2f}")


def written(judge: Judge, rows: list[Row], licences: list[str], path: Path) -> None:
    facts = torch.zeros(1, judge.by_facts.middle.numel())
    example = (facts, torch.zeros(5, 3, CLOSE, CLOSE), torch.zeros(1, 3, 96, 128))
    names = ["facts", "parts", "whole"]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, its graph is faster
        file = Path(folder) / "judge.onnx"
        torch.onnx.export(
            judge, example, file, dynamo=False, opset_version=OPSET, input_names=names,
            output_names=["odds"], dynamic_axes={"whole": {2: "height", 3: "width"}},
        )  # fmt: skip
        model = narrow_weights(padded_by_convs(onnx.load(file)), "8-bit weights")
    described = {
        "network": "judge", "contract": CONTRACTS["judge"], "multiple": "1",
        "tasks": json.dumps(list(TASKS)), "precision": "8-bit weights",
        "data_sha256": hashlib.sha256(np.stack([one.facts for one in rows]).tobytes()).hexdigest(),
        "data_licences": json.dumps(licences),
    }  # fmt: skip
    helper.set_model_props(model, {f"verax.{key}": value for key, value in described.items()})
    model.producer_name = "verax"
    path.write_bytes(model.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("real", type=Path, nargs="?")
    parser.add_argument(
        "--front",
        type=Path,
        metavar="CHECKPOINT",
        help="file with the weights of EfficientNet-Lite0",
    )
    parser.add_argument("--features", type=Path, metavar="TONE")
    parser.add_argument(
        "--licence",
        action="append",
        default=[],
        help="licence of the photos; may be given several times",
    )
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    if args.features:
        args.output.write_bytes(with_features(onnx.load(args.features)).SerializeToString())
        return
    if not (args.photos and args.real and args.front):
        parser.error("expected PHOTOS, REAL and --front CHECKPOINT, or --features TONE")
    rng = np.random.default_rng(20261128)
    torch.manual_seed(1)
    photos = [opened(file) for file in pictures(args.photos)]
    eye = front(args.front)
    rows = [*simulated(eye, photos, args.samples, rng), *real(eye, args.real, rng)]
    judge = fitted(eye, [one for one in rows if not one.held_out])
    report(judge, [one for one in rows if one.held_out])
    written(judge, rows, args.licence, args.output)


if __name__ == "__main__":
    main()
