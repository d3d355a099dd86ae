"""What README and docs tell people to type runs as printed, on loopback and without a bill.

Commands run inside this process, one page after another in a folder that holds what the pages speak
of. Those that wait for requests, train for hours or download are read and not run; what is no
command of ours is held against what the repository has.
"""

import contextlib
import os
import re
import shlex
import tomllib
from importlib.resources import files
from pathlib import Path

import click
import numpy as np
import pytest
import typer

from asking import KEY
from commands import invoke
from serving import serving_here
from verax import image as images
from verax.cli import app
from verax.datasets import registry

HOUSE = Path(__file__).parents[2]
PAGES = [
    "README.md", "CONTRIBUTING.md", "integrations/comfyui/README.md", "src/verax/weights/README.md",
    *(f"docs/{path.name}" for path in sorted((HOUSE / "docs").glob("*.md"))),
]  # fmt: skip
READ_ONLY = {("serve",), ("serve-test",), ("train",), ("export",), ("data", "fetch")}
OTHERS = {"cd", "export", "ln"}  # of the shell; nothing to hold them against
LOCAL = "http://127.0.0.1:8000/v1"


def blocks(page, kind):
    """The fenced blocks of a page, in their order."""
    text = (HOUSE / page).read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def lines(page):
    """The command lines of a page, each as its words without its comment."""
    every = (line for block in blocks(page, "sh") for line in block.splitlines())
    return [words for line in every if (words := shlex.split(line, comments=True))]


def command_of(words):
    """The click command of `verax WORDS`, its path and what is left. Raises UsageError."""
    command, path = typer.main.get_command(app), ()
    context = click.Context(command, info_name="verax")
    rest = list(words)
    while hasattr(command, "resolve_command") and rest:
        name, command, rest = command.resolve_command(context, rest)
        context, path = click.Context(command, info_name=name, parent=context), (*path, name)
    return command, path, rest, context


def run(words):
    """Run `verax WORDS` in this process; what it printed. Our errors are raised."""
    command, path, rest, context = command_of(words)
    if path in READ_ONLY and "--show" not in rest:
        command.make_context(path[-1], rest, parent=context.parent)
        return ""
    done = invoke(*words)
    assert done.exit_code == 0, f"verax {shlex.join(words)}\n{done.output}"
    return done.stdout


def held_against_the_repository(words):
    """A line of another program: what it names of ours must be there."""
    program, *rest = words
    extras = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for named in re.findall(r"\.\[([\w,-]+)\]", " ".join(words)):
        assert set(named.split(",")) <= set(extras), words
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (HOUSE / "Makefile").read_text(), re.MULTILINE), words
    elif program.startswith("scripts/"):
        assert (HOUSE / program).is_file(), words
    elif program.startswith("python") and rest[0].endswith(".py"):
        assert (HOUSE / rest[0]).is_file(), words
    else:
        installs = program in {"pip", "uv", "pipx", "python"} and "install" in rest
        assert installs or program in OTHERS, f"unknown program: {words}"


@pytest.fixture
def folder(tmp_path, scene, pair, service, monkeypatch):
    """A folder with what the pages speak of, and a service that bills play money."""
    photo, prior = (images.read(path).pixels for path in pair)
    small = [np.ascontiguousarray(picture[:96, :128]) for picture in (photo, scene, prior)]
    for name in ("photo.jpg", "photos/a.jpg", "demo/photo.png"):
        put(tmp_path / name, photo)
    for name in ("made-by-chat.png", "priors/a.png", "demo/prior.png"):
        put(tmp_path / name, prior)
    put(tmp_path / "truth.png", scene)
    put(tmp_path / "mask.png", np.ones_like(photo))
    for name in ("print.jpg", "shot.jpg"):
        put(tmp_path / name, shot_of_a_print(scene))
    for name in ("pairs", "checked"):
        for role, picture in zip(("input", "target", "generated"), small, strict=True):
            put(tmp_path / name / role / "a.png", picture)
    for role, picture in (("photo", photo), ("edited", prior)):
        put(tmp_path / "edits" / role / "a.png", picture)
    (tmp_path / "tone.onnx").write_bytes((files("verax.weights") / "tone.onnx").read_bytes())
    for block in blocks("docs/benchmark.md", "toml"):
        (tmp_path / "plan.toml").write_text(block)
    published(tmp_path / "published", small)
    service.state.keyed = False  # as `verax serve-test`, for `--gateway test`
    monkeypatch.setenv("VERAX_BASE_URL", service.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, pixels)


