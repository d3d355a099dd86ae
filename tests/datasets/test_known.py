"""Known datasets: recognised by layout, named in plans, errors that say what to do."""

import json
import re

import numpy as np
import pytest

from commands import invoke
from verax import image as images
from verax.datasets import from_folder, from_manifest, registry
from verax.datasets.registry import load
from verax.errors import InputError, SettingsError, UnknownNameError

DOT = np.full((8, 8, 3), 0.5, np.float32)


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, DOT)
    return folder


def verax(*args):
    return invoke("data", *args).output


@pytest.fixture
def o_haze(tmp_path):
    names = [f"{n:02d}_outdoor" for n in range(1, 46)]
    folder = tmp_path / "download"
    put(folder, *(f"set/hazy/{name}_hazy.png" for name in names))
    return put(folder, *(f"set/GT/{name}_GT.png" for name in names))


def test_the_catalog_states_task_licence_and_layout_of_every_dataset():
    entries = registry.all_entries()

    assert len(entries) >= 40
    for entry in entries.values():
        assert entry.licence
        assert entry.layouts
        assert entry.citation
        assert entry.places if entry.fetch == "direct" else entry.steps
        assert entry.leaks
        assert entry.splits
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in entry.sha256.values())


@pytest.mark.parametrize(
    "name",
    [
        "o-haze",
        "i-haze",
        "dense-haze",
        "nh-haze",
        "reside-sots-indoor",
        "reside-sots-outdoor",
        "reside-rtts",
        "rain800",
        "rain100l",
        "rain100h",
        "spa",
        "lol-v1",
        "lol-v2-real",
        "lol-v2-synthetic",
        "sice",
        "snow100k",
        "csd",
        "gopro",
        "hide",
        "realblur-j",
        "realblur-r",
        "dpdd",
        "sidd",
        "polyu",
        "cbsd68",
        "kodak24",
        "raindrop",
        "uieb",
        "lsui",
        "euvp",
        "nature20",
        "sir2",
        "set5",
        "set14",
        "urban100",
        "div2k",
        "live1",
        "cdd-11",
        "foundir",
        "gpt-4o-restore",
        "lowleveleval",
        "nano-banana-2-ir",
        "realir-bench",
        "ggt-100k",
    ],
)
def test_the_sets_of_the_field_are_known(name):
    assert name in registry.all_entries()


def test_frames_of_one_video_are_one_scene(tmp_path):
    put(tmp_path, *(f"test/GOPR1/{side}/{n:06d}.png" for side in ("blur", "sharp") for n in (1, 2)))
    crops = ("Canon5D2_5_200_3200_toy_12", "Canon5D2_5_200_3200_toy_13", "Sony_4_200_3200_door_1")
    put(tmp_path, *(f"CroppedImages/{c}_{s}.png" for c in crops for s in ("real", "mean")))

    frames = registry.read(registry.all_entries()["gopro"], tmp_path).items
    assert [i.scene for i in frames] == ["GOPR1", "GOPR1"]
    parts = registry.read(registry.all_entries()["polyu"], tmp_path).items
    assert [i.scene for i in parts] == [
        "Canon5D2_5_200_3200_toy", "Canon5D2_5_200_3200_toy", "Sony_4_200_3200_door",
    ]  # fmt: skip


def test_an_added_folder_is_recognised_and_found_by_its_name(o_haze):
    verax("add", o_haze)

    items = load("o-haze").items
    assert len(items) == 45
    assert all(i.target.name == i.input.name.replace("hazy", "GT") for i in items)
    assert [i.split for i in items].count("test") == 5
    assert {i.task for i in items} == {"dehazing"}


def test_a_plain_folder_is_added_under_its_own_name(tmp_path):
    put(tmp_path / "mine", "input/a.png", "gt/a.png", "output/a.png")

    output = verax("add", tmp_path / "mine", "--task", "lowlight", "--licence", "CC0")

    (item,) = load("mine").items
    assert (item.dataset, item.task, item.licence) == ("mine", "lowlight", "CC0")
    assert item.target.parent.name == "gt"
    assert item.generated.parent.name == "output"
    (by_path,) = load(str(tmp_path / "mine")).items
    assert (by_path.task, by_path.licence) == ("lowlight", "CC0")
    assert "your own dataset mine" in output
    assert "lowleveleval" in output  # what is laid out alike is named, not believed
    assert "mine" in verax("list", "--task", "lowlight")


def test_a_folder_is_a_published_set_only_on_its_owners_word_or_with_all_its_files(tmp_path):
    put(tmp_path / "x", "input/a.png", "gt/a.png", "output/a.png")
    verax("add", tmp_path / "x", "--name", "lowleveleval")
    (item,) = load("lowleveleval").items
    assert item.generator == "nano-banana-pro"
    assert item.dataset == "lowleveleval-part"

    put(tmp_path / "O-HAZE", "hazy/01.png", "GT/01.png")
    with pytest.raises(SettingsError, match="expected the files of the published dataset O-HAZE"):
        verax("add", tmp_path / "O-HAZE")
    output = verax("add", tmp_path / "O-HAZE", "--name", "o-haze")
    assert "part of O-HAZE" in output
    assert load("o-haze").items[0].dataset == "o-haze-part"


