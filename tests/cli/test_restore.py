import json

import numpy as np
import pytest

import verax as package
from commands import verax
from verax import image as images
from verax.report.sheet import trust_picture


def test_a_restoration_keeps_the_photos_size_and_reports_what_it_used(pair, tmp_path):
    photo, prior = pair
    out = tmp_path / "out.png"

    done = verax("restore", photo, "--prior", prior, "-o", out, "--json")

    record = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (record["width"], record["height"]) == (200, 134)
    assert images.read(out).pixels.shape == (134, 200, 3)
    assert record["output"] == str(out)
    assert record["prior"] == "used"
    assert set(record["registration"]) >= {"placed", "reason", "matrix", "p_value", "coverage"}
    assert np.shape(record["registration"]["matrix"]) == (3, 3)
    assert sum(record["trust"].values()) == pytest.approx(1, abs=1e-3)
    assert set(record["trust"]) == {"photo", "confirmed", "light", "generated"}
    assert "darkness" in record["explanation"]["believed"]
    assert record["scene_state_change"] in (True, False)
    assert record["seconds"] > 0


def test_a_dark_photo_gets_the_light_of_a_bright_prior(pair, scene):
    photo, prior = pair

    restored = package.restore(photo, prior, restorer="none").pixels

    assert abs(restored.mean() - scene.mean()) < 0.2 * abs(scene.mean() * 0.25 - scene.mean())


def test_over_the_networks_base_a_bright_prior_corrects_the_light(pair, scene):
    photo, prior = pair

    result = package.restore(photo, prior)

    assert abs(result.pixels.mean() - scene.mean()) < 0.6 * abs(result.base.mean() - scene.mean())


def test_without_a_prior_and_restorer_none_the_photo_comes_back(pair, tmp_path):
    photo, _ = pair
    out = tmp_path / "out.png"

    done = verax("restore", photo, "--restorer", "none", "-o", out, "--json")

    assert json.loads(done.stdout)["prior"] == "none"
    np.testing.assert_array_equal(images.read(out).pixels, images.read(photo).pixels)


def test_the_report_folder_holds_the_sheet_and_the_same_record(pair, tmp_path):
    photo, prior = pair
    done = verax(
        "restore", photo, "--prior", prior, "-o", tmp_path / "o.png",
        "--report", tmp_path / "report", "--json",
    )  # fmt: skip

    stored = json.loads((tmp_path / "report" / "report.json").read_text())

    assert stored == json.loads(done.stdout)
    assert images.read(tmp_path / "report" / "sheet.png").pixels.shape[1] > 1000


def test_a_folder_goes_on_after_a_bad_file_and_lists_it(pair, tmp_path, scene):
    photo, _ = pair
    photos, priors = tmp_path / "photos", tmp_path / "priors"
    photos.mkdir()
    priors.mkdir()
    for name in ("a", "b"):
        (photos / f"{name}.png").write_bytes(photo.read_bytes())
        images.write(priors / f"{name}.jpg", scene)
    (photos / "broken.png").write_bytes(photo.read_bytes()[:100])

    done = verax("restore", photos, "--prior", priors, "-o", tmp_path / "out", "--json")

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [r.get("prior") for r in records] == ["used", "used", None]
    assert "broken.png" in records[2]["error"]
    assert "2 of 3 restored" in done.stderr
    assert "failed: " in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_a_quoted_glob_means_the_files_that_fit(pair, tmp_path):
    photo, _ = pair
    (tmp_path / "second.png").write_bytes(photo.read_bytes())

    done = verax("restore", tmp_path / "[ps][he]*.png", "-o", tmp_path / "out", "--json")

    names = [json.loads(line)["photo"].rpartition("/")[2] for line in done.stdout.splitlines()]
    assert names == ["photo.png", "second.png"]


def test_register_prints_the_matrix_from_prior_to_photo(pair):
    record = json.loads(verax("register", *pair, "--json").stdout)

    assert record["placed"] == "exactly"
    np.testing.assert_allclose(record["matrix"], np.eye(3), atol=0.2)


def test_the_trust_picture_of_full_trust_in_the_photo_is_blue():
    trust = np.zeros((2, 2, 4), np.float16)
    trust[..., 0] = 1

    red, green, blue = trust_picture(trust)[0, 0]

    assert blue > green > red
