"""Teach the tone network to tell haze, and photos taken under water, and print how well it does.

    python benchmarks/fit_judge.py FOLDER_WITH_MANIFEST UNDERWATER HAZY [MORE_CLEAN] -o TONE.onnx

Two logistic regressions on what the tone network has seen (mean, deviation, least and most of its
coarsest features). Right answers: real photos of the folders UNDERWATER and HAZY, training pairs,
and training photos under simulated water or haze. Wrong ones: training photos as they are, in many
tastes, with other faults; photos of MORE_CLEAN. The table is that of a fit to two thirds of the
photos, by the hash of their names; the file gets the fit to all.
"""

import argparse
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.random import Generator
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.optimize import minimize

from verax import degrade, weights
from verax.degrade.weather import scatter
from verax.errors import VeraxError
from verax.image import Image, from_uint8, read, to_uint8
from verax.restorers.runtime import SIGNS, open_network, planes, thumbnail

SAMPLES = 2200  # simulated
SHARES = {
    "clean": 0.38, "underwater": 0.14, "haze": 0.34, "lowlight": 0.04, "snow": 0.05, "rain": 0.05,
}  # fmt: skip
WEIGHTS = {"real": 6.0, "underwater": 0.3, "haze": 1.0, "photo": 2.0, "more": 4.0, "other": 1.0}
VISIBLE = 0.06  # rms from which a simulated fault counts
RIDGE = {"underwater": 1e-3, "haze": 2e-2}
CROP = 512  # px
FARTHEST = 4.0  # deviations at which a feature is cut

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network saw in one picture, what is wrong with it, its weight and origin."""

    features: Floats
    fault: str
    weight: float
    aside: bool
    origin: str


def aside(name: str) -> bool:
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 3 == 0


def pooled_output(model: onnx.ModelProto) -> str:
    """The coarsest features of a tone network: what is averaged before its normalisation."""
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    mean = next(node for node in model.graph.node if node.output[0] == norm.input[0])
    return str(mean.input[0])


def grafted(model: onnx.ModelProto, head: dict[str, Floats] | None) -> onnx.ModelProto:
    """A copy of the model that also answers "signs": pooled features, or a head's log-odds of
    them (1, 1)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, source = copy.graph, pooled_output(model)
    kept = [output for output in graph.output if output.name != "signs"]
    for node in [node for node in graph.node if node.name.startswith("judge.")]:
        graph.node.remove(node)
    for tensor in [t for t in graph.initializer if t.name.startswith("judge.")]:
        graph.initializer.remove(tensor)
    del graph.output[:]
    graph.output.extend(kept)
    constants = {"axes": np.array([2, 3], np.int64), **(head or {})}
    graph.initializer.extend(
        numpy_helper.from_array(value, f"judge.{name}") for name, value in constants.items()
    )

    def add(op: str, *inputs: str, to: str) -> str:
        full = [f"judge.{i}" if i in constants else i for i in inputs]
        keep = {"keepdims": int(to == "judge.centre")} if op.startswith("Reduce") else {}
        axis = {"axis": 1} if op == "Concat" else {}
        graph.node.append(helper.make_node(op, full, [to], name=f"judge.{to}", **keep, **axis))
        return to

    centre = add("ReduceMean", source, "axes", to="judge.centre")
    apart = add("Sub", source, centre, to="judge.apart")
    square = add("Mul", apart, apart, to="judge.square")
    parts = [
        add("ReduceMean", source, "axes", to="judge.mean"),
        add("Sqrt", add("ReduceMean", square, "axes", to="judge.variance"), to="judge.deviation"),
        add("ReduceMax", source, "axes", to="judge.most"),
        add("ReduceMin", source, "axes", to="judge.least"),
    ]
    if head is None:
        add("Concat", *parts, to="signs")
    else:
        joined = add("Concat", *parts, to="judge.joined")
        scaled = add(
            "Mul", add("Sub", joined, "middle", to="judge.less"), "scale", to="judge.scaled"
        )
        cut = add("Clip", scaled, "low", "high", to="judge.cut")
        add("Add", add("MatMul", cut, "weight", to="judge.sum"), "bias", to="signs")
    graph.output.append(helper.make_tensor_value_info("signs", onnx.TensorProto.FLOAT, [1, None]))
    return copy


