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
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine")
    there = subprocess.run([found, "-e", "require('openai')"], capture_output=True, timeout=60)
    if there.returncode:
        pytest.skip("node finds no package openai: npm install openai, then set NODE_PATH")
    return found


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
    told = json.loads(done.stdout)

    restored = images.decode(base64.b64decode(told["edit"].pop("b64")))
    assert (restored.width, restored.height) == (150, 100)
    assert told["edit"] == {"size": "150x100", "verax": "none"}
    assert told["two"] == {"size": "150x100", "verax": "used"}
    assert told["paid"]["size"] == "150x100"
    assert told["paid"]["cost"] > 0
    assert told["paid"]["tokens"] > 0
    assert told["made"] == 2
    assert {"verax/local", f"verax/{MODEL}", MODEL} <= set(told["models"])
    assert [e["type"] for e in told["editEvents"]] == ["image_edit.completed"]
    assert [e["type"] for e in told["madeEvents"]] == ["image_generation.completed"]
    for name, param in (("wrongModel", "model"), ("noPicture", "image"), ("noPrompt", "prompt")):
        error = told[name]
        assert (error["kind"], error["status"], error["param"]) == ("BadRequestError", 400, param)
