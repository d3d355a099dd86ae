"""What a camera could have set otherwise: exposure, one gain in linear light with a soft shoulder,
and balance, a gain and an offset per channel."""

import numpy as np

from verax.fusion.grid import Float
from verax.image import Image, Plane
from verax.image.pixels import luma, to_linear, to_srgb

KNEE = 0.6  # linear light from which a brightening rolls off, so that highlights keep detail
CURVE_STEPS = 1 << 14
BALANCE = (0.5, 2.5)  # gains of a channel
MATCHED = (0.3, 0.7)  # correlation of two channels from which their contrast is compared, and fully
TYPICAL = 0.02  # residual below which nothing differs


def brighten(values: Float, gain: float) -> Float:
    """sRGB values after a gain in linear light; above the KNEE they roll off, never clipped."""
    y = gain * to_linear(values)
    if gain > 1:
        over = np.maximum(y - KNEE, 0) / (1 - KNEE)
        y = np.where(y < KNEE, y, KNEE + (1 - KNEE) * over / (1 + over))
    return to_srgb(np.asarray(y, np.float32))


def exposure_curve(gain: float) -> Float:
    """`brighten` as a table over [0, 1]."""
    return brighten(np.linspace(0, 1, CURVE_STEPS + 1, dtype=np.float32), gain)


def expose(image: Image, curve: Float) -> Image:
    """The picture with an exposure curve applied."""
    return np.take(curve, (image * CURVE_STEPS + 0.5).astype(np.int32))


def slope(curve: Float, steps: int) -> Float:
    """(steps,) derivative of an exposure curve at evenly spaced values."""
    values = curve[np.linspace(0, CURVE_STEPS, steps).astype(int)]
    return np.asarray(np.gradient(values) * (steps - 1), np.float32)


def fit_exposure(base: Image, prior: Image, weight: Plane) -> float:
    """The linear-light gain that brings the base's brightness nearest to the prior's.

    Compared are the luma quantiles of both pictures, which misalignment leaves alone.
    """
    seen = weight > 0.5 * weight.max()
    quantiles = np.linspace(0.02, 0.98, 49)
    have = np.quantile(luma(base)[seen], quantiles).astype(np.float32)
    want = np.quantile(luma(prior)[seen], quantiles).astype(np.float32)
    gains = np.exp2(np.linspace(-2, 6, 161))
    costs = [np.abs(brighten(have, g) - want).mean() for g in gains]
    return float(gains[int(np.argmin(costs))])


def fit_balance(exposed: Image, prior: Image, weight: Plane) -> Float:
    """(2, 3) gain and offset of each channel that bring the exposed base nearest to the prior.

    Means and deviations are matched; places that differ all the same count less and less, by
    1 / (1 + (r / 2m)^4), r the residual and m its median (iteratively reweighted).
    """
    trusted, balance = weight, np.stack([np.ones(3, np.float32), np.zeros(3, np.float32)])
    for _ in range(3):
        share = (trusted / max(float(trusted.sum()), 1e-6))[..., None]
        mine, its = ((share * x).sum((0, 1)) for x in (exposed, prior))
        one, two = exposed - mine, prior - its
        energy, given, shared = ((share * x).sum((0, 1)) for x in (one * one, two * two, one * two))
        alike = np.clip(shared / np.sqrt(energy * given + 1e-12), 0, 1)
        sure = np.clip((alike - MATCHED[0]) / (MATCHED[1] - MATCHED[0]), 0, 1)
        gain = 1 + sure * (np.clip(np.sqrt((given + 1e-5) / (energy + 1e-5)), *BALANCE) - 1)
        balance = np.stack([gain, its - gain * mine])
        off = np.abs(exposed * balance[0] + balance[1] - prior).max(2)
        typical = max(float(np.median(off[weight > 0.5 * weight.max()])), TYPICAL)
        trusted = np.asarray(weight / (1 + (off / (2 * typical)) ** 4), np.float32)
    return np.asarray(balance, np.float32)
