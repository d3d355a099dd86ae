"""What is built: everything inside that the commands need; a fresh environment can run it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
EXTRAS = {  # command without its extra -> what its message names
    ("train", "--recipe", "cpu"): "torch",
    ("export", "run/checkpoint.pt", "-o", "x.onnx"): "torch",
    ("serve", "--port", "0"): "uvicorn",
    ("serve-key", "list"): "uvicorn",
    ("restore", "pairs/input/a.png", "--restorer", "x.pth"): "spandrel",
    ("bench", "run", "--dataset", "pairs", "--task", "lowlight", "--method", "identity",
     "-o", "ray", "--engine", "ray"): "ray",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without a network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    code = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=HOUSE, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    return folder / done.stdout.split()[-1]


def test_the_wheel_holds_code_facts_weights_and_the_page_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    source = HOUSE / "src"
    there = {
        p.relative_to(source).as_posix()
        for p in (source / "verax").rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == there


def test_the_version_stands_in_one_place(wheel):
    import verax

    assert f"-{verax.__version__}-" in wheel.name
    assert "version =" not in (HOUSE / "pyproject.toml").read_text()
    assert "\nversion:" not in (HOUSE / "CITATION.cff").read_text()


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """`verax` of the wheel in an environment of its own, without extras. Asks a package index."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True, timeout=100)
    pip = [folder / "env" / "bin" / "pip", "install", "-q", "-c", HOUSE / "constraints.txt", wheel]
    subprocess.run(pip, check=True, timeout=900)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*arguments):
        command = [folder / "env" / "bin" / "verax", *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
        )

    assert run("demo", "--out", "demo").returncode == 0
    for name, picture in (("input", "photo"), ("target", "clean")):
        (folder / "pairs" / name).mkdir(parents=True)
        (folder / "demo" / f"{picture}.png").rename(folder / "pairs" / name / "a.png")
    return run


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "command",
    [
        "--version", "names", "models", "metrics", "data list", "bench presets", "bench methods",
        "restore pairs/input/a.png demo/prior.png -o r.png --report rep",
        "register pairs/input/a.png demo/prior.png", "measure pairs/input/a.png demo/prior.png",
        "score r.png pairs/target/a.png", "provenance r.png", "journal list",
        "edit r.png brighter --dry-run", "generate fog --dry-run",
        "bench run --dataset pairs --task lowlight --method identity --prior none -o run",
        "bench report run -o report.html", "bench export run table", "release run out",
    ],
)  # fmt: skip
def test_a_fresh_environment_runs(fresh, command):
    done = fresh(*command.split())

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("command", EXTRAS, ids=lambda command: command[0])
def test_a_fresh_environment_names_the_extra_in_one_line(fresh, command):
    done = fresh(*command)

    lines = [line for line in done.stderr.splitlines() if line.startswith("verax: ")]
    assert done.returncode == 2
    assert len(lines) == 1
    assert EXTRAS[command] in lines[0]
    assert "install" in lines[0]
    assert "Traceback" not in done.stderr
