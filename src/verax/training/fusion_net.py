"""The small network that joins a base and a registered prior, tile by tile.

A gated U-Net as those of `nafnet`. Whose light is right is known from the whole photo: a rule over
its faults says it, and the network, which from crops would only learn its cases by heart, may
correct that a little and never add light of its own. The prior's own low and high band it takes
where both pictures agree.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verax.training.nafnet import GatedUNet, Shape, start_small

# photo, base, toned base, prior: 3 each; two confidences, validity; four faults of the photo
FUSION_INPUTS = 19
FUSION = Shape(unshuffle=2, widths=(16, 32, 64), blocks=2, middle=3)
# severities of haze, darkness and underwater cast from which the prior's light is worth having at
# all, and fully, and how much of it then: two guesses of the light are better than one, above all
# in the dark, where they err most; then severities of rain, which leaves light as it was
WORTH = ((0.15, 0.35, 0.9), (0.10, 0.30, 0.75), (0.06, 0.20, 0.9))
RAIN_WORTH = (0.15, 0.35)
CORRECTION = 0.5  # of the rule, most, in logits
LOW_BAND = 16  # px: what is smoother than this is tone


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
        start_small(self.head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        coarse, skips = self.body.encode(2 * x - 1)
        planes = F.pixel_shuffle(self.head(self.body.decode(coarse, skips)), self.finer).float()
        rule = torch.logit(light_worth(x[:, 15:]), eps=0.02)
        light = torch.sigmoid(rule + CORRECTION * torch.tanh(planes[:, 3:4]))
        taken = torch.cat([light, taken_shares(x, torch.sigmoid(planes[:, 4:] - 4.0))], 1)
        repair = planes[:, :3]
        return fused(x, repair - _low(repair), taken), taken


def light_worth(faults: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how much of the prior's light a photo with these faults should get,
    give or take what the network corrects."""
    need = [
        most * _ramp(faults[:, k : k + 1], none, full) for k, (none, full, most) in enumerate(WORTH)
    ]
    dry = 1 - _ramp(faults[:, 3:4], *RAIN_WORTH)
    return torch.maximum(torch.maximum(need[0], need[1]), need[2]) * dry


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
