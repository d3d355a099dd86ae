"""verax measure and verax score --align, as a user runs them."""

import json
import shutil

import cv2
import numpy as np
import pytest
import skimage.data

from commands import verax
from verax.deviation.objects import text_entry
from verax.image import read, write


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A photo, and the same 5 % larger and brighter, as files."""
    folder = tmp_path_factory.mktemp("pair")
    photo = skimage.data.chelsea()[:, :420].astype(np.float32) / np.float32(255)
    matrix = cv2.getRotationMatrix2D((209.5, 149.5), 0, 1.05)
    moved = cv2.warpAffine(photo, matrix, (420, 300), flags=cv2.INTER_CUBIC)
    write(folder / "photo.png", photo)
    write(folder / "generated.png", np.clip(1.15 * moved, 0, 1).astype(np.float32))
    return folder / "photo.png", folder / "generated.png"


@pytest.fixture(scope="module")
def report(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    photo, generated = pair
    return verax("measure", photo, generated, "--reference", photo, "--report", folder), folder


def test_measure_says_what_changed_and_prints_the_ladder(report):
    done, _ = report

    assert done.returncode == 0
    assert "zoomed in by 5.0%" in done.stdout
    assert "local affine colour" in done.stdout
    assert "ridge" in done.stdout


def test_a_report_holds_pictures_and_the_record(report):
    _, folder = report
    record = json.loads((folder / "measure.json").read_text())

    assert record["scale_x"] == pytest.approx(1.05, abs=0.003)
    assert record["ladder"]["rungs"][0]["name"] == "raw resize"
    for name in ("overlay", "motion", "edges", "objects"):
        assert min(read(folder / f"{name}.png").pixels.shape[:2]) >= 300


def test_measure_as_json_is_one_object(pair):
    done = verax("measure", *pair, "--json")
    record = json.loads(done.stdout)

    assert done.returncode == 0
    assert record["canvas"] == "same"
    assert 0 < record["drift"] < 60
    assert record["sentences"]


def test_a_missing_file_is_one_line_and_status_two(pair):
    done = verax("measure", pair[0], "nowhere.png")

    assert done.returncode == 2
    assert done.stderr.startswith("verax: ")
    assert done.stderr.count("\n") == 1


def test_a_report_in_the_place_of_a_file_is_refused(pair):
    done = verax("measure", *pair, "--report", pair[0])

    assert done.returncode == 2
    assert "expected a folder" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["canvas", "global"])
def test_an_aligned_score_says_how_it_was_aligned(pair, tmp_path, how):
    photo, generated = pair
    large = cv2.resize(read(generated).pixels, (840, 600), interpolation=cv2.INTER_CUBIC)
    write(tmp_path / "large.png", np.clip(large, 0, 1))
    refused = verax("score", tmp_path / "large.png", photo, "--metrics", "ssim")
    done = verax(
        "score", tmp_path / "large.png", photo, "--metrics", "ssim", "--align", how, "--json"
    )
    (score,) = json.loads(done.stdout)["scores"]

    assert refused.returncode == 2
    assert score["resampler"].startswith(how)
    assert (score["value"] > 0.9) == (how != "canvas")


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_words_that_were_rewritten_are_lost():
    def page(lines):
        picture = np.full((160, 460, 3), 255, np.uint8)
        for row, line in enumerate(lines):
            cv2.putText(
                picture, line, (20, 50 + 50 * row), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2
            )
        return picture.astype(np.float32) / np.float32(255)

    before = page(["HARBOUR STREET", "MUSEUM"])

    assert text_entry(before, before).value == 0
    assert text_entry(before, page(["HARBOUR STREET", "GARDEN"])).value == pytest.approx(1 / 3)
