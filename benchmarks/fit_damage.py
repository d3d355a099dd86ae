"""Train the network that tells damage of a print from things that the prior left out.

    python benchmarks/fit_damage.py FOLDER [FOLDER ...] --cache DIR -o DAMAGE.onnx [--minutes N]

Every fourth clean photo is left out for tests. The others get two simulated priors each, kept in
the cache, and `wear.py` damages them. The output of the network is the likelihood of damage per
pixel. The loss is cross-entropy plus Dice; the learning rate follows a cosine over the minutes. The
file holds the running average of the weights, in 8 bits.
"""

import argparse
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as fn
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from verax.training.export import narrow_weights
from wear import draw, prepare

CROP, BATCH, PER_PHOTO, USES, POOL = 128, 8, 8, 3, 300
RATE, AVERAGE = 2e-3, 0.998
WIDTHS = (32, 32, 64, 64)  # channels at a half of the photo's size, a quarter and so on


@dataclass(slots=True)
class Sample:
    """Photo and prior (6, CROP, CROP), the mask of damage (CROP, CROP), and the number of uses."""

    planes: NDArray[np.float32]
    truth: NDArray[np.float32]
    uses: int = 0


class Layer(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.c = nn.Conv2d(into, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return fn.leaky_relu(self.c(x), 0.1)


class Net(nn.Module):
    """A U-Net (Ronneberger, Fischer and Brox, 2015) on blocks of 2x2 px."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.i, self.e0 = Layer(28, a), Layer(a, a)
        self.d1, self.e1 = nn.Conv2d(a, b, 2, 2), nn.Sequential(Layer(b, b), Layer(b, b))
        self.d2, self.e2 = nn.Conv2d(b, c, 2, 2), nn.Sequential(Layer(c, c), Layer(c, c))
        self.d3 = nn.Conv2d(c, d, 2, 2)
        self.e3 = nn.Sequential(Layer(d, d), Layer(d, d), Layer(d, d))
        self.u2, self.g2 = nn.Conv2d(d, 4 * c, 1), Layer(2 * c, c)
        self.u1, self.g1 = nn.Conv2d(c, 4 * b, 1), Layer(2 * b, b)
        self.u0, self.g0 = nn.Conv2d(b, 4 * a, 1), Layer(2 * a, a)
        self.h, self.o = Layer(a, a), nn.Conv2d(a, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds (N, 1, H, W) for photo and prior (N, 6, H, W)."""
        apart = (x[:, :3] - x[:, 3:]).abs().amax(1, keepdim=True)
        a = self.e0(self.i(fn.pixel_unshuffle(torch.cat([x - 0.5, apart], 1), 2)))
        b = self.e1(self.d1(a))
        c = self.e2(self.d2(b))
        d = self.e3(self.d3(c))
        c = self.g2(torch.cat([c, fn.pixel_shuffle(self.u2(d), 2)], 1))
        b = self.g1(torch.cat([b, fn.pixel_shuffle(self.u1(c), 2)], 1))
        a = self.g0(torch.cat([a, fn.pixel_shuffle(self.u0(b), 2)], 1))
        return fn.pixel_shuffle(self.o(self.h(a)), 2)


def samples(file: Path, rng: Generator) -> list[Sample]:
    """Crops of a simulated damaged photo, most of them around damage."""
    photo, prior, mask = draw(file, rng)
    planes = np.concatenate([photo, prior], 2).transpose(2, 0, 1)
    places = np.argwhere(mask)
    scores = []
    for _ in range(PER_PHOTO):
        corner = [int(rng.integers(n - CROP + 1)) for n in mask.shape]
        if len(places) and rng.random() < 0.7:
            near = places[rng.integers(len(places))] - rng.integers(0, CROP, 2)
            corner = np.clip(near, 0, np.array(mask.shape) - CROP).tolist()
        box = tuple(slice(at, at + CROP) for at in corner)
        scores.append(Sample(planes[:, *box], mask[box].astype(np.float32)))
    return scores


def batch(pool: list[Sample], rng: Generator) -> tuple[Tensor, Tensor]:
    """A batch of rotated and mirrored samples; a sample leaves the pool after USES uses."""
    inputs, truths = [], []
    for _ in range(BATCH):
        at, turns, side = int(rng.integers(len(pool))), int(rng.integers(4)), rng.choice([1, -1])
        sample = pool[at]
        inputs.append(np.rot90(sample.planes, turns, (1, 2))[:, :, ::side].copy())
        truths.append(np.rot90(sample.truth, turns)[:, ::side].copy())
        sample.uses += 1
        if sample.uses >= USES:
            pool[at] = pool[-1]
            pool.pop()
    return torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(truths))[:, None]


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    answer = torch.sigmoid(logits)
    both, sums = (answer * truth).sum((1, 2, 3)), (answer + truth).sum((1, 2, 3))
    dice = 1 - (2 * both + 50) / (sums + 50)
    return 2 * fn.binary_cross_entropy_with_logits(logits, truth) + 0.5 * dice.mean()


def fit(files: list[Path], seconds: float, rng: Generator) -> Net:
    """The network after training for `seconds`."""
    net = Net().to(memory_format=torch.channels_last)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    pool: list[Sample] = []
    start, step, recent = time.monotonic(), 0, 0.0
    while (share := (time.monotonic() - start) / seconds) < 1:
        while len(pool) < POOL:
            pool += samples(files[rng.integers(len(files))], rng)
        inputs, truth = batch(pool, rng)
        rate = RATE * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * share)) + 1e-5
        optimiser.param_groups[0]["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(inputs.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), truth)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in net.state_dict().items():
                average[name].mul_(keep).add_(value, alpha=1 - keep)
        recent = 0.99 * recent + 0.01 * float(loss.detach())
        if step % 100 == 0:
            print(f"{step} steps, {share:.0%} of the time, loss {recent:.4f}", flush=True)
    net.load_state_dict(average)
    return net


def export(net: Net, path: Path) -> None:
    """Write the network as ONNX, with likelihoods as output and weights in 8 bits."""
    names = {"height": 2, "width": 3}
    axes = {name: {at: side for side, at in names.items()} for name in ("input", "damage")}
    whole = nn.Sequential(net.eval(), nn.Sigmoid())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "net.onnx"
        torch.onnx.export(
            whole, (torch.rand(1, 6, 64, 96),), file, dynamo=False, opset_version=20,
            input_names=["input"], output_names=["damage"], dynamic_axes=axes,
        )  # fmt: skip
        path.write_bytes(narrow_weights(onnx.load(file), "8-bit weights").SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files = prepare(options.folders, options.cache)
    export(fit(files, 60 * options.minutes, np.random.default_rng(options.seed)), options.output)


if __name__ == "__main__":
    main()
