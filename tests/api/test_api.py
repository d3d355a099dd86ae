"""The Python interface: every form of a picture, results that save and show themselves."""

import dataclasses
import inspect
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import verax
from verax import image as images
from verax.errors import ImageContractError, InputError, UnknownNameError, VeraxError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def scene():
    from skimage import data

    return np.ascontiguousarray(data.coffee()[::3, ::3])


def forms(levels, folder):
    path = folder / "picture.png"
    PillowImage.fromarray(levels).save(path)
    return {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "pillow": PillowImage.fromarray(levels),
        "uint8": levels,
        "uint16": levels.astype(np.uint16) * 257,
        "float32": (levels / 255).astype(np.float32),
        "float64": levels / 255,
        "photo": images.read(path),
    }


def test_every_form_of_a_picture_is_the_same_picture(scene, tmp_path):
    opened = {name: verax.open(form) for name, form in forms(scene, tmp_path).items()}

    for name, photo in opened.items():
        np.testing.assert_allclose(photo.pixels, scene / 255, atol=1e-6, err_msg=name)
    assert opened["uint16"].bit_depth == 16


def test_every_function_takes_every_form(scene, tmp_path):
    dark = forms((scene * 0.3).astype(np.uint8), tmp_path)
    truth = forms(scene, tmp_path)
    for name in ("bytes", "pillow", "uint8", "uint16", "float64"):
        assert verax.register(dark[name], truth[name]).placed == "exactly"
        assert verax.score(truth[name], truth["path"], ["psnr"])[0].value == 100
    assert verax.measure(dark["pillow"], truth["uint8"]).placed == "exactly"
    assert verax.restore(dark["uint8"], truth["bytes"]).prior == "used"


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1)])
def test_a_grey_array_is_saved_as_grey(shape, tmp_path):
    levels = np.linspace(0, 255, 2000).astype(np.uint8).reshape(shape)

    verax.save(levels, tmp_path / "grey.png")

    with PillowImage.open(tmp_path / "grey.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), levels.reshape(40, 50))


def test_alpha_is_kept_and_not_restored(scene, tmp_path):
    levels = np.dstack([scene, np.full(scene.shape[:2], 77, np.uint8)])

    verax.restore(levels, restorer="none").save(tmp_path / "out.png")

    with PillowImage.open(tmp_path / "out.png") as picture:
        assert picture.mode == "RGBA"
        assert set(np.asarray(picture)[..., 3].ravel()) == {77}


def test_a_turned_pil_picture_is_upright(scene):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    buffer = io.BytesIO()
    PillowImage.fromarray(scene).save(buffer, "JPEG", exif=exif)
    with PillowImage.open(buffer) as picture:
        photo = verax.open(picture)

    assert (photo.width, photo.height) == (scene.shape[0], scene.shape[1])


def test_a_cmyk_pil_picture_is_read(scene):
    photo = verax.open(PillowImage.fromarray(scene).convert("CMYK"))

    assert photo.pixels.shape == scene.shape


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((3, 20, 30), np.uint8), "channels last"),
        (np.zeros((20, 30, 5), np.uint8), "expected"),
        (np.zeros((20, 30, 3), np.int64), "int64"),
        (np.zeros((20, 30, 3), bool), "bool"),
        (np.full((20, 30, 3), 200.0), "divide 8-bit data by 255"),
        (np.full((20, 30, 3), np.nan), "NaN"),
        ([[1, 2], [3, 4]], "int64"),
        (PillowImage.new("F", (20, 20)), "mode F"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_array_that_could_mean_two_things_is_refused(array, word):
    with pytest.raises(ImageContractError, match=word):
        verax.open(array)


@pytest.mark.parametrize("value", [3, None, {}, ["a.png"], [[1], [2, 3]]], ids=str)
def test_what_is_no_picture_is_refused_with_what_is_accepted(value):
    with pytest.raises(ImageContractError, match=r"expected a path, .* bytes .* array .* got"):
        verax.restore(value)


@pytest.mark.parametrize("fidelity", [-0.1, 1.5, float("nan")])
def test_fidelity_is_checked(scene, fidelity):
    with pytest.raises(InputError, match="0 to 1"):
        verax.restore(scene, fidelity=fidelity)


def test_a_picture_too_small_is_refused_by_every_function():
    small = np.zeros((8, 8, 3), np.uint8)
    for call in (verax.restore, verax.register, verax.measure):
        arguments = (small,) if call is verax.restore else (small, small)
        with pytest.raises(ImageContractError, match="16 px"):
            call(*arguments)


def test_results_are_short_in_words_and_show_themselves(scene):
    result = verax.restore(scene, scene[:, ::-1].copy(), restorer="none")
    shown = [result, result.photo, result.registration, verax.measure(scene, scene)]

    assert all(len(repr(one)) < 200 for one in shown)
    for one in (result, result.photo):
        assert images.decode(one._repr_png_()).width > 100
    assert "drift" in shown[-1]._repr_markdown_()


def test_a_saved_restoration_says_how_it_was_made(scene, tmp_path):
    verax.restore(scene, scene, restorer="none").save(tmp_path / "out.jpg")

    assert b"compositeWithTrainedAlgorithmicMedia" in (tmp_path / "out.jpg").read_bytes()


def test_a_registration_is_saved_as_json(scene, tmp_path):
    verax.register(scene, scene).save(tmp_path / "r.json")

    assert json.loads((tmp_path / "r.json").read_text())["placed"] == "exactly"


def test_the_documented_examples_run(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PillowImage.fromarray((scene * 0.3).astype(np.uint8)).save("photo.jpg", quality=95)
    PillowImage.fromarray(scene).save("made-by-chat.png")
    PillowImage.fromarray(scene).save("truth.png")

    for block in re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.S):
        exec(compile(block, "docs/api.md", "exec"), {})

    names = {"restored.jpg", "deviation.json", "registered.png", "again.png"}
    assert names <= {path.name for path in tmp_path.iterdir()}


FUNCTIONS = [n for n in verax.__all__ if inspect.isfunction(getattr(verax, n))]
RECORDS = [n for n in verax.__all__ if dataclasses.is_dataclass(getattr(verax, n))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_says_what_it_takes_gives_and_raises(name):
    function = getattr(verax, name)
    signature = inspect.signature(function)
    sections = dict(
        re.findall(r"(?m)^(\w+)\n-+\n((?:.+\n?|\n(?!\w+\n-))*)", inspect.getdoc(function))
    )
    entries = {title: re.findall(r"(?m)^(\w[\w, ]*)", text) for title, text in sections.items()}

    explained = [word for entry in entries["Parameters"] for word in entry.split(", ")]
    assert [word.strip() for word in explained] == list(signature.parameters)
    assert ("Returns" in sections) == (signature.return_annotation is not None)
    assert entries["Raises"]
    assert all(issubclass(getattr(verax.errors, error), VeraxError) for error in entries["Raises"])


@pytest.mark.parametrize("name", RECORDS)
def test_a_public_record_explains_its_fields(name):
    record = getattr(verax, name)
    words = inspect.getdoc(record).partition("Attributes:")[2]
    fields = [f.name for f in dataclasses.fields(record) if not f.name.startswith("_")]

    assert [field for field in fields if not re.search(rf"\b{field}\b", words)] == []


def test_a_registration_that_is_known_is_not_found_again(scene):
    photo, prior = scene // 4, scene
    registration = verax.register(photo, prior)

    again = verax.restore(photo, prior, registration=registration)

    assert again.registration is registration
    assert np.array_equal(again.pixels, verax.restore(photo, prior).pixels)


def test_an_unknown_task_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'dehaze'"):
        verax.restore(np.full((64, 64, 3), 0.5, np.float32), task="dehze")
