"""Our values beside those of other libraries, on real photos."""

import csv

import cv2
import numpy as np
import pytest
import skimage.data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from verax.image import read
from verax.metrics import score

# piq 0.8.0 (FSIMc, GMSD), scikit-video 1.1.11 (NIQE), brisque 0.2.0 (BRISQUE, on 8-bit levels),
# printed by benchmarks/golden_metrics.py with numpy 2.3.5 and torch 2.13.0 on 2026-11-20.
# Tolerances: float32 sums of another order for piq, steps of a table for NIQE.
#              FSIM, GMSD, NIQE, BRISQUE
GOLDEN = {
    "astronaut noise": (0.966736, 0.044930, 10.5077, 33.7673),
    "astronaut blur": (0.951493, 0.080136, 16.0887, 53.8603),
    "chelsea noise": (0.870027, 0.041331, 12.8606, 35.0793),
    "chelsea blur": (0.899929, 0.052896, 21.4371, 55.4646),
    "coffee noise": (0.963650, 0.048094, 12.1890, 26.6064),
    "coffee blur": (0.948153, 0.069197, 18.6668, 71.2584),
}


def photo(name):
    return getattr(skimage.data, name)().astype(np.float32) / np.float32(255)


@pytest.fixture(scope="module")
def pairs():
    """The same pictures as in benchmarks/golden_metrics.py."""
    noise = np.random.default_rng(0)
    result = {}
    for name in ("astronaut", "chelsea", "coffee"):
        clean = photo(name)
        noisy = np.clip(clean + noise.normal(0, 0.05, clean.shape), 0, 1).astype(np.float32)
        result[f"{name} noise"] = noisy, clean
        result[f"{name} blur"] = cv2.GaussianBlur(clean, (0, 0), 1.5), clean
    return result


@pytest.mark.parametrize("name", GOLDEN)
def test_fsim_and_gmsd_equal_piq(name, pairs):
    fsim, gmsd = (s.value for s in score(*pairs[name], ["fsim", "gmsd"]))

    assert fsim == pytest.approx(GOLDEN[name][0], abs=1e-4)
    assert gmsd == pytest.approx(GOLDEN[name][1], abs=1e-5)


@pytest.mark.parametrize("name", GOLDEN)
def test_niqe_equals_scikit_video(name, pairs):
    (niqe,) = score(pairs[name][0], None, ["niqe"])

    assert niqe.value == pytest.approx(GOLDEN[name][2], rel=3e-3)


@pytest.mark.parametrize("name", GOLDEN)
def test_brisque_equals_the_brisque_package(name, pairs):
    levels = np.rint(pairs[name][0] * 255).astype(np.float32) / np.float32(255)

    (brisque,) = score(levels, None, ["brisque"])

    assert brisque.value == pytest.approx(GOLDEN[name][3], rel=3e-3)


@pytest.mark.parametrize("name", ["astronaut blur", "coffee noise"])
def test_psnr_and_ssim_equal_scikit_image(name, pairs):
    check_scikit_image(*pairs[name])


def check_scikit_image(restored, reference):
    psnr, ssim = (s.value for s in score(restored, reference, ["psnr", "ssim"]))
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    assert psnr == pytest.approx(
        peak_signal_noise_ratio(reference, restored, data_range=1), abs=1e-4
    )
    assert ssim == pytest.approx(
        structural_similarity(reference, restored, data_range=1, channel_axis=2, **wang), abs=1e-4
    )


@pytest.mark.parametrize("name", ["astronaut blur", "chelsea noise"])
def test_ms_ssim_and_vif_equal_torchmetrics(name, pairs):
    pytest.importorskip("torchmetrics")
    check_torchmetrics(*pairs[name])


def check_torchmetrics(restored, reference):
    import torch
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        visual_information_fidelity,
    )

    ms_ssim, vif = (s.value for s in score(restored, reference, ["ms_ssim", "vif"]))
    ours, theirs = (
        torch.from_numpy(p.transpose(2, 0, 1)[None].copy()) for p in (restored, reference)
    )

    assert ms_ssim == pytest.approx(
        float(multiscale_structural_similarity_index_measure(ours, theirs, data_range=1.0)),
        abs=1e-3,
    )
    assert vif == pytest.approx(
        float(visual_information_fidelity(ours * 255, theirs * 255)), abs=1e-3
    )


@pytest.mark.slow
def test_parity_holds_on_real_degraded_photos(pictures):
    pytest.importorskip("torchmetrics")
    with (pictures / "manifest.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["target"] and r["input"]]
    checked = 0
    for row in rows[:: len(rows) // 12]:
        restored, reference = (read(pictures / row[k]).pixels for k in ("input", "target"))
        if restored.shape == reference.shape and min(restored.shape[:2]) > 180:
            check_scikit_image(restored, reference)
            check_torchmetrics(restored, reference)
            checked += 1

    assert checked >= 6
