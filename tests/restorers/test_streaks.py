import cv2
import numpy as np
import pytest

from verax import degrade
from verax.restorers.streaks import rains, uprightness


def scene(seed):
    """Smooth colour with edges in every direction."""
    rng = np.random.default_rng(seed)
    small = rng.random((12, 12, 3), np.float32)
    picture = cv2.resize(small, (192, 192), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre, radius = rng.integers(20, 172, 2).tolist(), int(rng.integers(8, 30))
        cv2.circle(picture, centre, radius, rng.random(3).tolist(), -1)
    return np.clip(picture, 0, 1).astype(np.float32)


def test_upright_stripes_are_upright_and_lying_ones_are_not():
    stripes = np.tile(np.sin(np.arange(128) * 0.8), (128, 1)).astype(np.float32)
    picture = np.repeat(0.5 + 0.4 * stripes[..., None], 3, 2)

    assert uprightness(picture) > 0.99
    assert uprightness(np.ascontiguousarray(picture.transpose(1, 0, 2))) < -0.99


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_and_its_quarter_turn_cancel(seed):
    picture = scene(seed)
    turned = np.ascontiguousarray(np.rot90(picture))

    assert uprightness(picture) == pytest.approx(-uprightness(turned), abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_heavy_rain_is_seen_and_other_faults_are_not(seed):
    picture = scene(seed)
    others = ("noise", "haze", "lowlight", "jpeg", "snow")

    assert not rains(picture)
    assert not any(
        rains(degrade.apply(picture, degrade.Degradation(task, 0.6, seed))) for task in others
    )
    assert rains(degrade.apply(picture, degrade.Degradation("rain", 0.9, seed)))
