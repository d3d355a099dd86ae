"""Damage of a print: found from the pair, filled from the prior, left alone where there is none."""

import cv2
import numpy as np
import pytest
from skimage import data

from verax import image as images
from verax.degrade import damage
from verax.prints.damage import find_damage
from verax.prints.holes import fill, relight
from verax.prints.pieces import with_lines


@pytest.fixture(scope="module")
def scene():
    return images.from_uint8(np.ascontiguousarray(data.astronaut()[:400, :400]))


@pytest.fixture(scope="module")
def prior(scene):
    """The same scene in other light, a little softer, with something added."""
    shown = np.clip(0.05 + 1.1 * cv2.GaussianBlur(scene, (0, 0), 0.8), 0, 1)
    cv2.circle(shown, (330, 60), 18, (0.2, 0.5, 0.3), -1)
    return np.asarray(shown, np.float32)


@pytest.fixture(scope="module", params=range(3))
def damaged(request, scene):
    return damage(scene, np.random.default_rng(request.param), holes=2, scratches=3, specks=8)


def psnr(a, b, mask):
    return float(-10 * np.log10(np.mean((a - b)[mask] ** 2)))


def test_simulated_damage_stays_inside_its_masks(scene, damaged):
    assert all(part.any() for part in (damaged.holes, damaged.scratches, damaged.dust))
    assert np.abs(damaged.pixels - scene)[~damaged.mask].max() < 0.11


def test_holes_and_scratches_are_found(prior, damaged):
    flaws = find_damage(damaged.pixels, prior, np.ones(prior.shape[:2], np.float32), known=True)

    true = damaged.mask
    assert 2 * (flaws.mask & true).sum() / (flaws.mask.sum() + true.sum()) > 0.75
    assert (flaws.mask & ~true).sum() < 0.2 * flaws.mask.sum()


def test_a_plain_thing_that_the_prior_added_is_no_hole(scene, prior):
    flaws = find_damage(scene, prior, np.ones(prior.shape[:2], np.float32), known=True)

    assert not flaws.mask[40:80, 310:350].any()


def test_a_hole_is_found_though_a_scratch_runs_into_it_and_its_luma_is_the_scenes():
    photo = np.full((400, 400, 3), (0.35, 0.55, 0.9), np.float32)
    photo[:] += 0.1 * np.linspace(0, 1, 400, dtype=np.float32)[:, None, None]
    sky = np.asarray(np.clip(0.9 * photo + 0.05, 0, 1), np.float32)
    hole, scratch = np.zeros((400, 400), np.uint8), np.zeros((400, 400), np.uint8)
    cv2.circle(hole, (150, 200), 22, 1, -1)
    cv2.line(scratch, (150, 200), (360, 80), 1, 4)
    photo[scratch > 0] = 0.97
    photo[hole > 0] = (0.75, 0.72, 0.68)

    flaws = find_damage(photo, sky, np.ones((400, 400), np.float32), known=True)

    assert flaws.mask[hole > 0].mean() > 0.9
    assert flaws.mask[scratch > 0].mean() > 0.7


def test_a_sound_photo_has_no_damage_whatever_the_prior_added(scene, prior):
    flaws = find_damage(scene, prior, np.ones(prior.shape[:2], np.float32))

    assert not flaws.mask.any()


def test_the_table_along_a_side_of_a_print_is_no_hole(scene):
    shot = scene.copy()
    shot[:, :10] = 0.04

    flaws = find_damage(shot, scene, np.ones(scene.shape[:2], np.float32), known=True)

    assert not flaws.mask[:, :10].any()


@pytest.fixture(scope="module")
def worn(scene):
    """A faded print in colour on a table: paper border, tape, a crease, dust; and where each is."""
    print_ = 0.25 + 0.7 * scene * np.float32([1, 0.9, 0.75])
    tape, crease, border = (np.zeros(scene.shape[:2], np.uint8) for _ in range(3))
    cv2.fillPoly(tape, [np.array([[40, 0], [90, 0], [130, 399], [80, 399]])], 1)
    cv2.line(crease, (399, 30), (150, 330), 1, 2)
    border[:18], border[-18:], border[:, :18], border[:, -18:] = 1, 1, 1, 1
    print_[tape > 0] = 0.5 * print_[tape > 0] + 0.5 * np.float32([0.9, 0.8, 0.4])
    print_[crease > 0] = np.float32([0.95, 0.93, 0.9])
    dusty = damage(print_, np.random.default_rng(2), holes=0, scratches=0, specks=40)
    pixels = np.where(border[..., None] > 0, np.float32([0.97, 0.95, 0.9]), dusty.pixels)
    return np.asarray(pixels, np.float32), tape > 0, crease > 0, border > 0


def test_tape_creases_and_border_of_a_colour_print_are_found_without_the_option(worn, prior):
    pixels, tape, crease, border = worn

    flaws = find_damage(pixels, prior, np.ones(tape.shape, np.float32), colour=True)

    true = tape | crease | border
    assert flaws.mask[border].mean() > 0.95
    assert flaws.border == pytest.approx(border.mean(), abs=0.05)
    assert flaws.mask[tape].mean() > 0.5
    assert flaws.mask[crease & ~tape & ~border].mean() > 0.8
    assert (flaws.mask & ~true).sum() < 0.12 * (~true).sum()


