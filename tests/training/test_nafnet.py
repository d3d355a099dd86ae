import pytest
import torch
import toy

from verax.restorers.nafnet import DetailNet, ToneNet, apply_transform


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.rand(1, 12, 64, 48)


def test_networks_start_near_the_photo(inputs):
    torch.manual_seed(0)
    transform, _ = ToneNet(toy.TINY_TONE)(inputs[:, :3])
    residual, gates, _ = DetailNet(toy.TINY)(inputs)

    assert (apply_transform(inputs[:, :3], transform) - inputs[:, :3]).abs().mean() < 0.05
    assert residual.abs().max() < 0.05
    assert gates.max() < 0.05


def test_the_default_networks_have_the_size_that_ships():
    sizes = [sum(p.numel() for p in net.parameters()) for net in (ToneNet(), DetailNet())]

    assert all(0.5e6 < size < 2.7e6 for size in sizes)


def test_detail_does_not_depend_on_what_is_far_away(inputs):
    torch.manual_seed(0)
    net = DetailNet(toy.TINY).eval()
    wide = torch.cat([inputs, torch.rand(1, 12, 64, 208)], 3)
    changed = wide.clone()
    changed[..., 200:] = 0

    with torch.no_grad():
        first, second = net(wide)[0], net(changed)[0]

    assert torch.equal(first[..., :96], second[..., :96])
    assert not torch.equal(first[..., 200:], second[..., 200:])


def test_the_identity_transform_keeps_the_photo(inputs):
    assert torch.equal(apply_transform(inputs[:, :3], torch.zeros(1, 6, 8, 6)), inputs[:, :3])


def test_severities_are_of_the_degradations_in_their_order():
    from verax import degrade
    from verax.restorers.runtime import TASKS

    assert tuple(degrade.TASKS) == TASKS
