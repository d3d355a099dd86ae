"""The small networks of Verax in torch: tone (on the whole photo) and detail (tile by tile).

Both are gated U-Nets on pixel-unshuffled input. They follow NAFNet (Chen et al., ECCV 2022: gates
as the only non-linearity, additive skips, residual output) but have dense 3x3 convolutions in
place of normalisation, depthwise convolution and pooled attention. On CPUs, dense convolutions
reach several times the arithmetic rate of depthwise ones. Without pooling, a tile and the whole
photo give the same pixels. Exposure, haze and colour casts need the whole photo; the tone network
corrects them on a thumbnail.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verax.restorers.runtime import DETAIL, TASKS, TONE, Shape

TONE_TASKS = ("haze", "lowlight", "underwater")
DETAIL_INPUTS = 12  # photo 3, toned 3, prior 3, geometric and photometric confidence, validity
TONE_INPUTS = 8  # thumbnail 3, its logarithm 3, local minimum and maximum
HARDLY, SURELY = 0.02, 0.07  # estimated severity: the tone starts to change; changes in full
VEIL_PLANES = 9  # log gain, offset and colour of the veil, for each channel


class PixelNorm(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Normalises each pixel over its channels, without influence of other pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        deviation = torch.sqrt((centred * centred).mean(1, keepdim=True) + 1e-5)
        return centred / deviation * self.gain + self.shift


class GatedBlock(nn.Module):  # type: ignore[misc]  # torch has no types here
    """x + scale * conv(gate(conv(norm(x)))); the gate multiplies one half of the channels by the
    sigmoid of the other half."""

    def __init__(self, width: int, *, normed: bool) -> None:
        super().__init__()
        self.norm = PixelNorm(width) if normed else nn.Identity()
        self.spread = nn.Conv2d(width, width, 3, padding=1)
        self.merge = nn.Conv2d(width // 2, width, 3, padding=1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.merge(F.glu(self.spread(self.norm(x)), dim=1))


class GatedUNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A U-Net of gated blocks on pixel-unshuffled input.

    `encode` takes (B, inputs, H, W) and returns the features of the coarsest scale and a list of
    the features of the finer scales (skips), the finest first. `decode` takes both and returns
    features (B, widths[0], H / unshuffle, W / unshuffle)."""

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        widths = shape.widths
        self.unshuffle = shape.unshuffle
        self.stem = nn.Conv2d(inputs * shape.unshuffle**2, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(w, shape.blocks, shape) for w in widths[:-1])
        self.decoders = nn.ModuleList(_blocks(w, shape.blocks, shape) for w in widths[:-1])
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.ups = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairs)
        self.middle = _blocks(widths[-1], shape.middle, shape)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.stem(F.pixel_unshuffle(x, self.unshuffle))
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        return self.middle(x), skips

    def decode(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        for blocks, up, skip in zip(
            reversed(self.decoders), reversed(self.ups), reversed(skips), strict=True
        ):
            x = blocks(F.pixel_shuffle(up(x), 2) + skip)
        return x


class ToneNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Estimates, from a thumbnail (B, 3, h, w) of the whole photo, how to correct its colours.

    It estimates the log gain g, the offset o and the colour A of a veil of haze: out = A + (photo -
    A) * exp(g) + o. With zero g and o nothing changes, whatever A is.

    Returns:
        transform (B, 6, h/2, w/2): natural log of a gain for each channel, then an offset for each,
            in which A is included. They are weaker if the estimated severity is low, so that
            undegraded photos keep their tone.
        severity (B, 10): in [0, 1], of haze, rain, snow, darkness, noise, JPEG blocks, motion blur,
            defocus blur, water and drops on the lens."""

    def __init__(self, shape: Shape = TONE) -> None:
        super().__init__()
        width, coarse = shape.widths[0], shape.widths[-1]
        self.body = GatedUNet(TONE_INPUTS, shape)
        self.whole = nn.Sequential(nn.LayerNorm(coarse), nn.Linear(coarse, coarse), nn.GELU())
        self.steer = nn.Linear(coarse, coarse)
        self.overall = nn.Linear(coarse, VEIL_PLANES)
        self.severity = nn.Linear(coarse, len(TASKS))
        self.tone_tasks = [TASKS.index(task) for task in TONE_TASKS]
        self.head = nn.Conv2d(width, VEIL_PLANES * (shape.unshuffle // 2) ** 2, 3, padding=1)
        self.finer = shape.unshuffle // 2
        start_small(self.head)
        start_small(self.overall)

    def forward(self, thumbnail: Tensor) -> tuple[Tensor, Tensor]:
        # the logarithm separates dark values, which are all black on a linear scale
        spread = 0.5 * torch.log(thumbnail + 1 / 255) + 1.25
        x, skips = self.body.encode(torch.cat([2 * thumbnail - 1, spread, _extremes(thumbnail)], 1))
        whole = self.whole(x.mean((2, 3)))
        x = self.body.decode(x + self.steer(whole)[:, :, None, None], skips)
        severity = torch.sigmoid(self.severity(whole))
        # trained by the known severities only: if the loss could lower the strength, it would fall
        # to zero before the transform is useful, and stay there
        worst = severity[:, self.tone_tasks].amax(1).detach()
        strength = ((worst - HARDLY) / (SURELY - HARDLY)).clamp(0, 1)[:, None, None, None]
        local = F.pixel_shuffle(self.head(x), self.finer)
        planes = (local + self.overall(whole)[:, :, None, None]).float()
        gain, offset = strength * planes[:, :3], strength * planes[:, 3:6]
        veil = 0.7 + 0.6 * torch.tanh(planes[:, 6:])
        offset = offset + veil * (1 - torch.exp(gain))
        return torch.cat([gain, offset], 1), severity.float()


def _extremes(thumbnail: Tensor) -> Tensor:
    """Two planes, (B, 2, h, w) in [-1, 1]: the local minimum, then the local maximum, of a
    thumbnail (B, 3, h, w) in [0, 1] over channels and neighbours.

    Haze raises the minimum (the dark channel prior: He, Sun and Tang, CVPR 2009)."""
    both = torch.cat([-thumbnail.amin(1, keepdim=True), thumbnail.amax(1, keepdim=True)], 1)
    nearby = F.max_pool2d(F.max_pool2d(both, 2), 3, stride=1, padding=1)
    dark, bright = F.interpolate(nearby, scale_factor=2.0, mode="nearest").chunk(2, 1)
    return 2 * torch.cat([-dark, bright], 1) - 1


class DetailNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Removes what hides structure: rain, snow, noise, JPEG blocks, blur.

    Its input (B, 12, H, W) is the photo, the photo after the tone network, and six planes for a
    prior, which are always zero.

    Returns:
        residual (B, 3, H, W): to be added to the photo after the tone network.
        gates (B, 2, H, W): in [0, 1]; not used.
        severity (B, 10): in [0, 1], of haze, rain, snow, darkness, noise, JPEG blocks, motion blur,
            defocus blur, water and drops on the lens.
    """

    def __init__(self, shape: Shape = DETAIL) -> None:
        super().__init__()
        self.finer = shape.unshuffle
        self.body = GatedUNet(DETAIL_INPUTS, shape)
        self.head = nn.Conv2d(shape.widths[0], 5 * shape.unshuffle**2, 3, padding=1)
        self.severity = nn.Conv2d(shape.widths[-1], len(TASKS), 1)
        start_small(self.head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse, skips = self.body.encode(2 * x - 1)
        planes = F.pixel_shuffle(self.head(self.body.decode(coarse, skips)), self.finer)
        gates = torch.sigmoid(planes[:, 3:] - 4.0)
        severity = torch.sigmoid(self.severity(coarse)).mean((2, 3))
        return planes[:, :3].float(), gates.float(), severity.float()


def apply_transform(photo: Tensor, transform: Tensor) -> Tensor:
    """The photos (B, 3, H, W) after their colour transforms, not clipped to [0, 1]. `transform` (B,
    6, h, w): natural log of a gain for each channel, then an offset for each; enlarged to the
    photos' size."""
    full = F.interpolate(transform, photo.shape[2:], mode="bilinear", align_corners=False)
    return photo * torch.exp(full[:, :3]) + full[:, 3:]


def _blocks(width: int, count: int, shape: Shape) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(width, normed=shape.normed) for _ in range(count)))


def start_small(layer: nn.Conv2d | nn.Linear) -> None:
    """Set a layer's weights close to 0, so that a new network hardly changes its input."""
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
