"""verax align: every kind of table, one row for every pair, the same table after any stop."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from commands import verax
from verax import image as images
from verax.align import AlignOptions, run, seen_box
from verax.align.tables import Columns, read
from verax.cli import app  # noqa: F401  # the verb is wired
from verax.errors import InputError, RunError, SettingsError
from verax.store import Presence


@pytest.fixture(scope="module")
def scene():
    from skimage import data

    return images.from_uint8(np.ascontiguousarray(data.coffee()[::4, ::4]))


@pytest.fixture(scope="module")
def pictures(scene):
    """Three photos with their edits as PNG bytes: zoomed by 10 %, another scene, not a picture."""
    import cv2

    height, width = scene.shape[:2]
    inner = scene[5:-5, 8:-7]
    zoomed = np.clip(cv2.resize(inner, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    photo = images.encode(np.asarray(scene * 0.6, np.float32))
    return {
        "zoomed": (photo, images.encode(zoomed)),
        "not": (photo, images.encode(np.ascontiguousarray(scene[::-1, ::-1]))),
        "broken": (photo, b"no picture"),
    }


def as_folder(folder, pictures):
    for name, sides in pictures.items():
        for side, data in zip(("photo", "edited"), sides, strict=True):
            (folder / side).mkdir(parents=True, exist_ok=True)
            (folder / side / f"{name}.png").write_bytes(data)
    return folder


def as_csv(folder, pictures):
    as_folder(folder, pictures)
    rows = [f"photo/{name}.png,edited/{name}.png" for name in pictures]
    (folder / "pairs.csv").write_text("\n".join(["source,target", *rows]))
    return folder / "pairs.csv"


def as_jsonl(folder, pictures):
    as_folder(folder, pictures)
    rows = [{"before": f"photo/{n}.png", "after": f"edited/{n}.png"} for n in pictures]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder / "pairs.jsonl"


def as_parquet(folder, pictures):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    sides = list(zip(*pictures.values(), strict=True))
    cells = [[{"bytes": data, "path": None} for data in side] for side in sides]
    table = pa.table({"source_image": cells[0], "edited_image": cells[1]})
    pq.write_table(table, folder / "pairs.parquet", row_group_size=2)
    return folder / "pairs.parquet"


def as_webdataset(folder, pictures):
    with tarfile.open(folder / "pairs.tar", "w") as archive:
        for name, sides in pictures.items():
            for side, data in zip(("photo.png", "edited.png"), sides, strict=True):
                member = tarfile.TarInfo(f"{name}.{side}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return folder / "pairs.tar"


TABLES = [as_folder, as_csv, as_jsonl, as_parquet, as_webdataset]


def rows(folder):
    with (folder / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("make", TABLES)
def test_every_kind_of_table_gives_a_row_with_its_reason(make, pictures, tmp_path):
    table = make(tmp_path, pictures)

    run(read([table], Columns()), tmp_path / "out", AlignOptions(), engine="threads")

    records = rows(tmp_path / "out")
    verdicts = {row["photo"].count("photo") and row["verdict"] for row in records}
    assert len(records) == 3
    assert sorted(row["verdict"] for row in records) == ["exactly", "not", "unreadable"]
    assert all(row["reason"] for row in records), verdicts


def test_a_registered_pair_is_cropped_to_what_both_show(pictures, tmp_path, scene):
    table = as_folder(tmp_path, {"zoomed": pictures["zoomed"]})

    run(read([table], Columns()), tmp_path / "out", AlignOptions(), engine="threads")

    row = rows(tmp_path / "out")[0]
    left, top, right, bottom = json.loads(row["box"])
    photo, edited = (
        images.read(tmp_path / "out" / "pairs" / row[name]).pixels
        for name in ("photo_file", "edited_file")
    )
    assert photo.shape == edited.shape == (bottom - top, right - left, 3)
    assert 0.75 < photo.size / scene.size < 0.85
    np.testing.assert_allclose(photo, scene[top:bottom, left:right] * 0.6, atol=1 / 255)
    assert np.abs(edited - scene[top:bottom, left:right]).mean() < 0.02


def test_a_second_run_makes_nothing_again(pictures, tmp_path):
    pairs = read([as_folder(tmp_path, pictures)], Columns())
    first = run(pairs, tmp_path / "out", AlignOptions(), engine="threads")
    second = run(pairs, tmp_path / "out", AlignOptions(), engine="threads")

    assert (first.new, second.new) == (3, 0)
    assert second.verdicts == first.verdicts


def test_other_options_or_another_table_are_refused(pictures, tmp_path):
    pairs = read([as_folder(tmp_path, pictures)], Columns())
    run(pairs, tmp_path / "out", AlignOptions(), engine="threads")

    with pytest.raises(SettingsError, match="size: 0, now 64"):
        run(pairs, tmp_path / "out", AlignOptions(size=64), engine="threads")
    again = read([as_csv(tmp_path / "other", pictures)], Columns())
    with pytest.raises(SettingsError, match="expected the same pairs as in its last run"):
        run(again, tmp_path / "out", AlignOptions(), engine="threads")


def test_two_processes_do_not_share_a_folder(pictures, tmp_path):
    pairs = read([as_folder(tmp_path, pictures)], Columns())
    other = Presence(tmp_path / "out" / "running")

    with pytest.raises(RunError, match="another process"):
        run(pairs, tmp_path / "out", AlignOptions(), engine="threads")
    other.close()


def test_a_column_that_is_not_there_is_named(tmp_path):
    (tmp_path / "pairs.csv").write_text("left,right\na,b\n")

    with pytest.raises(
        InputError, match="found left, right; give the name of the right one with --photo"
    ):
        read([tmp_path / "pairs.csv"], Columns())
    assert len(read([tmp_path / "pairs.csv"], Columns("left", "RIGHT"))) == 1


def test_the_rectangle_is_the_largest_that_is_seen():
    valid = np.ones((300, 400), np.float32)
    valid[:, :40] = 0
    valid[280:, :] = 0
    left, top, right, bottom = seen_box(valid)

    assert (valid[top:bottom, left:right] == 1).all()
    assert (right - left) * (bottom - top) > 0.98 * 360 * 280


@pytest.mark.parametrize("shape", [(300, 401), (255, 16), (17, 513)])
def test_a_picture_that_is_seen_whole_is_not_cropped(shape):
    assert seen_box(np.ones(shape, np.float32)) == (0, 0, shape[1], shape[0])


def command(table, out):
    arguments = [str(table), "-o", str(out), "--workers", "2", "--engine", "threads"]
    return ["align", *arguments]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_on_two_workers_gives_the_same_table(pictures, tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
    many = {f"{n}-{k}": sides for k in range(6) for n, sides in pictures.items()}
    pairs = read([as_folder(tmp_path, many)], Columns())
    run(pairs, tmp_path / "here", AlignOptions(), engine="threads")
    run(pairs, tmp_path / "ray", AlignOptions(), engine="ray", workers=2)
    ray.shutdown()

    assert rows(tmp_path / "ray") == rows(tmp_path / "here")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_end_with_the_run_that_was_killed(pictures, tmp_path):
    table = as_folder(tmp_path, {f"{n}-{k}": s for k in range(40) for n, s in pictures.items()})
    options = ["--engine", "processes"]
    words = [sys.executable, "-m", "verax", *command(table, tmp_path / "out"), *options]
    with subprocess.Popen(words, start_new_session=True) as process:
        while len(workers := members(process.pid)) < 4 and process.poll() is None:
            time.sleep(0.02)
        process.kill()  # alone, as the system does where memory is short

    assert len(workers) >= 4  # the run, its tracker of resources, and two workers
    while members(process.pid):  # they would wait forever; the limit of every test ends that
        time.sleep(0.02)


def members(session):
    """The living processes of a session; Linux alone says."""
    pairs = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = place.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                pairs.append(place.parent.name)
    return pairs


def test_a_killed_run_ends_with_the_same_table_and_no_pair_twice(pictures, tmp_path):
    many = {f"{n}-{k}": sides for k in range(3) for n, sides in pictures.items()}
    table = as_folder(tmp_path, many)
    whole = run(read([table], Columns()), tmp_path / "whole", AlignOptions(), engine="threads")

    words = command(table, tmp_path / "killed")
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-m", "verax", *words], start_new_session=True
        ) as process:
            database = tmp_path / "killed" / "align.sqlite"
            for _ in range(600):
                if database.exists():
                    break
                time.sleep(0.02)
            time.sleep(0.4)
            os.killpg(process.pid, signal.SIGKILL)
    done = verax(*words)

    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert sum(whole.verdicts.values()) == len(rows(tmp_path / "killed")) == 9
