"""A blur between photo and prior: found by its closed form, taken away exactly, or refused."""

import cv2
import numpy as np
import pytest

from verax.fusion.exact import deblur, find_blur, without_blur
from verax.fusion.planes import luma


def line(length, angle):
    """A motion blur along a line, its kernel of sum 1."""
    kernel = np.zeros((15, 15), np.float32)
    x, y = (length / 2 * f(np.radians(angle)) for f in (np.cos, np.sin))
    start, end = (7 - x, 7 - y), (7 + x, 7 + y)
    ends = [tuple(round(16 * v) for v in point) for point in (start, end)]
    cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_AA, 4)
    return kernel / kernel.sum()


def blurred(image, kernel):
    return cv2.filter2D(image, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)


@pytest.fixture
def everywhere(scene):
    return np.ones(scene.shape[:2], np.float32)


@pytest.mark.parametrize("kernel", [line(7, 30), line(9, 100), cv2.getGaussianKernel(15, 1.8)])
def test_the_kernel_between_a_photo_and_its_sharp_prior_is_recovered_to_a_pixel(
    scene, everywhere, kernel
):
    kernel = np.float32(kernel if kernel.shape[1] > 1 else kernel @ kernel.T)
    blur = find_blur(luma(blurred(scene, kernel)), luma(scene), everywhere)

    assert blur is not None
    middle, half = blur.kernel.shape[0] // 2, min(blur.kernel.shape[0] // 2, 7)
    mine = blur.kernel[middle - half : middle + half + 1, middle - half : middle + half + 1]
    its = kernel[7 - half : 8 + half, 7 - half : 8 + half]
    mine, its = (
        cv2.GaussianBlur(x, (0, 0), 1, borderType=cv2.BORDER_CONSTANT) for x in (mine, its)
    )
    assert (mine * its).sum() / np.sqrt((mine**2).sum() * (its**2).sum()) > 0.9


def test_under_the_kernel_the_result_is_the_photo_again(scene, everywhere, psnr):
    kernel = line(7, 30)
    photo = blurred(scene, kernel)
    prior = np.roll(scene, 1, 1)  # not exactly in place, as priors are
    blur = find_blur(luma(photo), luma(prior), everywhere)
    result, _ = deblur(photo, prior, everywhere, blur, everywhere)

    inner = np.s_[20:-20, 20:-20]
    again = cv2.filter2D(result, -1, blur.kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    assert psnr(again[inner], photo[inner]) > psnr(blurred(prior, kernel)[inner], photo[inner]) + 6


def test_a_photo_without_its_blur_is_nearer_the_truth_than_photo_and_prior(scene, everywhere, psnr):
    rng = np.random.default_rng(3)
    photo = blurred(scene, line(7, 30)) + rng.normal(0, 0.004, scene.shape).astype(np.float32)
    prior = np.clip(scene + 0.05 * cv2.GaussianBlur(rng.normal(0, 3, scene.shape), (0, 0), 2), 0, 1)
    prior = prior.astype(np.float32)
    sharp = without_blur(photo, prior, everywhere, np.array, octaves=4, mean=everywhere)

    assert psnr(sharp.pixels, scene) > max(psnr(photo, scene), psnr(prior, scene)) + 1
    assert sharp.destroyed[0] > sharp.destroyed[-1]


def test_what_no_one_kernel_explains_is_refused(scene, everywhere):
    kernel = line(9, 100)
    halves = blurred(scene, kernel)
    halves[:, : scene.shape[1] // 2] = blurred(scene, line(9, 10))[:, : scene.shape[1] // 2]
    foreign = np.ascontiguousarray(scene[::-1, ::-1])

    assert find_blur(luma(scene), luma(scene), everywhere) is None  # nothing is blurred
    assert find_blur(luma(blurred(scene, kernel)), luma(foreign), everywhere) is None
    share = find_blur(luma(halves), luma(scene), everywhere)
    assert share is None or share.unexplained > 0.1


def test_where_the_blurred_prior_is_not_the_photo_the_photo_stays(scene, everywhere):
    photo = blurred(scene, line(7, 30))
    prior = scene.copy()
    prior[60:120, 100:180] = scene[60:120, 10:90]
    sharp = without_blur(photo, prior, everywhere, np.array, octaves=4, mean=everywhere)

    assert np.abs(sharp.pixels - photo)[75:105, 120:160].mean() < 0.02