def test_a_faded_print_without_damage_stays_whole(scene, prior):
    faded = np.asarray(0.25 + 0.7 * scene * np.float32([1, 0.9, 0.75]), np.float32)

    assert not find_damage(faded, prior, np.ones(scene.shape[:2], np.float32)).mask.any()


def test_a_prior_is_brought_into_the_light_of_a_faded_print(worn, scene, prior):
    pixels, tape, crease, border = worn
    sound = ~(tape | crease | border)

    lit = relight(pixels, prior, sound)

    faded = 0.25 + 0.7 * scene * np.float32([1, 0.9, 0.75])
    assert np.abs(lit - faded)[tape].mean() < 0.04


def test_dust_that_the_prior_lacks_is_found_without_the_option(scene, prior):
    dusty = damage(scene, np.random.default_rng(5), holes=0, scratches=0, specks=120)

    flaws = find_damage(dusty.pixels, prior, np.ones(scene.shape[:2], np.float32))

    edge = cv2.dilate(dusty.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert flaws.specks > 40
    assert (flaws.mask & dusty.mask).sum() > 0.9 * dusty.mask.sum()
    assert (flaws.mask & edge).sum() > 0.7 * flaws.mask.sum()


def test_filling_beats_inpainting_and_leaves_the_rest_alone(scene, prior, damaged):
    mask = cv2.dilate(damaged.mask.astype(np.uint8), np.ones((3, 3))) > 0
    valid = np.ones(mask.shape, np.float32) > 0

    filled = fill(damaged.pixels, relight(damaged.pixels, prior, valid), mask)
    levels = images.to_uint8(damaged.pixels)
    alone = cv2.inpaint(levels, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA)

    assert np.array_equal(filled[~mask], damaged.pixels[~mask])
    assert psnr(filled, scene, mask) > psnr(images.from_uint8(alone), scene, mask) + 3


def test_a_fill_has_the_priors_gradients_and_the_photos_light():
    y, x = np.mgrid[:60, :80].astype(np.float32)
    detail = 0.05 * np.sin(x / 3)[..., None].repeat(3, 2)
    photo = 0.3 + 0.003 * x[..., None] + detail
    mask = (np.hypot(x - 40, y - 30) < 15) & (y > 0)
    holed = np.where(mask[..., None], 1.0, photo).astype(np.float32)

    filled = fill(holed, np.asarray(0.5 + detail, np.float32), mask)

    assert np.abs(filled - photo).max() < 0.012


def test_a_faint_crease_of_a_worn_print_is_found_and_the_scenes_own_lines_are_none():
    crease, fence = (np.zeros((400, 400), np.float32) for _ in range(2))
    cv2.line(crease, (50, 80), (350, 190), 1, 2)
    cv2.line(fence, (50, 300), (350, 280), 1, 2)
    shown = np.full((400, 400, 3), 0.6, np.float32) - 0.2 * fence[..., None]
    grain = 0.02 * np.random.default_rng(3).normal(size=(400, 400, 1))
    photo = np.asarray(np.roll(shown, 1, 0) + grain - 0.03 * crease[..., None], np.float32)
    nothing = np.zeros((400, 400), bool)

    mask = with_lines(nothing, photo, shown, ~nothing, np.float32(0))

    assert mask[crease > 0].mean() > 0.8
    assert not mask[fence > 0].any()
    assert mask.mean() < 0.03


def test_a_worn_colour_photo_is_found_without_the_option_and_a_caption_alone_is_none(scene, prior):
    torn = damage(scene, np.random.default_rng(1), holes=2, scratches=3, specks=20)
    caption = scene.copy()
    for row in (330, 350, 370):
        cv2.line(caption, (40, row), (200, row), (1.0, 1.0, 1.0), 2)
    everywhere = np.ones(scene.shape[:2], np.float32)

    damaged, written = (
        find_damage(v, prior, everywhere, colour=True) for v in (torn.pixels, caption)
    )

    assert damaged.mask[torn.mask].mean() > 0.6
    assert not written.mask.any()


def test_a_dark_scratch_that_runs_into_a_light_hole_is_found():
    photo = np.full((400, 400, 3), 0.5, np.float32)
    photo[:] += 0.1 * np.linspace(0, 1, 400, dtype=np.float32)[:, None, None]
    plain, hole, scratch = photo.copy(), *(np.zeros((400, 400), np.uint8) for _ in range(2))
    cv2.circle(hole, (150, 200), 14, 1, -1)
    cv2.line(scratch, (150, 200), (360, 80), 1, 4)
    photo[scratch > 0] = 0.1
    photo[hole > 0] = 0.95

    flaws = find_damage(photo, plain, np.ones((400, 400), np.float32), known=True)

    assert flaws.mask[hole > 0].mean() > 0.9
    assert flaws.mask[scratch > 0].mean() > 0.9


def test_few_holes_and_scratches_of_a_colour_photo_are_found_unasked_if_the_prior_is_close():
    cat = images.from_uint8(np.ascontiguousarray(data.chelsea()[:300, :400]))
    shown = np.clip(0.05 + 1.1 * cv2.GaussianBlur(cat, (0, 0), 0.8), 0, 1).astype(np.float32)
    damaged = damage(cat, np.random.default_rng(2), holes=2, scratches=3, specks=8)
    valid = np.ones(cat.shape[:2], np.float32)

    flaws = find_damage(damaged.pixels, shown, valid, colour=True)

    assert (flaws.mask & damaged.mask).sum() > 0.8 * damaged.mask.sum()
    assert not find_damage(cat, shown, valid, colour=True).mask.any()
