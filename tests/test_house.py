"""The rules of the house: imports point down, light imports, one place for each thing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "verax"
FLOORS = [
    "errors",
    "image settings catalog store weights",
    "providers restorers degrade metrics geometry provenance datasets testservice",
    "priors fusion deviation",
    "pipeline",
    "bench training making api",
    "report",
    "server",
    "cli",
]
RANK = {room: rank for rank, rooms in enumerate(FLOORS) for room in rooms.split()}
MODULES = [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT or "__" not in p.name]


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    room = path.relative_to(ROOT).with_suffix("").parts[0]
    rank = RANK[room]  # a KeyError here means: give the new room a floor
    names = imported(ast.parse(path.read_text()))
    targets = {n.split(".")[1] for n in names if n.startswith("verax.")} - {room, "__version__"}

    assert {t for t in targets if RANK.get(t, 99) >= rank} == set()


@pytest.mark.parametrize("command", ["import verax", "import verax.cli.main"])
def test_heavy_packages_are_not_loaded_by(command):
    heavy = "torch ray fastapi openai onnxruntime cv2 scipy skimage matplotlib pyarrow datasets"
    code = f"{command}; import sys; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_module_says_what_it_is():
    silent = [p for p in MODULES if not ast.get_docstring(ast.parse(p.read_text()))]

    assert silent == []


def test_public_names_can_be_imported():
    import verax

    assert [n for n in verax.__all__ if not hasattr(verax, n)] == []


def test_every_test_file_has_a_name_of_its_own():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]

    assert sorted({name for name in names if names.count(name) > 1}) == []
