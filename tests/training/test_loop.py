import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy

from verax import training
from verax.errors import RunError, SettingsError
from verax.training import loop
from verax.training.checkpoints import load_checkpoint
from verax.training.loop import read_log, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy.folder(tmp_path_factory.mktemp("photos") / "data")


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY", 1)


@pytest.mark.parametrize("network", ["detail", "tone"])
def test_two_steps_leave_a_checkpoint_a_log_and_a_plot(network, data, tmp_path):
    shape = {"detail": toy.TINY, "tone": toy.TINY_TONE}[network]
    crop = {"detail": 32, "tone": 48}[network]
    lines = []
    trained = train(
        toy.recipe(data, network=network, shape=shape, crop=crop), tmp_path, report=lines.append
    )

    assert trained.step == 2
    assert [line["step"] for line in lines] == [1, 2]
    assert read_log(tmp_path) == lines
    assert (tmp_path / "plots.png").stat().st_size > 1000
    assert load_checkpoint(trained.checkpoint)[1]["step"] == 2


def test_a_killed_run_goes_on_to_the_same_losses(data, tmp_path):
    recipe = toy.recipe(data, steps=4)
    whole = train(recipe, tmp_path / "whole").log

    def stop(line):
        if line["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy.recipe(data, steps=4, save_minutes=0.0), tmp_path / "cut", report=stop)
    resumed = train(recipe, tmp_path / "cut").log

    assert [line["loss"] for line in whole] == [
        line["loss"] for line in (*resumed[:2], *resumed[3:])
    ]


BUSY = """
import cv2, numpy, pathlib, toy
from verax.training.loop import train

cv2.setNumThreads(4)
cv2.GaussianBlur(numpy.zeros((2000, 2000, 3), numpy.float32), (0, 0), 5)
folder = pathlib.Path(r"{folder}")
train(toy.recipe(toy.folder(folder / "data"), workers=1), folder / "run")
print("threads", cv2.getNumThreads())
"""


def test_workers_start_though_opencv_has_run_on_several_threads(tmp_path):
    """A forked worker has none of them, and would wait for them for ever."""
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", BUSY.format(folder=tmp_path)],
        cwd=here, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert run.stdout.strip() == "threads 4", run.stderr


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(data, tmp_path):
    train(toy.recipe(data), tmp_path)
    _, content = load_checkpoint(tmp_path / "checkpoint.pt")
    content["net"]["head.bias"][:] = float("nan")
    torch.save(content, tmp_path / "checkpoint.pt")

    with pytest.raises(RunError, match=r"the loss is nan at step 2.*last checkpoint in"):
        train(toy.recipe(data, steps=4), tmp_path)

    assert load_checkpoint(tmp_path / "checkpoint.pt")[1]["step"] == 2


def test_training_lowers_the_loss(data, tmp_path):
    log = train(toy.recipe(data, steps=40, rate=3e-3, batch=4), tmp_path).log

    assert sum(line["loss"] for line in log[-10:]) < 0.9 * sum(line["loss"] for line in log[:10])


def test_validation_writes_a_sheet_and_the_gain_by_task(data, tmp_path):
    (data / "manifest.csv").write_text(
        "task,dataset,split,input,target,licence\n"
        "clean,own,train,,0.png,\nclean,own,train,,1.png,\nclean,own,val,,2.png,\n"
    )
    try:
        log = train(toy.recipe(data, crop=32, validation=3, validate_every=2), tmp_path).log
    finally:
        (data / "manifest.csv").unlink()

    assert set(log[-1]["photo_and_restoration"]) <= {"noise", "clean"}
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_folder_of_another_recipe_is_refused(data, tmp_path):
    train(toy.recipe(data), tmp_path)

    with pytest.raises(SettingsError, match="another recipe"):
        train(toy.recipe(data, seed=5), tmp_path)


def test_a_run_can_begin_with_the_weights_of_another(data, tmp_path):
    first = train(toy.recipe(data), tmp_path / "first")
    second = train(
        toy.recipe(data, steps=1, rate=1e-12, start=str(first.checkpoint)), tmp_path / "second"
    )
    one, two = (load_checkpoint(t.checkpoint)[1]["average"] for t in (first, second))

    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_only_a_checkpoint_is_a_checkpoint(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"no")

    with pytest.raises(SettingsError, match="expected a checkpoint"):
        load_checkpoint(tmp_path / "x.pt")


def test_a_recipe_comes_back_from_toml(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('network = "tone"\ndata = ["photos"]\nsteps = 5\n[mix]\nhaze = 1.0\n')
    recipe = training.read(path)

    assert (recipe.network, recipe.steps, recipe.mix) == ("tone", 5, {"haze": 1.0})
    assert training.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "expected a TOML recipe"),
        ("stepz = 3", "unknown setting 'stepz'; use one of batch"),
        ('data = ["x"]', "expected either steps or minutes"),
        ("steps = 3", "name at least one folder"),
        ('data = ["x"]\nsteps = 3\ncrop = 100', "crop: expected a multiple of 8, got 100"),
        ('data = ["x"]\nsteps = 3\n[mix]\nhase = 1', r"mix: unknown \['hase'\]"),
        ('data = ["x"]\nsteps = 3\nrate = 0', "rate: expected a number above 0, got 0"),
        ('data = ["x"]\nsteps = 3\nnetwork = "big"', "network: expected"),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)

    with pytest.raises(SettingsError, match=message):
        training.read(path)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_named_recipes_can_start(name):
    runs = training.named_runs(name, ("x",))

    assert list(runs) == ["tone", "dark", "dusk", "detail", "rain"]
    assert all(training.check(run) for run in runs.values())
