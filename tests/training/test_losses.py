import pytest
import torch

from verax.training import objective as losses


@pytest.fixture
def pictures():
    torch.manual_seed(0)
    return torch.rand(2, 3, 32, 48), torch.rand(2, 3, 32, 48)


@pytest.mark.parametrize("loss", [losses.charbonnier, losses.frequency], ids=lambda f: f.__name__)
def test_a_picture_is_at_no_distance_from_itself(loss, pictures):
    assert float(loss(pictures[0], pictures[0])) == pytest.approx(0, abs=1e-6)


def test_charbonnier_tends_to_the_mean_absolute_difference(pictures):
    a, b = pictures

    assert float(losses.charbonnier(a, b)) == pytest.approx(float((a - b).abs().mean()), abs=1e-3)


def test_ten_times_decibels_is_psnr_turned_around():
    a = torch.zeros(2, 3, 8, 8)
    b = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.5)])

    assert -10 * float(losses.decibels(a, b)) == pytest.approx((20 + 6.02) / 2, abs=0.05)


def test_frequency_sees_a_constant_offset_as_one_line_of_the_spectrum():
    a = torch.zeros(1, 1, 8, 8)
    # ortho: the mean bin is offset * sqrt(64); 8 * 5 bins in the half spectrum
    assert float(losses.frequency(a + 0.5, a)) == pytest.approx(0.5 * 8 / 40)


def test_a_line_in_the_photo_is_no_structure(pictures):
    photo = pictures[0]
    flat = torch.full_like(photo, 0.5)

    assert float(losses.structure(0.2 + 0.6 * photo, photo, flat)) < 0.01


def test_structure_the_photo_does_not_show_is_invented_unless_the_reference_has_it(pictures):
    photo, other = pictures
    flat = torch.full_like(photo, 0.5)

    assert float(losses.structure(other, photo, flat)) > 0.05
    assert float(losses.structure(other, photo, other)) == 0


def test_severity_is_best_where_it_is_right():
    known = torch.tensor([[0.0, 0.3, 1.0]])
    estimates = torch.linspace(0.05, 0.95, 19)
    costs = [float(losses.severity(torch.tensor([[0.0, e, 1.0]]), known)) for e in estimates]

    assert float(losses.severity(known, known)) == pytest.approx(0, abs=1e-6)
    assert float(estimates[costs.index(min(costs))]) == pytest.approx(0.3, abs=0.03)
