import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from commands import verax
from verax import image as images
from verax.bench import OUTCOMES, Record, finished_outputs, open_run
from verax.bench import plan as plans
from verax.bench.runner import Progress, extent, rescore, run
from verax.bench.stages import without_margin
from verax.bench.work import Digests, expand
from verax.cli.bench_results import log_lines
from verax.datasets.registry import load
from verax.errors import SettingsError, UnknownNameError


def go(folder, dataset, **changes):
    plan = plans.check(
        replace(plans.Plan((str(dataset),), ("identity", "raw-prior"), tasks=("dark",)), **changes)
    )
    works = expand(plan, [load(str(dataset), task="dark")])
    return run(plan, works, folder)


def rows_of(folder):
    record = open_run(folder)
    outputs = {(r.item, r.method, r.prior): (r.outcome, r.sha256) for r in record.outputs()}
    scores = {(r.key, r.metric): r.value for r in record.scores()}
    record.close()
    return outputs, scores


def test_every_item_ends_in_one_outcome_and_is_counted(tmp_path, dataset):
    summary = go(tmp_path / "run", dataset)

    assert summary.items == 8
    assert summary.outcomes == {**dict.fromkeys(OUTCOMES, 0), "restored": 8}
    assert summary.new_scores == 8


def test_the_identity_scores_what_the_photo_scores(tmp_path, dataset):
    go(tmp_path / "run", dataset, methods=("identity",))

    record = open_run(tmp_path / "run")
    value = {r.key: r.value for r in record.scores() if r.metric == "psnr"}
    for row in record.outputs():
        photo = images.read(dataset / "input" / row.item).pixels
        target = images.read(dataset / "target" / row.item).pixels
        mse = float(np.mean((photo.astype(np.float64) - target) ** 2))
        assert value[row.key] == pytest.approx(10 * np.log10(1 / mse), abs=1e-3)
    record.close()


def test_a_finished_run_has_nothing_left_to_do(tmp_path, dataset):
    go(tmp_path / "run", dataset)
    before = rows_of(tmp_path / "run")
    again = go(tmp_path / "run", dataset)

    assert (again.new_outputs, again.new_scores) == (0, 0)
    assert rows_of(tmp_path / "run") == before


def test_stored_outputs_are_scored_by_further_metrics(tmp_path, dataset):
    go(tmp_path / "run", dataset, metrics=("psnr",))
    outputs, scores = rows_of(tmp_path / "run")

    assert rescore(tmp_path / "run", ["ssim", "psnr"]) == 8
    assert rescore(tmp_path / "run", ["ssim"]) == 0
    again, more = rows_of(tmp_path / "run")
    assert again == outputs
    assert {metric for _, metric in more} == {"psnr", "ssim"}
    assert scores.items() <= more.items()
    assert go(tmp_path / "run", dataset, metrics=("psnr",)).new_scores == 0


def test_another_plan_on_the_same_folder_is_refused_with_the_difference(tmp_path, dataset):
    go(tmp_path / "run", dataset)

    with pytest.raises(SettingsError, match=r"methods: stored .*identity.* requested .*full"):
        go(tmp_path / "run", dataset, methods=("full",))


def test_a_poisoned_picture_is_one_failed_row(tmp_path, dataset):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    broken = copy / "input" / "0002.png"
    broken.write_bytes(broken.read_bytes()[:90])
    summary = go(tmp_path / "run", copy)

    assert summary.outcomes["failed"] == 2
    assert summary.outcomes["restored"] == 6


def test_an_item_without_the_requested_prior_abstains_and_stays_counted(tmp_path, dataset):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    (copy / "generated" / "0001.png").unlink()
    summary = go(tmp_path / "run", copy, priors=("files",))

    assert summary.items == 8
    assert summary.outcomes["abstained"] == 1


def test_the_oracle_prior_scores_the_cap(tmp_path, dataset):
    go(tmp_path / "run", dataset, methods=("raw-prior",), priors=("oracle",))

    _, scores = rows_of(tmp_path / "run")
    assert {v for (_, metric), v in scores.items() if metric == "psnr"} == {100.0}


def test_doing_without_a_prior_is_only_for_methods_that_can(dataset):
    plan = plans.Plan((str(dataset),), ("raw-prior", "full"), priors=("none", "files"), limit=1)
    works = expand(plan, [load(str(dataset), task="dark")])

    lines = [(w.method, w.prior) for w in works]
    assert lines == [("raw-prior", "files"), ("full", "none"), ("full", "files")]