def shot_of_a_print(scene):
    """A print that lies on a dark table."""
    height, width = scene.shape[:2]
    table = np.full((height + 100, width + 120, 3), 0.06, np.float32)
    table[46 : height + 54, 56 : width + 64] = 0.95
    table[50 : height + 50, 60 : width + 60] = scene
    return table


def hole_in(photo):
    """A mask with a small white place."""
    mask = np.zeros_like(photo)
    mask[20:30, 20:40] = 1
    return mask


def published(folder, small):
    """One picture of each of the sets that the pages name, where `verax data add` put them."""
    photo, clean, _ = (np.ascontiguousarray(picture[:40, :56]) for picture in small)
    places = {
        "o-haze": ("hazy/41_outdoor_hazy.png", "GT/41_outdoor_GT.png"),
        "rain800": ("Test100/input/1.png", "Test100/target/1.png"),
        "snow100k": ("Snow100K-S/synthetic/1.png", "Snow100K-S/gt/1.png"),
        "lol-v1": ("eval15/low/1.png", "eval15/high/1.png"),
        "gopro": ("test/GOPR1/blur/000001.png", "test/GOPR1/sharp/000001.png"),
        "dpdd": ("test_c/source/1.png", "test_c/target/1.png"),
        "uieb": ("raw-890/1.png", "reference-890/1.png"),
        "sidd": ("SIDD_Medium_Srgb/Data/0001_S6/0001_NOISY_SRGB_010.png",
                 "SIDD_Medium_Srgb/Data/0001_S6/0001_GT_SRGB_010.png"),
    }  # fmt: skip
    home = Path(os.environ["VERAX_HOME"])
    for name, (source, target) in places.items():
        put(folder / name / source, photo)
        put(folder / name / target, clean)
        registry.keep(home, name, registry.Place(str(folder / name)))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_every_command_of_a_page_runs_as_printed(page, folder, service):
    if page == "docs/journal.md":  # speaks of a call that was made
        run(["generate", "a pier", "--n", "1"])
    for words in lines(page):
        if Path(words[0]).name != "verax":
            held_against_the_repository(words)
            continue
        if "holes.png" in words:  # drawn on the print that the line before has made
            put(folder / "holes.png", hole_in(images.read(folder / "print.jpg").pixels))
        words = [service.base_url if word == LOCAL else word for word in words[1:]]
        target = words[words.index(">") + 1] if ">" in words else None
        output = run(words[: words.index(">")] if target else words)
        if target:
            (folder / target).write_text(output)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_every_snippet_of_a_page_runs_as_printed(page, folder, service, tmp_path_factory):
    names = {}
    for block in blocks(page, "python"):
        with contextlib.ExitStack() as stack:
            if LOCAL in block:
                home = tmp_path_factory.mktemp("serving")
                block = block.replace(LOCAL, f"{stack.enter_context(serving_here(home))}/v1")
            exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_mentions_is_there_with_its_options(page):
    text = (HOUSE / page).read_text(encoding="utf-8")
    for mention in re.findall(r"`verax ([a-z][^`]*)`", text):
        words = [word for word in mention.split() if not word.startswith(("|", "[", "..."))]
        command, path, rest, _ = command_of(words)
        known = {option for parameter in command.params for option in parameter.opts}
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert options <= known, f"verax {' '.join(path)}: {options - known}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/log.md"])
def test_every_file_that_a_page_points_to_is_there(page):
    text, place = (HOUSE / page).read_text(encoding="utf-8"), (HOUSE / page).parent
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(r"(?:benchmarks|scripts|src/verax|tests)/[\w/.-]*\w", text)
    absent = [link for link in links if not (place / link).exists()]
    absent += [path for path in named if not list(HOUSE.glob(path.rstrip(".") + "*"))]
    assert absent == []
