"""Bad input: one clear line, exit status 2, no traceback, no half-written output."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from commands import verax
from verax import image as images


def text_file(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no picture")
    return path


def empty_file(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    return path


def truncated(tmp_path):
    path = tmp_path / "cut.png"
    images.write(path, np.random.default_rng(0).random((64, 64, 3), np.float32))
    path.write_bytes(path.read_bytes()[:2000])
    return path


def animated(tmp_path):
    path = tmp_path / "moving.webp"
    frames = [PillowImage.new("RGB", (32, 32), (i * 80, 0, 0)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def one_pixel_high(tmp_path):
    path = tmp_path / "line.png"
    images.write(path, np.zeros((1, 50, 3), np.float32))
    return path


def missing(tmp_path):
    return tmp_path / "nowhere.png"


@pytest.mark.parametrize(
    "make", [text_file, empty_file, truncated, animated, one_pixel_high, missing]
)
@pytest.mark.parametrize("role", ["photo", "prior"])
def test_a_bad_file_gives_one_line_and_status_2(pair, tmp_path, make, role):
    photo, prior = pair
    bad = make(tmp_path)
    files = {"photo": photo, "prior": prior} | {role: bad}
    out = tmp_path / "out.png"

    done = verax("restore", files["photo"], "--prior", files["prior"], "-o", out)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("verax: ")
    assert bad.name in done.stderr
    assert not out.exists()


def test_a_process_of_its_own_ends_like_the_command_in_this_one(pair, tmp_path):
    words = ["restore", str(empty_file(tmp_path)), "--prior", str(pair[1])]

    here = verax(*words)
    there = subprocess.run(
        [sys.executable, "-m", "verax", *words], capture_output=True, text=True, timeout=100
    )

    assert (there.returncode, there.stdout, there.stderr) == (2, here.stdout, here.stderr)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--fidelity", "1.5"], "0 to 1"),
        (["--restorer", "nonesuch"], "nonesuch"),
        (["-o", "missing/folder/out.png"], "missing/folder"),
        (["-o", "out.docx"], "docx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_option_says_what_came(pair, tmp_path, arguments, word):
    photo, prior = pair

    done = verax("restore", photo, "--prior", prior, *arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("role", ["photo", "--prior", "--mask", "--only"])
def test_a_result_never_replaces_what_it_is_made_of(pair, tmp_path, role):
    photo, prior = pair
    files = {"--prior": prior, "--mask": tmp_path / "mask.png", "--only": tmp_path / "only.png"}
    for name in ("--mask", "--only"):
        images.write(files[name], np.ones_like(images.read(photo).pixels))
    target = photo if role == "photo" else files[role]
    before = target.read_bytes()

    done = verax("restore", photo, *(word for pair in files.items() for word in pair), "-o", target)

    assert done.returncode == 2
    assert "would replace" in done.stderr
    assert target.read_bytes() == before


@pytest.mark.parametrize("role", ["--prior", "--mask", "--only"])
def test_an_absent_file_is_named_where_a_result_is_there_already(pair, tmp_path, role):
    photo, _ = pair
    images.write(tmp_path / "out.png", images.read(photo).pixels)

    done = verax("restore", photo, role, tmp_path / "nowhere.png", "-o", tmp_path / "out.png")

    assert done.returncode == 2
    assert "nowhere.png" in done.stderr
    assert done.stderr.count("\n") == 1


def test_several_photos_make_no_folder_that_is_called_like_a_picture(pair, tmp_path):
    done = verax("restore", *pair, pair[0].parent, "-o", tmp_path / "out.jpg")

    assert done.returncode == 2
    assert "out.jpg" in done.stderr
    assert not (tmp_path / "out.jpg").exists()


def test_a_result_of_before_is_replaced_with_a_word(pair):
    first, second = (verax("restore", pair[0], "--restorer", "none") for _ in range(2))

    assert (first.returncode, second.returncode) == (0, 0)
    assert "is replaced" not in first.stderr
    assert "a restoration replaces" in second.stderr


def test_strict_says_why_it_leaves_with_status_3(pair):
    done = verax("restore", pair[0], "--restorer", "none", "--strict")

    assert done.returncode == 3
    assert "no prior was used for 1 of 1" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_named(pair, tmp_path):
    photo, prior = pair
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)

    done = verax("restore", photo, "--prior", prior, "-o", closed / "out.png")

    assert done.returncode == 2
    assert "closed" in done.stderr
