"""The simulator's ground truth is true: undoing what it reports gives the clean photo back."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from verax.errors import SettingsError, SizeMismatchError
from verax.priors.changes import KINDS
from verax.priors.simulated import (
    FREE_SIZES,
    ON_GRID,
    Deviations,
    ObjectEdit,
    Shares,
    SimulatorSettings,
    Tone,
    draw,
    inject,
    mix,
    simulate,
)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-9)


@pytest.fixture(scope="module")
def clean():
    picture = np.ascontiguousarray(data.astronaut()[40:340, 60:460], np.float32) / 255
    return cv2.GaussianBlur(picture, (0, 0), 1.0)  # resampling twice must not be the finding


def registered(prior, shape):
    """The prior on the photo's grid by the reported matrix and field, and where it was seen."""
    height, width = shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack([x, y], 2).astype(np.float64)
    if prior.field is not None:
        points += prior.field
    q = np.concatenate([points, np.ones((height, width, 1))], 2) @ np.linalg.inv(prior.matrix).T
    qx, qy = (q[..., i] / q[..., 2] for i in (0, 1))
    pixels = cv2.remap(prior.prior, qx.astype(np.float32), qy.astype(np.float32), cv2.INTER_CUBIC)
    rows, columns = prior.prior.shape[:2]
    inside = (qx > 2) & (qx < columns - 3) & (qy > 2) & (qy < rows - 3)
    return pixels, inside


def test_no_deviation_is_the_photo(clean):
    same = inject(clean, Deviations(), seed=1)

    np.testing.assert_array_equal(same.prior, clean)
    np.testing.assert_allclose(same.matrix, np.eye(3), atol=1e-12)
    assert same.field is None
    assert same.objects == ()


