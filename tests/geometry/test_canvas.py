import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verax.catalog.models import Sizes
from verax.errors import InputError, SizeMismatchError
from verax.geometry.canvas import FREE, place, plan, retrieve

FIXED = Sizes(fixed=((1024, 1024), (1536, 1024), (1024, 1536)))
HALF_LEVEL = 0.5 / 255
SIDES = st.integers(1, 12_000)


def noise(width, height, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


@pytest.mark.parametrize("rules", [FREE, FIXED], ids=["free", "fixed"])
@settings(max_examples=100, deadline=None)
@given(width=SIDES, height=SIDES)
def test_a_canvas_is_legal_and_holds_the_photo(rules, width, height):
    if max(width, height) > 36 * min(width, height):
        return  # 1.5 / 36 of a fixed canvas, less a tenth of each side for an integer scale,
        # is what must be shown; narrower photos may be refused, and a test below has that

    canvas = plan(width, height, rules)
    assert not rules.why_not(canvas.size)
    assert canvas.inner[0] + canvas.offset[0] <= canvas.size[0]
    assert canvas.inner[1] + canvas.offset[1] <= canvas.size[1]
    aspect = (canvas.inner[0] / width) / (canvas.inner[1] / height)
    assert abs(aspect - 1) <= 0.5 / min(canvas.inner) + 0.5 / max(canvas.inner) + 1e-9


@pytest.mark.parametrize("size", [(16, 16), (12_000, 9_000), (9_000, 12_000), (12_000, 400)])
@pytest.mark.parametrize("rules", [FREE, FIXED], ids=["free", "fixed"])
def test_extreme_photos_get_a_canvas(rules, size):
    assert not rules.why_not(plan(*size, rules).size)


@pytest.mark.parametrize(
    ("photo", "scale", "size"),
    [
        ((600, 400), 2, (1200, 800)),  # LOL
        ((1280, 720), 1, (1280, 720)),  # GoPro
        ((1024, 768), 1, (1024, 768)),
        ((256, 256), 4, (1024, 1024)),  # SIDD crop
        ((620, 460), 2, (1248, 928)),  # SOTS
        ((481, 321), 3, (1456, 976)),  # CBSD68
        ((16, 16), 51, (816, 816)),
    ],
)
def test_common_sizes_keep_an_integer_scale(photo, scale, size):
    canvas = plan(*photo, FREE)

    assert (canvas.scale, canvas.size) == (scale, size)


@settings(max_examples=100, deadline=None)
@given(width=st.integers(64, 3000), height=st.integers(64, 3000))
def test_padding_at_an_integer_scale_is_below_one_lattice_step(width, height):
    canvas = plan(width, height, FREE)

    if canvas.scale >= 1 and max(width, height) <= 3 * min(width, height):
        assert max(canvas.size[0] - canvas.inner[0], canvas.size[1] - canvas.inner[1]) < 16


def test_a_photo_beyond_the_maximum_is_hardly_padded():
    assert all(plan(*size).share > 0.99 for size in [(12_000, 9_000), (6_000, 4_000), (3841, 2160)])


@settings(max_examples=12, deadline=None)
@given(width=st.integers(16, 900), height=st.integers(16, 900), seed=st.integers(0, 99))
def test_place_then_retrieve_returns_noise_within_half_a_level(width, height, seed):
    canvas = plan(width, height, FREE)
    photo = noise(width, height, seed)
    placed = place(photo, canvas)
    back = retrieve(placed, canvas)

    assert placed.shape == (canvas.size[1], canvas.size[0], 3)
    assert placed.dtype == np.float32
    assert np.abs(back - photo).max() <= (HALF_LEVEL if canvas.scale > 1 else 0)


def test_place_then_retrieve_at_scale_one_is_exact():
    photo = noise(1000, 700)
    canvas = plan(1000, 700, FREE)

    assert canvas.scale == 1
    assert np.array_equal(retrieve(place(photo, canvas), canvas), photo)


def test_half_a_level_holds_through_an_8_bit_file_too():
    photo = noise(300, 200)
    canvas = plan(300, 200, FREE)
    stored = np.rint(place(photo, canvas) * 255).astype(np.float32) / np.float32(255)

    assert np.abs(retrieve(stored, canvas) - photo).max() <= HALF_LEVEL + 1e-6


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_photo_stays_flat(value):
    photo = np.full((61, 47, 3), value, np.float32)

    assert np.ptp(place(photo, plan(47, 61, FREE))) < 1e-6


def test_a_real_photo_survives_every_integer_scale(pictures):
    from verax import image

    photo = image.read(pictures / "clean/Kodak24/target/06.png").pixels
    for width in (500, 300, 120, 50):
        part = np.ascontiguousarray(photo[:width, :width])
        canvas = plan(width, width, FREE)

        assert np.abs(retrieve(place(part, canvas), canvas) - part).max() <= HALF_LEVEL


def test_enlargement_is_smooth_not_blocky():
    ramp = np.tile(np.linspace(0, 1, 200, dtype=np.float32)[None, :, None], (200, 1, 3))
    placed = place(ramp, plan(200, 200, FREE))

    assert np.abs(np.diff(placed[400, 40:-40, 0])).max() < 2 / 800


def test_an_answer_of_another_size_is_brought_to_the_canvas_first():
    photo = np.tile(np.linspace(0, 1, 512, dtype=np.float32)[None, :, None], (512, 1, 3))
    canvas = plan(512, 512, FREE)
    doubled = place(photo, canvas).repeat(2, 0).repeat(2, 1)

    assert retrieve(doubled, canvas).shape == photo.shape
    assert np.abs(retrieve(doubled, canvas) - photo).max() < 0.01


def test_the_matrix_of_a_canvas_maps_its_corners_to_the_photos():
    canvas = plan(321, 481, FREE)
    corner = np.array([canvas.offset[0] - 0.5, canvas.offset[1] - 0.5, 1])
    far = corner + np.array([*canvas.inner, 0])

    assert np.allclose(canvas.matrix @ corner, [-0.5, -0.5, 1])
    assert np.allclose(canvas.matrix @ far, [320.5, 480.5, 1])


def test_a_photo_of_another_size_than_planned_is_refused():
    with pytest.raises(SizeMismatchError, match=r"photo of 64x64 px, .* got 32x64"):
        place(noise(32, 64), plan(64, 64))


def test_a_strip_is_refused_with_what_to_do():
    with pytest.raises(InputError, match="cut it into parts"):
        plan(9000, 20)
