"""The small networks of Verax: tone (whole photo, once), detail and fusion (tiles, anywhere).

All are gated U-Nets on pixel-unshuffled input: the plan of NAFNet (Chen et al., ECCV 2022:
no activation but a gate, additive skips, residual on the input) with dense 3x3 convolutions in
place of normalisation, depthwise convolution and pooled attention. On CPUs dense convolutions run
at several times the arithmetic rate of depthwise ones, and without pooling a tile and the full
photo give the same pixels. What needs the whole photo, its exposure, veil and colour cast, is the
work of the tone network, which sees the whole photo as a thumbnail.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verax import degrade

TASKS = tuple(degrade.TASKS)
TONE_TASKS = ("haze", "lowlight", "underwater")
# photo, base, toned base, prior: 3 each; two confidences, validity; four faults of the photo
FUSION_INPUTS = 19
DETAIL_INPUTS = 12  # photo 3, toned 3, prior 3, geometric and photometric confidence, validity
TONE_INPUTS = 8  # thumbnail 3, its logarithm 3, darkest and brightest value nearby
HARDLY, SURELY = 0.02, 0.07  # estimated severity from which the tone is changed at all, and fully
VEIL_PLANES = 9  # log gain, offset and veil per channel
# severities of haze, darkness and underwater cast from which the prior's light is worth having at
# all, and fully; then of rain, from which it is not: rain leaves light as it was
WORTH = ((0.15, 0.35), (0.10, 0.30), (0.06, 0.20))
RAIN_WORTH = (0.15, 0.35)
MOST = 0.9  # two guesses of the light are better than one
LOW_BAND = 16  # px: what is smoother than this is tone


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a network: `widths` per scale, `blocks` per scale and side, `middle` blocks.

    `normed` blocks normalise each pixel over its channels: steadier, a fifth slower.
    """

    unshuffle: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2
    middle: int = 4
    normed: bool = True

    @property
    def multiple(self) -> int:
        """Input sides must be multiples of this."""
        return int(self.unshuffle * 2 ** (len(self.widths) - 1))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


DETAIL = Shape()
FUSION = Shape(unshuffle=2, widths=(16, 32, 64), blocks=2, middle=3)
TONE = Shape(unshuffle=4, widths=(32, 64, 96), blocks=2, middle=3, normed=False)