GEOMETRY = {
    "shift": Deviations(shift_x=0.03, shift_y=-0.02),
    "scale": Deviations(scale_x=1.12, scale_y=0.88),
    "rotation": Deviations(rotation_deg=3.0),
    "perspective": Deviations(perspective_x=0.03, perspective_y=-0.02),
    "local": Deviations(local=0.01),
    "stretch": Deviations(size=(1024, 1024)),
    "crop": Deviations(size=(512, 512), canvas="crop"),
    "outpaint": Deviations(size=(512, 512), canvas="outpaint"),
    "letterbox": Deviations(size=(512, 640), canvas="letterbox"),
    "all": Deviations(
        size=(700, 500), shift_x=0.05, scale_y=1.1, rotation_deg=-2, perspective_x=0.02, local=0.01
    ),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_matrix_and_field_bring_the_prior_back_onto_the_photo(name, clean):
    prior = inject(clean, GEOMETRY[name], seed=5)

    pixels, covered = registered(prior, clean.shape)

    assert covered.mean() > 0.5
    assert psnr(pixels[covered], clean[covered]) > 36


def test_a_shift_moves_the_matrix_by_that_share_of_the_photo(clean):
    prior = inject(clean, Deviations(shift_x=0.03), seed=0)

    np.testing.assert_allclose(prior.matrix, [[1, 0, 12], [0, 1, 0], [0, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(prior.prior[:, :380], clean[:, 12:392], atol=2e-3)


def test_perspective_moves_the_corners_by_that_share(clean):
    height, width = clean.shape[:2]
    matrix = inject(clean, Deviations(perspective_x=0.03), seed=0).matrix
    corner = matrix @ [width - 1, (height - 1) / 2, 1]

    assert abs(corner[0] / corner[2] - (width - 1)) / width == pytest.approx(0.03, rel=0.1)


def test_the_local_field_has_the_asked_median(clean):
    field = inject(clean, Deviations(local=0.02), seed=3).field

    assert np.median(np.hypot(field[..., 0], field[..., 1])) == pytest.approx(0.02 * 400, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_masked_pixels_change_when_a_thing_does(kind, clean):
    prior = inject(clean, Deviations(objects=(ObjectEdit(kind, area=0.02),)), seed=2)
    (change,) = prior.objects
    masked = cv2.dilate((change.lost | change.gained).astype(np.uint8), np.ones((3, 3))) > 0
    difference = np.abs(prior.prior - clean).max(2)
    left, top, right, bottom = change.box

    assert difference[~masked].max() < 1e-6
    assert difference[masked].mean() > 0.01
    assert (change.lost | change.gained)[top:bottom, left:right].sum() == (
        change.lost | change.gained
    ).sum()


def test_a_removed_thing_has_the_asked_area(clean):
    prior = inject(clean, Deviations(objects=(ObjectEdit("removed", area=0.02),)), seed=2)

    assert prior.objects[0].lost.mean() == pytest.approx(0.02, abs=1e-4)
    assert not prior.objects[0].gained.any()


def test_a_moved_thing_is_found_at_the_reported_shift(clean):
    edit = ObjectEdit("moved", area=0.02, distance=0.05)
    prior = inject(clean, Deviations(objects=(edit,)), seed=9)
    (change,) = prior.objects
    dx, dy = (round(v) for v in change.shift)
    core = cv2.erode(change.gained.astype(np.uint8), np.ones((5, 5))) > 0
    ys, xs = np.nonzero(core)

    np.testing.assert_allclose(prior.prior[ys, xs], clean[ys - dy, xs - dx], atol=1e-5)
    assert np.hypot(dx, dy) == pytest.approx(0.05 * 400, abs=1)


def test_texture_changes_detail_and_nothing_coarser():
    photo = np.ascontiguousarray(data.grass()[:256, :256, None].repeat(3, 2), np.float32) / 255
    prior = inject(photo, Deviations(texture=1.0, texture_px=2.0), seed=1).prior

    def detail(x):
        return (x - cv2.GaussianBlur(x, (0, 0), 2.0))[..., 0].ravel()

    coarse = [cv2.GaussianBlur(x, (0, 0), 6.0) for x in (photo, prior)]
    assert np.corrcoef(detail(photo), detail(prior))[0, 1] < 0.6
    assert psnr(*coarse) > 32


def test_exposure_doubles_linear_light_per_stop():
    grey = np.full((16, 16, 3), 0.3, np.float32)
    brighter = inject(grey, Deviations(tone=Tone(exposure_ev=1.0)), seed=0).prior
    linear = ((np.array([0.3, brighter[4, 4, 1]]) + 0.055) / 1.055) ** 2.4

    assert linear[1] / linear[0] == pytest.approx(2.0, rel=2e-3)


def test_a_colour_mix_keeps_grey_grey():
    grey = np.full((16, 16, 3), 0.4, np.float32)
    mixed = inject(grey, Deviations(tone=Tone(colour=0.2, saturation=1.5)), seed=4).prior

    np.testing.assert_allclose(mixed, 0.4, atol=2e-3)


def test_one_ingredient_switched_off_moves_no_other(clean):
    with_tone = Deviations(local=0.01, tone=Tone(exposure_ev=0.5))
    without = Deviations(local=0.01)

    fields = [inject(clean, d, seed=6).field for d in (with_tone, without)]

    np.testing.assert_array_equal(*fields)


def test_settings_with_everything_off_draw_no_deviation():
    off = SimulatorSettings(
        sizes=None,
        canvases=(("stretch", 1.0),),
        shift=(0, 0),
        scale=(1, 1),
        rotation_deg=0,
        perspective=0,
        local=(0, 0),
        objects=(0, 0),
        texture=(0, 0),
        sharpening=(0, 0),
        tone=(0, 0),
        night=0,
        residual=0,
        jpeg=0,
    )
    drawn = [draw(np.random.default_rng(k), (300, 200), off) for k in range(20)]

    assert {replace(d, local_cells=4.0, texture_px=2.0) for d in drawn} == {Deviations()}


def test_simulation_is_a_function_of_photo_seed_and_settings(clean):
    once, again, other = (simulate(clean, seed=s) for s in (3, 3, 4))

    np.testing.assert_array_equal(once.prior, again.prior)
    assert once.deviations == again.deviations
    assert once.deviations != other.deviations
    assert once.prior.shape[:2] in {(1024, 1024), (1024, 1536), (1536, 1024)}


def test_free_sizes_are_multiples_of_sixteen(clean):
    prior = simulate(clean, seed=1, settings=SimulatorSettings(sizes=FREE_SIZES)).prior

    assert prior.shape[:2] == (304, 400)


def test_a_photo_much_larger_than_the_canvas_keeps_its_ground_truth(clean):
    large = cv2.resize(clean, (1600, 1200), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    prior = inject(large, Deviations(size=(512, 512), shift_x=0.04, local=0.008), seed=2)

    pixels, covered = registered(prior, large.shape)

    assert psnr(pixels[covered], large[covered]) > 30


def test_traces_of_the_degradation_stay_where_asked(clean):
    dark = clean * np.float32(0.1)
    prior = inject(clean, Deviations(residual=0.4), seed=1, degraded=dark).prior

    assert 0.15 < 1 - (prior.mean() - dark.mean()) / (clean.mean() - dark.mean()) < 0.7
    with pytest.raises(SizeMismatchError):
        inject(clean, Deviations(residual=0.4), seed=1, degraded=dark[:10])


def test_training_meets_every_kind_of_prior_at_its_share(clean):
    crop = np.ascontiguousarray(clean[:48, :48])
    degraded, other = crop * np.float32(0.5), crop[::-1].copy()
    shares = Shares(foreign=0.3, none=0.3, photo=0.2)

    drawn = [mix(crop, degraded, other, seed=s, shares=shares) for s in range(150)]
    kinds = ["none" if prior is None else prior.kind for prior in drawn]

    for kind, share in {"foreign": 0.3, "none": 0.3, "photo": 0.2, "same": 0.2}.items():
        assert kinds.count(kind) / 150 == pytest.approx(share, abs=0.12)
    assert all(p is None or p.prior.shape == crop.shape for p in drawn)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (40, 7)])
def test_tiny_pictures_are_simulated_too(shape):
    picture = np.random.default_rng(0).random((*shape, 3), np.float32)

    prior = simulate(picture, seed=1, settings=ON_GRID).prior

    assert prior.shape == picture.shape
    assert np.isfinite(prior).all()


def test_impossible_amounts_are_refused():
    with pytest.raises(SettingsError):
        Deviations(scale_x=0.0)
    with pytest.raises(SettingsError):
        ObjectEdit("removed", area=0.9)
    with pytest.raises(SettingsError):
        ObjectEdit("eaten")  # type: ignore[arg-type]