def test_a_foreign_prior_is_of_another_scene(dataset):
    plan = plans.Plan((str(dataset),), ("raw-prior",), priors=("foreign",))
    data = load(str(dataset), task="dark")
    same = tuple(replace(item, target=data.items[0].target) for item in data.items[:3])
    works = expand(plan, [replace(data, items=(*same, data.items[3]))])

    assert {w.prior_file for w in works[:3]} == {str(data.items[3].generated)}


def test_a_plan_of_one_picture_takes_its_foreign_prior_from_the_rest_of_the_set(dataset):
    plan = plans.Plan((str(dataset),), ("raw-prior",), priors=("foreign",), limit=1)
    (work,) = expand(plan, [load(str(dataset), task="dark")])

    assert work.prior_file == str(dataset / "generated" / "0001.png")


def test_threads_and_processes_give_the_same_record(tmp_path, dataset):
    plan = plans.Plan((str(dataset),), ("identity", "raw-prior"), tasks=("dark",))
    works = expand(plan, [load(str(dataset), task="dark")])
    for engine in ("threads", "processes"):
        run(plan, works, tmp_path / engine, engine=engine, workers=1)

    assert rows_of(tmp_path / "threads") == rows_of(tmp_path / "processes")


def test_a_key_changes_with_everything_that_decides_the_output(dataset):
    plan = plans.Plan((str(dataset),), ("raw-prior",), tasks=("dark",), priors=("simulated",))

    def keys(changed):
        return {work.key for work in expand(changed, [load(str(dataset), task="dark")])}

    base = keys(plan)
    for change in ({"seed": 5}, {"fidelity": 0.5}, {"methods": ("full",)}, {"priors": ("oracle",)}):
        assert not base & keys(replace(plan, **change))
    assert keys(replace(plan, metrics=("psnr",))) == base


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("methods", ("nonesuch",), UnknownNameError),
        ("priors", ("nonesuch",), UnknownNameError),
        ("metrics", ("nonesuch",), UnknownNameError),
        ("degradations", ("fog:0.5",), UnknownNameError),
        ("degradations", ("haze:dense",), SettingsError),
        ("repeats", 0, SettingsError),
    ],
)
def test_a_plan_that_cannot_work_is_refused_before_anything_runs(dataset, field, value, error):
    plan = replace(plans.Plan((str(dataset),), ("identity",)), **{field: value})

    with pytest.raises(error):
        plans.check(plan)


def test_a_misspelt_field_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"the fields .*methods.*also has method;"):
        plans.from_toml('datasets = ["x"]\nmethod = ["tone"]')


def test_other_weights_words_and_models_are_other_keys(dataset, tmp_path, monkeypatch):
    weights = tmp_path / "w.pth"
    plan = plans.Plan((str(dataset),), (f"restorer:{weights}",), tasks=("dark",))
    other = replace(plan, methods=("raw-prior",), priors=("provider:gpt-image-2",))

    def key(changed):
        return expand(changed, [load(str(dataset), task="dark")])[0].key

    weights.write_bytes(b"one")
    before, before_other = key(plan), key(other)
    weights.write_bytes(b"another")
    assert key(plan) != before
    monkeypatch.setattr("verax.bench.work.prompt_text", lambda task, wording: "other words")
    assert key(other) != before_other
    monkeypatch.undo()
    monkeypatch.setattr("verax.bench.work.snapshot_of", lambda model: "gpt-image-2-2027-01-01")
    assert key(other) != before_other


def test_a_mended_picture_replaces_its_failure(tmp_path, dataset):
    """One item has one outcome; what it was before is set aside, not counted twice."""
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    photo = copy / "input" / "0002.png"
    sound = photo.read_bytes()
    photo.write_bytes(sound[:90])
    assert go(tmp_path / "run", copy).outcomes["failed"] == 2
    photo.write_bytes(sound)
    mended = go(tmp_path / "run", copy)

    assert (mended.items, mended.outcomes["failed"], mended.outcomes["restored"]) == (8, 0, 8)
    assert (mended.new_outputs, mended.aside) == (2, 2)
    assert len(rows_of(tmp_path / "run")[0]) == 8
    photo.write_bytes(sound[:90])
    assert go(tmp_path / "run", copy).outcomes["failed"] == 2


