"""A released dataset loads with the libraries people use; its card tells what the store holds."""

import contextlib
import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from verax import image as images
from verax.bench import open_run
from verax.bench import plan as plans
from verax.bench.runner import run
from verax.bench.work import expand
from verax.datasets import Dataset, Item, registry
from verax.errors import InputError, SettingsError
from verax.report.release import may_publish, release

LICENCES = ("CC0-1.0", "research only", "MIT (repo)", "CC BY-NC-ND 4.0")


@pytest.fixture
def record(tmp_path):
    items = []
    for n, licence in enumerate(LICENCES):
        path = tmp_path / f"photo{n}.png"
        images.write(path, np.full((12, 16, 3), 0.2 * n + 0.1, np.float32))
        items.append(Item(path.name, "haze", "set", "", path, path, None, "", licence))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    items.append(replace(items[0], name="broken.png", input=broken))
    plan = plans.Plan(("set",), ("identity", "raw-prior"), priors=("oracle",))
    run(plan, expand(plan, [Dataset("set", tuple(items))]), tmp_path / "run")
    record = open_run(tmp_path / "run")
    yield record
    record.close()


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_must_not_be_published_is_left_out_and_named(record, tmp_path):
    released = release(record, tmp_path / "out")

    assert {row["item"] for row in released.published} == {"photo0.png", "photo2.png"}
    withheld = rows_of(tmp_path / "out/withheld.csv")
    assert {row["item"] for row in withheld} == {"photo1.png", "photo3.png"}
    assert all(row["reason"] for row in withheld)
    assert {row["item"] for row in rows_of(tmp_path / "out/without_output.csv")} == {"broken.png"}
    assert len(list((tmp_path / "out/test/images").iterdir())) == 4


def test_the_card_tells_the_numbers_of_the_store(record, tmp_path):
    release(record, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    stored = list(record.outputs())

    assert f"{len(stored)} items: 8 restored, 2 failed." in text
    assert "Published here: 4 pictures; withheld for their licence: 4" in text
    assert re.search(r"\| haze \| set \| identity \| none \| – \| 5 \| 4 \| 0 \| 1 \|", text)
    assert text.startswith("---\npretty_name:")
    for file in (tmp_path / "out").glob("*.*"):
        assert str(tmp_path) not in file.read_text()


def test_it_loads_as_an_image_folder(record, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    release(record, tmp_path / "out")
    loaded = datasets.load_dataset(
        str(tmp_path / "out"), split="test", cache_dir=str(tmp_path / "cache")
    )

    assert len(loaded) == 4
    assert loaded[0]["image"].size == (16, 12)
    assert set(loaded["method"]) == {"identity", "raw-prior"}


# webdataset leaves its shard to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_loads_as_web_dataset(record, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    released = release(record, tmp_path / "out")
    shards = [str(p) for p in (tmp_path / "out/webdataset").glob("*.tar")]
    source = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
    shapes = {sample["json"]["key"]: sample["png"].shape for sample in source}

    assert shapes == {row["key"]: (12, 16, 3) for row in released.published}


def test_a_changed_output_is_not_released(record, tmp_path):
    row = next(row for row in record.outputs() if row.sha256)
    record.output_path(row.key).write_bytes(b"other")

    with pytest.raises(InputError, match="changed"):
        release(record, tmp_path / "out")


def test_a_folder_with_files_is_refused(record, tmp_path):
    with pytest.raises(SettingsError, match="empty"):
        release(record, tmp_path)


def test_the_owner_of_photos_without_a_licence_states_it_and_it_covers_no_others(tmp_path):
    path = tmp_path / "photo.png"
    images.write(path, np.full((12, 16, 3), 0.3, np.float32))
    items = [
        Item(f"{n}.png", "haze", "set", "", path, path, None, "", licence)
        for n, licence in enumerate(("", "research only"))
    ]
    plan = plans.Plan(("set",), ("identity",))
    run(plan, expand(plan, [Dataset("set", tuple(items))]), tmp_path / "run")
    with contextlib.closing(open_run(tmp_path / "run")) as record:
        without = release(record, tmp_path / "a")
        second = release(record, tmp_path / "b", licence="CC BY 4.0")

    assert not without.published
    assert [(row["item"], row["licence"]) for row in second.published] == [("0.png", "CC BY 4.0")]


def test_the_catalog_and_the_licence_reader_agree():
    entries = registry.all_entries().values()

    assert [e.name for e in entries if e.redistribute != (may_publish(e.licence) == "")] == []


def test_the_index_tells_scene_seed_and_the_generated_file(record, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    released = release(record, tmp_path / "out")
    table = parquet.read_table(tmp_path / "out/test/metadata.parquet").to_pylist()

    assert {row["scene"] for row in table} == {"photo0.png", "photo2.png"}
    assert all(row["prior_c2pa"] is False for row in table)
    assert [row["sha256"] for row in table] == [row["sha256"] for row in released.published]
    assert not any(str(tmp_path) in str(value) for row in table for value in row.values())


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC0-1.0", True),
        ("CC BY 4.0", True),
        ("CC-BY-SA-4.0", True),
        ("Apache-2.0", True),
        ("released for unrestricted use", True),
        ("CC BY-NC-ND 4.0", False),
        ("none stated; Flickr pictures under CC", False),
        ("MIT (repository); photos under the terms of their datasets", False),
        ("research only", False),
        ("MIT (repo LICENSE); dataset inputs under their own terms", False),
        ("README: research purpose only", False),
        ("none at repo root", False),
        ("free for all", False),
        ("", False),
    ],
)
def test_a_licence_is_read_with_caution(licence, allowed):
    assert (may_publish(licence) == "") is allowed
