"""Rules for the whole code: layers, light imports, sizes, names, no duplicates."""

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOT = HOUSE / "src" / "verax"
DESIGN = (HOUSE / "docs" / "architecture.md").read_text(encoding="utf-8")


def block(title):
    """The lines of the first fenced block under a heading of docs/architecture.md."""
    return DESIGN.split(f"## {title}\n")[1].split("```")[1].strip("\n").splitlines()


LAYERS = [line.split("#")[0] for line in reversed(block("Layers"))]
RANK = {package: rank for rank, packages in enumerate(LAYERS) for package in packages.split()}
MODULES = [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT or "__" not in p.name]
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef


@cache
def trees():
    """The syntax tree of every module; made once, and not while tests are collected."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    package = path.relative_to(ROOT).with_suffix("").parts[0]
    rank = RANK[package]  # a KeyError here means: give the new package a layer
    names = imported(trees()[path])
    targets = {n.split(".")[1] for n in names if n.startswith("verax.")} - {package, "__version__"}

    assert {t for t in targets if RANK.get(t, 99) >= rank} == set()


@pytest.mark.parametrize("command", ["import verax", "import verax.cli"])
def test_heavy_packages_are_not_loaded_by(command):
    heavy = "torch ray fastapi openai onnxruntime cv2 scipy skimage matplotlib pyarrow datasets"
    code = f"{command}; import sys; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_module_says_what_it_is():
    silent = [p for p, tree in trees().items() if not ast.get_docstring(tree)]

    assert silent == []


def test_public_names_can_be_imported():
    import verax

    assert [n for n in verax.__all__ if not hasattr(verax, n)] == []


def test_every_test_file_has_a_name_of_its_own():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]

    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_design_lists_every_package_and_no_other():
    drawn = re.findall(r"^  (\w[\w.]*)/?  ", "\n".join(block("Packages")), re.MULTILINE)
    there = [p.name for p in ROOT.iterdir() if p.is_dir() or p.suffix == ".py"]

    assert sorted(drawn) == sorted(set(there) - {"__pycache__", "__main__.py"})


def test_the_design_names_every_module_but_the_subcommands():
    absent = {
        path.relative_to(ROOT).as_posix()
        for line in block("Packages")
        if (package := re.match(r"  (\w+)/ ", line)) and package[1] != "cli"
        for path in (ROOT / package[1]).rglob("*.py")
        if path.stem != "__init__" and not re.search(rf"\b{path.stem}\b", line)
    }

    assert absent == set()


CALLS = [line.split()[1] for line in block("A call from start to end")]


def test_the_documented_call_has_at_most_eight_functions():
    assert len(CALLS) == len(set(CALLS)) <= 8


@pytest.mark.parametrize("line", block("Interfaces") + CALLS)
def test_every_interface_of_the_design_exists(line):
    module, _, name = line.split()[0].rpartition(".")

    assert callable(getattr(import_module(module), name))


def test_the_public_names_are_those_of_the_documented_table():
    import verax

    text = (HOUSE / "docs" / "api.md").read_text(encoding="utf-8")
    functions = [n for n in verax.__all__ if n.islower() and n != "__version__"]

    assert re.findall(r"^\| `verax\.(\w+)\(", text, re.MULTILINE) == sorted(
        functions, key=text.index
    )
    assert [
        n for n in verax.__all__ if n not in text and n not in ("__version__", "Protocol")
    ] == []


# past participles that had stood for records, statuses and counts
PARTICIPLES = {
    "told", "seen", "asked", "kept", "made", "wanted", "found",
    "said", "gone", "heard", "stated", "wished",
}  # fmt: skip


def test_no_function_has_a_bare_participle_as_name():
    verbs = {"feed", "read", "fit", "set", "split", "spread", "cut"}  # also a participle
    participles = re.compile(r"_*[a-z]+ed|_*(burnt|found|known|lit|lost|seen|shown)")
    bare = {
        f"{path.relative_to(ROOT).as_posix()}:{node.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
        and participles.fullmatch(node.name)
        and node.name.strip("_") not in verbs
    }

    assert bare == set()


MOST_MODULES = 180  # with __init__.py


def test_the_source_has_no_more_modules():
    assert len(list(ROOT.rglob("*.py"))) <= MOST_MODULES


def test_a_file_has_at_most_300_lines():
    long = {p.relative_to(ROOT).as_posix() for p in MODULES if p.read_text().count("\n") > 300}

    assert long == set()


def lines_of(function):
    """Lines without the docstring."""
    words = function.body[0] if ast.get_docstring(function) else None
    silent = words.end_lineno - words.lineno + 1 if words else 0
    return function.end_lineno - function.lineno + 1 - silent


def test_a_function_has_at_most_50_lines_with_its_docstring():
    long = {
        f"{path.relative_to(ROOT).as_posix()}:{node.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno >= 50
    }

    assert long == set()


def test_half_of_the_functions_have_at_most_8_lines():
    lengths = [
        lines_of(node)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
    ]

    assert statistics.median(lengths) <= 8


def test_class_names_are_unique():
    names = Counter(
        node.name
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )

    assert {name for name, count in names.items() if count > 1} == set()


def names_of_values(tree):
    """Names that a module gives: variables, parameters, attributes, functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, FUNCTIONS):
            yield node.name


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "integrations"])
def test_nouns_name_the_values_in(folder):
    names = {
        f"{path.relative_to(HOUSE).as_posix()}: {name}"
        for path in (HOUSE / folder).rglob("*.py")
        for name in names_of_values(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_") in PARTICIPLES
    }

    assert names == set()


def test_nouns_name_the_values_in_scripts_of_pages():
    pattern = re.compile(rf"\b(?:const|let|function) [\[{{]? ?({'|'.join(sorted(PARTICIPLES))})\b")
    names = {
        f"{path.relative_to(ROOT).as_posix()}: {match[1]}"
        for path in ROOT.rglob("*")
        if path.suffix in (".js", ".j2", ".html")
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    }

    assert names == set()


def loaded_at_once(tree):
    """Modules that a module imports while it is loaded itself."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_modules_import_each_other_in_no_circle():
    names = {
        ".".join(["verax", *path.relative_to(ROOT).with_suffix("").parts]): path for path in MODULES
    }
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {
        name: {
            n
            for n in loaded_at_once(trees()[path])
            if n in names and n != name and not name.startswith(f"{n}.")
        }
        for name, path in names.items()
    }

    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


RUN = 10  # equal lines in a row


def lines_with_code(path):
    """(line number, text) of the lines that are neither blank, comment, nor import."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if len(text) > 1 and not text.startswith(("#", "import ", "from ")):
            yield number, text


def test_no_run_of_ten_lines_stands_twice():
    places = defaultdict(list)
    for path in MODULES:
        lines = list(lines_with_code(path))
        for i in range(len(lines) - RUN + 1):
            run = tuple(text for _, text in lines[i : i + RUN])
            places[run].append(f"{path.relative_to(ROOT).as_posix()}:{lines[i][0]}")

    assert [where for where in places.values() if len(where) > 1] == []


@cache
def names_in(module):
    """Names that a module of the package defines or imports; None for what is no module."""
    path = ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return None
    names = {child.stem for child in file.parent.glob("*") if path.is_dir()}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def uses_of_the_package(tree):
    """(module, name) of what a script imports from the package, or reads from its modules."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "verax":
            for alias in node.names:
                yield node.module, alias.name
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module and names_in(module) is not None:
                yield module, node.attr


@pytest.mark.parametrize("path", sorted((HOUSE / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_a_benchmark_uses_only_names_that_exist(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert [
        (module, name)
        for module, name in uses_of_the_package(tree)
        if name not in (names_in(module) or ())
    ] == []
