"""Folders as people have them: odd names, priors by name, checks before work, one bad file."""

import json
import os
import unicodedata

import numpy as np
import pytest

from commands import verax
from verax import image


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "photos"
    place.mkdir()
    return place


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.write(path, np.full((24, 32, 3), 0.2 + 0.1 * seed, np.float32))
    return path


def restore(*arguments, **surroundings):
    return verax("restore", "--restorer", "none", *arguments, **surroundings)


def test_a_name_too_long_for_the_result_fails_alone(folder):
    picture(folder / "a.png")
    long = "図" * 82 + ".jpg"  # 250 bytes
    picture(folder / long)
    done = restore(folder, "-o", folder.parent / "out")

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder.parent / "out").iterdir()) == sorted(
        ["a.png", long]
    )


def test_an_error_that_nobody_foresaw_is_that_photos_alone(folder):
    picture(folder / "a.png")
    picture(folder / "b.png")
    report = folder.parent / "report"
    report.mkdir()
    (report / "a.png").write_text("a file where the report's folder should be")
    done = restore(folder, "-o", folder.parent / "out", "--report", report)

    assert done.returncode == 1
    assert "1 of 2 restored" in done.stderr
    assert "Traceback" not in done.stderr
    assert (report / "b.png" / "report.json").is_file()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_a_terminal_cannot_show_are_escaped(folder, encoding):
    strange = [os.fsdecode(b"caf\xe9.png"), "Café Δ.png"]
    for name in strange:
        picture(folder / name)
    out = ("-o", folder.parent / "out", "--report", folder.parent / "r")
    done = restore(folder, "--json", *out, encoding=encoding)

    assert done.returncode == 0, done.stderr
    photos = [json.loads(line)["photo"] for line in done.stdout.splitlines()]
    assert sorted(photos) == sorted(str(folder / name) for name in strange)
    assert all((folder.parent / "out" / name).is_file() for name in strange)


def test_a_prior_is_found_in_another_normal_form_or_case(folder):
    priors = folder.parent / "priors"
    picture(folder / "Caf\u00e9.png")
    picture(folder / "IMG_1.PNG")
    picture(priors / (unicodedata.normalize("NFD", "Caf\u00e9") + ".png"))
    picture(priors / "img_1.png")
    done = restore(folder, "--prior", priors, "-o", folder.parent / "out", "--json")

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["prior"] for line in done.stdout.splitlines()] != ["none", "none"]
    assert "no prior" not in done.stderr


def test_photos_without_a_prior_are_named_and_no_match_at_all_is_an_error(folder):
    priors = folder.parent / "priors"
    picture(folder / "a.png")
    picture(folder / "b.png")
    picture(priors / "x.png")
    none = restore(folder, "--prior", priors, "-o", folder.parent / "out")
    picture(priors / "a.png")
    some = restore(folder, "--prior", priors, "-o", folder.parent / "out")

    assert none.returncode == 2
    assert "named like the photos" in none.stderr
    assert "no prior" in some.stderr
    assert "b.png" in some.stderr
    assert some.returncode == 0


def test_files_that_macos_puts_beside_are_no_pictures(folder):
    picture(folder / "x.png")
    (folder / "._x.png").write_bytes(b"\0\x05\x16\x07 AppleDouble")
    for place in (folder, folder / "*.png"):
        done = restore(place, "-o", folder.parent / "out")
        assert "1 of 1 restored" in done.stderr


@pytest.mark.parametrize("suffix", [".jfif", ".jpe"])
def test_every_suffix_that_is_read_is_written(folder, suffix):
    photo = folder / "x.jpg"
    picture(photo)
    photo = photo.rename(folder / f"x{suffix}")

    assert restore(photo).returncode == 0
    assert image.format_of_file(folder / f"x_restored{suffix}") == "jpeg"


def test_results_that_cannot_be_written_are_refused_before_any_work(folder):
    photo = picture(folder / "x.png")
    report = folder / "report.txt"
    report.write_text("a file")
    wrong = [["-o", folder / "no" / "x.png"], ["-o", folder / "x.xyz"], ["--report", report]]
    for arguments in wrong:
        done = restore(photo, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["report.txt", "x.png"]


def test_register_does_not_replace_what_it_reads(folder):
    photo, prior = picture(folder / "in.png"), picture(folder / "k.png")
    before = photo.read_bytes()
    done = verax("register", photo, prior, "-o", photo)

    assert done.returncode == 2
    assert photo.read_bytes() == before


def test_recursive_keeps_the_folders_and_takes_no_results_for_photos(folder):
    picture(folder / "a.png")
    picture(folder / "deep" / "a.png")
    for _ in range(2):
        done = restore(folder, "--recursive")
        assert "2 of 2 restored" in done.stderr
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    assert names == ["a.png", "deep/a.png", "restored/a.png", "restored/deep/a.png"]


def test_skip_existing_leaves_what_is_there(folder):
    picture(folder / "a.png")
    picture(folder / "b.png")
    out = folder.parent / "out"
    there = picture(out / "a.png", seed=5)
    before = there.read_bytes()
    done = restore(folder, "-o", out, "--skip-existing")

    assert "1 of 1 restored" in done.stderr
    assert there.read_bytes() == before
    assert (out / "b.png").is_file()


def test_a_cut_photo_is_salvaged_and_its_prior_fills_the_rest(folder, scene):
    whole, prior, report = folder / "whole.jpg", folder / "prior.png", folder / "report"
    image.write(whole, scene)
    image.write(prior, scene)
    cut = folder / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    refused = restore(cut, "-o", folder / "no.png")
    arguments = [cut, "--prior", prior, "--salvage", "--json", "-o", folder / "out.png"]
    done = restore(*arguments, "--report", report)

    assert refused.returncode == 2
    assert "--salvage" in refused.stderr
    record = json.loads(done.stdout)
    assert any("rows" in line for line in record["not_kept"])
    ours = image.read(folder / "out.png").pixels
    assert np.abs(ours[-20:] - scene[-20:]).mean() < 0.06


def test_a_grey_photo_without_a_prior_comes_back_grey(folder, scene):
    photo = folder / "grey.png"
    dark = np.repeat(scene.mean(axis=2, keepdims=True) * np.float32(0.2), 3, axis=2)
    image.write(photo, dark, like=image.Photo(dark, color="grey"))
    assert verax("restore", photo, "-o", folder / "out.png").returncode == 0

    assert image.read(folder / "out.png").color == "grey"


def test_a_folders_report_has_an_index_page(folder):
    picture(folder / "a b.png")
    (folder / "broken.png").write_bytes(b"no picture")
    report = folder.parent / "report"
    restore(folder, "-o", folder.parent / "out", "--report", report)
    page = (report / "index.html").read_text()

    assert "1 of 2 photos restored" in page
    assert "a%20b.png/sheet.png" in page
    assert "broken.png: expected a" in page


@pytest.mark.parametrize("metric", ["vif", "cw_ssim"])
def test_structure_is_undefined_against_one_colour(folder, metric):
    black, white = folder / "black.png", folder / "white.png"
    for path, value in ((black, 0), (white, 1)):
        image.write(path, np.full((64, 64, 3), value, np.float32))

    assert "a reference with structure" in verax("score", black, white, "--metrics", metric).stderr
    assert verax("score", white, white, "--metrics", metric).returncode == 0