def test_unchanged_files_are_not_read_again(tmp_path, dataset):
    plan = plans.Plan((str(dataset),), ("identity",), tasks=("dark",))
    digests = Digests()
    works = expand(plan, [load(str(dataset), task="dark")], digests=digests)
    run(plan, works, tmp_path / "run", digests=digests)
    done, known = finished_outputs(tmp_path / "run")
    wrong = {path: (size, time, "0" * 64) for path, (size, time, _) in known.items()}

    assert done == {work.key for work in works}
    assert expand(plan, [load(str(dataset), task="dark")], digests=Digests(wrong)) != works
    older = {path: (size, time - 1, "0" * 64) for path, (size, time, _) in known.items()}
    assert expand(plan, [load(str(dataset), task="dark")], digests=Digests(older)) == works


def test_photos_with_one_reference_are_one_scene(dataset):
    plan = plans.Plan((str(dataset),), ("identity",))
    data = load(str(dataset), task="dark")
    shared = tuple(replace(item, target=data.items[0].target) for item in data.items[:3])
    works = expand(plan, [replace(data, items=(*shared, data.items[3]))])
    named = expand(plan, [replace(data, items=tuple(replace(i, scene="x") for i in data.items))])

    assert [w.scene for w in works] == ["0000.png"] * 3 + ["0003.png"]
    assert {w.scene for w in named} == {"x"}


def test_a_degraded_photo_is_kept_shown_and_measured(tmp_path, dataset):
    clean = tmp_path / "clean"
    shutil.copytree(dataset / "target", clean / "target")
    plan = plans.Plan((str(clean),), ("identity", "raw-prior"), priors=("simulated",),
                      degradations=("haze:0.5",), metrics=("psnr",), limit=1)  # fmt: skip
    works = expand(plan, [load(str(clean), task="clean")])
    run(plan, works, tmp_path / "run", deviation=True)

    record = open_run(tmp_path / "run")
    rows = {row.method: row for row in record.outputs()}
    photo = images.read(tmp_path / "run" / rows["identity"].photo).pixels
    texts = [text for _, text in record.deviations()]
    record.close()
    same = images.read(tmp_path / "run/outputs" / f"{rows['identity'].key}.png").pixels
    np.testing.assert_array_equal(photo, same)
    assert rows["raw-prior"].photo == rows["identity"].photo
    assert len(texts) == 1
    assert '"failed"' not in texts[0]


