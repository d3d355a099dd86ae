import pytest
import torch
import toy

from verax.training.fusion_net import FusionNet, agreement, fused, light_worth, taken_shares
from verax.training.nafnet import DetailNet, ToneNet, toned


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.rand(1, 12, 64, 48)


@pytest.fixture
def pictures():
    """Input of the fusion network."""
    torch.manual_seed(1)
    return torch.rand(1, 19, 64, 48)


def test_networks_start_near_the_photo(inputs, pictures):
    torch.manual_seed(0)
    transform, _ = ToneNet(toy.TINY_TONE)(inputs[:, :3])
    residual, gates, _ = DetailNet(toy.TINY)(inputs)
    _, taken = FusionNet(toy.TINY)(pictures)

    assert (toned(inputs[:, :3], transform) - inputs[:, :3]).abs().mean() < 0.05
    assert residual.abs().max() < 0.05
    assert gates.max() < 0.05
    assert taken[:, 1:].max() < 0.05
    assert torch.allclose(taken[:, :1], light_worth(pictures[:, 15:]).clamp(0.02, 0.98), atol=0.05)


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
    assert torch.equal(toned(inputs[:, :3], torch.zeros(1, 6, 8, 6)), inputs[:, :3])


@pytest.mark.parametrize(
    ("faults", "worth"),
    [((0.8, 0, 0, 0), 0.9), ((0, 0.6, 0, 0), 0.75), ((0, 0, 0, 0), 0.0), ((0.8, 0, 0, 0.6), 0.0)],
    ids=["haze", "darkness", "nothing", "rain before haze"],
)
def test_the_priors_light_is_worth_having_where_the_photos_own_is_wrong(faults, worth):
    assert light_worth(torch.tensor(faults).view(1, 4, 1, 1)).item() == pytest.approx(worth)


def test_the_fusion_network_adds_no_light_of_its_own(pictures):
    net = FusionNet(toy.TINY).eval()
    before, _ = net(pictures)
    with torch.no_grad():
        net.head.bias[: 3 * net.finer**2] += 0.3  # of the residual: brighter everywhere
    after, _ = net(pictures)

    assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("push", [-50, 50])
def test_the_fusion_network_corrects_the_rule_about_light_only_a_little(pictures, push):
    pictures[:, 15:] = torch.tensor([0.25, 0, 0, 0]).view(1, 4, 1, 1)  # half of the most
    net = FusionNet(toy.TINY).eval()
    with torch.no_grad():
        net.head.bias[3 * net.finer**2 : 4 * net.finer**2] += push
    _, taken = net(pictures)

    assert taken[:, :1].min() > 0.3
    assert taken[:, :1].max() < 0.6


@pytest.mark.parametrize("plane", [12, 14], ids=["confidence", "validity"])
def test_without_trust_no_pixel_of_the_prior_is_taken(pictures, plane):
    pictures[:, plane] = 0
    shares = taken_shares(pictures, torch.ones(1, 2, 64, 48))
    for light, wanted in ((0, pictures[:, 3:6]), (1, pictures[:, 6:9])):
        taken = torch.cat([torch.full((1, 1, 64, 48), light), shares], 1)
        out = fused(pictures, torch.zeros(1, 3, 64, 48), taken)

        assert torch.allclose(out, wanted, atol=1e-6)


def test_open_gates_take_over_a_prior_that_is_the_photo(pictures):
    pictures[:, 9:12] = pictures[:, 3:6] = pictures[:, 6:9] = pictures[:, :3]
    pictures[:, 12:] = 1
    out = fused(pictures, torch.zeros(1, 3, 64, 48), torch.ones(1, 3, 64, 48))

    assert (out - pictures[:, :3]).abs().max() < 1e-3


def test_gradients_agree_with_themselves_not_with_a_stranger(inputs):
    photo, stranger = inputs[:, :3], inputs[:, 3:6]

    assert agreement(photo, 0.3 + 0.4 * photo).min() > 0.9
    assert agreement(photo, stranger).mean() < 0.2
    assert agreement(photo, 1 - photo).max() == 0
