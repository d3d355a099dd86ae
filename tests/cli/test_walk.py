"""The call that docs/architecture.md describes from start to end is the one that the code makes."""

import sys
from importlib import import_module
from inspect import unwrap
from pathlib import Path

from commands import verax

DESIGN = Path(__file__).parents[2] / "docs" / "architecture.md"


def documented():
    """(file, function) of each function, in the documented order."""
    section = DESIGN.read_text(encoding="utf-8").split("## A call from start to end\n")[1]
    for line in section.split("```")[1].strip().split("\n"):
        module, _, name = line.split()[1].rpartition(".")
        function = unwrap(getattr(import_module(module), name))
        yield function.__code__.co_filename, name


def test_a_restoration_calls_the_documented_functions_in_order_each_once(pair, tmp_path):
    photo, prior = pair
    expected = list(documented())
    calls = []

    def profile(frame, event, _):
        function = frame.f_code.co_filename, frame.f_code.co_name
        if event == "call" and function in expected:
            calls.append(function)

    sys.setprofile(profile)
    try:
        done = verax("restore", photo, "--prior", prior, "-o", tmp_path / "out.png")
    finally:
        sys.setprofile(None)

    assert done.returncode == 0, done.stderr
    assert calls == expected
