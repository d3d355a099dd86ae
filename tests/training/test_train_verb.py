import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import toy

from commands import invoke
from verax.errors import InputError, SettingsError
from verax.training.checkpoints import load_checkpoint

RECIPE = """
steps = 2
crop = 32
batch = 2
validation = 0
mix = { noise = 1.0 }
shape = { unshuffle = 2, widths = [8, 16], blocks = 1, middle = 1 }
"""


def test_from_photos_to_a_network_file(tmp_path):
    data = toy.folder(tmp_path / "photos")
    config = tmp_path / "own.toml"
    config.write_text(RECIPE)

    trained = invoke("train", config, "--data", data, "--seed", 3, "-o", tmp_path / "run")
    exported = invoke("export", tmp_path / "run" / "checkpoint.pt", "-o", tmp_path / "net.onnx")
    listed = json.loads(
        invoke("restorers", tmp_path / "run", tmp_path / "net.onnx", "--json").output
    )

    assert [entry["good_for"] for entry in listed["your files"]] == [
        "detail network of `verax train`",
        "detail network of `verax export`",
    ]
    assert all(Path(entry["file"]).is_file() for entry in listed["embedded networks of `network`"])
    assert "detail network, 2 steps" in trained.output
    assert "8-bit weights" in exported.output
    assert (tmp_path / "net.onnx").is_file()
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")[0].seed == 3


def test_log_lines_instead_of_a_bar(tmp_path, monkeypatch):
    monkeypatch.setattr("verax.training.loop.REPORT_EVERY", 1)
    config = tmp_path / "own.toml"
    config.write_text(f'data = ["{toy.folder(tmp_path / "photos")}"]' + RECIPE)

    assert '"step": 2, "loss"' in invoke("train", config, "-o", tmp_path / "run", "--json").output


def test_wrong_calls_are_explained(tmp_path):
    with pytest.raises(InputError, match="CONFIG file or --recipe"):
        invoke("train")
    with pytest.raises(SettingsError, match="name at least one folder"):
        invoke("train", "--recipe", "cpu", "-o", tmp_path)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_shown_recipe_reads_back_as_the_same_recipe(tmp_path, name):
    from verax import training

    for network, recipe in training.named_runs(name, ("photos",)).items():
        words = ("--recipe", name, "--network", network, "--data", "photos", "--show")
        (tmp_path / "shown.toml").write_text(invoke("train", *words).output)
        assert training.read(tmp_path / "shown.toml").as_dict() == recipe.as_dict()


def test_a_recipe_is_shown_without_torch():
    words = ("-m", "verax", "train", "--recipe", "cpu", "--show")
    code = "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['verax', *sys.argv[3:]]"
    code += "; runpy.run_module('verax', run_name='__main__')"
    shown = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)

    assert shown.returncode == 0, shown.stderr
    assert 'network = "tone"' in shown.stdout


def test_a_shown_recipe_says_what_every_setting_means():
    from verax.training import TrainingRecipe

    shown = invoke("train", "--recipe", "cpu", "--network", "tone", "--show").output

    lines = dict(re.findall(r"^\[?(\w+).*?  # (.+)$", shown, re.MULTILINE))
    assert [field.name for field in fields(TrainingRecipe) if not lines.get(field.name)] == []