def views(photo: Image) -> Iterator[Image]:
    """The whole photo, and its centre."""
    yield photo
    top, left = (max(0, (side - CROP) // 2) for side in photo.shape[:2])
    if top or left:
        yield np.ascontiguousarray(photo[top : top + CROP, left : left + CROP])


def restyled(photo: Image, rng: Generator) -> Image:
    """A clear photo in another taste: gamma, faded in one colour, matte, warmer, paler, dimmer."""
    if rng.random() < 0.35:
        return photo
    out = photo ** np.float32(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.15:
        colour = rng.permutation(
            [rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.8), rng.uniform(0.5, 1)]
        )
        out += rng.uniform(0.08, 0.3) * (colour.astype(np.float32) - out)
    elif rng.random() < 0.3:
        black, white = rng.uniform(0, 0.07), rng.uniform(0.86, 1)
        out = black + (white - black) * out
    if rng.random() < 0.4:
        out = out * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    if rng.random() < 0.4:
        grey = out.mean(2, keepdims=True)
        out = grey + rng.uniform(0.35, 1.4) * (out - grey)
    if rng.random() < 0.06:
        out = out * rng.uniform(0.45, 0.8)
    return np.asarray(np.clip(out, 0, 1), np.float32)


def veiled(clear: Image, rng: Generator) -> Image:
    """Haze as `degrade` draws it, an even veil, or a clear foreground before a lost distance."""
    make = rng.random()
    if make < 0.55:
        return degrade.apply(
            clear, degrade.Degradation("haze", rng.uniform(0.1, 0.9), int(rng.integers(2**31)))
        )
    height, width = clear.shape[:2]
    air = rng.uniform(0.6, 0.97) * np.exp(rng.normal(0, 0.02, 3))
    optical = np.full((height, width), rng.uniform(0.3, 1.4))
    if make < 0.9:
        rows = np.linspace(1, 0, height)[:, None] / (1 - rng.uniform(0.1, 0.6))
        hills = cv2.resize(rng.normal(size=(4, 5)), (width, height), interpolation=cv2.INTER_CUBIC)
        far = np.clip(rows, 0, 1) ** rng.uniform(1, 3) * (1 + 0.35 * hills)
        optical = np.exp(rng.uniform(-0.2, 1.8)) * np.clip(far, 0, None)
    return scatter(clear, np.exp(-optical).astype(np.float32), air.astype(np.float32))


def simulated(
    photos: dict[str, NDArray[np.uint8]], rng: Generator
) -> Iterator[tuple[str, Image, str]]:
    """(name, picture, kind) of the training photos under simulated faults."""
    kinds, shares = list(SHARES), np.array(list(SHARES.values()))
    names = list(photos)
    for _ in range(SAMPLES):
        name = names[int(rng.integers(len(names)))]
        photo = from_uint8(photos[name])
        part = rng.uniform(0.45, 1.0, 2)
        height, width = (max(160, int(s * p)) for s, p in zip(photo.shape[:2], part, strict=False))
        top, left = (
            int(rng.integers(max(1, side - want + 1)))
            for side, want in zip(photo.shape[:2], (height, width), strict=True)
        )
        cut = np.ascontiguousarray(photo[top : top + height, left : left + width])
        clear = restyled(thumbnail(cut, 2), rng)
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        picture = clear
        if kind == "haze":
            picture = veiled(clear, rng)
        elif kind != "clean":
            fault = degrade.Degradation(kind, rng.uniform(0.15, 1), int(rng.integers(2**31)))
            picture = degrade.apply(clear, fault)
        if kind in SIGNS and np.sqrt(np.mean((picture - clear) ** 2)) < VISIBLE:
            continue
        yield name, from_uint8(to_uint8(picture)), kind


def look_all(args: argparse.Namespace, model: Path) -> list[Seen]:
    """Every sample through the network."""
    net, seen = open_network(model, "tone"), list[Seen]()

    def keep(name: str, picture: Image, fault: str, weight: str) -> None:
        small = thumbnail(picture, net.multiple)
        signs = net(planes(small)[None])[2][0]
        origin = weight if weight in ("real", "photo", "more") else "simulated"
        seen.append(Seen(signs, fault, WEIGHTS[weight], aside(name), origin))

    with (args.folder / "manifest.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] != "test"]
    photos = [args.folder / row["target"] for row in rows if row["task"] in ("clean", "depth")]
    pairs = [row for row in rows if row["task"] == "dehazing" and row["target"]]
    small = dict[str, NDArray[np.uint8]]()
    for path, weight in [
        *((p, "photo") for p in photos),
        *((p, "more") for p in pictures(args.more_clean)),
    ]:
        photo = read(path).pixels
        half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        small[path.name] = to_uint8(half)
        for view in views(photo):
            keep(path.name, view, "clean", weight)
    for fault, folder in (("underwater", args.underwater), ("haze", args.hazy)):
        for path in pictures(folder):
            keep(path.name, read(path).pixels, fault, "real")
    for row in pairs:
        keep(row["target"], read(args.folder / row["input"]).pixels, "haze", "real")
    for name, picture, kind in simulated(small, np.random.default_rng(20261128)):
        keep(name, picture, kind, kind if kind in SIGNS else "other")
    return seen


def pictures(folder: Path | None) -> list[Path]:
    files = sorted(folder.iterdir()) if folder else []
    return [file for file in files if file.suffix in (".png", ".jpg")]


def fitted(rows: list[Seen]) -> dict[str, Floats]:
    """The heads; for each both answers weigh the same."""
    x = np.array([one.features for one in rows], np.float64)
    middle, scale = x.mean(0), 1 / (x.std(0) + 1e-6)
    z = np.c_[np.clip((x - middle) * scale, -FARTHEST, FARTHEST), np.ones(len(x))]
    b = np.stack([head(z, rows, fault) for fault in SIGNS], 1)
    values = {"middle": middle, "scale": scale, "weight": b[:-1], "bias": b[-1]}
    values |= {"low": np.array(-FARTHEST), "high": np.array(FARTHEST)}
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def head(z: NDArray[np.float64], rows: list[Seen], fault: str) -> NDArray[np.float64]:
    """The weights of one logistic regression."""
    right = np.array([one.fault == fault for one in rows])
    weight = np.array([one.weight for one in rows])
    for answer in (right, ~right):
        weight[answer] /= 2 * weight[answer].sum()
    sign, ridge = np.where(right, 1.0, -1.0), np.r_[np.full(z.shape[1] - 1, RIDGE[fault]), 0]

    def loss(b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (z @ b)
        slope = -weight * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        value = float(weight @ np.logaddexp(0, -margin) + ridge @ (b * b))
        return value, z.T @ slope + 2 * ridge * b

    found = minimize(loss, np.zeros(z.shape[1]), jac=True, options={"maxiter": 400})
    return np.asarray(found.x)


def odds(heads: dict[str, Floats], features: Floats) -> Floats:
    z = np.clip((features - heads["middle"]) * heads["scale"], heads["low"], heads["high"])
    return np.asarray(z @ heads["weight"] + heads["bias"], np.float32)


def report(heads: dict[str, Floats], seen: list[Seen]) -> None:
    """What the heads say of the photos that are kept aside."""
    groups = sorted({(one.origin, one.fault) for one in seen})
    for index, fault in enumerate(SIGNS):
        print(f"{fault}, photos kept aside: how many have log-odds above")
        for origin, kind in groups:
            some = [s for s in seen if s.aside and (s.origin, s.fault) == (origin, kind)]
            values = [float(odds(heads, one.features)[index]) for one in some]
            counts = {limit: sum(v > limit for v in values) for limit in (0, 1, 1.5, 2, 2.5, 3, 4)}
            print(f"  {origin:9s} {kind:10s} {len(some):4d}", counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("underwater", type=Path)
    parser.add_argument("hazy", type=Path)
    parser.add_argument("more_clean", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    model = onnx.load(weights.path("tone"))
    args.output.write_bytes(grafted(model, None).SerializeToString())
    try:
        seen = look_all(args, args.output)
    except VeraxError as exc:
        raise SystemExit(str(exc)) from exc
    report(fitted([one for one in seen if not one.aside]), seen)
    args.output.write_bytes(grafted(model, fitted(seen)).SerializeToString())


if __name__ == "__main__":
    main()
