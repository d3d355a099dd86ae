import csv

import cv2
import numpy as np
import pytest
import toy

from verax import image as images
from verax.errors import SettingsError
from verax.training.library import load


def manifest(path, *rows):
    keys = ("task", "dataset", "split", "input", "target", "licence")
    with (path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([keys, *rows])


@pytest.fixture
def data(tmp_path):
    return toy.folder(tmp_path / "data", count=4)


def test_a_folder_without_a_manifest_is_photos_to_train_on(data):
    library = load([data], shortest=32)

    assert [scene.name for scene in library.scenes] == ["0.png", "1.png", "2.png", "3.png"]
    assert library.pairs == []


def test_a_manifest_gives_photos_pairs_and_their_licences(data):
    manifest(
        data,
        ("clean", "own", "train", "", "0.png", "CC0"),
        ("denoising", "own", "train", "1.png", "2.png", "MIT"),
        ("clean", "own", "val", "", "3.png", "CC0"),
    )
    library = load([data], shortest=32)

    assert (len(library.scenes), library.pairs[0].task) == (1, "noise")
    assert library.licences == ("CC0", "MIT")
    assert [s.name for s in load([data], split="val", shortest=32).scenes] == ["3.png"]


def test_depth_comes_in_metres(data):
    for name in ("target", "depth"):
        (data / name).mkdir()
    images.write(data / "target" / "a.png", toy.scene(0))
    cv2.imwrite(str(data / "depth" / "a.png"), np.full((72, 96), 2500, np.uint16))
    manifest(data, ("depth", "own", "train", "", "target/a.png", ""))

    assert load([data], shortest=32).with_depth()[0].depth.mean() == pytest.approx(2.5)


@pytest.mark.parametrize("change", ["same file", "smaller and JPEG"])
def test_a_test_picture_is_refused(data, change):
    picture = toy.scene(0)
    if change == "smaller and JPEG":
        picture = cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        (data / "again.jpg").write_bytes(images.encode(picture, format="jpeg"))
    else:
        images.write(data / "again.jpg", picture)
    manifest(
        data,
        ("clean", "own", "train", "", "again.jpg", ""),
        ("clean", "own", "train", "", "1.png", ""),
        ("denoising", "own", "test", "0.png", "0.png", ""),
    )

    with pytest.raises(SettingsError, match=r"picture again\.jpg equals the test picture 0\.png"):
        load([data], shortest=32)


def test_what_cannot_be_trained_on_is_said(data, tmp_path):
    with pytest.raises(SettingsError, match="nowhere is no folder"):
        load([tmp_path / "nowhere"])
    with pytest.raises(SettingsError, match=r"0\.png is 96x72, expected at least 128"):
        load([data])
    with pytest.raises(SettingsError, match="found none"):
        load([data], split="val")


@pytest.mark.slow
def test_no_training_row_of_the_real_pictures_is_a_test_picture(pictures):
    assert len(load([pictures], shortest=96).scenes) > 200
