import json

import numpy as np
import onnx
import pytest
import torch
import toy
from onnx import numpy_helper

from verax import restorers
from verax.cli.train import describe_file, weights_files
from verax.errors import InputError, OutputError, RunError, SettingsError
from verax.restorers import runtime
from verax.training import export
from verax.training.checkpoints import build, load_checkpoint, start
from verax.training.loop import train

SHAPES = {"tone": toy.TINY_TONE, "detail": toy.TINY}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    data = toy.folder(tmp_path_factory.mktemp("photos") / "data")
    runs = tmp_path_factory.mktemp("runs")
    crops = {"tone": 48, "detail": 32}
    return {
        kind: train(
            toy.recipe(data, network=kind, shape=shape, crop=crops[kind], rate=1e-2),
            runs / kind,
        ).checkpoint
        for kind, shape in SHAPES.items()
    }


@pytest.fixture(scope="module")
def files(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    for kind, checkpoint in checkpoints.items():
        export.export(checkpoint, folder / f"{kind}.onnx")
    return folder


@pytest.mark.parametrize("kind", SHAPES)
def test_the_file_answers_like_torch_on_sizes_it_was_not_traced_with(kind, checkpoints, files):
    recipe, content = load_checkpoint(checkpoints[kind])
    net = build(recipe)
    net.load_state_dict(content["average"])
    planes, rule = {"tone": 3, "detail": 12}[kind], recipe.shape.multiple
    inputs = np.random.default_rng(0).random((1, planes, 7 * rule, 11 * rule), np.float32)
    got = export.run((files / f"{kind}.onnx").read_bytes(), inputs)
    with torch.no_grad():
        outputs = net(torch.from_numpy(inputs))

    assert max(np.abs(a - b.numpy()).max() for a, b in zip(got, outputs, strict=True)) < 2e-3


def test_the_file_says_what_it_is(files):
    facts = {p.key: p.value for p in onnx.load(files / "detail.onnx").metadata_props}

    assert facts["verax.network"] == "detail"
    assert facts["verax.multiple"] == "4"
    assert len(facts["verax.weights_sha256"]) == len(facts["verax.data_sha256"]) == 64
    assert json.loads(facts["verax.recipe"])["steps"] == 2


def test_narrow_weights_make_a_small_file(files, checkpoints):
    _, content = load_checkpoint(checkpoints["detail"])
    values = sum(v.numel() for v in content["average"].values())
    facts = {p.key: p.value for p in onnx.load(files / "detail.onnx").metadata_props}

    assert facts["verax.precision"] in ("8-bit weights", "float16 weights")
    assert (files / "detail.onnx").stat().st_size < 2 * values + 60_000


@pytest.mark.parametrize(
    ("precision", "bytes_each"), [("8-bit weights", 1), ("float16 weights", 2)]
)
def test_a_narrowed_model_answers_nearly_as_before(precision, bytes_each):
    kernel = np.random.default_rng(0).normal(0, 0.1, (32, 16, 3, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["input", "kernel"], ["output"], pads=[1, 1, 1, 1])],
        "one",
        [onnx.helper.make_tensor_value_info("input", 1, [1, 16, "h", "w"])],
        [onnx.helper.make_tensor_value_info("output", 1, [1, 32, "h", "w"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = onnx.helper.make_model(
        graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", export.OPSET)]
    )
    small = export.narrow_weights(model, precision)
    inputs = np.random.default_rng(1).random((1, 16, 9, 11), np.float32)
    before, after = (export.run(m.SerializeToString(), inputs)[0] for m in (model, small))

    assert np.abs(before - after).max() < 0.02 * np.abs(before).max()
    assert len(small.SerializeToString()) < bytes_each * kernel.size + 1000


def test_weights_that_do_not_fit_float16_stay_as_they_are(checkpoints, tmp_path):
    _, content = load_checkpoint(checkpoints["detail"])
    content["average"]["body.stem.weight"] *= 1e5
    torch.save(content, tmp_path / "wild.pt")

    try:
        precision = export.export(tmp_path / "wild.pt", tmp_path / "wild.onnx").precision
    except RunError:  # such weights may also differ between the two runtimes
        precision = "float32"
    assert precision == "float32"


def test_a_run_may_start_from_an_exported_file(files, tmp_path):
    recipe = toy.recipe("photos", start=str(files / "detail.onnx"))
    state = start(recipe, tmp_path, torch.device("cpu"))
    stored = onnx.load(files / "detail.onnx").graph.initializer
    narrow = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in stored}

    for name, value in state.average.items():
        array = narrow.get(f"{name}.half", narrow.get(name))
        if f"{name}.levels" in narrow:
            array = narrow[f"{name}.levels"] * narrow[f"{name}.step"]
        assert np.array_equal(value.numpy(), array)
    with pytest.raises(SettingsError, match="is missing or has another size"):
        start(toy.recipe("photos", start=str(files / "tone.onnx")), tmp_path, torch.device("cpu"))


def test_what_cannot_be_exported_is_said(checkpoints, tmp_path):
    with pytest.raises(SettingsError, match="expected a checkpoint"):
        export.export(tmp_path / "none.pt", tmp_path / "x.onnx")
    with pytest.raises(OutputError, match="cannot be written"):
        export.export(checkpoints["tone"], tmp_path / "nowhere" / "x.onnx")


def test_tiles_and_the_whole_photo_agree(files):
    photo = toy.scene(1, (150, 203))
    tone = runtime.open_network(files / "tone.onnx", "tone")
    detail = runtime.open_network(files / "detail.onnx", "detail")
    transform, *_ = runtime.look(runtime.thumbnail(photo, tone.multiple), tone)
    bright = runtime.apply_transform(photo, transform)
    whole = runtime.repair(photo, bright, detail)
    tiled = runtime.repair(photo, bright, detail, tile=96)

    assert np.abs(whole - tiled).max() < 1e-5
    assert np.abs(whole - photo).max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (33, 47), (64, 64)])
def test_any_size_comes_back_as_it_was(files, size):
    photo = toy.scene(2, (64, 64))[: size[0], : size[1]]
    photo = np.ascontiguousarray(photo)
    tone = runtime.open_network(files / "tone.onnx", "tone")
    transform, *_ = runtime.look(runtime.thumbnail(photo, tone.multiple), tone)
    detail = runtime.open_network(files / "detail.onnx", "detail")
    out = runtime.repair(photo, runtime.apply_transform(photo, transform), detail)

    assert out.shape == photo.shape
    assert out.dtype == np.float32
    assert 0 <= out.min() <= out.max() <= 1


def test_a_file_of_the_other_kind_is_refused(files, tmp_path):
    with pytest.raises(
        SettingsError, match="expected a tone network in file version 2, got 'detail'"
    ):
        runtime.open_network(files / "detail.onnx", "tone")
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(SettingsError, match=r"x\.onnx: expected a network"):
        runtime.open_network(tmp_path / "x.onnx", "tone")


@pytest.mark.parametrize("kind", SHAPES)
def test_a_checkpoint_is_a_restorer_and_so_is_its_file(kind, checkpoints, files):
    photo = toy.scene(9)
    bases = [
        restorers.restore(photo, str(path)) for path in (checkpoints[kind], files / f"{kind}.onnx")
    ]

    assert np.abs(bases[0] - bases[1]).max() < 5e-3
    assert bases[0].shape == photo.shape
    assert not np.array_equal(bases[0], photo)


def test_files_are_listed_with_what_they_are(checkpoints, files, tmp_path):
    (tmp_path / "wrong.onnx").write_bytes(b"no")
    places = [checkpoints["tone"], files, tmp_path]
    labels = [describe_file(path).good_for for path in weights_files(places)]

    assert labels[:3] == [
        "tone network of `verax train`",
        "detail network of `verax export`",
        "tone network of `verax export`",
    ]
    assert labels[3].startswith("no restorer: ")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="found none"):
        weights_files([tmp_path / "none"])
