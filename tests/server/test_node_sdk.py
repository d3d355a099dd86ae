"""The official Node SDK pointed at the server.

`npm install openai` somewhere, then `NODE_PATH=somewhere/node_modules pytest tests/server`.
"""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from service.plugin import running_service
from serving import serving
from verax import image as images

MODEL = "gpt-image-2.6-sunburst"
SCRIPT = Path(__file__).with_name("sdk.cjs")


@pytest.fixture(scope="module")
def node():
    """The command that runs Node with the SDK; skips, saying so, where either is missing."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node on this machine")
    there = subprocess.run([program, "-e", "require('openai')"], capture_output=True, timeout=60)
    if there.returncode:
        pytest.skip("node finds no package openai: npm install openai, then set NODE_PATH")
    return program


def test_the_node_sdk_does_edits_generations_streams_and_errors(node, tmp_path, photo, prior):
    (tmp_path / "photo.png").write_bytes(photo)
    (tmp_path / "prior.png").write_bytes(prior)
    with (
        running_service(tmp_path) as service,
        serving(tmp_path / "home", "--base-url", service.base_url, VERAX_API_KEY="sk-test") as (
            address,
            _,
        ),
    ):
        command = [node, SCRIPT, f"{address}/v1", tmp_path / "photo.png", tmp_path / "prior.png"]
        done = subprocess.run([*command, MODEL], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)

    restored = images.decode(base64.b64decode(record["edit"].pop("b64")))
    assert (restored.width, restored.height) == (150, 100)
    assert record["edit"] == {"size": "150x100", "verax": "none"}
    assert record["two"] == {"size": "150x100", "verax": "used"}
    assert record["paid"]["size"] == "150x100"
    assert record["paid"]["cost"] > 0
    assert record["paid"]["tokens"] > 0
    assert record["made"] == 2
    assert {"verax/local", f"verax/{MODEL}", MODEL} <= set(record["models"])
    assert [e["type"] for e in record["editEvents"]] == ["image_edit.completed"]
    assert [e["type"] for e in record["madeEvents"]] == ["image_generation.completed"]
    for name, param in (("wrongModel", "model"), ("noPicture", "image"), ("noPrompt", "prompt")):
        error = record[name]
        assert (error["kind"], error["status"], error["param"]) == ("BadRequestError", 400, param)
