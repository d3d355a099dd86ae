"""Facts about metrics that compare with a reference."""

import cv2
import numpy as np
import pytest
import skimage.data

from verax.errors import ImageContractError, InputError, SizeMismatchError, UnknownNameError
from verax.metrics import METRICS, PSNR_CAP_DB, Protocol, parse_protocol, score

COMPARING = [n for n, m in METRICS.items() if m.needs == "reference" and not m.install]
ALONE = [n for n, m in METRICS.items() if m.needs == "nothing" and not m.install]
BEST = {"psnr": PSNR_CAP_DB, "gmsd": 0.0, "ciede2000": 0.0}


@pytest.fixture(scope="module")
def photo():
    cat = skimage.data.chelsea()[20:276, 60:316]
    return cat.astype(np.float32) / np.float32(255)


def noisy(photo, level):
    noise = np.random.default_rng(1).normal(0, 1, photo.shape)
    return np.clip(photo + level * noise, 0, 1).astype(np.float32)


def value(name, *pictures, protocol=Protocol()):
    restored, reference = pictures if len(pictures) == 2 else (*pictures, None)
    return score(restored, reference, [name], protocol)[0].value


@pytest.mark.parametrize("name", COMPARING)
def test_a_picture_against_itself_reads_the_best_value(name, photo):
    assert value(name, photo, photo) == pytest.approx(BEST.get(name, 1.0), abs=1e-5)


@pytest.mark.parametrize("name", COMPARING)
def test_more_noise_reads_worse(name, photo):
    sign = 1 if METRICS[name].direction == "higher" else -1
    values = [sign * value(name, noisy(photo, level), photo) for level in (0.02, 0.06, 0.18)]
    if name != "edge_recall":  # noise hides few strong edges
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("name", ["psnr", "ssim", "ms_ssim", "cw_ssim", "fsim", "gmsd"])
def test_symmetric_metrics_do_not_care_which_picture_is_the_reference(name, photo):
    other = noisy(photo, 0.05)

    assert value(name, photo, other) == pytest.approx(value(name, other, photo), abs=1e-5)


@pytest.mark.parametrize("step", [1, 4, 32])
def test_psnr_of_a_constant_offset_is_closed_form(step):
    low = np.full((8, 8, 3), 0.25, np.float32)
    high = low + np.float32(step / 255)

    assert value("psnr", high, low) == pytest.approx(20 * np.log10(255 / step), abs=1e-4)


def test_psnr_on_luma_of_a_green_offset_is_closed_form():
    low = np.full((8, 8, 3), 0.25, np.float32)
    high = low + np.array([0, 0.1, 0], np.float32)
    step = 0.1 * 128.553 / 255

    got = value("psnr", high, low, protocol=Protocol("y"))

    assert got == pytest.approx(-20 * np.log10(step), abs=1e-3)


def test_a_border_hides_what_happens_in_it(photo):
    framed = photo.copy()
    framed[:4] = 0

    assert value("psnr", framed, photo, protocol=Protocol(border_px=4)) == PSNR_CAP_DB


def test_cw_ssim_forgives_a_small_shift_that_ssim_does_not(photo):
    matrix = np.float32([[1, 0, 1.0], [0, 1, 0]])
    moved = cv2.warpAffine(photo, matrix, (256, 256), borderMode=cv2.BORDER_REFLECT_101)

    assert value("cw_ssim", moved, photo) > 0.9 > 0.86 > value("ssim", moved, photo)


def test_edges_added_cost_precision_and_edges_removed_cost_recall(photo):
    flat = cv2.GaussianBlur(photo, (0, 0), 6)
    drawn = flat.copy()
    drawn[40:44, 20:236] = 0

    assert value("edge_precision", drawn, flat) < 0.9
    assert value("edge_recall", drawn, flat) == pytest.approx(1.0, abs=0.05)
    assert value("edge_recall", flat, drawn) < 0.9


def test_more_contrast_than_the_reference_is_more_than_all_information(photo):
    soft = (0.5 + 0.5 * (photo - 0.5)).astype(np.float32)

    assert value("vif", photo, soft) > 1.1


def test_sizes_that_differ_are_refused_with_the_way_out(photo):
    with pytest.raises(SizeMismatchError, match="--align canvas, global or local"):
        score(photo[:-1], photo)


def test_nan_is_refused(photo):
    broken = photo.copy()
    broken[0, 0, 0] = np.nan

    with pytest.raises(ImageContractError, match="reference"):
        score(photo, broken)


def test_an_unknown_metric_is_refused_with_the_nearest_name(photo):
    with pytest.raises(UnknownNameError, match="did you mean 'ssim'"):
        score(photo, photo, ["ssmi"])


def test_a_comparing_metric_without_reference_is_refused(photo):
    with pytest.raises(InputError, match="psnr: expected a reference"):
        score(photo, None, ["psnr"])


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "vif", "niqe", "brisque"])
def test_a_picture_too_small_is_refused_with_the_size_wanted(name):
    small = np.zeros((9, 9, 3), np.float32)

    with pytest.raises(InputError, match=rf"{name}: expected at least \d+ px"):
        score(small, small, [name])


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.install])
def test_a_learned_metric_says_what_to_install(name, photo):
    pytest.importorskip("torch")
    try:
        import pyiqa  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("pyiqa is installed")

    with pytest.raises(InputError, match="pip install pyiqa"):
        score(photo, photo, [name])


@pytest.mark.parametrize("name", ALONE)
def test_a_flat_picture_has_a_finite_score(name):
    flat = np.full((256, 256, 3), 0.5, np.float32)

    assert np.isfinite(value(name, flat))


def test_scores_carry_their_protocol(photo):
    rgb = score(photo, photo, ["psnr"])[0]
    luma = score(photo, photo, ["psnr"], Protocol("y", 4))[0]

    assert (luma.channel, luma.border_px, luma.resampler) == ("y", 4, "none")
    assert rgb.protocol != luma.protocol
    assert rgb.library == "verax on numpy"


def test_metrics_with_a_channel_of_their_own_say_so(photo):
    assert score(photo, photo, ["fsim"], Protocol("y"))[0].channel == "yiq"


@pytest.mark.parametrize(
    ("text", "protocol"),
    [("rgb", Protocol()), ("y", Protocol("y")), ("y:4", Protocol("y", 4))],
)
def test_protocols_are_written_as_channel_and_border(text, protocol):
    assert parse_protocol(text) == protocol


@pytest.mark.parametrize("text", ["", "lab", "y:-1", "y:four"])
def test_other_protocol_texts_are_refused(text):
    with pytest.raises(InputError, match="expected rgb or y"):
        parse_protocol(text)
