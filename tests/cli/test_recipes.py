"""docs/recipes.md: every command and every snippet runs as printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from verax import image as images

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def prepared(folder, scene, pair):
    """The files that the page speaks of."""
    photo, prior = (images.read(path).pixels for path in pair)
    images.write(folder / "photo.jpg", photo)
    images.write(folder / "made-by-chat.png", prior)
    images.write(folder / "mask.png", np.ones_like(photo))
    for place, picture in (
        ("pairs/photo", photo), ("pairs/edited", prior),
        ("checked/input", photo), ("checked/target", scene), ("checked/generated", prior),
    ):  # fmt: skip
        (folder / place).mkdir(parents=True)
        images.write(folder / place / "a.png", picture)


def test_every_recipe_runs_as_printed(tmp_path, scene, pair, monkeypatch):
    prepared(tmp_path, scene, pair)
    monkeypatch.chdir(tmp_path)

    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL):
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            command = [sys.executable, "-m", program, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "docs/recipes.md", "exec"), {})

    for made in ("restored.jpg", "report/trust.png", "edited.jpg", "aligned/pairs.csv"):
        assert (tmp_path / made).is_file(), made
