"""Existing networks through spandrel. Skips where spandrel is absent."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

import verax
from verax import restorers
from verax.errors import MissingExtraError, SettingsError

# of the architectures that spandrel carries, not of ours
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def spandrel():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    if find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed: pip install 'verax[checkpoint]'")
    return restorers.spandrel()


def scene(seed, size=64):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    waves = [0.5 + 0.4 * np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y) for _ in range(3)]
    return np.stack(waves, 2).astype(np.float32)


def noisy(clean, seed):
    noise = np.random.default_rng(seed).normal(0, 0.1, clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def weights(spandrel, tmp_path_factory):
    """A small NAFNet after a short training on noise, saved as such checkpoints are."""
    import torch
    from safetensors.torch import save_file
    from spandrel.architectures.NAFNet import NAFNet

    torch.manual_seed(0)
    net = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=[1], dec_blk_nums=[1])
    optimiser = torch.optim.AdamW(net.parameters(), lr=8e-3)
    clean = torch.from_numpy(np.stack([scene(k, 40) for k in range(8)])).permute(0, 3, 1, 2)
    for _ in range(60):
        optimiser.zero_grad()
        restored = net((clean + 0.1 * torch.randn_like(clean)).clamp(0, 1))
        (restored - clean).abs().mean().backward()
        optimiser.step()
    path = tmp_path_factory.mktemp("weights") / "denoise.safetensors"
    save_file(net.state_dict(), path)
    return path


def test_a_checkpoint_is_a_restorer(weights):
    clean = scene(99)
    photo = noisy(clean, 5)
    base = restorers.restore(photo, str(weights))

    assert base.shape == photo.shape
    assert base.dtype == np.float32
    assert np.mean((base - clean) ** 2) < 0.5 * np.mean((photo - clean) ** 2)


def test_its_base_takes_the_tone_of_a_prior(weights):
    """The adapter: any network's base, any generator's prior, no training."""
    blocks = np.random.default_rng(3).random((12, 16, 3), np.float32)
    clean = 0.1 + 0.8 * np.kron(blocks, np.ones((10, 10, 1), np.float32))
    photo, prior = noisy(0.4 * clean, 5), clean
    restoration = verax.restore(photo, prior, restorer=str(weights))

    assert np.array_equal(restoration.base, restorers.restore(photo, str(weights)))
    assert restoration.prior == "used"
    assert np.mean((restoration.pixels - clean) ** 2) < 0.5 * np.mean((photo - clean) ** 2)


def test_it_takes_any_size_tile_by_tile(weights):
    photo = noisy(scene(1, 530)[:, :51].copy(), 0)

    assert restorers.restore(photo, str(weights)).shape == (530, 51, 3)


def test_a_network_that_enlarges_is_refused(spandrel, tmp_path):
    from safetensors.torch import save_file
    from spandrel.architectures.ESRGAN import ESRGAN

    path = tmp_path / "larger.safetensors"
    save_file(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), path)

    with pytest.raises(
        SettingsError, match=r"larger\.safetensors: .* got ESRGAN, which enlarges 4 times"
    ):
        restorers.restore(scene(0), str(path))


def test_a_file_that_is_no_network_is_said(spandrel, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"no")

    with pytest.raises(SettingsError, match="or weights that spandrel knows"):
        restorers.restore(scene(0), str(tmp_path / "x.pth"))


def test_without_spandrel_the_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)

    with pytest.raises(MissingExtraError, match=r"verax\[checkpoint|spandrel"):
        restorers.restore(scene(0), "some/weights.pth")