@pytest.mark.parametrize("count", [15, 100])
def test_as_many_pictures_as_a_published_set_has_do_not_make_a_folder_one(tmp_path, count):
    for side in ("input", "target"):
        put(tmp_path / "holiday", *(f"{side}/{n}.png" for n in range(count)))

    verax("add", tmp_path / "holiday")

    assert {item.dataset for item in load("holiday").items} == {"holiday"}


def test_photos_alone_are_a_dataset_too(tmp_path):
    put(tmp_path / "shots", "a.png", "b.png")

    verax("add", tmp_path / "shots")

    assert [item.input.name for item in load("shots").items] == ["a.png", "b.png"]


def test_two_sides_without_one_common_name_are_refused(tmp_path):
    put(tmp_path / "x", "low/a.png", "high/b.png")

    with pytest.raises(SettingsError, match="rename the references"):
        verax("add", tmp_path / "x")


def test_many_photos_share_one_reference(tmp_path):
    put(tmp_path, "indoor/hazy/1400_1.png", "indoor/hazy/1400_2.png", "indoor/gt/1400.png")

    items = registry.read(registry.all_entries()["reside-sots-indoor"], tmp_path).items
    assert [i.target.name for i in items] == ["1400.png", "1400.png"]


def test_open_folders_belong_to_the_key(tmp_path):
    for scene in ("one", "two"):
        put(tmp_path, f"test/{scene}/blur/000001.png", f"test/{scene}/sharp/000001.png")

    items = registry.read(registry.all_entries()["gopro"], tmp_path).items
    assert [i.target.parent.parent.name for i in items] == ["one", "two"]


def test_two_shots_of_a_scene_keep_their_own_reference(tmp_path):
    scene = "SIDD_Medium_Srgb/Data/0001_S6"
    put(tmp_path, *(f"{scene}/0001_{s}_SRGB_{n}.png" for s in ("GT", "NOISY") for n in (10, 11)))

    items = registry.read(registry.all_entries()["sidd"], tmp_path).items
    assert [i.target.stem[-2:] for i in items] == ["10", "11"]


def test_paired_and_unpaired_parts_are_both_found(tmp_path):
    put(tmp_path, "raw-890/1.png", "reference-890/1.png", "challenging-60/7.png")

    dataset = registry.read(registry.all_entries()["uieb"], tmp_path)
    assert [bool(i.target) for i in dataset.items] == [True, False]
    assert any("without a reference" in remark for remark in dataset.remarks)


def test_a_known_set_that_is_not_here_says_how_to_get_it():
    with pytest.raises(SettingsError, match="verax data fetch o-haze"):
        load("o-haze")
    with pytest.raises(SettingsError, match=r"Download LOL .*verax data add"):
        load("lol-v1")
    with pytest.raises(UnknownNameError, match="did you mean 'o-haze'"):
        load("o-hase")


def test_verify_finds_a_changed_picture(o_haze):
    verax("add", o_haze)
    assert "stored for the next verify" in verax("verify", "o-haze")
    assert "as at the first" in verax("verify", "o-haze")
    images.write(o_haze / "set/GT/03_outdoor_GT.png", DOT * 0.5)

    with pytest.raises(InputError, match="expected the files that the first verify found"):
        verax("verify", "o-haze")


def test_list_and_info_show_licence_and_place(o_haze):
    verax("add", o_haze)
    listed = json.loads(verax("list", "--json"))["datasets"]

    assert next(d for d in listed if d["name"] == "o-haze")["folder"] == str(o_haze)
    assert "research only" in verax("info", "o-haze")
    assert str(o_haze) in verax("list", "--task", "dehazing")


def test_a_users_own_catalog_entry_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("VERAX_HOME", str(tmp_path))
    (tmp_path / "datasets.toml").write_text(
        '[mine]\ntitle="Mine"\ntask="fog"\nlicence="CC0"\nredistribute=true\ncitation="me"\n'
        'home=""\nfetch="manual"\nsteps="-"\nsplits={test=1}\n'
        'layouts=[{input="in/*", target="out/*"}]\n'
    )
    put(tmp_path / "d", "in/a.png", "out/a.png")
    verax("add", tmp_path / "d", "--name", "mine")

    assert load("mine").items[0].licence == "CC0"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_manifest_is_read_as_spreadsheets_write_it(tmp_path, encoding):
    put(tmp_path, "input/ä.png", "target/ä.png")
    text = "task,input,target\r\nhaze,input/ä.png,target/ä.png\r\n"
    (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))

    (item,) = from_manifest(tmp_path / "manifest.csv").items
    assert item.target == tmp_path / "target/ä.png"


def test_a_manifest_in_another_encoding_is_refused_in_one_line(tmp_path):
    (tmp_path / "manifest.csv").write_bytes("task,input,target\nhaze,ä.png,\n".encode("latin-1"))

    with pytest.raises(SettingsError, match="save it as CSV UTF-8"):
        from_manifest(tmp_path / "manifest.csv")


def test_partners_match_in_any_normal_form_and_case_and_hidden_files_are_none(tmp_path):
    put(tmp_path, "input/Cafe\u0301.PNG", "target/caf\u00e9.png", "input/x.jfif", "target/X.png")
    (tmp_path / "input" / "._x.png").write_bytes(b"AppleDouble")

    items = from_folder(tmp_path, task="haze").items
    assert len(items) == 2
    assert all(item.target is not None for item in items)