class PixelNorm(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Normalise over the channels of each pixel: local, unlike normalisation over the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        deviation = torch.sqrt((centred * centred).mean(1, keepdim=True) + 1e-5)
        return centred / deviation * self.gain + self.shift


class GatedBlock(nn.Module):  # type: ignore[misc]  # torch has no types here
    """x + scale * conv(gate(conv(norm(x)))): half of the channels open or close the others."""

    def __init__(self, width: int, *, normed: bool) -> None:
        super().__init__()
        self.norm = PixelNorm(width) if normed else nn.Identity()
        self.spread = nn.Conv2d(width, width, 3, padding=1)
        self.merge = nn.Conv2d(width // 2, width, 3, padding=1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.merge(F.glu(self.spread(self.norm(x)), dim=1))


class GatedUNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Features at 1/unshuffle of the input, and those of the coarsest scale."""

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
    """Thumbnail of the whole photo (B, 3, h, w) to its colour transform and its degradation.

    Inside, the transform is that of a veil: out = A + (photo - A) * exp(g) + o. Without gain and
    offset it is the identity whatever the veil's colour A is, so a good photo costs nothing.

    Returns:
        transform (B, 6, h/2, w/2): natural log of a gain and an offset per channel; both scaled
            by an estimated severity, so that a good photo keeps its tone.
        severity (B, 10): estimated severity per task of TASKS, 0 for absent.
    """

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
        _start_small(self.head)
        _start_small(self.overall)

    def forward(self, thumbnail: Tensor) -> tuple[Tensor, Tensor]:
        # the logarithm spreads what lies in the dark, where a linear scale sees only black
        spread = 0.5 * torch.log(thumbnail + 1 / 255) + 1.25
        x, skips = self.body.encode(torch.cat([2 * thumbnail - 1, spread, _extremes(thumbnail)], 1))
        whole = self.whole(x.mean((2, 3)))
        x = self.body.decode(x + self.steer(whole)[:, :, None, None], skips)
        severity = torch.sigmoid(self.severity(whole))
        # known severities teach it; a strength that the distance could lower would fall to zero
        # before the transform is of any use, and never come back
        worst = severity[:, self.tone_tasks].amax(1).detach()
        strength = ((worst - HARDLY) / (SURELY - HARDLY)).clamp(0, 1)[:, None, None, None]
        local = F.pixel_shuffle(self.head(x), self.finer)
        planes = (local + self.overall(whole)[:, :, None, None]).float()
        gain, offset = strength * planes[:, :3], strength * planes[:, 3:6]
        veil = 0.7 + 0.6 * torch.tanh(planes[:, 6:])
        offset = offset + veil * (1 - torch.exp(gain))
        return torch.cat([gain, offset], 1), severity.float()


def _extremes(thumbnail: Tensor) -> Tensor:
    """(B, 2, h, w) in [-1, 1]: the darkest and the brightest channel value nearby.

    A veil lifts the darkest (the dark channel prior: He, Sun and Tang, CVPR 2009).
    """
    both = torch.cat([-thumbnail.amin(1, keepdim=True), thumbnail.amax(1, keepdim=True)], 1)
    nearby = F.max_pool2d(F.max_pool2d(both, 2), 3, stride=1, padding=1)
    dark, bright = F.interpolate(nearby, scale_factor=2.0, mode="nearest").chunk(2, 1)
    return 2 * torch.cat([-dark, bright], 1) - 1


class DetailNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """What hides structure: rain, snow, noise, blocks, blur; and the gates for a prior.

    Input (B, 12, H, W): photo, toned photo, registered prior, geometric confidence, photometric
    confidence, validity; the last six planes are zero without a prior.

    Returns:
        residual (B, 3, H, W) on the toned photo.
        gates (B, 2, H, W): shares of the prior's low and high band, in [0, 1], near 0 at start.
        severity (B, 10): estimated severity per task of TASKS, the mean of local estimates.
    """

    def __init__(self, shape: Shape = DETAIL) -> None:
        super().__init__()
        self.finer = shape.unshuffle
        self.body = GatedUNet(DETAIL_INPUTS, shape)
        self.head = nn.Conv2d(shape.widths[0], 5 * shape.unshuffle**2, 3, padding=1)
        self.severity = nn.Conv2d(shape.widths[-1], len(TASKS), 1)
        _start_small(self.head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse, skips = self.body.encode(2 * x - 1)
        planes = F.pixel_shuffle(self.head(self.body.decode(coarse, skips)), self.finer)
        gates = torch.sigmoid(planes[:, 3:] - 4.0)
        severity = torch.sigmoid(self.severity(coarse)).mean((2, 3))
        return planes[:, :3].float(), gates.float(), severity.float()


class FusionNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """What of a registered prior is worth taking: of its light, of its low and of its high band.

    Input (B, 19, H, W): photo, base (the photo restored without the prior), the base under the
    prior's tone, registered prior, geometric confidence, photometric confidence, validity, and
    the photo's haze, darkness, underwater cast and rain, the same everywhere: a crop does not
    tell whose light is right.

    Returns:
        restored (B, 3, H, W), unclipped.
        taken (B, 3, H, W): shares of the prior's light, and of its low and high band, which are
            0 where it is not trusted.
    """

    def __init__(self, shape: Shape = FUSION) -> None:
        super().__init__()
        self.finer = shape.unshuffle
        self.body = GatedUNet(FUSION_INPUTS, shape)
        self.head = nn.Conv2d(shape.widths[0], 6 * shape.unshuffle**2, 3, padding=1)
        _start_small(self.head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        coarse, skips = self.body.encode(2 * x - 1)
        planes = F.pixel_shuffle(self.head(self.body.decode(coarse, skips)), self.finer).float()
        light = torch.sigmoid(planes[:, 3:4] + torch.logit(light_worth(x[:, 15:]), eps=0.02))
        taken = torch.cat([light, taken_shares(x, torch.sigmoid(planes[:, 4:] - 4.0))], 1)
        return fused(x, planes[:, :3], taken), taken


def toned(photo: Tensor, transform: Tensor) -> Tensor:
    """Photo (B, 3, H, W) under a transform (B, 6, h, w), unclipped."""
    full = F.interpolate(transform, photo.shape[2:], mode="bilinear", align_corners=False)
    return photo * torch.exp(full[:, :3]) + full[:, 3:]


def light_worth(faults: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how much of the prior's light a photo with these faults should get,
    the network's first guess."""
    need = [_ramp(faults[:, k : k + 1], *ends) for k, ends in enumerate(WORTH)]
    dry = 1 - _ramp(faults[:, 3:4], *RAIN_WORTH)
    return MOST * torch.maximum(torch.maximum(need[0], need[1]), need[2]) * dry


def _ramp(value: Tensor, none: float, full: float) -> Tensor:
    return ((value - none) / (full - none)).clamp(0, 1)


def taken_shares(inputs: Tensor, gates: Tensor) -> Tensor:
    """(B, 2, H, W) shares of the prior's low and high band, from FusionNet's input and gates.

    Both are taken only where the prior is valid and its registration trusted; the low band where
    its light agrees with the base's, the high band where its gradients agree with the photo's.
    """
    photo, prior = inputs[:, :3], inputs[:, 9:12]
    trust = inputs[:, 12:13] * inputs[:, 14:15]
    low = gates[:, :1] * trust * inputs[:, 13:14]
    return torch.cat([low, gates[:, 1:] * trust * agreement(photo, prior)], 1)


def fused(inputs: Tensor, residual: Tensor, taken: Tensor) -> Tensor:
    """The restoration (B, 3, H, W) from FusionNet's input, residual and shares, unclipped."""
    base, toned, prior = inputs[:, 3:6], inputs[:, 6:9], inputs[:, 9:12]
    light, low, high = taken.split(1, 1)
    lit = base + light * (toned - base) + residual
    low_lit, low_prior = _low(lit), _low(prior)
    return lit + low * (low_prior - low_lit) + high * (prior - low_prior - lit + low_lit)


def agreement(photo: Tensor, prior: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how well the two pictures' gradients point the same way."""
    gx, gy = _gradients(photo), _gradients(prior)
    dot = sum(_smooth(a * b) for a, b in zip(gx, gy, strict=True))
    size = [sum(_smooth(a * a) for a in g) for g in (gx, gy)]
    return (dot / torch.sqrt(size[0] * size[1] + 1e-8)).clamp(0, 1)


def _gradients(picture: Tensor) -> tuple[Tensor, Tensor]:
    grey = F.pad(picture.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2], grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]


def _smooth(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane, 7, stride=1, padding=3, count_include_pad=False)


def _low(picture: Tensor) -> Tensor:
    small = F.avg_pool2d(picture, LOW_BAND // 2, ceil_mode=True, count_include_pad=False)
    small = F.avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(small, picture.shape[2:], mode="bilinear", align_corners=False)


def _blocks(width: int, count: int, shape: Shape) -> nn.Sequential:
    return nn.Sequential(*(GatedBlock(width, normed=shape.normed) for _ in range(count)))


def _start_small(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