def test_progress_is_told_for_every_slow_item(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr("verax.bench.runner.FLUSH_S", 0.0)
    texts = []
    plan = plans.Plan((str(dataset),), ("identity",), tasks=("dark",), metrics=("psnr",))
    works = expand(plan, [load(str(dataset), task="dark")])
    run(plan, works, tmp_path / "run", tell=texts.append)

    assert [p.finished for p in texts if p.stage == "outputs"] == [1, 2, 3, 4]
    assert [p.finished for p in texts if p.stage == "scores"] == [1, 2, 3, 4]


def test_a_log_gets_a_line_now_and_then_with_the_time_left(capsys):
    now = [0.0]
    tell = log_lines(lambda: now[0], every_s=30)
    for count in range(1, 11):
        tell(Progress("outputs", count, 100, 1, 0.5))
        now[0] += 10
    lines = capsys.readouterr().err.splitlines()

    # the pace is 10 s an item, counted from the first one told
    assert lines[0] == "outputs 4 of 100, failed 1, $0.50, about 16 minutes left"
    assert len(lines) == 3


def test_the_summary_tells_why_items_failed(tmp_path, dataset):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    (copy / "input" / "0002.png").write_bytes(b"no picture")
    summary = go(tmp_path / "run", copy)

    ((reason, count),) = summary.reasons.items()
    assert count == 2
    assert reason.startswith("failed: ImageReadError")
    assert "0002.png" in reason


def test_a_reference_with_a_margin_all_around_is_cropped_and_the_protocol_says_so(tmp_path):
    """SOTS indoor: photos of 620x460, references of 640x480."""
    rng = np.random.default_rng(1)
    clean = rng.random((128, 168, 3), np.float32)
    for role, picture in (("target", clean), ("input", clean[4:-4, 4:-4])):
        (tmp_path / "set" / role).mkdir(parents=True)
        images.write(tmp_path / "set" / role / "a.png", np.ascontiguousarray(picture))
    plan = plans.Plan((str(tmp_path / "set"),), ("identity", "raw-prior"), priors=("oracle",))
    run(plan, expand(plan, [load(str(tmp_path / "set"), task="haze")]), tmp_path / "run")

    assert without_margin(clean[:, :128], (120, 120))[1] == 0  # could be a resized square
    assert without_margin(clean, (120, 162))[1] == 0
    record = open_run(tmp_path / "run")
    scores = [s for s in record.scores() if s.metric == "psnr"]
    record.close()
    assert [s.value for s in scores] == [100.0, 100.0]
    assert all("cropped by 4 px on each side" in s.protocol for s in scores)


def test_what_is_left_is_told_before_it_starts(tmp_path, dataset):
    plan = plans.Plan((str(dataset),), ("identity", "raw-prior"), tasks=("dark",))
    works = expand(plan, [load(str(dataset), task="dark")])
    half = {work.key for work in works[:4]}

    assert re.search(r"^8 items over 4 pictures; about .* core and .* GB .* no cost", extent(works))
    assert "4 of 8 are done" in extent(works, half)
    assert "8 items complete" in extent(works, {work.key for work in works})


def test_two_datasets_of_one_name_are_not_mixed_up(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path / "other" / "dark")
    plan = plans.Plan((str(dataset), str(tmp_path / "other/dark")), ("identity",))

    with pytest.raises(SettingsError, match=r"is in two \(4 such pictures\)"):
        expand(plan, [load(name, task="dark") for name in plan.datasets])


def test_a_manifest_may_name_scenes_and_no_picture_twice(tmp_path, dataset):
    manifest = dataset.parent / "manifest.csv"
    head = "task,input,target,scene"
    line = "dark,dark/input/0000.png,dark/target/0000.png,hall"
    manifest.write_text(f"{head}\n{line}\n")
    assert load(str(manifest)).items[0].scene == "hall"
    manifest.write_text(f"{head}\n{line}\n{line}\n")

    with pytest.raises(SettingsError, match=r"several rows for dark/input/0000\.png"):
        load(str(manifest))
    manifest.unlink()


def test_duplicate_names_are_an_error_that_names_them(tmp_path, dataset):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    shutil.copy(copy / "input" / "0001.png", copy / "input" / "0001.jpg")

    with pytest.raises(SettingsError, match="0001"):
        load(str(copy))


def test_missing_targets_are_told(tmp_path, dataset):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    (copy / "target" / "0003.png").unlink()

    assert any("0003" in remark for remark in load(str(copy)).remarks)


def test_a_killed_run_resumes_to_the_record_of_an_undisturbed_one(tmp_path, dataset):
    command = [
        "bench", "run", "--dataset", str(dataset), "--task", "dark",
        "--method", "identity", "--method", "raw-prior", "--metric", "psnr", "-o",
    ]  # fmt: skip
    assert verax(*command, tmp_path / "calm").returncode == 0
    chance = random.Random(4)
    for _ in range(2):
        words = [sys.executable, "-m", "verax", *command, str(tmp_path / "killed")]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.stderr.readline()  # the estimate: work begins
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
    assert verax(*command, tmp_path / "killed").returncode == 0

    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "calm")


def test_a_full_disk_stops_the_run_and_the_next_start_goes_on(tmp_path):
    noise = np.random.default_rng(1).random((400, 400, 3), np.float32)
    for role in ("input", "target"):
        (tmp_path / "data" / role).mkdir(parents=True)
        images.write(tmp_path / "data" / role / "a.png", noise)
    words = ["bench", "run", "--dataset", "data", "--method", "identity", "-o", "run"]
    # a file may have so many blocks of 1 KiB: as on a full disk, writing fails
    limited = f"ulimit -f 200; exec {sys.executable} -m verax {' '.join(words)}"
    full = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True)

    assert full.returncode == 2
    assert "free space" in full.stderr
    assert list((tmp_path / "run/outputs").iterdir()) == []
    assert "1 restored" in verax(*words, cwd=tmp_path).stdout


def test_a_run_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"run\.sqlite"):
        open_run(tmp_path)
    (tmp_path / "run.sqlite").write_bytes(b"not a database at all, but long enough to look")
    with pytest.raises(Exception, match="not a database"):
        Record(tmp_path)
