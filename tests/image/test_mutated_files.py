"""Damaged files: a photo or one line of ours, soon, and nothing half-written."""

import time

import numpy as np
import pytest
from mutations import mutate, seeds

from verax import image
from verax.errors import VeraxError

COUNT = 500
SLOWEST_S = 5.0  # for files of 10 kB; a healthy one takes 5 ms


@pytest.fixture(scope="module")
def healthy():
    return seeds()


def test_every_seed_is_a_photo(healthy):
    for name, data in healthy.items():
        assert image.decode(data).pixels.shape in {(32, 48, 3), (48, 32, 3)}, name


@pytest.mark.parametrize("part", range(5))
def test_500_damaged_files_are_photos_or_one_line_errors(healthy, part, tmp_path, capfd):
    rng = np.random.default_rng(20 + part)
    names = list(healthy)
    source, target = tmp_path / "in.bin", tmp_path / "out.png"
    read, lines = 0, []
    for number in range(COUNT // 5):
        source.write_bytes(mutate(healthy[names[number % len(names)]], rng))
        started = time.perf_counter()
        try:
            photo = image.read(source)
            image.check_image(photo.pixels)
            image.write(target, photo.pixels, like=photo)
            read += 1
        except VeraxError as exc:
            lines.append(str(exc))
        assert time.perf_counter() - started < SLOWEST_S
        if target.exists():
            image.read(target)
            target.unlink()
        assert {path.name for path in tmp_path.iterdir()} == {"in.bin"}

    assert [line for line in lines if "\n" in line or "expected" not in line] == []
    assert 10 < read < COUNT // 5  # neither everything nor nothing survives
    assert capfd.readouterr() == ("", "")
