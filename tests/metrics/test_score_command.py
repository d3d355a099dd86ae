"""verax score and verax metrics, as a user runs them."""

import json

import numpy as np
import pytest

from commands import verax
from verax.image import write


@pytest.fixture
def folders(tmp_path):
    """Three restorations 0.1 off the reference, as 8-bit files."""
    rng = np.random.default_rng(5)
    for name in ("a", "b", "c"):
        clean = rng.uniform(0.2, 0.8, (24, 32, 3)).astype(np.float32)
        for folder, picture in (("reference", clean), ("restored", clean + np.float32(0.1))):
            (tmp_path / folder).mkdir(exist_ok=True)
            write(tmp_path / folder / f"{name}.png", picture)
    return tmp_path / "restored", tmp_path / "reference"


def test_one_pair_as_json_carries_the_protocol(folders):
    restored, reference = (f / "a.png" for f in folders)
    done = verax("score", restored, reference, "--metrics", "psnr", "--protocol", "y:2", "--json")
    (record,) = json.loads(done.stdout)["scores"]

    assert done.returncode == 0
    assert record["metric"] == "psnr"
    assert (record["channel"], record["border_px"]) == ("y", 2)
    assert set(record) >= {"resampler", "kernel", "data_range", "library", "version", "direction"}


def test_folders_are_matched_by_name_and_averaged(folders):
    done = verax("score", *folders, "--metrics", "psnr", "--json")
    record = json.loads(done.stdout)

    assert done.returncode == 0
    assert [p["name"] for p in record["pictures"]] == ["a", "b", "c"]
    assert record["mean"]["psnr"] == pytest.approx(20.0, abs=0.1)


def test_a_missing_partner_is_listed_and_never_replaced(folders):
    (folders[0] / "b.png").rename(folders[0] / "d.png")
    done = verax("score", *folders, "--metrics", "psnr", "--json")
    record = json.loads(done.stdout)

    assert done.returncode == 1
    assert [p["name"] for p in record["pictures"]] == ["a", "c"]
    assert record["missing_reference"] == ["d"]
    assert record["missing_restored"] == ["b"]


def test_one_unreadable_picture_is_a_listed_failure(folders):
    (folders[0] / "b.png").write_bytes(b"not a picture")
    done = verax("score", *folders, "--metrics", "psnr", "--json")
    record = json.loads(done.stdout)

    assert done.returncode == 1
    assert record["failed_count"] == 1
    assert "failure" in record["pictures"][1]
    assert record["scored_count"] == 2
    assert record["mean"]["psnr"] == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_folder_is_refused(folders, tmp_path, empty):
    (tmp_path / "empty").mkdir()
    arguments = list(folders)
    arguments[empty] = tmp_path / "empty"
    done = verax("score", *arguments)

    assert done.returncode == 2
    assert "verax: " in done.stderr


def test_sizes_that_differ_name_the_way_out(folders, tmp_path):
    write(tmp_path / "small.png", np.zeros((12, 16, 3), np.float32))
    done = verax("score", tmp_path / "small.png", folders[1] / "a.png")

    assert done.returncode == 2
    assert "16x12" in done.stderr
    assert "--align" in done.stderr


def test_all_metrics_are_listed_with_what_they_need():
    done = verax("metrics", "--json")
    rows = {row["metric"]: row for row in json.loads(done.stdout)["metrics"]}

    assert done.returncode == 0
    assert rows["niqe"]["needs"] == "nothing"
    assert rows["gmsd"]["direction"] == "lower"
    assert "pyiqa" in rows["lpips"]["install"]
