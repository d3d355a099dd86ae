import cv2
import numpy as np
import pytest

from verax.restorers.runtime import apply_transform, tiles


@pytest.mark.parametrize("size", [(576, 576), (577, 700), (1025, 96), (2000, 1500)])
def test_kept_parts_cover_every_pixel_once(size):
    count = np.zeros(size, int)
    for outer, inner in tiles(*size):
        count[inner] += 1
        assert all(o.start <= i.start < i.stop <= o.stop for o, i in zip(outer, inner, strict=True))
        assert all(o.start % 16 == 0 for o in outer)
        assert all(min(272, n) <= o.stop - o.start <= 576 for o, n in zip(outer, size, strict=True))

    assert (count == 1).all()


@pytest.mark.parametrize("size", [(600, 1200)])
def test_what_is_kept_is_an_overlap_away_from_inner_borders(size):
    for outer, inner in tiles(*size):
        for o, i, n in zip(outer, inner, size, strict=True):
            assert o.start == 0 or i.start - o.start >= 32
            assert o.stop == n or o.stop - i.stop >= 32


def test_a_megapixel_is_four_even_tiles():
    read = [tuple(o.stop - o.start for o in outer) for outer, _ in tiles(1024, 1024)]

    assert read == [(544, 544)] * 4


def test_the_transform_is_enlarged_as_opencv_enlarges():
    rng = np.random.default_rng(0)
    photo = np.full((96, 64, 3), 0.25, np.float32)
    transform = rng.normal(0, 0.2, (6, 12, 8)).astype(np.float32)
    full = cv2.resize(np.moveaxis(transform, 0, 2), (64, 96), interpolation=cv2.INTER_LINEAR)
    truth = np.clip(photo * np.exp(full[..., :3]) + full[..., 3:], 0, 1)

    assert np.abs(apply_transform(photo, transform) - truth).max() < 1e-4
