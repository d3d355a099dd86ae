"""The ComfyUI node pack, loaded from its folder as ComfyUI loads custom nodes."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="ComfyUI brings torch")
FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def pack():
    """As ComfyUI does: the folder's __init__.py as a module named after its path."""
    name = str(FOLDER)
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.fixture(scope="module")
def scene():
    from skimage import data

    levels = np.ascontiguousarray(data.coffee()[::4, ::4])
    return torch.from_numpy(levels.astype(np.float32) / 255)[None]


def run(pack, name, **inputs):
    """The node's outputs, called with its declared inputs only."""
    node = pack.NODE_CLASS_MAPPINGS[name]
    declared = node.INPUT_TYPES()
    names = set(declared["required"])
    assert names <= set(inputs) <= names | set(declared.get("optional", {}))
    outputs = getattr(node(), node.FUNCTION)(**inputs)
    assert len(outputs) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return outputs


def test_every_node_is_declared_as_comfyui_wants_it(pack):
    assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)
    for node in pack.NODE_CLASS_MAPPINGS.values():
        assert hasattr(node, node.FUNCTION)
        assert node.CATEGORY == "verax"


def test_register_lays_the_prior_on_the_photos_grid(pack, scene):
    registered, confidence, report = run(pack, "VeraxRegister", photo=scene * 0.5, prior=scene)

    assert registered.shape == scene.shape
    assert confidence.shape == scene.shape[:3]
    assert json.loads(report)[0]["placed"] == "exactly"


def test_restore_works_on_batches_with_one_prior_and_with_none(pack, scene):
    photos = torch.cat([scene * 0.5, scene * 0.4])

    restored, trust, report = run(pack, "VeraxRestore", photo=photos, prior=scene, fidelity=1.0)
    alone, _, _ = run(pack, "VeraxRestore", photo=scene, fidelity=1.0)

    assert restored.shape == trust.shape == photos.shape
    assert [record["prior"] for record in json.loads(report)] == ["used", "used"]
    assert alone.shape == scene.shape


def test_measure_and_trust_map_answer(pack, scene):
    drift, sentences, _ = run(pack, "VeraxMeasure", photo=scene, generated=scene)
    (trust,) = run(pack, "VeraxTrustMap", photo=scene * 0.5, prior=scene, fidelity=1.0)

    assert drift < 20
    assert isinstance(sentences, str)
    assert trust.shape == scene.shape
